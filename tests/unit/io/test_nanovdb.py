"""`.nvdb` files against what NanoVDB's own tool makes of the same grids.

The corpus holds grids of the `.vdb` corpus converted by NanoVDB 32.4: every value type it converts, without codec, with
zip and Blosc; the quantised ones beside the `.vdb` file that the tool made of them again; and two grids built in memory
(Vec3d and UInt32) that it does not convert.
"""

import struct
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.errors import InputError, UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.nanovdb import read_nanovdb
from fieldcodec.io.vdb import read_vdb

_CONVERTED = {
    "weird_float": "weird_float_blosc", "weird_float_zip": "weird_float_blosc",
    "weird_float_blosc": "weird_float_blosc",
    "weird_double": "weird_double_blosc", "weird_int32": "weird_int32_blosc", "weird_int64": "weird_int64_blosc",
    "weird_vec": "weird_vec_blosc", "weird_bool": "weird_bool_blosc", "mask": "mask_blosc", "multi": "multi_blosc",
}  # fmt: skip


def _assert_same(mine: VolumeFile, other: VolumeFile) -> None:
    """The same trees bit for bit; names, classes and positions as well."""
    assert len(mine) == len(other)
    for a, b in zip(mine, other, strict=True):
        assert isinstance(a, SparseGrid)
        assert isinstance(b, SparseGrid)
        assert (a.name, a.value_type, a.grid_class) == (b.name, b.value_type, b.grid_class)
        assert a.topology.equals(b.topology)
        for name in ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
        np.testing.assert_allclose(a.transform.matrix, b.transform.matrix, rtol=1e-15, atol=0)


def _sorted(volumes: VolumeFile) -> VolumeFile:
    grids = [grid for grid in volumes if isinstance(grid, SparseGrid)]
    return VolumeFile(tuple(sorted(grids, key=lambda grid: (grid.name, grid.topology.num_leaves))))


@pytest.mark.parametrize("name", sorted(_CONVERTED))
def test_converted_grids_equal_their_sources(corpus: dict[str, Path], name: str) -> None:
    mine, source = read_nanovdb(corpus[f"{name}.nvdb"]), read_vdb(corpus[f"{_CONVERTED[name]}.vdb"])
    _assert_same(_sorted(mine), _sorted(source))  # the tool puts grids in the order of their names


@pytest.mark.parametrize("name", ["fp4", "fp8", "fp16", "fpN"])
def test_quantised_grids_decode_as_nanovdb_decodes_them(corpus: dict[str, Path], name: str) -> None:
    _assert_same(read_nanovdb(corpus[f"{name}.nvdb"]), read_vdb(corpus[f"{name}.vdb"]))


@pytest.mark.parametrize("name", ["vec3d", "uint32"])
def test_grids_built_in_memory(corpus: dict[str, Path], name: str) -> None:
    """300 voxels at (37 i mod 5000 - 2500, 11 i mod 300 - 100, 7 i mod 90) that hold i, or (i, i / 2, -i)."""
    grid = read_nanovdb(corpus[f"{name}.nvdb"])[0]
    assert isinstance(grid, SparseGrid)
    i = np.arange(300)
    places = np.stack([i * 37 % 5000 - 2500, i * 11 % 300 - 100, i * 7 % 90], axis=1)
    values = np.stack([i, i * 0.5, -i], axis=1) if name == "vec3d" else i[:, None]
    order = np.lexsort(places.T)
    found = np.lexsort(grid.topology.active_voxels().T)
    np.testing.assert_array_equal(grid.topology.active_voxels()[found], places[order])
    np.testing.assert_array_equal(grid.active_values()[found], values[order])
    np.testing.assert_array_equal(grid.background, [1, 2, 3] if name == "vec3d" else [7])
    assert grid.transform.map_type == "UniformScaleTranslateMap"
    np.testing.assert_array_equal(grid.transform.voxel_size, 0.5)


def test_bare_grids_are_read(corpus: dict[str, Path], tmp_path: Path) -> None:
    """From 32.6 on a file may hold nothing but the memory of its grids."""
    raw = corpus["weird_float.nvdb"].read_bytes()
    start = 16 + 176 + struct.unpack_from("<I", raw, 16 + 136)[0]
    grid = b"NanoVDB1" + raw[start + 8 :]
    (tmp_path / "bare.nvdb").write_bytes(grid + grid)
    back = read_nanovdb(tmp_path / "bare.nvdb")
    source = read_vdb(corpus["weird_float_blosc.vdb"])
    _assert_same(back, VolumeFile((*source.grids, *source.grids)))


def test_several_segments_are_read(corpus: dict[str, Path], tmp_path: Path) -> None:
    raw = corpus["weird_float_zip.nvdb"].read_bytes()
    (tmp_path / "two.nvdb").write_bytes(raw + b"NanoVDB2" + raw[8:])
    assert len(read_nanovdb(tmp_path / "two.nvdb")) == 2


def test_real_files(data_folder: Path) -> None:
    files = sorted((data_folder / "nanovdb").glob("*.nvdb"))
    if not files:
        pytest.skip(f"{data_folder} holds no .nvdb files")
    for path in files:
        grid = read_nanovdb(path)[0]
        assert isinstance(grid, SparseGrid)
        raw = path.read_bytes()
        voxels = struct.unpack_from("<Q", raw, 16 + 24)[0]
        if voxels:  # some writers leave it out
            assert grid.topology.num_active_voxels == voxels
        low, high = grid.topology.active_bounds or (None, None)
        assert low is not None
        assert struct.unpack_from("<6i", raw, 16 + 88) == (*low, *high)


def _refusal(tmp_path: Path, raw: bytes) -> str:
    path = tmp_path / "bad.nvdb"
    path.write_bytes(raw)
    message = ""
    try:
        read_nanovdb(path)
    except InputError as error:
        message = str(error)
    assert not message or str(path) in message
    return message


@pytest.mark.parametrize("name", ["weird_float_zip", "weird_float_blosc", "mask"])
def test_every_prefix_is_refused(corpus: dict[str, Path], tmp_path: Path, name: str) -> None:
    raw = corpus[f"{name}.nvdb"].read_bytes()
    for length in np.unique(np.concatenate([np.arange(0, 300, 7), np.linspace(300, len(raw) - 1, 12).astype(int)])):
        assert _refusal(tmp_path, raw[:length]), length


@pytest.mark.parametrize("name", ["fpN", "fp8"])
def test_flipped_bytes_are_read_or_refused(corpus: dict[str, Path], tmp_path: Path, name: str) -> None:
    raw = corpus[f"{name}.nvdb"].read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for place in [*range(0, 192, 4), *rng.integers(192, len(raw), 40)]:
        bad = bytearray(raw)
        bad[place] ^= 1 << rng.integers(8)
        refused += bool(_refusal(tmp_path, bytes(bad)))
    assert refused > 5


def test_flipped_bytes_of_unpacked_grids(corpus: dict[str, Path], tmp_path: Path) -> None:
    """Offsets, counts and masks of nodes themselves."""
    raw = corpus["mask.nvdb"].read_bytes()
    rng = np.random.default_rng(3)
    for place in [*range(192, 1200, 13), *rng.integers(192, len(raw), 20)]:
        bad = bytearray(raw)
        bad[place] ^= 1 << rng.integers(8)
        _refusal(tmp_path, bytes(bad))


def test_children_that_share_one_node_cannot_multiply(corpus: dict[str, Path], tmp_path: Path) -> None:
    raw = bytearray(corpus["weird_float.nvdb"].read_bytes())
    start = 16 + 176 + struct.unpack_from("<I", raw, 16 + 136)[0]
    root = start + 672 + struct.unpack_from("<4Q", raw, start + 672)[3]
    upper = root + next(
        child for child in (struct.unpack_from("<q", raw, root + 64 + 32 * i + 8)[0] for i in range(20)) if child
    )
    first = struct.unpack_from("<4Q", raw, start + 672)[1] + start + 672 - upper
    raw[upper + 32 + 4096 : upper + 32 + 8192] = b"\xff" * 4096
    raw[upper + 8256 : upper + 8256 + 8 * 32768] = struct.pack("<q", first) * 32768
    assert "internal nodes (3" in _refusal(tmp_path, bytes(raw))


def test_foreign_versions_types_and_transforms_are_named(corpus: dict[str, Path], tmp_path: Path) -> None:
    raw = corpus["weird_float.nvdb"].read_bytes()
    start = 16 + 176 + struct.unpack_from("<I", raw, 16 + 136)[0]
    assert "no segment of a .nvdb file" in _refusal(tmp_path, b" BDV" + bytes(40))
    assert "version 29.0 is not read" in _refusal(tmp_path, raw[:8] + struct.pack("<I", 29 << 21) + raw[12:])
    points = bytearray(raw)
    points[start + 632 : start + 640] = struct.pack("<2I", 5, 10)
    (tmp_path / "points.nvdb").write_bytes(points)
    with pytest.raises(UnsupportedGridError, match="type 10 and class 5 are not read"):
        read_nanovdb(tmp_path / "points.nvdb")
    tapered = bytearray(raw)
    tapered[start + 552 : start + 560] = struct.pack("<d", 0.5)
    (tmp_path / "tapered.nvdb").write_bytes(tapered)
    with pytest.raises(UnsupportedGridError, match=r"taper 0\.5"):
        read_nanovdb(tmp_path / "tapered.nvdb")


def test_grids_that_cannot_be_read_are_left_out_on_request(corpus: dict[str, Path], tmp_path: Path) -> None:
    raw = corpus["weird_float.nvdb"].read_bytes()
    start = 16 + 176 + struct.unpack_from("<I", raw, 16 + 136)[0]
    points = bytearray(raw)
    points[start + 632 : start + 640] = struct.pack("<2I", 5, 10)
    (tmp_path / "two.nvdb").write_bytes(bytes(points) + raw)
    with pytest.raises(UnsupportedGridError):
        read_nanovdb(tmp_path / "two.nvdb")
    refused: list[UnsupportedGridError] = []
    volumes = read_nanovdb(tmp_path / "two.nvdb", on_unsupported=refused.append)
    assert len(volumes) == len(refused) == 1
    assert "type 10" in str(refused[0])
