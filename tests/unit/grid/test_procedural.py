"""Procedural volumes: valid grids of the promised kind, against their formulas."""

import numpy as np
import pytest

from fieldcodec.errors import UsageError
from fieldcodec.grid import masks, procedural
from fieldcodec.grid.level_set import level_set_of_leaves
from fieldcodec.grid.noise import FractalNoise
from fieldcodec.grid.procedural import (
    PROCEDURALS,
    blobs_level_set,
    cloud_fog,
    gyroid_level_set,
    level_set_of_function,
    smoke_fog,
    sphere_level_set,
    torus_level_set,
    vortex_velocity,
)
from fieldcodec.grid.sparse_grid import SparseGrid

LEVEL_SETS = ("sphere", "torus", "gyroid", "blobs")


def slot_middles(grid: SparseGrid) -> tuple[np.ndarray, np.ndarray]:
    """A voxel in each tile of the lower nodes, then of the upper ones, and the tiles' values."""
    nodes, slots = np.nonzero(~masks.unpack(grid.topology.lower_child))
    lower = grid.topology.lower_origins[nodes] + masks.slot_offsets(4)[slots] * 8 + 4
    nodes, slots = np.nonzero(~masks.unpack(grid.topology.upper_child))
    upper = grid.topology.upper_origins[nodes] + masks.slot_offsets(5)[slots] * 128 + 64
    return np.concatenate([lower, upper]), np.concatenate([grid.lower_tile_values, grid.upper_tile_values])[:, 0]


def test_sphere_is_complete_and_exact() -> None:
    grid = sphere_level_set(20.0, centre=(3.5, -7.0, 100.0), half_width=2.5, voxel_size=0.1)
    low, high = np.array([-20, -31, 76]), np.array([28, 17, 124])
    box = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), -1).reshape(-1, 3)
    distance = np.linalg.norm(box - (3.5, -7.0, 100.0), axis=1) - 20.0
    expected = box[np.abs(distance) < 2.5 - 1e-6]
    voxels = grid.topology.active_voxels()
    assert {tuple(v) for v in voxels.tolist()} == {tuple(v) for v in expected.tolist()}
    exact = (np.linalg.norm(voxels - (3.5, -7.0, 100.0), axis=1) - 20.0) * 0.1
    np.testing.assert_allclose(grid.active_values()[:, 0], exact, atol=1e-6)
    assert grid.is_level_set
    np.testing.assert_allclose(grid.background, 0.25)
    np.testing.assert_allclose(grid.transform.voxel_size, 0.1)


@pytest.mark.parametrize("name", LEVEL_SETS)
def test_level_sets_keep_the_convention(name: str) -> None:
    grid = PROCEDURALS[name](72, 3)
    background = grid.background[0]
    active = grid.topology.leaf_active_bits
    values = grid.leaf_values[..., 0]
    np.testing.assert_array_equal(active, np.abs(values) < background)
    assert set(np.abs(values[~active])) == {background}
    assert active.any(axis=1).all()
    _, tiles = slot_middles(grid)
    assert set(tiles.tolist()) <= {background, -background}
    low, high = grid.topology.active_bounds  # type: ignore[misc]
    assert np.max(high - low + 1) <= 72
    # Neighbours of opposite sign are both active: the surface never leaves the band.
    box = values.reshape(-1, 8, 8, 8)
    state = active.reshape(-1, 8, 8, 8)
    for axis in (1, 2, 3):
        here, there = np.delete(box, 7, axis), np.delete(box, 0, axis)
        both = np.delete(state, 7, axis) & np.delete(state, 0, axis)
        assert both[(here < 0) != (there < 0)].all()


def test_tiles_inside_are_negative_at_both_levels() -> None:
    grid = sphere_level_set(240.0)
    middles, tiles = slot_middles(grid)
    np.testing.assert_array_equal(tiles < 0, np.linalg.norm(middles, axis=1) < 240)
    assert (grid.upper_tile_values < 0).any()
    assert (grid.lower_tile_values < 0).any()


def test_a_solid_larger_than_an_upper_node_has_root_tiles_inside() -> None:
    """A whole solid is too large to make here: a bar of two far faces of a slab is enough to ask the root cells."""
    far = 6000.0

    def distance(p: np.ndarray) -> np.ndarray:
        return np.abs(p[:, 0]) - far

    parts = [
        level_set_of_function("s", distance, np.array([x - 8.0, 0, 0]), np.array([x + 8.0, 8, 8])) for x in (-far, far)
    ]
    both = np.concatenate([p.topology.leaf_origins for p in parts])
    grid = level_set_of_leaves(
        "s", both, np.concatenate([p.leaf_values[..., 0] for p in parts]), background=3.0,
        is_inside=lambda voxels: distance(voxels) < 0, transform=parts[0].transform,
    )  # fmt: skip
    np.testing.assert_array_equal(grid.topology.root_tile_origins, [[-4096, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(grid.root_tile_values, [[-3.0], [-3.0]])
    assert not grid.topology.root_tile_active.any()


def test_torus_and_gyroid_follow_their_formulas() -> None:
    grid = torus_level_set(20.0, 7.0)
    x, y, z = grid.topology.active_voxels().T
    np.testing.assert_allclose(grid.active_values()[:, 0], np.hypot(np.hypot(x, z) - 20, y) - 7, atol=1e-5)
    gyroid = gyroid_level_set(24.0, periods=2.0)
    p = gyroid.topology.active_voxels()[gyroid.active_values()[:, 0] < 0] * np.pi * 2 / 24
    s, c = np.sin(p), np.cos(p)
    assert np.all(s[:, 0] * c[:, 1] + s[:, 1] * c[:, 2] + s[:, 2] * c[:, 0] < 1e-9)


def test_blobs_stay_in_their_ball_and_have_slope_one() -> None:
    grid = blobs_level_set(30.0, seed=5)
    voxels = grid.topology.active_voxels()
    assert np.linalg.norm(voxels, axis=1).max() < 30 + 3.01
    values = dict(zip(map(tuple, voxels.tolist()), grid.active_values()[:, 0].tolist(), strict=True))
    steps = [abs(v - values[x + 1, y, z]) for (x, y, z), v in values.items() if (x + 1, y, z) in values]
    assert max(steps) <= 1.0 + 1e-5


@pytest.mark.parametrize(("make", "sides"), [(smoke_fog, (40, 80, 40)), (cloud_fog, (40, 24, 28))])
def test_fog_fills_its_box_with_densities(make, sides: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    grid = make(40, seed=2)
    low, high = grid.topology.active_bounds
    assert np.all(low >= 0)
    assert np.all(high < sides)
    assert np.all(high - low + 1 > 0.6 * np.array(sides))
    values = grid.active_values()
    assert np.all((values > 0.01) & (values <= 1.0))
    assert values.std() > 0.1
    assert grid.grid_class == "fog volume"
    assert grid.topology.num_active_voxels > 0.02 * np.prod(sides)


def test_no_leaf_of_the_fog_was_dropped_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = smoke_fog(40, seed=4)
    whole = procedural._leaves
    monkeypatch.setattr(
        procedural, "_leaves", lambda low, high, _: whole(low, high, lambda p, r: np.ones(len(p), bool))
    )
    assert smoke_fog(40, seed=4).topology.equals(grid.topology)


def test_vortices_are_staggered_and_free_of_divergence() -> None:
    grid = vortex_velocity(32, seed=1)
    assert grid.value_type.name == "vec3s"
    assert grid.grid_class == "staggered"
    full = np.flatnonzero(grid.topology.leaf_active_bits.all(axis=1))
    box = grid.leaf_values[full].reshape(-1, 8, 8, 8, 3).astype(np.float64)
    inner = slice(0, 7)
    divergence = sum(
        np.moveaxis(np.diff(np.moveaxis(box[..., i], i + 1, 1), axis=1), 1, i + 1)[:, inner, inner, inner]
        for i in range(3)
    )
    gradient = np.abs(np.diff(box[..., 0], axis=2)).max()
    assert np.abs(divergence).max() < 0.05 * gradient


@pytest.mark.parametrize("name", sorted(PROCEDURALS))
def test_the_seed_decides(name: str) -> None:
    make = PROCEDURALS[name]
    first, again = make(24, 7), make(24, 7)
    assert first.topology.equals(again.topology)
    np.testing.assert_array_equal(first.leaf_values, again.leaf_values)
    assert not first.topology.is_empty
    if name in ("blobs", "smoke", "cloud", "vortex"):
        other = make(24, 8)
        assert not (first.topology.equals(other.topology) and np.array_equal(first.leaf_values, other.leaf_values))


@pytest.mark.parametrize("name", sorted(PROCEDURALS))
def test_too_small_a_resolution_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="resolution is 4"):
        PROCEDURALS[name](4, 0)


def test_bad_sizes_are_named() -> None:
    with pytest.raises(UsageError, match="radius_voxels is -1"):
        sphere_level_set(-1.0)


def test_noise_is_smooth_and_bounded() -> None:
    noise = FractalNoise(0, octaves=4)
    line = np.zeros((2000, 3))
    line[:, 0] = np.linspace(-50, 50, 2000)
    values = noise(line)
    assert np.abs(values).max() <= noise.largest
    assert values.std() > 0.05
    assert np.abs(np.diff(values)).max() < 0.3
