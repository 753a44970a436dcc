"""Collections by command: meshes in, one file; objects out, drawn, sampled, added, removed, compared."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fieldcodec as fc
from fieldcodec.cli.collections import edit
from fieldcodec.collection.training import CollectionTraining
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh import Mesh
from fieldcodec.io.mesh.write import write_mesh
from fieldcodec.testing.commands import error_of, json_of, run

pytest.importorskip("trimesh")
CENTRE = np.array([5.0, -2.0, 1.0])  # of every object in the world
RADIUS = 2.0  # of the ball
SAMPLES = ["--surface-points", "4000", "--lods", "3"]
NETS = ["--latent", "8", "--base-width", "32", "--width", "16", "--points-per-object", "512", "--threads", "1"]
TRAINING = [*SAMPLES, *NETS, "--level-dropout", "0", "--steps", "100", "--device", "cpu"]


def _object(name: str, folder: Path, stretch: tuple[float, float, float], colours: bool = True) -> None:
    """A stretched ball whose colour is a ramp along each axis, as an `.obj`."""
    rows, columns = 10, 16
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij")
    normals = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), -np.sin(polar) * np.sin(turn)], axis=-1)
    first = np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)
    a, b, c, d = first, first + 1, first + columns + 1, first + columns + 2
    triangles = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    points = CENTRE + RADIUS * normals.reshape(-1, 3) * stretch
    shades = (127.5 * (normals.reshape(-1, 3) + 1)).astype(np.uint8) if colours else None
    write_mesh(folder / f"{name}.obj", Mesh(points, triangles), colours=shades)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection") / "meshes"
    folder.mkdir()
    _object("ball", folder, (1, 1, 1))
    _object("disc", folder, (1, 0.5, 1))
    _object("rod_07", folder, (0.5, 0.6, 1))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def made(meshes: Path, cache: Path) -> Path:
    """The collection of all three, trained once; tests that change it work on a copy."""
    assert run("encode", meshes, *TRAINING, "--no-check", "--cache", cache) == 0
    return meshes.with_name("meshes.fcodec")


@pytest.fixture
def small(made: Path, tmp_path: Path) -> Path:
    path = tmp_path / "things.fcodec"
    path.write_bytes(made.read_bytes())
    return path


def test_meshes_are_encoded_measured_and_described(
    meshes: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    things = tmp_path / "things.fcodec"
    report = json_of(capsys, "encode", meshes / "*.obj", "-o", things, *TRAINING, "--cache", cache)
    assert [item["name"] for item in report["items"]] == ["ball", "disc", "rod_07"]
    assert all(item["quality"]["iou"] > 85 and item["quality"]["psnr"] > 12 for item in report["items"])
    assert report["mean"]["chamfer"] > report["mean"]["chamfer_floor"] > 0
    assert report["bytes"] == things.stat().st_size == sum(report["sections"].values())
    assert report["bytes_source"] == sum(path.stat().st_size for path in meshes.iterdir())
    assert report["ratio_source"] == pytest.approx(report["bytes_source"] / report["bytes"])
    assert [path.name for path in tmp_path.iterdir()] == ["things.fcodec"]
    info = json_of(capsys, "info", things)
    assert (info["kind"], info["bytes"], info["network"]["colour"]) == ("collection", report["bytes"], "rgb")
    assert np.allclose(info["items"][0]["centre"], CENTRE, atol=0.1)
    assert info["items"][0]["scale"] == pytest.approx(RADIUS / 0.9, rel=0.05)
    assert "exists already" in error_of(capsys, 2, "encode", meshes, "-o", things, *TRAINING)


def test_reports_for_people(made: Path, meshes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from fieldcodec import cli; code = cli.main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, "info", str(made)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a collection of 3 objects (shapes with colours)" in done.stdout
    assert "rod_07" in done.stdout
    assert f"made from {sum(path.stat().st_size for path in meshes.iterdir()):,} bytes" in done.stdout
    assert run("compare", meshes, made) == 0
    out = capsys.readouterr().out
    assert "3 objects" in out
    assert "gIoU %" in out
    assert "to 1" in out


def test_one_object_comes_back_as_mesh_level_set_and_points(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import trimesh

    facts = json_of(capsys, "decode", made, "--item", "ball", "-o", tmp_path / "b.ply", "--resolution", 48)
    ball = trimesh.load(tmp_path / "b.ply", process=False)
    assert len(ball.faces) == facts["items"][0]["triangles"] > 500
    assert np.linalg.norm(ball.vertices - CENTRE, axis=1) == pytest.approx(RADIUS, rel=0.2)
    assert np.ptp(ball.visual.vertex_colors[:, :3].astype(int), axis=0).min() > 30
    assert run("decode", made, "--item", "ball", "-o", tmp_path / "b.obj") == 0
    assert run("mesh", made, "--item", "#0", "-o", tmp_path / "c.obj") == 0
    assert (tmp_path / "b.obj").read_bytes() == (tmp_path / "c.obj").read_bytes()
    assert run("decode", made, "--item", "ball", "-o", tmp_path / "b.vdb") == 0
    grid = fc.read_volume(tmp_path / "b.vdb")
    assert isinstance(grid, SparseGrid)
    assert grid.is_level_set
    assert float(grid.sample([CENTRE])[0, 0]) < 0
    assert run("decode", made, "--item", "ball", "--points", "-o", tmp_path) == 0
    points = trimesh.load(tmp_path / "ball.ply")
    assert np.linalg.norm(points.vertices - CENTRE, axis=1) == pytest.approx(RADIUS, rel=0.3)
    capsys.readouterr()
    assert run("decode", made, "--item", "ball", "--lod", 2, "-o", tmp_path / "coarse.ply") == 0
    assert "trained for its finest level of detail alone" in capsys.readouterr().err


def test_all_objects_come_back_into_a_folder(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json_of(capsys, "decode", made, "-o", tmp_path / "back", "--format", "obj")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["ball.obj", "disc.obj", "rod_07.obj"]
    assert [item["name"] for item in facts["items"]] == ["ball", "disc", "rod_07"]
    assert "--overwrite" in error_of(capsys, 2, "decode", made, "-o", tmp_path / "back", "--format", "obj")


def test_what_does_not_fit_is_told(
    made: Path, meshes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_fog: SparseGrid
) -> None:
    smoke, out = tmp_path / "smoke.vdb", tmp_path / "x.ply"
    fc.write_volumes(smoke, fc.VolumeFile((small_fog,)))
    assert "did you mean 'rod_07'?" in error_of(capsys, 2, "decode", made, "--item", "rod_7", "-o", out)
    assert "it has 'ball', 'disc'" in error_of(capsys, 2, "render", made, "--item", "zebra", "-o", tmp_path / "x.png")
    assert "--lod is 9" in error_of(capsys, 2, "decode", made, "--item", "ball", "--lod", 9, "-o", out)
    assert "--bbox is not possible" in error_of(capsys, 2, "decode", made, "--bbox", "0,0,0,1,1,1")
    assert "is one file" in error_of(capsys, 2, "decode", made, "-o", out)
    assert "do not agree" in error_of(capsys, 2, "decode", made, "--item", "ball", "--format", "obj", "-o", out)
    assert "does not end in" in error_of(capsys, 2, "decode", made, "--item", "ball", "-o", tmp_path / "x.stl")
    assert "choose one with --item" in error_of(capsys, 2, "mesh", made, "-o", out)
    assert "--turntable is not possible" in error_of(
        capsys, 2, "render", made, "--turntable", 3, "-o", tmp_path / "x.png"
    )
    assert "--item is not possible" in error_of(capsys, 2, "render", smoke, "--item", "ball")
    assert "--min-iou is not possible" in error_of(capsys, 2, "compare", smoke, smoke, "--min-iou", 3)
    assert "unknown action" in error_of(capsys, 2, "collection", "ad", made)
    assert "holds a collection" in error_of(capsys, 2, "view", made)
    assert "holds a collection" in error_of(capsys, 2, "report", smoke, made)
    assert "no mesh has the name" in error_of(capsys, 2, "compare", smoke, made)
    assert "needs the name of its file" in error_of(capsys, 2, "encode", *meshes.iterdir())
    (tmp_path / "a.obj").write_bytes((meshes / "ball.obj").read_bytes())
    assert "both meshes and volumes" in error_of(capsys, 2, "encode", tmp_path, "-o", tmp_path / "x.fcodec")


def test_pictures(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "64x48", "--supersampling", "1"]
    facts = json_of(capsys, "render", made, "--item", "ball", "-o", tmp_path / "b.png", "--turntable", 2, *options)
    first, second = (np.asarray(Image.open(path)).astype(int) for path in facts["outputs"])
    assert first.shape == (48, 64, 3)
    assert np.abs(first - second).max() > 40  # the colours turn
    assert np.ptp(first[24], axis=0).min() > 40
    assert run("render", made, "-o", tmp_path / "sheet.png", "--size", "40x40") == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert sheet.shape == (8 + 68 * 1, 8 + 48 * 3, 3)
    for place in range(3):
        assert np.ptp(sheet[8:48, 8 + 48 * place : 48 + 48 * place]) > 80


def test_depth_and_normals_of_an_object(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "48x48", "--supersampling", "1", "--camera-direction", "0,0,-1", "--transparent"]
    facts = json_of(
        capsys, "render", made, "--item", "ball", "-o", tmp_path / "b.png", "--depth", "--normals", *options
    )
    assert [Path(path).name for path in facts["outputs"]] == ["b.png", "b_depth.png", "b_normals.png"]
    picture, depth, normals = (np.asarray(Image.open(path)).astype(int) for path in facts["outputs"])
    assert ((picture[..., 3] > 0) == (depth > 0)).all()
    directions = normals[depth > 0] / 127.5 - 1
    rows, columns = np.nonzero(depth)
    assert np.corrcoef(directions[:, 0], columns)[0, 1] > 0.8  # a ball's normals point where its points lie
    assert np.corrcoef(directions[:, 1], -rows)[0, 1] > 0.8
    assert directions[:, 2].mean() > 0.4  # towards the camera
    assert np.corrcoef(depth[depth > 0], -np.hypot(rows - 23.5, columns - 23.5))[0, 1] > 0.8


def test_an_object_is_drawn_in_colours_beside_its_mesh(
    made: Path, meshes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def sides(original: Path) -> tuple[np.ndarray, np.ndarray, float]:
        out = tmp_path / f"{original.stem}.png"
        options = ["--size", "48x48", "--supersampling", "1", "--resolution", "32"]
        facts = json_of(capsys, "render", made, "--item", "ball", "-o", out, "--compare", original, *options)
        page = np.asarray(Image.open(out)).astype(int)
        middle = page.shape[1] // 2
        return page[:, :middle], page[:, middle:], facts["ssim"]

    def greenest(pixels: np.ndarray) -> int:
        """How much greener than red a pixel is; clay is redder than green."""
        return int((pixels[..., 1] - pixels[..., 0]).max())

    left, right, similarity = sides(meshes / "ball.obj")
    assert greenest(left) > 100
    assert greenest(right) > 15  # after a hundred steps
    assert similarity > 0.7
    _object("bare", tmp_path, (1, 1, 1), colours=False)
    left, right, _ = sides(tmp_path / "bare.obj")
    assert max(greenest(left), greenest(right)) < 11  # both of clay


def test_values_at_points(
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    small_fog: SparseGrid,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = CENTRE + RADIUS * np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, -1.05, 0]])
    np.save(tmp_path / "p.npy", points)
    np.savetxt(tmp_path / "p.csv", points, delimiter=",", header="x,y,z", comments="")
    assert run("sample", made, tmp_path / "p.npy", "--item", "ball", "-o", tmp_path / "v.npy") == 0
    values = np.load(tmp_path / "v.npy")
    assert values.shape == (4, 4)
    assert values[0, 0] < -0.5
    assert values[1:, 0] == pytest.approx(0, abs=0.4)
    assert values[1, 2] > 0.5 > values[3, 2]  # green grows upwards
    capsys.readouterr()
    assert run("sample", made, tmp_path / "p.csv", "--item", "ball") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "distance,red,green,blue"
    assert np.array_equal(np.array([line.split(",") for line in lines[1:]], np.float32), values)
    smoke = tmp_path / "smoke.vdb"
    fc.write_volumes(smoke, fc.VolumeFile((small_fog,)))
    monkeypatch.setattr("sys.stdin", (tmp_path / "q.txt").open("w+"))
    sys.stdin.write("3 4 11\n1 5 20\n")
    sys.stdin.seek(0)
    assert run("sample", smoke, "-", "--space", "index", "-o", tmp_path / "fog.csv") == 0
    sampled = np.loadtxt(tmp_path / "fog.csv", skiprows=1)
    assert np.array_equal(sampled.astype(np.float32), small_fog.sample([[3, 4, 11], [1, 5, 20]], space="index")[:, 0])
    assert "choose one with --item" in error_of(capsys, 2, "sample", made, tmp_path / "p.npy")
    assert "--space index" in error_of(
        capsys, 2, "sample", made, tmp_path / "p.npy", "--item", "ball", "--space", "index"
    )
    (tmp_path / "bad.csv").write_text("1,2,3\n4,5\n")
    assert "line 2: 2 numbers" in error_of(capsys, 3, "sample", smoke, tmp_path / "bad.csv")
    np.save(tmp_path / "bad.npy", points[:, :2])
    assert "needed is [n, 3]" in error_of(capsys, 3, "sample", smoke, tmp_path / "bad.npy")


def test_objects_are_added_and_removed(
    small: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small.read_bytes()
    _object("egg", tmp_path, (0.8, 1, 0.8))
    options = ["--steps", 60, "--threads", 1, "--cache", cache, "--device", "cpu"]
    report = json_of(capsys, "collection", "add", small, tmp_path / "egg.obj", *options)
    assert [item["name"] for item in report["items"]] == ["ball", "disc", "rod_07", "egg"]
    assert [item["quality"] is not None for item in report["items"]] == [False, False, False, True]
    assert report["items"][3]["quality"]["iou"] > 75
    assert fc.open_collection(small).names[-1] == "egg"
    assert "already" in error_of(capsys, 2, "collection", "add", small, tmp_path / "egg.obj", *options)
    gone = json_of(capsys, "collection", "remove", small, "egg", "-o", tmp_path / "three.fcodec")
    assert gone["removed"] == ["egg"]
    assert (tmp_path / "three.fcodec").read_bytes() == before
    assert len(fc.open_collection(small)) == 4
    assert run("collection", "remove", small, "egg") == 0
    assert small.read_bytes() == before
    assert "did you mean 'disc'" in error_of(capsys, 2, "collection", "remove", small, "disk")
    assert "nothing would be left" in error_of(capsys, 2, "collection", "remove", small, "ball", "disc", "rod_07")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edit, "add_to_collection", stop)
    assert run("collection", "add", small, tmp_path / "egg.obj", *options) == 130
    assert small.read_bytes() == before


def test_an_object_without_colours_stays_without_among_others(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _object("bare", tmp_path, (1, 1, 1), colours=False)
    out = tmp_path / "more.fcodec"
    assert run("collection", "add", small, tmp_path / "bare.obj", "-o", out, "--no-cache", "--steps", 5) == 0
    assert fc.open_collection(out).kinds == ("coloured",) * 3 + ("distance",)
    capsys.readouterr()
    assert run("info", out) == 0
    assert "3 shapes with colours, 1 shape" in capsys.readouterr().out


def test_latent_space(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    near = json_of(capsys, "collection", "neighbours", small, "ball", "--measure", "euclidean")["neighbours"]
    assert sorted(other["name"] for other in near) == ["disc", "rod_07"]
    assert 0 < near[0]["distance"] <= near[1]["distance"]
    drawn = json_of(capsys, "collection", "map", small, "--size", 32)
    assert Path(drawn["output"]).name == "things.map.png"
    assert Image.open(drawn["output"]).size[0] > 64
    assert [item["name"] for item in drawn["items"]] == ["ball", "disc", "rod_07"]
    frames = json_of(capsys, "collection", "blend", small, "ball", "disc", "--frames", 3, "--size", 32)["outputs"]
    assert [Path(frame).name for frame in frames] == ["frame_000.png", "frame_001.png", "frame_002.png"]
    assert Path(frames[0]).parent == tmp_path / "ball_to_disc"
    pictures = [np.asarray(Image.open(frame)).astype(int) for frame in frames]
    assert all(np.ptp(picture) > 60 for picture in (pictures[0], pictures[2]))
    assert (
        run("collection", "blend", small, "ball", "ball", "--frames", 2, "--format", "obj", "-o", tmp_path / "f") == 0
    )
    assert run("decode", small, "--item", "ball", "-o", tmp_path / "b.obj") == 0
    assert (tmp_path / "f" / "frame_001.obj").read_bytes() == (tmp_path / "b.obj").read_bytes()
    assert "--frames is 1" in error_of(capsys, 2, "collection", "blend", small, "ball", "disc", "--frames", 1)


def test_compare_judges(small: Path, meshes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for name in ("ball.obj", "disc.obj"):
        (some / name).write_bytes((meshes / name).read_bytes())
    compared = json_of(capsys, "compare", some, small, "--min-iou", 99.99, code=5)
    assert compared["failures"][0] == "only the collection has 'rod_07'"
    assert any("'ball': gIoU" in failure for failure in compared["failures"])
    assert [item["quality"] is None for item in compared["items"]] == [False, False, True]
    assert compared["ratio_source"] is None
    assert "give the meshes first" in error_of(capsys, 2, "compare", small, small)


def test_an_interrupted_training_goes_on(
    made: Path, meshes: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    things, kept = tmp_path / "things.fcodec", tmp_path / "things.fcodec.training"
    command = ["encode", meshes, "-o", things, *TRAINING, "--no-check", "--cache", cache]
    make_step = CollectionTraining._make_step

    def with_ctrl_c(self: CollectionTraining) -> object:
        if self.step == 30:
            signal.raise_signal(signal.SIGINT)
        return make_step(self)

    monkeypatch.setattr(CollectionTraining, "_make_step", with_ctrl_c)
    capsys.readouterr()
    assert run(*command) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert kept.exists()
    assert not things.exists()
    monkeypatch.setattr(CollectionTraining, "_make_step", make_step)
    assert "other settings" in error_of(capsys, 2, *command, "--seed", 7)
    assert run(*command) == 0
    assert "going on with the training" in capsys.readouterr().err
    assert things.read_bytes() == made.read_bytes()
    assert not kept.exists()
    kept.write_bytes(b"not a training")
    assert "delete it" in error_of(capsys, 4, *command, "--overwrite")
    assert run(*command, "--overwrite", "--restart", "--steps", 2) == 0
    assert not kept.exists()


def test_colours_are_kept_of_the_objects_that_have_some(meshes: Path, tmp_path: Path) -> None:
    _object("bare", tmp_path, (1, 1, 1), colours=False)
    files = [meshes / "ball.obj", tmp_path / "bare.obj", "-o", tmp_path / "x.fcodec"]
    assert run("encode", *files, *TRAINING, "--steps", 3, "--no-check", "--no-cache") == 0
    assert fc.open_collection(tmp_path / "x.fcodec").kinds == ("coloured", "distance")
