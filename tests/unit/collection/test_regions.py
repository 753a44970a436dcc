"""Signs and bounds of distances in empty cells."""

import numpy as np
import pytest

from fieldcodec.collection.regions import EmptyRegions
from fieldcodec.grid.octree import Octree

LODS = 5
SIDE = 1 << LODS


def centres(cells: np.ndarray) -> np.ndarray:
    return (cells + 0.5) * (2 / SIDE) - 1


def box_walls(low: int, high: int) -> np.ndarray:
    """Cells of the six walls of a box from `low` to `high`, both inclusive."""
    cells = np.stack(np.meshgrid(*[np.arange(low, high + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return cells[((cells == low) | (cells == high)).any(axis=1)]


def everywhere() -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def test_closed_regions_take_the_sign_of_their_walls_and_open_ones_are_outside() -> None:
    """Two closed boxes, one in the other: what lies between them is inside, what the inner one holds is not."""
    walls = np.concatenate([box_walls(4, 27), box_walls(12, 18)])

    def is_inside(points: np.ndarray) -> np.ndarray:
        largest, middle = np.abs(points).max(axis=1), np.abs(points - centres(np.array([15, 15, 15]))).max(axis=1)
        return (largest < 22.5 / SIDE) & (middle > 7.5 / SIDE)

    regions = EmptyRegions.around(Octree.of_cells(walls, LODS), is_inside)
    empty = np.ones((SIDE,) * 3, bool)
    empty[tuple(walls.T)] = False
    cells = np.argwhere(empty)
    between = ((cells > 4) & (cells < 27)).all(axis=1) & ~((cells > 12) & (cells < 18)).all(axis=1)
    between &= ~((cells >= 12) & (cells <= 18)).all(axis=1)
    assert between.any()
    np.testing.assert_array_equal(regions.distances(centres(cells)) < 0, between)


@pytest.mark.parametrize("hole", [0, 1, 3])
def test_holes_of_a_predicted_shell_are_closed_where_the_field_says_that_there_is_an_inside(hole: int) -> None:
    walls = box_walls(8, 23)
    holed = walls[~((walls[:, 0] == 8) & (np.abs(walls[:, 1:] - 15.5).max(axis=1) < hole))]
    octree = Octree.of_cells(holed, LODS)
    inner = np.stack(np.meshgrid(*[np.arange(9, 23)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    outer = everywhere()
    outer = outer[((outer < 8) | (outer > 23)).any(axis=1)]
    filled = EmptyRegions.around(octree, lambda points: np.abs(points).max(axis=1) < 0.5, may_leak=True)
    assert (filled.distances(centres(inner)) < 0).mean() == pytest.approx(1, abs=0.1 if hole else 0)
    assert (filled.distances(centres(outer)) > 0).mean() == pytest.approx(1, abs=0.01 if hole else 0)
    # A wall with nothing inside, such as that of a cup, stays open.
    trusted = EmptyRegions.around(octree, lambda points: np.abs(points).max(axis=1) < 0.5)  # as a file's shell is
    assert (trusted.distances(centres(outer)) > 0).all()
    assert (trusted.distances(centres(inner)) < 0).all() == (hole == 0)
    hollow = EmptyRegions.around(octree, lambda points: np.zeros(len(points), bool))
    assert (hollow.distances(centres(inner)) > 0).all()
    assert (hollow.distances(centres(outer)) > 0).all()


def test_the_bound_is_the_lattice_distance_to_the_nearest_occupied_cell() -> None:
    rng = np.random.default_rng(3)
    shell = rng.integers(6, 26, (40, 3))
    octree = Octree.of_cells(shell, LODS)
    regions = EmptyRegions.around(octree, lambda points: np.zeros(len(points), bool))
    cells = rng.integers(0, SIDE, (300, 3))
    cells = cells[~(cells[:, None] == shell[None]).all(axis=2).any(axis=1)]
    expected = np.linalg.norm(cells[:, None] - shell[None], axis=2).min(axis=1) * 2 / SIDE
    np.testing.assert_allclose(regions.distances(centres(cells)), expected, rtol=1e-6)


@pytest.mark.parametrize("lods", [3, 5, 8])
def test_no_surface_point_is_nearer_than_the_bound_inside_the_cube_or_out_of_it(lods: int) -> None:
    from fieldcodec.collection.asset import dilated_octree

    rng = np.random.default_rng(0)
    directions = rng.normal(size=(20000, 3))
    surface = 0.5 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    octree = dilated_octree(surface, lods)
    regions = EmptyRegions.around(octree, lambda points: np.linalg.norm(points, axis=1) < 0.5)
    points = rng.uniform(-1.5, 1.5, (5000, 3))
    side = 1 << lods
    cells = np.floor((points + 1) * side / 2).astype(np.int64)
    occupied = {tuple(cell) for cell in octree.cells(lods)[1].tolist()}
    points = points[[tuple(cell) not in occupied for cell in cells.tolist()]]
    exact = np.linalg.norm(points, axis=1) - 0.5
    bound = regions.distances(points)
    far = np.abs(exact) > 0.1  # samples of a sphere leave gaps at fine levels: seen from afar they are closed
    if lods < 8:
        assert np.array_equal(bound[far] < 0, exact[far] < 0)
    assert (np.abs(bound[far]) <= np.abs(exact[far]) + 0.01).all()
    assert np.abs(bound).max() > 0.2  # and the bound says something
