"""Curves of bytes against error: how they are measured."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.bench import curves
from fieldcodec.bench.effort import Effort
from fieldcodec.bench.peer import Outcome, Peer, Setting
from fieldcodec.bench.reference import Reference
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.metrics.quality import compare_grids
from fieldcodec.testing import samples


def _rounding(grid: SparseGrid, setting: Setting) -> Outcome:
    """A codec that rounds values to multiples of twice the tolerance."""
    step = 2 * float(setting)
    values = np.rint(grid.active_values() / step) * step
    return Outcome(round(1000 / step), values, Effort(0.5), Effort(0.25))


@pytest.mark.parametrize("make", [samples.sphere, lambda: samples.dense("vec3s")])
def test_errors_are_those_of_compare_grids(make: Callable[[], SparseGrid]) -> None:
    grid = make()
    reference = Reference(grid)
    values = grid.active_values() + np.float32(0.01) * np.sin(np.arange(grid.channels) + 1).astype(np.float32)
    leaf_values = grid.leaf_values.copy()
    leaf_values[grid.topology.leaf_active_bits] = values
    quality = compare_grids(grid, replace(grid, leaf_values=leaf_values))
    rmse = reference.rmse(values)
    assert rmse == pytest.approx(quality.rmse)
    assert reference.value_range == quality.value_range
    assert reference.psnr(rmse) == pytest.approx(quality.psnr)
    assert reference.surface(values) == (quality.iou, quality.mcd)
    assert reference.psnr(0.0) is None


def test_search_meets_each_score() -> None:
    asked: list[float] = []

    def score_at(tolerance: float) -> float:
        asked.append(tolerance)
        return -17 * math.log10(tolerance / 3) + 8

    known = curves.search(score_at, 3.0, (22.0, 30.0, 45.0))
    assert len(asked) == len(set(asked)) < 15
    for target in (22.0, 30.0, 45.0):
        assert min(abs(score - target) for score in known.values()) < 0.1


@pytest.mark.parametrize("fine", [60.0, math.inf])
def test_search_ends_where_the_score_jumps_or_cannot_fall(fine: float) -> None:
    tries: list[float] = []

    def score_at(tolerance: float) -> float:
        tries.append(tolerance)
        return 28.0 if tolerance > 0.1 else fine

    curves.search(score_at, 1.0, (22.0, 30.0))
    assert max(tries) == 1.0
    assert len(tries) < 25


def test_codecs_without_a_tree_are_shown_with_and_without_it(small_fog: SparseGrid) -> None:
    reference = Reference(small_fog)
    peer = Peer("rounding", _rounding, "search", stores_topology=False)
    points = curves.sample(peer, reference, "psnr", (25.0, 35.0))
    without = [point for point in points if not point.mask_bytes_included]
    included = [point for point in points if point.mask_bytes_included]
    assert len(without) == len(included) > 5
    for bare, whole in zip(without, included, strict=True):
        assert whole.bytes == bare.bytes + reference.tree_bytes()
        assert whole.psnr == bare.psnr
    for target in (25.0, 35.0):
        assert min(abs((point.psnr or 0) - target) for point in points) < 0.3


@pytest.mark.parametrize("how", ["search", "halve"])
def test_points_rise_and_reach_the_largest_psnr(small_fog: SparseGrid, how: str) -> None:
    peer = Peer("rounding", _rounding, how)  # type: ignore[arg-type]
    points = curves.sample(peer, Reference(small_fog), "psnr", (25.0, 35.0))
    sizes = [point.bytes for point in points]
    assert sizes == sorted(sizes)
    assert [point.rmse for point in points] == sorted((point.rmse for point in points), reverse=True)
    assert (points[-1].psnr or 0) > 34.9


def test_surfaces_are_sampled_by_their_distance() -> None:
    peer = Peer("rounding", _rounding, "search")
    targets = [-20 * math.log10(0.1), -20 * math.log10(0.02)]
    points = curves.sample(peer, Reference(samples.sphere()), "mcd", targets, sweep=0)
    distances = [point.mcd for point in points if point.mcd is not None]
    for target in (0.1, 0.02):
        assert min(abs(distance - target) for distance in distances) < 0.05 * target


def test_a_decoded_distance_makes_the_tree_cheaper() -> None:
    grid = samples.sphere()
    reference = Reference(grid)
    offsets = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), axis=-1).reshape(1, 512, 3)
    exact = np.linalg.norm(grid.topology.leaf_origins[:, None] + offsets - np.array([0.3, -0.2, 0.15]), axis=-1) - 22.0
    assert reference.tree_bytes(exact, 0.01) < reference.tree_bytes(exact + 0.2, 0.2) < reference.tree_bytes()
