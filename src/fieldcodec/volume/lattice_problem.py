"""What a lattice is fitted to: the values of a grid on all its leaf voxels, scaled, and how much each one matters."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldcodec.coding.residuals import ordered_integers
from fieldcodec.grid import masks
from fieldcodec.grid.continuation import continue_distance
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.lattice.fit import IMPORTANCE_ONE
from fieldcodec.volume.lattice_spec import EXACT_TYPES, LatticeSpec
from fieldcodec.volume.quality import is_surface
from fieldcodec.volume.temporal.prediction import Predicted

_BAND_VOXELS = 3.0  # half width that a level set's scaled values have
_NEAR_BAND = 4.5  # scaled distance up to which voxels outside the band matter for its edge
_NEAR_RANGE = 0.25  # how far from the active values, as a part of their range, the background counts as one of them
_FARTHEST = 64.0  # scaled distance beyond which what an inactive voxel holds is no distance
_NEAR, _FAR = 8, 1  # importance of such voxels, and of the others


@dataclass(frozen=True, eq=False)
class LatticeProblem:
    """The leaves of a grid, or some of them.

    Attributes:
        origins: [N, 3] int32.
        active: [N, 512] bool.
        targets: [C, N, 512] float32, (value - offset) / scale; on inactive voxels what suits a smooth fit best.
        importance: [N, 512] uint8, in 1/16.
        offset, scale, low, high: [C] float64; low and high are of the active values.
        background: [C] float64.
        surface: the values are signed distances with a band of 3 scaled units.
        values: [N, 512, C] the grid's own.
        predicted, hints: what is known of values, and of states ([N, 512] uint8, see `coding.masks`), from an earlier
            frame; None where nothing is.
    """

    origins: np.ndarray
    active: np.ndarray
    targets: np.ndarray
    importance: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    background: np.ndarray
    surface: bool
    values: np.ndarray
    predicted: Predicted | None = None
    hints: np.ndarray | None = None

    @property
    def num_active(self) -> int:
        return int(np.count_nonzero(self.active))

    @property
    def channels(self) -> int:
        return len(self.targets)

    @cached_property
    def packed(self) -> np.ndarray:
        """[N, 64] uint8: `active`, packed."""
        return masks.pack(self.active)

    @cached_property
    def largest_target(self) -> float:
        """The largest magnitude of a target."""
        return float(np.abs(self.targets).max())

    @cached_property
    def unpredicted(self) -> np.ndarray:
        """[C, N, 512] float32: what of the targets the prediction leaves open."""
        if self.predicted is None:
            return self.targets
        return self.targets - self.predicted.scaled(self.offset, self.scale)

    def predicted_fixed(self, spec: LatticeSpec) -> np.ndarray:
        """[C, N, 512] int32: F as it is predicted; 0 where nothing is known."""
        if self.predicted is None:
            return np.zeros(self.targets.shape, np.int32)
        return self.predicted.fixed(spec)

    @property
    def inside(self) -> np.ndarray:
        """[N, 512] bool: values below zero."""
        return self.values[..., 0] < 0

    @cached_property
    def exact_numbers(self) -> tuple[str, np.ndarray]:
        """The smallest type that holds all active values (see `EXACT_TYPES`), and its ordered integers [C, N, 512]."""
        kind, size = self.values.dtype.kind, self.values.dtype.itemsize
        active = self.values[self.active]
        name = f"{kind}{size}"
        for smaller in (2, 4):
            if kind == "f" and smaller < size and _same_bits(active, f"<f{smaller}"):
                name = f"f{smaller}"
                break
        numbers = ordered_integers(np.moveaxis(self.values, -1, 0).astype(EXACT_TYPES[name]))
        return name, numbers

    @staticmethod
    def of(grid: SparseGrid) -> "LatticeProblem":
        """From a grid with active leaf voxels, all finite."""
        topology = grid.topology
        active = topology.leaf_active_bits
        values = grid.leaf_values[active]
        low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
        background = grid.background.astype(np.float64)
        surface = is_surface(grid)
        if surface:
            offset, scale = np.zeros(1), np.abs(background) / _BAND_VOXELS
        else:
            span = float((high - low).max()) or 1.0  # one for all channels: errors of all count alike
            near = (low - _NEAR_RANGE * span <= background) & (background <= high + _NEAR_RANGE * span)
            offset, scale = np.where(near, background, low), np.full(grid.channels, span)
        targets, importance = _targets(grid, active, offset, scale, surface)
        return LatticeProblem(
            topology.leaf_origins, active, targets, importance,
            offset, scale, low, high, background, surface, grid.leaf_values,
        )  # fmt: skip

    def subset(self, rows: np.ndarray) -> "LatticeProblem":
        """Only the leaves at `rows`."""
        return LatticeProblem(
            self.origins[rows], self.active[rows], self.targets[:, rows], self.importance[rows],
            self.offset, self.scale, self.low, self.high, self.background, self.surface, self.values[rows],
            None if self.predicted is None else self.predicted.subset(rows),
            None if self.hints is None else self.hints[rows],
        )  # fmt: skip

    def sample(self, num_leaves: int, seed: int) -> "LatticeProblem":
        """Whole lower nodes (cubes of 128 voxels) drawn at random, about `num_leaves` leaves in all."""
        if len(self.origins) <= num_leaves:
            return self
        _, node = np.unique(self.origins >> (masks.LEAF_LOG2 + masks.LOWER_LOG2), axis=0, return_inverse=True)
        counts = np.bincount(node)
        order = np.random.default_rng(seed).permutation(len(counts))
        taken = order[: max(1, int(np.searchsorted(np.cumsum(counts[order]), num_leaves)))]
        return self.subset(np.flatnonzero(np.isin(node, taken)))


def _targets(
    grid: SparseGrid, active: np.ndarray, offset: np.ndarray, scale: np.ndarray, surface: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scaled values of all voxels [C, N, 512], and their importance [N, 512].

    Distances are continued beyond the band: clamped ones would bend the surface. Other grids are drawn weakly to
    what inactive voxels hold, so that the decoded value helps to tell which voxels are active.
    """
    if surface:
        distance = np.clip(continue_distance(grid) / np.float32(scale[0]), -_FARTHEST, _FARTHEST)
        importance = np.where(np.abs(distance) < _NEAR_BAND, np.uint8(_NEAR), np.uint8(_FAR))
        importance[active] = IMPORTANCE_ONE
        return distance[None], importance
    targets = np.empty((grid.channels, *active.shape), np.float32)
    span = np.abs(scale) * 2
    for channel in range(grid.channels):
        values = (grid.leaf_values[..., channel].astype(np.float64) - offset[channel]) / scale[channel]
        # inactive voxels may hold anything
        rest = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        targets[channel] = np.where(active, values, np.clip(rest, -span[channel], span[channel]))
    importance = np.where(active, np.uint8(IMPORTANCE_ONE), np.uint8(_FAR))
    return targets, importance


def _same_bits(values: np.ndarray, dtype: str) -> bool:
    """Whether values survive another type bit by bit."""
    with np.errstate(over="ignore"):
        back = values.astype(dtype).astype(values.dtype)
    return back.tobytes() == np.ascontiguousarray(values).tobytes()
