"""Octrees over the cube [-1, 1]^3: which cells are occupied at each level of detail, for one object or several.

Level of detail (LoD) m cuts the cube into 2^m cells a side; level 0 is the cube itself, the root. Of an occupied cell
all ancestors are occupied. Child i = 4 bx + 2 by + bz of a cell lies on the positive side of x, y, z where the bit is
1, so a level sorted by number (Morton order) is the children of the level above, parent by parent. Several objects are
several roots of one octree, the number of the object being the high bits of a cell's number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from fieldcodec.jit import kernel

MAX_LODS = 9  # 2^27 cells; cell numbers of 2^36 objects fit 63 bits
CHILDREN = 8


@final
@dataclass(frozen=True, eq=False)
class Octree:
    """Occupied cells, level by level.

    `child_masks[m]` [cells of level m, 8] bool says which children of each cell are occupied; it alone determines the
    rest. There are as many masks as levels below the root.
    """

    roots: int
    child_masks: tuple[np.ndarray, ...]

    @staticmethod
    def of_cells(cells: np.ndarray, lods: int) -> "Octree":
        """The octree of one object with the given cells of the finest level.

        Args:
            cells: [n, 3] integers in 0 .. 2^lods - 1, in any order, repeated or not; at least one.
            lods: number of levels below the root, 1 to 9.
        """
        numbers = np.unique(morton(np.asarray(cells, np.int64)))
        masks = []
        for _ in range(lods):
            parents, place = np.unique(numbers >> 3, return_inverse=True)
            mask = np.zeros((len(parents), CHILDREN), bool)
            mask[place, numbers & 7] = True
            masks.append(mask)
            numbers = parents
        return Octree(1, tuple(masks[::-1]))

    @staticmethod
    def joined(octrees: Sequence["Octree"]) -> "Octree":
        """Octrees of the same number of levels as one with all their roots, in order."""
        levels = zip(*[octree.child_masks for octree in octrees], strict=True)
        return Octree(sum(octree.roots for octree in octrees), tuple(np.concatenate(masks) for masks in levels))

    @property
    def lods(self) -> int:
        """Levels below the root."""
        return len(self.child_masks)

    @cached_property
    def numbers(self) -> tuple[np.ndarray, ...]:
        """Of each level from 0 on: [cells] int64, root << 3 m | Morton number, rising."""
        levels = [np.arange(self.roots, dtype=np.int64)]
        for mask in self.child_masks:
            levels.append((levels[-1][:, None] * CHILDREN + np.arange(CHILDREN))[mask])
        return tuple(levels)

    @cached_property
    def kept(self) -> tuple[np.ndarray, ...]:
        """Of each level from 1 on: [cells] int64, the occupied ones among 8 children of every cell above."""
        return tuple(np.flatnonzero(mask) for mask in self.child_masks)

    @cached_property
    def child_rows(self) -> tuple[np.ndarray, ...]:
        """Of each level above the finest: [cells, 8] int32 rows of the children in the next level, -1 for none."""
        rows = []
        for mask in self.child_masks:
            flat = np.where(mask.ravel(), np.cumsum(mask.ravel()) - 1, -1)
            rows.append(flat.astype(np.int32).reshape(mask.shape))
        return tuple(rows)

    @cached_property
    def num_cells(self) -> tuple[int, ...]:
        """Occupied cells of each level from 0 on."""
        return self.roots, *(int(np.count_nonzero(mask)) for mask in self.child_masks)

    def cells(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Roots [cells] and coordinates [cells, 3] in 0 .. 2^level - 1 of a level's cells, int64, in Morton order."""
        numbers = self.numbers[level]
        return numbers >> (3 * level), from_morton(numbers & ((1 << (3 * level)) - 1))

    def of_root(self, root: int) -> "Octree":
        """The octree of one object alone."""
        masks = []
        for level, mask in enumerate(self.child_masks):
            bounds = np.searchsorted(self.numbers[level], [root << (3 * level), (root + 1) << (3 * level)])
            masks.append(mask[bounds[0] : bounds[1]])
        return Octree(1, tuple(masks))

    def cut(self, lods: int) -> "Octree":
        """The first levels alone; this one, with all that is known of it, where these are all of its levels."""
        return self if lods >= self.lods else Octree(self.roots, self.child_masks[:lods])

    def needed(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Of each level from 0 on: [cells] int64, rising, the cells of `rows` and all their ancestors; all roots.

        Args:
            rows: of each level from 0 on, rows of cells in any order and number; negative ones count for nothing.
        """
        found, below = [], np.zeros(0, np.int64)
        for level in range(self.lods, 0, -1):
            used = np.zeros(self.num_cells[level], bool)
            here = rows[level]
            used[here[here >= 0]] = True
            used[below] = True
            found.append(np.flatnonzero(used))
            below = self.kept[level - 1][found[-1]] // CHILDREN
        return np.arange(self.roots), *found[::-1]

    def of_needed(self, needed: Sequence[np.ndarray]) -> "Octree":
        """The octree of some cells alone, as `needed` gives them."""
        masks = []
        for mask, kept, above, here in zip(self.child_masks, self.kept, needed[:-1], needed[1:], strict=True):
            alone = np.zeros(mask.size, bool)
            alone[kept[here]] = True
            masks.append(alone.reshape(mask.shape)[above])
        return Octree(self.roots, tuple(masks))

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """`child_rows` of all levels as one array, and where each level starts in it, with the end."""
        starts = np.concatenate([[0], np.cumsum([len(table) for table in self.child_rows])])
        return np.concatenate(self.child_rows), starts


def morton(cells: np.ndarray) -> np.ndarray:
    """[n, 3] int64 coordinates below 2^20 -> [n] numbers with x in the highest of every three bits."""
    x, y, z = (_spread(cells[:, axis]) for axis in range(3))
    return x << 2 | y << 1 | z


def from_morton(numbers: np.ndarray) -> np.ndarray:
    """The inverse of `morton`: [n] -> [n, 3] int64."""
    return np.stack([_gather_bits(numbers >> shift) for shift in (2, 1, 0)], axis=1)


def cell_edge(level: int) -> float:
    """Edge of a cell in the cube [-1, 1]^3."""
    return 2.0 / (1 << level)


def stencils(octree: Octree, roots: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells around points whose values trilinear interpolation mixes, at every level from 1 on.

    Values sit at the centres of cells; an empty cell counts as zero (refine: multi-scale feature interpolation).

    Args:
        roots: [n] integers, the object of each point.
        points: [n, 3] float32 in [-1, 1]^3; outside they see only what is inside.

    Returns:
        rows: [n, lods, 8] int32 rows of the level's cells; corner i of the eight as child i; -1 where none is.
        places: [n, lods, 3] float32 weights along x, y, z of the corner on the positive side, 0 to 1.
    """
    points = np.ascontiguousarray(points, np.float32)
    rows = np.empty((len(points), octree.lods, CHILDREN), np.int32)
    places = np.empty((len(points), octree.lods, 3), np.float32)
    roots = np.ascontiguousarray(roots, np.int64)
    if not len(points):
        return rows, places
    _find(*octree.tables, roots, points, rows, places)
    return rows, places


def _spread(values: np.ndarray) -> np.ndarray:
    """Two zero bits before each bit of integers below 2^21."""
    v = values.astype(np.int64)
    for shift, mask in (
        (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):  # fmt: skip
        v = (v | v << shift) & mask
    return v


def _gather_bits(values: np.ndarray) -> np.ndarray:
    """Every third bit, from the lowest on."""
    v = values & 0x1249249249249249
    for shift, mask in (
        (2, 0x10C30C30C30C30C3), (4, 0x100F00F00F00F00F), (8, 0x1F0000FF0000FF), (16, 0x1F00000000FFFF),
        (32, 0x1FFFFF),
    ):  # fmt: skip
        v = (v | v >> shift) & mask
    return v


# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def _find(tables, starts, roots, points, rows, places):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fills rows and places. The eight cells of a level are children of the eight of the level above, or missing.

    Args: tables [cells of all levels but the finest, 8] rows in the next level; starts of the levels in it.
    """
    above, below = np.empty(8, np.int32), np.empty(8, np.int32)
    low_above, low = np.zeros(3, np.int64), np.empty(3, np.int64)
    for point in range(len(points)):
        above[:] = -1
        above[0] = roots[point]
        low_above[:] = 0
        for level in range(1, rows.shape[1] + 1):
            for axis in range(3):
                # float32 arithmetic: the same numbers as a sampler of a dense grid sees
                place = (points[point, axis] + np.float32(1)) * np.float32(0.5 * (1 << level)) - np.float32(0.5)
                place = min(max(place, np.float32(-1)), np.float32(1 << level))
                low[axis] = int(np.floor(place))
                places[point, level - 1, axis] = place - np.float32(low[axis])
            for corner in range(8):
                x, y, z = low[0] + (corner >> 2), low[1] + (corner >> 1 & 1), low[2] + (corner & 1)
                # shifts round down, so that -1, outside the cube, stays outside
                ax, ay, az = (x >> 1) - low_above[0], (y >> 1) - low_above[1], (z >> 1) - low_above[2]
                row = -1
                if 0 <= ax <= 1 and 0 <= ay <= 1 and 0 <= az <= 1:
                    parent = above[ax << 2 | ay << 1 | az]
                    if parent >= 0:
                        row = tables[starts[level - 1] + parent, (x & 1) << 2 | (y & 1) << 1 | (z & 1)]
                below[corner] = row
                rows[point, level - 1, corner] = row
            above[:] = below
            low_above[:] = low
