"""Exact distances from voxels to triangles, for the voxels near them (compiled by numba).

All coordinates are in index space: voxel (i, j, k) is the point (i, j, k).
Work goes leaf by leaf: first the pairs of a leaf and a triangle near it are listed, then each leaf
takes the least distance over its triangles, so that leaves are independent of one another.
"""

import numpy as np
from numba import njit, prange

LEAF_RADIUS = 3.5 * 3**0.5  # from the centre of a leaf's voxels to its corner voxels
BLOCK = 8  # leaves along one side of a block, rejected in one go for large triangles
BLOCK_RADIUS = 31.5 * 3**0.5
KEY_BITS = 21  # bits for each leaf coordinate in a sort key
KEY_OFFSET = 1 << (KEY_BITS - 1)
MAX_COORDINATE = 8 * (KEY_OFFSET - 2)  # largest |index coordinate| that has a key


def leaves_near(corners: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The leaves that may hold a voxel closer to a triangle than `reach`, and the triangles near each.

    Args:
        corners: [m, 9] float64, the three corners of each triangle in index space.

    Returns:
        [n, 3] int64 leaf origins sorted by x, y, z; [n + 1] int64 where the triangles of each leaf start;
        [p] int64 triangle rows.
    """
    counts = _count_leaves(corners, reach)
    starts = np.concatenate([[0], np.cumsum(counts)])
    keys = np.empty(starts[-1], np.int64)
    triangles = np.repeat(np.arange(len(corners)), counts)
    _list_leaves(corners, reach, starts, keys)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    firsts = np.flatnonzero(new)
    unique, low = keys[firsts], (1 << KEY_BITS) - 1
    leaves = np.stack([unique >> (2 * KEY_BITS), (unique >> KEY_BITS) & low, unique & low], axis=1) - KEY_OFFSET
    return leaves * 8, np.append(firsts, len(keys)), triangles[order]


# The functions below are compiled; numba infers their types, so they carry none.


@njit(cache=True)
def _prepare(corners, out):  # type: ignore[no-untyped-def]
    """Fills `out` with what `_squared_distance` needs: corner a, edges, unit normal, Gram matrix, inverses."""
    for i in range(3):
        out[i] = corners[i]
        out[3 + i] = corners[3 + i] - corners[i]
        out[6 + i] = corners[6 + i] - corners[i]
    d00 = out[3] * out[3] + out[4] * out[4] + out[5] * out[5]
    d01 = out[3] * out[6] + out[4] * out[7] + out[5] * out[8]
    d11 = out[6] * out[6] + out[7] * out[7] + out[8] * out[8]
    nx = out[4] * out[8] - out[5] * out[7]
    ny = out[5] * out[6] - out[3] * out[8]
    nz = out[3] * out[7] - out[4] * out[6]
    area2 = nx * nx + ny * ny + nz * nz  # = d00 * d11 - d01^2, without its cancellation
    longest = max(d00, d11)
    bc2 = d00 - 2.0 * d01 + d11
    # A sliver thinner than a millionth of its length is as good as its edges, and its normal is noise.
    flat = area2 <= 1e-12 * longest * longest
    scale = 0.0 if flat else 1.0 / np.sqrt(area2)
    out[9], out[10], out[11] = nx * scale, ny * scale, nz * scale
    out[12], out[13], out[14] = d00, d01, d11
    out[15] = 0.0 if flat else 1.0 / area2
    out[16] = 1.0 / d00 if d00 > 0.0 else 0.0
    out[17] = 1.0 / d11 if d11 > 0.0 else 0.0
    out[18] = 1.0 / bc2 if bc2 > 0.0 else 0.0


@njit(cache=True)
def _squared_distance(t, px, py, pz, best):  # type: ignore[no-untyped-def]
    """Least of `best` and the squared distance from a point to the prepared triangle `t`."""
    ax, ay, az = px - t[0], py - t[1], pz - t[2]
    plane = ax * t[9] + ay * t[10] + az * t[11]
    plane *= plane
    if plane >= best:
        return best
    e0 = ax * t[3] + ay * t[4] + az * t[5]
    e1 = ax * t[6] + ay * t[7] + az * t[8]
    if t[15] > 0.0:
        v = (t[14] * e0 - t[13] * e1) * t[15]
        w = (t[12] * e1 - t[13] * e0) * t[15]
        if v >= 0.0 and w >= 0.0 and v + w <= 1.0:
            return plane
    s = min(max(e0 * t[16], 0.0), 1.0)
    x, y, z = ax - s * t[3], ay - s * t[4], az - s * t[5]
    best = min(best, x * x + y * y + z * z)
    s = min(max(e1 * t[17], 0.0), 1.0)
    x, y, z = ax - s * t[6], ay - s * t[7], az - s * t[8]
    best = min(best, x * x + y * y + z * z)
    bx, by, bz = ax - t[3], ay - t[4], az - t[5]
    cx, cy, cz = t[6] - t[3], t[7] - t[4], t[8] - t[5]
    s = min(max((bx * cx + by * cy + bz * cz) * t[18], 0.0), 1.0)
    x, y, z = bx - s * cx, by - s * cy, bz - s * cz
    return min(best, x * x + y * y + z * z)


@njit(cache=True)
def _leaf_range(corners, reach, low, high):  # type: ignore[no-untyped-def]
    for i in range(3):
        smallest = min(corners[i], corners[3 + i], corners[6 + i]) - reach
        largest = max(corners[i], corners[3 + i], corners[6 + i]) + reach
        low[i] = np.int64(np.floor(np.ceil(smallest) / 8.0))
        high[i] = np.int64(np.floor(np.floor(largest) / 8.0))


@njit(cache=True)
def _visit(corners, reach, scratch, low, high, keys, start):  # type: ignore[no-untyped-def]
    """Number of leaves near one triangle; their keys go to keys[start:] unless `start` is negative."""
    _prepare(corners, scratch)
    _leaf_range(corners, reach, low, high)
    near_leaf, near_block = (reach + LEAF_RADIUS) ** 2, (reach + BLOCK_RADIUS) ** 2
    found = 0
    for bx in range(low[0], high[0] + 1, BLOCK):
        for by in range(low[1], high[1] + 1, BLOCK):
            for bz in range(low[2], high[2] + 1, BLOCK):
                mid = 8.0 * np.array((bx, by, bz)) + 31.5
                if _squared_distance(scratch, mid[0], mid[1], mid[2], 1e300) > near_block:
                    continue
                for x in range(bx, min(bx + BLOCK, high[0] + 1)):
                    for y in range(by, min(by + BLOCK, high[1] + 1)):
                        for z in range(bz, min(bz + BLOCK, high[2] + 1)):
                            cx, cy, cz = 8.0 * x + 3.5, 8.0 * y + 3.5, 8.0 * z + 3.5
                            if _squared_distance(scratch, cx, cy, cz, 1e300) > near_leaf:
                                continue
                            if start >= 0:
                                key = (x + KEY_OFFSET) << KEY_BITS | (y + KEY_OFFSET)
                                keys[start + found] = key << KEY_BITS | (z + KEY_OFFSET)
                            found += 1
    return found


@njit(parallel=True, cache=True)
def _count_leaves(corners, reach):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(corners), np.int64)
    for row in prange(len(corners)):
        scratch, low, high = np.empty(19), np.empty(3, np.int64), np.empty(3, np.int64)
        counts[row] = _visit(corners[row], reach, scratch, low, high, counts, -1)
    return counts


@njit(parallel=True, cache=True)
def _list_leaves(corners, reach, starts, keys):  # type: ignore[no-untyped-def]
    for row in prange(len(corners)):
        scratch, low, high = np.empty(19), np.empty(3, np.int64), np.empty(3, np.int64)
        _visit(corners[row], reach, scratch, low, high, keys, starts[row])


@njit(parallel=True, cache=True)
def leaf_distances(corners, origins, starts, triangles, reach, out):  # type: ignore[no-untyped-def]
    """Fills `out` [n, 512] float32 with the distance of each voxel to the nearest triangle, `reach` at most.

    Args: corners [m, 9]; origins [n, 3]; starts [n + 1] and triangles as `leaves_near` returns them.
    """
    for leaf in prange(len(origins)):
        least = np.full(512, reach * reach)
        scratch = np.empty(19)
        low, high = np.empty(3, np.int64), np.empty(3, np.int64)
        ox, oy, oz = origins[leaf, 0], origins[leaf, 1], origins[leaf, 2]
        for entry in range(starts[leaf], starts[leaf + 1]):
            corner = corners[triangles[entry]]
            _prepare(corner, scratch)
            for i in range(3):
                smallest = min(corner[i], corner[3 + i], corner[6 + i]) - reach
                largest = max(corner[i], corner[3 + i], corner[6 + i]) + reach
                low[i] = max(np.int64(np.ceil(smallest)) - origins[leaf, i], 0)
                high[i] = min(np.int64(np.floor(largest)) - origins[leaf, i], 7)
            for x in range(low[0], high[0] + 1):
                for y in range(low[1], high[1] + 1):
                    row = x << 6 | y << 3
                    for z in range(low[2], high[2] + 1):
                        least[row | z] = _squared_distance(
                            scratch, float(ox + x), float(oy + y), float(oz + z), least[row | z]
                        )
        for voxel in range(512):
            out[leaf, voxel] = np.sqrt(least[voxel])
