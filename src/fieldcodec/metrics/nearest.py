"""Nearest neighbours among points in space, by a k-d tree.

Written here because no package that the core needs has one (SciPy and libigl do).
"""

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.jit import kernel
from fieldcodec.threads import map_threads

_LEAF = 12  # points at most that are looked at one by one
_QUERIES_OF_A_JOB = 1 << 14


def nearest_neighbours(
    queries: np.ndarray, points: np.ndarray, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Of each of [n, 3] queries the nearest of [m, 3] points: distances [n] float64 and rows [n] int64.

    Args:
        threads: by default one for each processor.

    Raises:
        UsageError: there are no points, or something is no finite number.
    """
    queries, points = np.ascontiguousarray(queries, np.float64), np.ascontiguousarray(points, np.float64)
    if not len(points):
        raise UsageError("nearest neighbours are asked for among no points; give one or more")
    if not (np.isfinite(queries).all() and np.isfinite(points).all()):
        raise UsageError("nearest neighbours are asked for at places that are no finite numbers")
    depth = max(0, int(np.ceil(np.log2(len(points) / _LEAF))))
    order, axes, cuts = np.arange(len(points)), np.empty(1 << depth, np.int64), np.empty(1 << depth)
    _build(points, order, axes, cuts)
    sorted_points = points[order]
    squares, rows = np.empty(len(queries)), np.empty(len(queries), np.int64)

    def look(start: int) -> None:
        part = slice(start, start + _QUERIES_OF_A_JOB)
        _nearest(queries[part], sorted_points, axes, cuts, squares[part], rows[part])

    map_threads(look, range(0, len(queries), _QUERIES_OF_A_JOB), threads)
    return np.sqrt(squares), order[rows]


# The functions below are compiled; numba infers their types, so they carry none. Node i has the children 2 i and
# 2 i + 1, the root is 1, and each node halves the points of its parent; those of the last level are not cut.


@kernel
def _build(points, order, axes, cuts):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Sorts `order` so that the points of every node are neighbours in it; notes where each node is cut."""
    bounds = np.zeros((2 * len(axes), 2), np.int64)
    bounds[1, 1] = len(points)
    for node in range(1, len(axes)):
        first, last = bounds[node]
        axis, widest = 0, -1.0
        for candidate in range(3):
            low, high = np.inf, -np.inf
            for i in range(first, last):
                low = min(low, points[order[i], candidate])
                high = max(high, points[order[i], candidate])
            if high - low > widest:
                axis, widest = candidate, high - low
        values = np.empty(last - first)
        for i in range(first, last):
            values[i - first] = points[order[i], axis]
        order[first:last] = order[first:last][np.argsort(values)]
        middle = (first + last) // 2
        axes[node], cuts[node] = axis, points[order[middle], axis]
        bounds[2 * node], bounds[2 * node + 1] = (first, middle), (middle, last)


@kernel
def _nearest(queries, points, axes, cuts, squares, rows):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Near sides of cuts first; the far ones wait with how far they are along each axis."""
    nodes, bounds = np.empty(64, np.int64), np.empty((64, 2), np.int64)
    gaps = np.empty((64, 3))
    for i in range(len(queries)):
        best, row, height = np.inf, 0, 1
        nodes[0], bounds[0, 0], bounds[0, 1] = 1, 0, len(points)
        gaps[0] = 0.0
        while height:
            height -= 1
            node, first, last = nodes[height], bounds[height, 0], bounds[height, 1]
            gx, gy, gz = gaps[height]
            if gx * gx + gy * gy + gz * gz >= best:
                continue
            while node < len(axes):
                axis, middle = axes[node], (first + last) // 2
                beyond = queries[i, axis] - cuts[node]
                far = 2 * node + (0 if beyond >= 0 else 1)
                nodes[height] = far
                bounds[height, 0], bounds[height, 1] = (first, middle) if beyond >= 0 else (middle, last)
                gaps[height, 0], gaps[height, 1], gaps[height, 2] = gx, gy, gz
                gaps[height, axis] = max(abs(beyond), gaps[height, axis])
                height += 1
                node = far ^ 1
                first, last = (middle, last) if beyond >= 0 else (first, middle)
            for j in range(first, last):
                dx, dy, dz = queries[i, 0] - points[j, 0], queries[i, 1] - points[j, 1], queries[i, 2] - points[j, 2]
                square = dx * dx + dy * dy + dz * dz
                if square < best:
                    best, row = square, j
        squares[i], rows[i] = best, row
