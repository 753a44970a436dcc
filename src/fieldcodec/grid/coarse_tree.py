"""The tree of half the resolution: which nodes and tiles eight neighbours of the finer tree become.

A slot of a coarse node stands for 2 x 2 x 2 slots of the finer tree's level. Where these are tiles of one value and
state it is such a tile; where one of them has a child, or two differ, it has a child.
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.lookup import tiles_at
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology

OCTANTS = np.stack(list(np.ndindex(2, 2, 2)))  # [8, 3]


@dataclass(frozen=True, eq=False)
class CoarseTree:
    """The nodes and tiles of the coarse grid; its leaves are still without masks and values."""

    root_origins: np.ndarray  # [T, 3] int32
    root_values: np.ndarray  # [T, C]
    root_active: np.ndarray  # [T] bool
    upper_origins: np.ndarray  # [U, 3] int32
    upper: "_Slots"
    lower: "_Slots"
    leaf_origins: np.ndarray  # [N, 3] int32, in the tree's order

    def topology(self, leaf_active: np.ndarray) -> Topology:
        """The tree with these packed masks [N, 64] of its leaves."""
        return Topology(
            root_tile_origins=self.root_origins,
            root_tile_active=self.root_active,
            upper_origins=self.upper_origins,
            upper_child=masks.pack(self.upper.child),
            upper_active=masks.pack(self.upper.active & ~self.upper.child),
            lower_child=masks.pack(self.lower.child),
            lower_active=masks.pack(self.lower.active & ~self.lower.child),
            leaf_active=leaf_active,
        )


@dataclass(frozen=True, eq=False)
class _Slots:
    """All slots of the n nodes of one level."""

    child: np.ndarray  # [n, slots] bool
    values: np.ndarray  # [n, slots, C], of meaning where there is no child
    active: np.ndarray  # [n, slots] bool, likewise

    def tile_values(self) -> np.ndarray:
        """[M, C]: values of the slots without child, in slot order."""
        return self.values[~self.child]


def halved_tree(grid: SparseGrid, extra_leaves: np.ndarray) -> CoarseTree:
    """The tree of `grid` at half the resolution.

    Args:
        extra_leaves: [n, 3] origins, in coarse voxels, of leaves to be there besides those the rule asks for.
    """
    topology, extra = grid.topology, np.asarray(extra_leaves, np.int64).reshape(-1, 3)
    cells = _root_cells(grid, extra)
    around = (cells[:, None] * 2 + OCTANTS * masks.UPPER_DIM).reshape(-1, 3)
    values, active, is_root = tiles_at(grid, around, (12,))
    child = (OriginTable(topology.upper_origins).find(around) >= 0).reshape(-1, 8).any(axis=1)
    child |= _differ(values.reshape(-1, 8, grid.channels), active.reshape(-1, 8))
    child |= OriginTable(np.unique(extra & -masks.UPPER_DIM, axis=0)).find(cells) >= 0
    is_tile = ~child & is_root[::8]
    uppers = cells[child]
    upper = _halved(
        grid, (topology.upper_origins, topology.upper_child, topology.upper_active, grid.upper_tile_values),
        uppers, masks.UPPER_LOG2, masks.LOWER_DIM, (12,), extra,
    )  # fmt: skip
    lowers = _child_origins(uppers, upper.child, masks.UPPER_LOG2, masks.LOWER_DIM)
    lower = _halved(
        grid, (topology.lower_origins, topology.lower_child, topology.lower_active, grid.lower_tile_values),
        lowers, masks.LOWER_LOG2, masks.LEAF_DIM, (7, 12), extra,
    )  # fmt: skip
    return CoarseTree(
        root_origins=cells[is_tile].astype(np.int32),
        root_values=values[::8][is_tile],
        root_active=active[::8][is_tile],
        upper_origins=uppers.astype(np.int32),
        upper=upper,
        lower=lower,
        leaf_origins=_child_origins(lowers, lower.child, masks.LOWER_LOG2, masks.LEAF_DIM).astype(np.int32),
    )


def _root_cells(grid: SparseGrid, extra: np.ndarray) -> np.ndarray:
    """[n, 3] int64, sorted: the coarse 4096^3 cells in which something is."""
    topology = grid.topology
    fine = np.concatenate([topology.upper_origins, topology.root_tile_origins]).astype(np.int64) >> 1
    return np.unique(np.concatenate([fine, extra]) & -masks.UPPER_DIM, axis=0)


def _halved(
    grid: SparseGrid,
    fine: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    origins: np.ndarray,
    log2: int,
    slot_dim: int,
    above: tuple[int, ...],
    extra: np.ndarray,
) -> _Slots:
    """The slots of the coarse nodes at `origins` [m, 3]; each octant of a node is a fine node or a tile above it.

    Args:
        fine: origins, child masks, active masks and tile values of the fine nodes of this level.
        above: log2 of the sides of the fine tiles of the levels above.
    """
    fine_origins, child_bits, active_bits, tile_values = fine
    half, slots = 1 << (log2 - 1), 1 << (3 * log2)
    octants = (origins[:, None] * 2 + OCTANTS * (slot_dim << log2)).reshape(-1, 3)
    default, default_active, _ = tiles_at(grid, octants, above)
    rows = OriginTable(fine_origins).find(octants)
    shape = (len(octants), half, half, half)
    child = np.zeros(shape, bool)
    values = np.broadcast_to(default[:, None, None, None], (*shape, grid.channels)).copy()
    active = np.broadcast_to(default_active[:, None, None, None], shape).copy()
    first_tile = np.concatenate([[0], np.cumsum(slots - np.bitwise_count(child_bits).sum(axis=1, dtype=np.int64))])
    for place in np.flatnonzero(rows >= 0):
        row = rows[place]
        has_child = masks.unpack(child_bits[row])
        every = np.zeros((slots, grid.channels), grid.value_type.dtype)
        every[~has_child] = tile_values[first_tile[row] : first_tile[row + 1]]
        states = masks.unpack(active_bits[row]) & ~has_child
        eights, states = _in_eights(every, half), _in_eights(states[:, None], half)[..., 0]
        child[place] = _in_eights(has_child[:, None], half)[..., 0].any(axis=-1) | _differ(eights, states)
        values[place], active[place] = eights[..., 0, :], states[..., 0]
    result = _Slots(
        _joined(child[..., None], half)[..., 0], _joined(values, half), _joined(active[..., None], half)[..., 0]
    )
    side = slot_dim << log2
    node = OriginTable(origins).find(extra & -side)
    offset = (extra & (side - 1)) // slot_dim
    result.child[node, (offset[:, 0] << (2 * log2)) | (offset[:, 1] << log2) | offset[:, 2]] = True
    return result


def _in_eights(slots: np.ndarray, half: int) -> np.ndarray:
    """[slots of a node, C] -> [half, half, half, 8, C]."""
    channels = slots.shape[-1]
    cube = slots.reshape(half, 2, half, 2, half, 2, channels).transpose(0, 2, 4, 1, 3, 5, 6)
    return cube.reshape(half, half, half, 8, channels)


def _joined(octants: np.ndarray, half: int) -> np.ndarray:
    """[m * 8, half, half, half, C] -> [m, slots of a node, C]."""
    channels = octants.shape[-1]
    cube = octants.reshape(-1, 2, 2, 2, half, half, half, channels).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return cube.reshape(-1, (2 * half) ** 3, channels)


def _differ(values: np.ndarray, active: np.ndarray) -> np.ndarray:
    """[..., 8, C], [..., 8] -> [...]: whether eight tiles are not all alike."""
    return (values != values[..., :1, :]).any(axis=(-2, -1)) | (active != active[..., :1]).any(axis=-1)


def _child_origins(nodes: np.ndarray, child: np.ndarray, log2: int, slot_dim: int) -> np.ndarray:
    """[n, 3] int64: origins of the children, node after node."""
    rows, slots = np.nonzero(child)
    return nodes[rows] + masks.slot_offsets(log2)[slots].astype(np.int64) * slot_dim
