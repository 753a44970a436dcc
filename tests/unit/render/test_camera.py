"""Cameras: what they show, where they stand, what they refuse."""

import numpy as np
import pytest

from fieldcodec.errors import UsageError
from fieldcodec.render.camera import Camera, turntable

LOW, HIGH = np.array([-3.0, 10.0, 2.0]), np.array([5.0, 11.0, 30.0])
CORNERS = np.array([[x, y, z] for x in (-3, 5) for y in (10, 11) for z in (2, 30)], float)


def places(camera: Camera, points: np.ndarray) -> np.ndarray:
    """[n, 2]: where points appear, -1 to 1 (right, down)."""
    table = camera.ray_table()
    offset = points - table[0]
    if camera.height_world is not None:
        return np.stack([offset @ row / (row @ row) for row in table[1:3]], axis=-1)
    depth = offset @ table[3] / (table[3] @ table[3])
    assert (depth > 0).all()
    return np.stack([offset @ row / (row @ row) / depth for row in table[4:6]], axis=-1)


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("direction", [(-0.5, -0.4, -1.0), (0.0, -1.0, 0.0), (0.0, 3.0, 0.0), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("size", [(300, 200), (100, 400)])
def test_framing_shows_the_whole_box_and_fills_the_picture(orthographic, direction, size):
    camera = Camera.framing((LOW, HIGH), direction, orthographic=orthographic, width=size[0], height=size[1])
    reach = np.abs(places(camera, CORNERS)).max()
    assert 0.8 < reach < 1
    right, above, forward = camera.axes
    np.testing.assert_allclose(forward, np.array(direction) / np.linalg.norm(direction), atol=1e-12)
    np.testing.assert_allclose(
        np.stack([right, above, forward]) @ np.stack([right, above, forward]).T, np.eye(3), atol=1e-12
    )
    if direction[1] == 0:
        np.testing.assert_allclose(above, (0, 1, 0), atol=1e-12)


def test_a_point_can_be_framed():
    camera = Camera.framing((np.ones(3), np.ones(3)))
    assert np.linalg.norm(np.subtract(camera.position, 1)) > 0


def test_the_middle_of_a_picture_can_be_chosen_and_enlarged():
    for camera in (
        Camera((3.0, 4.0, 5.0), (1.0, 1.0, 1.0)),
        Camera((3.0, 4.0, 5.0), (1.0, 1.0, 1.0), height_world=8.0),
    ):
        moved = camera.looking_at((2.0, 2.0, 2.0))
        assert moved.position == (4.0, 5.0, 6.0)
        np.testing.assert_allclose(moved.axes, camera.axes)
        wide, near = camera.ray_table(), camera.zoomed(4.0).ray_table()
        np.testing.assert_allclose(near[[0, 3]], wide[[0, 3]])
        np.testing.assert_allclose(near[[1, 2, 4, 5]], wide[[1, 2, 4, 5]] / 4)
        for factor in (0.0, -1.0, np.inf, np.nan):
            with pytest.raises(UsageError, match="as large"):
                camera.zoomed(factor)


def test_turntable_keeps_distance_and_height():
    camera = Camera((3.0, 4.0, 5.0), (1.0, 1.0, 1.0), up=(0.0, 2.0, 0.0))
    cameras = turntable(camera, 8)
    assert cameras[0] == camera
    arms = np.array([np.subtract(c.position, c.look_at) for c in cameras])
    np.testing.assert_allclose(np.linalg.norm(arms, axis=1), np.linalg.norm(arms[0]))
    np.testing.assert_allclose(arms[:, 1], arms[0, 1])
    np.testing.assert_allclose(arms[4, [0, 2]], -arms[0, [0, 2]])
    with pytest.raises(UsageError, match="frames"):
        turntable(camera, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"position": (0.0, 0.0, 0.0)}, "same point"),
        ({"position": (np.nan, 0.0, 0.0)}, "finite"),
        ({"fov": 0.0}, "field of view"),
        ({"fov": 180.0}, "field of view"),
        ({"height_world": -1.0}, "orthographic"),
        ({"width": 0}, "pixels"),
        ({"height": 20000}, "pixels"),
    ],
)
def test_impossible_cameras_are_refused(change, words):
    with pytest.raises(UsageError, match=words):
        Camera(**{"position": (0.0, 0.0, 9.0), "look_at": (0.0, 0.0, 0.0), **change})


def test_a_direction_is_needed():
    with pytest.raises(UsageError, match="direction"):
        Camera.framing((LOW, HIGH), (0.0, 0.0, 0.0))
