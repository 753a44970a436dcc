"""Octrees: order of cells, levels, several roots, and the cells around points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.grid.octree import MAX_LODS, Octree, cell_edge, from_morton, morton, stencils


def _random_tree(rng: np.random.Generator, lods: int, cells: int = 60) -> Octree:
    return Octree.of_cells(rng.integers(0, 1 << lods, (cells, 3)), lods)


def test_children_are_ordered_with_x_first() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    np.testing.assert_array_equal(morton(corners), np.arange(8))
    assert morton(np.array([[0b101, 0b011, 0b110]]))[0] == 0b101_011_110  # triples of bits are x, y, z: 1 0 1, ...


@given(st.lists(st.tuples(*[st.integers(0, (1 << 20) - 1)] * 3), min_size=1, max_size=50))
def test_morton_numbers_lead_back(cells: list[tuple[int, int, int]]) -> None:
    array = np.array(cells, np.int64)
    np.testing.assert_array_equal(from_morton(morton(array)), array)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_levels_are_all_ancestors_of_the_cells(seed: int, lods: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 1 << lods, (40, 3))
    tree = Octree.of_cells(cells, lods)
    assert tree.lods == lods
    for level in range(lods + 1):
        roots, found = tree.cells(level)
        expected = np.unique(cells >> (lods - level), axis=0)
        assert not roots.any()
        assert {tuple(cell) for cell in found.tolist()} == {tuple(cell) for cell in expected.tolist()}
        assert len(found) == tree.num_cells[level] == len(expected)
        assert (np.diff(tree.numbers[level]) > 0).all()
    for level in range(lods):
        rows = tree.child_rows[level]
        above, below = tree.numbers[level], tree.numbers[level + 1]
        parents, children = np.nonzero(rows >= 0)
        np.testing.assert_array_equal(below[rows[parents, children]], above[parents] * 8 + children)
        np.testing.assert_array_equal(rows[rows >= 0], np.arange(len(below)))
        np.testing.assert_array_equal(tree.kept[level], np.flatnonzero(rows.ravel() >= 0))


def test_several_objects_are_one_octree_and_come_apart_again() -> None:
    rng = np.random.default_rng(0)
    trees = [_random_tree(rng, 4) for _ in range(3)]
    joined = Octree.joined(trees)
    assert joined.roots == 3
    for root, tree in enumerate(trees):
        alone = joined.of_root(root)
        assert all(np.array_equal(a, b) for a, b in zip(alone.child_masks, tree.child_masks, strict=True))
    roots, _ = joined.cells(4)
    assert np.bincount(roots).tolist() == [tree.num_cells[-1] for tree in trees]
    assert joined.cut(2).lods == 2


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_needed_cells_and_their_ancestors_are_an_octree(share: float) -> None:
    rng = np.random.default_rng(3)
    tree = Octree.joined([_random_tree(rng, 4) for _ in range(3)])
    chosen = [rng.permutation(count)[: int(share * count)] for count in tree.num_cells]
    needed = tree.needed([np.concatenate([rows, rows, [-1]]).astype(np.int32) for rows in chosen])
    alone = tree.of_needed(needed)
    assert alone.roots == tree.roots
    for level in range(1, 5):
        above = [tree.numbers[finer][chosen[finer]] >> 3 * (finer - level) for finer in range(level, 5)]
        np.testing.assert_array_equal(tree.numbers[level][needed[level]], np.unique(np.concatenate(above)))
        np.testing.assert_array_equal(alone.numbers[level], tree.numbers[level][needed[level]])


def test_edges_halve() -> None:
    assert [cell_edge(level) for level in range(4)] == [2.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize("lods", [1, 5, MAX_LODS])
def test_stencils_are_the_eight_nearest_centres(lods: int) -> None:
    rng = np.random.default_rng(lods)
    joined = Octree.joined([_random_tree(rng, lods, 400) for _ in range(2)])
    roots, points = rng.integers(0, 2, 300), rng.uniform(-1.05, 1.05, (300, 3)).astype(np.float32)
    rows, places = stencils(joined, roots, points)
    for level in range(1, lods + 1):
        at = {(*cell, root): row for row, (root, cell) in enumerate(zip(*_as_lists(joined, level), strict=True))}
        position = np.clip((points.astype(np.float64) + 1) / cell_edge(level) - 0.5, -1, 1 << level)
        for point in range(len(points)):
            low = np.floor(position[point]).astype(int)
            if np.abs(position[point] - np.rint(position[point])).min() < 1e-4:
                continue  # on the border between two, either will do
            assert np.allclose(places[point, level - 1], position[point] - low, atol=1e-3)
            for corner in range(8):
                cell = low + np.array([corner >> 2, corner >> 1 & 1, corner & 1])
                assert rows[point, level - 1, corner] == at.get((*cell.tolist(), int(roots[point])), -1)


def _as_lists(tree: Octree, level: int) -> tuple[list[int], list[tuple[int, ...]]]:
    roots, cells = tree.cells(level)
    return roots.tolist(), [tuple(cell) for cell in cells.tolist()]


def test_no_points_have_no_stencils() -> None:
    rows, places = stencils(_random_tree(np.random.default_rng(0), 3), np.zeros(0, np.int64), np.zeros((0, 3)))
    assert rows.shape == (0, 3, 8)
    assert places.shape == (0, 3, 3)


def test_points_far_outside_see_nothing() -> None:
    tree = Octree.of_cells(np.stack(np.meshgrid(*[range(4)] * 3), axis=-1).reshape(-1, 3), 2)
    rows, places = stencils(tree, np.zeros(2, np.int64), np.array([[1e30, 0, 0], [-5, -5, -5]], np.float32))
    assert np.isfinite(places).all()
    weights = np.where(np.arange(8)[:, None] >> np.array([2, 1, 0]) & 1, places[:, :, None], 1 - places[:, :, None])
    assert not ((rows >= 0) & (weights.prod(axis=3) > 0)).any()
