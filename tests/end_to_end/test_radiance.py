"""Radiance fields from the command line: fitted, drawn, made small, compared; and what is said to bad input."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fieldcodec as fc
from fieldcodec.cli import radiance
from fieldcodec.cli.radiance_files import holds_posed, holds_radiance
from fieldcodec.metrics import images
from fieldcodec.radiance.settings import RadianceSettings, Stage
from fieldcodec.radiance.volume import NAMES, to_volumes
from fieldcodec.testing.commands import error_of, json_of, run
from fieldcodec.testing.radiance import Toy, cameras_around, random_grid, write_scene

WIDTH, HEIGHT = 32, 28  # of the pictures


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene") / "toy"
    folder.mkdir()
    size = {"width": WIDTH, "height": HEIGHT}
    cameras = {
        "train": cameras_around([0, 0, 0], 4, 16, **size),
        "test": cameras_around([0, 0, 0], 4, 3, seed=1, **size),
    }
    write_scene(folder, Toy(), cameras)
    return folder


@pytest.fixture(scope="module")
def fitted(toy: Path) -> Path:
    """The folder of `toy.vdb`, of a picture `beside.png` and of what was told of them, `report.json`.

    Colours are the same from everywhere, so that eight of the ten grids are quickly encoded.
    """
    folder = toy.parent
    preset = RadianceSettings(stages=(Stage(32, 80, 1), Stage(56, 140, 1)), batch=1024)
    command = ["radiance", toy, "-o", folder / "toy.vdb", "--picture", folder / "beside.png", "--device", "cpu"]
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told):
        patch.setattr(radiance.RadianceSettings, "preset", staticmethod(lambda name: preset))
        assert run(*command, "--cells", 28, "--steps", 110, "--json") == 0
    (folder / "report.json").write_text(told.getvalue())
    return folder


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """A .vdb file of a field that was not fitted to anything."""
    path = tmp_path / "random.vdb"
    fc.write_volumes(path, to_volumes(random_grid(cells=6)))
    return path


def test_a_scene_is_fitted_and_measured(toy: Path, fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, output = json.loads((fitted / "report.json").read_text()), fitted / "toy.vdb"
    assert report["bytes"] == output.stat().st_size
    assert report["steps"] == 110
    assert report["cell"] == pytest.approx(2 / 28, rel=0.4)
    assert report["held_out_views"] == 3
    assert report["psnr"] > 20
    assert 0.5 < report["ssim"] < 1
    assert (report["flip"] is None) == ("flip_missing" in report)
    assert Image.open(fitted / "beside.png").size == (3 * WIDTH, 3 * HEIGHT)
    assert [grid.name for grid in fc.read_volumes(output)] == list(NAMES)
    compared = json_of(capsys, "compare", toy, output)
    assert compared["psnr"] == pytest.approx(report["psnr"], abs=0.01)
    assert len(compared["views"]) == 3
    assert run("compare", toy, output, "--min-psnr", 15) == 0
    assert run("compare", toy, output, "--min-psnr", 60) == 5
    assert "3 held-out views: PSNR" in capsys.readouterr().out


def test_it_is_drawn_as_its_pictures_are(
    toy: Path, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, camera = tmp_path / "view.png", f"{toy}:test/1"
    drawn = json_of(capsys, "render", fitted / "toy.vdb", "-o", picture, "--camera", camera, "--depth", "--normals")
    assert [Path(path).name for path in drawn["outputs"]] == ["view.png", "view_depth.png", "view_normals.png"]
    seen = np.asarray(Image.open(picture).convert("RGB")) / 255.0
    true = np.asarray(Image.open(toy / "test_001.png")) / 255.0
    white = true[..., :3] * true[..., 3:] + 1 - true[..., 3:]
    assert images.psnr(white, seen) > 18
    assert np.asarray(Image.open(tmp_path / "view_depth.png")).max() > 200
    assert Image.open(tmp_path / "view_normals.png").size == (WIDTH, HEIGHT)
    picture.unlink()
    error = error_of(capsys, 2, "render", fitted / "toy.vdb", "-o", picture, "--depth")
    assert "view_depth.png exists already" in error
    assert not picture.exists()


def test_it_goes_through_the_volume_codec(
    toy: Path, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, small = fitted / "toy.vdb", tmp_path / "toy.fcodec"
    before = json_of(capsys, "compare", toy, output)["psnr"]
    assert run("encode", output, "-o", small, "--psnr", 30, "--no-check") == 0
    capsys.readouterr()
    assert small.stat().st_size < output.stat().st_size / 4
    assert holds_radiance(small)
    assert before - 6 < json_of(capsys, "compare", toy, small)["psnr"] != before
    frames = json_of(capsys, "render", small, "-o", tmp_path / "turn.png", "--turntable", 2, "--size", "30x20")
    assert [Path(path).name for path in frames["outputs"]] == ["turn_000.png", "turn_001.png"]


def test_transparent_pictures(field: Path) -> None:
    assert run("render", field, "--transparent", "--size", "24x20", "--supersampling", 1) == 0
    pixels = np.asarray(Image.open(field.with_suffix(".png")))
    assert pixels.shape == (20, 24, 4)
    assert pixels[0, 0, 3] == 0
    assert pixels[..., 3].max() > 128


def test_bad_calls(toy: Path, field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not end in .vdb" in error_of(capsys, 2, "radiance", toy, "-o", tmp_path / "toy.fcodec")
    assert "give one of them" in error_of(
        capsys, 2, "radiance", toy, "-o", tmp_path / "a.vdb", "--factor", 2, "--width", 10
    )
    assert f"1 to {WIDTH}" in error_of(capsys, 2, "radiance", toy, "-o", tmp_path / "a.vdb", "--width", 400)
    assert "exists already" in error_of(capsys, 2, "radiance", toy, "-o", field)
    assert "no radiance field" not in error_of(capsys, 2, "render", field, "--slice", "z=0.5", "--overwrite")
    assert "not understood" in error_of(capsys, 2, "render", field, "--camera", "nowhere")
    assert "no number 7" in error_of(capsys, 2, "render", field, "--camera", f"{toy}:test/7")
    assert "--camera says" in error_of(
        capsys, 2, "render", field, "--camera", f"{toy}:test/0", "--camera-direction", "1,0,0"
    )
    assert "posed pictures" in error_of(capsys, 2, "compare", toy, field, "--max-error", 1)
    volumes = fc.read_volumes(field)
    part = tmp_path / "part.vdb"
    fc.write_volumes(part, fc.VolumeFile(volumes.grids[:4]))
    assert "missing are the grids harmonic_3" in error_of(capsys, 3, "render", part)


def test_scenes_without_training_pictures(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tests_only"
    folder.mkdir()
    frames = json.loads((toy / "transforms_test.json").read_text())
    (folder / "transforms_test.json").write_text(json.dumps(frames))
    for picture in toy.glob("test_*.png"):
        (folder / picture.name).write_bytes(picture.read_bytes())
    assert "no pictures to train on" in error_of(capsys, 2, "radiance", folder, "-o", tmp_path / "a.vdb")
    assert not (tmp_path / "a.vdb").exists()


def test_kinds_of_files(toy: Path, field: Path, tmp_path: Path) -> None:
    assert holds_posed(toy)
    assert holds_posed(toy / "transforms_train.json")
    assert not holds_posed(tmp_path)
    assert not holds_posed(field)
    assert holds_radiance(field)
    empty = tmp_path / "empty.vdb"
    empty.touch()
    assert not holds_radiance(empty)
    assert not holds_radiance(toy)
    assert not holds_radiance(toy / "test_000.png")
