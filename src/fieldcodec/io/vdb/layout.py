"""The parts of a `.vdb` file outside its trees: header, strings, metadata, descriptors and transforms.

Everything is little endian. A file is: header, file metadata, number of grids, then per grid a descriptor
(unique name, type, name of the instance parent, three byte offsets) followed by the grid itself
(compression flags, metadata, transform, tree topology, tree buffers).
"""

import struct
from dataclasses import dataclass, field
from typing import NoReturn, Self

import numpy as np

from fieldcodec.errors import InputError, UnsupportedGridError
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.transform import FRUSTUM, GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES, ValueType

MAGIC = b" BDV\0\0\0\0"
UUID_BYTES = 36

# Each file version by what it introduced. Older files (below 222) store compression per file and are not read.
VERSION_NODE_MASK_COMPRESSION = 222  # compression flags per grid, one code byte per node
VERSION_BLOSC = 223
VERSION_MULTIPASS = 224  # point grids are written in several passes
VERSION_HALF_GRIDS = 225  # trees whose value type is half
OLDEST_VERSION, NEWEST_VERSION = VERSION_NODE_MASK_COMPRESSION, VERSION_HALF_GRIDS

LIBRARY_VERSION = (10, 0)  # of OpenVDB, the release whose layout the writer follows

ZIP, ACTIVE_MASK, BLOSC = 1, 2, 4  # compression flags of a grid
KNOWN_FLAGS = ZIP | ACTIVE_MASK | BLOSC

HALF_SUFFIX = "_HalfFloat"
NAME_SEPARATOR = "\x1e"
TREE_SHAPE = "_5_4_3"
_MIN_ENTRY_BYTES = 12  # three empty strings
_FRUSTUM_FIXED_BYTES = 64  # bounding box (6 doubles), taper, depth

# Doubles that follow each linear map's name.
LINEAR_MAP_DOUBLES = {
    "UniformScaleMap": 15,
    "ScaleMap": 15,
    "UniformScaleTranslateMap": 18,
    "ScaleTranslateMap": 18,
    "TranslationMap": 3,
    "UnitaryMap": 16,
    "AffineMap": 16,
}


@dataclass
class Cursor:
    """A place in a file held in memory; every read is checked against `end` before anything is allocated."""

    data: bytes | memoryview
    path: str
    pos: int = 0
    end: int = field(default=-1)
    where: str = "header"  # the part being read, for messages

    def __post_init__(self) -> None:
        if self.end < 0:
            self.end = len(self.data)

    @property
    def left(self) -> int:
        return self.end - self.pos

    def fail(self, problem: str, pos: int | None = None) -> NoReturn:
        """Raises an InputError that names the file, the part and the byte offset."""
        offset = self.pos if pos is None else pos
        raise InputError(f"{self.path}: {self.where}: {problem} (at byte {offset}); the file is damaged or incomplete")

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            self.fail(f"{what} needs {count} bytes, {max(self.left, 0)} are left")
        self.pos += count
        return bytes(self.data[self.pos - count : self.pos])

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def i64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little", signed=True)

    def string(self, what: str) -> str:
        """A length and that many bytes; bytes that are no UTF-8 survive as surrogates."""
        return self.take(self.u32(f"length of {what}"), what).decode("utf-8", errors="surrogateescape")

    def window(self, start: int, end: int, where: str) -> Self:
        """A cursor over [start, end) of the same file."""
        return type(self)(self.data, self.path, start, end, where)

    def array(self) -> np.ndarray:
        """[file bytes] uint8, read only, no copy."""
        return np.frombuffer(self.data, np.uint8)


@dataclass(frozen=True)
class Header:
    """The start of a file, its grid offsets flag included."""

    file_version: int
    library_version: tuple[int, int]
    has_offsets: bool


@dataclass(frozen=True)
class Descriptor:
    """What stands before each grid; offsets are byte positions in the file, zero where it has none."""

    unique_name: str
    type_name: str
    save_as_half: bool
    parent: str  # unique name of the grid whose tree this one shares, or empty
    grid_pos: int = 0
    block_pos: int = 0
    end_pos: int = 0

    @property
    def name(self) -> str:
        return self.unique_name.split(NAME_SEPARATOR)[0]

    @property
    def value_type(self) -> ValueType | None:
        """The value type of a tree fieldcodec interprets; None for all others."""
        prefix = "Tree_"
        if self.type_name.startswith(prefix) and self.type_name.endswith(TREE_SHAPE):
            return VALUE_TYPES.get(self.type_name[len(prefix) : -len(TREE_SHAPE)])
        return None


def read_header(cursor: Cursor) -> Header:
    """Raises InputError for foreign files and versions that are not read."""
    if cursor.left < len(MAGIC) or cursor.take(len(MAGIC), "magic") != MAGIC:
        raise InputError(
            f"{cursor.path}: this is no .vdb file: it begins with {bytes(cursor.data[:8])!r}, "
            f"but a .vdb file begins with {MAGIC!r}"
        )
    version = cursor.u32("file version")
    if not OLDEST_VERSION <= version <= NEWEST_VERSION:
        raise InputError(
            f"{cursor.path}: .vdb file version {version} is not read, versions {OLDEST_VERSION} to "
            f"{NEWEST_VERSION} are. Save it again with a current OpenVDB"
        )
    library = (cursor.u32("library version"), cursor.u32("library version"))
    has_offsets = cursor.take(1, "flag of grid offsets") != b"\0"
    cursor.take(UUID_BYTES, "file id")
    return Header(version, library, has_offsets)


def read_metadata(cursor: Cursor) -> Metadata:
    count = cursor.u32("number of metadata entries")
    if count * _MIN_ENTRY_BYTES > cursor.left:
        cursor.fail(f"{count} metadata entries cannot fit in {cursor.left} bytes")
    entries: dict[str, MetaEntry] = {}
    for _ in range(count):
        name, type_name = cursor.string("metadata name"), cursor.string("metadata type")
        payload = cursor.take(cursor.u32("metadata size"), f"metadata entry {name!r}")
        entries[name] = MetaEntry(name, type_name, payload)
    return Metadata(tuple(entries.values()))


def metadata_bytes(metadata: Metadata) -> bytes:
    parts = [struct.pack("<I", len(metadata))]
    for entry in metadata:
        payload = entry.payload
        parts += [string_bytes(entry.name), string_bytes(entry.type_name), struct.pack("<I", len(payload)), payload]
    return b"".join(parts)


def string_bytes(text: str) -> bytes:
    raw = text.encode("utf-8", errors="surrogateescape")
    return struct.pack("<I", len(raw)) + raw


def read_descriptor(cursor: Cursor) -> Descriptor:
    unique_name, type_name = cursor.string("grid name"), cursor.string("grid type")
    parent = cursor.string("name of instance parent")
    half = type_name.endswith(HALF_SUFFIX)
    positions = [cursor.i64("grid offsets") for _ in range(3)]
    return Descriptor(unique_name, type_name.removesuffix(HALF_SUFFIX), half, parent, *positions)


def descriptor_bytes(descriptor: Descriptor) -> bytes:
    type_name = descriptor.type_name + (HALF_SUFFIX if descriptor.save_as_half else "")
    names = (descriptor.unique_name, type_name, descriptor.parent)
    offsets = struct.pack("<3q", descriptor.grid_pos, descriptor.block_pos, descriptor.end_pos)
    return b"".join(map(string_bytes, names)) + offsets


def read_flags(cursor: Cursor) -> int:
    flags = cursor.u32("compression flags")
    if flags & ~KNOWN_FLAGS:
        cursor.fail(f"unknown compression flags {flags:#x}; zip is 1, active mask 2, blosc 4", cursor.pos - 4)
    return flags


def read_transform(cursor: Cursor) -> GridTransform:
    """Raises UnsupportedGridError for a map whose size is not known."""
    map_type = cursor.string("transform type")
    return GridTransform(map_type, _read_map(cursor, map_type))


def _read_map(cursor: Cursor, map_type: str) -> bytes:
    if map_type == FRUSTUM:
        fixed = cursor.take(_FRUSTUM_FIXED_BYTES, "frustum transform")
        inner = cursor.string("inner transform type")
        if inner == FRUSTUM:
            cursor.fail("a frustum transform inside a frustum transform")
        return fixed + string_bytes(inner) + _read_map(cursor, inner)
    if map_type not in LINEAR_MAP_DOUBLES:
        raise UnsupportedGridError(
            f"{cursor.path}: {cursor.where}: transform {map_type!r} (before byte {cursor.pos}) is not known; "
            f"known are {', '.join(LINEAR_MAP_DOUBLES)} and {FRUSTUM}"
        )
    return cursor.take(LINEAR_MAP_DOUBLES[map_type] * 8, f"transform {map_type}")


def transform_bytes(transform: GridTransform) -> bytes:
    return string_bytes(transform.map_type) + transform.payload


def flags_text(flags: int) -> str:
    """The flags in OpenVDB's words, as its `file_compression` metadata has them."""
    names = [name for bit, name in ((ZIP, "zip"), (BLOSC, "blosc"), (ACTIVE_MASK, "active values")) if flags & bit]
    return " + ".join(names) or "none"
