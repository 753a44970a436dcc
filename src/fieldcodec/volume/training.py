"""Fits the four networks of NeuralVDB: level-1 classifier, tile regressor, level-0 classifier, voxel regressor."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

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
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.fields import ACTIVE_TILE, CHILD, ExpertField, slot_points
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.outside import Outside
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.subdomains import Subdomains, decompose
from fieldcodec.volume.warm_start import Earlier, Start

SamplerOf = Callable[[Subdomains], Sampler]

_PLATEAU = 300  # steps without progress after which a fit with a target gives up
_FADE = 0.98  # the part of the learning rate that goes while the weights settle
_ROUNDED = 0.3  # the part of the settling that is made with rounded weights
_ROUNDED_RATE = 0.06  # their learning rate, as a part of the first one
_AGAIN = 0.25  # of the steps of a fit, made once more at that rate
_REACHED = 0.9  # of the loss that is asked for, at which a later frame is done; first frames end with 0.8 to 0.9 of it
_MEASURE_EVERY = 20  # steps
_AVERAGED = 25  # steps whose weights are averaged in later frames


@dataclass(frozen=True)
class Trainer:
    """What all fits of one grid share.

    Attributes:
        settings: resolved (no zeros left but the learning rate of later frames).
        domain: smallest and largest active index of the grid in all frames of a group; of this one alone where None.
        reference: the grid in the frame before, None where there is none.
        leads: networks of later frames will start from these.
    """

    grid: SparseGrid
    settings: VolumeSettings
    device: torch.device
    on_event: OnEvent
    domain: tuple[np.ndarray, np.ndarray] | None = None
    reference: CompressedGrid | None = None
    leads: bool = False

    @cached_property
    def earlier(self) -> Earlier | None:
        """The networks of the frame before, if this frame's can start from them."""
        return Earlier.of(self.reference, self.grid, self._active_blocks(), self.settings.weights)

    def subdomains(self) -> Subdomains:
        """The decomposition of the grid's active region."""
        if self.earlier is not None:
            return self.earlier.subdomains
        bounds = self.domain or self.grid.topology.active_bounds
        assert bounds is not None
        return decompose(*bounds, self._active_blocks(), self.settings.subdomain_size)

    def value_range(self, role: str, values: np.ndarray) -> Normalisation:
        """The range that the regressor of a role sees; `values` [n, C] are those it is to learn, n > 0."""
        own = Normalisation.of(self.grid, values)
        return own if self.earlier is None else self.earlier.range(role, own)

    def voxel_values(
        self, subdomains: Subdomains, normalisation: Normalisation, outside: Outside | None = None
    ) -> tuple[ExpertField, FitResult]:
        """The level-0 regressor (equation 1).

        Args:
            outside: what it is to learn of inactive voxels; nothing where None, as in the paper.
        """
        topology, settings = self.grid.topology, self.settings
        leaves = subdomains.members(topology.leaf_origins)
        if outside is not None and not all(masks_any(outside.taught[rows]).any() for rows in leaves):
            outside = None

        def sampler(domains: Subdomains) -> Sampler:
            active = self._voxels(domains, topology.leaf_active, self.grid.leaf_values, normalisation)
            if outside is None:
                return active
            beside = self._voxels(domains, outside.taught, outside.values, normalisation)
            return BlendedSampler(active, beside, outside.share)

        loss = banded_squared_error if outside is not None and outside.banded else mean_squared_error
        target = (settings.target_rmse * normalisation.relative_range) ** 2
        spec = self.value_spec(subdomains)
        return self._fit("values", "voxel values", spec, subdomains, sampler, loss, target, normalisation)

    def value_spec(self, subdomains: Subdomains) -> NetworkSpec:
        """The shape of the level-0 regressor."""
        return self._spec(subdomains, self.settings.value_width, self.settings.value_depth, self.grid.channels)

    def _voxels(
        self, subdomains: Subdomains, packed: np.ndarray, values: np.ndarray, normalisation: Normalisation
    ) -> ActiveVoxelSampler:
        """Draws voxels of `packed` [N, 64] masks with their `values` [N, 512, C]."""
        origins, offset, scale = self.grid.topology.leaf_origins, normalisation.offset, normalisation.scale
        members = [rows[masks_any(packed[rows])] for rows in subdomains.members(origins)]
        return ActiveVoxelSampler(members, subdomains.corners, origins, packed, values, offset, scale)

    def leaf_masks(self, subdomains: Subdomains) -> tuple[ExpertField, FitResult]:
        """The level-0 binary classifier."""
        topology, settings = self.grid.topology, self.settings

        def sampler(domains: Subdomains) -> Sampler:
            members = domains.members(topology.leaf_origins)
            return LeafMaskSampler(members, domains.corners, topology.leaf_origins, topology.leaf_active)

        spec = self._spec(subdomains, settings.level0_width, settings.level0_depth, 1)
        return self._fit("level0", "voxel states", spec, subdomains, sampler, binary_cross_entropy)

    def slot_classes(self, subdomains: Subdomains) -> tuple[ExpertField, FitResult]:
        """The level-1 classifier: ternary, or binary where the grid has no active tiles of 8^3."""
        topology, settings = self.grid.topology, self.settings
        coarse = subdomains.in_leaf_units()
        child = masks.unpack(topology.lower_child).reshape(-1)
        active = masks.unpack(topology.lower_active).reshape(-1) & ~child
        ternary = bool(active.any())
        classes = np.where(child, CHILD, active * ACTIVE_TILE) if ternary else child
        points = slot_points(topology.lower_origins)
        spec = self._spec(coarse, settings.level1_width, settings.level1_depth, 3 if ternary else 1)
        loss = cross_entropy if ternary else binary_cross_entropy
        return self._fit("level1", "tree nodes", spec, coarse, _points(points, classes[:, None]), loss)

    def tile_values(self, subdomains: Subdomains, normalisation: Normalisation) -> tuple[ExpertField, FitResult]:
        """The regressor of active tiles of level 1."""
        settings = self.settings
        coarse = subdomains.in_leaf_units()
        points, values = active_tiles(self.grid)
        sampler = _points(points, normalisation.apply(values))
        goal = (settings.target_rmse * normalisation.relative_range) ** 2
        spec = self._spec(coarse, settings.tile_width, settings.tile_depth, self.grid.channels)
        return self._fit("tiles", "tile values", spec, coarse, sampler, mean_squared_error, goal, normalisation)

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
        self, role: str, what: str, spec: NetworkSpec, subdomains: Subdomains, sampler_of: SamplerOf, loss: Loss,
        target: float = 0.0, of_values: Normalisation | None = None,
    ) -> tuple[ExpertField, FitResult]:  # fmt: skip
        """Fits a network from scratch, or from the one that has its role in the frame before."""
        start = None if self.earlier is None else self.earlier.start(role, spec, subdomains, of_values)
        stage = f"{self.grid.name or 'unnamed'}: {what}"
        sampler = sampler_of(subdomains)
        if start is None:
            network, result = self._from_scratch(stage, spec, sampler, loss, target)
        else:
            spec = replace(start.frozen.spec, experts=spec.experts)
            network, result = self._from_earlier(stage, spec, start, subdomains, sampler_of, loss, target)
        bits = self.settings.weight_bits if self.settings.weights == "quantised" else None
        frozen = FrozenNetwork.of(network.cpu(), bits)
        held_out = HeldOut.of(sampler, spec.experts, self.settings.seed)
        stored = float(held_out.losses(frozen.module(), loss).sum())
        growth = np.sqrt(stored / result.free_loss) - 1 if result.free_loss > 0 else 0.0
        goal = (0.0 if start is None else start.goal) or stored / spec.experts
        result = replace(result, rounding_loss=float(growth), goal=goal, from_earlier=start is not None)
        return ExpertField(subdomains, frozen), result

    def _from_scratch(
        self, stage: str, spec: NetworkSpec, sampler: Sampler, loss: Loss, target: float
    ) -> tuple[ExpertNetwork, FitResult]:
        """A fit at the target learning rate; in a sequence another one at the refinement rate (section 3.6)."""
        network = ExpertNetwork(spec).to(self.device)
        result = self._run(network, sampler, phases_of(self.settings, target), loss, stage)
        if not (self.leads or self.reference is not None):
            return network, result
        steps = math.ceil(_AGAIN * result.steps)
        phases = refinement_phases(self.settings, _REACHED * target, steps)
        again = self._run(network, sampler, phases, loss, stage)
        return network, together(result, again)

    def _from_earlier(
        self, stage: str, spec: NetworkSpec, start: Start, subdomains: Subdomains, sampler_of: SamplerOf, loss: Loss,
        target: float,
    ) -> tuple[ExpertNetwork, FitResult]:  # fmt: skip
        """A fit at the refinement rate until the first frame's loss is reached; new experts are fitted before it."""
        new = result = None
        if len(start.new):
            own = replace(subdomains, cells=subdomains.cells[start.new])
            of_new = replace(spec, experts=len(own))
            new, result = self._from_scratch(f"{stage}, new", of_new, sampler_of(own), loss, target)
        network = start.network(spec, new, self.device)
        phases = refinement_phases(self.settings, max(start.goal, _REACHED * target), self.settings.epochs)
        fit = self._run(network, sampler_of(subdomains), phases, loss, stage)
        return network, fit if result is None else together(result, fit)

    def _run(self, network: ExpertNetwork, sampler: Sampler, phases: list[Phase], loss: Loss, stage: str) -> FitResult:
        seed, on_event = self.settings.seed, self.on_event
        return fit_network(network, sampler, phases, loss, seed=seed, stage=stage, on_event=on_event)


def _points(points: np.ndarray, targets: np.ndarray) -> SamplerOf:
    """Makes samplers of listed points [n, 3] with targets [n, C]."""

    def sampler(domains: Subdomains) -> Sampler:
        members = domains.members(points)
        local = [points[rows] - corner for rows, corner in zip(members, domains.corners, strict=True)]
        return PointSampler(local, [targets[rows] for rows in members])

    return sampler


def together(first: FitResult, then: FitResult) -> FitResult:
    """Two fits of a network, one after the other."""
    return replace(
        then, steps=first.steps + then.steps, samples=first.samples + then.samples,
        seconds=first.seconds + then.seconds,
    )  # fmt: skip


def refinement_phases(settings: VolumeSettings, goal: float, steps: int) -> list[Phase]:
    """The schedule of a network that has weights already: at most so many steps, none after its loss is below the goal.

    Unless another rate is asked for, it is the target rate. The paper takes a smaller one, for at the target rate
    weights wander too much to reach the goal; their mean does not, and gets there in fewer steps.
    """
    refining = Phase(
        "refine", steps, settings.refine_learning_rate or settings.learning_rate, batch_size=settings.batch_size,
        sample_interval=settings.sample_interval,
        weight_bits=settings.weight_bits if settings.weights == "quantised" else 0, target_loss=goal,
        measure_every=_MEASURE_EVERY, average_steps=_AVERAGED, plateau_steps=_PLATEAU,
        rounding_tolerance=settings.rounding_tolerance,
    )  # fmt: skip
    return [refining]


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
