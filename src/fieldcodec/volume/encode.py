"""Grid -> compressed grid.

SparseGrid --> topology --> root, upper, lower and leaf masks   (explicit, guided by values, or by classifiers)
           \\-> inactive and tile values                         (exact)
           \\-> active voxel values                              (a lattice, networks, or exact where that is smaller)
"""

from dataclasses import replace

import numpy as np
import torch

from fieldcodec.coding.palette import encode_inactive
from fieldcodec.errors import InvalidValuesError, UsageError
from fieldcodec.fit.phases import OnEvent
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.volume import topology_codec, values_codec
from fieldcodec.volume.compressed_grid import CompressedGrid, describe_grid
from fieldcodec.volume.decode import reference_of
from fieldcodec.volume.lattice_experience import Notebook
from fieldcodec.volume.lattice_values import Habit, encode_lattice
from fieldcodec.volume.network_chain import DIFFERENCES
from fieldcodec.volume.network_encode import NetworkEncoder
from fieldcodec.volume.parts import Parts
from fieldcodec.volume.quality import Goal, goal_of, parse_size
from fieldcodec.volume.roughness import roughness
from fieldcodec.volume.sections import FRAME_BYTES, STORED_LEVEL
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.smallest import SmallestSearch
from fieldcodec.volume.temporal.prediction import Reference
from fieldcodec.volume.tiles_codec import encode_inactive_tiles
from fieldcodec.volume.training import Trainer

_LASTING = 1.1  # times a frame's bytes a voxel may be what the next one takes by the same means, or others are tried
_FEW_FLOATS = 16  # distinct values of a float grid that is stored as a palette


def encode_grid(
    grid: SparseGrid, settings: VolumeSettings, device: torch.device, on_event: OnEvent, mesh: Mesh | None = None,
    reference: CompressedGrid | None = None, *, leads: bool = False,
    domain: tuple[np.ndarray, np.ndarray] | None = None, least: int | None = None, notebook: Notebook | None = None,
) -> CompressedGrid:  # fmt: skip
    """Compresses one grid.

    Args:
        mesh: what a level set was made from, in world space.
        reference: the same grid of an earlier frame, from which this one may be predicted.
        leads: later frames will be predicted from this grid, so that its errors are theirs, too.
        domain: [3] smallest and [3] largest active index of the grid in all frames of its group, so that networks
            have the same domains in all of them; of this grid alone where None.
        least: active voxels from which on values may be lossy; `values_codec.SMALL_GRID` where None.
        notebook: what searches for lattices found for other grids, which saves time; this one's are added.

    Raises:
        InvalidValuesError: active values are NaN or infinite and `settings.non_finite` is "refuse".
        UsageError: the quality asked for has no meaning for the grid.
    """
    grid = with_finite_values(grid, settings)
    fits = _wants_fit(grid, values_codec.SMALL_GRID if least is None else least)
    if settings.method == "smallest" and fits:
        return _encode_smallest(grid, settings, device, on_event, mesh, reference, leads=leads, notebook=notebook)
    parts, predicted_from = Parts(), None
    parts.sections |= topology_codec.encode_tables(grid.topology)
    if not fits:
        _encode_exactly(parts, grid)
    elif settings.wants_network:
        settings = _network_settings(grid, settings)
        trainer = Trainer(grid, settings, device, on_event, domain, reference, leads)
        grid = NetworkEncoder(parts, trainer).encode()
        if DIFFERENCES in parts.meta:
            predicted_from = reference
    else:
        if _encode_by_lattice(parts, grid, settings, device, on_event, mesh, reference, leads=leads, notebook=notebook):
            predicted_from = reference
    _encode_inactive(parts, grid)
    sections = {name: data for name, data in parts.sections.items() if data}
    compressed = CompressedGrid(
        describe_grid(grid) | parts.meta, sections, parts.fits, tuple(parts.choices), reference=predicted_from
    )
    size = settings.quality.size
    return replace(compressed, goal_met=parts.goal_met if size is None else compressed.num_bytes <= parse_size(size))


def _encode_smallest(
    grid: SparseGrid, settings: VolumeSettings, device: torch.device, on_event: OnEvent, mesh: Mesh | None,
    reference: CompressedGrid | None, *, leads: bool, notebook: Notebook | None,
) -> CompressedGrid:  # fmt: skip
    """The smaller of lattice and network; a lattice may be predicted.

    Networks stand alone: each that is tried has a width of its own, so it cannot start from weights of another.
    """

    def encode(one: VolumeSettings) -> CompressedGrid:
        if one.method == "network":
            return encode_grid(grid, one, device, on_event)
        return encode_grid(grid, one, device, on_event, mesh, reference, leads=leads, notebook=notebook)

    return SmallestSearch(grid, settings, encode, device).run()


def with_finite_values(grid: SparseGrid, settings: VolumeSettings) -> SparseGrid:
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


def _wants_fit(grid: SparseGrid, least: int) -> bool:
    """Whether active values are worth a lattice or a network: many, and neither flags nor a handful of constants."""
    if grid.value_type.is_bool or grid.topology.num_active_leaf_voxels < least:
        return False
    active = grid.active_values()
    sample = values_codec.encode_lossless(active[:: max(1, len(active) // 200_000)])
    # few distinct integers may be labels; few distinct floats are measured values of 8 bits, as in scans
    few = values_codec.FEW_VALUES if grid.value_type.is_integer else _FEW_FLOATS
    return sample.method == values_codec.RAW or sample.num_entries > few


def _network_settings(grid: SparseGrid, settings: VolumeSettings) -> VolumeSettings:
    """Sizes chosen from the volume, and the target that the quality asked for sets.

    Raises:
        UsageError: the quality is of a kind that networks cannot promise.
    """
    quality = settings.quality
    if quality.is_asked:
        active = grid.active_values()
        value_range = (float(active.max()) - float(active.min())) or 1.0
        goal = goal_of(quality, grid, value_range, settings.target_rmse)
        if goal.rmse is None or goal != Goal(rmse=goal.rmse):
            raise UsageError(
                f"networks are fitted to a mean error: ask for rmse or psnr instead of {quality}, "
                "or for method='lattice'"
            )
        settings = replace(settings, target_rmse=min(goal.rmse / value_range, 1.0))
    return settings.resolved(grid.topology.num_active_leaf_voxels, roughness(grid))


def _encode_exactly(parts: Parts, grid: SparseGrid) -> None:
    """Active values bit by bit, with explicit masks."""
    if grid.value_type.name == "mask":
        parts.meta["values"] = {"method": values_codec.NONE, "entries": 0}
    else:
        stored = values_codec.encode_lossless(grid.active_values())
        parts.meta["values"] = stored.to_json()
        parts.sections["voxel values"] = stored.data
    parts.sections |= topology_codec.explicit_masks(grid.topology)


def _encode_by_lattice(
    parts: Parts, grid: SparseGrid, settings: VolumeSettings, device: torch.device, on_event: OnEvent,
    mesh: Mesh | None, earlier: CompressedGrid | None, *, leads: bool, notebook: Notebook | None,
) -> bool:  # fmt: skip
    """Active values and leaf masks by a lattice, unless exact values take no more bytes.

    Returns whether the reference is needed to decode them.
    """
    active = grid.active_values()
    value_range = float(active.max()) - float(active.min())
    goal = goal_of(settings.quality, grid, value_range, settings.target_rmse)
    if goal.size is not None:
        goal = replace(goal, size=max(1, goal.size - _bytes_of_the_rest(parts, grid)))
    reference, habit = (None, None) if earlier is None else (_decoded(grid, earlier), _habit(grid, earlier))
    encoding = encode_lattice(grid, goal, settings.seed, on_event, mesh, device, reference, habit, leads, notebook)
    if not encoding.met and leads:
        encoding = encode_lattice(grid, goal, settings.seed, on_event, mesh, device, reference)
    if not encoding.met and goal.size is None:  # more than a lattice can promise; exact values meet any demand
        encoding = encode_lattice(
            grid, Goal(lossless=True), settings.seed, on_event, device=device, reference=reference
        )
    size = encoding.num_bytes
    if size >= active.nbytes // values_codec.HOPELESS:
        exact = Parts()
        _encode_exactly(exact, grid)
        if len(exact.sections["voxel values"]) + len(exact.sections["leaf masks"]) <= size:
            parts.sections |= exact.sections
            parts.meta |= exact.meta
            return False
    hints = None
    if reference is not None and encoding.is_predicted:
        hints = reference.slot_hints(grid.topology.lower_origins)
    parts.sections["lower masks"] = topology_codec.encode_lower_masks(grid.topology, hints)
    parts.sections |= encoding.sections
    parts.meta["values"] = {"method": values_codec.LATTICE, **encoding.meta}
    parts.choices, parts.goal_met = encoding.choices, encoding.met
    return encoding.is_predicted


def _decoded(grid: SparseGrid, earlier: CompressedGrid) -> Reference | None:
    """An earlier frame's grid, decoded; None where this one cannot be predicted from it."""
    if earlier.lattice is None or earlier.value_type != grid.value_type:
        return None
    return reference_of(earlier)


def _habit(grid: SparseGrid, earlier: CompressedGrid) -> Habit | None:
    """What did well for an earlier frame that was predicted, too."""
    if earlier.lattice is None or earlier.lattice.motion is None or not earlier.choices or not earlier.goal_met:
        return None
    growth = grid.topology.num_active_voxels / max(1, earlier.active_voxels)
    size = sum(len(data) for name, data in earlier.sections.items() if name != STORED_LEVEL)
    return Habit(earlier.choices[0], int(_LASTING * growth * size))


def _bytes_of_the_rest(parts: Parts, grid: SparseGrid) -> int:
    """Of a file with this grid alone: all but what a lattice stands for."""
    rest = Parts(dict(parts.sections), dict(parts.meta))
    rest.sections["lower masks"] = topology_codec.encode_lower_masks(grid.topology, None)
    _encode_inactive(rest, grid)
    return CompressedGrid(describe_grid(grid) | rest.meta, rest.sections).num_bytes + FRAME_BYTES


def _encode_inactive(parts: Parts, grid: SparseGrid) -> None:
    """Inactive voxels, and tiles of all levels."""
    _encode_tile_values(parts, grid)
    if grid.value_type.name != "mask":
        topology = grid.topology
        parts.sections["inactive voxels"] = encode_inactive(
            grid.leaf_values, topology.leaf_active, topology.leaf_origins
        )


def _encode_tile_values(parts: Parts, grid: SparseGrid) -> None:
    """Tiles of all levels exactly, active ones but for those that a regressor took."""
    if grid.value_type.name == "mask":
        parts.meta["tiles"] = {}
        return
    parts.sections |= encode_inactive_tiles(grid)
    everything = np.concatenate([grid.lower_tile_values, grid.upper_tile_values, grid.root_tile_values])
    active = grid.topology.tile_states()
    if "tiles" in parts.meta["networks"]:
        active[: len(grid.lower_tile_values)] = False
    stored = values_codec.encode_lossless(everything[active])
    parts.meta["tiles"] = stored.to_json()
    parts.sections["active tiles"] = stored.data
