"""Inside or outside, by the winding number of the triangles around each voxel.

Two ways of one interface: `ColumnWinding` is exact and fast and needs a closed mesh; `FractionalWinding`
takes any triangles. Which way round the surface winds does not count, so that a mesh turned inside out is solid too.
"""

from collections.abc import Callable
from typing import Any, Protocol, final

import numpy as np
from numba import njit, prange

from fieldcodec.errors import MissingPackageError
from fieldcodec.grid import masks

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done, 0 to 1."""

_BATCH = 4096  # leaves asked for at a time
_SHIFT, _OFFSET = 24, 1 << 23  # columns are numbered (y + offset) << shift | (z + offset)


class Winding(Protocol):
    """Tells the inside of a surface from its outside."""

    def is_inside(self, voxels: np.ndarray) -> np.ndarray:
        """[q, 3] integer index coordinates -> [q] bool."""
        ...


@final
class ColumnWinding:
    """Integer winding number of a closed mesh by scan conversion: crossings along the columns of voxels in x.

    Each triangle is cut by the planes y = j, the cut by the lines z = k, with half-open rules at vertices and
    edges; a crossing of an edge is computed from the edge alone, so both its triangles see the same number and
    no column slips through between them. In a column, the winding number at x is minus the sum of the
    signs of the crossings at or below x.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """Args: vertices [n, 3] float64 in index space; triangles [m, 3] int64, closed as a chain."""
        counts = _count_crossings(vertices, triangles)
        starts = np.concatenate([[0], np.cumsum(counts)])
        keys, x = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.float64)
        signs = np.empty(starts[-1], np.int8)
        _list_crossings(vertices, triangles, starts, keys, x, signs)
        order = np.lexsort((x, keys))
        keys, self._x = keys[order], x[order]
        # The signs of a column sum to zero, so one running sum serves all columns.
        self._sums = np.concatenate([[0], np.cumsum(signs[order], dtype=np.int64)])
        new = np.ones(len(keys), bool)
        new[1:] = keys[1:] != keys[:-1]
        firsts = np.flatnonzero(new)
        self._columns, self._starts = keys[firsts], np.append(firsts, len(keys))

    def is_inside(self, voxels: np.ndarray) -> np.ndarray:
        """[q, 3] integer index coordinates -> [q] bool."""
        voxels = np.ascontiguousarray(voxels, np.int64)
        return _inside_columns(voxels, self._columns, self._starts, self._x, self._sums)


@final
class FractionalWinding:
    """Generalised winding number of any triangles (libigl's fast one); inside is half a time round or more.

    Jacobson, Kavan, Sorkine-Hornung, "Robust inside-outside segmentation using generalized winding numbers", 2013.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """Args: vertices [n, 3] float64 in index space; triangles [m, 3] int64."""
        self._igl = _igl()
        self._centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2  # it computes in 32 bits
        self._vertices = np.ascontiguousarray(vertices - self._centre)
        self._triangles = np.ascontiguousarray(triangles, np.int64)

    def is_inside(self, voxels: np.ndarray) -> np.ndarray:
        """[q, 3] integer index coordinates -> [q] bool."""
        if not len(voxels):
            return np.zeros(0, bool)
        queries = np.ascontiguousarray(voxels - self._centre)
        winding = self._igl.fast_winding_number(self._vertices, self._triangles, queries)
        return np.abs(np.atleast_1d(winding)) > 0.5


def apply_signs(distances: np.ndarray, origins: np.ndarray, winding: Winding, report: Progress) -> None:
    """Makes the distances of inside voxels negative, in place.

    Args:
        distances: [n, 512] float32, not negative.
        origins: [n, 3] leaf origins.
    """
    offsets = masks.slot_offsets(masks.LEAF_LOG2).astype(np.int64)
    report("sign", 0.0)
    for first in range(0, len(origins), _BATCH):
        some = slice(first, first + _BATCH)
        voxels = (origins[some, None] + offsets).reshape(-1, 3)
        inside = winding.is_inside(voxels).reshape(-1, masks.LEAF_SLOTS)
        np.negative(distances[some], out=distances[some], where=inside & (distances[some] > 0))
        report("sign", min(first + _BATCH, len(origins)) / len(origins))


def _igl() -> Any:
    try:
        import igl
    except ImportError as error:
        raise MissingPackageError(
            "a mesh that cannot be closed needs the package libigl, which is not installed; "
            "run: pip install 'fieldcodec[mesh]'"
        ) from error
    return igl


# The functions below are compiled; numba infers their types, so they carry none.


@njit(cache=True)
def _cross_edge(vertices, a, b, j, out, place):  # type: ignore[no-untyped-def]
    """Where edge ab meets the plane y = j: (z, x) to out[place:]. The same for ab and ba, bit for bit."""
    if a > b:
        a, b = b, a
    share = (j - vertices[a, 1]) / (vertices[b, 1] - vertices[a, 1])
    out[place] = vertices[a, 2] + share * (vertices[b, 2] - vertices[a, 2])
    out[place + 1] = vertices[a, 0] + share * (vertices[b, 0] - vertices[a, 0])


@njit(cache=True)
def _scan(vertices, triangle, start, keys, x, signs):  # type: ignore[no-untyped-def]
    """Number of columns that cross one triangle; the crossings go to start and on unless it is negative."""
    found = 0
    cut = np.empty(4)  # z and x where the boundary goes up through the plane, z and x where down
    ys = vertices[triangle[0], 1], vertices[triangle[1], 1], vertices[triangle[2], 1]
    # A vertex on the plane counts as below it: cut are the planes with min <= j < max.
    for j in range(int(np.ceil(min(ys))), int(np.ceil(max(ys)))):
        for edge in range(3):
            a, b = triangle[edge], triangle[(edge + 1) % 3]
            from_above, to_above = vertices[a, 1] > j, vertices[b, 1] > j
            if from_above != to_above:
                _cross_edge(vertices, a, b, j, cut, 0 if to_above else 2)
        low, high = int(np.ceil(min(cut[0], cut[2]))), int(np.ceil(max(cut[0], cut[2])))
        if start >= 0:
            for k in range(low, high):
                share = (k - cut[2]) / (cut[0] - cut[2])
                keys[start + found] = (j + _OFFSET) << _SHIFT | (k + _OFFSET)
                x[start + found] = cut[3] + share * (cut[1] - cut[3])
                signs[start + found] = 1 if cut[0] > cut[2] else -1
                found += 1
        else:
            found += max(high - low, 0)
    return found


@njit(parallel=True, cache=True)
def _count_crossings(vertices, triangles):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(triangles), np.int64)
    no_x, no_signs = np.empty(0), np.empty(0, np.int8)
    for row in prange(len(triangles)):
        counts[row] = _scan(vertices, triangles[row], -1, counts, no_x, no_signs)
    return counts


@njit(parallel=True, cache=True)
def _list_crossings(vertices, triangles, starts, keys, x, signs):  # type: ignore[no-untyped-def]
    for row in prange(len(triangles)):
        _scan(vertices, triangles[row], starts[row], keys, x, signs)


@njit(parallel=True, cache=True)
def _inside_columns(voxels, columns, starts, x, sums):  # type: ignore[no-untyped-def]
    inside = np.zeros(len(voxels), np.bool_)
    for row in prange(len(voxels)):
        key = (voxels[row, 1] + _OFFSET) << _SHIFT | (voxels[row, 2] + _OFFSET)
        column = np.searchsorted(columns, key)
        if column == len(columns) or columns[column] != key:
            continue
        first, last = starts[column], starts[column + 1]
        below = first + np.searchsorted(x[first:last], float(voxels[row, 0]), side="right")
        inside[row] = sums[below] != sums[first]
    return inside
