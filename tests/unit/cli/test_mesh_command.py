"""`fieldcodec mesh`."""

import json
from pathlib import Path

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec import cli
from fieldcodec.errors import ExitCode
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set, vortex_velocity
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile

trimesh = pytest.importorskip("trimesh")


@pytest.fixture
def volume(tmp_path: Path, small_fog: SparseGrid) -> Path:
    path = tmp_path / "scene.vdb"
    sphere = sphere_level_set(10.0, voxel_size=0.5, name="ball")
    fc.write_volumes(path, VolumeFile((vortex_velocity(16), small_fog, sphere)))
    return path


def test_first_scalar_grid_by_default(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mesh", str(volume), "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert told["grid"] == "density"
    assert told["output"] == str(volume.with_suffix(".ply"))
    loaded = trimesh.load_mesh(told["output"], process=False)
    assert len(loaded.faces) == told["triangles"] > 100
    assert trimesh.load_mesh(told["output"]).is_watertight


def test_grid_iso_and_space(volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ball.obj"
    assert cli.main(["mesh", str(volume), "-o", str(out), "--grid", "ball", "--index", "--iso", "0.5"]) == ExitCode.OK
    assert "ball at 0.5" in capsys.readouterr().err
    radius = np.linalg.norm(trimesh.load_mesh(out, process=False).vertices, axis=1)
    np.testing.assert_allclose(radius, 11, atol=0.02)


def test_compressed_files(volume: Path, tmp_path: Path) -> None:
    small, out = tmp_path / "scene.fcodec", tmp_path / "ball.ply"
    fc.encode_volume(fc.read_volumes(volume), fc.VolumeSettings(quality=fc.Quality(lossless=True))).save(small)
    assert cli.main(["mesh", str(small), "-o", str(out), "--grid", "#2"]) == ExitCode.OK
    assert trimesh.load_mesh(out).volume == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.01)
    assert cli.main(["mesh", str(small), "-o", str(tmp_path / "first.ply")]) == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--grid", "velocity"], ExitCode.INPUT, "one number to a voxel"),
        (["--grid", "nothing"], ExitCode.USAGE, "no grid is called"),
        (["--iso", "1e9"], ExitCode.USAGE, "no surface at 1e+09"),
        (["-o", "x.stl"], ExitCode.USAGE, ".ply, .obj"),
        (["--grid", "ball", "--iso", "7"], ExitCode.USAGE, "outside the band"),
    ],
)
def test_refusals(
    arguments: list[str], code: ExitCode, text: str, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["mesh", str(volume), *arguments]) == code
    assert text in capsys.readouterr().err
    assert not volume.with_suffix(".ply").exists()


def test_empty_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.vdb"
    empty = grid_of_dense("empty", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool))
    fc.write_volumes(path, VolumeFile((empty,)))
    assert cli.main(["mesh", str(path)]) == ExitCode.USAGE
    assert "no voxel is on the other side" in capsys.readouterr().err
