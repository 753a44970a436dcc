"""The distance beyond the band: against formulas, across leaf borders, and for grids that hold no distances."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fieldcodec.grid import masks
from fieldcodec.grid.build import dense_of_grid, grid_of_dense, grid_of_leaves
from fieldcodec.grid.continuation import continue_distance
from fieldcodec.grid.level_set import level_set_of_leaves
from fieldcodec.grid.procedural import (
    blobs_level_set,
    gyroid_level_set,
    level_set_of_function,
    sphere_level_set,
    torus_level_set,
)
from fieldcodec.grid.sparse_grid import LEVEL_SET, SparseGrid
from fieldcodec.grid.transform import FRUSTUM, GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES
from fieldcodec.testing.samples import sphere

CENTRE = (0.3, -0.2, 0.15)


def leaf_voxels(grid: SparseGrid) -> np.ndarray:
    """[N, 512, 3] index coordinates of all leaf voxels."""
    return grid.topology.leaf_origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2)


def sphere_distance(grid: SparseGrid, radius: float = 22.0) -> np.ndarray:
    return np.linalg.norm(leaf_voxels(grid) - CENTRE, axis=2) - radius


def with_values(grid: SparseGrid, values: np.ndarray, kind: str = "float", **changes: object) -> SparseGrid:
    """`grid` with leaf values [N, 512], converted to a value type as everything else is."""
    value_type = VALUE_TYPES[kind]
    fields = ("lower_tile_values", "upper_tile_values", "root_tile_values", "background")
    converted = {name: getattr(grid, name).astype(value_type.dtype) for name in fields}
    converted["leaf_values"] = values.astype(value_type.dtype)[..., None]
    return replace(grid, value_type=value_type, **(converted | changes))


def check_promises(grid: SparseGrid) -> np.ndarray:
    """Active values untouched, sign kept, the background as lower bound; the distances."""
    distance = continue_distance(grid)
    stored, active = grid.leaf_values[..., 0], grid.topology.leaf_active_bits
    assert distance.shape == stored.shape
    assert distance.dtype == np.float32
    np.testing.assert_array_equal(distance[active], stored[active].astype(np.float32))
    np.testing.assert_array_equal(distance[~active] < 0, stored[~active] < 0)
    assert np.all(np.abs(distance[~active]).astype(np.float64) >= float(grid.background[0]))
    assert np.isfinite(distance).all()
    return distance


@pytest.mark.parametrize("voxel_size", [1.0, 0.037])
@pytest.mark.parametrize("half_width", [1.5, 3.0, 5.0])
def test_sphere_is_continued_as_a_sphere(voxel_size: float, half_width: float) -> None:
    grid = sphere_level_set(22.0, centre=CENTRE, half_width=half_width, voxel_size=voxel_size)
    error = np.abs(check_promises(grid) / voxel_size - sphere_distance(grid))
    assert error.max() < 0.12
    assert error[~grid.topology.leaf_active_bits].mean() < 0.01


@pytest.mark.parametrize("make", [torus_level_set, gyroid_level_set, blobs_level_set])
def test_promises_hold_for_other_shapes(make: Callable[[], SparseGrid]) -> None:
    check_promises(make())


def test_distance_runs_on_across_leaf_borders() -> None:
    grid = sphere()
    continued = replace(grid, leaf_values=continue_distance(grid)[..., None], background=np.array([np.nan], np.float32))
    values, _ = dense_of_grid(continued, np.full(3, -32), np.full(3, 32))
    for axis in range(3):
        step = np.abs(np.diff(values[..., 0], axis=axis))
        assert np.nanmax(step) < 1.1  # voxels, within leaves and between them alike


def test_voxels_far_from_the_band_are_reached_through_leaves_without_any_of_it() -> None:
    box = np.stack(np.meshgrid(*[np.arange(-32, 32)] * 3, indexing="ij"), axis=-1)
    distance = np.linalg.norm(box - CENTRE, axis=-1) - 6.0
    origins = (masks.slot_offsets(masks.LEAF_LOG2) - 4) * 8
    values = np.stack([distance[tuple(np.s_[o + 32 : o + 40] for o in origin)].ravel() for origin in origins])
    active = np.abs(values) < 3
    clamped = np.clip(values, -3, 3).astype(np.float32)[..., None]
    grid = grid_of_leaves("sphere", origins, masks.pack(active), clamped, background=3.0, grid_class=LEVEL_SET)
    error = np.abs(check_promises(grid) - sphere_distance(grid, 6.0))
    assert error.max() < 0.35
    assert error.mean() < 0.05


def test_both_sides_of_a_thin_wall_are_kept_apart() -> None:
    """A surface with a gap in its band: distances of opposite signs lie next to each other."""

    def distance(p: np.ndarray) -> np.ndarray:
        return np.where(p[:, 0] < 0, np.abs(p[:, 0] + 4) - 6, 30.0)

    low, high = np.array([-20, 0, 0]), np.array([24, 24, 24])
    grid = level_set_of_function("wall", distance, low, high, half_width=3.0, bound=lambda p: distance(p) / 4)
    check_promises(grid)


def test_voxels_need_not_be_cubes() -> None:
    scale = np.array([1.0, 0.5, 2.0])
    radius, background = 30.0, 6.0
    cells = np.stack(np.meshgrid(*[np.arange(-10, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 8
    true = np.linalg.norm((cells[:, None] + masks.slot_offsets(3)) * scale, axis=2) - radius
    grid = level_set_of_leaves(
        "ellipsoid", cells, np.clip(true, -background, background).astype(np.float32), background=background,
        is_inside=lambda voxels: np.linalg.norm(voxels * scale, axis=1) < radius,
        transform=GridTransform.of_matrix(np.diag([*scale, 1.0])),
    )  # fmt: skip
    true = np.linalg.norm(leaf_voxels(grid) * scale, axis=2) - radius
    assert np.abs(check_promises(grid) - true).max() < 0.3


@pytest.mark.parametrize("slope", [0.25, 0.8, 2.0])
def test_distances_of_another_slope_go_on_at_that_slope(slope: float) -> None:
    grid = sphere()
    scaled = with_values(
        grid, grid.leaf_values[..., 0] * slope, background=np.array([3 * slope], np.float32)
    )  # fmt: skip
    error = np.abs(check_promises(scaled) / slope - sphere_distance(grid))
    assert error.max() < 0.15


def test_frustum_grids_take_the_slope_of_their_values() -> None:
    grid = replace(sphere(), transform=GridTransform(FRUSTUM, b"not evaluated"))
    assert np.abs(check_promises(grid) - sphere_distance(grid)).max() < 0.15


@pytest.mark.parametrize("kind", ["half", "double"])
def test_other_floating_point_values(kind: str) -> None:
    grid = sphere_level_set(22.0, centre=CENTRE, voxel_size=0.1)
    other = with_values(grid, grid.leaf_values[..., 0], kind)
    error = np.abs(check_promises(other) / 0.1 - sphere_distance(grid))
    assert error.max() < 0.12


def test_background_of_64_bits_stays_the_lower_bound() -> None:
    grid = sphere_level_set(9.0)
    values = np.where(
        grid.topology.leaf_active_bits, grid.leaf_values[..., 0], np.sign(grid.leaf_values[..., 0]) * (3.0 + 1e-9)
    )
    check_promises(with_values(grid, values, "double", background=np.array([3.0 + 1e-9])))


def test_result_does_not_depend_on_the_number_of_threads(on_threads: Callable[[int, Callable[[], Any]], Any]) -> None:
    grid = blobs_level_set(40.0)
    alone, together = (on_threads(threads, lambda: continue_distance(grid)) for threads in (1, 3))
    assert alone.tobytes() == together.tobytes()


@pytest.mark.parametrize("background", [0.0, -3.0, np.nan, np.inf])
def test_background_of_no_band_gives_the_stored_values(background: float) -> None:
    grid = replace(sphere(), background=np.array([background], np.float32))
    np.testing.assert_array_equal(continue_distance(grid), grid.leaf_values[..., 0])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(np.abs, id="no zero crossing"),
        pytest.param(lambda values: values * 10, id="beyond the background"),
        pytest.param(lambda values: np.sign(values), id="no slope"),
        pytest.param(lambda values: np.full_like(values, np.nan), id="not numbers"),
    ],
)
def test_values_that_are_no_distances_are_given_back(change: Callable[[np.ndarray], np.ndarray]) -> None:
    grid = sphere()
    active = grid.topology.leaf_active_bits
    stored = grid.leaf_values[..., 0]
    broken = with_values(grid, np.where(active, change(stored), stored))
    np.testing.assert_array_equal(continue_distance(broken), broken.leaf_values[..., 0])


def test_some_values_that_are_not_finite_spoil_only_their_surroundings() -> None:
    grid = sphere()
    values = grid.leaf_values[..., 0].copy()
    row, slot = np.argwhere(grid.topology.leaf_active_bits & (values > 2.0))[100]
    values[row, slot] = np.nan
    distance = continue_distance(with_values(grid, values))
    assert np.isnan(distance[row, slot])
    others = np.isfinite(values)
    assert np.isfinite(distance[others]).all()
    assert np.abs(distance - sphere_distance(grid))[others].max() < 1.0


def test_band_thinner_than_a_voxel_is_given_back() -> None:
    """One layer of voxels, too few to measure a slope, with values far smaller than a voxel."""
    grid = sphere_level_set(22.0, centre=CENTRE, half_width=0.55)
    thin = with_values(grid, grid.leaf_values[..., 0] * 0.1, background=np.array([0.055], np.float32))
    np.testing.assert_array_equal(continue_distance(thin), thin.leaf_values[..., 0])


def test_band_of_one_layer_of_voxels_is_continued() -> None:
    grid = sphere_level_set(22.0, centre=CENTRE, half_width=0.55)
    assert np.abs(check_promises(grid) - sphere_distance(grid)).max() < 0.7


def test_noise_gives_finite_values_of_bounded_size() -> None:
    rng = np.random.default_rng(3)
    active = rng.random((40, 40, 40)) < 0.1
    values = rng.uniform(-3, 3, active.shape)
    signs = np.where(rng.random((*active.shape, 1)) < 0.5, -3.0, 3.0)
    grid = grid_of_dense(
        "noise", values, active, background=3.0, inactive_values=signs, grid_class=LEVEL_SET
    )  # fmt: skip
    assert np.abs(check_promises(grid)).max() < 60


def test_grid_without_leaves() -> None:
    grid = grid_of_leaves(
        "none", np.zeros((0, 3)), np.zeros((0, 64), np.uint8), np.zeros((0, 512, 1), np.float32), background=3.0
    )
    assert continue_distance(grid).shape == (0, 512)


def test_leaves_that_nothing_reaches_keep_what_they_store() -> None:
    """A lone leaf of inactive voxels, some of them not finite."""
    grid = sphere()
    lone = np.full(512, 3.0, np.float32)
    lone[:4] = np.nan, np.inf, -np.inf, -2.5
    origins = np.concatenate([grid.topology.leaf_origins, [[4000, 0, 0]]])
    active = np.concatenate([grid.topology.leaf_active, np.zeros((1, 64), np.uint8)])
    values = np.concatenate([grid.leaf_values, lone[None, :, None]])
    both = grid_of_leaves("two", origins, active, values, background=3.0, grid_class=LEVEL_SET)
    row = int(both.topology.leaf_table.find(np.array([[4000, 0, 0]]))[0])
    expected = lone.copy()
    expected[:4] = 3, 3, -3, -3
    distance = continue_distance(both)
    np.testing.assert_array_equal(distance[row], expected)
    np.testing.assert_array_equal(np.delete(distance, row, axis=0), continue_distance(grid))
