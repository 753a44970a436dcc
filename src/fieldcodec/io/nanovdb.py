"""NanoVDB's `.nvdb` files: reading of grids into the tree that OpenVDB has.

A file is a row of segments (header, one description and name per grid, then the grids, each compressed or not), or,
from version 32.6 on, the bare grids one after the other. A grid is one block of memory with 32-byte alignment: grid
(672 bytes), tree (64 bytes), root with its table, then nodes that are found by byte offsets relative to their parent.
Layouts of nodes are those of version 32 (NanoVDB.h).
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldcodec.errors import InputError, UnsupportedGridError
from fieldcodec.grid import masks
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import FOG_VOLUME, LEVEL_SET, STAGGERED, UNKNOWN, SparseGrid, VolumeFile
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES, ValueType
from fieldcodec.io.reading import reading
from fieldcodec.io.vdb import layout
from fieldcodec.io.vdb.compression import decompress
from fieldcodec.io.vdb.kernels import gather_runs
from fieldcodec.io.vdb.layout import Cursor

MAGIC_OLD, MAGIC_GRID, MAGIC_FILE = b"NanoVDB0", b"NanoVDB1", b"NanoVDB2"
MAJOR_VERSION = 32  # the version of the memory layout

_HEADER = struct.Struct("<8sIHH")  # magic, version, number of grids, codec
_DESCRIPTION = struct.Struct("<4Q2I6d6i3dI4I3IHHI")  # sizes, key, count, type, class, boxes, voxel, ..., codec
_CODECS = {0: 0, 1: layout.ZIP, 2: layout.BLOSC}
_CHUNK_BYTES = 1 << 30  # Blosc compresses a grid in pieces of this size
_LARGEST_RATIO = 1100  # no codec here packs better than this

_GRID_BYTES, _TREE_BYTES = 672, 64
_NAME_AT, _NAME_BYTES, _MATRIX_AT, _CLASS_AT = 40, 256, 296 + 88, 632  # in the grid: the map's doubles follow 88 bytes
_SIZE_AT, _VERSION_AT = 32, 16

_CLASSES = {1: LEVEL_SET, 2: FOG_VOLUME, 3: STAGGERED}
_POINT_CLASSES = (4, 5)
_TYPES = {
    1: "float", 2: "double", 4: "int32", 5: "int64", 6: "vec3s", 7: "vec3d", 8: "mask", 10: "uint32", 11: "bool",
    13: "float", 14: "float", 15: "float", 16: "float",
}  # fmt: skip
_FIXED_BITS = {13: 4, 14: 8, 15: 16}  # quantised types; type 16 has a width per leaf
_FPN = 16
_QUANTISED = (*_FIXED_BITS, _FPN)
_QUANTISED_HEAD, _LEAF_MASK_AT = 96, 16
OnUnsupported = Callable[[UnsupportedGridError], None]


def read_nanovdb(path: str | os.PathLike[str], *, on_unsupported: OnUnsupported | None = None) -> VolumeFile:
    """All grids of a `.nvdb` file, in file order.

    Quantised grids (Fp4, Fp8, Fp16, FpN) become float grids with the values NanoVDB decodes. Nodes are put in the
    order of OpenVDB. Blind data and statistics of nodes are left out.

    `on_unsupported` is told of each grid that cannot be read; the others are then read all the same.

    Raises:
        InputError: the file is missing, foreign, of another version, damaged or cut.
        UnsupportedGridError: a grid holds points, indices or values of another type than those of `VALUE_TYPES`, or
            its transform is tapered; not raised with `on_unsupported`.
    """
    name = os.fspath(path)
    with reading(name):
        with open(name, "rb") as stream:
            cursor = Cursor(stream.read(), name)
        if bytes(cursor.data[:8]) == MAGIC_GRID:
            return VolumeFile(tuple(_read_bare_grids(cursor, on_unsupported)))
        grids = _read_segment(cursor, on_unsupported)
        while cursor.left:
            grids += _read_segment(cursor, on_unsupported)
        return VolumeFile(tuple(grids))


def _read_segment(cursor: Cursor, on_unsupported: OnUnsupported | None) -> list[SparseGrid]:
    cursor.where = "segment header"
    if cursor.left < _HEADER.size or bytes(cursor.data[cursor.pos : cursor.pos + 8]) not in (MAGIC_OLD, MAGIC_FILE):
        raise InputError(
            f"{cursor.path}: at byte {cursor.pos} there is no segment of a .nvdb file: "
            f"found {bytes(cursor.data[cursor.pos : cursor.pos + 8])!r}, expected {MAGIC_OLD!r} or {MAGIC_FILE!r}"
        )
    _, version, count, _ = _HEADER.unpack(cursor.take(_HEADER.size, "header"))
    _check_version(cursor, version)
    described = []
    for index in range(count):
        cursor.where = f"description of grid {index}"
        fields = _DESCRIPTION.unpack(cursor.take(_DESCRIPTION.size, "description"))
        grid_bytes, file_bytes, name_bytes, codec = fields[0], fields[1], fields[21], fields[-3]
        name = _text(cursor.take(name_bytes, "grid name"))
        described.append((name, grid_bytes, file_bytes, codec))
    grids = []
    for name, grid_bytes, file_bytes, codec in described:
        cursor.where = f"grid {name!r}"
        if file_bytes > cursor.left:
            cursor.fail(f"the grid needs {file_bytes} bytes, {cursor.left} are left")
        packed = cursor.window(cursor.pos, cursor.pos + file_bytes, cursor.where)
        cursor.pos += file_bytes
        memory = Cursor(_unpack(packed, grid_bytes, codec), cursor.path, where=cursor.where)
        grids += _read_or_skip(memory, name, on_unsupported)
    return grids


def _read_bare_grids(cursor: Cursor, on_unsupported: OnUnsupported | None) -> list[SparseGrid]:
    grids: list[SparseGrid] = []
    while cursor.left:
        cursor.where = f"grid {len(grids)}"
        size = int.from_bytes(cursor.data[cursor.pos + _SIZE_AT : cursor.pos + _SIZE_AT + 8], "little")
        if not _GRID_BYTES + _TREE_BYTES <= size <= cursor.left:
            cursor.fail(f"the grid is said to have {size} bytes, {cursor.left} are left")
        inside = Cursor(cursor.take(size, "grid"), cursor.path, where=cursor.where)
        name = _text(bytes(inside.data[_NAME_AT : _NAME_AT + _NAME_BYTES]))
        grids += _read_or_skip(inside, name, on_unsupported)
    return grids


def _read_or_skip(cursor: Cursor, name: str, on_unsupported: OnUnsupported | None) -> list[SparseGrid]:
    """One grid; none where it is unsupported and the caller wants to go on without it."""
    try:
        return [_read_grid(cursor, name)]
    except UnsupportedGridError as refused:
        if on_unsupported is None:
            raise
        on_unsupported(refused)
    return []


def _unpack(cursor: Cursor, grid_bytes: int, codec: int) -> bytes:
    """The grid's memory."""
    if codec not in _CODECS:
        cursor.fail(f"unknown codec {codec}; known are 0 (none), 1 (zip) and 2 (Blosc)")
    if grid_bytes > _LARGEST_RATIO * cursor.left or grid_bytes < _GRID_BYTES + _TREE_BYTES:
        cursor.fail(f"a grid of {grid_bytes} bytes cannot be stored in {cursor.left}")
    if codec == 0:
        return cursor.take(grid_bytes, "grid")
    flags, parts = _CODECS[codec], []
    while grid_bytes > 0:
        expected = min(grid_bytes, _CHUNK_BYTES) if flags == layout.BLOSC else grid_bytes
        start = cursor.pos
        chunk = cursor.take(max(cursor.i64("size of a chunk"), 0), "chunk")
        try:
            parts.append(decompress(chunk, expected, flags))
        except ValueError as problem:
            cursor.fail(str(problem), start)
        grid_bytes -= expected
    return b"".join(parts)


def _check_version(cursor: Cursor, version: int) -> None:
    if version >> 21 != MAJOR_VERSION:
        raise InputError(
            f"{cursor.path}: {cursor.where}: NanoVDB version {version >> 21}.{version >> 10 & 0x7FF} is not read; "
            f"{MAJOR_VERSION}.x is. Convert the file with a current NanoVDB"
        )


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", errors="surrogateescape")


def _align(size: int, to: int = 32) -> int:
    return -(-size // to) * to


@dataclass(frozen=True)
class _Layout:
    """Sizes and places that follow from a grid's type."""

    type_code: int
    kind: ValueType

    @property
    def value(self) -> int:
        return self.kind.dtype.itemsize * self.kind.channels

    @property
    def align(self) -> int:
        return self.kind.dtype.itemsize

    @property
    def statistic(self) -> int:
        """Bytes of an average: as a value of one channel, integers as floats of their size."""
        return self.kind.dtype.itemsize

    @property
    def root_background(self) -> int:
        return _align(28, self.align)

    @property
    def root(self) -> int:
        return _align(self.root_background + 3 * self.value + 2 * self.statistic)

    @property
    def root_tile_value(self) -> int:
        return _align(20, self.align)

    @property
    def root_tile(self) -> int:
        return _align(self.root_tile_value + self.value)

    @property
    def slot(self) -> int:
        """Bytes of one entry of an internal node's table: a value or a 64-bit offset."""
        return _align(max(8, self.value), 8)

    def table(self, slots: int) -> int:
        """Where the table of an internal node begins: behind box, flags, two masks and statistics."""
        return _align(32 + 2 * slots // 8 + 2 * self.value + 2 * self.statistic)

    def node(self, slots: int) -> int:
        return self.table(slots) + slots * self.slot

    @property
    def leaf_values(self) -> int:
        if self.type_code in _QUANTISED:
            return _QUANTISED_HEAD
        return 80 if self.kind.is_bool else _align(80 + 2 * self.value + 2 * self.statistic)

    @property
    def leaf(self) -> int:
        """Bytes of a leaf; the least where leaves differ."""
        if self.type_code in _FIXED_BITS:
            return _QUANTISED_HEAD + 64 * _FIXED_BITS[self.type_code]
        if self.type_code == _FPN:
            return _QUANTISED_HEAD + 64
        if self.kind.is_bool:
            return 160 if self.kind.name == "bool" else 96
        return _align(self.leaf_values + masks.LEAF_SLOTS * self.value)


def _read_grid(cursor: Cursor, name: str) -> SparseGrid:
    grid = cursor.take(_GRID_BYTES, "grid header")
    if grid[:8] not in (MAGIC_OLD, MAGIC_GRID):
        cursor.fail(f"its memory begins with {grid[:8]!r}, not with {MAGIC_OLD!r} or {MAGIC_GRID!r}", 0)
    _check_version(cursor, int.from_bytes(grid[_VERSION_AT : _VERSION_AT + 4], "little"))
    grid_class, type_code = struct.unpack_from("<2I", grid, _CLASS_AT)
    if type_code not in _TYPES or grid_class in _POINT_CLASSES:
        known = ", ".join(sorted(set(_TYPES.values())))
        raise UnsupportedGridError(
            f"{cursor.path}: {cursor.where}: NanoVDB grids of type {type_code} and class {grid_class} are not read; "
            f"read are {known} and the quantised floats, without points and indices"
        )
    sizes = _Layout(type_code, VALUE_TYPES[_TYPES[type_code]])
    root_at = cursor.pos + struct.unpack("<4Q3I3IQ", cursor.take(_TREE_BYTES, "tree header"))[3]
    background, tiles, uppers = _read_root(cursor, sizes, root_at)
    data = cursor.array()
    upper_child, upper_active, upper_values, lowers = _read_nodes(cursor, sizes, uppers["at"], masks.UPPER_SLOTS)
    lower_child, lower_active, lower_values, leaves = _read_nodes(cursor, sizes, lowers, masks.LOWER_SLOTS)
    _check_places(cursor, leaves, sizes.leaf, "leaves")
    topology = Topology(
        root_tile_origins=np.ascontiguousarray(tiles["origin"]),
        root_tile_active=tiles["active"] != 0,
        upper_origins=np.ascontiguousarray(uppers["origin"]),
        upper_child=upper_child,
        upper_active=upper_active,
        lower_child=lower_child,
        lower_active=lower_active,
        leaf_active=_gather(data, leaves + _LEAF_MASK_AT, masks.LEAF_SLOTS // 8),
    )
    return SparseGrid(
        name=name,
        value_type=sizes.kind,
        topology=topology,
        leaf_values=_read_leaves(cursor, sizes, leaves, topology),
        lower_tile_values=lower_values,
        upper_tile_values=upper_values,
        root_tile_values=np.ascontiguousarray(tiles["value"]).reshape(-1, sizes.kind.channels),
        background=background,
        transform=_read_transform(cursor, grid),
        metadata=Metadata((MetaEntry.of("class", _CLASSES.get(grid_class, UNKNOWN)),)),
    )


def _read_transform(cursor: Cursor, grid: bytes) -> GridTransform:
    doubles = np.frombuffer(grid, "<f8", 22, _MATRIX_AT)  # matrix, its inverse, translation, taper
    columns, move, taper = doubles[:9].reshape(3, 3), doubles[18:21], float(doubles[21])
    if taper != 1.0:
        raise UnsupportedGridError(
            f"{cursor.path}: {cursor.where}: a transform with taper {taper} is not read, only linear ones (taper 1) are"
        )
    scale = float(columns[0, 0])
    if np.array_equal(columns, np.eye(3) * scale) and scale > 0:
        return GridTransform.uniform(scale, (float(move[0]), float(move[1]), float(move[2])))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[3, :3] = columns.T, move
    return GridTransform("AffineMap", matrix.astype("<f8").tobytes())


def _read_root(cursor: Cursor, sizes: _Layout, at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Background [C]; root tiles and children as structured arrays (origin, at, active, value) in OpenVDB's order."""
    _check_places(cursor, np.array([min(at, 2**62)]), sizes.root, "the root")
    root = cursor.window(at, cursor.end, cursor.where)
    head = root.take(sizes.root, "root")
    count = int.from_bytes(head[24:28], "little")
    if count * sizes.root_tile > root.left:
        root.fail(f"a root table of {count} entries cannot fit in {root.left} bytes")
    raw = np.frombuffer(
        root.take(count * sizes.root_tile, "root table"),
        np.dtype({
            "names": ["key", "child", "active", "value"],
            "formats": ["<u8", "<i8", "<u4", f"V{sizes.value}"],
            "offsets": [0, 8, 16, sizes.root_tile_value],
            "itemsize": sizes.root_tile,
        }),
    )  # fmt: skip
    entries = np.empty(
        count,
        [("origin", "<i4", 3), ("at", "<i8"), ("active", "<u4"), ("value", sizes.kind.dtype, sizes.kind.channels)],
    )
    parts = [(raw["key"] >> np.uint64(shift)).astype(np.uint32) & 0xFFFFF for shift in (42, 21, 0)]
    entries["origin"] = (np.stack(parts, axis=1).astype(np.uint32) << 12).view(np.int32)
    entries["at"], entries["active"] = raw["child"] + at, raw["active"]
    values = np.frombuffer(raw["value"].tobytes(), np.uint8).reshape(count, sizes.value)
    entries["value"] = _typed(values, sizes).reshape(entries["value"].shape)
    order = np.lexsort(entries["origin"].T[::-1])
    entries, is_child = entries[order], raw["child"][order] != 0
    if len(np.unique(entries["origin"], axis=0)) != count:
        root.fail("two root entries at the same place", at)
    background = np.frombuffer(head[sizes.root_background : sizes.root_background + sizes.value], np.uint8)
    return _typed(background[None], sizes)[0], entries[~is_child], entries[is_child]


def _typed(raw: np.ndarray, sizes: _Layout) -> np.ndarray:
    """[n, value bytes] uint8 -> [n, C]."""
    raw = np.minimum(raw, 1) if sizes.kind.is_bool else np.ascontiguousarray(raw)
    return raw.view(sizes.kind.dtype).reshape(-1, sizes.kind.channels).copy()


def _check_places(cursor: Cursor, places: np.ndarray, size: int, what: str) -> None:
    """Nodes must lie inside the grid, and all of them together must fit into it."""
    limit = len(cursor.data) - size
    if len(places) * size > len(cursor.data) or np.any(places < 0) or np.any(places > limit):
        cursor.fail(f"{what} ({len(places)} of {size} bytes or more) do not all lie in its {len(cursor.data)} bytes")


def _gather(data: np.ndarray, places: np.ndarray, width: int) -> np.ndarray:
    """[n, width] uint8."""
    return gather_runs(data, places, np.ones(len(places), np.int64), width)


def _read_nodes(
    cursor: Cursor, sizes: _Layout, places: np.ndarray, slots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Child and active masks of internal nodes, their tile values [tiles, C], byte places of their children."""
    places = np.ascontiguousarray(places, np.int64)
    _check_places(cursor, places, sizes.node(slots), "internal nodes")
    data = cursor.array()
    active = _gather(data, places + 32, slots // 8)
    child = _gather(data, places + 32 + slots // 8, slots // 8)
    tables = _gather(data, places + sizes.table(slots), slots * sizes.slot).reshape(len(places), slots, sizes.slot)
    has_child = masks.unpack(child)
    rows, found = masks.set_slots(child)
    offsets = np.ascontiguousarray(tables[rows, found, :8]).view("<i8")[:, 0]
    return child, active & ~child, _typed(tables[~has_child][:, : sizes.value], sizes), places[rows] + offsets


def _read_leaves(cursor: Cursor, sizes: _Layout, leaves: np.ndarray, topology: Topology) -> np.ndarray:
    """[N, 512, C]: the values of all leaves."""
    data, at = cursor.array(), leaves + sizes.leaf_values
    if sizes.kind.name == "mask":
        return topology.leaf_active_bits[..., None].copy()
    if sizes.kind.name == "bool":
        return masks.unpack(_gather(data, at, masks.LEAF_SLOTS // 8))[..., None]
    if sizes.type_code not in _QUANTISED:
        raw = _gather(data, at, masks.LEAF_SLOTS * sizes.value)
        return _typed(raw.reshape(-1, sizes.value), sizes).reshape(len(leaves), masks.LEAF_SLOTS, sizes.kind.channels)
    scale = _gather(data, leaves + 80, 8).view("<f4")  # smallest value and step
    bits = np.full(len(leaves), _FIXED_BITS.get(sizes.type_code, 0))
    if sizes.type_code == _FPN:
        bits = 1 << (_gather(data, leaves + 15, 1)[:, 0] >> 5).astype(np.int64)
        if np.any(bits > 16) or np.any(at + 64 * bits > len(cursor.data)):
            cursor.fail("a leaf has an impossible number of bits per value, or lies outside the grid")
    values = np.empty((len(leaves), masks.LEAF_SLOTS, 1), np.float32)
    for width in np.unique(bits):
        rows = np.flatnonzero(bits == width)
        codes = _codes(_gather(data, at[rows], 64 * int(width)), int(width))
        with np.errstate(invalid="ignore", over="ignore"):  # a leaf may hold infinities
            values[rows, :, 0] = codes.astype(np.float32) * scale[rows, 1:2] + scale[rows, 0:1]
    return values


def _codes(raw: np.ndarray, width: int) -> np.ndarray:
    """[n, 64 * width] bytes -> [n, 512] unsigned codes of `width` bits each, lowest bits first."""
    if width == 16:
        return raw.view("<u2")
    if width == 8:
        return raw
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    return ((raw[:, :, None] >> shifts) & ((1 << width) - 1)).reshape(len(raw), masks.LEAF_SLOTS)
