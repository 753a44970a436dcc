"""Where the iso-surface of a grid can be: the 8^3 blocks of cells whose corners are not all on one side.

The cell of a voxel reaches to the next voxel along each axis, so a block of cells needs its own block of voxels and
the seven ahead of it. Nodes and tiles that lie on one side of the surface as a whole are never expanded; of a tile
only its neighbourhood is looked at.
"""

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.lookup import tiles_of
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import SparseGrid

AHEAD = np.stack(list(np.ndindex(2, 2, 2)))  # [8, 3]: steps to a block and the seven ahead of it
_OUTSIDE, _INSIDE, _MIXED = np.uint8(1), np.uint8(2), np.uint8(3)
_NODES_AT_ONCE = 256
_LEAVES_AT_ONCE = 4096


def crossed_blocks(grid: SparseGrid, iso: float, inside_below: bool) -> np.ndarray:
    """[n, 3] int64, sorted: origins of the blocks of cells that hold some of the surface, and few others.

    Args:
        grid: a scalar grid.
        inside_below: True where values below `iso` are inside, False where those above are.
    """
    sides = _Sides(grid, iso, inside_below)
    cells = _lower_cells(grid, sides)
    found = [np.zeros((0, 3), np.int64)]
    for first in range(0, len(cells), _NODES_AT_ONCE):
        part = cells[first : first + _NODES_AT_ONCE]
        seen = np.zeros((len(part), 16, 16, 16), np.uint8)
        around = sides.around(part)
        for x, y, z in AHEAD:
            seen |= around[:, x : x + 16, y : y + 16, z : z + 16]
        rows, slots = np.nonzero((seen == _MIXED).reshape(len(part), -1))
        found.append(part[rows] + masks.slot_offsets(masks.LOWER_LOG2)[slots].astype(np.int64) * masks.LEAF_DIM)
    origins = np.concatenate(found)
    return origins[np.lexsort(origins.T[::-1])]


class _Sides:
    """On which side of the surface blocks of 8^3 voxels are: outside, inside or both, as bits."""

    def __init__(self, grid: SparseGrid, iso: float, inside_below: bool) -> None:
        self._iso, self._inside_below = np.float64(iso), inside_below  # float32 values are not rounded against it
        topology = grid.topology
        self.background = self.of(grid.background)[0]
        self._nodes = OriginTable(topology.lower_origins)
        child = masks.unpack(topology.lower_child).reshape(-1)
        slots = np.empty(child.size, np.uint8)
        slots[child] = self._of_leaves(grid)
        slots[~child] = self.of(grid.lower_tile_values[:, 0])
        self._slots = slots.reshape(-1, 16, 16, 16)
        self._tiles = []
        for log2 in (7, 12):
            tiles = tiles_of(grid, log2)
            side = self.of(tiles.values[:, 0])
            odd = side != self.background
            self._tiles.append((log2, OriginTable(tiles.origins[odd]), side[odd]))

    def of(self, values: np.ndarray) -> np.ndarray:
        """[n] -> [n] uint8; NaN is outside."""
        inside = values < self._iso if self._inside_below else values > self._iso
        return np.where(inside, _INSIDE, _OUTSIDE)

    def around(self, cells: np.ndarray) -> np.ndarray:
        """[n, 3] origins of 128^3 cells -> [n, 17, 17, 17]: their blocks, and those ahead of them."""
        result = np.empty((len(cells), 17, 17, 17), np.uint8)
        for step in AHEAD:
            at = cells + step * masks.LOWER_DIM
            x, y, z = (slice(16, 17) if ahead else slice(0, 16) for ahead in step)
            i, j, k = (slice(0, 1) if ahead else slice(0, 16) for ahead in step)
            rows = self._nodes.find(at)
            known = rows >= 0
            result[~known, x, y, z] = self._of_tiles(at[~known])[:, None, None, None]
            result[known, x, y, z] = self._slots[rows[known], i, j, k]
        return result

    def _of_tiles(self, cells: np.ndarray) -> np.ndarray:
        """[n, 3] origins of 128^3 cells without a node -> [n]."""
        result = np.full(len(cells), self.background)
        for log2, table, sides in self._tiles:
            place = table.find(cells & ~((1 << log2) - 1))
            result[place >= 0] = sides[place[place >= 0]]
        return result

    def _of_leaves(self, grid: SparseGrid) -> np.ndarray:
        sides = np.empty(grid.topology.num_leaves, np.uint8)
        for first in range(0, len(sides), _LEAVES_AT_ONCE):
            part = slice(first, first + _LEAVES_AT_ONCE)
            sides[part] = np.bitwise_or.reduce(self.of(grid.leaf_values[part, :, 0]), axis=1)
        return sides


def _lower_cells(grid: SparseGrid, sides: _Sides) -> np.ndarray:
    """[n, 3] int64: origins of the 128^3 cells in which, or ahead of which, something else than background is.

    Cells deep inside a root tile are left out: only those at its borders have something to meet.
    """
    topology = grid.topology
    parts = [topology.lower_origins.astype(np.int64)]
    upper = tiles_of(grid, 7)
    parts.append(upper.origins[sides.of(upper.values[:, 0]) != sides.background].astype(np.int64))
    root = tiles_of(grid, 12)
    odd = root.origins[sides.of(root.values[:, 0]) != sides.background].astype(np.int64)
    border = masks.slot_offsets(masks.UPPER_LOG2).astype(np.int64)
    border = border[((border == 0) | (border == 31)).any(axis=1)] * masks.LOWER_DIM
    parts.append((odd[:, None] + border).reshape(-1, 3))
    cells = np.unique(np.concatenate(parts), axis=0)
    return np.unique((cells[:, None] - AHEAD * masks.LOWER_DIM).reshape(-1, 3), axis=0)
