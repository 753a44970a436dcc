"""Least squares on a lattice: right, better than means, stable where no voxel counts, and well rounded."""

import numpy as np
import pytest

from fieldcodec.lattice import basis
from fieldcodec.lattice.bending import add_bend_diagonal, bend, reweight, unbend
from fieldcodec.lattice.fit import IMPORTANCE_ONE, FitOptions, LatticeFit
from fieldcodec.lattice.operator import Lattice


def cube(side: int = 3) -> np.ndarray:
    """[side^3, 3] int32: neighbouring leaves around zero."""
    cells = np.stack(np.meshgrid(*[np.arange(side) - 1] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return (cells * 8).astype(np.int32)


def voxels(origins: np.ndarray) -> np.ndarray:
    """[N, 512, 3] float64: coordinates."""
    offsets = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return (origins[:, None] + offsets).astype(np.float64)


def wavy(origins: np.ndarray) -> np.ndarray:
    """[N, 512] float32: a smooth field that no spline equals, of size about 1."""
    x, y, z = np.moveaxis(voxels(origins), -1, 0)
    return (np.sin(x / 5) * np.cos(y / 6 + 0.4) + 0.5 * np.sin(z / 4 + x / 9)).astype(np.float32)


def rough(origins: np.ndarray) -> np.ndarray:
    return wavy(origins) + np.random.default_rng(0).normal(scale=0.05, size=(len(origins), 512)).astype(np.float32)


def full(origins: np.ndarray) -> np.ndarray:
    return np.full((len(origins), 512), IMPORTANCE_ONE, np.uint8)


def rmse(lattice: Lattice, coefficients: np.ndarray, target: np.ndarray) -> float:
    return float(np.sqrt(np.mean((lattice.evaluate(coefficients) - target) ** 2)))


def bending_matrix(lattice: Lattice, weights: np.ndarray | None = None) -> np.ndarray:
    """[n, n]: the smoothness term's, one weight a node and axis; written node by node."""
    numbers = {tuple(cell): number for number, cell in enumerate(lattice.nodes.cells.tolist())}
    result = np.zeros((len(lattice), len(lattice)))
    for (x, y, z), here in numbers.items():
        for axis in range(3):
            dx, dy, dz = (int(axis == each) for each in range(3))
            low, high = numbers.get((x - dx, y - dy, z - dz)), numbers.get((x + dx, y + dy, z + dz))
            if low is not None and high is not None:
                second = np.zeros(len(lattice))
                second[[low, here, high]] = 1, -2, 1
                result += (1.0 if weights is None else weights[here, axis]) * np.outer(second, second)
    return result


@pytest.mark.parametrize("degree", basis.DEGREES)
@pytest.mark.parametrize("stride", basis.STRIDES)
def test_a_field_of_the_spline_space_is_found_again(stride: int, degree: int) -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, stride, degree)
    target = lattice.evaluate(np.random.default_rng(1).normal(size=len(lattice)))
    options = FitOptions(smoothness=0.0, iterations=200, tolerance=1e-6)
    fit = LatticeFit(lattice, target, full(origins), options)
    assert rmse(lattice, fit.coefficients, target) < 1e-3
    assert np.abs(lattice.evaluate(fit.coefficients) - target).max() < 5e-3  # at corners, where few voxels tell


@pytest.mark.parametrize("bend_at", [0.0, 0.2])
def test_solution_is_that_of_the_normal_equations(bend_at: float) -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, 4, 3)
    target = rough(origins)
    importance = np.random.default_rng(2).choice(np.array([1, 8, 16], np.uint8), target.shape)
    options = FitOptions(smoothness=0.3, bend=bend_at, rounds=2, iterations=600, tolerance=1e-7)
    fit = LatticeFit(lattice, target, importance, options)
    unit = np.eye(len(lattice), dtype=np.float32)
    columns = np.stack([lattice.evaluate(each).ravel() for each in unit], axis=1).astype(np.float64)
    share = importance.ravel() / IMPORTANCE_ONE
    weights, found = None, np.zeros(0)
    for _ in range(1 + 2 * (bend_at > 0)):
        normal = columns.T @ (share[:, None] * columns) + 0.3 * bending_matrix(lattice, weights)
        found = np.linalg.solve(normal, columns.T @ (share * target.ravel()))
        weights = second_differences(lattice, found)
        weights = 1 / (1 + (weights / (bend_at or 1)) ** 2)
    assert np.abs(fit.coefficients - found).max() < 2e-3


def second_differences(lattice: Lattice, coefficients: np.ndarray) -> np.ndarray:
    """[n, 3], 0 where a node has no two neighbours."""
    low, high = np.moveaxis(lattice.neighbours, 2, 0)
    found = coefficients[low] - 2 * coefficients[:, None] + coefficients[high]
    return np.where((low >= 0) & (high >= 0), found, 0)


def test_kernels_of_smoothness_are_those_of_its_matrix() -> None:
    lattice = Lattice.over(np.array([[0, 0, 0], [8, 0, 0], [-16, -8, 40]]), 4, 1)
    rng = np.random.default_rng(3)
    coefficients = rng.normal(size=len(lattice)).astype(np.float32)
    exists = (lattice.neighbours >= 0).all(axis=2)
    bends = (exists * rng.random(exists.shape)).astype(np.float32)
    slow = bending_matrix(lattice, bends)
    bent = np.full_like(bends, np.nan)  # all of it is written
    bend(len(bent), coefficients, lattice.neighbours, bends, bent)
    total = np.ones(len(lattice), np.float32)
    unbend(len(bent), bent, lattice.neighbours, np.float32(2), total)
    assert np.allclose(total, 1 + 2 * slow @ coefficients, atol=1e-5)
    diagonal = np.ones(len(lattice), np.float32)
    add_bend_diagonal(len(bends), bends, lattice.neighbours, np.float32(2), diagonal)
    assert np.allclose(diagonal, 1 + 2 * np.diag(slow), atol=1e-5)
    reweight(len(bends), coefficients, lattice.neighbours, np.float32(1 / 0.5), bends)
    wanted = np.where(exists, 1 / (1 + (second_differences(lattice, coefficients) / 0.5) ** 2), 0)
    assert np.allclose(bends, wanted, atol=1e-5)


@pytest.mark.parametrize(("stride", "degree"), [(8, 3), (4, 3), (4, 1), (2, 1), (3, 3), (16, 3)])
def test_fit_beats_local_means(stride: int, degree: int) -> None:
    origins = cube()
    lattice, target = Lattice.over(origins, stride, degree), wavy(origins)
    fit = LatticeFit(lattice, target, full(origins), FitOptions(smoothness=0.01))
    means = lattice.adjoint(target) / np.maximum(lattice.adjoint(np.ones_like(target)), 1e-9)
    assert rmse(lattice, fit.coefficients, target) < 0.5 * rmse(lattice, means, target)


def test_voxels_of_no_importance_do_not_matter() -> None:
    origins = cube(2)
    lattice, target, importance = Lattice.over(origins, 4, 3), wavy(origins), full(origins)
    ignored = np.random.default_rng(4).random(target.shape) < 0.3
    importance[ignored] = 0
    options = FitOptions(smoothness=0.05, iterations=300, tolerance=1e-7)
    one, other = (
        LatticeFit(lattice, np.where(ignored, np.float32(odd), target), importance, options) for odd in (0.0, 5.0)
    )
    assert np.abs(one.coefficients - other.coefficients).max() < 1e-2


@pytest.mark.parametrize("bend_at", [0.0, 0.01])
def test_coefficients_that_no_voxel_needs_stay_finite_and_small(bend_at: float) -> None:
    origins = cube()
    lattice, target, importance = Lattice.over(origins, 2, 3), wavy(origins), np.zeros((27, 512), np.uint8)
    importance[np.abs(target) < 0.1] = IMPORTANCE_ONE  # a thin sheet
    fit = LatticeFit(lattice, target, importance, FitOptions(smoothness=0.1, bend=bend_at))
    assert np.isfinite(fit.coefficients).all()
    assert np.abs(fit.coefficients).max() < 3 * np.abs(target).max()
    error = np.abs(lattice.evaluate(fit.coefficients) - target)[importance > 0]
    assert error.mean() < 0.02


def test_nothing_of_importance_is_no_problem() -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, 4, 3)
    for smoothness in (0.0, 0.1):
        options = FitOptions(smoothness=smoothness)
        fit = LatticeFit(lattice, wavy(origins), np.zeros((8, 512), np.uint8), options)
        assert np.isfinite(fit.coefficients).all()
        assert fit.quantised(0.1).shape == (len(lattice),)


def test_constant_targets_give_constant_coefficients() -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, 4, 3)
    fit = LatticeFit(lattice, np.full((8, 512), 2.5, np.float32), full(origins), FitOptions(bend=0.1))
    assert np.allclose(fit.coefficients, 2.5, atol=1e-4)
    assert np.array_equal(fit.quantised(0.5), np.full(len(lattice), 5))


@pytest.mark.parametrize("step", [0.4, 0.1, 0.02])
@pytest.mark.parametrize(("stride", "degree"), [(8, 3), (6, 3), (4, 3), (3, 3), (2, 3), (4, 1), (2, 1)])
def test_rounding_with_feedback_beats_plain_rounding(stride: int, degree: int, step: float) -> None:
    origins = cube()
    lattice, target = Lattice.over(origins, stride, degree), wavy(origins)
    fit = LatticeFit(lattice, target, full(origins), FitOptions(smoothness=1e-3, iterations=60))
    kept = fit.coefficients.copy()
    plain, wise = fit.quantised(step, iterations=0), fit.quantised(step)
    assert np.array_equal(plain, np.rint(kept / np.float32(step)))
    assert wise.dtype == np.int32
    assert np.array_equal(fit.coefficients, kept)
    before = rmse(lattice, kept, target)
    added = [rmse(lattice, each * np.float32(step), target) ** 2 - before**2 for each in (plain, wise)]
    assert 0 < added[1] < (0.7 if degree == 3 else 0.95) * added[0]  # linear splines overlap less


def test_coefficients_keep_within_what_can_be_coded() -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, 4, 3)
    fit = LatticeFit(lattice, 1e4 * wavy(origins), full(origins), FitOptions())
    integers = fit.quantised(1e-3)
    assert np.abs(integers).max() == basis.MAX_COEFFICIENT


def test_fits_repeat_bit_for_bit() -> None:
    origins = cube()
    results = []
    for _ in range(2):
        lattice = Lattice.over(origins, 4, 3)
        fit = LatticeFit(lattice, rough(origins), full(origins), FitOptions(bend=0.1))
        results.append((fit.coefficients, fit.quantised(0.1), fit.quantised(0.03)))
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()
