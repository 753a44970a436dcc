"""Random training samples, drawn per expert (NeuralVDB 3.2.1: from the active voxels only).

Every sampler answers `draw(rng, count)` with, for each of K experts, `count` samples:
local coordinates [K, count, 3] float32, in voxels from the expert's corner, and targets [K, count, C] float32.
Voxels are found by rank in the bit masks, so no list of all voxels is ever held.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from fieldcodec.fit.kernels import find_active, rank_guide
from fieldcodec.shapes import LeafMasks, LeafOrigins, LocalSamples, Rows, TargetSamples


@runtime_checkable
class Sampler(Protocol):
    """Something that draws training samples."""

    def draw(self, rng: np.random.Generator, count: int) -> tuple[LocalSamples, TargetSamples]: ...


class ActiveVoxelSampler:
    """Active voxels of leaves with their normalised values.

    Args:
        expert_leaves: per expert the rows of the leaves in its domain; [n_k] int64 each.
        expert_corners: [K, 3] index coordinates of the experts' corners.
        leaf_origins, leaf_active, leaf_values: as in Topology and SparseGrid.
        offset, scale: [C]; a target is (value - offset) / scale.
    """

    def __init__(
        self, expert_leaves: list[Rows], expert_corners: np.ndarray, leaf_origins: LeafOrigins,
        leaf_active: LeafMasks, leaf_values: np.ndarray, offset: np.ndarray, scale: np.ndarray,
    ) -> None:  # fmt: skip
        self._leaves, self._corners = expert_leaves, np.asarray(expert_corners, np.int64)
        self._origins, self._values = leaf_origins, leaf_values
        self._words = np.ascontiguousarray(leaf_active).view("<u8").astype(np.uint64, copy=False)
        self._offset, self._scale = offset.astype(np.float64), scale.astype(np.float64)
        counts = np.bitwise_count(leaf_active).sum(axis=1, dtype=np.int64)
        self._ends = [np.cumsum(counts[rows]) for rows in expert_leaves]
        self._guides = [rank_guide(ends) for ends in self._ends]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[LocalSamples, TargetSamples]:
        experts = len(self._leaves)
        local = np.empty((experts, count, 3), np.float32)
        target = np.empty((experts, count, self._values.shape[-1]), np.float32)
        for expert, (rows, ends, guide) in enumerate(zip(self._leaves, self._ends, self._guides, strict=True)):
            leaves, slots = find_active(self._words, rows, ends, guide, rng.integers(0, ends[-1], count))
            local[expert] = _positions(self._origins, leaves, slots, self._corners[expert])
            target[expert] = (self._values[leaves, slots] - self._offset) / self._scale
        return local, target


class BlendedSampler:
    """Two samplers, of which the second gives a share of the samples, spread evenly.

    Args:
        share: of the samples, above 0 and below 1.
    """

    def __init__(self, most: Sampler, some: Sampler, share: float) -> None:
        self._most, self._some, self._share = most, some, share

    def draw(self, rng: np.random.Generator, count: int) -> tuple[LocalSamples, TargetSamples]:
        local, target = self._most.draw(rng, count)
        rows = np.flatnonzero(np.diff(np.floor(np.arange(count + 1) * self._share)))
        local[:, rows], target[:, rows] = self._some.draw(rng, len(rows))
        return local, target


class LeafMaskSampler:
    """All voxels of leaves with their active state, 0 or 1 (the level-0 classifier, section 3.3.1)."""

    def __init__(
        self,
        expert_leaves: list[Rows],
        expert_corners: np.ndarray,
        leaf_origins: LeafOrigins,
        leaf_active: LeafMasks,
    ) -> None:
        self._leaves, self._corners = expert_leaves, np.asarray(expert_corners, np.int64)
        self._origins, self._active = leaf_origins, leaf_active

    def draw(self, rng: np.random.Generator, count: int) -> tuple[LocalSamples, TargetSamples]:
        experts = len(self._leaves)
        local = np.empty((experts, count, 3), np.float32)
        target = np.empty((experts, count, 1), np.float32)
        for expert, rows in enumerate(self._leaves):
            leaves = rows[rng.integers(0, len(rows), count)]
            slots = rng.integers(0, 512, count)
            local[expert] = _positions(self._origins, leaves, slots, self._corners[expert])
            target[expert, :, 0] = (self._active[leaves, slots >> 3] >> (slots & 7)) & 1
        return local, target


class PointSampler:
    """Listed points with targets: slots of lower nodes and tiles, far fewer than voxels.

    Args:
        points: per expert [n_k, 3] local integer coordinates.
        targets: per expert [n_k, C].
    """

    def __init__(self, points: list[np.ndarray], targets: list[np.ndarray]) -> None:
        self._points, self._targets = points, targets

    def draw(self, rng: np.random.Generator, count: int) -> tuple[LocalSamples, TargetSamples]:
        picks = [rng.integers(0, len(points), count) for points in self._points]
        local = np.stack([points[rows] for points, rows in zip(self._points, picks, strict=True)])
        target = np.stack([targets[rows] for targets, rows in zip(self._targets, picks, strict=True)])
        return local.astype(np.float32), target.astype(np.float32)


def _positions(origins: np.ndarray, leaves: np.ndarray, slots: np.ndarray, corner: np.ndarray) -> np.ndarray:
    offsets = np.stack([slots >> 6, (slots >> 3) & 7, slots & 7], axis=-1)
    return (origins[leaves] - corner + offsets).astype(np.float32)
