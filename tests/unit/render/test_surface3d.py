"""Surfaces of level sets by sphere tracing, against spheres that are known."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.transform import GridTransform
from fieldcodec.render.camera import Camera
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.painters import trace_hits
from fieldcodec.render.picture import default_camera, render, resolved

RADIUS, VOXEL = 22.0, 0.25
BARE = RenderOptions(look=Look.SURFACE, shadows=False, sky_rays=0, threads=1)


@pytest.fixture(scope="module")
def ball():
    return sphere_level_set(RADIUS, voxel_size=VOXEL)


def hits(grid, camera, options=BARE):
    return trace_hits(grid, camera, options, lambda share: None)


def rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    table = camera.ray_table()
    x, y = np.meshgrid(
        (np.arange(camera.width) + 0.5) * 2 / camera.width - 1, (np.arange(camera.height) + 0.5) * 2 / camera.height - 1
    )
    ways = table[3] + x[..., None] * table[4] + y[..., None] * table[5]
    return table[0] + x[..., None] * table[1] + y[..., None] * table[2], ways / np.linalg.norm(ways, axis=-1)[..., None]


@pytest.mark.parametrize("height", [None, 14.0])
def test_silhouette_distances_and_normals_of_a_sphere(ball, height):
    camera = Camera((9.0, 7.0, 20.0), (0.0, 0.0, 0.0), fov=40.0, height_world=height, width=90, height=80)
    found = hits(ball, camera)
    seen = np.isfinite(found[..., 0])
    radius, away = RADIUS * VOXEL, np.linalg.norm(camera.position)
    edge = radius if height else np.tan(np.arcsin(radius / away)) * away
    pixel = (height or 2 * away * np.tan(np.radians(20))) / 80
    assert np.sqrt(seen.sum() / np.pi) * pixel == pytest.approx(edge, rel=0.01)
    origins, ways = rays(camera)
    points = origins[seen] + ways[seen] * found[seen][:, :1]
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), radius, atol=0.03 * VOXEL)
    assert ((points / radius) * found[seen][:, 1:4]).sum(axis=1).min() > 0.999
    assert (found[seen][:, 4:] == 1).all()


def test_perspective_makes_near_things_larger(ball):
    far, near = (Camera((0.0, 0.0, away), (0.0, 0.0, 0.0), width=60, height=60) for away in (40.0, 20.0))
    assert np.isfinite(hits(ball, near)[..., 0]).sum() > 3 * np.isfinite(hits(ball, far)[..., 0]).sum()
    far, near = (replace(camera, height_world=14.0) for camera in (far, near))
    assert np.array_equal(np.isfinite(hits(ball, near)), np.isfinite(hits(ball, far)))


def test_any_linear_transform(ball):
    """Stored distances are those of a ball; stretched, mirrored and moved it is an ellipsoid."""
    scale = np.array([-0.5, 0.25, 1.0])
    matrix = np.diag([*scale, 1.0])
    matrix[3, :3] = (100.0, 50.0, -30.0)
    grid = replace(ball, transform=GridTransform.of_matrix(matrix))
    camera = default_camera((grid,), BARE, width=70, height=70)
    found = hits(grid, camera)
    seen = np.isfinite(found[..., 0])
    origins, ways = rays(camera)
    points = origins[seen] + ways[seen] * found[seen][:, :1] - matrix[3, :3]
    np.testing.assert_allclose(np.linalg.norm(points / scale, axis=1), RADIUS, atol=0.05)
    normals = points / scale**2
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    assert (normals * found[seen][:, 1:4]).sum(axis=1).min() > 0.99


def test_a_camera_inside_sees_the_wall_and_one_along_an_axis_meets_no_gap(ball):
    inside = hits(ball, Camera((0.0, 0.0, 0.0), (0.0, 0.0, -1.0), fov=90.0, width=33, height=33))
    np.testing.assert_allclose(inside[..., 0], RADIUS * VOXEL, atol=0.03 * VOXEL)
    assert inside[16, 16, 3] > 0.99  # turned towards the camera
    # Rays along the edges of blocks.
    straight = Camera((0.0, 0.0, 40.0), (0.0, 0.0, 0.0), height_world=24 * VOXEL, width=3, height=3)
    for camera in (straight, replace(straight, position=(0.0, 0.0, -40.0))):
        assert np.isfinite(hits(ball, camera)[..., 0]).all()


def test_shadows_and_sky(ball):
    """Two balls in a row towards the lamp: the lower one is in the shadow, and sees less of the sky in between."""
    axis = np.arange(-14, 15)
    grids = np.stack(np.meshgrid(axis, np.arange(-14, 37), axis, indexing="ij"), -1)
    distance = np.minimum(np.linalg.norm(grids, axis=-1), np.linalg.norm(grids - (0, 22, 0), axis=-1)) - 10.0
    values = np.clip(distance, -3, 3)[..., None]
    grid = grid_of_dense(
        "balls", values, np.abs(distance) < 3, origin=(-14, -14, -14), background=3.0, inactive_values=values,
        grid_class="level set",
    )  # fmt: skip
    camera = Camera((0.0, 11.0, 200.0), (0.0, 11.0, 0.0), height_world=60.0, width=60, height=60)
    options = replace(BARE, shadows=True, sky_rays=32, light_direction=(0.0, 1.0, 0.0))
    found = hits(grid, camera, options)
    assert found[32, 30, 4] == 0  # top of the lower ball
    assert found[10, 30, 4] == 1
    assert found[32, 30, 5] < found[10, 30, 5]


def test_level_sets_are_drawn_as_surfaces_and_the_same_on_any_number_of_threads(ball):
    assert resolved(RenderOptions(), ball).look is Look.SURFACE
    camera = Camera((9.0, 7.0, 20.0), (0.0, 0.0, 0.0), width=70, height=50)
    one, two = (render(ball, camera, RenderOptions(threads=threads, supersampling=2)) for threads in (1, 2))
    assert one.shape == (50, 70, 3)
    assert np.array_equal(one, two)


def test_vectors_have_no_surface():
    values = np.ones((8, 8, 8, 3), np.float32)
    grid = grid_of_dense("v", values, np.ones((8,) * 3, bool), value_type="vec3s", background=(0.0,) * 3)
    with pytest.raises(UnsupportedGridError, match="no surface"):
        render(grid, None, RenderOptions(look=Look.SURFACE))


def test_colours_are_asked_for_at_the_points_that_rays_meet(ball):
    """Red where x is positive, blue elsewhere; and every point that is asked for is on the sphere."""
    asked = []

    def colours(points: np.ndarray) -> np.ndarray:
        asked.append(points)
        return np.where(points[:, :1] > 0, [[1.0, 0, 0]], [[0, 0, 1.0]])

    for height in (None, 14.0):
        camera = Camera((0.0, 0.0, 30.0), (0.0, 0.0, 0.0), height_world=height, width=48, height=40)
        options = replace(BARE, colours=colours, supersampling=2, background=None)
        picture = render(ball, camera, options).astype(int)
        np.testing.assert_allclose(np.linalg.norm(asked.pop(), axis=1), RADIUS * VOXEL, atol=0.03 * VOXEL)
        more_red = np.where(picture[..., 3] == 255, picture[..., 0] - picture[..., 2], 0)
        assert (more_red[:, :23] <= 0).all()
        assert (more_red[:, 25:] >= 0).all()
        assert more_red[20, 30] > 100
        assert more_red[20, 18] < -100
    assert not np.array_equal(render(ball, camera, replace(options, colours=None)), picture)
