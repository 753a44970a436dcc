"""Scenes in NeRF's layout: where pictures are found, which numbers count, and all that can be wrong, told at once."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldcodec.errors import InputError
from fieldcodec.io.posed import focus, read_posed


def _refusal(folder: Path, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_posed(folder, **more)
    return str(caught.value)


def test_three_parts(maker: Any) -> None:
    """As NeRF's synthetic scenes are: no suffix, one angle, a file for each part."""
    for part, count in (("test", 2), ("train", 3), ("val", 1)):
        frames = [maker.frame(f"./{part}/r_{n}", maker.pose(n)) for n in range(count)]
        maker.transforms(frames, f"transforms_{part}.json", camera_angle_x=0.8)
        for n in range(count):
            maker.picture(f"{part}/r_{n}.png")
    maker.picture("train/r_0_depth.png")  # listed nowhere
    scene = read_posed(maker.folder)
    assert [view.name for view in scene.views] == [
        "train/r_0", "train/r_1", "train/r_2", "val/r_0", "test/r_0", "test/r_1",
    ]  # fmt: skip
    assert [len(scene.of(part)) for part in ("train", "val", "test")] == [3, 1, 2]
    camera = scene.views[1].camera
    assert camera.fx == camera.fy == pytest.approx(3 / np.tan(0.4))
    assert (camera.width, camera.height, camera.cx, camera.cy) == (6, 4, 3, 2)
    np.testing.assert_array_equal(camera.to_world, maker.pose(1)[:3])
    np.testing.assert_allclose(focus([view.camera for view in scene.views]), 0, atol=1e-12)
    listed = [path for path in maker.folder.rglob("*.*") if "depth" not in path.name]
    assert scene.source_bytes == sum(path.stat().st_size for path in listed)
    assert (scene.name, scene.bounds, scene.notes, scene.background) == ("scene", None, (), None)
    assert str(scene) == "scene: 3 train, 1 val, 2 test, 6 x 4 pixels"


def test_pictures_are_read_when_they_are_asked_for(maker: Any) -> None:
    path = maker.picture("a.png", value=51)
    maker.transforms([maker.frame("a.png")])
    view = read_posed(maker.folder).views[0]
    np.testing.assert_allclose(view.picture(), np.full((4, 6, 4), 0.2))
    assert view.picture(2).shape == (2, 3, 4) == (view.camera.scaled(2).height, view.camera.scaled(2).width, 4)
    maker.picture("a.png", size=(5, 5))
    with pytest.raises(InputError, match="5 x 5 pixels, its camera 6 x 4"):
        view.picture()
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        view.picture()


@pytest.mark.parametrize(
    ("stored", "listed"),
    [
        ("r_0.png", "r_0"),
        ("r_0.jpg", "r_0"),
        ("rgb/train/r_0.png", "train/r_0"),
        ("images/r.0.jpeg", "r.0"),
        ("images/a b.PNG", ".\\images\\a b"),
        ("../pictures/r_0.png", "../pictures/r_0.png"),
    ],
)
def test_places_of_pictures(maker: Any, stored: str, listed: str) -> None:
    path = maker.picture(stored, mode="RGB")
    maker.transforms([maker.frame(listed)])
    assert read_posed(maker.folder).views[0].path.resolve() == path.resolve()


def test_another_folder_of_pictures(maker: Any, tmp_path: Path) -> None:
    maker.picture("../elsewhere/r_0.png")
    maker.transforms([maker.frame("r_0")])
    assert "has no picture" in _refusal(maker.folder)
    assert len(read_posed(maker.folder, images=tmp_path / "elsewhere").views) == 1
    assert "no such folder" in _refusal(maker.folder, images=tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../../{}/a.png", "/etc/hostname", "C:/a.png", "a.png\0", "n" * 5000, "\ud800"])
def test_names_do_not_lead_out(maker: Any, tmp_path: Path, name: str) -> None:
    maker.folder = tmp_path / "scene" / "inner"
    maker.folder.mkdir()
    maker.picture(f"../../{tmp_path.name}-out/a.png")
    maker.transforms([maker.frame(name.format(f"{tmp_path.name}-out"))])
    assert "has no picture" in _refusal(maker.folder)


def test_one_file_with_numbers_of_the_lens_by_frame(maker: Any) -> None:
    maker.picture("images/a.png")
    maker.picture("images/b.png", size=(8, 4))
    frames = [
        maker.frame("images/a.png"),
        maker.frame("images/b.png", maker.pose(1), w=8, h=4, fl_x=9, fl_y=11, cx=4.5, cy=1.5),
    ]
    top = {"w": 6.0, "h": 4, "fl_x": 7, "cx": 2.5, "k1": 0, "p2": 0.0, "camera_model": "OPENCV", "aabb_scale": 16}
    scene = read_posed(maker.transforms(frames, "transforms.json", **top))
    first, second = (next(view.camera for view in scene.views if view.name == f"images/{n}.png") for n in "ab")
    assert (first.fx, first.fy, first.cx, first.cy) == (7, 7, 2.5, 2)
    assert (second.width, second.fx, second.fy, second.cx, second.cy) == (8, 9, 11, 4.5, 1.5)
    assert any("2 sizes: " in note and "8 x 4 (1)" in note for note in scene.notes)


def test_angles_in_both_directions(maker: Any) -> None:
    maker.picture("a.png")
    maker.transforms([maker.frame("a")], camera_angle_x=1.0, camera_angle_y=0.5)
    camera = read_posed(maker.folder).views[0].camera
    assert (camera.fx, camera.fy) == pytest.approx((3 / np.tan(0.5), 2 / np.tan(0.25)))


def test_every_eighth_is_held_out_where_no_split_is_stated(maker: Any) -> None:
    names = [f"p{n:02d}" for n in range(20)]
    for name in names:
        maker.picture(f"{name}.png")
    maker.transforms([maker.frame(name) for name in reversed(names)], "transforms.json")
    scene = read_posed(maker.folder)
    assert {view.name for view in scene.of("test")} == {"p00", "p08", "p16"}
    assert len(scene.of("train")) == 17
    assert any("every 8th picture" in note for note in scene.notes)


def test_lists_of_names_are_a_split(maker: Any) -> None:
    for name in "abcd":
        maker.picture(f"{name}.png")
    maker.transforms(
        [maker.frame(f"./{name}.png") for name in "abcd"], "transforms.json",
        train_filenames=["a.png", "./b.png"], test_filenames=["c.png"],
    )  # fmt: skip
    assert [(view.name, view.split) for view in read_posed(maker.folder).views] == [
        ("a.png", "train"), ("b.png", "train"), ("c.png", "test"),
    ]  # fmt: skip


def test_pictures_of_val_may_be_those_of_test(maker: Any) -> None:
    for name in "abc":
        maker.picture(f"{name}.png")
    maker.transforms([maker.frame("a")])
    maker.transforms([maker.frame("b"), maker.frame("c")], "transforms_val.json")
    maker.transforms([maker.frame("b")], "transforms_test.json")
    scene = read_posed(maker.folder)
    assert [(view.name, view.split) for view in scene.views] == [("a", "train"), ("c", "val"), ("b", "test")]
    assert any("1 pictures of val" in note for note in scene.notes)


def test_a_picture_in_train_and_test_is_refused(maker: Any) -> None:
    maker.picture("a.png")
    maker.transforms([maker.frame("a")])
    maker.transforms([maker.frame("a.png")], "transforms_test.json")
    assert "listed more than once: a.png (in train, test)" in _refusal(maker.folder)


def test_positions_that_contradict_matrices_are_told(maker: Any) -> None:
    """A script for Blender wrote the matrix of the frame before beside the right position."""
    for n in range(3):
        maker.picture(f"r_{n}.png")
    frames = [maker.frame(f"r_{n}", maker.pose(n - 1), position=maker.pose(n)[:3, 3].tolist()) for n in range(3)]
    maker.transforms(frames)
    assert any("3 of 3 frames state a position" in note for note in read_posed(maker.folder).notes)
    maker.transforms([entry | {"position": entry["transform_matrix"][k][3]} for k, entry in enumerate(frames)])
    assert read_posed(maker.folder).notes == ()  # no three numbers: something else is meant


def test_all_problems_are_told_at_once(maker: Any) -> None:
    for name in ("sound", "skewed", "large", "zero"):
        maker.picture(f"{name}.png", size=(9, 9) if name == "large" else (6, 4))
    (maker.folder / "text.png").write_text("no picture")
    skewed = maker.pose()
    skewed[0, 0] += 0.1
    frames = [maker.frame(f"missing_{n}") for n in range(5)]
    frames += [maker.frame("sound"), maker.frame("skewed", skewed), maker.frame("large", w=6, h=4)]
    frames += [maker.frame("zero", fl_x=0), maker.frame("text"), maker.frame("bent", k1=0.25), {"transform_matrix": 1}]
    maker.transforms(frames)
    message = _refusal(maker.folder)
    assert "5 views, each of which has no picture" in message
    assert "missing_0, missing_1, missing_2 and 2 more" in message
    assert "1 view has a rotation whose axes are not unit vectors at right angles: skewed" in message
    assert "another size than its camera: large (stated 6 x 4, picture 9 x 9)" in message
    assert "focal length that is not positive: zero" in message
    assert "cannot be read: text" in message
    assert "lens distortion, which is not supported (undistort the pictures first): bent (k1 = 0.25)" in message
    assert "has no file_path: transforms_train.json frame 11" in message
    assert "sound (" not in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "no pinhole camera"),
        ({"is_fisheye": True}, "no pinhole camera"),
        ({"p1": "much"}, "lens distortion"),
        ({"camera_angle_x": None}, "no focal length"),
        ({"camera_angle_x": 0}, "not finite"),
        ({"camera_angle_x": float("nan")}, "not finite"),
        ({"camera_angle_x": np.pi}, "field of view"),
        ({"camera_angle_x": 4.0}, "not positive"),
        ({"fl_x": 0.12}, "field of view"),
        ({"fl_x": "long"}, "not finite"),
        ({"fl_x": 10**400}, "not finite"),
        ({"cx": [3]}, "not finite"),
        ({"w": 6.5, "h": 4}, "another size"),
        ({"w": 1e400, "h": 4}, "another size"),
    ],
)
def test_lenses_that_are_refused(maker: Any, change: dict[str, object], message: str) -> None:
    maker.picture("a.png")
    maker.transforms([maker.frame("a")], **{"camera_angle_x": 0.8, **change})
    change_of_frame = {key: value for key, value in change.items() if value is not None}
    assert message in _refusal(maker.folder)
    if change_of_frame:
        maker.transforms([maker.frame("a", **change_of_frame)])
        assert message in _refusal(maker.folder)


@pytest.mark.parametrize(
    "matrix",
    [None, 5, "eye", [], [[1, 2], [3]], [[1] * 4] * 4, np.eye(3).tolist(), (2 * np.eye(4)).tolist(), [[{}] * 4] * 4],
)
def test_matrices_that_are_none(maker: Any, matrix: object) -> None:
    maker.picture("a.png")
    maker.transforms([maker.frame("a") | {"transform_matrix": matrix}])
    assert "has no transform_matrix of 4 x 4 numbers" in _refusal(maker.folder)


def test_matrices_without_their_last_row(maker: Any) -> None:
    maker.picture("a.png")
    maker.transforms([maker.frame("a", maker.pose()[:3])])
    assert len(read_posed(maker.folder).views) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no sound JSON"),
        ("{", "no sound JSON"),
        ("[" * 100_000, "no sound JSON"),
        ("\x80", "no sound JSON"),
        ("[]", "no list of frames"),
        ('{"frames": {}}', "no list of frames"),
        ('{"frames": []}', "lists no views"),
        ('{"frames": [3, null, [], {}]}', "4 views, each of which has no file_path"),
    ],
)
def test_files_of_another_kind(maker: Any, text: str, message: str) -> None:
    (maker.folder / "transforms.json").write_text(text, encoding="latin-1")
    assert message in _refusal(maker.folder)


def test_places_that_hold_no_scene(maker: Any, tmp_path: Path) -> None:
    assert "looked for transforms_train.json" in _refusal(maker.folder)
    assert "no such file or folder" in _refusal(tmp_path / "none")
    assert "no list of frames by its name" in _refusal(maker.picture("a.png"))


def test_a_file_may_be_named_itself(maker: Any) -> None:
    maker.picture("a.png")
    maker.transforms([maker.frame("a")], "transforms_test.json")
    own = maker.transforms([maker.frame("a")], "mine.json")
    assert read_posed(own).of("train")
    assert read_posed(maker.folder / "transforms_test.json").of("test")


@pytest.mark.skipif("FIELDCODEC_DATA" not in os.environ, reason="FIELDCODEC_DATA does not name the folder of real data")
def test_lego_is_carved_out_of_its_silhouettes() -> None:
    """A flipped axis, or a shift of the principal point by much, leaves far less of the object."""
    from fieldcodec.io.posed import project

    scene = read_posed(Path(os.environ["FIELDCODEC_DATA"]) / "posed" / "lego")
    assert (len(scene.of("train")), len(scene.of("test")), scene.background) == (100, 25, None)
    axis = (np.arange(24) + 0.5) / 12 - 1
    points = 1.3 * np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    left = {False: np.ones(len(points), bool), True: np.ones(len(points), bool)}
    for view in scene.of("train")[::8]:
        camera, alpha = view.camera.scaled(4), view.picture(4)[..., 3]
        column, row = np.rint(project(camera, points)[0]).astype(int).clip(0, 99).T
        for flipped, kept in left.items():
            kept &= (alpha[::-1] if flipped else alpha)[row, column] > 0.05
    middle = points[left[False]].mean(axis=0)
    assert left[False].sum() > 1.3 * left[True].sum()
    assert np.abs(middle[:2]).max() < 0.25  # the bulldozer stands upright in the middle
