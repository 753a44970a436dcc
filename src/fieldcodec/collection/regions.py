"""The empty cells around a shell of occupied ones: what hangs together, which side it is on, how far the shell is.

A network is fitted near the surface alone; elsewhere its output means nothing. There, a connected region of empty cells
has one sign, and a bound of the distance follows from the cells between a point and the shell.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.octree import Octree, cell_edge
from fieldcodec.jit import kernel

_BOUND_LODS = 7  # the finest level whose cells are visited one by one: 2 million
_LEAK = 0.05  # of the faces of the outside may be inside before a hole in the shell is looked for
_MOST_SEALS = 4  # times that a shell is made thicker to close holes: those of 8 cells at most
_OCCUPIED = np.int8(2)
SignTest = Callable[[np.ndarray], np.ndarray]
"""[n, 3] points of the cube -> [n] bool, True inside."""


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of empty cells along z, column by column."""

    columns: np.ndarray  # [side^2 + 1] int64: the first run of each column x * side + y
    starts: np.ndarray  # [runs] int64: z of the first cell
    ends: np.ndarray  # [runs] int64: z of the cell after the last

    @staticmethod
    def between(cells: np.ndarray, side: int) -> "_Runs":
        """The runs of cells that are not among `cells` [n, 3]."""
        numbers = np.sort((cells[:, 0] * side + cells[:, 1]) * side + cells[:, 2])
        walls = np.arange(side * side + 1, dtype=np.int64) * side  # a run ends where its column does
        ends = np.sort(np.concatenate([numbers, walls[1:]]))
        starts = np.sort(np.concatenate([numbers + 1, walls[:-1]]))
        kept = starts < ends
        starts, ends = starts[kept], ends[kept]
        lowest = starts // side * side
        return _Runs(np.searchsorted(starts, walls), starts - lowest, ends - lowest)

    def find(self, cells: np.ndarray, side: int) -> np.ndarray:
        """[n] the run of each of [n, 3] cells, -1 for occupied ones."""
        rows = np.empty(len(cells), np.int64)
        _find_runs(cells, self.columns, self.starts, self.ends, side, rows)
        return rows


@dataclass(frozen=True, eq=False)
class EmptyRegions:
    """The regions of empty cells of one object, from which signs and bounds of distances follow."""

    lods: int
    runs: _Runs
    inside: np.ndarray  # [runs] bool: the side its region is on
    bounds: np.ndarray  # [2^k, 2^k, 2^k] float32, k = min(lods, 7): no point of the cell is nearer to the surface

    @staticmethod
    def around(octree: Octree, is_inside: SignTest, *, may_leak: bool = False) -> "EmptyRegions":
        """The regions between the finest cells of an octree of one object.

        A region at the border of the cube is outside; of another, the faces that it shares with occupied cells decide.
        Where a shell may leak and many faces of the outside say that they are inside, it has holes: then it is made
        thicker until it has none, and what that cuts off is a region of its own.

        Args:
            is_inside: asked at the centres of those faces.
            may_leak: the shell is a guess of the networks. That of a file is the true one, and what faces of its
                outside say is an error of the distance, as beside parts that are thinner than a cell.
        """
        side = 1 << octree.lods
        cells = octree.cells(octree.lods)[1]
        runs = _Runs.between(cells, side)
        regions = np.empty(len(runs.ends), np.int64)
        open_regions = _join_runs(runs.columns, runs.starts, runs.ends, side, regions)
        run, near, faces = _faces(cells, runs, side)
        answers = np.asarray(is_inside(faces * (2.0 / side) - 1.0), bool)
        inside = (~open_regions & _majority(regions[run], answers, len(open_regions)))[regions]
        at_outside = open_regions[regions[run]]
        if may_leak and octree.lods <= _BOUND_LODS and at_outside.any() and answers[at_outside].mean() > _LEAK:
            sides = _sealed(cells, side, near[at_outside], answers[at_outside])
            empty = np.argwhere(sides != _OCCUPIED)
            within = runs.find(empty, side)
            closed = ~open_regions[regions[within]]
            sides[tuple(empty[closed].T)] = inside[within[closed]]
            runs, inside = _runs_of_sides(sides)
        return EmptyRegions(octree.lods, runs, inside, _distance_bounds(octree))

    def distances(self, points: np.ndarray) -> np.ndarray:
        """[n] float32 at [n, 3] points in empty cells or outside the cube: a bound of the distance with its sign.

        No point of the surface is nearer, provided that the shell reaches a cell further than the surface.
        """
        nearest, cells = self._cells(points)
        run = self.runs.find(cells, 1 << self.lods)
        coarse = cells >> (self.lods - min(self.lods, _BOUND_LODS))
        bounds = self.bounds[tuple(coarse.T)].astype(np.float64)
        # From outside the cube the way leads to its nearest point first, and turns there by a right angle or less.
        away = np.linalg.norm(points - nearest, axis=1)
        bounds = np.where(away == 0, np.maximum(bounds, cell_edge(self.lods)), np.hypot(away, bounds))
        inside = np.append(self.inside, False)[run] & (away == 0)
        return np.where(inside, -bounds, bounds).astype(np.float32)

    def occupied(self, points: np.ndarray) -> np.ndarray:
        """[n] bool: whether [n, 3] points are in occupied cells."""
        nearest, cells = self._cells(points)
        return np.asarray((self.runs.find(cells, 1 << self.lods) < 0) & (nearest == points).all(axis=1))

    def _cells(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest points of the cube, and the cells that hold them; any for what is not a number."""
        side = 1 << self.lods
        nearest = np.clip(np.nan_to_num(points.astype(np.float64)), -1.0, 1.0)
        return nearest, np.minimum(((nearest + 1.0) * (0.5 * side)).astype(np.int64), side - 1)


def _faces(cells: np.ndarray, runs: _Runs, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the faces between occupied and empty cells: runs [n] and empty cells [n, 3], centres [n, 3] in cells."""
    rows, empty, centres = [], [], []
    for axis in range(3):
        for direction in (-1, 1):
            near = cells.copy()
            near[:, axis] += direction
            within = (near[:, axis] >= 0) & (near[:, axis] < side)
            run = runs.find(near[within], side)
            centre = cells[within][run >= 0] + 0.5
            centre[:, axis] += 0.5 * direction
            rows.append(run[run >= 0])
            empty.append(near[within][run >= 0])
            centres.append(centre)
    return np.concatenate(rows), np.concatenate(empty), np.concatenate(centres)


def _majority(regions: np.ndarray, answers: np.ndarray, count: int) -> np.ndarray:
    """[count] bool: regions most of whose answers are True."""
    return np.asarray(np.bincount(regions, np.where(answers, 1, -1), minlength=count) > 0)


def _sealed(cells: np.ndarray, side: int, near: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """[side, side, side] int8: 1 inside, 0 outside or _OCCUPIED, with the holes of a shell closed.

    Args:
        near: [n, 3] cells of the outside with a face of the shell; what these answer [n] tells how much still leaks.
    """
    occupied = np.zeros((side, side, side), bool)
    occupied[tuple(cells.T)] = True
    thick, least, best = occupied, float(answers.mean()), np.zeros(occupied.shape, bool)
    for _ in range(_MOST_SEALS):
        thick = _grown(thick)
        core = np.argwhere(~thick)
        runs = _Runs.between(np.argwhere(thick), side)
        regions = np.empty(len(runs.ends), np.int64)
        open_regions = _join_runs(runs.columns, runs.starts, runs.ends, side, regions)
        labels = np.full(occupied.shape, -1, np.int64)
        labels[tuple(core.T)] = regions[runs.find(core, side)]
        _spread(labels.reshape(-1), occupied.reshape(-1), side)
        voted = labels[tuple(near.T)]
        known = voted >= 0
        inside = ~open_regions & _majority(voted[known], answers[known], len(open_regions))
        leaking = answers & ~np.append(inside, False)[voted]
        if leaking.mean() < least:
            least, best = float(leaking.mean()), np.append(inside, False)[labels]
        if least <= _LEAK:
            break
    return np.where(occupied, _OCCUPIED, best.astype(np.int8))


def _grown(cells: np.ndarray) -> np.ndarray:
    """With the 26 cells around each."""
    for axis in range(3):
        along = np.moveaxis(cells.copy(), axis, 0)
        before = np.moveaxis(cells, axis, 0)
        along[1:] |= before[:-1]
        along[:-1] |= before[1:]
        cells = np.moveaxis(along, 0, axis)
    return np.ascontiguousarray(cells)


def _runs_of_sides(sides: np.ndarray) -> tuple[_Runs, np.ndarray]:
    """Runs of empty cells of one side each, and those sides [runs] bool."""
    side, flat = len(sides), sides.reshape(-1)
    starts = np.flatnonzero(np.append(True, (flat[1:] != flat[:-1]) | (np.arange(1, len(flat)) % side == 0)))
    ends = np.append(starts[1:], len(flat))
    kept = flat[starts] != _OCCUPIED
    starts, ends = starts[kept], ends[kept]
    columns = np.searchsorted(starts, np.arange(side * side + 1, dtype=np.int64) * side)
    lowest = starts // side * side
    return _Runs(columns, starts - lowest, ends - lowest), flat[starts] == 1


def _distance_bounds(octree: Octree) -> np.ndarray:
    level = min(octree.lods, _BOUND_LODS)
    side = 1 << level
    occupied = np.zeros((side, side, side), bool)
    occupied[tuple(octree.cells(level)[1].T)] = True
    squares = np.where(occupied, np.float32(0), np.float32(4 * side * side))
    for axis in range(3):
        lines = np.ascontiguousarray(np.moveaxis(squares, axis, 2))
        out = np.empty_like(lines)
        _nearest_along_lines(lines.reshape(-1, side), out.reshape(-1, side))
        squares = np.moveaxis(out, 2, axis)
    steps = np.sqrt(squares)
    if level == octree.lods:
        return np.ascontiguousarray(steps * cell_edge(level), np.float32)
    # Coarser cells hold the shell, but not the margin of a cell around the surface: gaps between cells count.
    return np.ascontiguousarray(np.maximum(steps - np.sqrt(3), 0) * cell_edge(level), np.float32)


# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def _root_of(parents, run):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@kernel
def _join_runs(columns, starts, ends, side, regions):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fills in the region of each run; returns which regions touch the border of the cube."""
    parents = np.arange(len(ends))
    for x in range(side):
        for y in range(side):
            for near in (0, 1):
                if (x if near == 0 else y) == 0:
                    continue
                mine, other = x * side + y, (x - 1) * side + y if near == 0 else x * side + y - 1
                i, j = columns[mine], columns[other]
                while i < columns[mine + 1] and j < columns[other + 1]:
                    if starts[i] < ends[j] and starts[j] < ends[i]:
                        a, b = _root_of(parents, i), _root_of(parents, j)
                        parents[max(a, b)] = min(a, b)
                    if ends[i] < ends[j]:
                        i += 1
                    else:
                        j += 1
    count = 0
    for run in range(len(ends)):  # roots come before the rest of their region
        root = _root_of(parents, run)
        if root == run:
            regions[run] = count
            count += 1
        else:
            regions[run] = regions[root]
    open_regions = np.zeros(count, np.bool_)
    for x in range(side):
        for y in range(side):
            for run in range(columns[x * side + y], columns[x * side + y + 1]):
                if min(x, y, starts[run]) == 0 or max(x, y) == side - 1 or ends[run] == side:
                    open_regions[regions[run]] = True
    return open_regions


@kernel
def _spread(labels, occupied, side):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Gives every empty cell the label of the labelled cell that is the fewest steps away; -1 where no way leads."""
    queue = np.empty(len(labels), np.int64)
    head, tail = 0, 0
    for cell in range(len(labels)):
        if labels[cell] >= 0:
            queue[tail] = cell
            tail += 1
    while head < tail:
        cell = queue[head]
        head += 1
        for step in (side * side, side, 1):
            place = cell // step % side
            for direction in (-1, 1):
                if 0 <= place + direction < side:
                    near = cell + direction * step
                    if labels[near] < 0 and not occupied[near]:
                        labels[near] = labels[cell]
                        queue[tail] = near
                        tail += 1


@kernel
def _find_runs(cells, columns, starts, ends, side, rows):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for i in range(len(cells)):
        column = cells[i, 0] * side + cells[i, 1]
        run, last = columns[column], columns[column + 1]
        while run < last and ends[run] <= cells[i, 2]:
            run += 1
        rows[i] = run if run < last and starts[run] <= cells[i, 2] else -1


@kernel
def _nearest_along_lines(lines, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """One pass of an exact squared distance transform: the least of lines[j] + (i - j)^2 over j."""
    count = lines.shape[1]
    for line in range(len(lines)):
        for i in range(count):
            best = lines[line, i]
            step = 1
            while step < count and np.float32(step * step) < best:
                square = np.float32(step * step)
                if i >= step:
                    best = min(best, lines[line, i - step] + square)
                if i + step < count:
                    best = min(best, lines[line, i + step] + square)
                step += 1
            out[line, i] = best
