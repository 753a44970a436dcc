"""Finding nodes by origin, sets of voxels, and values by place, against plain dictionaries and sets."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense, topology_of_leaves
from fieldcodec.grid.lookup import blocks_at, negative_set, tiles_of
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.voxel_set import VoxelSet

EDGES = (-(2**31), -4096, -8, 0, 8, 128, 4096, 2**31 - 8)
ORIGINS = st.lists(st.tuples(*[st.sampled_from(EDGES)] * 3), max_size=30)


@given(table=ORIGINS, queries=ORIGINS)
@settings(max_examples=60, deadline=None)
def test_origin_table_finds_what_a_dictionary_finds(table, queries):
    table = list(dict.fromkeys(table))
    rows = {origin: row for row, origin in enumerate(table)}
    found = OriginTable(np.array(table, np.int32).reshape(-1, 3)).find(np.array(queries, np.int32).reshape(-1, 3))
    assert found.tolist() == [rows.get(query, -1) for query in queries]


def voxels_of(
    cubes: dict[int, list[tuple[int, ...]]], leaves: dict[tuple[int, ...], list[int]]
) -> set[tuple[int, ...]]:
    """All voxels of cubes and leaves, one by one."""
    inside = set()
    for log2, origins in cubes.items():
        for origin in origins:
            inside |= {tuple(np.add(origin, offset)) for offset in product(range(1 << log2), repeat=3)}
    for origin, slots in leaves.items():
        inside |= {(origin[0] + (s >> 6), origin[1] + ((s >> 3) & 7), origin[2] + (s & 7)) for s in slots}
    return inside


def voxel_set(cubes, leaves) -> VoxelSet:
    bits = np.zeros((len(leaves), 512), bool)
    for row, slots in enumerate(leaves.values()):
        bits[row, slots] = True
    arrays = {log2: np.array(origins, np.int32).reshape(-1, 3) for log2, origins in cubes.items()}
    return VoxelSet(arrays, np.array(list(leaves), np.int32).reshape(-1, 3), masks.pack(bits))


@st.composite
def small_sets(draw):
    """Cubes of 8 and 16 voxels and leaves in a box of 32 x 16 x 16 voxels, none overlapping."""
    cubes: dict[int, list[tuple[int, ...]]] = {3: [], 4: []}
    leaves: dict[tuple[int, ...], list[int]] = {}
    for x in (-16, 0):
        if draw(st.integers(0, 3)) == 0:
            cubes[4].append((x, 0, 0))
            continue
        for offset in product((0, 8), repeat=3):
            kind, origin = draw(st.integers(0, 3)), (x + offset[0], offset[1], offset[2])
            if kind == 0:
                cubes[3].append(origin)
            elif kind == 1:
                leaves[origin] = draw(st.lists(st.integers(0, 511), max_size=6, unique=True))
    return cubes, leaves


@given(first=small_sets(), second=small_sets())
@settings(max_examples=25, deadline=None)
def test_voxel_sets_overlap_as_sets_do(first, second):
    a, b = voxel_set(*first), voxel_set(*second)
    plain_a, plain_b = voxels_of(*first), voxels_of(*second)
    assert a.count == len(plain_a)
    assert a.intersection(b) == b.intersection(a) == len(plain_a & plain_b)
    assert a.union(b) == len(plain_a | plain_b)
    assert a.symmetric_difference(b) == len(plain_a ^ plain_b)


def tiled_grid() -> SparseGrid:
    """Two leaves, one active tile of 8^3 and one of 128^3 voxels, an inactive root tile."""
    values = np.arange(16 * 8 * 8, dtype=np.float32).reshape(16, 8, 8)
    grid = grid_of_dense("tiles", values, values % 3 > 0, background=-7)
    lower_active, upper_active = np.zeros((1, 4096), bool), np.zeros((1, 32768), bool)
    lower_active[0, 5] = True  # at (0, 0, 40)
    upper_active[0, 33] = True  # at (0, 128, 128)
    topology = replace(
        grid.topology,
        lower_active=masks.pack(lower_active),
        upper_active=masks.pack(upper_active),
        root_tile_origins=np.array([[4096, 0, 0]], np.int32),
        root_tile_active=np.array([False]),
    )
    lower_values, upper_values = grid.lower_tile_values.copy(), grid.upper_tile_values.copy()
    lower_values[4] = -50  # slots without child only: slot 0 is a leaf
    upper_values[32] = 60
    return replace(
        grid, topology=topology, lower_tile_values=lower_values, upper_tile_values=upper_values,
        root_tile_values=np.array([[70]], np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("origin", "row", "value", "active"),
    [
        ((0, 0, 0), 0, None, None),
        ((8, 0, 0), 1, None, None),
        ((0, 0, 40), -1, -50, True),
        ((0, 0, 48), -1, -7, False),
        ((64, 200, 248), -1, 60, True),
        ((0, 128, 256), -1, -7, False),
        ((8184, 8, 4088), -1, 70, False),
        ((-8, 0, 0), -1, -7, False),
        ((2**31 - 8, -(2**31), 0), -1, -7, False),
    ],
)
def test_blocks_at_gives_leaf_tile_or_background(origin, row, value, active):
    found = blocks_at(tiled_grid(), np.array([origin], np.int32))
    assert found.rows[0] == row
    if row < 0:
        assert found.fill[0, 0] == value
        assert found.fill_active[0] == active
        assert np.all(found.values(slice(0, 1)) == value)


def test_blocks_give_values_and_states_of_leaves():
    grid = tiled_grid()
    found = blocks_at(grid, np.array([[8, 0, 0], [0, 0, 40], [0, 0, 0]], np.int32))
    assert np.array_equal(found.values(slice(0, 3))[[0, 2]], grid.leaf_values[[1, 0]])
    assert np.array_equal(found.active(slice(0, 3))[[0, 2]], grid.topology.leaf_active_bits[[1, 0]])
    assert found.active(slice(0, 3))[1].all()
    assert found.at(np.array([0, 1]), np.array([3, 9]))[:, 0].tolist() == [512 + 3, -50]


def test_tiles_stand_where_their_slots_are():
    grid = tiled_grid()
    lower, upper, root = (tiles_of(grid, log2) for log2 in (3, 7, 12))
    assert lower.origins[lower.active].tolist() == [[0, 0, 40]]
    assert upper.origins[upper.active].tolist() == [[0, 128, 128]]
    assert root.origins.tolist() == [[4096, 0, 0]]
    assert lower.values[lower.active].tolist() == [[-50]]


def test_negative_set_counts_leaves_and_tiles_but_no_background():
    negative = negative_set(tiled_grid())
    # All tiles but those of 60 and 70 are below zero, and so are the 342 inactive voxels of the leaves.
    assert negative.count == 342 + (4096 - 2) * 8**3 + (32768 - 1 - 1) * 128**3


def test_differs_from_counts_voxels_and_nodes():
    grid = tiled_grid()
    topology = grid.topology
    assert topology.differs_from(topology) == 0
    flipped = topology.leaf_active.copy()
    flipped[0, 0] ^= 0b101
    assert topology.differs_from(replace(topology, leaf_active=flipped)) == 2
    no_tile = replace(topology, lower_active=np.zeros_like(topology.lower_active))
    assert topology.differs_from(no_tile) == no_tile.differs_from(topology) == 512
    no_root_tile = replace(topology, root_tile_origins=np.zeros((0, 3), np.int32), root_tile_active=np.zeros(0, bool))
    assert topology.differs_from(no_root_tile) == 1


def test_differs_from_sees_a_leaf_of_one_tree_only_even_when_it_is_empty():
    origins, active = np.array([[0, 0, 0], [8, 0, 0]]), np.zeros((2, 64), np.uint8)
    active[0, 0] = 0b111
    both, _ = topology_of_leaves(origins, active)
    one, _ = topology_of_leaves(origins[:1], active[:1])
    assert both.differs_from(one) == one.differs_from(both) == 1
    far, _ = topology_of_leaves(origins[:1] + 8192, active[:1])
    # Three voxels here and three there; a leaf, a lower and an upper node in each tree only.
    assert one.differs_from(far) == 6 + 6


@given(places=st.lists(st.tuples(*[st.integers(-300, 300)] * 3), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_active_bounds_are_those_of_the_voxels(places):
    voxels = np.array(places)
    origins, leaf = np.unique(voxels & ~7, axis=0, return_inverse=True)
    bits = np.zeros((len(origins), 512), bool)
    local = voxels & 7
    bits[leaf.reshape(-1), (local[:, 0] << 6) | (local[:, 1] << 3) | local[:, 2]] = True
    topology, _ = topology_of_leaves(origins, masks.pack(bits))
    low, high = topology.active_bounds
    assert low.tolist() == voxels.min(axis=0).tolist()
    assert high.tolist() == voxels.max(axis=0).tolist()


def test_active_bounds_take_tiles_in_and_are_none_when_empty():
    low, high = tiled_grid().topology.active_bounds
    assert low.tolist() == [0, 0, 0]
    assert high.tolist() == [127, 255, 255]
    empty, _ = topology_of_leaves(np.zeros((1, 3), int), np.zeros((1, 64), np.uint8))
    assert isinstance(empty, Topology)
    assert empty.active_bounds is None
