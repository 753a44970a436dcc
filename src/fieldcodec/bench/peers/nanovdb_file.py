"""The bytes of a `.nvdb` file with one quantised grid: memory layout and segment of NanoVDB 32 (NanoVDB.h, io/IO.h).

    file: header (16), description (176), name, [length of chunk, chunk ...]
    grid: grid (672), tree (64), root (64 + 32 for each entry), upper nodes (8,256 + 262,144 each),
          lower nodes (1,088 + 32,768 each), leaves (96 + 64 * bits each)

An entry of an internal node's table takes 8 bytes: a tile's value, or the distance in bytes to a child. Nodes stand
breadth first, in the order of OpenVDB. Statistics and boxes of nodes are not filled in, nor are checksums.
"""

import struct
import zlib

import blosc
import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import FOG_VOLUME, LEVEL_SET, SparseGrid
from fieldcodec.grid.topology import Topology

CODECS = {"none": 0, "zip": 1, "blosc": 2}
_TYPES = {"Fp4": 13, "Fp8": 14, "Fp16": 15, "FpN": 16}
_CLASSES = {LEVEL_SET: 1, FOG_VOLUME: 2}
_MAGIC, _VERSION = b"NanoVDB0", 32 << 21 | 4 << 10 | 2
_IS_BREADTH_FIRST = 32
_CHUNK_BYTES, _BLOSC_BLOCK = 1 << 30, 1 << 18

_HEADER = struct.Struct("<8sIHH")  # magic, version, number of grids, codec
_DESCRIPTION = struct.Struct("<4Q2I6d6i3dI4I3IHHI")  # sizes, key, count, type, class, boxes, voxel, ..., codec
_ROOT_BYTES, _ENTRY_BYTES = 64, 32
_GRID = np.dtype({
    "names": ["magic", "checksum", "version", "flags", "grids", "bytes", "name", "map", "exact_map", "box", "voxel",
              "class", "type"],
    "formats": ["S8", "<u8", "<u4", "<u4", "<u4", "<u8", "S256", ("<f4", 22), ("<f8", 22), ("<f8", 6), ("<f8", 3),
                "<u4", "<u4"],
    "offsets": [0, 8, 16, 20, 28, 32, 40, 296, 384, 560, 608, 632, 636],
    "itemsize": 672,
})  # fmt: skip
_TREE = np.dtype([("at", "<u8", 4), ("nodes", "<u4", 3), ("tiles", "<u4", 3), ("voxels", "<u8")])
_ENTRY = np.dtype({
    "names": ["key", "child", "active", "value"], "formats": ["<u8", "<i8", "<u4", "<f4"], "offsets": [0, 8, 16, 20],
    "itemsize": _ENTRY_BYTES,
})  # fmt: skip
_LEAF_HEAD = np.dtype({
    "names": ["origin", "flags", "active", "low", "step"],
    "formats": [("<i4", 3), "u1", ("u1", masks.LEAF_SLOTS // 8), "<f4", "<f4"],
    "offsets": [0, 15, 16, 80, 84], "itemsize": 96,
})  # fmt: skip


def nanovdb_bytes(
    grid: SparseGrid, kind: str, codec: str, bits: np.ndarray, low: np.ndarray, step: np.ndarray, codes: np.ndarray
) -> bytes:
    """The whole file.

    Args:
        grid: of one float channel, under a linear transform; its leaf values are not looked at.
        kind: Fp4, Fp8, Fp16 or FpN.
        codec: one of `CODECS`.
        bits, low, step: [N] width of the codes, smallest value and quantisation step of each leaf.
        codes: [N, 512] uint16.
    """
    memory = _grid_memory(grid, kind, bits, _leaves(grid.topology, kind, bits, low, step, codes))
    packed = _packed(memory, codec)
    name, counts = grid.name.encode() + b"\0", _node_counts(grid)
    index_box, world_box = _boxes(grid)
    description = _DESCRIPTION.pack(
        len(memory), len(packed), 0, grid.topology.num_active_voxels, _TYPES[kind], _CLASSES.get(grid.grid_class, 0),
        *world_box, *index_box, *grid.transform.voxel_size, len(name), *counts, 1, *_active_tiles(grid),
        CODECS[codec], 0, _VERSION,
    )  # fmt: skip
    return _HEADER.pack(_MAGIC, _VERSION, 1, CODECS[codec]) + description + name + packed


def _packed(memory: bytes, codec: str) -> bytes:
    if codec == "none":
        return memory
    if codec == "zip":
        chunks = [zlib.compress(memory)]
    else:
        blosc.set_blocksize(_BLOSC_BLOCK)
        pieces = (memory[start : start + _CHUNK_BYTES] for start in range(0, len(memory), _CHUNK_BYTES))
        chunks = [blosc.compress(piece, typesize=4, clevel=9, shuffle=blosc.SHUFFLE, cname="lz4") for piece in pieces]
        blosc.set_blocksize(0)  # the package's default; the setting is global
    return b"".join(len(chunk).to_bytes(8, "little") + chunk for chunk in chunks)


def _grid_memory(grid: SparseGrid, kind: str, bits: np.ndarray, leaves: bytes) -> bytes:
    topology = grid.topology
    entries = len(topology.root_tile_origins) + len(topology.upper_origins)
    root_at = _TREE.itemsize
    upper_at = root_at + _ROOT_BYTES + entries * _ENTRY_BYTES
    upper_starts = upper_at + _node_bytes(masks.UPPER_SLOTS) * np.arange(len(topology.upper_origins) + 1)
    lower_starts = upper_starts[-1] + _node_bytes(masks.LOWER_SLOTS) * np.arange(len(topology.lower_child) + 1)
    leaf_starts = lower_starts[-1] + np.concatenate([[0], np.cumsum(_LEAF_HEAD.itemsize + 64 * bits)])
    places = (leaf_starts, lower_starts, upper_starts)  # all relative to the tree
    tree = np.zeros((), _TREE)
    tree["at"] = [starts[0] if len(starts) > 1 else 0 for starts in places] + [root_at]
    tree["nodes"], tree["tiles"] = _node_counts(grid), _active_tiles(grid)
    tree["voxels"] = topology.num_active_voxels
    parts = [
        tree.tobytes(),
        _root(grid, upper_starts[:-1] - root_at),
        _nodes(topology.upper_origins, topology.upper_child, topology.upper_active, grid.upper_tile_values,
               upper_starts[:-1], lower_starts[:-1]),
        _nodes(topology.lower_origins, topology.lower_child, topology.lower_active, grid.lower_tile_values,
               lower_starts[:-1], leaf_starts[:-1]),
        leaves,
    ]  # fmt: skip
    return b"".join([_grid_head(grid, kind, _GRID.itemsize + sum(map(len, parts))), *parts])


def _grid_head(grid: SparseGrid, kind: str, num_bytes: int) -> bytes:
    head = np.zeros((), _GRID)
    head["magic"], head["version"], head["checksum"] = _MAGIC, _VERSION, 2**64 - 1  # no checksum
    head["flags"], head["grids"], head["bytes"] = _IS_BREADTH_FIRST, 1, num_bytes
    head["name"] = grid.name.encode()
    matrix = grid.transform.matrix
    linear = matrix[:3, :3].T  # NanoVDB's maps are for column vectors
    head["exact_map"] = np.concatenate([linear.ravel(), np.linalg.inv(linear).ravel(), matrix[3, :3], [1.0]])
    head["map"] = head["exact_map"]
    head["box"], head["voxel"] = _boxes(grid)[1], grid.transform.voxel_size
    head["class"], head["type"] = _CLASSES.get(grid.grid_class, 0), _TYPES[kind]
    return head.tobytes()


def _root(grid: SparseGrid, uppers: np.ndarray) -> bytes:
    """The root and its table, in the order of origins; `uppers` [U] are byte places relative to the root."""
    topology, tiles = grid.topology, len(grid.topology.root_tile_origins)
    origins = np.concatenate([topology.root_tile_origins, topology.upper_origins])
    entries = np.zeros(len(origins), _ENTRY)
    x, y, z = (origins.view(np.uint32) >> 12).astype(np.uint64).T
    entries["key"] = x << np.uint64(42) | y << np.uint64(21) | z
    entries["child"][tiles:] = uppers
    entries["active"][:tiles], entries["value"][:tiles] = topology.root_tile_active, grid.root_tile_values[:, 0]
    background = float(grid.background[0])
    head = struct.pack("<6iI3f", *_boxes(grid)[0], len(origins), background, background, background)
    return head.ljust(_ROOT_BYTES, b"\0") + entries[np.lexsort(origins.T[::-1])].tobytes()


def _nodes(
    origins: np.ndarray, child: np.ndarray, active: np.ndarray, tile_values: np.ndarray,
    places: np.ndarray, children: np.ndarray,
) -> bytes:  # fmt: skip
    """Internal nodes of one level; `places` [n] and `children` [all children] are byte places relative to the tree."""
    has_child = masks.unpack(child)
    table = np.zeros((*has_child.shape, 2), "<f4")
    table[~has_child, 0] = tile_values[:, 0]
    rows, _ = masks.set_slots(child)
    table[has_child] = (children - places[rows]).astype("<i8").view("<f4").reshape(-1, 2)
    head = np.zeros((len(origins), 32), np.uint8)
    head[:, :12] = np.ascontiguousarray(origins, "<i4").view(np.uint8).reshape(-1, 12)
    statistics = np.zeros((len(origins), _table_at(has_child.shape[1]) - 32 - 2 * child.shape[1]), np.uint8)
    raw = table.view(np.uint8).reshape(len(origins), -1)
    return np.concatenate([head, active & ~child, child, statistics, raw], axis=1).tobytes()


def _table_at(slots: int) -> int:
    """Where the table of an internal node begins: behind box, flags, two masks and four statistics, aligned to 32."""
    return -(-(32 + 2 * slots // 8 + 16) // 32) * 32


def _node_bytes(slots: int) -> int:
    return _table_at(slots) + 8 * slots


def _leaves(
    topology: Topology, kind: str, bits: np.ndarray, low: np.ndarray, step: np.ndarray, codes: np.ndarray
) -> bytes:
    heads = np.zeros(topology.num_leaves, _LEAF_HEAD)
    heads["origin"], heads["active"] = topology.leaf_origins, topology.leaf_active
    heads["low"], heads["step"] = low, step
    if kind == "FpN":
        heads["flags"] = np.log2(bits).astype(np.uint8) << 5
    raw_heads = heads.view(np.uint8).reshape(len(heads), _LEAF_HEAD.itemsize)
    sizes = _LEAF_HEAD.itemsize + 64 * bits
    starts = np.cumsum(sizes) - sizes
    memory = np.empty(int(sizes.sum()), np.uint8)
    for width in np.unique(bits).tolist():
        rows = np.flatnonzero(bits == width)
        whole = np.concatenate([raw_heads[rows], _pack(codes[rows], width)], axis=1)
        memory[starts[rows, None] + np.arange(whole.shape[1])] = whole
    return memory.tobytes()


def _pack(codes: np.ndarray, width: int) -> np.ndarray:
    """[n, 512] codes of `width` bits -> [n, 64 * width] uint8, lowest bits first."""
    if width >= 8:
        return codes.astype(f"<u{width // 8}").view(np.uint8)
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    return np.bitwise_or.reduce(codes.astype(np.uint8).reshape(len(codes), 64 * width, 8 // width) << shifts, axis=2)


def _node_counts(grid: SparseGrid) -> tuple[int, int, int]:
    """Leaves, lower nodes, upper nodes."""
    return grid.topology.num_leaves, len(grid.topology.lower_child), len(grid.topology.upper_child)


def _active_tiles(grid: SparseGrid) -> tuple[int, int, int]:
    """Active tiles of lower nodes, of upper nodes and of the root."""
    root = int(grid.topology.root_tile_active.sum())
    return int(grid.lower_tile_mask().sum()), int(grid.upper_tile_mask().sum()), root


def _boxes(grid: SparseGrid) -> tuple[list[int], list[float]]:
    """Smallest and largest corner of the active voxels: in index space (inclusive), and in world space."""
    bounds = grid.topology.active_bounds
    if bounds is None:
        return [0] * 6, [0.0] * 6
    low, high = bounds
    corners = np.stack(np.meshgrid(*zip(low, high + 1, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    world = grid.transform.to_world(corners)
    return [*map(int, low), *map(int, high)], [*world.min(axis=0).tolist(), *world.max(axis=0).tolist()]
