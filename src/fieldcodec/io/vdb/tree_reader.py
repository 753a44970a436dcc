"""One tree from the bytes of a `.vdb` file: topology first, then the buffers of all leaves."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology
from fieldcodec.io.vdb import kernels
from fieldcodec.io.vdb.compression import Storage, read_tables
from fieldcodec.io.vdb.layout import Cursor

_LOWER_MIN_BYTES = 2 * masks.LOWER_SLOTS // 8 + 1  # two masks, code
_UPPER_MIN_BYTES = 12 + 2 * masks.UPPER_SLOTS // 8 + 1  # origin, two masks, code
_LEAF_ORIGIN_BYTES = 12
_MASK_BYTES = masks.LEAF_SLOTS // 8


@dataclass(frozen=True, eq=False)
class Tree:
    """What instances share."""

    topology: Topology
    leaf_values: np.ndarray  # [N, 512, C]
    lower_tile_values: np.ndarray  # [M, C]
    upper_tile_values: np.ndarray  # [K, C]
    root_tile_values: np.ndarray  # [T, C]
    background: np.ndarray  # [C]


def read_tree(cursor: Cursor, storage: Storage) -> Tree:
    """Reads topology and buffers from `cursor`, which is left behind them."""
    grid = cursor.where
    cursor.where = f"{grid}, tree topology"
    background, tiles, num_uppers = _read_root(cursor, storage)
    data = cursor.array()
    origins, uppers, lowers = _scan_nodes(cursor, num_uppers, storage)
    _check_origins(cursor, origins, tiles["origin"])
    topology = Topology(
        root_tile_origins=np.ascontiguousarray(tiles["origin"]),
        root_tile_active=tiles["active"] != 0,
        upper_origins=origins,
        upper_child=_rows(data, uppers, kernels.CHILD, masks.UPPER_SLOTS // 8),
        upper_active=_rows(data, uppers, kernels.MASK, masks.UPPER_SLOTS // 8),
        lower_child=_rows(data, lowers, kernels.CHILD, masks.LOWER_SLOTS // 8),
        lower_active=_rows(data, lowers, kernels.MASK, masks.LOWER_SLOTS // 8),
        leaf_active=kernels.gather_runs(data, lowers[:, kernels.LEAVES], lowers[:, kernels.RUN], _MASK_BYTES),
    )
    upper_tiles = _tiles(cursor, uppers, topology.upper_child, storage, background)
    lower_tiles = _tiles(cursor, lowers, topology.lower_child, storage, background)
    cursor.where = f"{grid}, leaf buffers"
    leaf_values = _read_leaves(cursor, topology, storage, background)
    cursor.where = grid
    return Tree(topology, leaf_values, lower_tiles, upper_tiles, _values(tiles["value"], storage), background)


def _read_root(cursor: Cursor, storage: Storage) -> tuple[np.ndarray, np.ndarray, int]:
    """Background [C], root tiles as a structured array, number of upper nodes."""
    buffers = cursor.u32("number of buffers")
    if buffers != 1:
        cursor.fail(f"a tree of {buffers} buffers; only trees of one buffer exist", cursor.pos - 4)
    raw = np.frombuffer(cursor.take(storage.value_bytes, "background value"), np.uint8)
    background = _values(raw[None], storage)[0]
    num_tiles, num_uppers = cursor.u32("number of root tiles"), cursor.u32("number of root children")
    layout = np.dtype([("origin", "<i4", 3), ("value", "u1", storage.value_bytes), ("active", "u1")])
    if num_tiles * layout.itemsize + num_uppers * _UPPER_MIN_BYTES > cursor.left:
        cursor.fail(f"{num_tiles} root tiles and {num_uppers} root children cannot fit in {cursor.left} bytes")
    tiles = np.frombuffer(cursor.take(num_tiles * layout.itemsize, "root tiles"), layout)
    return background, tiles, num_uppers


def _scan_nodes(cursor: Cursor, num_uppers: int, storage: Storage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origins [U, 3] of the upper nodes, and the tables of upper and lower nodes, depth first."""
    origins = np.zeros((num_uppers, 3), np.int32)
    uppers = np.zeros((num_uppers, kernels.COLUMNS), np.int64)
    lowers = []
    for upper in range(num_uppers):
        origins[upper] = np.frombuffer(cursor.take(12, "origin of a root child"), "<i4")
        _scan(cursor, kernels.scan_internal, storage, "upper node", uppers[upper : upper + 1], masks.UPPER_SLOTS, 0)
        below = int(uppers[upper, kernels.RUN])
        if below * _LOWER_MIN_BYTES > cursor.left:
            cursor.fail(f"{below} children of upper node {upper} cannot fit in {cursor.left} bytes")
        lowers.append(np.zeros((below, kernels.COLUMNS), np.int64))
        _scan(cursor, kernels.scan_internal, storage, "lower node", lowers[-1], masks.LOWER_SLOTS, _MASK_BYTES)
    return origins, uppers, np.concatenate([np.zeros((0, kernels.COLUMNS), np.int64), *lowers])


def _values(raw: np.ndarray, storage: Storage) -> np.ndarray:
    """[n, value bytes] uint8 -> [n, C] of the grid's type."""
    raw = raw.reshape(-1, storage.value_bytes)
    raw = np.minimum(raw, 1) if storage.kind.is_bool else np.ascontiguousarray(raw)
    return raw.view(storage.kind.dtype).reshape(-1, storage.kind.channels).copy()


def _check_origins(cursor: Cursor, uppers: np.ndarray, tiles: np.ndarray) -> None:
    origins = np.concatenate([uppers, tiles])
    if np.any(origins & (masks.UPPER_DIM - 1)):
        bad = origins[np.any(origins & (masks.UPPER_DIM - 1), axis=1)][0]
        cursor.fail(f"root entry at {bad.tolist()}, which is no multiple of {masks.UPPER_DIM}")
    if len(np.unique(origins, axis=0)) != len(origins):
        cursor.fail("two root entries at the same place")


def _ones(blocks: np.ndarray) -> np.ndarray:
    return np.ones(len(blocks), np.int64)


def _rows(data: np.ndarray, blocks: np.ndarray, column: int, width: int) -> np.ndarray:
    """[n, width] uint8: the masks whose byte positions stand in a column of a table of blocks."""
    return kernels.gather_runs(data, blocks[:, column], _ones(blocks), width)


def _scan(
    cursor: Cursor,
    kernel: Callable[..., tuple[int, int, int]],
    storage: Storage,
    what: str,
    table: np.ndarray,
    *more: int,
) -> None:
    """Fills `table` by one of the scanning kernels and moves the cursor behind what it scanned."""
    status, pos, node = kernel(cursor.array(), cursor.pos, cursor.end, storage.sizes, table, *more)
    if status == kernels.CUT:
        cursor.fail(f"{what} {node} does not fit before byte {cursor.end}", pos)
    if status == kernels.BAD_CODE:
        cursor.fail(f"{what} {node} has block code {cursor.data[pos]}; allowed are 0 to {kernels.ALL_VALUES}", pos)
    if status == kernels.BAD_LENGTH:
        cursor.fail(f"{what} {node} holds another number of bytes than its active voxels need", pos)
    cursor.pos = int(pos)


def _tiles(
    cursor: Cursor, blocks: np.ndarray, child: np.ndarray, storage: Storage, background: np.ndarray
) -> np.ndarray:
    """[tiles, C]: the values of the slots without a child, node after node."""
    slots = child.shape[1] * 8
    out = np.empty((child.size * 8 - masks.count(child), storage.kind.channels), storage.kind.dtype)
    filled = 0
    for piece, values in read_tables(cursor, blocks, slots, storage, background):
        found = values[~masks.unpack(child[piece])]
        out[filled : filled + len(found)] = found
        filled += len(found)
    return out


def _read_leaves(cursor: Cursor, topology: Topology, storage: Storage, background: np.ndarray) -> np.ndarray:
    """[N, 512, C]: the values of all leaves."""
    if storage.kind.is_bool:
        return _read_bit_leaves(cursor, topology, storage)
    data = cursor.array()
    blocks = np.zeros((topology.num_leaves, kernels.COLUMNS), np.int64)
    _scan(cursor, kernels.scan_leaves, storage, "leaf", blocks)
    _check_masks(cursor, _rows(data, blocks, kernels.MASK, _MASK_BYTES), topology, blocks[:, kernels.MASK])
    values = np.empty((topology.num_leaves, masks.LEAF_SLOTS, storage.kind.channels), storage.kind.dtype)
    for piece, tables in read_tables(cursor, blocks, masks.LEAF_SLOTS, storage, background):
        values[piece] = tables
    return values


def _read_bit_leaves(cursor: Cursor, topology: Topology, storage: Storage) -> np.ndarray:
    """Leaves of bool and mask grids have a fixed size: active mask, origin and, if bool, one bit per value."""
    has_values = storage.kind.name == "bool"
    size = _MASK_BYTES + _LEAF_ORIGIN_BYTES + (_MASK_BYTES if has_values else 0)
    start, count = cursor.pos, topology.num_leaves
    raw = np.frombuffer(cursor.take(count * size, f"{count} leaves"), np.uint8).reshape(count, size)
    places = start + size * np.arange(count)
    _check_masks(cursor, raw[:, :_MASK_BYTES], topology, places)
    origins = np.ascontiguousarray(raw[:, _MASK_BYTES : _MASK_BYTES + _LEAF_ORIGIN_BYTES]).view("<i4")
    moved = np.any(origins != topology.leaf_origins, axis=1)
    if moved.any():
        leaf = int(np.argmax(moved))
        cursor.fail(f"leaf {leaf} is at {origins[leaf].tolist()}, not at its place in the tree", int(places[leaf]))
    bits = raw[:, -_MASK_BYTES:] if has_values else topology.leaf_active
    return masks.unpack(np.ascontiguousarray(bits))[..., None]


def _check_masks(cursor: Cursor, found: np.ndarray, topology: Topology, places: np.ndarray) -> None:
    """The active mask of each leaf is stored twice; both must agree."""
    differs = np.any(found != topology.leaf_active, axis=1)
    if differs.any():
        leaf = int(np.argmax(differs))
        cursor.fail(f"leaf {leaf} has another active mask than in the tree topology", int(places[leaf]))
