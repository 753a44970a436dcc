"""Compiled kernels of `sampling`: from a place to the node that holds it, and from nodes to interpolated values.

A cell is a cube of 8^3 voxels aligned to leaves, named by its coordinates in units of 8 voxels. What holds it is its
`place`: the row of a leaf, or -1 - k for tile number k, counted over the tiles of lower nodes, of upper nodes and of
the root; the number after the last one stands for the background.

The tree is one array `nodes` of int64 (many arrays in an inner loop cost more than the look-ups): a header, then
for every root entry its cell of 4096 voxels and its place or the row of its upper node, rising lexicographically;
then for every 64 slots of upper and of lower nodes the word of their child mask and the number of children before it.

Values are `leaves` [P, 512, C], `slots` [N] int32 (where in `leaves` those of each leaf are; empty where they are in
the order of rows) and `tiles` [tiles + 1, C], the background last.

Neighbouring points mostly lie in the same nodes, so the last ones are remembered, like OpenVDB's ValueAccessor does.
"""

import numpy as np

from fieldcodec.jit import inlined, kernel, row_kernel

_LEAST = 8192  # points that are worth a turn on a thread
# `nodes` begins with these numbers: how many roots there are, where upper and lower nodes begin, and the numbers of the
# first tile of upper nodes, of the root, and of the background.
ROOTS, UPPERS, LOWERS, FIRST_UPPER, FIRST_ROOT, BACKGROUND = range(6)
HEADER = 6
_FARTHEST = 2.0**31  # index coordinates beyond are outside any tree
_MEMO = 12


@inlined
def _popcount(word):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inlined
def _child(nodes, first, slot):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Of a node whose words begin at `first`: children before a slot, and whether the slot has a child itself."""
    at = first + (slot >> 6 << 1)
    word, bit = np.uint64(nodes[at]), np.uint64(slot & 63)
    rank = nodes[at + 1] + _popcount(word & ((np.uint64(1) << bit) - np.uint64(1)))
    return rank, (word >> bit) & np.uint64(1) != np.uint64(0)


@kernel
def _root(nodes, x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Row of the upper node or place of the tile in a cell of 4096 voxels, by bisection."""
    low, high = 0, nodes[ROOTS]
    while low < high:
        middle = (low + high) >> 1
        at = HEADER + 4 * middle
        a, b, c = nodes[at], nodes[at + 1], nodes[at + 2]
        if a < x or (a == x and (b < y or (b == y and c < z))):
            low = middle + 1
        else:
            high = middle
    at = HEADER + 4 * low
    if low < nodes[ROOTS] and nodes[at] == x and nodes[at + 1] == y and nodes[at + 2] == z:
        return nodes[at + 3]
    return -1 - nodes[BACKGROUND]


@kernel
def _lower(nodes, memo, x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Row of the lower node, or place of the larger tile, in a cell of 128 voxels."""
    if memo[8] != x >> 5 or memo[9] != y >> 5 or memo[10] != z >> 5:
        memo[8], memo[9], memo[10] = x >> 5, y >> 5, z >> 5
        memo[11] = _root(nodes, x >> 5, y >> 5, z >> 5)
    row = memo[11]
    if row < 0:
        return row
    slot = (x & 31) << 10 | (y & 31) << 5 | (z & 31)
    rank, has_child = _child(nodes, nodes[UPPERS] + (row << 10), slot)
    return rank if has_child else -1 - (nodes[FIRST_UPPER] + (row << 15 | slot) - rank)


@inlined
def place_of(nodes, memo, x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The place of a cell; `memo` from `new_memo`."""
    if memo[0] == x and memo[1] == y and memo[2] == z:
        return memo[3]
    if memo[4] != x >> 4 or memo[5] != y >> 4 or memo[6] != z >> 4:
        memo[4], memo[5], memo[6] = x >> 4, y >> 4, z >> 4
        memo[7] = _lower(nodes, memo, x >> 4, y >> 4, z >> 4)
    place = memo[7]
    if place >= 0:
        slot = (x & 15) << 8 | (y & 15) << 4 | (z & 15)
        rank, has_child = _child(nodes, nodes[LOWERS] + (place << 7), slot)
        place = rank if has_child else -1 - ((place << 12 | slot) - rank)
    memo[0], memo[1], memo[2], memo[3] = x, y, z, place
    return place


@kernel
def new_memo():  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Nothing remembered: no cell has such coordinates."""
    return np.full(_MEMO, np.int64(1) << 62, np.int64)


@inlined
def _outside(x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Whether a point is no number or beyond all coordinates a tree can have."""
    return not (abs(x) < _FARTHEST and abs(y) < _FARTHEST and abs(z) < _FARTHEST)


@inlined
def _rounded(x):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The nearest integer, halves away from zero, as C's `round`."""
    whole = np.int64(x)
    rest = x - whole
    return whole + np.int64(rest >= 0.5) - np.int64(rest <= -0.5)


@inlined
def _places(nodes, memo, x, y, z, taps, places):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Places [8] of the cells that the voxels x..x + taps - 1, ... lie in; True where all are one."""
    last = taps - 1
    crossed = ((x & 7) + last >> 3 << 2) | ((y & 7) + last >> 3 << 1) | ((z & 7) + last >> 3)
    for i in range(8 if crossed else 1):
        if i & ~crossed:
            places[i] = places[i & crossed]
        else:
            places[i] = place_of(nodes, memo, (x >> 3) + (i >> 2), (y >> 3) + (i >> 1 & 1), (z >> 3) + (i & 1))
    return crossed == 0


@inlined
def _row(slots, place):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Where the values of a leaf are."""
    return np.int64(slots[place]) if slots.size else place


@inlined
def _copy_line(leaves, slots, tiles, place, voxel, count, stencil, at):  # type: ignore[no-untyped-def]  # pragma: no cover
    """`count` voxels along z, from `voxel` of a leaf on or of a tile, into `stencil` from `at` on."""
    for c in range(stencil.shape[1]):
        if place >= 0:
            row = _row(slots, place)
            for k in range(count):
                stencil[at + k, c] = leaves[row, voxel + k, c]
        else:
            value = tiles[-1 - place, c]
            for k in range(count):
                stencil[at + k, c] = value


@inlined
def _gather(leaves, slots, tiles, places, alone, x, y, z, taps, stencil):  # type: ignore[no-untyped-def]  # pragma: no cover
    """stencil[taps^3, C] = values of the voxels from (x, y, z) on."""
    at, here = 0, min(taps, 8 - (z & 7))
    for i in range(x, x + taps):
        for j in range(y, y + taps):
            cell = 0 if alone else (((i >> 3) - (x >> 3)) << 2) | (((j >> 3) - (y >> 3)) << 1)
            line = (i & 7) << 6 | (j & 7) << 3
            _copy_line(leaves, slots, tiles, places[cell], line | (z & 7), here, stencil, at)
            if here < taps:
                _copy_line(leaves, slots, tiles, places[cell + 1], line, taps - here, stencil, at + here)
            at += taps


@inlined
def _between(a, b, weight, kind):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """From a to b, rounded to a type where OpenVDB's BoxSampler rounds."""
    return a + kind.type((b - a) * weight)


@inlined
def _trilinear(corners, u, v, w, kind):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Between 8 voxels: along z, then y, then x."""
    near = _between(_between(corners[0], corners[1], w, kind), _between(corners[2], corners[3], w, kind), v, kind)
    far = _between(_between(corners[4], corners[5], w, kind), _between(corners[6], corners[7], w, kind), v, kind)
    return _between(near, far, u, kind)


@inlined
def _catmull_rom(t, weights, axis):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """weights[axis] [4]: the cubic through the inner two of four voxels, its slopes their central differences."""
    weights[axis, 0] = ((2.0 - t) * t - 1.0) * t * 0.5
    weights[axis, 1] = ((3.0 * t - 5.0) * t * t + 2.0) * 0.5
    weights[axis, 2] = ((4.0 - 3.0 * t) * t + 1.0) * t * 0.5
    weights[axis, 3] = (t - 1.0) * t * t * 0.5


@inlined
def _tricubic(stencil, c, weights):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """One channel from the 64 voxels around, with weights [3, 4]."""
    total, at = 0.0, 0
    for i in range(4):
        plane = 0.0
        for j in range(4):
            line = 0.0
            for k in range(4):
                line += weights[2, k] * stencil[at + k, c]
            plane += weights[1, j] * line
            at += 4
        total += weights[0, i] * plane
    return total


@kernel
def _nearest_all(nodes, leaves, slots, tiles, points, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    memo, channels, background = new_memo(), out.shape[1], tiles.shape[0] - 1
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        place, voxel = -1 - background, 0
        if not _outside(x, y, z):
            i, j, k = _rounded(x), _rounded(y), _rounded(z)
            place, voxel = place_of(nodes, memo, i >> 3, j >> 3, k >> 3), (i & 7) << 6 | (j & 7) << 3 | (k & 7)
        for c in range(channels):
            out[n, c] = leaves[_row(slots, place), voxel, c] if place >= 0 else tiles[-1 - place, c]


@kernel
def _linear_all(nodes, leaves, slots, tiles, points, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    memo, channels, kind, background = new_memo(), out.shape[1], out.dtype, tiles.shape[0] - 1
    places, stencil = np.empty(8, np.int64), np.empty((8, channels), out.dtype)
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        places[0], alone, i, j, k = -1 - background, True, np.int64(0), np.int64(0), np.int64(0)
        if not _outside(x, y, z):
            i, j, k = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
            alone = _places(nodes, memo, i, j, k, 2, places)
        if alone and places[0] < 0:
            for c in range(channels):
                out[n, c] = tiles[-1 - places[0], c]
            continue
        u, v, w = x - i, y - j, z - k
        if alone:
            row, at = _row(slots, places[0]), (i & 7) << 6 | (j & 7) << 3 | (k & 7)
            for c in range(channels):
                out[n, c] = _trilinear(
                    (leaves[row, at, c], leaves[row, at + 1, c], leaves[row, at + 8, c], leaves[row, at + 9, c],
                     leaves[row, at + 64, c], leaves[row, at + 65, c], leaves[row, at + 72, c],
                     leaves[row, at + 73, c]), u, v, w, kind,
                )  # fmt: skip
        else:
            _gather(leaves, slots, tiles, places, alone, i, j, k, 2, stencil)
            for c in range(channels):
                out[n, c] = _trilinear(
                    (stencil[0, c], stencil[1, c], stencil[2, c], stencil[3, c],
                     stencil[4, c], stencil[5, c], stencil[6, c], stencil[7, c]), u, v, w, kind,
                )  # fmt: skip


@kernel
def _cubic_all(nodes, leaves, slots, tiles, points, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    memo, channels, background = new_memo(), out.shape[1], tiles.shape[0] - 1
    places, stencil, weights = np.empty(8, np.int64), np.empty((64, channels), out.dtype), np.empty((3, 4))
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        places[0], alone, i, j, k = -1 - background, True, np.int64(0), np.int64(0), np.int64(0)
        if not _outside(x, y, z):
            i, j, k = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
            alone = _places(nodes, memo, i - 1, j - 1, k - 1, 4, places)
        if alone and places[0] < 0:
            for c in range(channels):
                out[n, c] = tiles[-1 - places[0], c]
            continue
        _gather(leaves, slots, tiles, places, alone, i - 1, j - 1, k - 1, 4, stencil)
        _catmull_rom(x - i, weights, 0)
        _catmull_rom(y - j, weights, 1)
        _catmull_rom(z - k, weights, 2)
        for c in range(channels):
            out[n, c] = _tricubic(stencil, c, weights)


@row_kernel(_LEAST)
def nearest(first, last, nodes, leaves, slots, tiles, points, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """out[n, C] = values of the voxels nearest to points [n, 3] float64 in index space."""
    _nearest_all(nodes, leaves, slots, tiles, points[first:last], out[first:last])


@row_kernel(_LEAST)
def interpolate(first, last, nodes, leaves, slots, tiles, points, taps, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """out[n, C] = values at points [n, 3] float64 in index space, of 2 (linear) or 4 (cubic) voxels an axis."""
    if taps == 2:
        _linear_all(nodes, leaves, slots, tiles, points[first:last], out[first:last])
    else:
        _cubic_all(nodes, leaves, slots, tiles, points[first:last], out[first:last])


@inlined
def _catmull_rom_slope(t, weights, axis):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """weights[axis] [4]: derivatives of those of `_catmull_rom`."""
    weights[axis, 0] = ((4.0 - 3.0 * t) * t - 1.0) * 0.5
    weights[axis, 1] = (9.0 * t - 10.0) * t * 0.5
    weights[axis, 2] = ((8.0 - 9.0 * t) * t + 1.0) * 0.5
    weights[axis, 3] = (3.0 * t - 2.0) * t * 0.5


@row_kernel(_LEAST)
def cubic_gradient(first, last, nodes, leaves, slots, tiles, points, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """out[n, C, 3] float64 = derivatives of what `interpolate` gives with 4 taps."""
    channels = out.shape[1]
    memo, places = new_memo(), np.empty(8, np.int64)
    stencil, weights = np.empty((64, channels), leaves.dtype), np.empty((3, 4))
    for n in range(first, last):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        out[n] = 0.0
        if _outside(x, y, z):
            continue
        i, j, k = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
        alone = _places(nodes, memo, i - 1, j - 1, k - 1, 4, places)
        if alone and places[0] < 0:
            continue
        _gather(leaves, slots, tiles, places, alone, i - 1, j - 1, k - 1, 4, stencil)
        for axis in range(3):
            _catmull_rom(x - i, weights, 0)
            _catmull_rom(y - j, weights, 1)
            _catmull_rom(z - k, weights, 2)
            _catmull_rom_slope((x - i, y - j, z - k)[axis], weights, axis)
            for c in range(channels):
                out[n, c, axis] = _tricubic(stencil, c, weights)


@inlined
def _any_active(leaf_active, tile_active, places, alone, x, y, z, taps):  # type: ignore[no-untyped-def]  # pragma: no cover
    for i in range(x, x + taps):
        for j in range(y, y + taps):
            for k in range(z, z + taps):
                cell = 0 if alone else (i >> 3) - (x >> 3) << 2 | (j >> 3) - (y >> 3) << 1 | (k >> 3) - (z >> 3)
                place = places[cell]
                if place < 0:
                    if tile_active[-1 - place]:
                        return True
                elif leaf_active[place, (i & 7) << 3 | (j & 7)] >> (k & 7) & 1:
                    return True
    return False


@kernel
def _first_voxel(x, taps):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The first voxel along an axis that an interpolation looks at."""
    return _rounded(x) if taps == 1 else np.int64(np.floor(x)) - taps // 4


@row_kernel(_LEAST)
def active(first, last, nodes, leaf_active, tile_active, points, taps, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """out[n] bool: whether a point's stencil has an active voxel; leaf_active [N, 64], tile_active [tiles + 1]."""
    memo, places = new_memo(), np.empty(8, np.int64)
    for n in range(first, last):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        out[n] = False
        if not _outside(x, y, z):
            i, j, k = _first_voxel(x, taps), _first_voxel(y, taps), _first_voxel(z, taps)
            alone = _places(nodes, memo, i, j, k, taps, places)
            out[n] = _any_active(leaf_active, tile_active, places, alone, i, j, k, taps)


@row_kernel(_LEAST)
def touch(first, last, nodes, points, taps, home, touched):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """touched[N] = True for leaves that stencils look at; home[n] = the row of the first such leaf, or -1."""
    memo, places = new_memo(), np.empty(8, np.int64)
    for n in range(first, last):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        home[n] = -1
        if _outside(x, y, z):
            continue
        i, j, k = _first_voxel(x, taps), _first_voxel(y, taps), _first_voxel(z, taps)
        alone = _places(nodes, memo, i, j, k, taps, places)
        for cell in range(1 if alone else 8):
            place = places[cell]
            if place >= 0:
                touched[place] = True
                if home[n] < 0:
                    home[n] = place
