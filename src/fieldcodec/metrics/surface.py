"""How well the surface of a level set is kept: overlap of interiors and distance of surfaces."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.lookup import blocks_at, negative_set
from fieldcodec.grid.sparse_grid import SparseGrid

_LEAVES_AT_ONCE = 2048  # a million voxels: bounds the memory of the comparison


def interior_overlap(original: SparseGrid, decoded: SparseGrid) -> float | None:
    """Intersection over union of the interiors of two level sets (IoU; NeuralVDB, section 4.1).

    The interior is every voxel with a negative value, those of tiles included. None where neither has one.
    """
    mine, theirs = negative_set(original), negative_set(decoded)
    shared = mine.intersection(theirs)
    union = mine.count + theirs.count - shared
    return shared / union if union else None


def surface_distance(original: SparseGrid, decoded: SparseGrid) -> float | None:
    """Modified Chamfer distance of two level sets in voxels (mCD; NeuralVDB, equation 4).

        mCD = 1/(2 N1) sum_i |SDF2(v1_i)| + 1/(2 N2) sum_i |SDF1(v2_i)|

    v1, v2 are the points where the surface of each grid crosses an edge between neighbouring voxels:
    the vertices of marching cubes. Distances are divided by the voxel size. Where one grid has no surface
    the mean is that of the other's points alone; None where neither has one, or the voxel size is unknown.
    """
    if not (original.transform.is_linear and decoded.transform.is_linear):
        return None
    means = []
    for surface, field in ((original, decoded), (decoded, original)):
        total, count = _distances(surface, field)
        if count:
            means.append(total / count / float(field.transform.voxel_size.mean()))
    return float(np.mean(means)) if means else None


def _distances(surface: SparseGrid, field: SparseGrid) -> tuple[float, int]:
    """Sum of |field| over the surface points of another grid, in world units, and their number.

    A surface point lies on an edge of the voxel lattice, which both grids share, so the trilinear sample
    of the field there is a mix of two of its voxels.
    """
    total, count = 0.0, 0
    origins = surface.topology.leaf_origins
    own = blocks_at(field, origins)
    for axis in range(3):
        ahead = blocks_at(field, origins + 8 * np.eye(3, dtype=origins.dtype)[axis])
        for edges in _crossings(surface, axis):
            first = own.at(edges.leaf, edges.slot)[:, 0].astype(np.float64)
            second = own.at(edges.leaf, edges.next_slot)[:, 0].astype(np.float64)
            second[edges.leaves_leaf] = ahead.at(edges.leaf[edges.leaves_leaf], edges.next_slot[edges.leaves_leaf])[
                :, 0
            ]
            total += float(np.abs(first + edges.step * (second - first)).sum())
            count += len(edges.step)
    return total, count


@dataclass(frozen=True, eq=False)
class _Edges:
    """Edges along one axis whose ends have opposite signs."""

    leaf: np.ndarray  # [m] int64: row of the leaf that holds the first end
    slot: np.ndarray  # [m] int64: the voxel of the first end in its leaf
    next_slot: np.ndarray  # [m] int64: the voxel of the second end in its own leaf
    leaves_leaf: np.ndarray  # [m] bool: the second end lies in the next leaf along the axis
    step: np.ndarray  # [m] float64 in [0, 1]: where the value is zero, by linear interpolation


def _crossings(grid: SparseGrid, axis: int) -> Iterator[_Edges]:
    """The edges along `axis` with both ends in leaves that cross the surface, a run of leaves at a time."""
    origins = grid.topology.leaf_origins
    neighbour = grid.topology.leaf_table.find(origins + 8 * np.eye(3, dtype=origins.dtype)[axis])
    slots = np.moveaxis(np.arange(512).reshape(8, 8, 8), axis, 0)
    for start in range(0, len(origins), _LEAVES_AT_ONCE):
        values = _layers(grid.leaf_values[start : start + _LEAVES_AT_ONCE], axis)
        rows = neighbour[start : start + _LEAVES_AT_ONCE]
        after = np.empty_like(values)
        after[:, :7] = values[:, 1:]
        after[:, 7] = np.where((rows >= 0)[:, None, None], _layers(grid.leaf_values[rows], axis)[:, 0], values[:, 7])
        crossing = (values < 0) != (after < 0)
        if grid.value_type.is_float:
            crossing &= np.isfinite(values) & np.isfinite(after)
        leaf, i, j, k = np.nonzero(crossing)
        first, second = values[leaf, i, j, k].astype(np.float64), after[leaf, i, j, k].astype(np.float64)
        yield _Edges(
            leaf=leaf + start,
            slot=slots[i, j, k],
            next_slot=slots[(i + 1) % 8, j, k],
            leaves_leaf=i == 7,
            step=first / (first - second),
        )


def _layers(leaf_values: np.ndarray, axis: int) -> np.ndarray:
    """[n, 512, 1] -> [n, 8, 8, 8] with the given axis of the voxels first."""
    return np.moveaxis(leaf_values[..., 0].reshape(-1, 8, 8, 8), axis + 1, 1)
