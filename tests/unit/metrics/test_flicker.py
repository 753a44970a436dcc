"""The flicker measure against its definition."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.metrics.flicker import file_flicker, flicker
from fieldcodec.testing import samples

SIDE = 20


def _grid(values: np.ndarray, active: np.ndarray | None = None, name: str = "density") -> SparseGrid:
    return grid_of_dense(name, values.astype(np.float32), values != 0 if active is None else active, origin=(-3, 5, 9))


@pytest.fixture
def frames() -> list[np.ndarray]:
    """Original and decoded values of two frames that are active in different places."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=(2, SIDE, SIDE, SIDE)).astype(np.float32)
    values[0, :9] = 0
    values[1, 11:] = 0
    noise = 0.1 * rng.normal(size=values.shape).astype(np.float32) * (values != 0)
    return [values[0], values[0] + noise[0], values[1], values[1] + noise[1]]


def test_it_is_the_error_of_the_change_over_all_voxels_active_in_either_frame(frames: list[np.ndarray]) -> None:
    old, old_decoded, new, new_decoded = (values.astype(np.float64) for values in frames)
    either = (old != 0) | (new != 0)
    change = (new - old)[either]
    error = ((new_decoded - old_decoded) - (new - old))[either]
    grids = [_grid(values) for values in frames]
    found = flicker((grids[0], grids[1]), (grids[2], grids[3]))
    assert found is not None
    assert found.absolute == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    assert found.change == pytest.approx(np.sqrt((change**2).mean()), rel=1e-6)
    assert found.relative == pytest.approx(found.absolute / found.change)


def test_an_error_that_stays_does_not_flicker(frames: list[np.ndarray]) -> None:
    active = np.ones((SIDE,) * 3, bool)
    error = np.float32(0.25)
    grids = [_grid(values, active) for values in (frames[0], frames[0] + error, frames[2], frames[2] + error)]
    found = flicker((grids[0], grids[1]), (grids[2], grids[3]))
    assert found is not None
    assert found.absolute < 1e-6
    assert found.change > 0.1


def test_a_still_original_has_no_relative_flicker() -> None:
    grid = samples.dense("float")
    moved = replace(grid, leaf_values=grid.leaf_values + np.float32(0.5))
    found = flicker((grid, grid), (grid, moved))
    assert found is not None
    assert found.absolute == pytest.approx(0.5)
    assert found.relative is None


def test_values_that_are_not_finite_are_left_out(frames: list[np.ndarray]) -> None:
    broken = frames[1].copy()
    broken[15, 3, 3] = np.nan
    grids = [_grid(values) for values in (frames[0], broken, frames[2], frames[3])]
    found = flicker((grids[0], grids[1]), (grids[2], grids[3]))
    assert found is not None
    assert np.isfinite(found.absolute)


def test_vectors_and_integers_are_measured_too() -> None:
    for kind in ("vec3s", "int32", "bool"):
        one, two = samples.dense(kind), samples.dense(kind, seed=3)
        found = flicker((one, one), (two, two))
        assert found is not None
        assert found.absolute == 0
        assert found.change > 0


def test_grids_of_a_file_pair_up_by_name(frames: list[np.ndarray]) -> None:
    a, b = _grid(frames[0]), _grid(frames[2])
    points = OpaqueGrid("points", "Tree_x", b"", 224)
    heat = replace(b, name="heat")
    before = VolumeFile((points, a))
    after = VolumeFile((heat, b, points, b))
    found = file_flicker((before, before), (after, after))
    assert [item is None for item in found] == [True, False, True, True]  # new, there, without voxels, a second one
    assert found[1] is not None
    assert (found[1].name, found[1].absolute) == ("density", 0.0)


def test_nothing_to_compare_gives_nothing() -> None:
    empty = grid_of_dense("a", np.zeros((8, 8, 8), np.float32), np.zeros((8, 8, 8), bool))
    assert flicker((empty, empty), (empty, empty)) is None
    assert flicker((samples.dense("float"),) * 2, (samples.dense("vec3s"),) * 2) is None
