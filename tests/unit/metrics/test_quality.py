"""Quality metrics against slow dense loops that share no code with them."""

import json
import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.metrics.quality import compare_grids
from fieldcodec.metrics.values import absolute_difference

VOXEL = 0.25


@dataclass
class Dense:
    """The oracle's grid: plain dictionaries of voxels."""

    values: dict[tuple[int, ...], float]  # all voxels of leaves
    active: set[tuple[int, ...]]
    background: float

    def at(self, ijk: tuple[int, ...]) -> float:
        return self.values.get(ijk, self.background)

    def sample(self, point: tuple[float, ...]) -> float:
        """Trilinear, the long way."""
        base = [math.floor(x) for x in point]
        total = 0.0
        for corner in product((0, 1), repeat=3):
            weight = math.prod(p - b if c else 1 - (p - b) for p, b, c in zip(point, base, corner, strict=True))
            total += weight * self.at(tuple(b + c for b, c in zip(base, corner, strict=True)))
        return total

    def surface(self) -> list[tuple[float, ...]]:
        """Where edges between voxels of leaves cross zero."""
        points = []
        for ijk, value in self.values.items():
            for axis in range(3):
                after = tuple(c + (a == axis) for a, c in enumerate(ijk))
                if after in self.values and (value < 0) != (self.values[after] < 0):
                    step = value / (value - self.values[after])
                    points.append(tuple(c + step * (a == axis) for a, c in enumerate(ijk)))
        return points


def oracle_iou(a: Dense, b: Dense) -> float | None:
    inside_a = {ijk for ijk, value in a.values.items() if value < 0}
    inside_b = {ijk for ijk, value in b.values.items() if value < 0}
    return len(inside_a & inside_b) / len(inside_a | inside_b) if inside_a | inside_b else None


def oracle_mcd(a: Dense, b: Dense) -> float | None:
    means = []
    for surface, other in ((a, b), (b, a)):
        points = surface.surface()
        if points:
            means.append(sum(abs(other.sample(point)) for point in points) / len(points) / VOXEL)
    return sum(means) / len(means) if means else None


def level_set(center: tuple[float, ...], radius: float, noise: float, seed: int, origin: tuple[int, int, int]):
    """A small noisy sphere as a grid, and the same for the oracle."""
    shape = (17, 14, 12)
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = np.linalg.norm(places - np.array(center), axis=-1) - radius
    distance = distance + noise * rng.standard_normal(shape)
    active = np.abs(distance) < 2
    values = (np.clip(distance, -2, 2) * VOXEL).astype(np.float32)
    grid = grid_of_dense(
        "sphere", values, active, origin=origin, background=2 * VOXEL, inactive_values=values[..., None],
        transform=GridTransform.uniform(VOXEL), grid_class="level set",
    )  # fmt: skip
    return grid, dense_of(values, active, origin, 2 * VOXEL)


def dense_of(values, active, origin, background) -> Dense:
    """Voxel by voxel; a leaf exists where a block of 8^3 has an active voxel."""
    where = {tuple(np.add(index, origin).tolist()): bool(state) for index, state in np.ndenumerate(active)}
    blocks = {tuple(c >> 3 for c in ijk) for ijk, state in where.items() if state}
    voxels = {}
    for block in blocks:
        for offset in product(range(8), repeat=3):
            ijk = tuple(8 * b + o for b, o in zip(block, offset, strict=True))
            local = tuple(c - o for c, o in zip(ijk, origin, strict=True))
            inside = all(0 <= c < n for c, n in zip(local, active.shape, strict=True))
            voxels[ijk] = float(values[local]) if inside else background
    return Dense(voxels, {ijk for ijk, state in where.items() if state}, background)


@given(
    seed=st.integers(0, 10**6),
    origin=st.tuples(*[st.integers(-9, 9)] * 3),
    radius=st.floats(2.5, 6),
    shift=st.floats(-1.5, 1.5),
    noise=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=8, deadline=None)
def test_level_set_metrics_agree_with_the_oracle(seed, origin, radius, shift, noise):
    a, slow_a = level_set((7, 6.5, 5), radius, 0.0, seed, origin)
    b, slow_b = level_set((7 + shift, 6.5, 5.2), radius, noise, seed + 1, origin)
    quality = compare_grids(a, b)
    assert quality.iou == pytest.approx(oracle_iou(slow_a, slow_b))
    assert quality.mcd == pytest.approx(oracle_mcd(slow_a, slow_b), rel=1e-6)
    both = slow_a.active & slow_b.active
    errors = [abs(slow_a.at(ijk) - slow_b.at(ijk)) for ijk in both]
    assert quality.compared_voxels == len(both)
    assert quality.active_voxels == len(slow_a.active)
    assert quality.rmse == pytest.approx(math.sqrt(sum(e * e for e in errors) / len(errors)), abs=1e-12)
    assert quality.max_error == pytest.approx(max(errors))
    span = [slow_a.at(ijk) for ijk in slow_a.active]
    assert quality.value_range == pytest.approx(max(span) - min(span))
    leaves = {tuple(c >> 3 for c in ijk) for ijk in slow_a.values} ^ {
        tuple(c >> 3 for c in ijk) for ijk in slow_b.values
    }
    # The box lies in at most a few nodes; those of one tree only count too.
    assert quality.topology_differs >= len(slow_a.active ^ slow_b.active) + len(leaves)
    box = np.array(sorted(slow_a.active))
    assert quality.effective_resolution == tuple(np.ptp(box, axis=0) + 1)


def test_the_same_grid_is_exact():
    grid, _ = level_set((7, 6, 5), 4, 0.2, 1, (3, -4, 5))
    quality = compare_grids(grid, grid)
    assert quality.is_exact
    assert quality.topology_identical
    assert (quality.iou, quality.rmse, quality.max_error, quality.psnr) == (1.0, 0.0, 0.0, None)
    assert quality.mcd == pytest.approx(0, abs=1e-12)


def test_a_known_shift_gives_its_own_distance():
    """A plane moved by 0.3 voxels: every surface point is 0.3 voxels away."""
    x = np.broadcast_to(np.arange(16.0)[:, None, None], (16, 16, 16))
    grids = []
    for place in (7.25, 7.55):
        values = ((x - place) * VOXEL).astype(np.float32)
        grids.append(
            grid_of_dense("plane", values, np.ones_like(values, bool), background=9,
                          transform=GridTransform.uniform(VOXEL), grid_class="level set")
        )  # fmt: skip
    assert compare_grids(*grids).mcd == pytest.approx(0.3, rel=1e-5)
    assert compare_grids(*grids).iou == 1.0


def fog(values, **kwargs) -> SparseGrid:
    values = np.asarray(values)
    return grid_of_dense("fog", values, np.ones(values.shape[:3], bool), grid_class="fog volume", **kwargs)


def test_fog_has_no_surface_metrics():
    rng = np.random.default_rng(0)
    values = rng.random((9, 8, 10), dtype=np.float32)
    noise = rng.normal(0, 0.01, values.shape).astype(np.float32)
    quality = compare_grids(fog(values), fog(values + noise))
    difference = (values + noise).astype(np.float64) - values
    rmse, span = np.sqrt(np.mean(difference**2)), float(values.max()) - float(values.min())
    assert (quality.iou, quality.mcd) == (None, None)
    assert quality.rmse == pytest.approx(rmse)
    assert quality.rmse_relative == pytest.approx(rmse / span)
    assert quality.max_error == pytest.approx(np.abs(difference).max())
    assert quality.max_error_relative == pytest.approx(np.abs(difference).max() / span)
    assert quality.psnr == pytest.approx(20 * np.log10(span / rmse))


def test_vectors_count_every_component():
    values = np.zeros((8, 8, 8, 3), np.float32)
    values[0, 0, 0] = (0, 0, 4)
    other = values + np.array([0.1, 0, 0.3], np.float32)
    quality = compare_grids(fog(values, value_type="vec3s"), fog(other, value_type="vec3s"))
    assert quality.rmse == pytest.approx(math.sqrt((0.01 + 0.09) / 3), rel=1e-5)
    assert quality.max_error == pytest.approx(0.3, rel=1e-5)
    assert (quality.value_range, quality.compared_voxels) == (4, 512)


def test_whole_numbers_and_truth_values():
    values = np.zeros((8, 8, 8), np.int64)
    values[0, 0, 0] = 2**62
    quality = compare_grids(fog(values, value_type="int64"), fog(values - 3, value_type="int64"))
    assert (quality.rmse, quality.max_error) == (3, 3)
    truth = np.zeros((8, 8, 8), bool)
    other = truth.copy()
    other[:4] = True
    quality = compare_grids(fog(truth, value_type="bool"), fog(other, value_type="bool"))
    assert (quality.rmse, quality.max_error, quality.value_range) == (math.sqrt(0.5), 1, 0)
    assert quality.psnr is None


@pytest.mark.parametrize("pair", [(-(2**63), 2**63 - 1, 2.0**64), (5, -7, 12.0)])
def test_differences_of_whole_numbers_never_wrap(pair):
    first, second, expected = pair
    assert absolute_difference(np.array([first], np.int64), np.array([second], np.int64))[0] == expected


def test_half_and_full_floats_can_be_compared():
    values = np.random.default_rng(2).random((8, 8, 8))
    quality = compare_grids(fog(values, value_type="float"), fog(values, value_type="half"))
    assert 0 < quality.max_error < 2**-11


def test_numbers_that_are_not_finite():
    values = np.zeros((8, 8, 8), np.float32)
    values[0, 0, :4] = (np.nan, np.inf, -np.inf, 1)
    assert compare_grids(fog(values), fog(values)).is_exact
    other = values.copy()
    other[0, 0, :3] = (0, 0, np.inf)
    quality = compare_grids(fog(values), fog(other))
    assert quality.nonfinite_differs == 3
    assert (quality.rmse, quality.max_error, quality.value_range) == (0, 0, 1)
    assert not quality.is_exact


def test_inactive_values_are_compared_bit_for_bit():
    active = np.zeros((8, 8, 8), bool)
    active[0] = True
    values = np.ones((8, 8, 8), np.float32)
    first = grid_of_dense("g", values, active, inactive_values=np.zeros(1, np.float32))
    changed = first.leaf_values.copy()
    changed[0, 100:103] = -0.0
    second = replace(first, leaf_values=changed)
    assert compare_grids(first, second).inactive_differs == 3
    assert compare_grids(first, second).max_error == 0
    tiles = first.lower_tile_values.copy()
    tiles[7:9] = 5
    assert compare_grids(first, replace(first, lower_tile_values=tiles)).inactive_differs == 2


def with_active_tile(grid: SparseGrid, value: float) -> SparseGrid:
    """The same grid with its first tile of 8^3 voxels active."""
    active = np.zeros((1, 4096), bool)
    active[0, np.flatnonzero(~masks.unpack(grid.topology.lower_child)[0])[0]] = True
    values = grid.lower_tile_values.copy()
    values[0] = value
    topology = replace(grid.topology, lower_active=masks.pack(active))
    return replace(grid, topology=topology, lower_tile_values=values)


def test_active_tiles_enter_the_largest_error_but_not_the_rmse():
    grid = fog(np.zeros((8, 8, 8), np.float32))
    first, second = with_active_tile(grid, 3.0), with_active_tile(grid, 2.5)
    quality = compare_grids(first, second)
    assert quality.active_voxels == 1024
    assert (quality.rmse, quality.max_error, quality.tile_max_error, quality.value_range) == (0, 0.5, 0.5, 3)
    assert quality.topology_differs == 0
    assert compare_grids(first, grid).topology_differs == 512


def test_interior_tiles_count_in_the_iou():
    values = -np.ones((8, 8, 8), np.float32)
    grid = fog(values, background=1.0).with_class("level set")
    tiles = grid.lower_tile_values.copy()
    tiles[0] = -1
    bigger = replace(grid, lower_tile_values=tiles)
    assert compare_grids(bigger, grid).iou == pytest.approx(0.5)
    assert compare_grids(bigger, bigger).iou == 1
    # No sign changes between voxels of leaves, so no surface points.
    assert compare_grids(bigger, bigger).mcd is None


def test_empty_grids_have_no_numbers():
    empty = grid_of_dense("empty", np.zeros((0, 0, 0)), np.zeros((0, 0, 0), bool), grid_class="level set")
    quality = compare_grids(empty, empty)
    assert quality.is_exact
    assert quality.effective_resolution == (0, 0, 0)
    assert [quality.iou, quality.mcd, quality.rmse, quality.max_error, quality.psnr, quality.value_range] == [None] * 6
    full = fog(np.ones((8, 8, 8), np.float32))
    assert compare_grids(full, empty).compared_voxels == 0
    assert compare_grids(full, empty).rmse is None


def test_grids_without_leaf_in_the_other_still_compare():
    """The decoded grid has the voxels as an active tile: its value counts."""
    first = fog(np.full((8, 8, 16), 2.0, np.float32))
    one_leaf = fog(np.full((8, 8, 8), 2.0, np.float32))
    second = with_active_tile(one_leaf, 1.5)  # the tile is at (0, 0, 8)
    quality = compare_grids(first, second)
    assert quality.compared_voxels == 1024
    assert (quality.max_error, quality.topology_differs) == (0.5, 1)


def test_unlike_components_are_refused():
    scalar, vector = fog(np.ones((8, 8, 8))), fog(np.ones((8, 8, 8, 3)), value_type="vec3s")
    with pytest.raises(UnsupportedGridError, match="1 and 3 components"):
        compare_grids(scalar, vector)


def test_frustum_transforms_have_no_distance():
    grid, _ = level_set((7, 6, 5), 4, 0, 1, (0, 0, 0))
    frustum = replace(grid, transform=GridTransform("NonlinearFrustumMap", b"\0" * 8))
    assert compare_grids(frustum, frustum).mcd is None
    assert compare_grids(frustum, frustum).iou == 1


def test_json_has_plain_values_only():
    grid, _ = level_set((7, 6, 5), 4, 0, 1, (0, 0, 0))
    fields = json.loads(json.dumps(compare_grids(grid, grid).to_json(), allow_nan=False))
    assert fields["topology_identical"] is True
    assert fields["psnr"] is None
    assert fields["effective_resolution"] == list(compare_grids(grid, grid).effective_resolution)
