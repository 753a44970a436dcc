"""Writing of `.vdb` files."""

import os
import secrets
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import xxhash

from fieldcodec.errors import InputError, UnsupportedGridError, UsageError
from fieldcodec.grid.metadata import STATISTICS, Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import FOG_VOLUME, LEVEL_SET, OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.vdb import layout
from fieldcodec.io.vdb.compression import Storage
from fieldcodec.io.vdb.layout import Cursor, Descriptor
from fieldcodec.io.vdb.tree_writer import write_buffers, write_topology

Compression = Literal["blosc", "zip", "none"]
_FLAGS: dict[str, int] = {"blosc": layout.BLOSC, "zip": layout.ZIP, "none": 0}
_UUID_AT = len(layout.MAGIC) + 4 + 8 + 1
_HALF_ENTRY = "is_saved_as_half_float"
_EMPTY_BOUNDS = np.full(3, 2**31 - 1), np.full(3, -(2**31))  # OpenVDB's empty box


def write_vdb(
    path: str | os.PathLike[str],
    volume_file: VolumeFile,
    *,
    compression: Compression = "blosc",
    active_mask: bool = True,
) -> None:
    """Writes grids so that `read_vdb` and OpenVDB give the same ones back, bit for bit.

    The file has version 224, or 225 where a grid's value type is half. Equal grids give equal bytes. Of grids
    that share one tree (the very same `topology` and `leaf_values`) only the first is stored whole.

    Args:
        path: replaced only once everything is written; a failure leaves nothing behind.
        compression: of all values. As in OpenVDB, level sets and fog volumes are never zipped.
        active_mask: store inactive values only where a node has more than two different ones.

    Raises:
        InputError: the file cannot be written (no space left, no such folder, ...).
        UnsupportedGridError: carried grids of file versions that exclude each other.
    """
    if compression not in _FLAGS:
        raise UsageError(f"compression {compression!r} is not known; allowed are {', '.join(map(repr, _FLAGS))}")
    target = Path(os.fspath(path))
    version = _file_version(target, volume_file)
    flags = _FLAGS[compression] | (layout.ACTIVE_MASK if active_mask else 0)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            _FileWriter(stream, flags).write(volume_file, version)
        os.replace(temporary, target)
    except OSError as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(f"{target}: cannot be written: {problem.strerror or problem}") from problem
    finally:
        temporary.unlink(missing_ok=True)


def _file_version(path: Path, volume_file: VolumeFile) -> int:
    """The oldest version that all grids can have."""
    carried = {grid.file_version for grid in volume_file if isinstance(grid, OpaqueGrid)}
    wanted = {layout.VERSION_MULTIPASS, *carried}
    if any(isinstance(grid, SparseGrid) and grid.value_type.name == "half" for grid in volume_file):
        wanted.add(layout.VERSION_HALF_GRIDS)
    old = {version for version in carried if version < layout.VERSION_MULTIPASS}
    if not old:
        return max(wanted)
    if len(carried) > 1 or max(wanted) > layout.VERSION_MULTIPASS:
        raise UnsupportedGridError(
            f"{path}: grids carried as bytes come from .vdb file versions {sorted(carried)}, which cannot stand in one "
            "file; write them to files of their own, or save their sources with a current OpenVDB first"
        )
    return old.pop()


class _FileWriter:
    """Writes one file from its start; offsets are filled in afterwards."""

    def __init__(self, stream: BinaryIO, flags: int) -> None:
        self._stream = stream
        self._flags = flags
        self._hash = xxhash.xxh3_128()
        self._written: list[tuple[SparseGrid | OpaqueGrid, str]] = []

    def write(self, volume_file: VolumeFile, version: int) -> None:
        self._put(layout.MAGIC + struct.pack("<3IB", version, *layout.LIBRARY_VERSION, 1))
        self._stream.write(bytes(layout.UUID_BYTES))
        self._put(layout.metadata_bytes(volume_file.metadata) + struct.pack("<I", len(volume_file)))
        for grid, unique_name in zip(volume_file, _unique_names(volume_file.grids), strict=True):
            self._write_grid(grid, unique_name)
            self._written.append((grid, unique_name))
        digest = self._hash.hexdigest()
        parts = (digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:])
        self._patch(_UUID_AT, "-".join(parts).encode())

    def _put(self, raw: bytes | memoryview) -> None:
        self._stream.write(raw)
        self._hash.update(raw)

    def _patch(self, pos: int, raw: bytes) -> None:
        self._stream.seek(pos)
        self._stream.write(raw)
        self._stream.seek(0, os.SEEK_END)

    def _write_grid(self, grid: SparseGrid | OpaqueGrid, unique_name: str) -> None:
        parent = next((name for other, name in self._written if _share_tree(grid, other)), "")
        type_name = (
            grid.type_name if isinstance(grid, OpaqueGrid) else f"Tree_{grid.value_type.name}{layout.TREE_SHAPE}"
        )
        descriptor = Descriptor(unique_name, type_name, grid.save_as_half, parent)
        start = self._stream.tell()
        self._put(layout.descriptor_bytes(descriptor))
        grid_pos = self._stream.tell()
        if isinstance(grid, OpaqueGrid):
            payload, block_offset = (grid.payload, grid.block_offset) if parent else _whole_payload(grid)
            self._put(payload)
            block_pos = grid_pos + block_offset if block_offset else 0
        else:
            block_pos = self._write_sparse(grid, bool(parent))
        placed = replace(descriptor, grid_pos=grid_pos, block_pos=block_pos, end_pos=self._stream.tell())
        self._patch(start, layout.descriptor_bytes(placed))

    def _write_sparse(self, grid: SparseGrid, is_instance: bool) -> int:
        """Returns the position of the buffers, 0 for an instance."""
        flags = self._flags
        if grid.grid_class in (LEVEL_SET, FOG_VOLUME):
            flags &= ~layout.ZIP
        metadata = _own_metadata(grid)
        if not is_instance:
            metadata = Metadata((*metadata, *_statistics(grid, flags)))
        self._put(struct.pack("<I", flags) + layout.metadata_bytes(metadata) + layout.transform_bytes(grid.transform))
        if is_instance:
            return 0
        storage = Storage(grid.value_type, flags, grid.save_as_half)
        write_topology(self._put, grid, storage)
        block_pos = self._stream.tell()
        write_buffers(self._put, grid, storage)
        return block_pos


def _unique_names(grids: Sequence[SparseGrid | OpaqueGrid]) -> list[str]:
    """OpenVDB's rule: a number behind a separator where a name is empty or not the only one of its kind."""
    counts = Counter(grid.name for grid in grids)
    used: dict[str, None] = {}
    for grid in grids:
        number = 0
        unique = grid.name
        if not grid.name or counts[grid.name] > 1:
            unique = f"{grid.name}{layout.NAME_SEPARATOR}{number}"
        while unique in used:
            number += 1
            unique = f"{grid.name}{layout.NAME_SEPARATOR}{number}"
        used[unique] = None
    return list(used)


def _share_tree(grid: SparseGrid | OpaqueGrid, other: SparseGrid | OpaqueGrid) -> bool:
    if isinstance(grid, OpaqueGrid):
        return grid.instance_of is not None and grid.instance_of is other
    if isinstance(other, OpaqueGrid) or grid.topology is not other.topology:
        return False
    if grid.leaf_values is not other.leaf_values or grid.save_as_half != other.save_as_half:
        return False
    names = ("lower_tile_values", "upper_tile_values", "root_tile_values", "background")
    pairs = [(getattr(grid, name), getattr(other, name)) for name in names]
    return grid.value_type == other.value_type and all(a is b or a.tobytes() == b.tobytes() for a, b in pairs)


def _whole_payload(grid: OpaqueGrid) -> tuple[bytes, int]:
    """The bytes of a carried grid with its tree, and where its buffers begin.

    An instance whose parent is not in the file gets its parent's compression flags and tree behind its own
    metadata and transform.
    """
    parent = grid.instance_of
    if parent is None:
        return grid.payload, grid.block_offset
    tree, buffers = _whole_payload(parent)
    start = _tree_start(tree, parent.name)
    own = grid.payload[4 : _tree_start(grid.payload, grid.name)]
    head = tree[:4] + own
    return head + tree[start:], max(buffers - start + len(head), 0) if buffers else 0


def _tree_start(payload: bytes, name: str) -> int:
    cursor = Cursor(payload, "carried bytes", where=f"grid {name!r}")
    layout.read_flags(cursor)
    layout.read_metadata(cursor)
    layout.read_transform(cursor)
    return cursor.pos


def _own_metadata(grid: SparseGrid) -> Metadata:
    """A grid's metadata with the two entries that repeat its fields brought up to date."""
    metadata = grid.metadata.without(*STATISTICS)
    if grid.name or "name" in metadata:
        name = grid.name.encode("utf-8", errors="surrogateescape")
        metadata = metadata.with_entry(MetaEntry("name", "string", name))
    if grid.save_as_half != bool(metadata.get(_HALF_ENTRY, False)):
        metadata = metadata.with_entry(MetaEntry.of(_HALF_ENTRY, grid.save_as_half))
    return metadata


def _statistics(grid: SparseGrid, flags: int) -> list[MetaEntry]:
    """The entries OpenVDB adds to each grid it writes."""
    low, high = grid.topology.active_bounds or _EMPTY_BOUNDS
    topology = grid.topology
    arrays = [getattr(topology, name) for name in topology.__dataclass_fields__]
    arrays += [grid.leaf_values, grid.lower_tile_values, grid.upper_tile_values, grid.root_tile_values]
    return [
        MetaEntry("file_bbox_max", "vec3i", struct.pack("<3i", *map(int, high))),
        MetaEntry("file_bbox_min", "vec3i", struct.pack("<3i", *map(int, low))),
        MetaEntry.of("file_compression", layout.flags_text(flags)),
        MetaEntry.of("file_mem_bytes", sum(array.nbytes for array in arrays)),
        MetaEntry.of("file_voxel_count", grid.topology.num_active_voxels),
    ]
