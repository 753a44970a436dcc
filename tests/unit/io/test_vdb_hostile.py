"""Damaged, cut and hostile `.vdb` files: always an InputError that says where, never anything else."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import blosc
import numpy as np
import pytest

from fieldcodec.errors import InputError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.grid.value_type import VALUE_TYPES
from fieldcodec.io.vdb import layout, read_vdb, read_vdb_summary, write_vdb
from fieldcodec.io.vdb.compression import decompress
from fieldcodec.io.vdb.layout import Cursor


def _grid(value_type: str = "float", grid_class: str = "unknown") -> SparseGrid:
    rng = np.random.default_rng(5)
    shape = (20, 12, 9)
    kind = VALUE_TYPES[value_type]
    active = rng.random(shape) < 0.4
    values = rng.integers(0, 2 if kind.is_bool else 9, (*shape, kind.channels))
    values = active if value_type == "mask" else values
    return grid_of_dense("density", values, active, value_type=value_type, grid_class=grid_class)


def _file(tmp_path: Path, *grids: SparseGrid, **more: object) -> bytes:
    write_vdb(tmp_path / "good.vdb", VolumeFile(grids), **more)  # type: ignore[arg-type]
    return (tmp_path / "good.vdb").read_bytes()


def _read(tmp_path: Path, raw: bytes, read: Callable[[Path], object] = read_vdb) -> str:
    """The message a damaged file is refused with, or nothing where the damage does not show."""
    path = tmp_path / "bad.vdb"
    path.write_bytes(raw)
    message = ""
    try:
        read(path)
    except InputError as error:
        message = str(error)
    assert not message or str(path) in message
    return message


def _tree_start(raw: bytes) -> int:
    """Byte position of the (only) grid's tree."""
    cursor = Cursor(raw, "test")
    layout.read_header(cursor)
    layout.read_metadata(cursor)
    cursor.pos += 4
    cursor.pos = layout.read_descriptor(cursor).grid_pos + 4
    layout.read_metadata(cursor)
    layout.read_transform(cursor)
    return cursor.pos


@pytest.mark.parametrize("compression", ["blosc", "none"])
def test_every_prefix_is_refused(tmp_path: Path, compression: str) -> None:
    grid = _grid()
    raw = _file(tmp_path, grid, replace(grid, name="twin"), compression=compression)
    lengths = np.unique(np.linspace(0, len(raw) - 1, 300).astype(int))
    for read in (read_vdb, read_vdb_summary):
        for length in lengths:
            assert _read(tmp_path, raw[:length], read), length


def test_every_prefix_of_a_file_without_offsets_is_refused(tmp_path: Path) -> None:
    raw = bytearray(_file(tmp_path, _grid()))
    raw[20] = 0
    for length in np.unique(np.linspace(0, len(raw) - 1, 300).astype(int)):
        assert _read(tmp_path, bytes(raw[:length])), length


@pytest.mark.parametrize("value_type", ["float", "bool", "vec3d"])
@pytest.mark.parametrize("compression", ["blosc", "zip"])
def test_flipped_bytes_are_read_or_refused(tmp_path: Path, value_type: str, compression: str) -> None:
    raw = _file(tmp_path, _grid(value_type), compression=compression)
    rng = np.random.default_rng(1)
    refused = 0
    for place in np.concatenate([np.arange(0, 500, 3), rng.integers(0, len(raw), 250)]):
        bad = bytearray(raw)
        bad[place] ^= 1 << rng.integers(8)
        refused += bool(_read(tmp_path, bytes(bad)))
    assert refused > 100


def test_foreign_files_and_other_versions(tmp_path: Path) -> None:
    raw = _file(tmp_path, _grid())
    assert "no .vdb file" in _read(tmp_path, b"")
    assert "no .vdb file" in _read(tmp_path, b"NanoVDB0" + bytes(100))
    assert "version 221 is not read" in _read(tmp_path, raw[:8] + struct.pack("<I", 221) + raw[12:])
    assert "version 226 is not read" in _read(tmp_path, raw[:8] + struct.pack("<I", 226) + raw[12:])


def test_huge_counts_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    raw = _file(tmp_path, _grid())
    huge = struct.pack("<I", 2**32 - 1)
    assert "metadata entries cannot fit" in _read(tmp_path, raw[:57] + huge + raw[61:])
    assert "4294967295 grids cannot fit" in _read(tmp_path, raw[:61] + huge + raw[65:])
    tree = _tree_start(raw)
    for place, what in ((tree, "buffers"), (tree + 8, "root tiles"), (tree + 12, "root children")):
        message = _read(tmp_path, raw[:place] + huge + raw[place + 4 :])
        assert f"4294967295 {what}" in message.replace("a tree of ", "")
        assert "grid 'density', tree topology" in message


def test_child_masks_that_promise_too_much(tmp_path: Path) -> None:
    raw = bytearray(_file(tmp_path, _grid()))
    upper = _tree_start(raw) + 16 + 12
    raw[upper : upper + 4096] = b"\xff" * 4096
    assert "32768 children of upper node 0 cannot fit" in _read(tmp_path, bytes(raw))


def test_wrong_leaf_masks_and_places_are_named(tmp_path: Path) -> None:
    raw = bytearray(_file(tmp_path, _grid("mask")))
    raw[-76] ^= 1
    assert "leaf buffers: leaf 11 has another active mask" in _read(tmp_path, bytes(raw))
    raw[-76] ^= 1
    raw[-12] ^= 8
    assert "leaf 11 is at" in _read(tmp_path, bytes(raw))


def test_offsets_outside_the_file(tmp_path: Path) -> None:
    raw = _file(tmp_path, _grid())
    cursor = Cursor(raw, "test", 65)
    layout.read_descriptor(cursor)
    for at, value in ((24, 2**62), (24, -1), (8, len(raw) + 1), (8, -5)):
        place = cursor.pos - at
        bad = raw[:place] + struct.pack("<q", value) + raw[place + 8 :]
        assert "descriptor: the grid is said to be at" in _read(tmp_path, bad)


@pytest.mark.parametrize("parent", ["density", "missing"])
def test_instances_without_a_tree(tmp_path: Path, parent: str) -> None:
    """A grid that is an instance of itself, or of nothing."""
    raw = _file(tmp_path, _grid())
    cursor = Cursor(raw, "test", 65)
    found = layout.read_descriptor(cursor)
    added = len(parent)
    moved = replace(
        found, parent=parent, grid_pos=found.grid_pos + added, block_pos=0, end_pos=found.end_pos + added
    )  # fmt: skip
    bad = raw[:65] + layout.descriptor_bytes(moved) + raw[cursor.pos :]
    assert f"instance of {parent!r}, and no such grid has a tree" in _read(tmp_path, bad)


@pytest.mark.parametrize(("at", "value"), [(4, 999), (12, 17), (8, 0), (8, 1 << 30)])
def test_blosc_headers_are_checked(at: int, value: int) -> None:
    chunk = bytearray(blosc.compress(bytes(400), typesize=4, cname="lz4"))
    assert decompress(bytes(chunk), 400, layout.BLOSC) == bytes(400)
    chunk[at : at + 4] = struct.pack("<I", value)
    with pytest.raises(ValueError, match="Blosc chunk"):
        decompress(bytes(chunk), 400, layout.BLOSC)


def test_damaged_chunks_never_give_another_size() -> None:
    rng = np.random.default_rng(3)
    good = blosc.compress(rng.normal(size=300).round(1).astype("f4").tobytes(), typesize=4, clevel=9, cname="lz4")
    refused = 0
    for _ in range(2000):
        chunk = bytearray(good)
        chunk[rng.integers(16, len(chunk))] = rng.integers(256)
        try:
            assert len(decompress(bytes(chunk), 1200, layout.BLOSC)) == 1200
        except ValueError:
            refused += 1
    assert refused


def test_zip_bombs_stop_at_the_expected_size() -> None:
    bomb = zlib.compress(bytes(1 << 24))
    with pytest.raises(ValueError, match="instead of 2048"):
        decompress(bomb, 2048, layout.ZIP)
