"""The distance of a level set beyond its narrow band.

A level set holds distances in its band only; the other voxels of its leaves hold the background, +-. A smooth
function that is fitted to those as they are bends at the edge of the band, and lies on the wrong side of it for many
voxels. So the distance is continued first: it solves the eikonal equation |grad d| = g outwards from the band, by
locking fast sweeping (Bak, McLaughlin and Renzi, 2010) with second-order upwind differences (Sethian, 1999).
"""

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.continuation_kernels import finish, solve_leaves, start
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology

_TOLERANCE = 3e-3  # voxels; updates below this are not passed on
_MAX_ROUNDS = 64  # each carries the distance 8 voxels on or more
_LONGEST_STEP = 1.5  # voxels the distance may grow from one voxel to the next
_SAMPLED_LEAVES = 2048  # enough for the median of a slope
_ROUNDING = 1.001  # values of 16 bits may exceed the background by this factor
_EXCEEDING_LEAVES = 0.01  # share of the leaves whose values may exceed it by more
_EXACT_SLOPE = 0.05  # a slope this near to 1 is that of a distance, measured


def continue_distance(grid: SparseGrid) -> np.ndarray:
    """Signed distances of all leaf voxels, continued beyond the narrow band.

    Active voxels keep their value. An inactive voxel gets a distance of the sign of its stored value and not nearer
    than the background, so that |d| < background still says which voxels are active. It grows by the voxel size per
    voxel, or, where the values of the band grow at another rate, by the median of that.

    Voxels that no chain of inactive voxels of their sign, face to face, connects with the band get their stored
    value, lifted to the background. All stored values come back for a grid that is no narrow band of distances:
    the background is not positive, active values exceed it, no two of them are of opposite signs, they do not
    grow, or the band is less than a voxel across. Inactive values that are not finite become the background, or 0.

    Args:
        grid: a scalar grid of floating-point values, of class level set.

    Returns:
        [N, 512] float32, N leaves, in the unit of the grid's values; the same for any number of threads.
    """
    stored, topology = grid.leaf_values[..., 0], grid.topology
    if stored.dtype == np.float16:  # which compiled kernels do not know
        stored = stored.astype(np.float32)
    background = _rounded_up(float(grid.background[0]))
    result, ranges = np.empty(stored.shape, np.float32), np.empty((len(stored), 2))
    start(len(stored), stored, topology.leaf_active, result, ranges)
    lengths = _lengths(grid, background) if _is_band(ranges, background) else None
    if lengths is not None:
        _solve(result, topology, lengths, background)
    least = 0.0 if lengths is None else background
    finish(len(stored), stored, topology.leaf_active, least, background if np.isfinite(background) else 0.0, result)
    return result


def _rounded_up(background: float) -> float:
    """The 32-bit number that is not below `background`, so that no result falls below it by rounding."""
    with np.errstate(over="ignore"):
        rounded = np.float32(background)
    return float(np.nextafter(rounded, np.float32(np.inf)) if float(rounded) < background else rounded)


def _is_band(ranges: np.ndarray, background: float) -> bool:
    """Whether active values, given the [n, 2] smallest and largest of each leaf, are those of a narrow band."""
    if not (np.isfinite(background) and background > 0):
        return False
    exceeding = np.maximum(-ranges[:, 0], ranges[:, 1]) > _ROUNDING * background
    has_surface = bool(np.any(ranges[:, 0] < 0) and np.any(ranges[:, 1] > 0))
    return has_surface and float(exceeding.mean()) <= _EXCEEDING_LEAVES


def _lengths(grid: SparseGrid, background: float) -> np.ndarray | None:
    """[3] growth of the distance over one voxel along each axis; None where the values show none."""
    is_linear = grid.transform.is_linear
    voxel_size = grid.transform.voxel_size if is_linear else np.ones(3)
    slopes = _slopes(grid, voxel_size)
    slope = float(np.median(slopes)) if len(slopes) else 1.0  # else the band is too thin to tell
    if is_linear and abs(slope - 1) < _EXACT_SLOPE:
        slope = 1.0
    lengths = slope * voxel_size
    is_usable = np.isfinite(lengths).all() and 0 < lengths.min() <= 2 * background
    return lengths if is_usable else None


def _slopes(grid: SparseGrid, voxel_size: np.ndarray) -> np.ndarray:
    """Sizes of the gradient by central differences, at voxels of some leaves whose neighbours are active too."""
    rows = np.unique(np.linspace(0, grid.topology.num_leaves - 1, _SAMPLED_LEAVES).astype(np.int64))
    cube = (len(rows), masks.LEAF_DIM, masks.LEAF_DIM, masks.LEAF_DIM)
    values = grid.leaf_values[rows].reshape(cube).astype(np.float64)
    active = masks.unpack(grid.topology.leaf_active[rows]).reshape(cube)
    inner = np.s_[:, 1:-1, 1:-1, 1:-1]
    known, squares = active[inner].copy(), np.zeros(active[inner].shape)
    for axis in range(3):
        before, after = np.roll(values, 1, axis + 1)[inner], np.roll(values, -1, axis + 1)[inner]
        known &= np.roll(active, 1, axis + 1)[inner] & np.roll(active, -1, axis + 1)[inner]
        with np.errstate(all="ignore"):  # values of a file may be anything
            squares += ((after - before) / (2 * voxel_size[axis])) ** 2
    return np.sqrt(squares[known & np.isfinite(squares)])


def _solve(result: np.ndarray, topology: Topology, lengths: np.ndarray, background: float) -> None:
    """Fill the infinite voxels of `result`, [N, 512], in place, leaves of either parity in turn until all rest."""
    origins = topology.leaf_origins.astype(np.int64)
    steps = [sign * masks.LEAF_DIM * unit for unit in np.eye(3, dtype=np.int64) for sign in (-1, 1)]
    neighbours = np.stack([topology.leaf_table.find(origins + step) for step in steps], axis=1)
    parity = (origins // masks.LEAF_DIM).sum(axis=1) & 1
    changed = np.zeros(len(origins), bool)
    tolerance = _TOLERANCE * float(lengths.min())
    # Across a thin band the nearest voxel may lie on the other side of the surface, but not beyond the band there.
    lowest = min(0.0, max(-background, background - _LONGEST_STEP * float(lengths.max())))
    settings = (neighbours, topology.leaf_active, 1 / lengths, lowest, background, tolerance)
    for half_round in range(2 * _MAX_ROUNDS):
        rows = np.flatnonzero(parity == half_round & 1)
        solve_leaves(len(rows), rows, *settings, half_round < 2, result, changed)
        if half_round > 0 and not changed.any():
            break
