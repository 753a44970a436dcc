"""The tree: derived origins, counts, bounds and comparison, with active tiles at every level."""

import dataclasses

import numpy as np
import pytest

from fieldcodec.grid import masks
from fieldcodec.grid.build import topology_of_leaves
from fieldcodec.grid.topology import Topology


def bits(slots: int, *on: int) -> np.ndarray:
    row = np.zeros(slots, bool)
    row[list(on)] = True
    return masks.pack(row)


@pytest.fixture
def tree() -> Topology:
    """One upper node at (-4096, 0, 0) with a lower node in its last slot in x and an active tile in slot 1;
    the lower node has one leaf, in slot 17, and an active tile in slot 5; one active and one inactive root tile."""
    lower_slot = 31 << 10
    return Topology(
        root_tile_origins=np.array([[0, 4096, 0], [0, 8192, 0]], np.int32),
        root_tile_active=np.array([True, False]),
        upper_origins=np.array([[-4096, 0, 0]], np.int32),
        upper_child=bits(32768, lower_slot)[None],
        upper_active=bits(32768, 1)[None],
        lower_child=bits(4096, 17)[None],
        lower_active=bits(4096, 5)[None],
        leaf_active=bits(512, 0, 511, 64)[None],
    )


def test_origins_are_derived(tree: Topology) -> None:
    np.testing.assert_array_equal(tree.lower_origins, [[-128, 0, 0]])
    np.testing.assert_array_equal(tree.leaf_origins, [[-128, 8, 8]])  # slot 17 is (0, 1, 1)
    np.testing.assert_array_equal(tree.active_voxels(), [[-128, 8, 8], [-127, 8, 8], [-121, 15, 15]])


def test_counts(tree: Topology) -> None:
    assert tree.num_leaves == 1
    assert tree.num_active_leaf_voxels == 3
    assert tree.num_active_voxels == 3 + 8**3 + 128**3 + 4096**3
    assert not tree.is_empty
    np.testing.assert_array_equal(tree.leaf_active_bits.sum(axis=1), [3])


def test_bounds_take_tiles_in(tree: Topology) -> None:
    low, high = tree.active_bounds  # type: ignore[misc]
    np.testing.assert_array_equal(low, [-4096, 0, 0])
    np.testing.assert_array_equal(high, [4095, 8191, 4095])


def test_bounds_of_voxels_alone() -> None:
    rng = np.random.default_rng(0)
    origins = np.unique(rng.integers(-30, 30, (40, 3)), axis=0) * 8
    active = masks.pack(rng.random((len(origins), 512)) < 0.01)
    topology, _ = topology_of_leaves(origins, active)
    voxels = topology.active_voxels()
    low, high = topology.active_bounds  # type: ignore[misc]
    np.testing.assert_array_equal(low, voxels.min(axis=0))
    np.testing.assert_array_equal(high, voxels.max(axis=0))


def test_bounds_at_the_ends_of_the_index_range() -> None:
    origins = np.array([[2**31 - 8] * 3, [-(2**31)] * 3])
    topology, _ = topology_of_leaves(origins, np.full((2, 64), 255, np.uint8))
    low, high = topology.active_bounds  # type: ignore[misc]
    np.testing.assert_array_equal(low, [-(2**31)] * 3)
    np.testing.assert_array_equal(high, [2**31 - 1] * 3)


def test_equal_trees_do_not_differ(tree: Topology) -> None:
    other = dataclasses.replace(tree, leaf_active=tree.leaf_active.copy())
    assert tree.equals(other)
    assert tree.differs_from(other) == 0


@pytest.mark.parametrize(
    ("change", "voxels"),
    [
        ({"leaf_active": bits(512, 0, 511)[None]}, 1),
        ({"lower_active": bits(4096)[None]}, 8**3),
        ({"upper_active": bits(32768, 1, 2)[None]}, 128**3),
        ({"root_tile_active": np.array([True, True])}, 4096**3),
    ],
)
def test_a_change_of_state_counts_its_voxels(tree: Topology, change: dict[str, np.ndarray], voxels: int) -> None:
    other = dataclasses.replace(tree, **change)
    assert not tree.equals(other)
    assert tree.differs_from(other) == other.differs_from(tree) == voxels


def test_a_missing_leaf_counts_as_node_and_by_its_voxels(tree: Topology) -> None:
    other = dataclasses.replace(tree, lower_child=bits(4096)[None], leaf_active=np.zeros((0, 64), np.uint8))
    assert tree.differs_from(other) == other.differs_from(tree) == 3 + 1


def test_an_inactive_leaf_still_is_a_node(tree: Topology) -> None:
    more = dataclasses.replace(
        tree, lower_child=bits(4096, 17, 18)[None], leaf_active=np.concatenate([tree.leaf_active, bits(512)[None]])
    )
    assert tree.differs_from(more) == 1


def test_a_tile_and_a_full_leaf_differ_by_the_node_only(tree: Topology) -> None:
    full = dataclasses.replace(
        tree,
        lower_child=bits(4096, 5, 17)[None],
        lower_active=bits(4096)[None],
        leaf_active=np.concatenate([np.full((1, 64), 255, np.uint8), tree.leaf_active]),
    )
    assert full.num_active_voxels == tree.num_active_voxels
    assert tree.differs_from(full) == 1


def test_moved_trees_differ_everywhere(tree: Topology) -> None:
    moved = dataclasses.replace(tree, upper_origins=np.array([[4096, 0, 0]], np.int32))
    assert tree.differs_from(moved) == 2 * (3 + 8**3 + 128**3) + 2 * 3  # three nodes each in one tree only


def test_numbers_of_children_are_checked(tree: Topology) -> None:
    with pytest.raises(ValueError, match="1 leaves"):
        dataclasses.replace(tree, leaf_active=np.zeros((2, 64), np.uint8))
