"""Radiance fields from the command line: fitted, drawn, made small, compared; and what is said to bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fieldcodec as fc
from fieldcodec.cli.radiance_files import holds_posed, holds_radiance
from fieldcodec.metrics import images
from fieldcodec.radiance.volume import NAMES, to_volumes
from fieldcodec.testing.commands import error_of, json_of, run
from fieldcodec.testing.radiance import Toy, cameras_around, random_grid, write_scene


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene") / "toy"
    folder.mkdir()
    size = {"width": 40, "height": 36}
    cameras = {
        "train": cameras_around([0, 0, 0], 4, 20, **size),
        "test": cameras_around([0, 0, 0], 4, 3, seed=1, **size),
    }
    write_scene(folder, Toy(), cameras)
    return folder


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """A .vdb file of a field that was not fitted to anything."""
    path = tmp_path / "random.vdb"
    fc.write_volumes(path, to_volumes(random_grid(cells=6)))
    return path


def test_fit_draw_encode_compare(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, beside, small = tmp_path / "toy.vdb", tmp_path / "beside.png", tmp_path / "toy.fcodec"
    quick = ["--preset", "draft", "--cells", 32, "--steps", 160, "--device", "cpu"]
    report = json_of(capsys, "radiance", toy, "-o", output, "--picture", beside, *quick)
    assert report["bytes"] == output.stat().st_size
    assert report["held_out_views"] == 3
    assert report["psnr"] > 20
    assert 0.5 < report["ssim"] < 1
    assert (report["flip"] is None) == ("flip_missing" in report)
    assert Image.open(beside).size == (3 * 40, 3 * 36)
    assert [grid.name for grid in fc.read_volumes(output)] == list(NAMES)

    compared = json_of(capsys, "compare", toy, output)
    assert compared["psnr"] == pytest.approx(report["psnr"], abs=0.01)
    assert len(compared["views"]) == 3
    assert run("compare", toy, output, "--min-psnr", 15) == 0
    assert run("compare", toy, output, "--min-psnr", 60) == 5
    line = capsys.readouterr().out
    assert "3 held-out views: PSNR" in line

    picture = tmp_path / "view.png"
    drawn = json_of(capsys, "render", output, "-o", picture, "--camera", f"{toy}:test/1", "--depth", "--normals")
    assert [Path(path).name for path in drawn["outputs"]] == ["view.png", "view_depth.png", "view_normals.png"]
    seen = np.asarray(Image.open(picture).convert("RGB")) / 255.0
    true = np.asarray(Image.open(toy / "test_001.png")) / 255.0
    white = true[..., :3] * true[..., 3:] + 1 - true[..., 3:]
    assert images.psnr(white, seen) > 18
    assert np.asarray(Image.open(tmp_path / "view_depth.png")).max() > 200
    assert Image.open(tmp_path / "view_normals.png").size == (40, 36)

    assert run("encode", output, "-o", small, "--psnr", 30, "--no-check") == 0
    assert small.stat().st_size < output.stat().st_size / 4
    assert holds_radiance(small)
    assert json_of(capsys, "compare", toy, small)["psnr"] > report["psnr"] - 6
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
    assert "1 to 40" in error_of(capsys, 2, "radiance", toy, "-o", tmp_path / "a.vdb", "--width", 400)
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
