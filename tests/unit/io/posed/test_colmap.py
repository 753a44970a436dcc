"""COLMAP's models, text and binary: poses, camera models, splits, bounds, damaged files."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldcodec.errors import InputError
from fieldcodec.io.posed import project, read_posed
from fieldcodec.io.posed.colmap import to_world

KINDS = ("bin", "txt")
IDENTITY = (1.0, 0.0, 0.0, 0.0)
PINHOLE = (1, 1, 6, 4, (9.0, 8.0, 3.0, 2.0))
numbers = st.floats(-1, 1, allow_subnormal=False)


def _refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_posed(folder)
    return str(caught.value)


def _turned(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """q v q*, by products of quaternions: another way than by a matrix."""

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        scalar = a[0] * b[0] - a[1:] @ b[1:]
        return np.concatenate([[scalar], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])])

    return product(product(rotation, np.concatenate([[0], vector])), rotation * (1, -1, -1, -1))[1:]


@settings(max_examples=100, deadline=None)
@given(
    rotation=st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: sum(x * x for x in q) > 0.01),
    translation=st.tuples(numbers, numbers, numbers),
    point=st.tuples(numbers, numbers, numbers),
)
def test_points_are_where_colmap_sees_them(rotation: Any, translation: Any, point: Any) -> None:
    """In COLMAP's camera space (x right, y down, z ahead) a point is at q p q* + t."""
    unit = np.array(rotation) / np.linalg.norm(rotation)
    wanted = _turned(unit, np.array(point)) + translation
    pose = to_world(unit, np.array(translation))
    seen = (np.array(point) - pose[:, 3]) @ pose[:, :3]
    np.testing.assert_allclose(seen, wanted * (1, -1, -1), atol=1e-12)
    np.testing.assert_allclose(pose[:, :3].T @ pose[:, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:, :3]) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_files_give_back_poses_and_lenses(maker: Any, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for name in ("a b.png", "sub/c.png"):
        rotation = rng.normal(size=4)
        rows.append((name, 7, rotation / np.linalg.norm(rotation), rng.normal(size=3)))
        maker.picture(f"images/{name}")
    maker.colmap("sparse/0", kind, [(7, 1, 6, 4, (9.0, 8.0, 3.25, 1.75))], rows)
    scene = read_posed(maker.folder)
    assert scene.bounds is None
    for name, _, rotation, translation in rows:
        camera = next(view.camera for view in scene.views if view.name == name)
        assert (camera.width, camera.height, camera.fx, camera.fy) == (6, 4, 9, 8)
        np.testing.assert_allclose(camera.to_world, to_world(rotation, translation), atol=1e-14)
        point = camera.position + 3 * camera.forward + 0.2 * camera.to_world[:, 1]
        x, y, z = _turned(rotation, point) + translation
        pixel = project(camera, point[None])[0][0] + 0.5
        np.testing.assert_allclose(pixel, [9 * x / z + 3.25, 8 * y / z + 1.75], atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("place", "pictures", "given_place"),
    [
        ("sparse/0", "images", ""),
        ("sparse", "images", ""),
        ("colmap/sparse/0", "images", ""),
        ("", "images", ""),
        ("", "", ""),
        ("sparse/0", "images", "sparse/0"),
        ("model", "images", "model"),
    ],
)
def test_places_of_models_and_pictures(maker: Any, kind: str, place: str, pictures: str, given_place: str) -> None:
    maker.colmap(place, kind, [PINHOLE], [("a.png", 1, IDENTITY, (0, 0, 3))])
    maker.picture(f"{pictures}/a.png" if pictures else "a.png")
    assert len(read_posed(maker.folder / given_place).views) == 1


def test_binary_files_win(maker: Any) -> None:
    maker.picture("images/a.png")
    maker.colmap("sparse/0", "bin", [PINHOLE], [("a.png", 1, IDENTITY, (0, 0, 3))])
    folder = maker.colmap("sparse/0", "txt", [PINHOLE], [("a.png", 1, IDENTITY, (0, 0, 5))])
    assert read_posed(maker.folder).views[0].camera.position[2] == -3
    (folder / "images.bin").unlink()
    assert read_posed(maker.folder).views[0].camera.position[2] == -5


@pytest.mark.parametrize("kind", KINDS)
def test_every_eighth_is_held_out_and_points_give_bounds(maker: Any, kind: str) -> None:
    rows = [(f"p{n:02d}.png", 1, IDENTITY, (0, 0, n)) for n in reversed(range(10))]
    for name, *_ in rows:
        maker.picture(f"images/{name}", mode="RGB")
    points = np.random.default_rng(0).uniform((-1, -2, -3), (1, 2, 3), (2000, 3))
    points[:3] = [[1e6] * 3, [np.inf] * 3, [np.nan] * 3]  # wrong matches
    maker.colmap("sparse/0", kind, [PINHOLE], rows, points)
    scene = read_posed(maker.folder)
    assert [view.name for view in scene.of("test")] == ["p00.png", "p08.png"]
    assert [view.name for view in scene.of("train")][:2] == ["p01.png", "p02.png"]
    assert any("every 8th picture" in note for note in scene.notes)
    assert scene.bounds is not None
    np.testing.assert_allclose(scene.bounds, [(-1, -2, -3), (1, 2, 3)], rtol=0.05)
    files = [path for path in maker.folder.rglob("*") if path.is_file()]
    assert scene.source_bytes == sum(path.stat().st_size for path in files)


MODELS = [
    (0, "SIMPLE_PINHOLE", (9, 3, 2), None),
    (1, "PINHOLE", (9, 8, 3, 2), None),
    (2, "SIMPLE_RADIAL", (9, 3, 2, 0), None),
    (3, "RADIAL", (9, 3, 2, 0, 0), None),
    (4, "OPENCV", (9, 8, 3, 2, 0, 0, 0, 0), None),
    (6, "FULL_OPENCV", (9, 8, 3, 2) + (0,) * 8, None),
    (2, "SIMPLE_RADIAL", (9, 3, 2, 0.1), "SIMPLE_RADIAL, k = 0.1"),
    (3, "RADIAL", (9, 3, 2, 0, -0.2), "RADIAL, k2 = -0.2"),
    (4, "OPENCV", (9, 8, 3, 2, 0, 0, 0.5, 0), "OPENCV, p1 = 0.5"),
    (6, "FULL_OPENCV", (9, 8, 3, 2) + (0,) * 7 + (0.5,), "FULL_OPENCV, k6 = 0.5"),
    (4, "OPENCV", (9, 8, 3, 2, 0, float("nan"), 0, 0), "OPENCV, k2 = nan"),
    (5, "OPENCV_FISHEYE", (9, 8, 3, 2, 0, 0, 0, 0), "no pinhole camera"),
    (7, "FOV", (9, 8, 3, 2, 0), "FOV"),
    (8, "SIMPLE_RADIAL_FISHEYE", (9, 3, 2, 0), "SIMPLE_RADIAL_FISHEYE"),
    (9, "RADIAL_FISHEYE", (9, 3, 2, 0, 0), "RADIAL_FISHEYE"),
    (10, "THIN_PRISM_FISHEYE", (9, 8, 3, 2) + (0,) * 8, "THIN_PRISM_FISHEYE"),
    (11, "RAD_TAN_THIN_PRISM_FISHEYE", (9, 8, 3, 2) + (0,) * 12, "RAD_TAN_THIN_PRISM_FISHEYE"),
    (12, "SIMPLE_DIVISION", (9, 3, 2, 0), "SIMPLE_DIVISION"),
    (13, "DIVISION", (9, 8, 3, 2, 0), "DIVISION"),
    (14, "SIMPLE_FISHEYE", (9, 3, 2), "SIMPLE_FISHEYE"),
    (15, "FISHEYE", (9, 8, 3, 2), "FISHEYE"),
    (16, "EUCM", (9, 8, 3, 2, 0.5, 1), "EUCM"),
    (17, "EQUIRECTANGULAR", (6, 4), "EQUIRECTANGULAR"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("model", "name", "values", "refused"), MODELS)
def test_camera_models(maker: Any, kind: str, model: int, name: str, values: Any, refused: str | None) -> None:
    maker.picture("images/a.png")
    rows = [("a.png", 5, IDENTITY, (0, 0, 3))]
    maker.colmap("sparse/0", kind, [(5, model, 6, 4, values)], rows, model_name=name)
    if refused is not None:
        assert refused in _refusal(maker.folder)
        return
    camera = read_posed(maker.folder).views[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (9, 8 if 8 in values else 9, 3, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("camera", "rows", "message"),
    [
        (PINHOLE, [("a.png", 2, IDENTITY, (0, 0, 3))], "a camera that the model does not hold: a.png (camera 2)"),
        (PINHOLE, [("a.png", 1, (0, 0, 0, 0), (0, 0, 3))], "unit vectors at right angles"),
        (PINHOLE, [("a.png", 1, (1, 1, 0, 0), (0, 0, 3))], "unit vectors at right angles"),
        (PINHOLE, [("a.png", 1, (1e200, 0, 0, 0), (0, 0, 3))], "not finite"),
        (PINHOLE, [("a.png", 1, IDENTITY, (0, 0, float("nan")))], "not finite"),
        (PINHOLE, [("b.png", 1, IDENTITY, (0, 0, 3))], "has no picture"),
        (PINHOLE, [("../../../a.png", 1, IDENTITY, (0, 0, 3))], "has no picture"),
        (PINHOLE, [("a.png", 1, IDENTITY, (0, 0, n)) for n in range(2)], "listed more than once"),
        (PINHOLE, [], "lists no views"),
        ((1, 1, 7, 4, (9, 8, 3, 2)), [("a.png", 1, IDENTITY, (0, 0, 3))], "stated 7 x 4, picture 6 x 4"),
        ((1, 1, 6, 4, (0, 8, 3, 2)), [("a.png", 1, IDENTITY, (0, 0, 3))], "not positive"),
    ],
)
def test_views_that_are_refused(maker: Any, kind: str, camera: Any, rows: Any, message: str) -> None:
    maker.picture("images/a.png")
    maker.colmap("sparse/0", kind, [camera], rows)
    assert message in _refusal(maker.folder)


@pytest.mark.parametrize("kind", KINDS)
def test_two_cameras_of_one_number(maker: Any, kind: str) -> None:
    maker.colmap("sparse/0", kind, [PINHOLE, PINHOLE], [])
    assert "two cameras of number 1" in _refusal(maker.folder)


def test_slightly_long_quaternions_are_taken_as_unit_ones() -> None:
    pose = to_world(np.array([1.0005, 0, 0, 0]), np.zeros(3))
    np.testing.assert_array_equal(pose[:, :3], np.diag([1, -1, -1]))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("cameras", "1 PINHOLE 6 4 9 8 3", "line 1: not a camera as COLMAP writes it: PINHOLE has 4 numbers"),
        ("cameras", "1 PINHOLE 6", "line 1: not a camera"),
        ("cameras", "\n1 BOX 6 4 9", "line 2: not a camera as COLMAP writes it: the model 'BOX' is not known"),
        ("cameras", f"1 PINHOLE {'9' * 400} 4 9 8 3 2", "picture side of 9999"),
        ("cameras", "1 PINHOLE -6 4 9 8 3 2", "picture side of -6"),
        ("images", "1 1 0 0 0 0 0 3 1", "line 1: not an image"),
        ("images", "1 1 0 0 zero 0 0 3 1 a.png", "line 1: not an image"),
        ("points3D", "1 0.5 0.5", "line 1: not a point"),
        ("points3D", "1 a b c", "line 1: not a point"),
    ],
)
def test_text_that_is_not_understood(maker: Any, file: str, text: str, message: str) -> None:
    maker.picture("images/a.png")
    folder = maker.colmap("sparse/0", "txt", [PINHOLE], [("a.png", 1, IDENTITY, (0, 0, 3))], np.zeros((1, 3)))
    (folder / f"{file}.txt").write_text(text)
    assert message in _refusal(maker.folder)


@pytest.mark.parametrize("file", ["cameras", "images", "points3D"])
def test_cut_binary_files(maker: Any, file: str) -> None:
    """Cut anywhere, the file is refused with the byte at which it ends too early."""
    for name in "ab":
        maker.picture(f"images/{name}.png")
    rows = [(f"{name}.png", 1, IDENTITY, (0, 0, 3)) for name in "ab"]
    path = maker.colmap("sparse/0", "bin", [PINHOLE], rows, np.ones((3, 3))) / f"{file}.bin"
    raw = path.read_bytes()
    for length in {*range(0, len(raw), 4), len(raw) - 1}:
        path.write_bytes(raw[:length])
        message = _refusal(maker.folder)
        assert str(path) in message
        assert "at byte" in message
    path.write_bytes(raw)
    assert len(read_posed(maker.folder).views) == 2


@pytest.mark.parametrize("file", ["cameras", "images", "points3D"])
def test_absurd_counts_allocate_nothing(maker: Any, file: str) -> None:
    maker.picture("images/a.png")
    folder = maker.colmap("sparse/0", "bin", [PINHOLE], [("a.png", 1, IDENTITY, (0, 0, 3))], np.ones((3, 3)))
    raw = (folder / f"{file}.bin").read_bytes()
    for count in (4, 1 << 32, (1 << 64) - 1):
        (folder / f"{file}.bin").write_bytes(struct.pack("<Q", count) + raw[8:])
        assert f"{file}.bin" in _refusal(maker.folder)


def test_damaged_binary_files_give_input_errors_only(maker: Any) -> None:
    maker.picture("images/a.png")
    folder = maker.colmap("sparse/0", "bin", [PINHOLE], [("a.png", 1, IDENTITY, (0, 0, 3))], np.ones((3, 3)))
    refused = 0
    for file in ("cameras", "images", "points3D"):
        path = folder / f"{file}.bin"
        raw = path.read_bytes()
        for place in range(0, len(raw), 2):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :])
            try:
                read_posed(maker.folder)
            except InputError:
                refused += 1
        path.write_bytes(raw)
    assert refused > 30


def test_names_without_an_end(maker: Any) -> None:
    folder = maker.colmap("sparse/0", "bin", [PINHOLE], [("a" * 5000, 1, IDENTITY, (0, 0, 3))])
    assert "does not end within 4096 bytes" in _refusal(maker.folder)
    maker.colmap("sparse/0", "bin", [PINHOLE], [("", 1, IDENTITY, (0, 0, 3))])
    assert "no name" in _refusal(folder)
