"""Level sets, meshes and points of objects."""

import numpy as np
import pytest

from fieldcodec.collection.item import ItemField
from fieldcodec.collection.surface import level_set_of_item, mesh_of_item, points_of_item
from fieldcodec.errors import UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.testing.spheres import PLACEMENT, RADIUS, Fitted, sphere_colours


def off_sphere(world: np.ndarray) -> np.ndarray:
    """[n] signed distances from the sphere, in units of the cube."""
    return np.asarray(np.linalg.norm(PLACEMENT.to_model(world), axis=1) - RADIUS)


@pytest.mark.parametrize("resolution", [32, 50, 128])
def test_level_sets_hold_the_field_and_close_it_off(fitted: Fitted, resolution: int) -> None:
    grid = level_set_of_item(fitted.item, resolution)
    voxel = 2 / resolution * PLACEMENT.scale
    assert grid.is_level_set
    assert grid.background[0] == np.float32(3 * voxel)
    np.testing.assert_allclose(grid.transform.voxel_size, voxel)
    voxels = grid.topology.active_voxels()
    rows = np.random.default_rng(0).integers(0, len(voxels), 2000)
    world = grid.transform.to_world(voxels[rows])
    np.testing.assert_allclose(grid.active_values()[rows, 0], fitted.item.distance(world), atol=1e-4)
    probes = PLACEMENT.to_world(np.array([[0, 0, 0], [0.05, 0, 0], [0.9, 0.9, 0.9], [-0.99, 0, 0], [5, 5, 5]]))
    values = grid.sample(probes, interpolation="nearest")[:, 0]
    np.testing.assert_array_equal(values, np.array([-1, -1, 1, 1, 1]) * grid.background[0])


def test_no_voxel_of_the_band_is_missed(fitted: Fitted) -> None:
    """Against the field at every voxel of the cube."""
    resolution = 64
    grid = level_set_of_item(fitted.item, resolution)
    cube = np.stack(np.meshgrid(*[np.arange(resolution)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    values = fitted.item.distance(grid.transform.to_world(cube))
    expected = cube[np.abs(values) < grid.background[0] * (1 - 1e-6)]
    found = {tuple(voxel) for voxel in grid.topology.active_voxels().tolist()}
    assert len(found ^ {tuple(voxel) for voxel in expected.tolist()}) <= 1e-3 * len(expected)


def test_the_mesh_is_closed_coloured_and_faces_outwards(fitted: Fitted) -> None:
    surface = mesh_of_item(fitted.item, 64)
    edges = np.sort(surface.mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    assert np.abs(off_sphere(surface.mesh.vertices)).mean() < 0.02
    model = PLACEMENT.to_model(surface.mesh.vertices)
    towards = model / np.linalg.norm(model, axis=1, keepdims=True)
    assert (surface.normals * towards).sum(axis=1).mean() > 0.95
    assert surface.colours is not None
    assert np.abs(surface.colours / 255 - sphere_colours(model)).mean() < 0.08


@pytest.mark.parametrize("subdivisions", [0, 1, 2])
def test_points_lie_on_the_surface_and_get_denser(fitted: Fitted, subdivisions: int) -> None:
    cloud = points_of_item(fitted.item, subdivisions)
    assert np.abs(off_sphere(cloud.points)).mean() < 0.02
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)
    model = PLACEMENT.to_model(cloud.points)
    assert ((cloud.normals * model).sum(axis=1) / RADIUS).mean() > 0.95
    assert cloud.colours is not None
    assert np.abs(cloud.colours / 255 - sphere_colours(model)).mean() < 0.08
    edge = 2 / 2 ** (4 + subdivisions)
    area = 4 * np.pi * RADIUS**2
    assert area / edge**2 < len(cloud.points) < 6 * area / edge**2


def test_nothing_has_no_surface(fitted: Fitted) -> None:
    none = np.zeros((0, 8), bool)
    octree = Octree(1, (np.zeros((1, 8), bool), none, none, none))
    empty = ItemField(fitted.network, octree, [values[:0] for values in fitted.item.latents])
    assert len(mesh_of_item(empty).mesh.triangles) == 0
    assert len(points_of_item(empty).points) == 0


def test_what_is_refused(fitted: Fitted) -> None:
    with pytest.raises(UsageError, match="resolution is 7"):
        level_set_of_item(fitted.item, 7)
    with pytest.raises(UsageError, match="subdivisions is 5"):
        points_of_item(fitted.item, 5)
