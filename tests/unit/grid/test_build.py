"""Grids from leaves and dense boxes: against a plain dictionary of voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.grid import masks
from fieldcodec.grid.build import dense_of_grid, grid_of_dense, grid_of_leaves, topology_of_leaves
from fieldcodec.grid.sparse_grid import VolumeFile

ORIGINS = st.tuples(*[st.integers(-5000, 5000)] * 3)
SHAPES = st.tuples(*[st.integers(1, 20)] * 3)


def voxels_of(grid) -> dict[tuple[int, ...], tuple[float, ...]]:  # type: ignore[no-untyped-def]
    return dict(
        zip(map(tuple, grid.topology.active_voxels().tolist()), map(tuple, grid.active_values().tolist()), strict=True)
    )


@settings(deadline=None, max_examples=40)
@given(origin=ORIGINS, shape=SHAPES, seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_dense_box_gives_each_active_voxel_its_value(
    origin: tuple[int, int, int], shape: tuple[int, int, int], seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    values, active = rng.normal(size=shape).astype(np.float32), rng.random(shape) < share
    grid = grid_of_dense("g", values, active, origin=origin, background=9.0)
    expected = {
        tuple((np.array(at) + origin).tolist()): (float(values[tuple(at)]),) for at in np.argwhere(active).tolist()
    }
    assert voxels_of(grid) == expected
    assert grid.topology.num_active_voxels == active.sum()
    assert np.all(grid.leaf_values[~grid.topology.leaf_active_bits] == 9.0)
    assert grid.topology.leaf_active.any(axis=1).all()


@settings(deadline=None, max_examples=30)
@given(origin=ORIGINS, shape=SHAPES, seed=st.integers(0, 2**32 - 1), margin=st.integers(0, 9))
def test_dense_of_grid_inverts_grid_of_dense(
    origin: tuple[int, int, int], shape: tuple[int, int, int], seed: int, margin: int
) -> None:
    rng = np.random.default_rng(seed)
    values, active = rng.normal(size=(*shape, 3)).astype(np.float32), rng.random(shape) < 0.3
    grid = grid_of_dense("g", values, active, origin=origin, value_type="vec3s", background=(1.0, 2.0, 3.0))
    low = np.array(origin) - margin
    back, state = dense_of_grid(grid, low, low + np.array(shape) + 2 * margin)
    inner = tuple(slice(margin, margin + n) for n in shape)
    np.testing.assert_array_equal(state[inner], active)
    assert state.sum() == active.sum()
    np.testing.assert_array_equal(back[inner], np.where(active[..., None], values, (1.0, 2.0, 3.0)))


def test_inactive_values_are_kept() -> None:
    values, active = np.ones((8, 8, 8), np.float32), np.zeros((8, 8, 8), bool)
    active[0, 0, 0] = True
    grid = grid_of_dense("g", values, active, inactive_values=np.full((1, 1, 1, 1), -3.0), background=3.0)
    assert grid.leaf_values[0, 0, 0] == 1.0
    assert np.all(grid.leaf_values[0, 1:, 0] == -3.0)


@pytest.mark.parametrize(
    ("value_type", "dtype"),
    [("half", "<f2"), ("double", "<f8"), ("int32", "<i4"), ("int64", "<i8"), ("bool", "?"), ("vec3i", "<i4")],
)
def test_value_types(value_type: str, dtype: str) -> None:
    shape = (9, 3, 3, 3) if value_type == "vec3i" else (9, 3, 3)
    values = np.arange(np.prod(shape)).reshape(shape)
    grid = grid_of_dense("g", values, np.ones((9, 3, 3), bool), value_type=value_type)
    assert grid.leaf_values.dtype == np.dtype(dtype)
    back, _ = dense_of_grid(grid, np.zeros(3), np.array([9, 3, 3]))
    np.testing.assert_array_equal(back.reshape(shape), values.astype(dtype))


def test_no_active_voxel_gives_an_empty_tree() -> None:
    grid = grid_of_dense("g", np.zeros((5, 5, 5)), np.zeros((5, 5, 5), bool), background=2.0)
    topology = grid.topology
    assert topology.is_empty
    assert topology.active_bounds is None
    assert len(topology.upper_origins) == len(topology.lower_origins) == topology.num_leaves == 0
    assert grid.active_values().shape == (0, 1)
    assert grid.background == 2.0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60), spread=st.sampled_from([3, 40, 2000, 200_000]))
def test_leaves_in_any_order_find_their_place(seed: int, count: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    origins = np.unique(rng.integers(-spread, spread, (count, 3)), axis=0) * 8
    origins = rng.permutation(origins)
    active = rng.integers(0, 256, (len(origins), 64), dtype=np.uint8)
    topology, order = topology_of_leaves(origins, active)
    np.testing.assert_array_equal(topology.leaf_origins, origins[order])
    np.testing.assert_array_equal(topology.leaf_active, active[order])
    uppers = topology.upper_origins
    assert np.all(uppers % 4096 == 0)
    assert len({tuple(o) for o in (origins // 128).tolist()}) == len(topology.lower_origins)
    np.testing.assert_array_equal(uppers, np.unique(uppers, axis=0))  # sorted by x, y, z and distinct


def test_the_same_leaf_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves"):
        topology_of_leaves(np.zeros((2, 3), int), np.full((2, 64), 255, np.uint8))


def test_tiles_of_a_new_grid_are_inactive_background() -> None:
    grid = grid_of_leaves(
        "g", np.array([[0, 0, 0], [-8, 0, 0]]), np.full((2, 64), 255, np.uint8), np.ones((2, 512, 1)), background=0.5
    )
    assert len(grid.lower_tile_values) == 2 * 4096 - 2
    assert len(grid.upper_tile_values) == 2 * 32768 - 2
    assert np.all(grid.lower_tile_values == 0.5)
    assert not grid.lower_tile_mask().any()
    assert not grid.upper_tile_mask().any()
    assert grid.grid_class == "unknown"


def test_wrong_shape_of_values_is_refused() -> None:
    with pytest.raises(ValueError, match="leaf_values"):
        grid_of_leaves("g", np.zeros((1, 3), int), masks.pack(np.ones((1, 512), bool)), np.ones((1, 512, 2)))


def test_an_unknown_grid_name_is_named_in_the_error() -> None:
    grid = grid_of_dense("density", np.ones((1, 1, 1)), np.ones((1, 1, 1), bool))
    volume = VolumeFile((grid,))
    assert volume["density"] is volume[0] is volume[-1] is grid
    with pytest.raises(KeyError, match=r"'heat'.*'density'"):
        volume["heat"]
    with pytest.raises(KeyError, match="7"):
        volume[7]
