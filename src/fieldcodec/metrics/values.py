"""Errors of values, voxel by voxel, wherever two grids are both active."""

from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.lookup import TILE_LOG2, Blocks, blocks_at, tiles_of
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import SparseGrid

_LEAVES_AT_ONCE = 2048  # a million voxels: bounds the memory of the comparison


@dataclass(frozen=True)
class ValueErrors:
    """Sums over the values that both grids hold active. A value is one component of one voxel or tile."""

    count: int  # values compared in leaves
    sum_squares: float  # of their absolute errors
    max_leaf: float | None  # largest absolute error in leaves; None where nothing was compared
    tile_count: int  # values of active tiles compared
    tile_sum_squares: float
    max_tile: float | None
    low: float | None  # smallest finite active value of the original
    high: float | None
    inactive_differs: int  # voxels and tiles inactive in both grids whose values differ in any bit
    nonfinite_differs: int  # values left out of the sums: NaN or infinite in one grid and not the same in the other

    @property
    def rmse(self) -> float | None:
        """Over active leaf voxels; over active tiles, each counted once, where no leaf voxel is active."""
        if self.count:
            return float(np.sqrt(self.sum_squares / self.count))
        return float(np.sqrt(self.tile_sum_squares / self.tile_count)) if self.tile_count else None

    @property
    def max_error(self) -> float | None:
        """Largest absolute error of leaf voxels and active tiles."""
        errors = [error for error in (self.max_leaf, self.max_tile) if error is not None]
        return max(errors) if errors else None


def value_errors(original: SparseGrid, decoded: SparseGrid) -> ValueErrors:
    """Compare the values of two grids of the same number of components; their trees may differ."""
    leaves, tiles = _Sums(), _Sums()
    blocks = blocks_at(decoded, original.topology.leaf_origins)
    same_type = original.value_type == decoded.value_type
    inactive = 0
    for start in range(0, original.topology.num_leaves, _LEAVES_AT_ONCE):
        part = slice(start, min(start + _LEAVES_AT_ONCE, original.topology.num_leaves))
        inactive += _add_leaves(leaves, original, blocks, part, same_type)
    for log2 in TILE_LOG2:
        inactive += _add_tiles(tiles, original, decoded, log2)
    lows = [low for low in (leaves.low, tiles.low) if low is not None]
    highs = [high for high in (leaves.high, tiles.high) if high is not None]
    return ValueErrors(
        count=leaves.count,
        sum_squares=leaves.squares,
        max_leaf=leaves.largest,
        tile_count=tiles.count,
        tile_sum_squares=tiles.squares,
        max_tile=tiles.largest,
        low=min(lows, default=None),
        high=max(highs, default=None),
        inactive_differs=inactive,
        nonfinite_differs=leaves.nonfinite + tiles.nonfinite,
    )


class _Sums:
    """Running sums of absolute errors and the range of the original's values."""

    def __init__(self) -> None:
        self.count = self.nonfinite = 0
        self.squares = 0.0
        self.largest: float | None = None
        self.low: float | None = None
        self.high: float | None = None

    def add_range(self, values: np.ndarray) -> None:
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            low, high = float(values.min()), float(values.max())
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)

    def add(self, original: np.ndarray, decoded: np.ndarray) -> None:
        if not original.size:
            return
        error = absolute_difference(original, decoded)
        finite = np.isfinite(error)
        if not finite.all():
            self.nonfinite += int((~finite).sum())
            error = error[finite]
        if error.size:
            self.count += error.size
            self.squares += float(np.dot(error.ravel(), error.ravel()))
            self.largest = max(self.largest or 0.0, float(error.max()))


def absolute_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| in float64, exact for whole numbers before the rounding; 0 where both are the same NaN or infinity.

    Where only one is not finite, the result is not finite either.
    """
    if a.dtype.kind == "b" or b.dtype.kind == "b":
        return (a != b).astype(np.float64)
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        first, second = a.astype(np.int64), b.astype(np.int64)
        # The difference of two int64 always fits uint64, whose arithmetic wraps as needed.
        gap = np.maximum(first, second).view(np.uint64) - np.minimum(first, second).view(np.uint64)
        return gap.astype(np.float64)
    first, second = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(first - second)
    odd = ~np.isfinite(error)
    if odd.any():
        error[odd & ((first == second) | (np.isnan(first) & np.isnan(second)))] = 0.0
    return error


def _add_leaves(sums: _Sums, original: SparseGrid, blocks: Blocks, part: slice, same_type: bool) -> int:
    """Adds a run of leaves; returns the number of voxels inactive in leaves of both with differing values."""
    values, active = original.leaf_values[part], original.topology.leaf_active_bits[part]
    other, other_active = blocks.values(part), blocks.active(part)
    both = active & other_active
    sums.add_range(values[active])
    sums.add(values[both], other[both])
    neither = ~active & ~other_active & (blocks.rows[part] >= 0)[:, None]
    return int(_differs(values[neither], other[neither], same_type).sum())


def _add_tiles(sums: _Sums, original: SparseGrid, decoded: SparseGrid, log2: int) -> int:
    """Adds the tiles of one level; returns the number of tiles inactive in both with differing values."""
    mine, theirs = tiles_of(original, log2), tiles_of(decoded, log2)
    sums.add_range(mine.values[mine.active])
    if np.array_equal(mine.origins, theirs.origins):
        rows = np.arange(len(mine.origins))
    else:
        rows = OriginTable(theirs.origins).find(mine.origins)
    shared = rows >= 0
    rows = rows[shared]
    active, other_active = mine.active[shared], theirs.active[rows]
    values, others = mine.values[shared], theirs.values[rows]
    both, neither = active & other_active, ~active & ~other_active
    sums.add(values[both], others[both])
    same_type = original.value_type == decoded.value_type
    return int(_differs(values[neither], others[neither], same_type).sum())


def _differs(a: np.ndarray, b: np.ndarray, same_type: bool) -> np.ndarray:
    """[n, C], [n, C] -> [n] bool: rows that differ, bit for bit where the types are the same."""
    if same_type and a.dtype.kind == "f":
        whole = np.dtype(f"u{a.dtype.itemsize}")
        a, b = np.ascontiguousarray(a).view(whole), np.ascontiguousarray(b).view(whole)
    return (a != b).any(axis=1)
