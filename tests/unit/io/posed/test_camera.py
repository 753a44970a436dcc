"""Cameras: pixels to rays and back, smaller pictures, impossible numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.errors import InputError, UsageError
from fieldcodec.io.posed import PosedCamera, focus, project, rays


def _pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation[:, 0] *= np.linalg.det(rotation)
    return np.concatenate([rotation, rng.normal(size=(3, 1)) * 5], axis=1)


def _camera(pose: np.ndarray | None = None, width: int = 8, height: int = 6, **more: float) -> PosedCamera:
    lens = {"fx": 10.0, "fy": 12.0, "cx": width / 2, "cy": height / 2} | more
    return PosedCamera(width, height, **lens, to_world=np.eye(4)[:3] if pose is None else pose)


def test_the_convention_is_that_of_opengl() -> None:
    """Right of the picture is +x, its upper half +y, and what the camera sees lies at negative z."""
    camera = _camera()
    origins, directions = rays(camera, np.array([[7, 2.5], [3.5, 0], [3.5, 2.5]]))
    np.testing.assert_array_equal(origins, np.zeros((3, 3)))
    np.testing.assert_allclose(directions[0], np.array([3.5 / 10, 0, -1]) / np.hypot(0.35, 1))
    np.testing.assert_allclose(directions[1], np.array([0, 2.5 / 12, -1]) / np.hypot(2.5 / 12, 1))
    np.testing.assert_allclose(directions[2], [0, 0, -1])
    np.testing.assert_allclose(camera.forward, [0, 0, -1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), distance=st.floats(0.01, 1e4))
def test_points_on_rays_are_seen_at_their_pixels(seed: int, distance: float) -> None:
    camera = _camera(_pose(seed), cx=3.1, cy=3.7)
    pixels = camera.pixels()
    origins, directions = rays(camera, pixels)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-14)
    seen, depths = project(camera, origins + distance * directions)
    np.testing.assert_allclose(seen, pixels, atol=1e-6)
    np.testing.assert_allclose(depths, distance * directions @ camera.forward, rtol=1e-6)


def test_what_is_behind_is_seen_nowhere() -> None:
    seen, depths = project(_camera(), np.array([[0, 0, 1.0], [0, 0, -1.0]]))
    assert np.isnan(seen[0]).all()
    np.testing.assert_allclose(seen[1], [3.5, 2.5])
    np.testing.assert_array_equal(depths, [-1, 1])


def test_pixels_run_row_by_row() -> None:
    np.testing.assert_array_equal(_camera(width=2, height=2).pixels(), [[0, 0], [1, 0], [0, 1], [1, 1]])


def test_a_smaller_camera_sees_the_same_through_the_middle_of_a_block() -> None:
    camera = _camera(_pose(3), width=9, height=7)  # a column and a row fill no block
    small = camera.scaled(2)
    assert (small.width, small.height) == (4, 3)
    _, directions = rays(small, small.pixels())
    _, wanted = rays(camera, 2 * small.pixels() + 0.5)
    np.testing.assert_allclose(directions, wanted, atol=1e-14)


@pytest.mark.parametrize("factor", [0, -1, 7])
def test_factors_that_leave_no_picture_are_refused(factor: int) -> None:
    with pytest.raises(UsageError, match="8 x 6 pixels cannot be made"):
        _camera().scaled(factor)


def test_the_focus_is_where_axes_meet() -> None:
    middle = np.array([3.0, -2.0, 7.0])
    cameras = []
    for seed in range(5):
        pose = _pose(seed)
        pose[:, 3] = middle + 4 * pose[:, 2]
        cameras.append(_camera(pose))
    np.testing.assert_allclose(focus(cameras), middle, atol=1e-12)


def test_parallel_cameras_have_no_focus() -> None:
    assert focus([_camera(), _camera(np.eye(4)[:3] + np.eye(3, 4, 3))]) is None
    assert focus([]) is None


def test_poses_cannot_be_changed_and_are_copies() -> None:
    pose = np.eye(4)[:3]
    camera = _camera(pose)
    pose[0, 3] = 9
    assert camera.position[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        camera.to_world[0, 3] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "picture size out of 1 to 16384"),
        ({"height": 1 << 40}, "picture size out of 1 to 16384"),
        ({"fx": 0.0}, "focal length that is not positive"),
        ({"fy": -5.0}, "focal length that is not positive"),
        ({"fx": float("nan")}, "not finite"),
        ({"cx": float("inf")}, "not finite"),
        ({"fx": 0.1}, "field of view out of"),
        ({"fy": 1e9}, "field of view out of"),
        ({"to_world": np.eye(3)}, "not 3 x 4"),
        ({"to_world": np.full((3, 4), np.nan)}, "not finite"),
        ({"to_world": np.eye(4)[:3] * 1.01}, "unit vectors at right angles"),
        ({"to_world": np.eye(4)[:3] * 1e300}, "unit vectors at right angles"),
        ({"to_world": np.zeros((3, 4))}, "unit vectors at right angles"),
        ({"to_world": np.diag([1.0, 1, -1, 1])[:3]}, "mirror image"),
    ],
)
def test_impossible_cameras_are_refused(change: dict[str, object], message: str) -> None:
    lens = {"width": 8, "height": 6, "fx": 10.0, "fy": 12.0, "cx": 4.0, "cy": 3.0, "to_world": np.eye(4)[:3]}
    PosedCamera(**lens)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        PosedCamera(**(lens | change))  # type: ignore[arg-type]
