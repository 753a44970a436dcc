"""Files of several grids: names, instances, metadata, carried grids, versions, summaries, failures while writing."""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.errors import InputError, UnsupportedGridError, UsageError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.io.vdb import layout, read_vdb, read_vdb_summary, write_vdb
from fieldcodec.io.vdb.layout import Cursor


def _ball(name: str, **more: object) -> SparseGrid:
    axis = np.arange(20) - 9.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    values = (radius - 7).astype(np.float32)
    return grid_of_dense(name, values, np.abs(values) < 2, background=2.0, **more)  # type: ignore[arg-type]


def _round_trip(tmp_path: Path, *grids: SparseGrid | OpaqueGrid, **more: object) -> VolumeFile:
    write_vdb(tmp_path / "file.vdb", VolumeFile(grids), **more)  # type: ignore[arg-type]
    return read_vdb(tmp_path / "file.vdb")


def _sparse(grid: SparseGrid | OpaqueGrid) -> SparseGrid:
    assert isinstance(grid, SparseGrid)
    return grid


def _carried(tmp_path: Path, name: str, type_name: str = "Tree_ptdataidx32_5_4_3", version: int = 224) -> OpaqueGrid:
    """A grid of a type that is not interpreted: a true head, and bytes that stand for its tree."""
    head = (6).to_bytes(4, "little") + layout.metadata_bytes(Metadata((MetaEntry("name", "string", name.encode()),)))
    head += layout.transform_bytes(GridTransform.uniform(0.5))
    return OpaqueGrid(name, type_name, head + b"topology" + b"buffers", version, block_offset=len(head) + 8)


def test_names_may_repeat_and_be_empty(tmp_path: Path) -> None:
    names = ["density", "", "density", "heat", "", "density"]
    back = _round_trip(tmp_path, *(_ball(name) for name in names))
    assert [grid.name for grid in back] == names
    raw = (tmp_path / "file.vdb").read_bytes()
    assert b"density\x1e0" in raw
    assert b"density\x1e2" in raw
    assert b"heat\x1e" not in raw


def test_grids_that_share_a_tree_are_stored_once_and_share_it_again(tmp_path: Path) -> None:
    ball = _ball("ball")
    other = replace(ball, name="other", transform=GridTransform.uniform(3.0))
    half = replace(ball, name="half", save_as_half=True)
    back = [_sparse(grid) for grid in _round_trip(tmp_path, ball, other, half)]
    assert back[1].topology is back[0].topology
    assert back[1].leaf_values is back[0].leaf_values
    assert back[1].transform == GridTransform.uniform(3.0)
    assert back[2].topology is not back[0].topology
    assert [grid.instance_of for grid in read_vdb_summary(tmp_path / "file.vdb").grids] == [None, "ball", None]


def test_a_changed_tile_makes_a_tree_of_its_own(tmp_path: Path) -> None:
    ball = _ball("ball")
    tiles = ball.lower_tile_values.copy()
    tiles[7] = 5
    changed = replace(ball, name="changed", lower_tile_values=tiles)
    back = [_sparse(grid) for grid in _round_trip(tmp_path, ball, changed)]
    assert back[1].lower_tile_values[7] == 5
    assert back[0].lower_tile_values[7] == 2


def test_half_storage_rounds_all_but_root_tiles(tmp_path: Path) -> None:
    ball = _ball("ball")
    third = np.float32(1 / 3)
    topology = replace(
        ball.topology, root_tile_origins=np.array([[8192, 0, 0]], np.int32), root_tile_active=np.array([True])
    )
    grid = replace(
        ball,
        topology=topology,
        leaf_values=ball.leaf_values + third,
        root_tile_values=np.full((1, 1), third),
        background=np.full(1, third),
        save_as_half=True,
    )
    back = _sparse(_round_trip(tmp_path, grid)[0])
    assert back.save_as_half
    assert back.root_tile_values[0, 0] == third
    assert back.background[0] == np.float32(np.float16(third))
    np.testing.assert_array_equal(back.leaf_values, grid.leaf_values.astype(np.float16).astype(np.float32))


def test_half_value_types_need_the_newest_file_version(tmp_path: Path) -> None:
    half = grid_of_dense("h", np.ones((4, 4, 4)), np.ones((4, 4, 4), bool), value_type="half")
    _round_trip(tmp_path, half)
    assert read_vdb_summary(tmp_path / "file.vdb").file_version == layout.VERSION_HALF_GRIDS
    _round_trip(tmp_path, _ball("ball"))
    assert read_vdb_summary(tmp_path / "file.vdb").file_version == layout.VERSION_MULTIPASS


def test_metadata_keeps_its_bytes_and_statistics_are_made_anew(tmp_path: Path) -> None:
    entries = (
        MetaEntry("odd", "no such type", b"\x01\x02"),
        MetaEntry("file_voxel_count", "int64", (7).to_bytes(8, "little")),
        MetaEntry.of("class", "level set"),
    )
    ball = _ball("ball")
    ball = replace(ball, metadata=Metadata(entries))
    write_vdb(tmp_path / "a.vdb", VolumeFile((ball,), Metadata((MetaEntry.of("frame", 12),))))
    back = read_vdb(tmp_path / "a.vdb")
    assert back.metadata.get("frame") == 12
    assert "file_voxel_count" not in _sparse(back[0]).metadata
    assert _sparse(back[0]).metadata.get("odd") == b"\x01\x02"
    found = read_vdb_summary(tmp_path / "a.vdb").grids[0]
    assert found.metadata.get("file_voxel_count") == ball.topology.num_active_voxels
    low, high = ball.topology.active_bounds or (None, None)
    assert low is not None
    assert found.metadata.get("file_bbox_min") == tuple(low)
    assert found.metadata.get("file_bbox_max") == tuple(high)
    assert found.metadata.get("file_compression") == "blosc + active values"
    assert found.transform == ball.transform


def test_level_sets_and_fog_are_never_zipped(tmp_path: Path) -> None:
    for grid_class, text in (("level set", "active values"), ("unknown", "zip + active values")):
        write_vdb(tmp_path / "a.vdb", VolumeFile((_ball("b", grid_class=grid_class),)), compression="zip")
        assert read_vdb_summary(tmp_path / "a.vdb").grids[0].metadata.get("file_compression") == text


def test_equal_grids_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.vdb", "b.vdb"):
        write_vdb(tmp_path / name, VolumeFile((_ball("ball"),)))
    write_vdb(tmp_path / "c.vdb", VolumeFile((_ball("bell"),)))
    first, second, third = ((tmp_path / f"{name}.vdb").read_bytes() for name in "abc")
    assert first == second
    assert first[21:57] != third[21:57]  # the id of the file


def test_unknown_grids_are_carried_with_offsets_moved(tmp_path: Path) -> None:
    points = _carried(tmp_path, "points")
    back = _round_trip(tmp_path, _ball("first"), points, _ball("last"))
    assert back[1] == points
    assert [grid.name for grid in back] == ["first", "points", "last"]


def test_instances_of_carried_grids_stay_instances_or_become_whole(tmp_path: Path) -> None:
    parent = _carried(tmp_path, "points")
    own = (4).to_bytes(4, "little") + layout.metadata_bytes(Metadata((MetaEntry("name", "string", b"copy"),)))
    own += layout.transform_bytes(GridTransform.uniform(7.0))
    copy = OpaqueGrid("copy", parent.type_name, own, 224, instance_of=parent)
    back = _round_trip(tmp_path, parent, copy)
    assert back[1] == copy
    assert back[1].instance_of is back[0]  # type: ignore[union-attr]
    alone = _round_trip(tmp_path, copy)[0]
    assert isinstance(alone, OpaqueGrid)
    assert alone.payload == parent.payload[:4] + own[4:] + b"topologybuffers"
    assert alone.payload[alone.block_offset :] == b"buffers"


def test_carried_grids_of_old_and_new_versions_do_not_mix(tmp_path: Path) -> None:
    old, new = _carried(tmp_path, "a", version=222), _carried(tmp_path, "b", version=224)
    _round_trip(tmp_path, old)
    assert read_vdb_summary(tmp_path / "file.vdb").file_version == 222
    with pytest.raises(UnsupportedGridError, match=r"\[222, 224\]"):
        _round_trip(tmp_path, old, new)


def _without_offsets(path: Path, tmp_path: Path) -> Path:
    """The file as io::Stream writes it: no offsets."""
    raw = bytearray(path.read_bytes())
    raw[20] = 0
    cursor = Cursor(bytes(raw), "test")
    layout.read_header(cursor)
    layout.read_metadata(cursor)
    for _ in range(cursor.u32("grids")):
        end = layout.read_descriptor(cursor).end_pos
        raw[cursor.pos - 24 : cursor.pos] = bytes(24)
        cursor.pos = end
    (tmp_path / "stream.vdb").write_bytes(raw)
    return tmp_path / "stream.vdb"


def test_files_without_offsets_are_read_in_order(tmp_path: Path) -> None:
    ball = _ball("ball")
    write_vdb(tmp_path / "a.vdb", VolumeFile((ball, replace(ball, name="twin"), _ball("third"))))
    path = _without_offsets(tmp_path / "a.vdb", tmp_path)
    back = [_sparse(grid) for grid in read_vdb(path)]
    assert [grid.name for grid in back] == ["ball", "twin", "third"]
    assert back[1].topology is back[0].topology
    np.testing.assert_array_equal(back[2].leaf_values, ball.leaf_values)
    assert [grid.num_bytes for grid in read_vdb_summary(path).grids] == [None] * 3


def test_carried_grids_without_offsets_are_refused(tmp_path: Path) -> None:
    write_vdb(tmp_path / "a.vdb", VolumeFile((_ball("ball"), _carried(tmp_path, "points"))))
    path = _without_offsets(tmp_path / "a.vdb", tmp_path)
    with pytest.raises(UnsupportedGridError, match=r"'points' is of type Tree_ptdataidx32_5_4_3.*no grid offsets"):
        read_vdb(path)


def test_a_mask_grid_must_hold_its_active_states(tmp_path: Path) -> None:
    mask = grid_of_dense("m", np.ones((4, 4, 4), bool), np.ones((4, 4, 4), bool), value_type="mask")
    _round_trip(tmp_path, mask)
    with pytest.raises(InputError, match="mask grid"):
        _round_trip(tmp_path, replace(mask, leaf_values=~mask.leaf_values))


def test_unknown_compression_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'lzma' is not known; allowed are 'blosc', 'zip', 'none'"):
        _round_trip(tmp_path, _ball("ball"), compression="lzma")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.vdb"
    path.write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(InputError, match=r"a\.vdb: cannot be written: "):
            write_vdb(path, VolumeFile((_ball("ball"),)), compression="none", active_mask=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.vdb"]


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/a\.vdb: cannot be written"):
        write_vdb(tmp_path / "nowhere" / "a.vdb", VolumeFile((_ball("ball"),)))
    with pytest.raises(InputError, match=r"b\.vdb: no such file"):
        read_vdb(tmp_path / "b.vdb")
    with pytest.raises(InputError, match="cannot be read"):
        read_vdb(tmp_path)


def test_a_grid_with_an_unknown_transform_is_carried_byte_for_byte(tmp_path: Path) -> None:
    write_vdb(tmp_path / "known.vdb", VolumeFile((_ball("strange"), _ball("plain"))))
    data = (tmp_path / "known.vdb").read_bytes()
    first = data.index(b"UniformScaleMap")
    (tmp_path / "file.vdb").write_bytes(data[:first] + b"UniformScaleXyz" + data[first + 15 :])
    volumes = read_vdb(tmp_path / "file.vdb")
    assert isinstance(volumes[0], OpaqueGrid)
    assert isinstance(volumes[1], SparseGrid)
    write_vdb(tmp_path / "again.vdb", volumes)
    assert read_vdb(tmp_path / "again.vdb")[0] == volumes[0]
