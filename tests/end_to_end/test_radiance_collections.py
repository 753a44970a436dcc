"""Radiance fields in collections by command: posed pictures and .vdb in, beside a mesh; views and grids out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fieldcodec as fc
from fieldcodec.collection import scene_asset
from fieldcodec.io.mesh import Mesh
from fieldcodec.io.mesh.write import write_mesh
from fieldcodec.io.volumes import write_volumes
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.harmonics import CONSTANT, COUNT
from fieldcodec.radiance.lattice import CornerLattice
from fieldcodec.radiance.render import photograph
from fieldcodec.radiance.settings import RadianceSettings, Stage
from fieldcodec.radiance.volume import from_volumes, to_volumes
from fieldcodec.testing.commands import error_of, json_of, run
from fieldcodec.testing.radiance import cameras_around
from fieldcodec.testing.shiny_ball import ShinyBall

pytest.importorskip("trimesh")
BALL = ShinyBall()
TRAINING = [
    "--lods", "4", "--latent", "12", "--base-width", "48", "--width", "24", "--points-per-object", "1024",
    "--surface-points", "8000", "--steps", "150", "--objects-per-step", "1", "--threads", "1", "--device", "cpu",
    "--matrix-rate", "0.01", "--picture-share", "0.3", "--rays-per-object", "64",
]  # fmt: skip


def _write_grid(path: Path) -> None:
    grid = BALL.occupancy
    lattice = CornerLattice.of_cells(grid.low, grid.cell, grid.cells)
    points = torch.from_numpy(lattice.low + lattice.places * lattice.cell)
    density, colours = BALL.evaluate(points, torch.nn.functional.normalize(torch.tensor(BALL.centre) - points, dim=1))
    shades = torch.zeros(lattice.num_corners, COUNT, 3)
    shades[:, 0] = (colours - 0.5) / CONSTANT
    write_volumes(
        path, to_volumes(RadianceGrid(lattice, (density * lattice.cell).clamp(min=1e-4).expm1().log(), shades))
    )


def _write_scene(folder: Path) -> None:
    cameras = cameras_around(BALL.centre, 2.0, 14, width=24, height=24)
    for split, numbers in (("train", range(2, 14)), ("test", range(2))):
        frames = []
        for number in numbers:
            taken = photograph(BALL, cameras[number], step=0.2)
            straight = np.clip(taken.colours / np.maximum(taken.alpha, 1e-6)[..., None], 0, 1)
            pixels = np.rint(np.concatenate([straight, taken.alpha[..., None]], axis=2) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"view_{number}.png")
            pose = [*cameras[number].to_world.tolist(), [0, 0, 0, 1]]
            frames.append({"file_path": f"view_{number}", "transform_matrix": pose})
        angle = 2 * np.arctan(12 / cameras[0].fx)
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("radiance") / "things"
    (place / "scene").mkdir(parents=True)
    _write_grid(place / "grid.vdb")
    _write_scene(place / "scene")
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    write_mesh(place / "mesh.ply", Mesh.of(corners, faces))
    return place


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    """A shape, the grid and the scene in one file."""
    small = RadianceSettings(stages=(Stage(16, 60, 1), Stage(24, 80, 4)), batch=1024)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_asset.RadianceSettings, "preset", staticmethod(lambda name: small))
        command = [folder / "mesh.ply", folder / "grid.vdb", folder / "scene", "-o", folder.parent / "things.fcodec"]
        assert run("encode", *command, "--collection", *TRAINING, "--no-check", "--cache", folder.parent / "kept") == 0
        kept = sorted((folder.parent / "kept").iterdir())
        patch.setattr(scene_asset, "fit_scene", None)  # a second run takes all from the cache
        again = [*command[:-1], folder.parent / "again.fcodec", "--collection", *TRAINING, "--steps", "1", "--no-check"]
        assert run("encode", *again, "--cache", folder.parent / "kept") == 0
        assert sorted((folder.parent / "kept").iterdir()) == kept
    return folder.parent / "things.fcodec"


def test_info_says_what_the_objects_are(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json_of(capsys, "info", made)
    assert [item["kind"] for item in facts["items"]] == ["distance", "radiance", "radiance"]
    assert facts["network"]["colour"] == "none+radiance"
    assert run("info", made) == 0
    assert "1 shape, 2 radiance fields" in capsys.readouterr().out


def test_views_of_a_scene_come_back(
    made: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json_of(capsys, "compare", folder / "scene", made, code=5)  # the file has more objects
    (quality,) = [item["quality"] for item in report["items"] if item["quality"]]
    assert (quality["name"], quality["views"], quality["width"]) == ("scene", 2, 24)
    assert quality["view_psnr"] > 17
    view = tmp_path / "view.png"
    camera = f"{folder / 'scene'}:test/1"
    assert run("render", made, "--item", "scene", "--camera", camera, "-o", view, "--depth", "--normals") == 0
    drawn = np.asarray(Image.open(view)).astype(float)
    with Image.open(folder / "scene" / "view_1.png") as picture:
        behind = Image.new("RGBA", picture.size, "white")
        true = np.asarray(Image.alpha_composite(behind, picture.convert("RGBA")))[..., :3]
    assert drawn.shape == (24, 24, 3)
    assert np.abs(drawn - true).mean() < 0.45 * np.abs(255.0 - true).mean()
    assert {path.name for path in tmp_path.iterdir()} == {"view.png", "view_depth.png", "view_normals.png"}


def test_pictures_from_around(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turn = ["--turntable", "3", "--size", "16x16", "--transparent"]
    assert run("render", made, "--item", "grid", "-o", tmp_path / "turn.png", *turn) == 0
    assert np.asarray(Image.open(tmp_path / "turn_001.png")).shape == (16, 16, 4)
    assert run("render", made, "-o", tmp_path / "sheet.png", "--size", "32x32") == 0
    camera = ["--camera", f"{made.with_suffix('')}/scene:test/0"]
    assert run("render", made, "--item", "mesh", "-o", tmp_path / "mesh.png", *camera, "--size", "16x16") == 0
    assert Image.open(tmp_path / "mesh.png").size == (16, 16)
    error = error_of(capsys, 2, "render", made, "--item", "grid", "-o", tmp_path / "x.png", "--slice", "z=0.5")
    assert "radiance field" in error
    error = error_of(capsys, 2, "render", made, "--item", "mesh", "-o", tmp_path / "x.png", "--depth", "--look", "fog")
    assert "not drawn as a surface" in error


def test_grids_samples_and_blends_come_out(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("decode", made, "--item", "grid", "-o", tmp_path / "grid.vdb", "--resolution", "24") == 0
    field = fc.open_collection(made)["grid"]
    camera = cameras_around(BALL.centre, 2.0, 5, width=20, height=20)[2]
    grid = from_volumes(fc.read_volumes(tmp_path / "grid.vdb"))
    direct, through = photograph(field, camera).over(1.0), photograph(grid, camera).over(1.0)  # type: ignore[arg-type]
    assert np.abs(direct - through).mean() < 0.2 * np.abs(direct - 1).mean()
    assert "no surface" in error_of(capsys, 2, "decode", made, "--item", "grid", "-o", tmp_path / "grid.ply")
    (tmp_path / "points.csv").write_text("1,-2,0.95\n9,9,9\n")
    capsys.readouterr()
    assert run("sample", made, tmp_path / "points.csv", "--item", "grid") == 0
    head, inside, outside = capsys.readouterr().out.split()
    assert head == "density,red,green,blue"
    assert float(inside.split(",")[0]) > 5
    assert {float(value) for value in outside.split(",")} == {0.0}
    frames = ["-o", tmp_path / "blend", "--frames", "3", "--size", "24"]
    assert run("collection", "blend", made, "grid", "scene", *frames) == 0
    assert len(list((tmp_path / "blend").glob("*.png"))) == 3
    assert "do not blend" in error_of(capsys, 2, "collection", "blend", made, "grid", "mesh", *frames)
    assert run("collection", "map", made, "-o", tmp_path / "map.png", "--size", "24") == 0
