"""The networks of NeuralVDB for one grid: active values, and, where asked for or smaller, the lower tree."""

from dataclasses import dataclass, replace

from fieldcodec.fit.phases import FitEvent
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.volume import topology_codec, values_codec
from fieldcodec.volume.fields import FieldEvaluator, level0_hints, level1_hints
from fieldcodec.volume.networks import encode_network
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.parts import Parts
from fieldcodec.volume.subdomains import Subdomains
from fieldcodec.volume.training import Trainer, active_tiles

_WORTHWHILE = 0.2  # bytes of a classifier, as a part of the masks it could make smaller
_FEW_TILES = 4096  # active tiles below which a regressor for them cannot pay


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
        evaluator, normalisation = self._encode_values(subdomains)
        grid = self._encode_topology(subdomains, evaluator, normalisation)
        if parts.meta["tree"] == "neural" and normalisation is not None:
            self._encode_tiles(subdomains, grid)
        if parts.meta["networks"]:
            parts.meta["subdomains"] = subdomains.to_json()
        return grid

    def _encode_values(self, subdomains: Subdomains) -> tuple[FieldEvaluator | None, Normalisation | None]:
        """Active voxel values: a regressor, unless storing them exactly takes no more bytes."""
        parts, trainer = self.parts, self.trainer
        active = trainer.grid.active_values()
        normalisation = Normalisation.of(trainer.grid, active)
        expert_field, fit = trainer.voxel_values(subdomains, normalisation)
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
        self, subdomains: Subdomains, evaluator: FieldEvaluator | None, normalisation: Normalisation | None
    ) -> SparseGrid:
        """Masks of lower nodes and leaves; returns the grid whose topology was stored (changed only by tolerance)."""
        parts, trainer = self.parts, self.trainer
        grid, settings = trainer.grid, trainer.settings
        explicit = {} if settings.tree == "neural" else topology_codec.explicit_masks(grid.topology)
        if settings.tree == "explicit" or (settings.tree == "auto" and not _may_pay(trainer, explicit)):
            parts.sections |= explicit
            return grid
        level1, fit1 = trainer.slot_classes(subdomains)
        level0, fit0 = trainer.leaf_masks(subdomains)
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
            parts.sections |= explicit
            return grid
        parts.meta["tree"] = "neural"
        parts.sections |= neural
        parts.meta["networks"] |= {"level1": level1.frozen.spec.to_json(), "level0": level0.frozen.spec.to_json()}
        parts.fits |= {"level1": fit1, "level0": fit0}
        parts.meta["corrections"] = topology_codec.count_corrections(grid.topology, hints, slot_hints)
        return grid

    def _encode_tiles(self, subdomains: Subdomains, grid: SparseGrid) -> None:
        """Active tiles of lower nodes by a regressor, where there are many."""
        parts, trainer = self.parts, replace(self.trainer, grid=grid)
        lower = grid.topology.tile_states()[: len(grid.lower_tile_values)]
        active = grid.lower_tile_values[lower]
        if len(active) < _FEW_TILES or values_codec.encode_lossless(active).method != values_codec.RAW:
            return
        tile_range = Normalisation.of(grid, active_tiles(grid)[1])
        expert_field, fit = trainer.tile_values(subdomains, tile_range)
        parts.add_network("tiles", "tile regressor", expert_field, fit)
        parts.meta["tile_range"] = tile_range.to_json()


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
