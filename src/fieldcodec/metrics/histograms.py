"""How values and errors are distributed, for reports."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.sparse_grid import SparseGrid

_LEAVES_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many numbers lie in each of n equal bins."""

    low: float
    high: float
    counts: np.ndarray  # [n] int64


@dataclass(frozen=True, eq=False)
class ValueHistograms:
    """Of the finite values of leaf voxels that are active in both grids, each component counted."""

    original: Histogram
    decoded: Histogram  # over the same bins; what lies beyond them is in the outermost
    error: Histogram  # decoded minus original, over bins that are symmetric around 0


def value_histograms(original: SparseGrid, decoded: SparseGrid, *, bins: int = 81) -> ValueHistograms | None:
    """The distribution of values and of errors; None where no voxel is active in both grids.

    Args:
        bins: an odd number, so that one bin of the errors is around 0.

    Raises:
        UnsupportedGridError: the values do not have the same number of components.
    """
    if original.channels != decoded.channels:
        raise UnsupportedGridError(
            f"grids of {original.value_type.name} and {decoded.value_type.name} have no common histogram; "
            "give two grids of the same kind"
        )
    low, high, largest = np.inf, -np.inf, 0.0
    for first, second in _pairs(original, decoded):
        if first.size:
            low, high = min(low, float(first.min())), max(high, float(first.max()))
            largest = max(largest, float(np.abs(second - first).max()))
    if not low <= high:
        return None
    high = high if high > low else low + 1.0
    reach = largest or 1.0
    counts = np.zeros((3, bins), np.int64)
    for first, second in _pairs(original, decoded):
        counts[0] += _counts(first, low, high, bins)
        counts[1] += _counts(second, low, high, bins)
        counts[2] += _counts(second - first, -reach, reach, bins)
    return ValueHistograms(
        Histogram(low, high, counts[0]), Histogram(low, high, counts[1]), Histogram(-reach, reach, counts[2])
    )


def _pairs(original: SparseGrid, decoded: SparseGrid) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values [n] float64 of both grids, some leaves at a time."""
    blocks = blocks_at(decoded, original.topology.leaf_origins)
    for start in range(0, original.topology.num_leaves, _LEAVES_AT_ONCE):
        part = slice(start, min(start + _LEAVES_AT_ONCE, original.topology.num_leaves))
        both = original.topology.leaf_active_bits[part] & blocks.active(part)
        first = original.leaf_values[part][both].astype(np.float64).reshape(-1)
        second = blocks.values(part)[both].astype(np.float64).reshape(-1)
        finite = np.isfinite(first) & np.isfinite(second)
        yield first[finite], second[finite]


def _counts(values: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    place = np.clip((values - low) * (bins / (high - low)), 0, bins - 1).astype(np.int64)
    return np.bincount(place, minlength=bins)
