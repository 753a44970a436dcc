"""Values of a grid by place: 8^3 blocks, tiles and the set of negative voxels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.voxel_set import VoxelSet

TILE_LOG2 = (3, 7, 12)  # log2 of the sides of tiles: of lower nodes, upper nodes, the root


@dataclass(frozen=True, eq=False)
class Blocks:
    """What a grid holds in n cubes of 8^3 voxels aligned to leaves: a leaf, or one value throughout."""

    grid: SparseGrid
    rows: np.ndarray  # [n] int64: row of the leaf, -1 where there is none
    fill: np.ndarray  # [n, C]: the value where there is no leaf (a tile's or the background)
    fill_active: np.ndarray  # [n] bool: the active state where there is no leaf

    def values(self, part: slice) -> np.ndarray:
        """[m, 512, C]: values of the voxels of some of the blocks."""
        rows = self.rows[part]
        if len(rows) and rows[0] >= 0 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            return self.grid.leaf_values[rows[0] : rows[0] + len(rows)]
        values = np.repeat(self.fill[part][:, None], masks.LEAF_SLOTS, axis=1)
        values[rows >= 0] = self.grid.leaf_values[rows[rows >= 0]]
        return values

    def active(self, part: slice) -> np.ndarray:
        """[m, 512] bool: active states of the voxels of some of the blocks."""
        rows = self.rows[part]
        active = np.repeat(self.fill_active[part][:, None], masks.LEAF_SLOTS, axis=1)
        active[rows >= 0] = masks.unpack(self.grid.topology.leaf_active[rows[rows >= 0]])
        return active

    def at(self, block: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """[m, C]: the value of voxel `slot` (0 to 511) of each of the blocks `block`; both [m]."""
        rows = self.rows[block]
        values = self.fill[block]
        inside = rows >= 0
        values[inside] = self.grid.leaf_values[rows[inside], slot[inside]]
        return values


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of one level."""

    log2: int  # of the side in voxels
    origins: np.ndarray  # [n, 3] int32
    values: np.ndarray  # [n, C]
    active: np.ndarray  # [n] bool


def tiles_of(grid: SparseGrid, log2: int) -> Tiles:
    """All tiles of side 2^`log2` voxels, in the order of the grid's tile values."""
    topology = grid.topology
    if log2 == 12:
        return Tiles(log2, topology.root_tile_origins, grid.root_tile_values, topology.root_tile_active)
    if log2 == 7:
        origins = _tile_origins(topology.upper_origins, topology.upper_child, masks.UPPER_LOG2, log2)
        return Tiles(log2, origins, grid.upper_tile_values, grid.upper_tile_mask())
    origins = _tile_origins(topology.lower_origins, topology.lower_child, masks.LOWER_LOG2, log2)
    return Tiles(log2, origins, grid.lower_tile_values, grid.lower_tile_mask())


def blocks_at(grid: SparseGrid, origins: np.ndarray) -> Blocks:
    """What `grid` holds at `origins`, [n, 3] integers that are multiples of 8."""
    rows = grid.topology.leaf_table.find(origins)
    fill = np.repeat(grid.background[None], len(rows), axis=0)
    active = np.zeros(len(rows), bool)
    rest = np.flatnonzero(rows < 0)
    fill[rest], active[rest], _ = tiles_at(grid, np.asarray(origins)[rest])
    return Blocks(grid, rows, fill, active)


def tiles_at(
    grid: SparseGrid, origins: np.ndarray, levels: Sequence[int] = TILE_LOG2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [n, C] and states [n] of the tiles that hold [n, 3] voxels, the background elsewhere; and [n]: one does.

    Args:
        levels: log2 of the sides of the tiles that count.
    """
    values, active = np.repeat(grid.background[None], len(origins), axis=0), np.zeros(len(origins), bool)
    found = np.zeros(len(origins), bool)
    for log2 in levels:
        rest = np.flatnonzero(~found)
        if not len(rest):
            break
        place, known = _find_tiles(grid, log2, np.asarray(origins)[rest] & ~((1 << log2) - 1))
        of_level, states = _tile_arrays(grid, log2)
        values[rest[known]], active[rest[known]] = of_level[place], states[place]
        found[rest[known]] = True
    return values, active, found


def negative_set(grid: SparseGrid) -> VoxelSet:
    """The voxels of a scalar grid whose value is below zero: those of leaves, active or not, and of tiles.

    The background counts as outside wherever no node holds it.
    """
    cubes = {}
    for log2 in TILE_LOG2:
        tiles = tiles_of(grid, log2)
        cubes[log2] = tiles.origins[tiles.values[:, 0] < 0]
    return VoxelSet(cubes, grid.topology.leaf_origins, masks.pack(grid.leaf_values[..., 0] < 0))


def _tile_origins(origins: np.ndarray, child: np.ndarray, node_log2: int, tile_log2: int) -> np.ndarray:
    rows, slots = masks.set_slots(~child)
    return origins[rows] + (masks.slot_offsets(node_log2) << tile_log2)[slots]


def _find_tiles(grid: SparseGrid, log2: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of known tiles in the grid's tile values, and [n] bool: which of the origins are tiles."""
    topology = grid.topology
    if log2 == 12:
        place = OriginTable(topology.root_tile_origins).find(origins)
        return place[place >= 0], place >= 0
    node_log2 = masks.LOWER_LOG2 if log2 == 3 else masks.UPPER_LOG2
    nodes, child = _nodes(topology, log2)
    side = log2 + node_log2
    rows = OriginTable(nodes).find(origins & ~((1 << side) - 1))
    offset = (origins & ((1 << side) - 1)) >> log2
    slots = (offset[:, 0] << (2 * node_log2)) | (offset[:, 1] << node_log2) | offset[:, 2]
    free = np.flatnonzero(~masks.unpack(child).reshape(-1))
    if not len(free):
        return np.zeros(0, np.int64), np.zeros(len(origins), bool)
    wanted = rows * (1 << (3 * node_log2)) + slots
    place = np.minimum(np.searchsorted(free, wanted), len(free) - 1)
    known = (rows >= 0) & (free[place] == wanted)
    return place[known], known


def _tile_arrays(grid: SparseGrid, log2: int) -> tuple[np.ndarray, np.ndarray]:
    if log2 == 12:
        return grid.root_tile_values, grid.topology.root_tile_active
    if log2 == 7:
        return grid.upper_tile_values, grid.upper_tile_mask()
    return grid.lower_tile_values, grid.lower_tile_mask()


def _nodes(topology: Topology, log2: int) -> tuple[np.ndarray, np.ndarray]:
    if log2 == 3:
        return topology.lower_origins, topology.lower_child
    return topology.upper_origins, topology.upper_child
