"""Loops over the cells of the iso-surface, compiled.

Blocks come with a margin: `values` [n, 11, 11, 11] are the voxels -1 to 9 along each axis of n blocks. A vertex lies
on an edge from a voxel to the next along an axis; within a block its key is 3 * slot + axis. The corner of a triangle
is the key of its vertex plus 1536 times the number (0 to 7) of the block that has it: its own or one ahead.
"""

import numpy as np
from numba import njit

KEYS = 1536  # of a block: 512 voxels, 3 axes
_NEAREST = 1e-3  # voxels between a vertex and the ends of its edge: vertices around one voxel stay apart


@njit(cache=True, nogil=True)
def gather(leaf_values, rows, fill, values):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fill `values` from the 27 blocks around each block: rows of leaves [n, 27], -1 where `fill` [n, 27] is all."""
    for block in range(len(values)):
        for x in range(11):
            for y in range(11):
                for z in range(11):
                    i, j, k = x + 7, y + 7, z + 7  # 8 is the block's own first voxel
                    near = (i >> 3) * 9 + (j >> 3) * 3 + (k >> 3)
                    row = rows[block, near]
                    if row < 0:
                        values[block, x, y, z] = fill[block, near]
                    else:
                        values[block, x, y, z] = leaf_values[row, (i & 7) << 6 | (j & 7) << 3 | (k & 7), 0]


@njit(cache=True, nogil=True)
def count(values, iso, starts, num_vertices, num_triangles):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the numbers of vertices and triangles of each block, [n] each; `values` grow towards the outside."""
    for block in range(len(values)):
        vertices, triangles = 0, 0
        for x in range(1, 9):
            for y in range(1, 9):
                for z in range(1, 9):
                    inside = values[block, x, y, z] < iso
                    vertices += (values[block, x + 1, y, z] < iso) != inside
                    vertices += (values[block, x, y + 1, z] < iso) != inside
                    vertices += (values[block, x, y, z + 1] < iso) != inside
                    case = _case(values[block], iso, x, y, z)
                    triangles += starts[case + 1] - starts[case]
        num_vertices[block], num_triangles[block] = vertices, triangles


@njit(cache=True, nogil=True)
def extract(values, iso, starts, table, edges, keys, places, slopes, corners):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill vertices and triangles, block after block.

    Args:
        starts, table, edges: see `iso_cases.Cases`.
        keys: [v] int16, ascending within a block.
        places: [v, 3] float64: positions relative to the block's first voxel.
        slopes: [v, 3] float64: gradients towards the outside, in index space; never zero.
        corners: [t, 3] int16.
    """
    vertex, triangle = 0, 0
    for block in range(len(values)):
        box = values[block]
        for x in range(1, 9):
            for y in range(1, 9):
                for z in range(1, 9):
                    slot = (x - 1) << 6 | (y - 1) << 3 | (z - 1)
                    for axis in range(3):
                        there = box[x + (axis == 0), y + (axis == 1), z + (axis == 2)]
                        if (box[x, y, z] < iso) != (there < iso):
                            _set_vertex(box, iso, x, y, z, axis, places[vertex], slopes[vertex])
                            keys[vertex] = 3 * slot + axis
                            vertex += 1
                    case = _case(box, iso, x, y, z)
                    for number in range(starts[case], starts[case + 1]):
                        for corner in range(3):
                            edge = edges[table[number, corner]]
                            i, j, k = x - 1 + edge[0], y - 1 + edge[1], z - 1 + edge[2]
                            ahead = (i >> 3) << 2 | (j >> 3) << 1 | (k >> 3)
                            slot = (i & 7) << 6 | (j & 7) << 3 | (k & 7)
                            corners[triangle, corner] = KEYS * ahead + 3 * slot + edge[3]
                        triangle += 1


@njit(cache=True, nogil=True)
def resolve(corners, blocks, ahead, starts, keys, triangles):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill `triangles` [t, 3] with numbers of vertices.

    Args:
        corners: [t, 3] int16, of the blocks `blocks` [t].
        ahead: [n, 8]: rows of each block and the seven ahead of it.
        starts: [n + 1]: first vertex of each block.
        keys: [v] int16, ascending within a block.

    Returns:
        False where a vertex is missing.
    """
    for triangle in range(len(corners)):
        for corner in range(3):
            code = corners[triangle, corner]
            block = ahead[blocks[triangle], code // KEYS]
            if block < 0:
                return False
            key = code % KEYS
            low, high = starts[block], starts[block + 1]
            while low < high:
                middle = (low + high) // 2
                if keys[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            if low == starts[block + 1] or keys[low] != key:
                return False
            triangles[triangle, corner] = low
    return True


@njit(cache=True, nogil=True)
def _case(box, iso, x, y, z):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    case = 0
    for corner in range(8):
        if box[x + (corner >> 2), y + (corner >> 1 & 1), z + (corner & 1)] < iso:
            case |= 1 << corner
    return case


@njit(cache=True, nogil=True)
def _set_vertex(box, iso, x, y, z, axis, place, slope):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Where the edge from voxel (x, y, z) along `axis` is crossed, and the gradient there."""
    i, j, k = x + (axis == 0), y + (axis == 1), z + (axis == 2)
    here, there = box[x, y, z], box[i, j, k]
    part = (iso - here) / (there - here)
    if not np.isfinite(part):
        part = 0.5
    part = min(max(part, _NEAREST), 1 - _NEAREST)
    place[0], place[1], place[2] = x - 1, y - 1, z - 1
    place[axis] += part
    slope[0] = _mixed(box[x + 1, y, z] - box[x - 1, y, z], box[i + 1, j, k] - box[i - 1, j, k], part)
    slope[1] = _mixed(box[x, y + 1, z] - box[x, y - 1, z], box[i, j + 1, k] - box[i, j - 1, k], part)
    slope[2] = _mixed(box[x, y, z + 1] - box[x, y, z - 1], box[i, j, k + 1] - box[i, j, k - 1], part)
    size = max(abs(slope[0]), abs(slope[1]), abs(slope[2]))
    if not (np.isfinite(size) and size > 0):  # the edge itself goes from one side to the other
        slope[:] = 0
        slope[axis] = 1.0 if here < iso else -1.0


@njit(cache=True, nogil=True)
def _mixed(a, b, part):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    return a * (1 - part) + b * part
