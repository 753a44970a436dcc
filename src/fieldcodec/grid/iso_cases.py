"""Which triangles a cell of the iso-surface has, derived from the signs of its corners; no table is copied.

A cell is a cube of eight voxels. On each of its faces the contour goes around every run of inside corners, so that
the contours of all faces make closed loops, and each loop is cut into triangles (marching cubes, Lorensen and
Cline 1987). Where the signs of a face alternate, its two inside corners are thus always held apart: the choice needs
the face's signs only, so both cells beside it make the same one.

Watertight by construction: a side of a triangle lies in a face, where the neighbour's triangle has it too, or is a
diagonal inside the cell. Loops are cut without a diagonal in a face, so no edge has more than two triangles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

_Loop = tuple[int, ...]
_Triangle = tuple[int, int, int]

# Corner c of a cell is at (c >> 2, c >> 1 & 1, c & 1). Faces: corners counter-clockwise seen from outside.
_FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
_EDGES = tuple((low, low + (4, 2, 1)[axis], axis) for axis in range(3) for low in range(8) if not low & (4, 2, 1)[axis])
_EDGE_OF = {frozenset(edge[:2]): number for number, edge in enumerate(_EDGES)}
_FACES_OF_EDGE = tuple(
    frozenset(face for face, corners in enumerate(_FACES) if low in corners and high in corners)
    for low, high, _ in _EDGES
)


@dataclass(frozen=True, eq=False)
class Cases:
    """The triangles of all cases; bit c of a case is set where corner c of the cell is inside."""

    starts: np.ndarray  # [257] int64: case n has the triangles starts[n] to starts[n + 1]
    triangles: np.ndarray  # [t, 3] int64: edges of the cell, counter-clockwise seen from outside the surface
    edges: np.ndarray  # [12, 4] int64: offset (x, y, z) of an edge's lower voxel from the cell's first, and its axis


@cache
def all_cases() -> Cases:
    """The table, made at the first call."""
    starts, triangles = [0], []
    for inside in range(256):
        for loop in _loops(inside):
            triangles += next(_cuts(loop))
        starts.append(len(triangles))
    edges = [(low >> 2, low >> 1 & 1, low & 1, axis) for low, _, axis in _EDGES]
    return Cases(np.array(starts), np.array(triangles), np.array(edges))


def _loops(inside: int) -> list[_Loop]:
    """The closed contours of a cell as edges in order, counter-clockwise seen from outside the surface."""
    after = {edge: following for face in _FACES for edge, following in _contours(inside, face)}
    loops = []
    while after:
        start = next(iter(after))
        loop, here = [start], after.pop(start)
        while here != start:
            loop.append(here)
            here = after.pop(here)
        loops.append(tuple(loop))
    return loops


def _contours(inside: int, face: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The lines on one face, each from crossed edge to crossed edge around a run of inside corners."""
    for place in range(4):
        if not inside >> face[place] & 1 or inside >> face[place - 1] & 1:
            continue  # no run begins here
        last = place
        while inside >> face[(last + 1) % 4] & 1:
            last += 1
        entry = _EDGE_OF[frozenset((face[place - 1], face[place]))]
        leave = _EDGE_OF[frozenset((face[last % 4], face[(last + 1) % 4]))]
        yield entry, leave


def _cuts(loop: _Loop) -> Iterator[list[_Triangle]]:
    """All ways to cut a polygon into triangles; its last side, from the end back to the start, is given."""
    if len(loop) < 3:
        yield []
        return
    last = len(loop) - 1
    for middle in range(1, last):
        sides = [(0, middle)] * (middle > 1) + [(middle, last)] * (middle < last - 1)
        if any(_FACES_OF_EDGE[loop[a]] & _FACES_OF_EDGE[loop[b]] for a, b in sides):
            continue  # a diagonal in a face
        for left in _cuts(loop[: middle + 1]):
            for right in _cuts(loop[middle:]):
                yield [*left, (loop[0], loop[middle], loop[last]), *right]
