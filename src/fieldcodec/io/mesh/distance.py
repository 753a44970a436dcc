"""Exact distances from voxels to triangles, for the voxels near them (compiled by numba).

All coordinates are in index space: voxel (i, j, k) is the point (i, j, k).
`leaves_near` finds the leaves that a surface comes near, `leaf_distances` the distances of all voxels of
given leaves. The latter goes from nodes to blocks to leaves to octants, and at each step keeps the triangles
that may be nearest to a voxel there. What it drops can be no minimum, so how leaves are grouped, the order of
the triangles and the number of threads change no bit of the result.
"""

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.io.mesh.triangle import PREPARED, UNLIMITED, bounds_of, in_registers, prepare, squared_distance
from fieldcodec.jit import kernel, row_kernel
from fieldcodec.threads import map_threads

LEAF_RADIUS = 6.0622  # from the centre of a leaf's voxels to its corner voxels: 3.5 times the root of 3, rounded up
BLOCK = 8  # leaves along one side of a block, rejected in one go for large triangles
BLOCK_RADIUS = 54.5597
OCTANT_RADIUS = 2.5981
KEY_BITS = 21  # bits for each leaf coordinate in a sort key
KEY_OFFSET = 1 << (KEY_BITS - 1)
MAX_COORDINATE = 8 * (KEY_OFFSET - 2)  # largest |index coordinate| that has a key
_NODE_LOG2, _BLOCK_LOG2 = 7, 5  # log2 of the voxels along one side of what is searched for triangles at once
_TESTS_IN_LEAF = 64  # what a triangle costs a leaf that keeps it, in tests of one point
_TESTS_PER_NODE = 1 << 22  # allowed on top, for nodes of few leaves
_SLACK = 1.0 + 1e-9  # what rounding may do to a distance that decides whether a triangle is kept


def leaves_near(corners: np.ndarray, reach: float) -> np.ndarray:
    """The leaves that may hold a voxel closer to a triangle than `reach`.

    Args:
        corners: [m, 9] float64, the three corners of each triangle in index space.

    Returns:
        [n, 3] int64 leaf origins sorted by x, y, z.
    """
    counts = np.empty(len(corners), np.int64)
    _count_leaves(len(corners), corners, reach, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    keys = np.empty(starts[-1], np.int64)
    _list_leaves(len(corners), corners, reach, starts, keys)
    unique, low = np.unique(keys), (1 << KEY_BITS) - 1
    leaves = np.stack([unique >> (2 * KEY_BITS), (unique >> KEY_BITS) & low, unique & low], axis=1) - KEY_OFFSET
    return leaves * 8


def leaf_distances(
    corners: np.ndarray,
    origins: np.ndarray,
    reach: float,
    *,
    tests_per_leaf: int = UNLIMITED,
    threads: int | None = None,
) -> np.ndarray:
    """Distance of each voxel of some leaves to the nearest triangle, `reach` at most; the same bits everywhere.

    Args:
        corners: [m, 9] float64, the three corners of each triangle in index space.
        origins: [n, 3] integers, distinct leaf origins in any order.
        tests_per_leaf: how many tests of a point against a triangle a leaf may cost, on the average of a node.
        threads: None means one per processor.

    Returns:
        [n, 512] float32, voxels in the order of `fieldcodec.grid.masks`.

    Raises:
        FormatError: there are more triangles near the leaves than `tests_per_leaf` allows.
    """
    corners, origins = np.ascontiguousarray(corners, np.float64), np.asarray(origins, np.int64)
    bounds = bounds_of(corners)
    distances = np.empty((len(origins), 512), np.float32)

    def fill(rows: np.ndarray) -> None:
        squares = np.full((len(rows), 512), float(reach) * float(reach))
        most = min(tests_per_leaf * len(rows) + _TESTS_PER_NODE, UNLIMITED)
        if _lower_node(corners, bounds, origins[rows], float(reach), most, squares) > most:
            raise FormatError(
                f"more than {most} tests of points against triangles for the {len(rows)} leaves of a node, "
                "which no volume that is worth storing as a mesh has; the file is damaged, get it again from its source"
            )
        distances[rows] = np.sqrt(squares)

    map_threads(fill, _by_node(origins), threads)
    return distances


def _by_node(origins: np.ndarray) -> list[np.ndarray]:
    """Rows of the leaves of each 128^3 node, those of a 32^3 block one after another."""
    keys = [origins.T >> 3, origins.T >> _BLOCK_LOG2, origins.T >> _NODE_LOG2]
    order = np.lexsort(np.concatenate([key[::-1] for key in keys]))
    nodes = keys[2].T[order]
    return np.split(order, np.flatnonzero(np.any(nodes[1:] != nodes[:-1], axis=1)) + 1) if len(order) else []


# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def _boxes_near(bounds, origins, reach):  # type: ignore[no-untyped-def]
    """Rows of the triangles [m, 6] whose box is within `reach` of the box around some leaves."""
    low, high = np.empty(3), np.empty(3)
    for i in range(3):
        low[i] = origins[:, i].min() - reach * _SLACK
        high[i] = origins[:, i].max() + 7 + reach * _SLACK
    rows, count = np.empty(len(bounds), np.int64), 0
    for row in range(len(bounds)):
        is_near = (bounds[row, 0] <= high[0]) & (bounds[row, 3] >= low[0])
        is_near &= (bounds[row, 1] <= high[1]) & (bounds[row, 4] >= low[1])
        if is_near & (bounds[row, 2] <= high[2]) & (bounds[row, 5] >= low[2]):
            rows[count] = row
            count += 1
    return rows[:count].copy()


@kernel
def _keep_nearest(prepared, among, middle, radius, reach, kept):  # type: ignore[no-untyped-def]
    """Keeps the triangles that may be nearest, and within `reach`, to a point at most `radius` from `middle`.

    Any such point is within `nearest` + radius of a triangle, and radius nearer to one than `middle` at most.
    Puts those rows `among` into `kept` and returns their number.
    """
    distances = np.empty(len(among))
    nearest = np.inf
    for i in range(len(among)):
        distances[i] = squared_distance(prepared[among[i]], middle[0], middle[1], middle[2])
        nearest = min(nearest, distances[i])
    limit = (min(np.sqrt(nearest) + radius, reach) + radius) * _SLACK
    count = 0
    for i in range(len(among)):
        if distances[i] <= limit * limit:
            kept[count] = among[i]
            count += 1
    return count


@kernel
def _lower_octant(triangle, px, py, pz, least):  # type: ignore[no-untyped-def]
    """Lowers least [64] to the squared distances of the points px, py, pz [64] to the prepared triangle."""
    t = in_registers(triangle)
    for i in range(64):
        least[i] = min(least[i], squared_distance(t, px[i], py[i], pz[i]))


@kernel
def _lower_leaf(prepared, among, origin, reach, kept, squares):  # type: ignore[no-untyped-def]
    """Lowers squares [512] to the squared distances of a leaf's voxels to the prepared triangles `among`."""
    px, py, pz, least = np.empty(64), np.empty(64), np.empty(64), np.empty(64)
    voxels = np.empty(64, np.int64)
    for octant in range(8):
        corner = octant >> 2 << 2, (octant >> 1 & 1) << 2, (octant & 1) << 2
        middle = origin[0] + corner[0] + 1.5, origin[1] + corner[1] + 1.5, origin[2] + corner[2] + 1.5
        count = _keep_nearest(prepared, among, middle, OCTANT_RADIUS, reach, kept)
        if not count:
            continue
        for i in range(64):
            x, y, z = corner[0] + (i >> 4), corner[1] + (i >> 2 & 3), corner[2] + (i & 3)
            px[i], py[i], pz[i] = float(origin[0] + x), float(origin[1] + y), float(origin[2] + z)
            voxels[i] = x << 6 | y << 3 | z
            least[i] = squares[voxels[i]]
        for row in kept[:count]:
            _lower_octant(prepared[row], px, py, pz, least)
        for i in range(64):
            squares[voxels[i]] = least[i]


@kernel
def _lower_block(corners, origins, reach, most, squares):  # type: ignore[no-untyped-def]
    """Lowers squares [n, 512] to the squared distances of the voxels of a block's leaves to all triangles [m, 9].

    Returns the number of tests; gives up where they are more than `most`.
    """
    num = len(corners)
    prepared, everything = np.empty((num, PREPARED)), np.arange(num)
    near, nearer, nearest = np.empty(num, np.int64), np.empty(num, np.int64), np.empty(num, np.int64)
    for row in range(num):
        prepare(corners[row], prepared[row])
    low = origins[:, 0].min(), origins[:, 1].min(), origins[:, 2].min()
    high = origins[:, 0].max() + 7, origins[:, 1].max() + 7, origins[:, 2].max() + 7
    middle = 0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), 0.5 * (low[2] + high[2])
    radius = np.sqrt((high[0] - middle[0]) ** 2 + (high[1] - middle[1]) ** 2 + (high[2] - middle[2]) ** 2)
    near = near[: _keep_nearest(prepared, everything, middle, radius * _SLACK, reach, near)]
    tests = num
    for leaf in range(len(origins)):
        middle = origins[leaf, 0] + 3.5, origins[leaf, 1] + 3.5, origins[leaf, 2] + 3.5
        count = _keep_nearest(prepared, near, middle, LEAF_RADIUS, reach, nearer)
        tests += len(near) + _TESTS_IN_LEAF * count
        if tests > most:
            break
        _lower_leaf(prepared, nearer[:count], origins[leaf], reach, nearest, squares[leaf])
    return tests


@kernel
def _lower_node(corners, bounds, origins, reach, most, squares):  # type: ignore[no-untyped-def]
    """Lowers squares [n, 512] to the squared distances of the voxels of a node's leaves, ordered by blocks.

    Returns the number of tests; gives up where they are more than `most`.
    """
    in_node = _boxes_near(bounds, origins, reach)
    bounds = bounds[in_node]
    first, tests = 0, 0
    while first < len(origins) and tests <= most:
        last = first + 1
        while last < len(origins) and np.all(origins[last] >> _BLOCK_LOG2 == origins[first] >> _BLOCK_LOG2):
            last += 1
        in_block = in_node[_boxes_near(bounds, origins[first:last], reach)]
        tests += _lower_block(corners[in_block], origins[first:last], reach, most - tests, squares[first:last])
        first = last
    return tests


@kernel
def _leaf_range(corners, reach, low, high):  # type: ignore[no-untyped-def]
    for i in range(3):
        smallest = min(corners[i], corners[3 + i], corners[6 + i]) - reach
        largest = max(corners[i], corners[3 + i], corners[6 + i]) + reach
        low[i] = np.int64(np.floor(np.ceil(smallest) / 8.0))
        high[i] = np.int64(np.floor(np.floor(largest) / 8.0))


@kernel
def _visit(corners, reach, scratch, low, high, keys, start):  # type: ignore[no-untyped-def]
    """Number of leaves near one triangle; their keys go to keys[start:] unless `start` is negative."""
    prepare(corners, scratch)
    _leaf_range(corners, reach, low, high)
    near_leaf, near_block = (reach + LEAF_RADIUS) ** 2, (reach + BLOCK_RADIUS) ** 2
    found = 0
    for bx in range(low[0], high[0] + 1, BLOCK):
        for by in range(low[1], high[1] + 1, BLOCK):
            for bz in range(low[2], high[2] + 1, BLOCK):
                mid = 8.0 * np.array((bx, by, bz)) + 31.5
                if squared_distance(scratch, mid[0], mid[1], mid[2]) > near_block:
                    continue
                for x in range(bx, min(bx + BLOCK, high[0] + 1)):
                    for y in range(by, min(by + BLOCK, high[1] + 1)):
                        for z in range(bz, min(bz + BLOCK, high[2] + 1)):
                            cx, cy, cz = 8.0 * x + 3.5, 8.0 * y + 3.5, 8.0 * z + 3.5
                            if squared_distance(scratch, cx, cy, cz) > near_leaf:
                                continue
                            if start >= 0:
                                key = (x + KEY_OFFSET) << KEY_BITS | (y + KEY_OFFSET)
                                keys[start + found] = key << KEY_BITS | (z + KEY_OFFSET)
                            found += 1
    return found


@row_kernel(1 << 12)
def _count_leaves(first, last, corners, reach, counts):  # type: ignore[no-untyped-def]
    scratch, low, high = np.empty(PREPARED), np.empty(3, np.int64), np.empty(3, np.int64)
    for row in range(first, last):
        counts[row] = _visit(corners[row], reach, scratch, low, high, counts, -1)


@row_kernel(1 << 12)
def _list_leaves(first, last, corners, reach, starts, keys):  # type: ignore[no-untyped-def]
    scratch, low, high = np.empty(PREPARED), np.empty(3, np.int64), np.empty(3, np.int64)
    for row in range(first, last):
        _visit(corners[row], reach, scratch, low, high, keys, starts[row])
