"""Loops over the cells of the iso-surface, compiled.

Blocks come with a margin: `values` [n, 11, 11, 11] are the voxels -1 to 9 along each axis of n blocks. A vertex lies
on an edge from a voxel to the next along an axis, or, rarely, in the middle of the voxel's cell; within a block its
key is 4 * slot + axis, or 4 * slot + 3. The corner of a triangle is the key of its vertex plus 2048 times the number
(0 to 7) of the block that has it: its own or one ahead.
"""

import numpy as np

from fieldcodec.grid.iso_cases import CENTRE
from fieldcodec.jit import kernel

KEYS = 2048  # of a block: 512 voxels, 3 axes and the middle of the cell
_MIDDLE = 3
_NEAREST = 1e-3  # voxels between a vertex and the ends of its edge: vertices around one voxel stay apart


@kernel
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


@kernel
def count(values, iso, cases, num_vertices, num_triangles):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the numbers of vertices and triangles of each block, [n] each; `values` grow towards the outside.

    `cases` is a tuple: starts, triangles, centres, alternating, faces and edges of `iso_cases.Cases`.
    """
    starts, _, centres, alternating, faces, _ = cases
    for block in range(len(values)):
        vertices, triangles = 0, 0
        for x in range(1, 9):
            for y in range(1, 9):
                for z in range(1, 9):
                    inside = values[block, x, y, z] < iso
                    vertices += (values[block, x + 1, y, z] < iso) != inside
                    vertices += (values[block, x, y + 1, z] < iso) != inside
                    vertices += (values[block, x, y, z + 1] < iso) != inside
                    case = _case(values[block], iso, x, y, z, alternating, faces)
                    triangles += starts[case + 1] - starts[case]
                    vertices += centres[case]
        num_vertices[block], num_triangles[block] = vertices, triangles


@kernel
def extract(values, iso, cases, keys, places, slopes, corners):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill vertices and triangles, block after block.

    Args:
        cases: as of `count`.
        keys: [v] int16, ascending within a block.
        places: [v, 3] float64: positions relative to the block's first voxel.
        slopes: [v, 3] float64: gradients towards the outside, in index space; never zero.
        corners: [t, 3] int16.
    """
    starts, table, centres, alternating, faces, edges = cases
    vertex, triangle = 0, 0
    for block in range(len(values)):
        box = values[block]
        for x in range(1, 9):
            for y in range(1, 9):
                for z in range(1, 9):
                    slot = (x - 1) << 6 | (y - 1) << 3 | (z - 1)
                    for axis in range(3):
                        following = box[x + (axis == 0), y + (axis == 1), z + (axis == 2)]
                        if (box[x, y, z] < iso) != (following < iso):
                            _set_vertex(box, iso, x, y, z, axis, places[vertex], slopes[vertex])
                            keys[vertex] = 4 * slot + axis
                            vertex += 1
                    case = _case(box, iso, x, y, z, alternating, faces)
                    if centres[case]:
                        _set_middle(
                            box, iso, x, y, z, table[starts[case] : starts[case + 1]], edges, places[vertex],
                            slopes[vertex],
                        )  # fmt: skip
                        keys[vertex] = 4 * slot + _MIDDLE
                        vertex += 1
                    for number in range(starts[case], starts[case + 1]):
                        for corner in range(3):
                            if table[number, corner] == CENTRE:
                                corners[triangle, corner] = 4 * slot + _MIDDLE
                                continue
                            edge = edges[table[number, corner]]
                            i, j, k = x - 1 + edge[0], y - 1 + edge[1], z - 1 + edge[2]
                            ahead = (i >> 3) << 2 | (j >> 3) << 1 | (k >> 3)
                            there = (i & 7) << 6 | (j & 7) << 3 | (k & 7)
                            corners[triangle, corner] = KEYS * ahead + 4 * there + edge[3]
                        triangle += 1


@kernel
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


@kernel
def _case(box, iso, x, y, z, alternating, faces):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Number of the cell's case, see `iso_cases.Cases`."""
    case = 0
    for corner in range(8):
        if _corner(box, x, y, z, corner) < iso:
            case |= 1 << corner
    open_faces = alternating[case]
    for face in range(6):
        if open_faces >> face & 1 and _is_joined(box, iso, x, y, z, faces[face], case >> faces[face, 0] & 1):
            case |= 256 << face
    return case


@kernel
def _corner(box, x, y, z, corner):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    return box[x + (corner >> 2), y + (corner >> 1 & 1), z + (corner & 1)]


@kernel
def _is_joined(box, iso, x, y, z, face, is_first_inside):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Whether the saddle of the bilinear field of a face is inside: (a c - b d) / (a + c - b - d).

    a to d are the corners in order, relative to the value, one pair negative (inside). Products commute, so the cell
    beside it finds the same; what is no number holds corners apart.
    """
    a, c = _corner(box, x, y, z, face[0]) - iso, _corner(box, x, y, z, face[2]) - iso
    b, d = _corner(box, x, y, z, face[1]) - iso, _corner(box, x, y, z, face[3]) - iso
    return a * c > b * d if is_first_inside else b * d > a * c


@kernel
def _set_middle(box, iso, x, y, z, triangles, edges, place, slope):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The mean of the vertices around the middle of a cell, and of their slopes; `triangles` are of the cell."""
    one, steep, count = np.empty(3), np.empty(3), 0
    place[:] = 0
    slope[:] = 0
    for number in range(len(triangles)):
        if triangles[number, 2] == CENTRE:
            edge = edges[triangles[number, 0]]
            _set_vertex(box, iso, x + edge[0], y + edge[1], z + edge[2], edge[3], one, steep)
            place += one
            slope += steep / np.abs(steep).max()
            count += 1
    place /= count
    if not np.abs(slope).max() > 0:
        slope[:] = steep


@kernel
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


@kernel
def _mixed(a, b, part):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    return a * (1 - part) + b * part
