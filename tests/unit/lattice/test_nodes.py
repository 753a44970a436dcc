"""Which nodes a lattice has, and their numbers."""

from itertools import product

import numpy as np
import pytest

from fieldcodec.lattice import basis, nodes
from fieldcodec.lattice.nodes import NodeSet, block_side

EVERY = [(stride, degree) for stride in basis.STRIDES for degree in basis.DEGREES]


def leaves(count: int = 12, reach: int = 30, seed: int = 0) -> np.ndarray:
    """[n, 3] int32: leaves in a few clumps on both sides of zero, two of them touching a corner at the origin."""
    rng = np.random.default_rng(seed)
    clumps = rng.integers(-reach, reach, (4, 3))
    cells = np.concatenate([clumps[rng.integers(0, 4, count)] + rng.integers(0, 3, (count, 3)), [[0, 0, 0], [-1] * 3]])
    return (np.unique(cells, axis=0) * 8).astype(np.int32)


def needed_nodes(origins: np.ndarray, stride: int, degree: int) -> list[tuple[int, int, int]]:
    """The nodes around every voxel of every leaf, in the order of blocks and places."""
    found: set[tuple[int, int, int]] = set()
    for origin in origins.tolist():
        axes = []
        for start in origin:
            firsts = {voxel // stride + basis.first_tap(degree) for voxel in range(start, start + 8)}
            axes.append({first + tap for first in firsts for tap in range(basis.num_taps(degree))})
        found.update(product(*axes))
    side = block_side(stride)
    return sorted(found, key=lambda cell: (tuple(x // side for x in cell), cell))


@pytest.mark.parametrize(("stride", "degree"), EVERY)
def test_nodes_are_those_that_voxels_need_in_order_of_blocks(stride: int, degree: int) -> None:
    origins = leaves()
    nodes = NodeSet.of_leaves(origins, stride, degree)
    wanted = needed_nodes(origins, stride, degree)
    assert [tuple(cell) for cell in nodes.cells.tolist()] == wanted
    assert len(nodes) == len(wanted)
    blocks = [tuple(x // block_side(stride) for x in cell) for cell in wanted]
    starts = [blocks.index(tuple(block)) for block in nodes.blocks.tolist()]
    assert nodes.block_starts.tolist() == [*starts, len(wanted)]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize(("stride", "degree"), EVERY)
def test_find_is_the_inverse_of_cells(stride: int, degree: int) -> None:
    nodes = NodeSet.of_leaves(leaves(seed=1), stride, degree)
    assert np.array_equal(nodes.find(nodes.cells), np.arange(len(nodes)))
    known = {tuple(cell): number for number, cell in enumerate(nodes.cells.tolist())}
    rng = np.random.default_rng(2)
    near = nodes.cells[rng.integers(0, len(nodes), 3000)] + rng.integers(-3, 4, (3000, 3))
    asked = np.concatenate([near, [[10**9, 0, 0], [0, -(10**9), 5], [2**40, 2**40, -(2**40)]]])
    assert nodes.find(asked).tolist() == [known.get(tuple(cell), -1) for cell in asked.tolist()]
    assert nodes.find(np.zeros((0, 3), np.int64)).shape == (0,)


@pytest.mark.parametrize(("stride", "degree"), EVERY)
def test_leaf_table_names_the_nodes_of_each_window(stride: int, degree: int) -> None:
    origins = leaves(seed=3)
    nodes = NodeSet.of_leaves(origins, stride, degree)
    known = {tuple(cell): number for number, cell in enumerate(nodes.cells.tolist())}
    width, weights = basis.window(stride, degree), basis.leaf_weights(stride, degree)
    assert np.array_equal(nodes.leaf_phases, origins % stride)
    for origin, row in zip(origins.tolist(), nodes.leaf_table.tolist(), strict=True):
        first = [x // stride + basis.first_tap(degree) for x in origin]
        used = [weights[x % stride].any(axis=0) for x in origin]
        for place, offset in enumerate(product(range(width), repeat=3)):
            number = known.get(tuple(a + b for a, b in zip(first, offset, strict=True)))
            if number is None:
                assert not all(used[axis][tap] for axis, tap in enumerate(offset))  # no voxel gives it a weight
                assert row[place] == 0
            else:
                assert row[place] == number


def test_numbers_do_not_depend_on_the_order_of_leaves() -> None:
    origins = leaves(seed=4)
    shuffled = np.random.default_rng(0).permutation(origins)
    one, two = (NodeSet.of_leaves(each, 4, 3) for each in (origins, shuffled))
    assert np.array_equal(one.cells, two.cells)
    assert np.array_equal(one.block_starts, two.block_starts)


def test_blocks_are_whole_numbers_of_leaves_and_words() -> None:
    for stride in basis.STRIDES:
        side = block_side(stride)
        assert 128 <= side * stride <= 144
        assert side * stride % 8 == 0
        assert side**3 % 64 == 0


def test_one_leaf_by_hand() -> None:
    nodes = NodeSet.of_leaves(np.array([[-8, 0, 8]]), 8, 1)
    assert nodes.cells.tolist() == [
        [-1, 0, 1], [-1, 0, 2], [-1, 1, 1], [-1, 1, 2], [0, 0, 1], [0, 0, 2], [0, 1, 1], [0, 1, 2],
    ]  # fmt: skip
    assert nodes.blocks.tolist() == [[-1, 0, 0], [0, 0, 0]]
    assert nodes.block_starts.tolist() == [0, 4, 8]
    assert nodes.leaf_table.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_no_leaves_have_no_nodes() -> None:
    nodes = NodeSet.of_leaves(np.zeros((0, 3), np.int32), 4, 3)
    assert len(nodes) == 0
    assert nodes.cells.shape == (0, 3)
    assert nodes.block_starts.tolist() == [0]
    assert nodes.find(np.zeros((1, 3), np.int64)).tolist() == [-1]
    assert nodes.leaf_table.shape == (0, basis.window(4, 3) ** 3)


def test_leaves_far_apart_need_no_more_memory_than_near_ones() -> None:
    far = 2**31 - 2048
    origins = np.array([[-far, -far, -far], [0, 0, 0], [far, far, far]], np.int64)
    nodes = NodeSet.of_leaves(origins, 4, 3)
    assert len(nodes) == 3 * len(NodeSet.of_leaves(origins[1:2], 4, 3))
    assert np.array_equal(nodes.find(nodes.cells), np.arange(len(nodes)))
    assert nodes.leaf_table.min() >= 0


@pytest.mark.parametrize("reach", [3, 2**28 - 1])  # the second too far apart for one number a block
def test_blocks_do_not_depend_on_how_they_are_sorted(monkeypatch: pytest.MonkeyPatch, reach: int) -> None:
    origins = np.random.default_rng(3).integers(-reach, reach, (60, 3)).astype(np.int32) * 8
    found = NodeSet.of_leaves(origins, 8, 3)
    monkeypatch.setattr(nodes, "_MOST_NUMBERS", 0)
    expected = NodeSet.of_leaves(origins, 8, 3)
    np.testing.assert_array_equal(found.blocks, expected.blocks)
    np.testing.assert_array_equal(found.leaf_nodes, expected.leaf_nodes)
    np.testing.assert_array_equal(found.blocks, np.unique(found.blocks, axis=0))
