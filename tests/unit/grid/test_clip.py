"""A tree cut to a box: inside every voxel as before, outside background; what is whole stays whole."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.errors import UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.clip import box_of, clip_tree
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.testing import samples


def cut(grid: SparseGrid, box: list[int]) -> SparseGrid:
    tiles = np.concatenate([grid.lower_tile_values, grid.upper_tile_values, grid.root_tile_values])
    found = clip_tree(grid.topology, tiles, grid.background, lambda rows: grid.leaf_values[rows], box_of(box))
    lower, upper = found.topology.num_lower_tiles, found.topology.num_upper_tiles
    return replace(
        grid, topology=found.topology, leaf_values=found.leaf_values, lower_tile_values=found.tiles[:lower],
        upper_tile_values=found.tiles[lower : lower + upper], root_tile_values=found.tiles[lower + upper :],
    )  # fmt: skip


def with_tiles() -> SparseGrid:
    """A few leaves among active and inactive tiles of all levels."""
    grid = grid_of_dense("tiles", np.random.default_rng(1).normal(size=(20, 18, 17)), np.ones((20, 18, 17), bool),
                         origin=(-9, 4, 118), background=0.25)  # fmt: skip
    topology, rng = grid.topology, np.random.default_rng(2)
    wanted = masks.pack(rng.random((len(topology.lower_child), masks.LOWER_SLOTS)) < 0.3)
    upper = np.zeros((len(topology.upper_child), masks.UPPER_SLOTS), bool)
    upper[:, :3] = True
    topology = replace(
        topology, lower_active=wanted & ~topology.lower_child, upper_active=masks.pack(upper) & ~topology.upper_child,
        root_tile_origins=np.array([[4096, 0, 0]], np.int32), root_tile_active=np.array([True]),
    )  # fmt: skip
    grid = replace(grid, topology=topology, root_tile_values=np.array([[3.5]], np.float32))
    lower, upper_values = grid.lower_tile_values.copy(), grid.upper_tile_values.copy()
    lower[grid.lower_tile_mask()], upper_values[5:9] = 2, -1
    return replace(grid, lower_tile_values=lower, upper_tile_values=upper_values)


TILES = with_tiles()
CORNER = st.tuples(st.integers(-40, 40), st.integers(-20, 140), st.integers(90, 150))
SIZE = st.tuples(*[st.integers(0, 40)] * 3)


@given(low=CORNER, size=SIZE)
@settings(max_examples=30, deadline=None)
def test_inside_nothing_changes_and_outside_is_nothing(low: tuple[int, ...], size: tuple[int, ...]) -> None:
    high = np.add(low, size)
    found = cut(TILES, [*low, *high])
    rng = np.random.default_rng(0)
    points = rng.integers(np.array(low) - 20, high + 21, (500, 3))
    inside = np.all((points >= low) & (points <= high), axis=1)
    asked = {"space": "index", "interpolation": "nearest"}
    values, states = TILES.sample(points, **asked), TILES.active_at(points, **asked)
    assert np.array_equal(found.sample(points, **asked), np.where(inside[:, None], values, TILES.background))
    assert np.array_equal(found.active_at(points, **asked), states & inside)


def test_all_of_a_grid_is_the_grid() -> None:
    grid = samples.dense("vec3s", side=20)
    found = cut(grid, [-5000, -5000, -5000, 5000, 5000, 5000])
    assert found.topology.equals(grid.topology)
    assert np.array_equal(found.leaf_values, grid.leaf_values)


def test_nothing_of_a_grid_is_empty() -> None:
    found = cut(samples.dense("int32", side=9), [900, 900, 900, 901, 901, 901])
    assert found.topology.is_empty
    assert found.topology.num_leaves == 0


def test_tiles_that_are_whole_stay_and_others_break() -> None:
    found = cut(TILES, [4096, 0, 0, 8191, 4095, 4095])
    assert found.topology.root_tile_origins.tolist() == [[4096, 0, 0]]
    found = cut(TILES, [4096, 0, 0, 4096 + 255, 127, 130])
    assert len(found.topology.root_tile_origins) == 0
    assert len(found.topology.upper_origins) == 1
    assert masks.count(found.topology.upper_active) == 2
    assert found.topology.num_active_voxels == 256 * 128 * 131


def test_only_leaves_in_the_box_are_asked_for() -> None:
    grid, asked = samples.dense("float"), []
    tiles = np.concatenate([grid.lower_tile_values, grid.upper_tile_values])

    def leaves(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return grid.leaf_values[rows]

    origin = grid.topology.leaf_origins[7]
    found = clip_tree(grid.topology, tiles, grid.background, leaves, box_of([*origin, *origin + 7]))
    assert asked == [7]
    assert isinstance(found.topology, Topology)
    assert found.topology.num_leaves == 1


@pytest.mark.parametrize("box", ["abc", [1, 2, 3], [0, 0, 0, 1.5, 2, 2], [[0, 0, 0, 1, 1, 1]] * 2, None, [np.nan] * 6])
def test_what_is_no_box_is_refused(box: object) -> None:
    with pytest.raises(UsageError, match="x0, y0, z0"):
        box_of(box)


def test_a_box_ends_after_it_begins() -> None:
    with pytest.raises(UsageError, match="before it begins"):
        box_of([[0, 0, 0], [1, -1, 1]])
