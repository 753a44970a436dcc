"""The codecs that fieldcodec is compared with: they must be given their best, and counted right."""

import struct
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.bench.peer import Outcome, Peer
from fieldcodec.bench.peers import dense, draco, nanovdb, openvdb
from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh import Mesh, voxelize
from fieldcodec.io.nanovdb import read_nanovdb
from fieldcodec.io.vdb import read_vdb
from fieldcodec.testing import samples

_VALUES = ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background")


def _first(grid: object) -> SparseGrid:
    assert isinstance(grid, SparseGrid)
    return grid


def _grid_bytes(path: Path) -> int:
    """The size of the unpacked grid, from the description that follows the 16 bytes of the header."""
    return int(struct.unpack_from("<Q", path.read_bytes(), 16)[0])


@pytest.mark.parametrize("codec", ["none", "zip", "blosc"])
@pytest.mark.parametrize("kind", ["Fp4", "Fp8", "Fp16"])
def test_quantised_files_are_those_of_nanovdb(corpus: dict[str, Path], tmp_path: Path, kind: str, codec: str) -> None:
    source, theirs = _first(read_vdb(corpus["weird_float_blosc.vdb"])[0]), corpus[f"{kind.lower()}.nvdb"]
    nanovdb.write(tmp_path / "mine.nvdb", source, kind, codec)
    mine, real = _first(read_nanovdb(tmp_path / "mine.nvdb")[0]), _first(read_nanovdb(theirs)[0])
    assert mine.topology.equals(real.topology)
    assert (mine.name, mine.grid_class) == (real.name, real.grid_class)
    for name in _VALUES:
        assert getattr(mine, name).tobytes() == getattr(real, name).tobytes(), name
    assert mine.transform == real.transform
    assert _grid_bytes(tmp_path / "mine.nvdb") == _grid_bytes(theirs)


def test_fpn_quantises_as_nanovdb_does(corpus: dict[str, Path]) -> None:
    """NanoVDB's file of noise has leaves of four widths, chosen there by relative error."""
    source, real = _first(read_vdb(corpus["noise_blosc.vdb"])[0]), _first(read_nanovdb(corpus["fpN.nvdb"])[0])
    values, theirs = source.leaf_values[..., 0], real.leaf_values[..., 0]
    found = np.zeros(len(values), np.int64)
    for width in (1, 2, 4, 8, 16):
        leaves = nanovdb.quantise(values, np.full(len(values), width))
        decoded = leaves.codes.astype(np.float32) * leaves.step[:, None] + leaves.low[:, None]
        found[(decoded == theirs).all(axis=1)] = width
    assert set(found.tolist()) == {2, 4, 8, 16}


def test_fpn_takes_the_fewest_bits_within_the_tolerance(tmp_path: Path, small_fog: SparseGrid) -> None:
    values = small_fog.leaf_values[..., 0]
    tolerance = 0.02 * float(values.max())
    bits = nanovdb.widths_for(values, tolerance)
    assert len(np.unique(bits)) > 1
    nanovdb.write(tmp_path / "mine.nvdb", small_fog, "FpN", "zip", tolerance)
    back = _first(read_nanovdb(tmp_path / "mine.nvdb")[0])
    assert np.abs(back.leaf_values - small_fog.leaf_values)[bits < 16].max() <= tolerance * 1.000001
    fewer = nanovdb.quantise(values, np.maximum(bits // 2, 1))
    error = np.abs(fewer.codes * fewer.step[:, None] + fewer.low[:, None] - values).max(axis=1)
    assert (error[bits > 1] > tolerance).all()


def test_nanovdb_keeps_transform_and_tiles(tmp_path: Path) -> None:
    grid = sphere_level_set(40.0, voxel_size=0.25)
    nanovdb.write(tmp_path / "mine.nvdb", grid, "Fp8", "blosc")
    back = _first(read_nanovdb(tmp_path / "mine.nvdb")[0])
    assert back.topology.equals(grid.topology)
    assert back.grid_class == "level set"
    np.testing.assert_array_equal(back.transform.matrix, grid.transform.matrix)
    np.testing.assert_array_equal(back.lower_tile_values, grid.lower_tile_values)


def _tried(peer: Peer, grid: SparseGrid, setting: float | str) -> tuple[Outcome, float]:
    """The outcome and the largest error of active values."""
    outcome = peer.compress(grid, setting)
    assert outcome.values.shape == grid.active_values().shape
    assert outcome.num_bytes > 0
    return outcome, float(np.abs(outcome.values.astype(np.float64) - grid.active_values()).max())


def test_openvdb_keeps_32_bits_and_rounds_to_16(small_fog: SparseGrid) -> None:
    half, full = (_tried(peer, small_fog, peer.settings[0]) for peer in openvdb.PEERS)
    assert full[1] == 0.0
    assert 0.0 < half[1] < 1e-3 * small_fog.leaf_values.max()
    assert half[0].num_bytes < full[0].num_bytes


@pytest.mark.parametrize("peer", dense.PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("kind", ["float", "vec3s"])
def test_dense_codecs_keep_their_tolerance(peer: Peer, kind: str) -> None:
    pytest.importorskip("zfpy", reason="zfpy is not installed")
    pytest.importorskip("pysz", reason="pysz is not installed")
    grid = samples.dense(kind)
    coarse, fine = _tried(peer, grid, 0.1), _tried(peer, grid, 0.01)
    assert coarse[1] <= 0.1
    assert fine[1] <= 0.01
    assert coarse[0].num_bytes < fine[0].num_bytes


def test_distance_is_continued_to_the_border_of_the_box() -> None:
    radius, centre = 22.0, np.array([0.3, -0.2, 0.15])
    grid = sphere_level_set(radius, centre=(0.3, -0.2, 0.15))
    low, box = dense.filled_box(grid)
    from_centre = np.linalg.norm(np.moveaxis(np.indices(box.shape[1:]), 0, -1) + low - centre, axis=-1)
    error = np.abs(box[0] - (from_centre - radius))
    assert error[from_centre > radius / 2].max() < 0.5  # of the first order; the middle is a kink
    assert box[0].max() > 2 * float(grid.background[0])
    i, j, k = (grid.topology.active_voxels() - low).T
    np.testing.assert_array_equal(box[0, i, j, k], grid.active_values()[:, 0])


def test_level_sets_are_decoded_at_all_voxels_of_leaves() -> None:
    pytest.importorskip("pysz", reason="pysz is not installed")
    grid = samples.sphere()
    outcome = dense.compress_box(grid, 0.05, codec=dense.SZ3)
    assert outcome.leaf_values is not None
    assert outcome.leaf_values.shape == (grid.topology.num_leaves, 512)
    active = grid.topology.leaf_active_bits
    np.testing.assert_array_equal(outcome.leaf_values[active], outcome.values[:, 0])
    assert np.abs(outcome.leaf_values[~active]).min() > float(grid.background[0]) - 0.06


def test_draco_comes_back_as_the_level_set_it_was() -> None:
    pytest.importorskip("DracoPy", reason="DracoPy is not installed")
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    ball = trimesh.creation.icosphere(4, radius=2.0)
    mesh = Mesh.of(ball.vertices, ball.faces)
    grid = voxelize(mesh, resolution=48)
    peer = draco.peer_of(mesh)
    coarse, fine = _tried(peer, grid, 9), _tried(peer, grid, 14)
    voxel = float(grid.transform.voxel_size[0])
    assert fine[1] < 0.02 * voxel < coarse[1] < 0.5 * voxel
    assert coarse[0].num_bytes < fine[0].num_bytes


@pytest.mark.parametrize("peer", [*openvdb.PEERS, *nanovdb.PEERS, *dense.PEERS], ids=lambda peer: peer.name)
def test_grids_of_integers_are_refused(peer: Peer) -> None:
    with pytest.raises(UnsupportedGridError, match="int32"):
        peer.compress(samples.dense("int32"), peer.settings[0] if peer.settings else 1.0)
