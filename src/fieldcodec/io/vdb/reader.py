"""Reading of `.vdb` files."""

import mmap
import os
from dataclasses import dataclass

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.metadata import STATISTICS, Metadata
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import ValueType
from fieldcodec.io.reading import reading
from fieldcodec.io.vdb import layout
from fieldcodec.io.vdb.compression import Storage
from fieldcodec.io.vdb.layout import Cursor, Descriptor, Header
from fieldcodec.io.vdb.tree_reader import Tree, read_tree

_DESCRIPTOR_MIN_BYTES = 3 * 4 + 3 * 8


@dataclass(frozen=True)
class GridSummary:
    """One grid as its head describes it; the tree is not read."""

    name: str
    type_name: str  # as in the file, without the suffix of half storage
    value_type: ValueType | None  # None for grids that are carried and not interpreted
    save_as_half: bool
    metadata: Metadata  # OpenVDB's statistics (file_voxel_count, ...) included, where the file has them
    transform: GridTransform | None  # None where its kind is not known
    instance_of: str | None  # name of the grid whose tree it shares
    num_bytes: int | None  # in the file; None where the file has no grid offsets


@dataclass(frozen=True)
class VdbSummary:
    """A file as its heads describe it."""

    file_version: int
    library_version: tuple[int, int]
    metadata: Metadata
    grids: tuple[GridSummary, ...]


@dataclass
class _Entry:
    """A grid on the way: its head, and its tree or, if an instance, still none."""

    descriptor: Descriptor
    metadata: Metadata
    transform: GridTransform | None
    tree: Tree | OpaqueGrid | None
    payload: bytes


def read_vdb(path: str | os.PathLike[str]) -> VolumeFile:
    """All grids of a `.vdb` file, in file order.

    File versions 222 to 225 are read. Grids other than those of `VALUE_TYPES` in trees of shape 5, 4, 3, and grids
    with a transform of unknown kind, become `OpaqueGrid`s. Instances hold the very same `topology` and `leaf_values`
    objects as their parent. Statistics metadata (`file_...`) is left out; `read_vdb_summary` shows it.

    Raises:
        InputError: the file is missing, foreign, of another version, damaged or cut; the message names grid,
            part and byte offset.
        UnsupportedGridError: a grid cannot be delimited: its type or transform is not known and the file has no
            grid offsets.
    """
    name = os.fspath(path)
    with reading(name):
        with open(name, "rb") as stream:
            cursor = Cursor(stream.read(), name)
        header, metadata, count = _read_start(cursor)
        entries: dict[str, _Entry] = {}
        for _ in range(count):
            entry = _read_entry(cursor, header)
            if entry.descriptor.unique_name in entries:
                cursor.fail(f"two grids have the unique name {entry.descriptor.unique_name!r}")
            entries[entry.descriptor.unique_name] = entry
        for entry in entries.values():
            _connect(entry, entries, cursor, header)
        return VolumeFile(tuple(_finish(entry) for entry in entries.values()), metadata)


def read_vdb_summary(path: str | os.PathLike[str]) -> VdbSummary:
    """Names, types, metadata and transforms of a `.vdb` file.

    Trees are passed over; only in a file without grid offsets must they be read to find the next grid.

    Raises:
        InputError, UnsupportedGridError: as `read_vdb`, for the parts that are looked at.
    """
    name = os.fspath(path)
    with reading(name), open(name, "rb") as stream:
        try:
            data: bytes | memoryview = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        except (ValueError, OSError):  # empty, or no regular file
            data = stream.read()
        cursor = Cursor(data, name)
        header, metadata, count = _read_start(cursor)
        grids = tuple(_read_summary(cursor, header) for _ in range(count))
        return VdbSummary(header.file_version, header.library_version, metadata, grids)


def _read_start(cursor: Cursor) -> tuple[Header, Metadata, int]:
    """Header, file metadata and number of grids."""
    header = layout.read_header(cursor)
    cursor.where = "file metadata"
    metadata = layout.read_metadata(cursor)
    count = cursor.u32("number of grids")
    if count * _DESCRIPTOR_MIN_BYTES > cursor.left:
        cursor.fail(f"{count} grids cannot fit in {cursor.left} bytes", cursor.pos - 4)
    return header, metadata, count


def _enter(cursor: Cursor, header: Header) -> tuple[Descriptor, Cursor]:
    """The next descriptor and a cursor at its grid; with offsets, `cursor` moves behind the grid."""
    cursor.where = "grid descriptor"
    start = cursor.pos
    descriptor = layout.read_descriptor(cursor)
    where = f"grid {descriptor.name!r}"
    if not header.has_offsets:
        cursor.where = where
        return descriptor, cursor
    if not cursor.pos <= descriptor.grid_pos <= descriptor.end_pos <= cursor.end:
        cursor.where = f"{where}, descriptor"
        cursor.fail(
            f"the grid is said to be at bytes {descriptor.grid_pos} to {descriptor.end_pos}, "
            f"possible are {cursor.pos} to {cursor.end}", start,
        )  # fmt: skip
    cursor.pos = descriptor.end_pos
    return descriptor, cursor.window(descriptor.grid_pos, descriptor.end_pos, where)


def _read_head(cursor: Cursor) -> tuple[int, Metadata, GridTransform]:
    """What precedes a tree: compression flags, metadata, transform."""
    where = cursor.where
    flags = layout.read_flags(cursor)
    cursor.where = f"{where}, metadata"
    metadata = layout.read_metadata(cursor)
    cursor.where = f"{where}, transform"
    transform = layout.read_transform(cursor)
    cursor.where = where
    return flags, metadata, transform


def _refuse_without_offsets(cursor: Cursor, descriptor: Descriptor, header: Header) -> None:
    if not header.has_offsets and descriptor.value_type is None and not descriptor.parent:
        raise UnsupportedGridError(
            f"{cursor.path}: grid {descriptor.name!r} is of type {descriptor.type_name}, which can only be carried as "
            "bytes, and the file has no grid offsets that tell where it ends (it was written to a stream). "
            "Save the file again with OpenVDB's io::File, or without this grid"
        )


def _read_entry(cursor: Cursor, header: Header) -> _Entry:
    descriptor, inside = _enter(cursor, header)
    _refuse_without_offsets(inside, descriptor, header)
    start = inside.pos
    if descriptor.value_type is None and header.has_offsets:
        return _carried(inside, descriptor, header)
    try:
        flags, metadata, transform = _read_head(inside)
    except UnsupportedGridError:  # a transform that is not known: such a grid is carried where its end is known
        if not header.has_offsets or descriptor.parent:
            raise
        inside.pos = start
        return _carried(inside, descriptor, header)
    tree = None
    if not descriptor.parent and descriptor.value_type is not None:
        tree = read_tree(inside, Storage(descriptor.value_type, flags, descriptor.save_as_half))
    payload = b"" if descriptor.value_type else bytes(inside.data[start : inside.pos])
    return _Entry(descriptor, metadata, transform, tree, payload)


def _carried(inside: Cursor, descriptor: Descriptor, header: Header) -> _Entry:
    """A grid that is kept as its own bytes."""
    block = max(descriptor.block_pos - inside.pos, 0)
    payload = inside.take(inside.left, "grid")
    opaque = OpaqueGrid(
        descriptor.name, descriptor.type_name, payload, header.file_version, descriptor.save_as_half, block
    )  # fmt: skip
    return _Entry(descriptor, Metadata(), None, None if descriptor.parent else opaque, payload)


def _connect(entry: _Entry, entries: dict[str, _Entry], cursor: Cursor, header: Header) -> None:
    """Gives an instance the tree of its parent, which may be an instance itself."""
    chain = [entry]
    while chain[-1].tree is None:
        child = chain[-1].descriptor
        parent = entries.get(child.parent)
        cursor.where = f"grid {child.name!r}"
        if parent is None or len(chain) > len(entries):
            cursor.fail(f"it is an instance of {child.parent!r}, and no such grid has a tree")
        if parent.descriptor.type_name != child.type_name:
            cursor.fail(f"it is of type {child.type_name}, but an instance of one of {parent.descriptor.type_name}")
        chain.append(parent)
    tree = chain.pop().tree
    for link in chain:
        link.tree = tree
        if isinstance(tree, OpaqueGrid):
            descriptor = link.descriptor
            link.tree = OpaqueGrid(
                descriptor.name, descriptor.type_name, link.payload, header.file_version,
                descriptor.save_as_half, 0, instance_of=tree,
            )  # fmt: skip


def _finish(entry: _Entry) -> SparseGrid | OpaqueGrid:
    tree, descriptor = entry.tree, entry.descriptor
    if isinstance(tree, OpaqueGrid):
        return tree
    assert tree is not None
    assert entry.transform is not None
    assert descriptor.value_type is not None
    return SparseGrid(
        name=_name(entry.metadata, descriptor),
        value_type=descriptor.value_type,
        topology=tree.topology,
        leaf_values=tree.leaf_values,
        lower_tile_values=tree.lower_tile_values,
        upper_tile_values=tree.upper_tile_values,
        root_tile_values=tree.root_tile_values,
        background=tree.background,
        transform=entry.transform,
        metadata=entry.metadata.without(*STATISTICS),
        save_as_half=descriptor.save_as_half,
    )


def _name(metadata: Metadata, descriptor: Descriptor) -> str:
    """The grid's own name as its metadata has it; the one of the descriptor where that has none."""
    entry = next((entry for entry in metadata if entry.name == "name" and entry.type_name == "string"), None)
    return descriptor.name if entry is None else entry.payload.decode("utf-8", errors="surrogateescape")


def _read_summary(cursor: Cursor, header: Header) -> GridSummary:
    descriptor, inside = _enter(cursor, header)
    _refuse_without_offsets(inside, descriptor, header)
    flags = layout.read_flags(inside)
    metadata = layout.read_metadata(inside)
    transform: GridTransform | None = None
    try:
        transform = layout.read_transform(inside)
    except UnsupportedGridError:
        if not header.has_offsets:
            raise
    if not header.has_offsets and not descriptor.parent and descriptor.value_type is not None:
        read_tree(inside, Storage(descriptor.value_type, flags, descriptor.save_as_half))
    return GridSummary(
        name=_name(metadata, descriptor),
        type_name=descriptor.type_name,
        value_type=descriptor.value_type,
        save_as_half=descriptor.save_as_half,
        metadata=metadata,
        transform=transform,
        instance_of=descriptor.parent.split(layout.NAME_SEPARATOR)[0] if descriptor.parent else None,
        num_bytes=descriptor.end_pos - descriptor.grid_pos if header.has_offsets else None,
    )
