"""Pictures of compressed files from the leaves they need: the same bit for bit, with fewer leaves decoded."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.render.camera import Camera
from fieldcodec.render.culling import needed_leaves
from fieldcodec.render.light import cells_of, light_grid
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.painters import UP, lamp_direction
from fieldcodec.render.picture import default_camera, needs_of, render, resolved
from fieldcodec.render.ray_tree import Meaning, ray_tree
from fieldcodec.volume.compressed import CompressedVolume

GOLDEN = Path(__file__).parents[2] / "golden"
FOG = RenderOptions(look=Look.FOG, value_range=(0.0, 1.0), density=2.0)
MAXIMUM = RenderOptions(look=Look.MAXIMUM, value_range=(0.0, 1.0))
SLICE = RenderOptions(look=Look.SLICE, value_range=(0.0, 1.0), slice_axis=1, slice_place=0.46)
SMALL = {"width": 40, "height": 32}


def clumps(*blocks: int, transform: GridTransform | None = None) -> SparseGrid:
    """Fog in a corner of every third leaf or so."""
    there = np.kron(np.random.default_rng(5).uniform(size=blocks) < 0.3, np.ones((8, 8, 8), bool))
    x, y, z = np.ogrid[tuple(slice(0, size) for size in there.shape)]
    there &= (x % 8 < 4) & (y % 8 < 4) & (z % 8 < 4)
    values = (0.55 + 0.4 * np.sin(x / 9) * np.cos(y / 7) * np.sin(z / 11 + 1)).astype(np.float32)
    transform = transform or GridTransform.uniform(0.5)
    return grid_of_dense("fog", values, there, origin=(-19, 5, -33), grid_class="fog volume", transform=transform)


@cache
def fog() -> CompressedVolume:
    return fc.encode_volume(clumps(14, 18, 14), fc.VolumeSettings(quality=fc.Quality(psnr=40)), device="cpu")


@cache
def decoded_fog() -> SparseGrid:
    whole = fog().to_grids(device="cpu")[0]
    assert isinstance(whole, SparseGrid)
    return whole


def zoomed(grid: SparseGrid, options: RenderOptions, factor: float, shift: float = 0.0, **others: object) -> Camera:
    """The middle of the grid, or beside it: by a share of the longest side of its box."""
    camera = default_camera((grid,), options, **{**SMALL, **others})
    low, high = grid.bounds
    place = np.array(camera.look_at) + shift * (high - low).max() * np.array([0.1, 1.0, -0.1])
    return camera.looking_at(tuple(place.tolist())).zoomed(factor)


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize(
    ("options", "factor", "shift", "most"),
    [
        (SLICE, 1, 0.0, 0.06),
        (SLICE, 3, 0.1, 0.03),
        (SLICE, 2, -0.13, 0.06),
        (SLICE, 2.5, 0.06, 0.06),
        (MAXIMUM, 5, 0.15, 0.4),
        (replace(FOG, shadow_cells=0), 5, -0.1, 0.4),
        (replace(FOG, shadow_cells=0, opacity=((0.0, 0.01), (1.0, 1.0))), 6, 0.1, 0.4),  # thin fog around
        (FOG, 6, 0.25, 0.75),
        (replace(FOG, shadow_cells=24), 6, 0.3, 0.9),
        (replace(FOG, opacity=((0.0, 0.01), (1.0, 1.0))), 9, 0.3, 0.75),
        (replace(FOG, light_direction=(1.0, -0.02, 0.3)), 6, 0.3, 0.75),
        (replace(FOG, look=Look.AUTO), 6, 0.3, 0.75),
    ],
)
def test_pictures_are_the_same_from_fewer_leaves(
    decoded_leaves: list[int], options: RenderOptions, factor: float, shift: float, most: float, orthographic: bool
) -> None:
    whole = decoded_fog()
    for direction in (None, (0.0, -1.0, 0.2)) if options.look is not Look.SLICE else (None,):
        camera = zoomed(whole, options, factor, shift, orthographic=orthographic, direction=direction)
        decoded_leaves.clear()
        found = render(fog(), camera, options)
        assert sum(decoded_leaves) < most * whole.topology.num_leaves
        assert np.array_equal(found, render(whole, camera, options))
        assert len(np.unique(found.reshape(-1, 3), axis=0)) > 15


@pytest.mark.parametrize(
    "name", ["fog_tiles", "fog_two_experts", "lattice_exact_f4", "lattice_refined_fog", "mask", "vec3s", "sequence"]
)
def test_all_kinds_of_values_are_decoded_in_part(name: str) -> None:
    path = GOLDEN / f"{name}.fcodec"
    volume = fc.open_sequence(path).frame(7) if name == "sequence" else fc.open(path)  # a frame predicted from others
    whole = volume.drawn(device="cpu")
    for look in (Look.SLICE, Look.MAXIMUM, Look.FOG):
        options = resolved(RenderOptions(look=look, threads=1), whole)
        camera = default_camera((whole,), options, width=20, height=20).zoomed(3)
        assert np.array_equal(render(volume, camera, options), render(whole, camera, options))


def test_slices_choose_their_camera_by_the_tree(decoded_leaves: list[int]) -> None:
    whole = decoded_fog()
    decoded_leaves.clear()
    found = render(fog(), None, SLICE)
    assert 0 < sum(decoded_leaves) < 0.3 * whole.topology.num_leaves
    assert np.array_equal(found, render(whole, None, SLICE))


@pytest.mark.parametrize(
    "options",
    [
        replace(SLICE, value_range=None),
        replace(FOG, density=None),
        replace(FOG, value_range=None),
        replace(MAXIMUM, value_range=None),
    ],
)
def test_what_all_values_decide_needs_all(decoded_leaves: list[int], options: RenderOptions) -> None:
    whole = decoded_fog()
    camera = zoomed(whole, options, 5)
    decoded_leaves.clear()
    found = render(fog(), camera, options)
    assert sum(decoded_leaves) == whole.topology.num_leaves
    assert np.array_equal(found, render(whole, camera, options))


def test_level_sets_are_not_cut_where_values_decide_the_look() -> None:
    ball = fc.encode_volume(sphere_level_set(12.0), fc.VolumeSettings(quality=fc.Quality(lossless=True)))
    whole = ball.to_grids()[0]
    for look in (Look.AUTO, Look.FOG):
        options = replace(FOG, look=look)
        camera = zoomed(whole, options, 3)
        assert np.array_equal(render(ball, camera, options), render(whole, camera, options))
    needs = needs_of(replace(FOG, look=Look.AUTO), lambda *_: ())
    assert needs.leaves is not None
    assert needs.leaves(whole) is None


def test_leaves_are_told_from_the_tree_alone() -> None:
    """Under a sheared transform: seen from inside, from far, beside, without perspective, and from behind."""
    matrix = np.array([[0.5, 0.1, 0, 0], [0, 0.4, -0.2, 0], [0.2, 0, 0.6, 0], [3, -2, 1.0, 1]])
    grid = clumps(14, 11, 12, transform=GridTransform.of_matrix(matrix))
    middle = np.mean(grid.bounds, axis=0)

    def beside(*way: float) -> tuple[float, ...]:
        return tuple((middle + way).tolist())

    cameras = [
        Camera(beside(0, 0, 0), beside(1, 0.3, -0.5), fov=40, **SMALL),
        Camera(beside(0, 300, 40), beside(0, 0, 0), fov=0.8, **SMALL),
        Camera(beside(9, 2, 3), beside(9, -7, 30), fov=25, **SMALL),
        Camera(beside(-20, 0, 0), beside(0, 0, 0), height_world=4.0, **SMALL),
        Camera(beside(100, 0, 0), beside(200, 0, 0), **SMALL),
    ]
    for options in (FOG, replace(FOG, shadow_cells=40), replace(FOG, shadow_cells=0), MAXIMUM):
        for number, camera in enumerate(cameras):
            rows = needed_leaves(replace(grid, leaf_values=np.zeros_like(grid.leaf_values)), (camera,), options)
            assert rows is not None
            most = 0.8 if options.look is Look.FOG and options.shadow_cells else 0.2
            assert len(rows) < most * grid.topology.num_leaves
            assert (len(rows) == 0) == (number == 4)
            kept = np.zeros_like(grid.leaf_values)
            kept[rows] = grid.leaf_values[rows]
            assert np.array_equal(
                render(replace(grid, leaf_values=kept), camera, options), render(grid, camera, options)
            )
    both = needed_leaves(grid, cameras[1:3], MAXIMUM)
    assert both is not None
    apart = [needed_leaves(grid, (camera,), MAXIMUM) for camera in cameras[1:3]]
    assert np.array_equal(both, np.union1d(*apart))


@pytest.mark.parametrize("cells", [20, 40, 96])
def test_light_is_exact_wherever_it_may_be_asked_for(cells: int) -> None:
    """In the blocks of leaves that are seen, and in those before them, which rays look at them from."""
    grid, options = clumps(14, 11, 12), replace(FOG, shadow_cells=cells)
    camera = zoomed(grid, options, 8, 0.2)
    seen = needed_leaves(grid, (camera,), replace(options, shadow_cells=0))
    rows = needed_leaves(grid, (camera,), options)
    assert seen is not None
    assert rows is not None
    kept = np.zeros_like(grid.leaf_values)
    kept[rows] = grid.leaf_values[rows]
    lights = []
    for each in (grid, replace(grid, leaf_values=kept)):
        tree = ray_tree(each, Meaning.DENSITY)
        coarse = cells_of(each, tree, cells)
        lights.append(light_grid(coarse, tree, 1.0, (lamp_direction(camera, options), UP), 1))
    steps = np.random.default_rng(3).uniform(-8, 8, (300, 3)).round()
    places = (grid.topology.leaf_origins[seen][:, None] + steps - coarse.light_place[:3]) * coarse.light_place[3]
    last = np.array(lights[0].shape[:3]) - 1
    first = np.floor(np.clip(places.reshape(-1, 3), 0, last)).astype(int)
    for corner in np.ndindex(2, 2, 2):
        at = tuple(np.minimum(first + corner, last).T)
        assert np.array_equal(lights[0][at], lights[1][at])
    assert not np.array_equal(lights[0], lights[1])


def test_surfaces_and_whole_views_need_all() -> None:
    grid = decoded_fog()
    assert needed_leaves(grid, (zoomed(grid, FOG, 4),), replace(FOG, look=Look.SURFACE)) is None
    rows = needed_leaves(grid, (default_camera((grid,), FOG),), FOG)
    dense = grid.topology.leaf_active.any(axis=1)
    assert np.array_equal(rows, np.flatnonzero(dense))
    assert needs_of(FOG, None).leaves is None
    assert resolved(FOG, grid) == FOG
