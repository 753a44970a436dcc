"""Fits the four networks of NeuralVDB: level-1 classifier, tile regressor, level-0 classifier, voxel regressor."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from fieldcodec.fit.held_out import HeldOut
from fieldcodec.fit.loop import fit_network
from fieldcodec.fit.losses import Loss, banded_squared_error, binary_cross_entropy, cross_entropy, mean_squared_error
from fieldcodec.fit.phases import FitResult, OnEvent, Phase
from fieldcodec.fit.samplers import ActiveVoxelSampler, BlendedSampler, LeafMaskSampler, PointSampler, Sampler
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.frozen import FrozenNetwork
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.shapes import Rows
from fieldcodec.volume.fields import ACTIVE_TILE, CHILD, ExpertField, slot_points
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.outside import Outside
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.subdomains import Subdomains, decompose

_PLATEAU = 300  # steps without progress after which a fit with a target gives up
_FADE = 0.98  # the part of the learning rate that goes while the weights settle
_ROUNDED = 0.3  # the part of the settling that is made with rounded weights
_ROUNDED_RATE = 0.06  # their learning rate, as a part of the first one


@dataclass(frozen=True)
class Trainer:
    """What all fits of one grid share. `settings` are resolved (no zeros left)."""

    grid: SparseGrid
    settings: VolumeSettings
    device: torch.device
    on_event: OnEvent

    def subdomains(self) -> Subdomains:
        """The decomposition of the grid's active region."""
        bounds = self.grid.topology.active_bounds
        assert bounds is not None
        return decompose(*bounds, self._active_blocks(), self.settings.subdomain_size)

    def voxel_values(
        self, subdomains: Subdomains, normalisation: Normalisation, outside: Outside | None = None
    ) -> tuple[ExpertField, FitResult]:
        """The level-0 regressor (equation 1).

        Args:
            outside: what it is to learn of inactive voxels; nothing where None, as in the paper.
        """
        topology, settings = self.grid.topology, self.settings
        leaves = subdomains.members(topology.leaf_origins)
        loss = mean_squared_error
        sampler: Sampler = self._voxels(subdomains, leaves, topology.leaf_active, self.grid.leaf_values, normalisation)
        if outside is not None and all(masks_any(outside.taught[rows]).any() for rows in leaves):
            beside = self._voxels(subdomains, leaves, outside.taught, outside.values, normalisation)
            sampler = BlendedSampler(sampler, beside, outside.share)
            loss = banded_squared_error if outside.banded else mean_squared_error
        target = (settings.target_rmse * normalisation.relative_range) ** 2
        return self._fit("voxel values", self.value_spec(subdomains), subdomains, sampler, loss, target)

    def value_spec(self, subdomains: Subdomains) -> NetworkSpec:
        """The shape of the level-0 regressor."""
        return self._spec(subdomains, self.settings.value_width, self.settings.value_depth, self.grid.channels)

    def _voxels(
        self, subdomains: Subdomains, leaves: list[Rows], packed: np.ndarray, values: np.ndarray,
        normalisation: Normalisation,
    ) -> ActiveVoxelSampler:  # fmt: skip
        """Draws voxels of `packed` [N, 64] masks with their `values` [N, 512, C]; `leaves` are those of each expert."""
        members = [rows[masks_any(packed[rows])] for rows in leaves]
        origins, offset, scale = self.grid.topology.leaf_origins, normalisation.offset, normalisation.scale
        return ActiveVoxelSampler(members, subdomains.corners, origins, packed, values, offset, scale)

    def leaf_masks(self, subdomains: Subdomains) -> tuple[ExpertField, FitResult]:
        """The level-0 binary classifier."""
        topology, settings = self.grid.topology, self.settings
        members = subdomains.members(topology.leaf_origins)
        sampler = LeafMaskSampler(members, subdomains.corners, topology.leaf_origins, topology.leaf_active)
        spec = self._spec(subdomains, settings.level0_width, settings.level0_depth, 1)
        return self._fit("voxel states", spec, subdomains, sampler, binary_cross_entropy, 0.0)

    def slot_classes(self, subdomains: Subdomains) -> tuple[ExpertField, FitResult]:
        """The level-1 classifier: ternary, or binary where the grid has no active tiles of 8^3."""
        topology, settings = self.grid.topology, self.settings
        coarse = subdomains.in_leaf_units()
        child = masks.unpack(topology.lower_child).reshape(-1)
        active = masks.unpack(topology.lower_active).reshape(-1) & ~child
        ternary = bool(active.any())
        classes = np.where(child, CHILD, active * ACTIVE_TILE) if ternary else child
        points = slot_points(topology.lower_origins)
        members = coarse.members(points)
        sampler = PointSampler(
            [points[rows] - corner for rows, corner in zip(members, coarse.corners, strict=True)],
            [classes[rows, None] for rows in members],
        )
        spec = self._spec(coarse, settings.level1_width, settings.level1_depth, 3 if ternary else 1)
        loss = cross_entropy if ternary else binary_cross_entropy
        return self._fit("tree nodes", spec, coarse, sampler, loss, 0.0)

    def tile_values(self, subdomains: Subdomains, normalisation: Normalisation) -> tuple[ExpertField, FitResult]:
        """The regressor of active tiles of level 1."""
        settings = self.settings
        coarse = subdomains.in_leaf_units()
        points, values = active_tiles(self.grid)
        target = normalisation.apply(values)
        members = coarse.members(points)
        sampler = PointSampler(
            [points[rows] - corner for rows, corner in zip(members, coarse.corners, strict=True)],
            [target[rows] for rows in members],
        )
        goal = (settings.target_rmse * normalisation.relative_range) ** 2
        spec = self._spec(coarse, settings.tile_width, settings.tile_depth, self.grid.channels)
        return self._fit("tile values", spec, coarse, sampler, mean_squared_error, goal)

    def _active_blocks(self) -> np.ndarray:
        topology = self.grid.topology
        leaves = topology.leaf_origins[masks_any(topology.leaf_active)]
        return np.concatenate([leaves, active_tiles(self.grid)[0] * 8])

    def _spec(self, subdomains: Subdomains, width: int, depth: int, outputs: int) -> NetworkSpec:
        """The mapping of a narrow network is cut to 2 x width frequencies, which gives Table 2's parameter counts."""
        settings = self.settings
        return NetworkSpec(
            experts=len(subdomains), extent=subdomains.extent, outputs=outputs, width=width, depth=depth,
            activation=settings.activation, frequency=float(settings.frequency), feature_map=settings.feature_map,
            fourier_size=min(settings.fourier_size, 2 * width), fourier_scale=float(settings.fourier_scale),
            hash_levels=settings.hash_levels, hash_log2_table=settings.hash_log2_table,
            hash_features=settings.hash_features, hash_base=settings.hash_base, hash_finest=settings.hash_finest,
            seed=settings.seed,
        )  # fmt: skip

    def _fit(
        self, what: str, spec: NetworkSpec, subdomains: Subdomains, sampler: Sampler, loss: Loss, target: float
    ) -> tuple[ExpertField, FitResult]:
        network = ExpertNetwork(spec).to(self.device)
        stage = f"{self.grid.name or 'unnamed'}: {what}"
        result = fit_network(
            network, sampler, phases_of(self.settings, target), loss,
            seed=self.settings.seed, stage=stage, on_event=self.on_event,
        )  # fmt: skip
        bits = self.settings.weight_bits if self.settings.weights == "quantised" else None
        frozen = FrozenNetwork.of(network.cpu(), bits)
        held_out = HeldOut.of(sampler, spec.experts, self.settings.seed)
        stored = float(held_out.losses(frozen.module(), loss).sum())
        growth = np.sqrt(stored / result.free_loss) - 1 if result.free_loss > 0 else 0.0
        return ExpertField(subdomains, frozen), replace(result, rounding_loss=float(growth))


def phases_of(settings: VolumeSettings, target_loss: float) -> list[Phase]:
    """The schedule: free weights; where they are quantised, the learning rate then fades, and they are rounded.

    Fading to almost nothing takes the noise of the steps out of the weights, which rounding would only add to;
    rounded weights bear small steps only. Against rounding them at the full rate, with as many steps and the same
    bytes, the squared error of a level set was a fifth to a third smaller, that of smoke the same.
    """
    settling = round(settings.epochs * settings.settle) if settings.weights == "quantised" else 0
    fitting = max(settings.epochs - settling, 1)
    first = Phase(
        "fit", fitting, settings.learning_rate, settings.decay, settings.decay_interval,
        batch_size=settings.batch_size, sample_interval=settings.sample_interval, target_loss=target_loss * 0.9,
        plateau_steps=_PLATEAU if settings.target_rmse > 0 else 0,
    )  # fmt: skip
    if not settling:
        return [first]
    rounding = math.ceil(settling * _ROUNDED)
    rate = settings.learning_rate * settings.decay ** (fitting / settings.decay_interval)
    share = settling / fitting
    fading = replace(
        first, name="fade", steps=settling - rounding, learning_rate=rate, decay=1.0, fade=_FADE,
        share=share * (1 - _ROUNDED), target_loss=0.0, plateau_steps=0,
    )  # fmt: skip
    return [
        first,
        fading,
        replace(
            fading, name="settle", steps=rounding, learning_rate=min(rate, _ROUNDED_RATE * settings.learning_rate),
            share=share * _ROUNDED, weight_bits=settings.weight_bits, rounding_tolerance=settings.rounding_tolerance,
            rounding_limit=target_loss * 0.97,
        ),
    ]  # fmt: skip


def masks_any(packed: np.ndarray) -> np.ndarray:
    """[n, bytes] -> [n] bool: rows with a bit set."""
    return np.any(packed != 0, axis=-1)


def active_tiles(grid: SparseGrid) -> tuple[np.ndarray, np.ndarray]:
    """Active tiles of level 1: [n, 3] int32 coordinates in leaf units, and their values [n, C]."""
    return grid.topology.active_lower_tiles(), grid.lower_tile_values[grid.lower_tile_mask()]
