"""Depth and normals of surfaces against a sphere that is known, and as pictures for people."""

import numpy as np
import pytest

from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.render.camera import Camera
from fieldcodec.render.layers import depth_picture, normal_picture, surface_layers

RADIUS, VOXEL, AWAY = 16.0, 0.25, 20.0


@pytest.mark.parametrize("height", [None, 12.0])
def test_depth_and_normals_of_a_sphere(height: float | None) -> None:
    ball = sphere_level_set(RADIUS, voxel_size=VOXEL)
    camera = Camera((0.0, 0.0, AWAY), (0.0, 0.0, 0.0), fov=40.0, height_world=height, width=41, height=31)
    layers = surface_layers(ball, camera, threads=1)
    assert layers.depths.shape == (31, 41)
    assert layers.depths.dtype == layers.normals.dtype == np.float32
    assert layers.depths[15, 20] == pytest.approx(AWAY - RADIUS * VOXEL, abs=0.05 * VOXEL)  # the nearest, straight on
    assert layers.normals[15, 20] == pytest.approx([0, 0, 1], abs=0.01)
    right, left = layers.normals[15, 28], layers.normals[15, 12]
    assert right[0] > 0.3 > -0.3 > left[0]
    assert layers.normals[10, 20, 1] > 0.3  # rows run downwards, y upwards
    seen = layers.depths > 0
    np.testing.assert_allclose(np.linalg.norm(layers.normals[seen], axis=1), 1, atol=1e-5)
    assert not layers.normals[~seen].any()
    assert not seen[0, 0]
    along = np.sqrt(AWAY**2 - (RADIUS * VOXEL) ** 2) if height is None else AWAY
    assert layers.depths[seen].max() <= along + VOXEL  # along the rays, where they graze


def test_layers_as_pictures() -> None:
    depths = np.array([[0.0, 2.0], [3.0, 4.0]], np.float32)
    assert depth_picture(depths).tolist() == [[0, 255], [148, 40]]
    assert not depth_picture(np.zeros((2, 2), np.float32)).any()
    assert normal_picture(np.array([[[1.0, 0.0, -1.0]]])).tolist() == [[[255, 128, 0]]]
