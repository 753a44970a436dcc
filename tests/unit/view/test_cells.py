"""Dense boxes of cells against dense arrays of voxels."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.grid import masks
from fieldcodec.grid.build import dense_of_grid, grid_of_dense, grid_of_leaves
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing.samples import dense
from fieldcodec.view.cells import LONGEST, MOST, Cells, density_cells, differences, error_cells, magnitudes
from fieldcodec.view.source import Pair


def _blocks_of(array: np.ndarray, factor: int) -> np.ndarray:
    """[X, Y, Z] -> [x, y, z, factor^3]."""
    x, y, z = (side // factor for side in array.shape)
    boxes = array.reshape(x, factor, y, factor, z, factor).transpose(0, 2, 4, 1, 3, 5)
    return boxes.reshape(x, y, z, -1)


def _dense(grid: SparseGrid, cells: Cells) -> np.ndarray:
    """Magnitudes of active voxels in the box of the cells, 0 elsewhere."""
    values, active = dense_of_grid(grid, cells.low, cells.low + np.array(cells.shape) * cells.factor)
    return np.where(active, np.linalg.norm(values.astype(np.float64), axis=-1), 0)


def _box(grid: SparseGrid) -> tuple[np.ndarray, np.ndarray]:
    bounds = grid.topology.active_bounds
    assert bounds is not None
    return bounds


@pytest.mark.parametrize(("longest", "factor"), [(64, 1), (30, 2), (10, 4), (6, 8), (3, 16), (2, 32)])
@pytest.mark.parametrize("kind", ["float", "vec3s", "int32"])
def test_cells_hold_means_of_magnitudes(kind: str, longest: int, factor: int) -> None:
    grid = dense(kind, side=29)
    cells = Cells.around(_box(grid), longest)
    assert cells.factor == factor
    assert max(cells.shape) <= longest
    expected = _blocks_of(_dense(grid, cells), factor).mean(axis=-1)
    np.testing.assert_allclose(density_cells(grid, cells), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("longest", [64, 10, 3])
def test_cells_hold_the_largest_error(longest: int) -> None:
    first = dense("float", side=24)
    second = dense("float", side=31, seed=4)  # another tree
    cells = Cells.around(Pair(first, second).box or _box(first), longest)
    low, high = cells.low, cells.low + np.array(cells.shape) * cells.factor
    (a, active), (b, also) = dense_of_grid(first, low, high), dense_of_grid(second, low, high)
    errors = np.where(active | also, np.abs(a - b)[..., 0], 0)
    expected = _blocks_of(errors, cells.factor).max(axis=-1)
    np.testing.assert_allclose(error_cells(first, second, cells), expected, rtol=1e-5, atol=1e-6)


def test_the_box_is_covered_and_aligned() -> None:
    for low, high in ((-17, -1), (0, 0), (7, 8), (-8, 63)):
        cells = Cells.around((np.full(3, low), np.full(3, high)), 16)
        assert (cells.low <= low).all()
        assert (cells.low + np.array(cells.shape) * cells.factor > high).all()
        assert (cells.low % max(8, cells.factor) == 0).all()


def test_memory_is_bounded_whatever_the_size() -> None:
    values = np.full((2, 512, 1), 2.0)
    origins = np.array([[0, 0, 0], [1_000_000 & ~7, 800_000 & ~7, 8]])
    grid = grid_of_leaves("far", origins, np.full((2, 64), 255, np.uint8), values)
    cells = Cells.around(_box(grid), LONGEST)
    assert max(cells.shape) <= LONGEST
    assert np.prod(cells.shape) <= MOST
    found = density_cells(grid, cells)
    np.testing.assert_allclose(found.sum(dtype=np.float64) * cells.factor**3, 2 * 512 * 2.0, rtol=1e-4)
    wide = Cells.around((np.zeros(3, np.int64), np.full(3, 5000)), LONGEST)
    assert np.prod(wide.shape) <= MOST


@pytest.mark.parametrize("longest", [512, 40, 6])
def test_active_tiles_count(longest: int) -> None:
    grid = _with_tiles()
    cells = Cells.around(_box(grid), longest)
    found = density_cells(grid, cells).sum(dtype=np.float64) * cells.factor**3
    np.testing.assert_allclose(found, 3.0 * 512 + 2.0 * 512 + 0.5 * 128**3, rtol=1e-4)
    if cells.factor == 1:
        assert density_cells(grid, cells)[0, 0, 8] == 2.0
        assert density_cells(grid, cells)[0, 0, 130] == 0.5


def _with_tiles() -> SparseGrid:
    """A leaf of 3, beside it along z a tile of 8^3 voxels with 2 and one of 128^3 with 0.5."""
    grid = grid_of_leaves("tiles", np.array([[0, 0, 0]]), np.full((1, 64), 255, np.uint8), np.full((1, 512, 1), 3.0))
    lower, upper = masks.unpack(grid.topology.lower_active), masks.unpack(grid.topology.upper_active)
    lower[0, 1] = upper[0, 1] = True
    small, large = grid.lower_tile_values.copy(), grid.upper_tile_values.copy()
    small[0], large[0] = 2.0, 0.5  # slot 0 is the child
    topology = replace(grid.topology, lower_active=masks.pack(lower), upper_active=masks.pack(upper))
    return replace(grid, topology=topology, lower_tile_values=small, upper_tile_values=large)


def test_numbers_that_are_not_finite_do_no_harm() -> None:
    values = np.array([[np.nan], [np.inf], [-2.0], [1e300]])
    assert magnitudes(values).tolist()[:3] == [0.0, 0.0, 2.0]
    assert np.isfinite(magnitudes(values)).all()
    assert np.isfinite(differences(values, values[::-1])).all()
    box = grid_of_dense("odd", np.array([np.nan, 1.0, np.inf]).reshape(3, 1, 1), np.ones((3, 1, 1), bool))
    assert density_cells(box, Cells.around(_box(box), 8)).sum() == 1.0
