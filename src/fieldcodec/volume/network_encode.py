"""The networks of NeuralVDB for one grid: active values, and, where asked for or smaller, the lower tree.

Leaf masks are coded in the smallest of three ways: by themselves, with the decoded values known (no network of their
own; see `network_numbers`), or with the hints of a classifier.
"""

from dataclasses import dataclass, replace

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitEvent
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.volume import topology_codec, values_codec
from fieldcodec.volume.fields import ExpertField, FieldEvaluator, level0_hints, level1_hints
from fieldcodec.volume.network_chain import earlier_experts
from fieldcodec.volume.network_numbers import guided_masks, spec_of
from fieldcodec.volume.networks import encode_network, encode_network_differences
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.outside import Outside, values_tell_masks
from fieldcodec.volume.parts import Parts, StoredNetwork
from fieldcodec.volume.quality import is_surface
from fieldcodec.volume.subdomains import Subdomains
from fieldcodec.volume.training import Trainer, active_tiles

_WORTHWHILE = 0.2  # bytes of a classifier, as a part of the masks it could make smaller
_GAIN = 0.98  # guided by plain masks, up to which they are taken
_FEW_TILES = 4096  # active tiles below which a regressor for them cannot pay


@dataclass(frozen=True)
class _Values:
    """A regressor that the file holds; `guided` are leaf masks coded with its values known, where that was tried."""

    field: ExpertField
    normalisation: Normalisation
    guided: bytes | None = None


@dataclass(frozen=True)
class NetworkEncoder:
    """Encodes the grid of `trainer` into `parts`."""

    parts: Parts
    trainer: Trainer

    def encode(self) -> SparseGrid:
        """Values, masks and active tiles; the grid whose topology was stored (another one only with tolerance)."""
        parts, trainer = self.parts, self.trainer
        parts.meta["weights"] = trainer.settings.weights
        subdomains = trainer.subdomains()
        values = self._encode_values(subdomains)
        grid = self._encode_topology(subdomains, values)
        if parts.meta["tree"] == "neural" and values is not None:
            self._encode_tiles(subdomains, grid)
        if parts.meta["networks"]:
            parts.meta["subdomains"] = subdomains.to_json()
        return grid

    def _encode_values(self, subdomains: Subdomains) -> _Values | None:
        """Active voxel values: a regressor, unless storing them exactly takes no more bytes."""
        parts, trainer = self.parts, self.trainer
        active = trainer.grid.active_values()
        normalisation = trainer.value_range("values", active)
        expert_field, fit = trainer.voxel_values(subdomains, normalisation, self._outside(normalisation))
        stored_network = self._stored("values", expert_field)
        size = len(stored_network.data)
        # no lossless coder brings such data below a sixteenth, so it is tried only above
        if size < active.nbytes // values_codec.HOPELESS or size < len(values_codec.encode_lossless(active).data):
            parts.add_network("values", stored_network, fit)
            parts.meta["values"] = {"method": values_codec.NETWORK, **normalisation.to_json()}
            guided = self._guided_masks(expert_field, normalisation) if self._may_guide else None
            return _Values(expert_field, normalisation, guided)
        stored = values_codec.encode_lossless(active)
        parts.meta["values"] = stored.to_json()
        parts.sections["voxel values"] = stored.data
        return None

    @property
    def _may_guide(self) -> bool:
        """Whether values may guide masks: not with halves, which have no integers of their own to make values of."""
        settings = self.trainer.settings
        return settings.weights == "quantised" and settings.tree != "neural" and settings.topology == "exact"

    def _outside(self, normalisation: Normalisation) -> Outside | None:
        """What is to be learnt of inactive voxels, None where that makes masks hardly smaller.

        Of level sets the value always tells which voxels are active; of others it is tried on some leaves.
        """
        grid, settings = self.trainer.grid, self.trainer.settings
        if not self._may_guide:
            return None
        tells = is_surface(grid) or values_tell_masks(grid, normalisation, settings.target_rmse, settings.seed)
        return Outside.of(grid) if tells else None

    def _guided_masks(self, expert_field: ExpertField, normalisation: Normalisation) -> bytes | None:
        grid, on_event = self.trainer.grid, self.trainer.on_event
        stage = f"{grid.name or 'unnamed'}: leaf masks"
        spec = spec_of(normalisation, banded=is_surface(grid))
        try:
            return guided_masks(
                expert_field, spec, grid.topology, grid.background,
                lambda done, total: on_event(FitEvent(stage, done, total)),
            )  # fmt: skip
        except FormatError:  # weights too large for integers
            return None

    def _encode_topology(self, subdomains: Subdomains, values: _Values | None) -> SparseGrid:
        """Masks of lower nodes and leaves; returns the grid whose topology was stored (changed only by tolerance)."""
        parts, trainer = self.parts, self.trainer
        grid, settings = trainer.grid, trainer.settings
        explicit = {} if settings.tree == "neural" else self._explicit_masks(values)
        if settings.tree == "explicit" or (settings.tree == "auto" and not _may_pay(trainer, explicit)):
            self._keep_explicit(explicit, values)
            return grid
        level1, fit1 = trainer.slot_classes(subdomains)
        level0, fit0 = trainer.leaf_masks(subdomains)
        stage = f"{grid.name or 'unnamed'}: corrections"
        hints = level0_hints(
            level0, grid.topology.leaf_origins, lambda done, total: trainer.on_event(FitEvent(stage, done, total))
        )
        slot_hints = level1_hints(level1, grid.topology.lower_origins)
        grid, leaf_masks = self._corrected(hints, values)
        networks = {"level1": self._stored("level1", level1), "level0": self._stored("level0", level0)}
        neural = {
            "level-1 classifier": networks["level1"].data,
            "lower masks": topology_codec.encode_lower_masks(grid.topology, slot_hints),
            "level-0 classifier": networks["level0"].data,
            "leaf masks": leaf_masks,
        }
        if settings.tree == "auto" and _size(neural) >= _size(explicit) and not parts.meta["gave_up"]:
            self._keep_explicit(explicit, values)
            return grid
        parts.meta["tree"] = "neural"
        parts.sections |= neural
        for role, fit in (("level1", fit1), ("level0", fit0)):
            parts.add_network(role, networks[role], fit)
        parts.meta["corrections"] = topology_codec.count_corrections(grid.topology, hints, slot_hints)
        return grid

    def _explicit_masks(self, values: _Values | None) -> dict[str, bytes]:
        """Masks without a classifier; those of leaves guided by values where that is smaller: decoding takes longer."""
        explicit = topology_codec.explicit_masks(self.trainer.grid.topology)
        guided = values.guided if values is not None else None
        if guided is not None and len(guided) < _GAIN * len(explicit["leaf masks"]):
            explicit["leaf masks"] = guided
        return explicit

    def _keep_explicit(self, explicit: dict[str, bytes], values: _Values | None) -> None:
        self.parts.sections |= explicit
        if values is not None and explicit["leaf masks"] is values.guided:
            self.parts.meta["values"] |= {"guided": True, "banded": is_surface(self.trainer.grid)}

    def _corrected(self, hints: np.ndarray, values: _Values | None) -> tuple[SparseGrid, bytes]:
        """Leaf masks with the classifier's hints; of another grid where tolerance makes them smaller."""
        parts, trainer, grid, settings = self.parts, self.trainer, self.trainer.grid, self.trainer.settings
        leaf_masks = topology_codec.encode_leaves(grid.topology, hints)
        if settings.topology == "tolerant" and values is not None:
            evaluator = FieldEvaluator(values.field, trainer.device)
            relaxed, gave_up = topology_codec.relax_topology(
                grid, hints, evaluator, values.normalisation, settings.tolerance
            )
            relaxed_masks = topology_codec.encode_leaves(relaxed.topology, hints)
            if len(relaxed_masks) < len(leaf_masks):  # nothing is given up for nothing
                parts.meta["gave_up"] = gave_up
                return relaxed, relaxed_masks
        return grid, leaf_masks

    def _encode_tiles(self, subdomains: Subdomains, grid: SparseGrid) -> None:
        """Active tiles of lower nodes by a regressor, where there are many."""
        parts, trainer = self.parts, replace(self.trainer, grid=grid)
        lower = grid.topology.tile_states()[: len(grid.lower_tile_values)]
        active = grid.lower_tile_values[lower]
        if len(active) < _FEW_TILES or values_codec.encode_lossless(active).method != values_codec.RAW:
            return
        tile_range = trainer.value_range("tiles", active_tiles(grid)[1])
        expert_field, fit = trainer.tile_values(subdomains, tile_range)
        parts.add_network("tiles", self._stored("tiles", expert_field), fit)
        parts.meta["tile_range"] = tile_range.to_json()

    def _stored(self, role: str, expert_field: ExpertField) -> StoredNetwork:
        """The bytes of a network: differences to the frame before where they are fewer."""
        frozen, earlier = expert_field.frozen, self.trainer.earlier
        plain = StoredNetwork(frozen.spec, encode_network(frozen))
        before = None if earlier is None else earlier.field(role)
        if before is None:
            return plain
        rows = earlier_experts(expert_field.subdomains, before.subdomains)
        data = None if rows is None else encode_network_differences(frozen, before.frozen, rows)
        return plain if data is None or len(data) >= len(plain.data) else StoredNetwork(frozen.spec, data, True)


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
