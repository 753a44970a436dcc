"""One tree as the bytes of a `.vdb` file: the mirror image of `tree_reader`."""

import struct
from collections.abc import Callable, Iterator

import numpy as np

from fieldcodec.errors import InputError
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.vdb.compression import Storage, write_tables

Write = Callable[[bytes | memoryview], object]


def write_topology(write: Write, grid: SparseGrid, storage: Storage) -> None:
    """Everything of a tree but the buffers of its leaves: root, then internal nodes depth first."""
    topology = grid.topology
    background = storage.round(grid.background)
    tiles, uppers = len(topology.root_tile_origins), len(topology.upper_origins)
    write(struct.pack("<I", 1) + background.tobytes() + struct.pack("<2I", tiles, uppers))
    layout = np.dtype([("origin", "<i4", 3), ("value", grid.value_type.dtype, grid.channels), ("active", "u1")])
    table = np.empty(tiles, layout)
    table["origin"], table["active"] = topology.root_tile_origins, topology.root_tile_active
    table["value"] = grid.root_tile_values.reshape(table["value"].shape)  # at full precision even in half grids
    write(table.tobytes())
    origins = np.ascontiguousarray(topology.upper_origins, "<i4").view(np.uint8).reshape(-1, 12)
    upper_blocks = _nodes(
        grid.upper_tile_values, topology.upper_active, topology.upper_child, origins, storage, background
    )  # fmt: skip
    nothing = np.empty((len(topology.lower_child), 0), np.uint8)
    lower_blocks = _nodes(
        grid.lower_tile_values, topology.lower_active, topology.lower_child, nothing, storage, background
    )  # fmt: skip
    lower, leaf = 0, 0
    children = np.bitwise_count(topology.upper_child).sum(axis=1, dtype=np.int64).tolist()
    leaves = np.bitwise_count(topology.lower_child).sum(axis=1, dtype=np.int64).tolist()
    for block, count in zip(upper_blocks, children, strict=True):
        write(block)
        for _ in range(count):
            write(next(lower_blocks))
            write(topology.leaf_active[leaf : leaf + leaves[lower]].tobytes())
            leaf += leaves[lower]
            lower += 1


def _nodes(
    tiles: np.ndarray, active: np.ndarray, child: np.ndarray, prefix: np.ndarray,
    storage: Storage, background: np.ndarray,
) -> Iterator[bytes | memoryview]:  # fmt: skip
    """Blocks of internal nodes, each behind its own prefix and its two masks."""
    slots = child.shape[1] * 8
    taken = 0
    for piece in storage.chunks(len(child), slots):
        own = ~masks.unpack(child[piece])
        values = np.zeros((len(own), slots, storage.kind.channels), storage.kind.dtype)
        count = int(own.sum())
        values[own] = tiles[taken : taken + count]
        taken += count
        heads = np.concatenate([prefix[piece], child[piece], active[piece]], axis=1)
        yield from write_tables(values, active[piece], child[piece], heads, storage, background)


def write_buffers(write: Write, grid: SparseGrid, storage: Storage) -> None:
    """The buffers of all leaves."""
    topology = grid.topology
    if storage.kind.is_bool:
        _write_bit_leaves(write, grid)
        return
    background = storage.round(grid.background)
    for piece in storage.chunks(topology.num_leaves, masks.LEAF_SLOTS):
        active = topology.leaf_active[piece]
        blocks = write_tables(
            grid.leaf_values[piece], active, np.zeros_like(active), active, storage, background
        )  # fmt: skip
        write(b"".join(blocks))


def _write_bit_leaves(write: Write, grid: SparseGrid) -> None:
    """Leaves of bool and mask grids: active mask, origin and, if bool, one bit per value."""
    topology = grid.topology
    values = masks.pack(grid.leaf_values[..., 0])
    origins = np.ascontiguousarray(topology.leaf_origins, "<i4").view(np.uint8).reshape(-1, 12)
    columns = [topology.leaf_active, origins]
    if grid.value_type.name == "bool":
        columns.append(values)
    elif not np.array_equal(values, topology.leaf_active):
        raise InputError(
            f"grid {grid.name!r} is a mask grid, but its leaf values are not its active states; "
            "only equal ones can be stored. Make it a bool grid, or set the values to the active states"
        )
    write(np.concatenate(columns, axis=1).tobytes())
