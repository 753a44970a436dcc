"""Which triangles a cell of the iso-surface has, derived from the signs of its corners; no table is copied.

A cell is a cube of eight voxels. On each of its faces the contour goes around every run of inside corners, so that
the contours of all faces make closed loops, and each loop is cut into triangles (marching cubes, Lorensen and
Cline 1987).

Where the signs of a face alternate, its two inside corners may be joined or held apart. The field between the four
corners, taken bilinear, decides (the asymptotic decider, Nielson and Hamann 1991), see `iso_kernels`: its saddle is
inside or not. That needs the face's values only, so both cells beside it make the same choice. Where the saddle of
the cell itself is, is not asked: loops of one cell are never joined by a tunnel.

Watertight by construction: a side of a triangle lies in a face, where the neighbour's triangle has it too, or inside
the cell. Loops are cut without a diagonal in a face, so no edge has more than two triangles; those that cannot be cut
so are filled with a fan around a vertex in their middle.
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


CENTRE = len(_EDGES)  # in place of an edge: the vertex in the middle of a cell
NUM_CASES = 1 << (8 + len(_FACES))


@dataclass(frozen=True, eq=False)
class Cases:
    """The triangles of all cases.

    Bit c of a case is set where corner c of the cell is inside, bit 8 + f where the inside corners of face f, whose
    signs alternate, are joined.
    """

    starts: np.ndarray  # [NUM_CASES + 1] int64: case n has the triangles starts[n] to starts[n + 1]
    triangles: np.ndarray  # [t, 3] int64: edges of the cell, or CENTRE, counter-clockwise seen from outside the surface
    centres: np.ndarray  # [NUM_CASES] uint8: 1 where a case has a vertex in the middle of the cell
    alternating: np.ndarray  # [256] int64: bit f is set where the signs of face f alternate
    faces: np.ndarray  # [6, 4] int64: the corners of each face, in order
    edges: np.ndarray  # [12, 4] int64: offset (x, y, z) of an edge's lower voxel from the cell's first, and its axis


@cache
def all_cases() -> Cases:
    """The table, made at the first call."""
    alternating = [
        sum(_alternates(inside, face) << place for place, face in enumerate(_FACES)) for inside in range(256)
    ]
    starts, triangles, centres = [0], [], np.zeros(NUM_CASES, np.uint8)
    for case in range(NUM_CASES):
        inside, joined = case & 255, case >> 8
        if joined & ~alternating[inside] == 0:
            for loop in _loops(inside, joined):
                cut = next(_cuts(loop), None) or _fan(loop)
                centres[case] |= cut[0][2] == CENTRE
                triangles += cut
        starts.append(len(triangles))
    edges = [(low >> 2, low >> 1 & 1, low & 1, axis) for low, _, axis in _EDGES]
    return Cases(
        np.array(starts), np.array(triangles), centres, np.array(alternating), np.array(_FACES), np.array(edges)
    )


def _alternates(inside: int, face: tuple[int, ...]) -> bool:
    signs = [inside >> corner & 1 for corner in face]
    return signs[0] == signs[2] != signs[1] == signs[3]


def _loops(inside: int, joined: int) -> list[_Loop]:
    """The closed contours of a cell as edges in order, counter-clockwise seen from outside the surface."""
    after = {
        edge: following
        for place, face in enumerate(_FACES)
        for edge, following in (_joined_contours if joined >> place & 1 else _contours)(inside, face)
    }
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


def _joined_contours(inside: int, face: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The lines on a face whose signs alternate, its inside corners being joined: around each outside corner."""
    for place in range(4):
        if not inside >> face[place] & 1:
            entry = _EDGE_OF[frozenset((face[place], face[(place + 1) % 4]))]
            leave = _EDGE_OF[frozenset((face[place - 1], face[place]))]
            yield entry, leave


def _fan(loop: _Loop) -> list[_Triangle]:
    return [(here, loop[(place + 1) % len(loop)], CENTRE) for place, here in enumerate(loop)]


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
