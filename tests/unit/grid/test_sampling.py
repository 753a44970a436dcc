"""Sampling a tree equals a plain look-up voxel by voxel, with the interpolation of OpenVDB and NanoVDB on top."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.errors import UsageError
from fieldcodec.field import Field
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing import samples


def look_up(grid: SparseGrid, ijk: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """Value [C] and state of one voxel, by the definition of the tree."""
    topology, place = grid.topology, np.array(ijk)

    def row_of(origins: np.ndarray, side: int) -> int:
        found = np.flatnonzero((origins == place // side * side).all(axis=1)) if len(origins) else []
        return int(found[0]) if len(found) else -1

    def tile(child: np.ndarray, node: int, slot: int) -> int:
        return int((~masks.unpack(child)).reshape(-1)[: node * child.shape[1] * 8 + slot].sum())

    leaf = row_of(topology.leaf_origins, 8)
    x, y, z = place
    if leaf >= 0:
        slot = (x & 7) << 6 | (y & 7) << 3 | (z & 7)
        return grid.leaf_values[leaf, slot], bool(topology.leaf_active_bits[leaf, slot])
    lower = row_of(topology.lower_origins, 128)
    if lower >= 0:
        slot = (x >> 3 & 15) << 8 | (y >> 3 & 15) << 4 | (z >> 3 & 15)
        number = tile(topology.lower_child, lower, slot)
        return grid.lower_tile_values[number], bool(grid.lower_tile_mask()[number])
    upper = row_of(topology.upper_origins, 4096)
    if upper >= 0:
        slot = (x >> 7 & 31) << 10 | (y >> 7 & 31) << 5 | (z >> 7 & 31)
        number = tile(topology.upper_child, upper, slot)
        return grid.upper_tile_values[number], bool(grid.upper_tile_mask()[number])
    root = row_of(topology.root_tile_origins, 4096)
    if root >= 0:
        return grid.root_tile_values[root], bool(topology.root_tile_active[root])
    return grid.background, False


def catmull_rom(t: float) -> list[float]:
    return [0.5 * (-t + 2 * t**2 - t**3), 0.5 * (2 - 5 * t**2 + 3 * t**3), 0.5 * (t + 4 * t**2 - 3 * t**3),
            0.5 * (t**3 - t**2)]  # fmt: skip


def expected(grid: SparseGrid, point: np.ndarray, interpolation: str) -> tuple[np.ndarray, bool]:
    """Value [C] and state at one point."""
    if interpolation == "nearest":
        return look_up(grid, tuple(int(np.copysign(np.floor(abs(x) + 0.5), x)) for x in point))
    first = np.floor(point).astype(int)
    fraction = point - first
    axes = [[1 - t, t] for t in fraction] if interpolation == "trilinear" else [catmull_rom(t) for t in fraction]
    first -= len(axes[0]) // 4
    total, active = np.zeros(grid.channels), False
    for offset in itertools.product(range(len(axes[0])), repeat=3):
        value, state = look_up(grid, tuple(int(x) for x in first + offset))
        total += np.prod([axis[i] for axis, i in zip(axes, offset, strict=True)]) * value.astype(np.float64)
        active |= state
    return total, active


def with_tiles() -> SparseGrid:
    """Active and inactive tiles of all levels around a few leaves, at negative coordinates too."""
    grid = grid_of_dense("tiles", np.random.default_rng(1).normal(size=(20, 18, 17)), np.ones((20, 18, 17), bool),
                         origin=(-9, 4, 118), background=0.25)  # fmt: skip
    rng, topology = np.random.default_rng(4), grid.topology
    lower_active = rng.random((len(topology.lower_child), masks.LOWER_SLOTS)) < 0.5
    upper_active = rng.random((len(topology.upper_child), masks.UPPER_SLOTS)) < 0.5
    topology = replace(
        topology,
        root_tile_origins=np.array([[4096, 0, 0], [-8192, 4096, 0], [8192, 0, 4096]], np.int32),
        root_tile_active=np.array([True, False, True]),
        lower_active=masks.pack(lower_active) & ~topology.lower_child,
        upper_active=masks.pack(upper_active) & ~topology.upper_child,
    )
    return replace(
        grid, topology=topology, transform=GridTransform.uniform(0.5, (1, 2, 3)),
        lower_tile_values=rng.normal(size=grid.lower_tile_values.shape).astype(np.float32),
        upper_tile_values=rng.normal(size=grid.upper_tile_values.shape).astype(np.float32),
        root_tile_values=np.array([[3.5], [-1.0], [2.0]], np.float32),
    )  # fmt: skip


TILES = with_tiles()
VECTORS = samples.dense("vec3d", side=12)
NEAR = st.floats(-16, 160, allow_nan=False) | st.integers(-20, 150).map(lambda x: x / 2)
FAR = st.sampled_from([0.0, 7.5, -0.5, 4095.3, 4096.0, -4096.5, 8191.9, -8192.0, 1e6, -1e9])


@pytest.mark.parametrize("interpolation", ["nearest", "trilinear", "tricubic"])
@given(points=st.lists(st.tuples(NEAR, NEAR, NEAR) | st.tuples(FAR, FAR, FAR), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_sampling_equals_looking_up_voxels(interpolation: str, points: list[tuple[float, ...]]) -> None:
    array = np.array(points)
    for grid in (TILES, VECTORS):
        found = grid.sample(array, space="index", interpolation=interpolation)
        states = grid.active_at(array, space="index", interpolation=interpolation)
        assert found.dtype == grid.value_type.dtype
        for point, value, state in zip(array, found, states, strict=True):
            wanted, active = expected(grid, point, interpolation)
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)
            assert state == active


@pytest.mark.parametrize("kind", ["half", "double", "int32", "int64", "uint32", "bool", "mask", "vec2s", "vec3i"])
def test_voxels_of_every_type_come_back(kind: str) -> None:
    grid = samples.dense(kind, side=12)
    found = grid.sample(grid.topology.active_voxels(), space="index", interpolation="nearest")
    assert found.dtype == (np.float32 if kind == "half" else grid.value_type.dtype)
    assert np.array_equal(found, grid.active_values().astype(found.dtype))
    assert grid.active_at(grid.topology.active_voxels(), space="index").all()


def test_interpolation_meets_voxels_exactly() -> None:
    grid = samples.dense("float", side=12)
    voxels = grid.topology.active_voxels()
    for interpolation in ("trilinear", "tricubic"):
        found = grid.sample(voxels.astype(np.float32), space="index", interpolation=interpolation)
        assert np.array_equal(found, grid.active_values())


def test_world_space_and_shapes() -> None:
    points = np.random.default_rng(0).uniform(-20, 60, (3, 5, 3))
    assert isinstance(TILES, Field)
    world = TILES.transform.to_world(points.reshape(-1, 3)).reshape(points.shape)
    found = TILES.sample(world)
    assert found.shape == (3, 5, 1)
    assert np.allclose(found, TILES.sample(points, space="index"), atol=1e-5)
    assert TILES.active_at(world).shape == (3, 5)
    assert TILES.sample(np.zeros((0, 3))).shape == (0, 1)


def test_tensors_give_tensors() -> None:
    points = torch.rand(7, 3, dtype=torch.float64, requires_grad=True)
    found = TILES.sample(points, space="index")
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), TILES.sample(points.detach().numpy(), space="index"))


def test_order_and_threads_do_not_matter() -> None:
    grid = sphere_level_set(12.0)
    points = np.random.default_rng(2).uniform(-18, 18, (9000, 3))
    order = np.random.default_rng(3).permutation(len(points))
    for interpolation in ("nearest", "trilinear", "tricubic"):
        found = grid.sample(points, space="index", interpolation=interpolation)
        assert np.array_equal(found[order], grid.sample(points[order], space="index", interpolation=interpolation))


def test_halves_round_away_from_zero_as_in_openvdb() -> None:
    values = np.arange(20.0).reshape(20, 1, 1)
    grid = grid_of_dense("line", values, values >= 0, origin=(-10, 0, 0))
    along = np.array([-1.5, -0.5, 0.5, 1.5, 0.49999999999999994])
    found = grid.sample(along[:, None] * [1, 0, 0], space="index", interpolation="nearest")
    assert found[:, 0].tolist() == [8, 9, 11, 12, 10]


def test_nowhere_is_background() -> None:
    points = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [0, -1e300, 0], [1e5, 1e5, 1e5]])
    for interpolation in ("nearest", "trilinear", "tricubic"):
        assert (TILES.sample(points, interpolation=interpolation) == TILES.background).all()
        assert not TILES.active_at(points, interpolation=interpolation)[:3].any()


def test_empty_grid_and_bounds() -> None:
    empty = grid_of_dense("empty", np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool), background=3.0)
    assert empty.bounds is None
    assert (empty.sample(np.zeros((2, 3))) == 3).all()
    one = grid_of_dense("one", np.ones((1, 2, 1)), np.ones((1, 2, 1), bool), transform=GridTransform.uniform(0.5))
    low, high = one.bounds
    assert (low.tolist(), high.tolist()) == ([-0.25] * 3, [0.25, 0.75, 0.25])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": np.zeros((4, 2))}, "shape"),
        ({"points": np.zeros((2, 3), complex)}, "numbers"),
        ({"points": 1.0}, "shape"),
        ({"points": np.zeros((2, 3)), "space": "moon"}, "world and index"),
        ({"points": np.zeros((2, 3)), "interpolation": "best"}, "nearest, trilinear, tricubic"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TILES.sample(**arguments)


def test_integers_are_not_mixed() -> None:
    with pytest.raises(UsageError, match="nearest"):
        samples.dense("int32", side=4).sample(np.zeros((1, 3)))
