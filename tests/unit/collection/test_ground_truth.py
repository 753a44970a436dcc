"""Samples of the surface and of distances, from meshes and level sets."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.collection.asset import Asset
from fieldcodec.collection.ground_truth import EXTENT, VOLUME_POINTS, asset_of_mesh, placement_of
from fieldcodec.collection.level_set_asset import asset_of_level_set
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import InputError, UnsupportedGridError
from fieldcodec.grid.octree import cell_edge
from fieldcodec.grid.procedural import smoke_fog, sphere_level_set
from fieldcodec.io.mesh.read import Mesh

SETTINGS = CollectionSettings(lods=4, surface_points=4000, seed=3)
CENTRE, RADIUS = np.array([10.0, -4.0, 2.5]), 3.0


def ball(subdivisions: int = 4) -> Mesh:
    """An octahedron refined into a ball, of nearly even triangles."""
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    triangles = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
    soup = corners[triangles]
    for _ in range(subdivisions):
        a, b, c = np.moveaxis(soup, 1, 0)
        ab, bc, ca = a + b, b + c, c + a
        soup = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        soup /= np.linalg.norm(soup, axis=2, keepdims=True)
    return Mesh.of(soup.reshape(-1, 3) * RADIUS + CENTRE, np.arange(3 * len(soup)).reshape(-1, 3))


@pytest.fixture(scope="module")
def asset() -> Asset:
    return asset_of_mesh(ball(), "ball", SETTINGS, source_bytes=77)


def test_the_placement_leads_back_to_the_world(asset: Asset) -> None:
    np.testing.assert_allclose(asset.placement.centre, CENTRE, atol=1e-9)
    assert asset.placement.scale == pytest.approx(RADIUS / EXTENT)
    world = asset.placement.to_world(asset.surface.points)
    np.testing.assert_allclose(np.linalg.norm(world - CENTRE, axis=1), RADIUS, atol=0.02)
    assert (asset.name, asset.source_bytes, asset.has_colours) == ("ball", 77, False)


def test_the_mean_of_the_vertices_is_the_middle_and_the_farthest_coordinate_the_extent() -> None:
    mesh = Mesh(np.array([[0.0, 0, 0], [4, 0, 0], [0, 2, 0], [0, 0, 2]]), np.array([[0, 1, 2], [0, 2, 3]]))
    placement = placement_of(mesh)
    assert placement.centre == (1.0, 0.5, 0.5)
    assert np.abs(placement.to_model(mesh.vertices)).max() == pytest.approx(EXTENT)
    with pytest.raises(InputError, match="at one point"):
        placement_of(Mesh(np.ones((3, 3)), np.array([[0, 1, 2]])))


def test_surface_samples_are_even_and_have_unit_normals(asset: Asset) -> None:
    points, normals = asset.surface.points, asset.surface.normals
    assert points.shape == normals.shape == (SETTINGS.surface_points, 3)
    assert points.dtype == normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (np.einsum("ij,ij->i", points, normals) > 0.85).all()
    octants = np.bincount((points > 0) @ [4, 2, 1], minlength=8)
    np.testing.assert_allclose(octants, SETTINGS.surface_points / 8, atol=100)
    heights = np.histogram(points[:, 2], 6, (-EXTENT, EXTENT))[0]  # Archimedes: even along an axis
    np.testing.assert_allclose(heights, SETTINGS.surface_points / 6, atol=110)


def test_near_samples_are_a_coarse_and_a_fine_one_of_each_point(asset: Asset) -> None:
    count = SETTINGS.surface_points
    assert asset.near.points.shape == (2 * count, 3)
    for part, level in ((slice(count), SETTINGS.lods - 1), (slice(count, None), SETTINGS.lods + 2)):
        moved = np.abs(asset.near.points[part] - asset.surface.points)
        inner = np.abs(asset.near.points[part]).max(axis=1) < 1  # the others are moved back into the cube
        assert cell_edge(level) * 0.98 < moved[inner].max() <= cell_edge(level) * (1 + 1e-5)
    assert np.abs(asset.near.points).max() <= 1


def test_distances_are_those_of_a_ball(asset: Asset) -> None:
    for samples in (asset.near, asset.volume):
        assert samples.distances.dtype == samples.points.dtype == np.float32
        expected = np.linalg.norm(samples.points, axis=1) - EXTENT
        np.testing.assert_allclose(samples.distances, expected, atol=0.004)  # it is a polyhedron


def test_volume_samples_fill_the_enlarged_box(asset: Asset) -> None:
    points = asset.volume.points
    assert points.shape == (VOLUME_POINTS, 3)
    np.testing.assert_allclose(points.min(axis=0), -1, atol=1e-3)  # 0.9 + 0.18, but not beyond the cube
    np.testing.assert_allclose(points.max(axis=0), 1, atol=1e-3)
    share = np.mean(asset.volume.distances < 0)
    assert share == pytest.approx(4 / 3 * np.pi * EXTENT**3 / 8, abs=0.01)
    flat = Mesh(ball().vertices * [1, 1, 0.1], ball().triangles)
    box = asset_of_mesh(flat, "flat", SETTINGS).volume.points
    assert np.abs(box[:, 2]).max() == pytest.approx(0.09 + 0.18, abs=1e-3)


def test_a_seed_gives_the_same_samples_again(asset: Asset) -> None:
    again = asset_of_mesh(ball(), "ball", SETTINGS)
    other = asset_of_mesh(ball(), "ball", replace(SETTINGS, seed=4))
    np.testing.assert_array_equal(again.near.distances, asset.near.distances)
    np.testing.assert_array_equal(again.surface.points, asset.surface.points)
    assert not np.array_equal(other.surface.points, asset.surface.points)


def test_a_level_set_gives_the_same_as_its_surface() -> None:
    grid = sphere_level_set(20.0, voxel_size=0.25)
    asset = asset_of_level_set(grid, "sphere", SETTINGS, source_bytes=5)
    world = asset.placement.to_world(asset.surface.points)
    np.testing.assert_allclose(np.linalg.norm(world, axis=1), 5.0, atol=0.02)
    expected = np.linalg.norm(asset.near.points, axis=1) - EXTENT
    np.testing.assert_allclose(asset.near.distances, expected, atol=0.01)
    inside = asset.volume.distances < 0
    assert np.mean(inside == (np.linalg.norm(asset.volume.points, axis=1) < EXTENT)) > 0.995
    assert (np.einsum("ij,ij->i", asset.surface.points, asset.surface.normals) > 0.8).all()


def test_fog_is_refused() -> None:
    with pytest.raises(UnsupportedGridError, match="is no level set"):
        asset_of_level_set(smoke_fog(32), "smoke", SETTINGS)
