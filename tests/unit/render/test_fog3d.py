"""Fog by ray marching against what can be computed by hand: chords, tiles, light, the transfer function."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.render import ray_kernels
from fieldcodec.render.camera import Camera
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.painters import paint_fog, paint_maximum, paint_slice, transfer_table
from fieldcodec.render.picture import render, resolved
from fieldcodec.render.ray_tree import Meaning, ray_tree

PLAIN = RenderOptions(look=Look.FOG, density=0.05, value_range=(0.0, 1.0), shadow_cells=0, step=0.25, threads=1)


def depths(grid: SparseGrid, camera: Camera, options: RenderOptions = PLAIN) -> np.ndarray:
    """[H, W]: optical depths of a picture's rays."""
    _, opacity = paint_fog(grid, camera, options, lambda share: None)
    return -np.log1p(-opacity)


def along_z(x: float = 0.0, y: float = 0.0, *, tall: float = 40.0, pixels: int = 16) -> Camera:
    """Orthographic, looks against z."""
    return Camera((x, y, 1000.0), (x, y, 0.0), height_world=tall, width=pixels, height=pixels)


def box_fog(shape=(20, 11, 30), origin=(-7, 3, -40), value=1.0, **kwargs) -> SparseGrid:
    values = np.full(shape, value, np.float32)
    return grid_of_dense("density", values, np.ones(shape, bool), origin=origin, grid_class="fog volume", **kwargs)


def test_a_sphere_absorbs_by_the_length_of_its_chords():
    radius, voxel, centre = 30.0, 0.5, 2.0
    axis = np.arange(-36, 37)
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= radius**2
    grid = grid_of_dense(
        "density", inside.astype(np.float32), inside, origin=(-36, -36, -36), grid_class="fog volume",
        transform=GridTransform.uniform(voxel, (centre, 0.0, 0.0)),
    )  # fmt: skip
    camera = along_z(centre, tall=40.0, pixels=40)
    place = np.arange(40) - 19.5
    distance = np.hypot(place[:, None], place)  # world units, as a pixel is one
    chord = 2 * np.sqrt(np.maximum((radius * voxel) ** 2 - distance**2, 0))
    found = depths(grid, camera) / PLAIN.density
    core = distance < 13
    assert np.abs(found - chord)[core].max() < 1.3  # voxels stand for the ball to about one of them on each side
    assert np.abs(np.mean((found - chord)[core])) < 0.1
    assert (found[distance > 16] == 0).all()


def test_a_box_absorbs_by_its_thickness_in_any_transform():
    turned = GridTransform.of_matrix(np.array([[0, 2, 0, 0], [0, 0, 0.5, 0], [1, 0, 0, 0], [3, 4, 5, 1.0]]))
    for transform, thickness, place in (
        (GridTransform.uniform(1.0), 30.0, (2.0, 8.0)),
        (turned, 11 * 0.5, (-20.0, 9.0)),
    ):
        grid = box_fog(transform=transform)
        camera = along_z(*place, tall=4.0, pixels=8)
        np.testing.assert_allclose(depths(grid, camera), PLAIN.density * thickness, rtol=0.02)


def test_empty_space_is_passed_over_without_loss():
    """Random leaves, tiles of 8^3 and 128^3 beside nothing: as the sum of samples along each ray."""
    rng = np.random.default_rng(3)
    values = rng.random((40, 40, 40), dtype=np.float32)
    active = (rng.random((5, 5, 5)) < 0.3).repeat(8, 0).repeat(8, 1).repeat(8, 2)
    grid = with_tiles(grid_of_dense("density", values, active, origin=(104, -16, -24), grid_class="fog volume"))
    camera = Camera((200.0, 90.0, 300.0), (130.0, 4.0, 0.0), fov=10.0, width=12, height=12)
    tree = ray_tree(grid, Meaning.DENSITY)
    table = camera.ray_table()
    x, y = np.meshgrid((np.arange(12) + 0.5) / 6 - 1, (np.arange(12) + 0.5) / 6 - 1)
    ways = table[3] + x[..., None] * table[4] + y[..., None] * table[5]
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    t = np.arange(0, 700, 0.05)
    points = table[0] + ways[:, :, None] * t[:, None]
    samples = np.empty(points.size // 3)
    ray_kernels.sample_points(samples, tree.tables, points.reshape(-1, 3), False)
    expected = samples.reshape(12, 12, -1).sum(axis=-1) * 0.05 * 0.004
    found = depths(grid, camera, replace(PLAIN, density=0.004))
    assert (expected > 0.05).sum() > 40
    np.testing.assert_allclose(found, expected, atol=0.006, rtol=0.02)


def with_tiles(grid: SparseGrid) -> SparseGrid:
    """With active tiles: two of 8^3 voxels in each lower node, one of 128^3 beside the first of them."""
    topology = grid.topology
    lower_active, upper_active = topology.lower_active.copy(), topology.upper_active.copy()
    child = masks.unpack(topology.lower_child)
    bits = masks.unpack(lower_active)
    for row, slots in enumerate(child):
        bits[row, np.flatnonzero(~slots)[[5, 2000]]] = True
    upper_bits = masks.unpack(upper_active)
    upper_bits[0, np.flatnonzero(masks.unpack(topology.upper_child)[0])[0] - 1] = True
    changed = replace(topology, lower_active=masks.pack(bits), upper_active=masks.pack(upper_bits))
    tiles, uppers = grid.lower_tile_values.copy(), grid.upper_tile_values.copy()
    tiles[bits[~child]], uppers[upper_bits[~masks.unpack(topology.upper_child)]] = 0.7, 0.3
    return replace(grid, topology=changed, lower_tile_values=tiles, upper_tile_values=uppers)


def test_tiles_of_the_root_count_with_all_their_voxels():
    empty = np.zeros((0, 512), np.uint8)
    topology = Topology(
        np.array([[-4096, 0, 0], [4096, 0, 0]], np.int32), np.array([True, False]), np.zeros((0, 3), np.int32),
        np.zeros((0, 4096), np.uint8), np.zeros((0, 4096), np.uint8), empty, empty, np.zeros((0, 64), np.uint8),
    )  # fmt: skip
    source = box_fog()
    grid = replace(
        source, topology=topology, leaf_values=np.zeros((0, 512, 1), np.float32),
        lower_tile_values=np.zeros((0, 1), np.float32), upper_tile_values=np.zeros((0, 1), np.float32),
        root_tile_values=np.array([[0.5], [9.0]], np.float32),
    )  # fmt: skip
    camera = Camera((-2000.0, 2000.0, 9000.0), (-2000.0, 2000.0, 0.0), height_world=50.0, width=4, height=4)
    found = depths(grid, camera, replace(PLAIN, density=1e-3, step=4.0))
    np.testing.assert_allclose(found, 0.5 * 1e-3 * 4096, rtol=0.01)


def test_a_camera_inside_sees_only_what_is_ahead():
    grid = box_fog(shape=(40, 40, 40), origin=(0, 0, 0))
    camera = Camera((20.0, 20.0, 25.0), (20.0, 20.0, 0.0), fov=2.0, width=4, height=4)
    np.testing.assert_allclose(depths(grid, camera), PLAIN.density * 25.5, rtol=0.02)


def test_light_is_that_of_one_scattering():
    """A slab lit along the view: sunlight and view go the same way through it."""
    grid = box_fog(shape=(64, 64, 32), origin=(0, 0, 0))
    options = replace(
        PLAIN, sun=(1.0, 0.5, 0.0), sky=(0.0, 0.0, 0.0), shadow_reach=1.0, shadow_cells=64,
        light_direction=(0.0, 0.0, 1.0),
    )  # fmt: skip
    light, _ = paint_fog(grid, along_z(32.0, 32.0, tall=8.0, pixels=4), options, lambda share: None)
    depth = PLAIN.density * 32  # integral of sigma exp(-2 sigma s)
    np.testing.assert_allclose(light[..., 0], (1 - np.exp(-2 * depth)) / 2, rtol=0.03)
    np.testing.assert_allclose(light[..., 1], light[..., 0] / 2, rtol=1e-9)
    assert (light[..., 2] == 0).all()
    back = replace(options, light_direction=(0.0, 0.0, -1.0))
    light, _ = paint_fog(grid, along_z(32.0, 32.0, tall=8.0, pixels=4), back, lambda share: None)
    np.testing.assert_allclose(light[..., 0], depth * np.exp(-depth), rtol=0.03)
    # Forward scattering: more of a lamp behind the fog, less of one behind the camera.
    forward, _ = paint_fog(grid, along_z(32.0, 32.0), replace(back, anisotropy=0.5), lambda share: None)
    even, _ = paint_fog(grid, along_z(32.0, 32.0), back, lambda share: None)
    assert forward[8, 8, 0] == pytest.approx(even[8, 8, 0] * 0.75 / 0.25**1.5)


def test_emission_and_the_transfer_function():
    grid = box_fog(value=0.5)
    options = replace(
        PLAIN,
        sun=(0.0,) * 3,
        sky=(0.0,) * 3,
        emission=2.0,
        colormap="heat",
        opacity=((0.0, 0.0), (0.4, 0.0), (0.6, 1.0)),
    )
    light, opacity = paint_fog(grid, along_z(2.0, 8.0, tall=4.0, pixels=4), options, lambda share: None)
    table = transfer_table(options)
    middle = table[len(table) // 2]
    assert middle[3] == pytest.approx(0.5 * PLAIN.density, rel=0.01)
    np.testing.assert_allclose(-np.log1p(-opacity), 30 * middle[3], rtol=0.05)
    np.testing.assert_allclose(light / opacity[..., None], np.broadcast_to(middle[:3] * 2, light.shape), rtol=0.05)


def test_pictures_do_not_depend_on_threads_but_on_the_seed(small_fog):
    one, two, other = (
        render(small_fog, None, RenderOptions(threads=threads, seed=seed)) for threads, seed in ((1, 0), (2, 0), (1, 1))
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert np.abs(one.astype(int) - other).mean() < 3


def test_vectors_are_drawn_by_their_magnitude():
    values = np.zeros((16, 16, 16, 3), np.float32)
    values[..., 0], values[..., 2] = 0.6, -0.8
    grid = grid_of_dense("v", values, np.ones((16,) * 3, bool), value_type="vec3s", background=(0.0,) * 3)
    camera = along_z(7.5, 7.5, tall=4.0, pixels=4)
    np.testing.assert_allclose(depths(grid, camera), PLAIN.density * 16, rtol=0.02)
    assert resolved(RenderOptions(), grid).colormap == "ocean"


def test_maximum_and_slice_show_the_values():
    rng = np.random.default_rng(1)
    values = rng.random((16, 16, 16), dtype=np.float32)
    grid = grid_of_dense("density", values, np.ones((16,) * 3, bool), grid_class="fog volume")
    camera = Camera((7.5, 7.5, 99.0), (7.5, 7.5, 0.0), height_world=16.0, width=16, height=16)
    options = RenderOptions(look=Look.MAXIMUM, value_range=(0.0, 1.0), colormap="grey", step=0.05, threads=1)
    light, opacity = paint_maximum(grid, camera, options, lambda share: None)
    assert (opacity == 1).all()
    expected = values.max(axis=2).T[::-1]
    assert np.corrcoef(light[..., 0].ravel(), expected.ravel())[0, 1] > 0.9
    options = RenderOptions(look=Look.SLICE, slice_place=0.2, value_range=(0.0, 1.0), colormap="grey")
    light, opacity = paint_slice(grid, camera, options, lambda share: None)
    assert (opacity == 1).all()
    order = np.argsort(values[:, :, 3].T[::-1].ravel())
    assert (np.diff(light[..., 0].ravel()[order]) >= 0).all()


@pytest.mark.parametrize("look", [Look.FOG, Look.MAXIMUM, Look.SLICE, Look.SURFACE])
def test_an_empty_grid_is_a_picture_of_nothing(look):
    grid = grid_of_dense("density", np.zeros((8, 8, 8)), np.zeros((8, 8, 8), bool), background=0.0)
    camera = Camera((0.0, 0.0, 9.0), (0.0, 0.0, 0.0), width=20, height=10)
    picture = render(grid, camera, RenderOptions(look=look, background=None))
    assert picture.shape == (10, 20, 4)
    assert (picture[..., 3] == 0).all()
    assert render(grid, camera, RenderOptions(look=look, background=(1.0, 0.0, 0.5)))[0, 0, 1] == 0
