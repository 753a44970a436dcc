"""Walking through a tree along a ray, compiled.

`tables` are those of a `RayTree`. Voxel centres have whole coordinates, and a value between voxels is trilinear,
so a point p needs the voxels floor(p) and floor(p) + 1: those of its own block of 8^3 voxels and of the seven
blocks beyond. Their codes are loaded once for a block (`load_block`); sampling in it is plain indexing then.
"""

import math

import numpy as np

from fieldcodec.jit import inlined, kernel

_MIXED = 3
_GROUP_LOG2 = 5  # groups of 4^3 blocks can be passed over at once
NUDGE = 1e-6  # voxels a ray goes on beyond the face of a block, so that it finds itself in the next one


@inlined
def _root_code(keys, codes, x, y, z):  # type: ignore[no-untyped-def]
    """The code of the entry of 4096^3 voxels at key (x, y, z); ~0, the background, where there is none."""
    begin, end = 0, len(codes)
    while begin < end:
        middle = (begin + end) >> 1
        a, b, c = keys[middle, 0], keys[middle, 1], keys[middle, 2]
        if a == x and b == y and c == z:
            return codes[middle]
        if a < x or (a == x and (b < y or (b == y and c < z))):
            begin = middle + 1
        else:
            end = middle
    return np.int32(-1)


@inlined
def _find(tables, x, y, z):  # type: ignore[no-untyped-def]
    """What holds voxel (x, y, z): its code, log2 of its side in voxels, and the lower node it is in (or -1)."""
    upper_row = _root_code(tables[0], tables[1], x >> 12, y >> 12, z >> 12)
    if upper_row < 0:
        return upper_row, 12, -1
    slot = (((x >> 7) & 31) << 10) | (((y >> 7) & 31) << 5) | ((z >> 7) & 31)
    lower_row = tables[2][upper_row, slot]
    if lower_row < 0:
        return lower_row, 7, -1
    slot = (((x >> 3) & 15) << 8) | (((y >> 3) & 15) << 4) | ((z >> 3) & 15)
    return tables[3][lower_row, slot], 3, lower_row


@inlined
def _kind(tables, code):  # type: ignore[no-untyped-def]
    return tables[6][code] if code >= 0 else tables[7][~code]


@inlined
def load_block(tables, codes, x, y, z):  # type: ignore[no-untyped-def]
    """Fill codes [8] for the block whose least voxel is (x, y, z).

    Returns the kinds of all eight combined, and log2 of the side of the tile around the block that a ray may leave
    at once if that kind is not mixed; 3 also for blocks along the far faces of a large tile.
    """
    code, log2, lower_row = _find(tables, x, y, z)
    codes[0] = code
    kind = _kind(tables, code)
    if log2 > 3:
        last = (1 << log2) - 8
        if (x & last) != last and (y & last) != last and (z & last) != last:
            codes[1:8] = code
            return kind, log2
    near = lower_row >= 0 and (x & 120) != 120 and (y & 120) != 120 and (z & 120) != 120
    for corner in range(1, 8):
        bx, by, bz = x + ((corner >> 2) << 3), y + (((corner >> 1) & 1) << 3), z + ((corner & 1) << 3)
        if near:  # the same lower node
            code = tables[3][lower_row, (((bx >> 3) & 15) << 8) | (((by >> 3) & 15) << 4) | ((bz >> 3) & 15)]
        else:
            code = _find(tables, bx, by, bz)[0]
        codes[corner] = code
        kind |= _kind(tables, code)
    return kind, 3


@kernel
def combine_kinds(combined, tables, origins):  # type: ignore[no-untyped-def]
    """Fill combined [L, 4096]: for each slot of lower nodes at origins [L, 3] the kinds that `load_block` combines,
    and in bits 4 to 7 log2 of the side of the cube around the block, 3 or 5, in which all kinds are those."""
    codes = np.empty(8, np.int64)
    for row in range(len(combined)):
        x, y, z = origins[row, 0], origins[row, 1], origins[row, 2]
        for slot in range(4096):
            kind, _ = load_block(
                tables, codes, x + ((slot >> 8) << 3), y + (((slot >> 4) & 15) << 3), z + ((slot & 15) << 3)
            )
            combined[row, slot] = kind
        for group in range(64):
            first = ((group >> 4) << 10) | (((group >> 2) & 3) << 6) | ((group & 3) << 2)
            log2 = _GROUP_LOG2
            for block in range(64):
                slot = first + (((block >> 4) << 8) | (((block >> 2) & 3) << 4) | (block & 3))
                if combined[row, slot] != combined[row, first]:
                    log2 = 3
            for block in range(64):
                combined[row, first + (((block >> 4) << 8) | (((block >> 2) & 3) << 4) | (block & 3))] |= log2 << 4


@inlined
def _voxel(leaves, tiles, codes, x, y, z):  # type: ignore[no-untyped-def]
    """Voxel (x, y, z) of the loaded block, each 0 to 8."""
    code = codes[((x >> 3) << 2) | ((y >> 3) << 1) | (z >> 3)]
    if code < 0:
        return tiles[~code]
    return leaves[code, ((x & 7) << 6) | ((y & 7) << 3) | (z & 7)]


@inlined
def sample_block(tables, codes, u, v, w):  # type: ignore[no-untyped-def]
    """Trilinear value in the loaded block, at (u, v, w) voxels from its least voxel (clipped to 0 ... 8)."""
    leaves, tiles = tables[4], tables[5]
    x, y, z = min(max(int(u), 0), 7), min(max(int(v), 0), 7), min(max(int(w), 0), 7)
    a, b, c = min(max(u - x, 0.0), 1.0), min(max(v - y, 0.0), 1.0), min(max(w - z, 0.0), 1.0)
    near = (_voxel(leaves, tiles, codes, x, y, z) * (1 - c) + _voxel(leaves, tiles, codes, x, y, z + 1) * c) * (
        1 - b
    ) + (_voxel(leaves, tiles, codes, x, y + 1, z) * (1 - c) + _voxel(leaves, tiles, codes, x, y + 1, z + 1) * c) * b
    far = (_voxel(leaves, tiles, codes, x + 1, y, z) * (1 - c) + _voxel(leaves, tiles, codes, x + 1, y, z + 1) * c) * (
        1 - b
    ) + (
        _voxel(leaves, tiles, codes, x + 1, y + 1, z) * (1 - c) + _voxel(leaves, tiles, codes, x + 1, y + 1, z + 1) * c
    ) * b
    return near * (1 - a) + far * a


@kernel
def sample_point(tables, codes, x, y, z):  # type: ignore[no-untyped-def]
    """Trilinear value anywhere; `codes` [8] is overwritten."""
    bx, by, bz = (math.floor(x) >> 3) << 3, (math.floor(y) >> 3) << 3, (math.floor(z) >> 3) << 3
    load_block(tables, codes, bx, by, bz)
    return sample_block(tables, codes, x - bx, y - by, z - bz)


@kernel
def sample_points(values, tables, points, nearest):  # type: ignore[no-untyped-def]
    """Fill values [n] at index-space points [n, 3], trilinear or of the nearest voxel."""
    codes = np.empty(8, np.int64)
    for row in range(len(values)):
        x, y, z = points[row, 0], points[row, 1], points[row, 2]
        if nearest:
            x, y, z = math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)
        values[row] = sample_point(tables, codes, x, y, z)


@kernel
def box_span(low, high, origin, direction):  # type: ignore[no-untyped-def]
    """Where a ray enters and leaves a box, at t >= 0; enter > leave where it misses it."""
    enter, leave = 0.0, np.inf
    for axis in range(3):
        if direction[axis] == 0:
            if not low[axis] <= origin[axis] <= high[axis]:
                return 1.0, 0.0
            continue
        first = (low[axis] - origin[axis]) / direction[axis]
        last = (high[axis] - origin[axis]) / direction[axis]
        enter, leave = max(enter, min(first, last)), min(leave, max(first, last))
    return enter, leave


@inlined
def enter_box(box, origin, direction):  # type: ignore[no-untyped-def]
    """Move a ray's origin to where it enters a box: (how far that was, the length inside; below 0 for a miss).

    From there on small steps stay exact, however far away the camera stands.
    """
    enter, leave = box_span(box[0], box[1], origin, direction)
    if enter <= leave:
        for axis in range(3):
            origin[axis] += enter * direction[axis]
    return enter, leave - enter


@inlined
def _cube_exit(origin, direction, corner, log2):  # type: ignore[no-untyped-def]
    """Where a ray leaves the aligned cube of side 2^log2 around `corner`, of a large tile all but the last 8 voxels."""
    side, leave = 1 << log2, np.inf
    for axis in range(3):
        low = corner[axis] & ~(side - 1)
        if direction[axis] > 0:
            leave = min(leave, (low + side - (8 if log2 > _GROUP_LOG2 else 0) - origin[axis]) / direction[axis])
        elif direction[axis] < 0:
            leave = min(leave, (low - origin[axis]) / direction[axis])
    return leave


@inlined
def next_block(tables, codes, corner, origin, direction, t, speed):  # type: ignore[no-untyped-def]
    """Enter the block that a ray is in just after t; `codes` and `corner` [3], its least voxel, are set.

    Returns whether the block is mixed, and where the ray leaves it (or all that it may pass over at once).
    """
    ahead = t + NUDGE / speed
    for axis in range(3):
        place = origin[axis] + ahead * direction[axis]
        # On a face between blocks a ray is in the one it goes into, however slowly it does.
        corner[axis] = ((math.floor(place) if direction[axis] >= 0 else math.ceil(place) - 1) >> 3) << 3
    x, y, z = corner[0], corner[1], corner[2]
    _, log2, lower_row = _find(tables, x, y, z)
    mixed = True
    if lower_row >= 0:
        packed = np.int64(tables[8][lower_row, (((x >> 3) & 15) << 8) | (((y >> 3) & 15) << 4) | ((z >> 3) & 15)])
        log2, mixed = packed >> 4, (packed & 15) == _MIXED
    if mixed:
        kind, log2 = load_block(tables, codes, x, y, z)
        mixed = kind == _MIXED
    return mixed, max(_cube_exit(origin, direction, corner, 3 if mixed else log2), ahead)


@inlined
def pixel_ray(table, column, row, width, height, origin, direction):  # type: ignore[no-untyped-def]
    """Set origin and direction [3] in index space for the middle of a pixel; the direction has world length 1.

    `table` [6, 4]: the camera's ray table in index space; column 3 holds squared world lengths of its rows.
    """
    x, y = (column + 0.5) * 2 / width - 1, (row + 0.5) * 2 / height - 1
    length = math.sqrt(table[3, 3] + x * x * table[4, 3] + y * y * table[5, 3])
    squared = 0.0
    for axis in range(3):
        origin[axis] = table[0, axis] + x * table[1, axis] + y * table[2, axis]
        direction[axis] = (table[3, axis] + x * table[4, axis] + y * table[5, axis]) / length
        squared += direction[axis] ** 2
    return math.sqrt(squared)  # voxels per world unit
