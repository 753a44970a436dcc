"""`fieldcodec render`: pictures, frames, comparisons, and what it says to bad options."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fieldcodec as fc
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing.commands import json_of, run

SMALL = ["--size", "48x40", "--supersampling", "1"]


@pytest.fixture
def smoke(tmp_path: Path, small_fog: SparseGrid) -> Path:
    path = tmp_path / "smoke.vdb"
    fc.write_volumes(path, fc.VolumeFile((sphere_level_set(8.0), small_fog)))
    return path


def _pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_largest_grid_is_drawn_beside_its_file(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json_of(capsys, "render", smoke, *SMALL)
    assert found["outputs"] == [str(smoke.with_suffix(".png"))]
    assert found["grid"] == "density"
    assert found["ssim"] is None
    picture = _pixels(smoke.with_suffix(".png"))
    assert picture.shape == (40, 48, 3)
    assert picture[20, 24].min() > picture[0, 0].max()


@pytest.mark.parametrize(
    "extra",
    [
        ["--grid", "sphere", "--camera-direction", "0,-1,0", "--orthographic"],
        ["--grid", "#0", "--fov", "20"],
        ["--slice", "y=0.25"],
        ["--max-projection", "--colormap", "heat"],
        ["--density", "0.3", "--look", "fog"],
    ],
)
def test_every_look_makes_a_picture(smoke: Path, tmp_path: Path, extra: list[str]) -> None:
    out = tmp_path / "out.png"
    assert run("render", smoke, "-o", out, "--transparent", *SMALL, *extra) == 0
    picture = _pixels(out)
    assert picture.shape == (40, 48, 4)
    assert picture[20, 24, 3] > 0
    assert picture[0, 0, 3] == 0


def test_frames_of_a_turntable_are_numbered(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "turn.png"
    found = json_of(capsys, "render", smoke, "-o", out, "--turntable", 3, *SMALL)
    assert found["outputs"] == [str(tmp_path / f"turn_00{number}.png") for number in range(3)]
    first, second = (_pixels(path) for path in found["outputs"][:2])
    assert not np.array_equal(first, second)
    assert run("render", smoke, "-o", out, "--turntable", 2, *SMALL) == 2  # they exist


def test_two_volumes_are_drawn_side_by_side(
    smoke: Path, small_fog: SparseGrid, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "both.png", tmp_path / "other.vdb"
    same = json_of(capsys, "render", smoke, "-o", out, "--compare", smoke, *SMALL)
    assert same["ssim"] == pytest.approx(1)
    assert _pixels(out).shape[1] > 96
    fc.write_volumes(other, fc.VolumeFile((replace(small_fog, leaf_values=small_fog.leaf_values * np.float32(0.4)),)))
    assert run("render", other, "-o", out, "--compare", smoke, "--overwrite", *SMALL) == 0
    captured = capsys.readouterr()
    assert 0.2 < float(captured.out.removeprefix("SSIM ")) < 0.99
    assert "wrote" in captured.err


def test_depth_and_normals_of_a_level_set(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, layers = tmp_path / "out.png", ["--grid", "sphere", "--depth", "--normals", *SMALL]
    found = json_of(capsys, "render", smoke, "-o", out, *layers, "--turntable", 2)
    assert [Path(path).name for path in found["outputs"]] == [
        f"out_00{number}{layer}.png" for number in (0, 1) for layer in ("", "_depth", "_normals")
    ]
    drawn, depth, normals = (_pixels(path).astype(int) for path in found["outputs"][:3])
    assert drawn.shape == normals.shape == (40, 48, 3)
    assert depth.shape == (40, 48)
    assert depth.max() == 255
    assert depth[0, 0] == 0
    assert depth[20, 24] > 220 > depth[20][depth[20] > 0].min()  # of a ball the middle is nearest
    assert np.abs(normals[0, 0] - 128).max() <= 1
    assert np.linalg.norm(normals[20, 24] / 127.5 - 1) == pytest.approx(1, abs=0.02)
    (tmp_path / "out_depth.png").touch()
    assert run("render", smoke, "-o", out, *layers) == 2  # said before anything is drawn
    assert not out.exists()
    for other in (["--grid", "density"], ["--slice", "z=0.5"], ["--compare", smoke]):
        capsys.readouterr()
        assert run("render", smoke, "-o", out, *layers, "--overwrite", *other) == 2
        assert "--depth is not possible" in capsys.readouterr().err


def test_compressed_files_are_decoded(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "small.fcodec"
    assert run("encode", smoke, "-o", small, "--lossless", "--no-check") == 0
    found = json_of(capsys, "render", small, "-o", tmp_path / "a.png", "--compare", smoke, *SMALL)
    assert found["ssim"] == pytest.approx(1)
    found = json_of(capsys, "render", small, "-o", tmp_path / "b.png", "--grid", "#0", *SMALL)
    assert found["grid"] == "sphere"
    direct = fc.render(fc.open(small), None, fc.RenderOptions())
    assert direct.shape == (512, 512, 3)


def test_parts_of_compressed_files_are_drawn_from_parts_of_them(
    smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decoded_leaves: list[int]
) -> None:
    small, whole = tmp_path / "small.fcodec", tmp_path / "whole.vdb"
    assert run("encode", smoke, "-o", small, "--lossless", "--no-check") == 0
    assert run("decode", small, "-o", whole) == 0
    leaves = fc.open(small)["density"].meta["nodes"]["leaves"]
    look_at = ",".join(str(value) for value in np.round(fc.open(small).to_grids(["density"])[0].bounds[1] * 0.8, 2))
    zoom = ["--zoom", 9, "--look-at", look_at, "--value-range", "0,1", "--camera-direction", "0,-1,-0.2"]
    for extra, most in (
        ([*zoom, "--density", "0.4", "--look", "auto"], 1.01),  # its light comes through all of so small a volume
        ([*zoom, "--max-projection", "--orthographic"], 0.6),
        ([*zoom, "--max-projection", "--turntable", 2], 0.8),
        (["--slice", "x=0.3", "--value-range", "0,0.7"], 0.5),
        (["--slice", "y=0.3", "--compare", whole], 0.5),
    ):
        decoded_leaves.clear()
        found = json_of(capsys, "render", small, "-o", tmp_path / "a.png", "--overwrite", *SMALL, *extra)
        assert 0 < sum(decoded_leaves) < most * leaves
        if "--compare" in extra:
            assert found["ssim"] == 1
            continue
        expected = json_of(capsys, "render", whole, "-o", tmp_path / "b.png", "--overwrite", *SMALL, *extra)
        for one, other in zip(found["outputs"], expected["outputs"], strict=True):
            assert np.array_equal(_pixels(one), _pixels(other))
            assert len(np.unique(_pixels(one).reshape(-1, 3), axis=0)) > 20


def test_zoom_shows_the_middle_larger(smoke: Path, tmp_path: Path) -> None:
    for extra in ([], ["--orthographic"]):
        pictures = []
        for zoom, size in (("1", "96x80"), ("2", "48x40")):
            out = tmp_path / f"zoom{zoom}.png"
            given = ["--grid", "sphere", "--size", size, "--supersampling", 1, "--zoom", zoom, *extra]
            assert run("render", smoke, "-o", out, "--overwrite", *given) == 0
            pictures.append(_pixels(out).astype(float))
        middle = pictures[0][20:60, 24:72]
        assert np.abs(pictures[1] - middle)[8:32, 10:38].mean() < 3


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "times as large", ["--zoom", "0"]),
        (2, "--look-at", ["--look-at", "1,2"]),
        (2, "--value-range", ["--value-range", "1"]),
        (2, "value_range", ["--value-range", "1,0"]),
        (2, "--slice", ["--slice", "w=0.5"]),
        (2, "--slice", ["--slice", "z"]),
        (2, "slice_place", ["--slice", "z=2"]),
        (2, "exclude", ["--slice", "z=0.5", "--max-projection"]),
        (2, "turntable", ["--turntable", "0"]),
        (2, "turntable", ["--turntable", "2", "--slice", "z=0.5"]),
        (2, "--camera-direction", ["--camera-direction", "1,2"]),
        (2, "--camera-direction", ["--camera-direction", "a,b,c"]),
        (2, "look along", ["--camera-direction", "0,0,0"]),
        (2, "--size", ["--size", "big"]),
        (2, "pixels", ["--size", "0x5"]),
        (2, "supersampling", ["--supersampling", "0"]),
        (2, "--compare", ["--transparent", "--compare", "smoke.vdb"]),
        (2, "no grid is called", ["--grid", "nothing"]),
        (2, ".png", ["-o", "picture.jpg"]),
        (3, "does not exist", ["--compare", "nowhere.vdb"]),
        (3, "folder", ["-o", "nowhere/out.png"]),
    ],
)
def test_bad_options_are_refused_plainly(
    smoke: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code, words, arguments
) -> None:
    monkeypatch.chdir(smoke.parent)
    assert run("render", "smoke.vdb", *arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fieldcodec: error: ")
    assert words in captured.err
    assert not list(smoke.parent.glob("*.png"))
