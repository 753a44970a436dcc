"""What `render` takes, what it refuses, and files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fieldcodec as fc
from fieldcodec.errors import InputError, UnsupportedGridError, UsageError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import OpaqueGrid
from fieldcodec.grid.transform import FRUSTUM, GridTransform
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.picture import default_camera, drawn_grid, resolved, save_png
from fieldcodec.render.ray_tree import world_bounds

POINTS = OpaqueGrid("points", "Tree_ptdataidx32_5_4_3", b"", 224)


def test_the_package_itself_can_be_called(small_fog):
    camera = fc.Camera((0.0, 0.0, 99.0), (0.0, 0.0, 0.0), width=8, height=4)
    assert fc.render(fc.VolumeFile((POINTS, small_fog)), camera).shape == (4, 8, 3)


def test_the_grid_with_most_voxels_is_drawn(small_fog):
    other = grid_of_dense("small", np.ones((4, 4, 4)), np.ones((4, 4, 4), bool))
    assert drawn_grid(fc.VolumeFile((other, small_fog, POINTS))) is small_fog
    with pytest.raises(UnsupportedGridError, match="points"):
        drawn_grid(fc.VolumeFile((POINTS,)))


def test_resolved_options_do_not_change_any_more(small_fog):
    first = resolved(RenderOptions(), small_fog)
    assert first.look is Look.FOG
    assert first.density is not None
    assert resolved(first, replace(small_fog, leaf_values=small_fog.leaf_values * 3)) == first


def test_world_bounds_are_those_of_all_grids(small_fog):
    moved = replace(small_fog, transform=GridTransform.uniform(2.0, (100.0, 0.0, 0.0)))
    low, high = world_bounds((small_fog, moved))
    bounds = small_fog.topology.active_bounds
    assert bounds is not None
    np.testing.assert_allclose(low, np.minimum(bounds[0] - 0.5, (bounds[0] - 0.5) * 2 + (100, 0, 0)))
    np.testing.assert_allclose(high, np.maximum(bounds[1] + 0.5, (bounds[1] + 0.5) * 2 + (100, 0, 0)))
    empty = grid_of_dense("e", np.zeros((8, 8, 8)), np.zeros((8, 8, 8), bool))
    assert np.array_equal(world_bounds((empty,)), [[-0.5] * 3, [0.5] * 3])


def test_a_frustum_is_drawn_in_index_space(small_fog):
    frustum = replace(small_fog, transform=GridTransform(FRUSTUM, b""))
    for look in (Look.FOG, Look.SLICE):
        options = RenderOptions(look=look)
        cameras = [default_camera((grid,), options, width=24, height=24) for grid in (small_fog, frustum)]
        assert cameras[0] == cameras[1]
        assert np.array_equal(fc.render(frustum, cameras[0], options), fc.render(small_fog, cameras[0], options))


def test_turning_leaves_room(small_fog):
    still, turning = (default_camera((small_fog,), RenderOptions(), turning=turning) for turning in (False, True))
    assert np.linalg.norm(np.subtract(turning.position, turning.look_at)) > np.linalg.norm(
        np.subtract(still.position, still.look_at)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"supersampling": 9}, {"step": 0.0}, {"density": -1.0}, {"shadow_cells": -1}, {"shadow_reach": 2.0},
        {"anisotropy": 1.0}, {"emission": np.nan}, {"sky_rays": -1}, {"slice_axis": 3}, {"slice_place": 1.5},
        {"threads": 0}, {"light_direction": (0.0, 0.0, 0.0)}, {"colormap": "plaid"}, {"background": "beach"},
        {"opacity": ((0.0, 1.0),)}, {"opacity": ((1.0, 0.0), (0.0, 1.0))}, {"value_range": (1.0, 1.0)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_impossible_options_are_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        RenderOptions(**change)


def test_pictures_are_written_whole_or_not_at_all(tmp_path: Path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    save_png(tmp_path / "a.png", pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    with pytest.raises(InputError, match="cannot write"):
        save_png(tmp_path / "none" / "a.png", pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
