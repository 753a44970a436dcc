"""Inside or outside, by the winding number of the triangles around each voxel.

Two ways of one interface: `ColumnWinding` is exact and fast and needs a closed mesh; `FractionalWinding`
takes any triangles. Which way round the surface winds does not count, so that a mesh turned inside out is solid too.
"""

from collections.abc import Callable
from typing import Any, Protocol, final

import numpy as np

from fieldcodec.errors import FormatError, MissingPackageError
from fieldcodec.grid import masks
from fieldcodec.io.mesh.triangle import UNLIMITED, bounds_of
from fieldcodec.jit import kernel, row_kernel
from fieldcodec.threads import map_threads

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done, 0 to 1."""

_BATCH = 4096  # leaves asked for at a time
_COLUMNS_LOG2 = 7  # log2 of the columns of voxels, along y and along z, that are signed at once
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
        counts = np.empty(len(triangles), np.int64)
        _count_crossings(len(triangles), vertices, triangles, counts)
        starts = np.concatenate([[0], np.cumsum(counts)])
        keys, x = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.float64)
        signs = np.empty(starts[-1], np.int8)
        _list_crossings(len(triangles), vertices, triangles, starts, keys, x, signs)
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
        inside = np.zeros(len(voxels), bool)
        _inside_columns(len(voxels), voxels, self._columns, self._starts, self._x, self._sums, inside)
        return inside


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


def apply_column_signs(
    distances: np.ndarray,
    origins: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    *,
    crossings_per_column: int = UNLIMITED,
    threads: int | None = None,
) -> None:
    """Makes the distances of voxels inside a closed mesh negative, in place; the same bits on every machine.

    Decides as `ColumnWinding` does, but adds the crossings up in the leaves, without a list of them.

    Args:
        distances: [n, 512] float32, not negative.
        origins: [n, 3] integers, distinct leaf origins in any order.
        vertices: [v, 3] float64 in index space.
        triangles: [m, 3] int64, closed as a chain.
        crossings_per_column: how often the mesh may cross a column of voxels, on the average of 128^2.
        threads: None means one per processor.

    Raises:
        FormatError: the mesh crosses columns more often than `crossings_per_column` allows.
    """
    origins, vertices = np.asarray(origins, np.int64), np.ascontiguousarray(vertices, np.float64)
    triangles = np.ascontiguousarray(triangles, np.int64)
    bounds = bounds_of(vertices[triangles].reshape(-1, 9))

    most = min(crossings_per_column << (2 * _COLUMNS_LOG2), UNLIMITED)

    def sign(rows: np.ndarray) -> None:
        counts = np.zeros((len(rows), masks.LEAF_SLOTS), np.int32)
        if _count_in_leaves(vertices, triangles, bounds, origins[rows], most, counts) > most:
            raise FormatError(
                f"a mesh crosses columns of voxels more than {crossings_per_column} times, which no volume that is "
                "worth storing as a mesh does; the file is damaged, get it again from its source"
            )
        inside = counts != 0
        some = distances[rows]
        distances[rows] = np.negative(some, out=some, where=inside & (some > 0))

    map_threads(sign, _by_columns(origins), threads)


def _by_columns(origins: np.ndarray) -> list[np.ndarray]:
    """Rows of the leaves in each 128^2 columns of voxels, ordered by y, z and x."""
    x, y, z = origins.T
    order = np.lexsort((x, z, y, z >> _COLUMNS_LOG2, y >> _COLUMNS_LOG2))
    columns = origins[order, 1:] >> _COLUMNS_LOG2
    return np.split(order, np.flatnonzero(np.any(columns[1:] != columns[:-1], axis=1)) + 1) if len(order) else []


def apply_signs(distances: np.ndarray, origins: np.ndarray, winding: Winding, report: Progress) -> None:
    """Makes the distances of inside voxels negative, in place.

    Args:
        distances: [n, 512] float32, not negative.
        origins: [n, 3] leaf origins.
    """
    offsets = masks.slot_offsets(masks.LEAF_LOG2).astype(np.int64)
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


@kernel
def _cross_edge(vertices, a, b, j, out, place):  # type: ignore[no-untyped-def]
    """Where edge ab meets the plane y = j: (z, x) to out[place:]. The same for ab and ba, bit for bit."""
    if a > b:
        a, b = b, a
    share = (j - vertices[a, 1]) / (vertices[b, 1] - vertices[a, 1])
    out[place] = vertices[a, 2] + share * (vertices[b, 2] - vertices[a, 2])
    out[place + 1] = vertices[a, 0] + share * (vertices[b, 0] - vertices[a, 0])


@kernel
def _cut(vertices, triangle, j, cut):  # type: ignore[no-untyped-def]
    """The cut of a triangle by the plane y = j: z and x where its boundary goes up through the plane, where down.

    A vertex on the plane counts as below it: cut are the planes with min <= j < max.
    """
    for edge in range(3):
        a, b = triangle[edge], triangle[(edge + 1) % 3]
        from_above, to_above = vertices[a, 1] > j, vertices[b, 1] > j
        if from_above != to_above:
            _cross_edge(vertices, a, b, j, cut, 0 if to_above else 2)


@kernel
def _crossing(cut, k):  # type: ignore[no-untyped-def]
    """Where the line z = k meets the cut: x, and the sign of the crossing."""
    share = (k - cut[2]) / (cut[0] - cut[2])
    return cut[3] + share * (cut[1] - cut[3]), 1 if cut[0] > cut[2] else -1


@kernel
def _scan(vertices, triangle, start, keys, x, signs):  # type: ignore[no-untyped-def]
    """Number of columns that cross one triangle; the crossings go to start and on unless it is negative."""
    found = 0
    cut = np.empty(4)
    ys = vertices[triangle[0], 1], vertices[triangle[1], 1], vertices[triangle[2], 1]
    for j in range(int(np.ceil(min(ys))), int(np.ceil(max(ys)))):
        _cut(vertices, triangle, j, cut)
        low, high = int(np.ceil(min(cut[0], cut[2]))), int(np.ceil(max(cut[0], cut[2])))
        if start >= 0:
            for k in range(low, high):
                keys[start + found] = (j + _OFFSET) << _SHIFT | (k + _OFFSET)
                x[start + found], signs[start + found] = _crossing(cut, k)
                found += 1
        else:
            found += max(high - low, 0)
    return found


@row_kernel(1 << 12)
def _count_crossings(first, last, vertices, triangles, counts):  # type: ignore[no-untyped-def]
    no_x, no_signs = np.empty(0), np.empty(0, np.int8)
    for row in range(first, last):
        counts[row] = _scan(vertices, triangles[row], -1, counts, no_x, no_signs)


@row_kernel(1 << 12)
def _list_crossings(first, last, vertices, triangles, starts, keys, x, signs):  # type: ignore[no-untyped-def]
    for row in range(first, last):
        _scan(vertices, triangles[row], starts[row], keys, x, signs)


@row_kernel(1 << 12)
def _inside_columns(first, last, voxels, columns, starts, x, sums, inside):  # type: ignore[no-untyped-def]
    for row in range(first, last):
        key = (voxels[row, 1] + _OFFSET) << _SHIFT | (voxels[row, 2] + _OFFSET)
        column = np.searchsorted(columns, key)
        if column == len(columns) or columns[column] != key:
            continue
        low, high = starts[column], starts[column + 1]
        below = low + np.searchsorted(x[low:high], float(voxels[row, 0]), side="right")
        inside[row] = sums[below] != sums[low]


@kernel
def _first_leaves(origins, width):  # type: ignore[no-untyped-def]
    """[width^2 + 1] where the leaves of each column of leaves start, in leaves ordered by y, z and x."""
    starts = np.zeros(width * width + 1, np.int64)
    for row in range(len(origins)):
        starts[((origins[row, 1] >> 3) % width) * width + (origins[row, 2] >> 3) % width + 1] += 1
    for column in range(width * width):
        starts[column + 1] += starts[column]
    return starts


@kernel
def _add_crossing(origins, first, last, x, place, sign, counts):  # type: ignore[no-untyped-def]
    """Adds a crossing to the first voxel at or behind it in a column of the leaves first to last, if any."""
    if not x <= origins[last - 1, 0] + 7:
        return
    while first < last - 1:  # the first leaf that ends at x or behind
        mid = (first + last - 1) // 2
        if origins[mid, 0] + 7 >= x:
            last = mid + 1
        else:
            first = mid + 1
    slot = int(np.ceil(max(x - origins[first, 0], 0.0)))
    counts[first, slot << 6 | place] += sign


@kernel
def _count_in_leaves(vertices, triangles, bounds, origins, most, counts):  # type: ignore[no-untyped-def]
    """Fills counts [n, 512], zeros, with minus the winding numbers of the voxels of leaves ordered by y, z and x.

    Args: bounds [m, 6] of the triangles; origins [n, 3] of leaves in the same 128^2 columns of voxels.
    Returns the number of crossings; gives up where they are more than `most`.
    """
    side = 1 << _COLUMNS_LOG2
    y0, z0 = origins[0, 1] >> _COLUMNS_LOG2 << _COLUMNS_LOG2, origins[0, 2] >> _COLUMNS_LOG2 << _COLUMNS_LOG2
    last_x = origins[:, 0].max() + 7
    starts = _first_leaves(origins, side >> 3)
    cut = np.empty(4)
    crossings = 0
    for row in range(len(triangles)):
        if crossings > most:
            return crossings
        box = bounds[row]
        if box[0] > last_x or box[4] <= y0 or box[1] > y0 + side - 1 or box[5] <= z0 or box[2] > z0 + side - 1:
            continue
        for j in range(int(np.ceil(max(box[1], float(y0)))), int(np.ceil(min(box[4], float(y0 + side))))):
            _cut(vertices, triangles[row], j, cut)
            low, high = max(min(cut[0], cut[2]), float(z0)), min(max(cut[0], cut[2]), float(z0 + side))
            crossings += max(int(np.ceil(high)) - int(np.ceil(low)), 0)
            for k in range(int(np.ceil(low)), int(np.ceil(high))):
                column = (j - y0 >> 3) * (side >> 3) + (k - z0 >> 3)
                if starts[column] < starts[column + 1]:
                    x, sign = _crossing(cut, k)
                    place = (j & 7) << 3 | (k & 7)
                    _add_crossing(origins, starts[column], starts[column + 1], x, place, sign, counts)
    _add_up(origins, counts)
    return crossings


@kernel
def _add_up(origins, counts):  # type: ignore[no-untyped-def]
    """Turns the changes of the winding number along each column of voxels into the number itself."""
    for leaf in range(len(origins)):
        if leaf and origins[leaf, 1] == origins[leaf - 1, 1] and origins[leaf, 2] == origins[leaf - 1, 2]:
            for place in range(64):
                counts[leaf, place] += counts[leaf - 1, 7 << 6 | place]
        for voxel in range(64, 512):
            counts[leaf, voxel] += counts[leaf, voxel - 64]
