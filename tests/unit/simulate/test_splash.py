"""The splash: true distances, and bodies that merge and part."""

import numpy as np

from fieldcodec.grid.build import dense_of_grid
from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.simulate import SEQUENCES, SequenceOptions
from fieldcodec.simulate.implicit import level_set_of_surface
from fieldcodec.simulate.splash import Splash


def _frame(resolution: int, seconds: float, seed: int = 0) -> SparseGrid:
    options = SequenceOptions(resolution=resolution, frames=1, start=seconds, end=seconds, seed=seed)
    ((_, volumes),) = SEQUENCES["splash"](options)
    return volumes[0]


def _bodies(grid: SparseGrid) -> int:
    """Number of closed pieces of the surface, by letting each vertex take the least number around it."""
    surface = iso_surface(grid)
    label = np.arange(len(surface.vertices))
    while True:
        least = label[surface.triangles].min(axis=1)
        before = label.copy()
        for corner in range(3):
            np.minimum.at(label, surface.triangles[:, corner], least)
        if np.array_equal(before, label):
            return len(np.unique(label))


def test_values_are_distances_to_free_drops() -> None:
    resolution, water = 64, Splash.of_seed(0)
    grid = _frame(resolution, 0.0)
    voxels, values = grid.topology.active_voxels(), grid.active_values()[:, 0] * resolution
    drops = [ball for ball in water.balls if ball.is_seen(0.0)]
    assert len(drops) == 4
    for ball in drops:
        exact = np.linalg.norm(voxels - ball.place * resolution, axis=1) - ball.radius * resolution
        near = np.abs(exact) < 1
        assert near.sum() > 100
        assert np.abs(values[near] - exact[near]).max() < 0.05


def test_values_are_distances_where_the_function_is_none() -> None:
    """A ball given by squares, whose slope is not 1."""
    low, high, size = np.full(3, 0.2), np.full(3, 0.8), 1 / 32

    def ball(points: np.ndarray) -> np.ndarray:
        return 2 * (np.einsum("qi,qi->q", points - 0.5, points - 0.5) - 0.09)  # slope 1.2 at the radius 0.3

    grid = level_set_of_surface(ball, 4.0, low, high, voxel_size=size, name="ball")
    voxels, values = grid.topology.active_voxels(), grid.active_values()[:, 0]
    exact = np.linalg.norm(voxels * size - 0.5, axis=1) - 0.3
    assert np.abs(values - exact).max() < 0.02 * size
    assert np.array_equal(np.abs(exact) < 2.9 * size, np.abs(values) < 2.9 * size)


def test_bodies_merge_and_new_ones_appear() -> None:
    counts = [_bodies(_frame(48, seconds)) for seconds in (0.2, 0.62, 0.75)]
    assert counts[0] == 5  # the pool and four drops
    assert counts[1] < 5  # the first drop is in the pool, its crown not yet free
    assert counts[2] > counts[1] + 3


def test_the_slope_is_bounded() -> None:
    water, rng = Splash.of_seed(3), np.random.default_rng(0)
    points, step = rng.uniform(0.1, 0.9, (20000, 3)), 1e-5
    for time in (0.3, water.impacts[0].time + 0.05, 1.4):
        slopes = [
            (water.surface(points + step * axis, time) - water.surface(points - step * axis, time)) / (2 * step)
            for axis in np.eye(3)
        ]
        steepest = np.linalg.norm(slopes, axis=0).max()
        assert 0.9 < steepest <= water.steepest(time) * (1 + 1e-6)


def test_frames_repeat_and_depend_on_the_seed() -> None:
    a, b, other = _frame(24, 0.9), _frame(24, 0.9), _frame(24, 0.9, seed=1)
    assert np.array_equal(a.leaf_values, b.leaf_values)
    box = np.zeros(3), np.full(3, 24)
    assert not np.array_equal(dense_of_grid(a, *box)[0], dense_of_grid(other, *box)[0])


def test_all_water_is_in_the_box_and_no_drop_misses_the_pool() -> None:
    rng = np.random.default_rng(1)
    for seed in range(5):
        water = Splash.of_seed(seed)
        for time in np.linspace(0, 2.4, 9):
            low, high = water.box(time)
            points = low + rng.uniform(-0.3, 1.3, (4000, 3)) * (high - low)
            outside = np.any((points < low) | (points > high), axis=1)
            assert (water.surface(points[outside], time) > 0).all()
            assert 0.06 < low[0] < high[0] < 0.94  # that of the pool alone
