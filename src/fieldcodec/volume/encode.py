"""Grid -> compressed grid.

SparseGrid --> topology --> root, upper, lower and leaf masks   (explicit, or classifiers + corrections)
           \\-> inactive and tile values                         (exact)
           \\-> active voxel values                              (regressor, or lossless where that is smaller)
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from fieldcodec.coding.palette import encode_inactive
from fieldcodec.errors import InvalidValuesError
from fieldcodec.fit.phases import FitEvent, FitResult, OnEvent
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.volume import topology_codec, values_codec
from fieldcodec.volume.compressed_grid import CompressedGrid, describe_grid
from fieldcodec.volume.fields import ExpertField, FieldEvaluator, level0_hints, level1_hints
from fieldcodec.volume.networks import encode_network
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.roughness import roughness
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.subdomains import Subdomains
from fieldcodec.volume.tiles_codec import encode_inactive_tiles
from fieldcodec.volume.training import Trainer, active_tiles

_WORTHWHILE = 0.2  # bytes of a classifier, as a part of the masks it could make smaller
_FEW_FLOATS = 16  # distinct values of a float grid that is stored as a palette
_FEW_TILES = 4096  # active tiles below which a regressor for them cannot pay


@dataclass
class _Parts:
    """What an encode has collected so far."""

    sections: dict[str, bytes] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    fits: dict[str, FitResult] = field(default_factory=dict)
    subdomains: Subdomains | None = None

    def add_network(self, role: str, section: str, expert_field: ExpertField, fit: FitResult) -> None:
        self.sections[section] = encode_network(expert_field.frozen)
        self.meta["networks"][role] = expert_field.frozen.spec.to_json()
        self.fits[role] = fit


def encode_grid(grid: SparseGrid, settings: VolumeSettings, device: torch.device, on_event: OnEvent) -> CompressedGrid:
    """Compresses one grid.

    Raises:
        InvalidValuesError: active values are NaN or infinite and `settings.non_finite` is "refuse".
    """
    grid = _with_finite_values(grid, settings)
    topology = grid.topology
    settings = settings.resolved(topology.num_active_leaf_voxels, roughness(grid))
    parts = _Parts(meta={"networks": {}, "corrections": 0, "gave_up": 0, "weights": settings.weights})
    trainer = Trainer(grid, settings, device, on_event)
    active = grid.active_values()
    regress = _wants_network(grid, active)
    if regress:
        parts.subdomains = trainer.subdomains()
    evaluator, normalisation = _encode_active_values(parts, trainer, active, regress)
    del active
    grid = _encode_topology(parts, trainer, evaluator, normalisation)
    _encode_tile_values(parts, replace(trainer, grid=grid), normalisation)
    topology = grid.topology
    if grid.value_type.name != "mask":
        parts.sections["inactive voxels"] = encode_inactive(
            grid.leaf_values, topology.leaf_active, topology.leaf_origins
        )
    if parts.subdomains is not None and parts.meta["networks"]:
        parts.meta["subdomains"] = parts.subdomains.to_json()
    meta = describe_grid(grid) | parts.meta
    return CompressedGrid(meta, {name: data for name, data in parts.sections.items() if data}, parts.fits)


def _with_finite_values(grid: SparseGrid, settings: VolumeSettings) -> SparseGrid:
    """Checks active values, and replaces what is not finite where that was asked for."""
    count, first = values_codec.check_finite(grid)
    tiles = _non_finite_tiles(grid)
    if count + tiles == 0:
        return grid
    if settings.non_finite == "refuse":
        where = f"the first at index {first}" if first is not None else "all of them active tiles"
        raise InvalidValuesError(
            f"grid {grid.name!r} holds {count + tiles} active values that are NaN or infinite, {where}; only finite "
            "values can be compressed. Mend the grid, or ask for non_finite='replace' (--non-finite replace) to put "
            "the background in their place"
        )
    background = np.where(np.isfinite(grid.background), grid.background, 0).astype(grid.value_type.dtype)

    def mended(values: np.ndarray, active: np.ndarray) -> np.ndarray:
        bad = ~np.isfinite(values).all(axis=-1) & active
        return np.where(bad[..., None], background, values)

    return replace(
        grid,
        leaf_values=mended(grid.leaf_values, grid.topology.leaf_active_bits),
        lower_tile_values=mended(grid.lower_tile_values, grid.lower_tile_mask()),
        upper_tile_values=mended(grid.upper_tile_values, grid.upper_tile_mask()),
        root_tile_values=mended(grid.root_tile_values, grid.topology.root_tile_active),
    )


def _non_finite_tiles(grid: SparseGrid) -> int:
    if not grid.value_type.is_float:
        return 0
    pairs = (
        (grid.lower_tile_values, grid.lower_tile_mask()),
        (grid.upper_tile_values, grid.upper_tile_mask()),
        (grid.root_tile_values, grid.topology.root_tile_active),
    )
    return sum(int((~np.isfinite(values[mask]).all(axis=-1)).sum()) for values, mask in pairs)


def _wants_network(grid: SparseGrid, active: np.ndarray) -> bool:
    """Whether active values are worth a regressor: many, and neither flags nor a handful of constants."""
    if grid.value_type.is_bool or len(active) < values_codec.SMALL_GRID:
        return False
    sample = values_codec.encode_lossless(active[:: max(1, len(active) // 200_000)])
    # few distinct integers may be labels; few distinct floats are measured values of 8 bits, as in scans
    few = values_codec.FEW_VALUES if grid.value_type.is_integer else _FEW_FLOATS
    return sample.method == values_codec.RAW or sample.num_entries > few


def _encode_active_values(
    parts: _Parts, trainer: Trainer, active: np.ndarray, regress: bool
) -> tuple[FieldEvaluator | None, Normalisation | None]:
    """Active voxel values: a regressor, unless storing them exactly takes no more bytes."""
    grid = trainer.grid
    if grid.value_type.name == "mask":
        parts.meta["values"] = {"method": values_codec.NONE, "entries": 0}
        return None, None
    if regress:
        assert parts.subdomains is not None
        normalisation = Normalisation.of(grid, active)
        expert_field, fit = trainer.voxel_values(parts.subdomains, normalisation)
        size = len(encode_network(expert_field.frozen))
        # no lossless coder brings such data below a sixteenth, so it is tried only above
        if size < active.nbytes // 16 or size < len(values_codec.encode_lossless(active).data):
            parts.add_network("values", "voxel regressor", expert_field, fit)
            parts.meta["values"] = {"method": values_codec.NETWORK, **normalisation.to_json()}
            return FieldEvaluator(expert_field, trainer.device), normalisation
    stored = values_codec.encode_lossless(active)
    parts.meta["values"] = stored.to_json()
    parts.sections["voxel values"] = stored.data
    return None, None


def _encode_topology(
    parts: _Parts, trainer: Trainer, evaluator: FieldEvaluator | None, normalisation: Normalisation | None
) -> SparseGrid:
    """Masks of all levels; returns the grid whose topology was stored (changed only where tolerance was asked for)."""
    grid, settings = trainer.grid, trainer.settings
    parts.sections |= topology_codec.encode_tables(grid.topology)
    explicit = {} if settings.tree == "neural" and parts.subdomains else _explicit_masks(grid.topology)
    wants = settings.tree == "neural" or (settings.tree == "auto" and _may_pay(trainer, explicit))
    if parts.subdomains is None or not wants:
        parts.meta["tree"] = "explicit"
        parts.sections |= explicit
        return grid
    level1, fit1 = trainer.slot_classes(parts.subdomains)
    level0, fit0 = trainer.leaf_masks(parts.subdomains)
    stage = f"{grid.name or 'unnamed'}: corrections"
    hints = level0_hints(
        level0, grid.topology.leaf_origins, lambda done, total: trainer.on_event(FitEvent(stage, done, total))
    )
    slot_hints = level1_hints(level1, grid.topology.lower_origins)
    leaf_masks = topology_codec.encode_leaves(grid.topology, hints)
    if settings.topology == "tolerant" and evaluator is not None and normalisation is not None:
        relaxed, gave_up = topology_codec.relax_topology(grid, hints, evaluator, normalisation, settings.tolerance)
        relaxed_masks = topology_codec.encode_leaves(relaxed.topology, hints)
        if len(relaxed_masks) < len(leaf_masks):  # nothing is given up for nothing
            grid, leaf_masks, parts.meta["gave_up"] = relaxed, relaxed_masks, gave_up
    neural = {
        "level-1 classifier": encode_network(level1.frozen),
        "lower masks": topology_codec.encode_lower_masks(grid.topology, slot_hints),
        "level-0 classifier": encode_network(level0.frozen),
        "leaf masks": leaf_masks,
    }
    if settings.tree == "auto" and _size(neural) >= _size(explicit) and not parts.meta["gave_up"]:
        parts.meta["tree"] = "explicit"
        parts.sections |= explicit
        return grid
    parts.meta["tree"] = "neural"
    parts.sections |= neural
    parts.meta["networks"] |= {"level1": level1.frozen.spec.to_json(), "level0": level0.frozen.spec.to_json()}
    parts.fits |= {"level1": fit1, "level0": fit0}
    parts.meta["corrections"] = topology_codec.count_corrections(grid.topology, hints, slot_hints)
    return grid


def _explicit_masks(topology: Topology) -> dict[str, bytes]:
    return {
        "lower masks": topology_codec.encode_lower_masks(topology, None),
        "leaf masks": topology_codec.encode_leaves(topology, None),
    }


def _may_pay(trainer: Trainer, explicit: dict[str, bytes]) -> bool:
    """Whether classifiers could be smaller than explicit masks, which code well by themselves.

    Measured on the Bunny with the paper's networks: hints take 30 % off the explicit masks. So weights of more than
    a fifth of those masks are not worth the time of fitting them.
    """
    settings = trainer.settings
    width, features = settings.level0_width, 2 * min(settings.fourier_size, 2 * settings.level0_width)
    weights = features * width + width * width * (settings.level0_depth - 1)
    return weights * settings.weight_bits / 8 < _WORTHWHILE * _size(explicit)


def _size(sections: dict[str, bytes]) -> int:
    return sum(len(data) for data in sections.values())


def _encode_tile_values(parts: _Parts, trainer: Trainer, normalisation: Normalisation | None) -> None:
    """Tiles of all levels: inactive ones exactly; active ones of level 1 by a regressor where there are many."""
    grid = trainer.grid
    if grid.value_type.name == "mask":
        parts.meta["tiles"] = {}
        return
    parts.sections |= encode_inactive_tiles(grid)
    everything = np.concatenate([grid.lower_tile_values, grid.upper_tile_values, grid.root_tile_values])
    active = grid.topology.tile_states()
    regress = parts.meta["tree"] == "neural" and normalisation is not None
    lower = active.copy()
    lower[len(grid.lower_tile_values) :] = False
    if regress and lower.sum() >= _FEW_TILES and values_codec.encode_lossless(everything[lower]).method == "raw":
        assert parts.subdomains is not None
        tile_range = Normalisation.of(grid, active_tiles(grid)[1])
        expert_field, fit = trainer.tile_values(parts.subdomains, tile_range)
        parts.add_network("tiles", "tile regressor", expert_field, fit)
        parts.meta["tile_range"] = tile_range.to_json()
        active &= ~lower
    stored = values_codec.encode_lossless(everything[active])
    parts.meta["tiles"] = stored.to_json()
    parts.sections["active tiles"] = stored.data
