"""A lattice as a linear map, against plain matrices and exact arithmetic."""

import hashlib
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from fieldcodec.lattice import basis, operator
from fieldcodec.lattice.fit import IMPORTANCE_ONE, FitOptions, LatticeFit
from fieldcodec.lattice.operator import MAX_FIXED, Lattice

EVERY = [(stride, degree) for stride in basis.STRIDES for degree in basis.DEGREES]


def some_leaves() -> np.ndarray:
    """[6, 3] int32: neighbours, a corner contact, a leaf alone; negative origins of many phases."""
    cells = [[0, 0, 0], [0, 0, 1], [-1, -1, -1], [-2, -1, -1], [5, -7, 3], [1, 1, 1]]
    return np.array(cells, np.int32) * 8


def matrix(origins: np.ndarray, lattice: Lattice) -> np.ndarray:
    """[N * 512, n] int64: weights of nodes at voxels in 2^-36, one voxel, axis and node after the other."""
    stride, degree = lattice.nodes.stride, lattice.nodes.degree
    numbers = {tuple(cell): number for number, cell in enumerate(lattice.nodes.cells.tolist())}
    weights = basis.leaf_weights(stride, degree).astype(np.int64)
    rows = np.zeros((len(origins) * 512, len(lattice)), np.int64)
    for leaf, origin in enumerate(origins.tolist()):
        first = [x // stride + basis.first_tap(degree) for x in origin]
        wx, wy, wz = (weights[x % stride] for x in origin)
        each = np.einsum("xi,yj,zk->xyzijk", wx, wy, wz).reshape(512, -1)
        for column, offset in enumerate(product(range(weights.shape[2]), repeat=3)):
            if each[:, column].any():
                node = numbers[tuple(a + b for a, b in zip(first, offset, strict=True))]
                rows[leaf * 512 : leaf * 512 + 512, node] += each[:, column]
    return rows


@pytest.fixture(scope="module", params=EVERY, ids=lambda each: f"{each[0]}-{each[1]}")
def pair(request: pytest.FixtureRequest) -> tuple[Lattice, np.ndarray]:
    """A lattice and its matrix."""
    lattice = Lattice.over(some_leaves(), *request.param)
    return lattice, matrix(some_leaves(), lattice)


def real(whole: np.ndarray) -> np.ndarray:
    return whole / 2.0**basis.VALUE_BITS


def random_voxels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(some_leaves()), 512)).astype(np.float32)


def random_importance(seed: int) -> np.ndarray:
    choices = np.array([0, 1, 8, 16], np.uint8)
    return np.random.default_rng(seed).choice(choices, (len(some_leaves()), 512))


def test_evaluate_is_the_sum_over_nodes(pair: tuple[Lattice, np.ndarray]) -> None:
    lattice, whole = pair
    coefficients = np.random.default_rng(1).normal(size=len(lattice)).astype(np.float32)
    values = lattice.evaluate(coefficients)
    assert values.dtype == np.float32
    assert values.shape == (lattice.num_leaves, 512)
    assert np.allclose(values.ravel(), real(whole) @ coefficients, atol=3e-6)


def test_constants_stay_constant(pair: tuple[Lattice, np.ndarray]) -> None:
    lattice, _ = pair
    assert np.allclose(lattice.evaluate(np.full(len(lattice), 3.5)), 3.5, atol=2e-6)


def test_adjoint_is_the_transpose(pair: tuple[Lattice, np.ndarray]) -> None:
    lattice, whole = pair
    values = random_voxels(2)
    transposed = lattice.adjoint(values)
    assert np.allclose(transposed, real(whole).T @ values.ravel(), atol=2e-5)
    coefficients = np.random.default_rng(3).normal(size=len(lattice)).astype(np.float32)
    one = np.dot(lattice.evaluate(coefficients).ravel().astype(float), values.ravel())
    other = np.dot(coefficients.astype(float), transposed)
    assert abs(one - other) < 1e-5 * np.abs(values).sum()


def test_normal_is_all_three_in_one(pair: tuple[Lattice, np.ndarray]) -> None:
    lattice, whole = pair
    importance = random_importance(4)
    coefficients = np.random.default_rng(5).normal(size=len(lattice)).astype(np.float32)
    found = lattice.normal(coefficients, importance, 0.25)
    weighted = lattice.evaluate(coefficients) * importance * np.float32(0.25)
    assert np.allclose(found, lattice.adjoint(weighted), rtol=1e-5, atol=1e-4)
    slow = real(whole).T @ (importance.ravel() * 0.25 * (real(whole) @ coefficients))
    assert np.allclose(found, slow, rtol=1e-4, atol=1e-3)


def test_diagonal_is_that_of_normal(pair: tuple[Lattice, np.ndarray]) -> None:
    lattice, whole = pair
    importance = random_importance(6)
    found = lattice.diagonal(importance.astype(np.float32))
    assert np.allclose(found, (real(whole) ** 2).T @ importance.ravel(), rtol=1e-5, atol=1e-5)


def test_neighbours_are_the_nodes_next_door(pair: tuple[Lattice, np.ndarray]) -> None:
    lattice, _ = pair
    cells = lattice.nodes.cells
    numbers = {tuple(cell): number for number, cell in enumerate(cells.tolist())}
    assert lattice.neighbours.shape == (len(lattice), 3, 2)
    for axis, (side, sign) in product(range(3), enumerate((-1, 1))):
        wanted = [numbers.get(tuple(cell), -1) for cell in (cells + sign * np.eye(3, dtype=int)[axis]).tolist()]
        assert lattice.neighbours[:, axis, side].tolist() == wanted


def exact_sum(whole: np.ndarray, integers: np.ndarray, factor: int, total: np.ndarray) -> list[int]:
    """`add_exact` in Python's own integers and fractions; `round` takes ties to even."""
    sums = [int(x) for x in whole @ integers.astype(np.int64)]  # below 2^53: exact in int64
    added = [round(Fraction(x * factor, 1 << basis.VALUE_BITS)) for x in sums]
    return [min(max(a + b, -MAX_FIXED), MAX_FIXED) for a, b in zip(total.ravel().tolist(), added, strict=True)]


@pytest.mark.parametrize("factor", [1, 3, 64])
def test_exact_values_equal_fractions(pair: tuple[Lattice, np.ndarray], factor: int) -> None:
    lattice, whole = pair
    rng = np.random.default_rng(7)
    integers = rng.integers(-2000, 2001, len(lattice)).astype(np.int32)
    total = rng.integers(-5000, 5000, (lattice.num_leaves, 512)).astype(np.int32)
    wanted = exact_sum(whole, integers, factor, total)
    lattice.add_exact(integers, float(factor), total)
    assert total.dtype == np.int32
    assert total.ravel().tolist() == wanted


def test_exact_values_of_the_largest_coefficients(pair: tuple[Lattice, np.ndarray]) -> None:
    lattice, whole = pair
    signs = np.random.default_rng(8).choice([-1, 1], len(lattice))
    for integers in (signs * basis.MAX_COEFFICIENT, np.full(len(lattice), basis.MAX_COEFFICIENT)):
        total = np.zeros((lattice.num_leaves, 512), np.int32)
        lattice.add_exact(integers.astype(np.int32), 1.0, total)
        assert total.ravel().tolist() == exact_sum(whole, integers, 1, np.zeros_like(total))


def test_exact_ties_go_to_even() -> None:
    lattice = Lattice.over(np.zeros((1, 3), np.int32), 2, 1)
    along_z = lattice.nodes.cells[:, 2]
    total = np.zeros((1, 512), np.int32)
    lattice.add_exact(along_z.astype(np.int32), 1.0, total)  # 0, 0.5, 1, 1.5, ... along z
    assert total[0, :8].tolist() == [0, 0, 1, 2, 2, 2, 3, 4]
    lattice.add_exact(-along_z.astype(np.int32), 1.0, total)
    assert not total.any()


def test_exact_values_stay_within_limits() -> None:
    lattice = Lattice.over(some_leaves(), 8, 3)
    for sign in (-1, 1):
        total = np.full((lattice.num_leaves, 512), sign * (MAX_FIXED - 5), np.int32)
        lattice.add_exact(np.full(len(lattice), sign * 5, np.int32), 1.0, total)
        assert (total == sign * MAX_FIXED).all()
        lattice.add_exact(np.full(len(lattice), sign, np.int32), 1.0, total)
        assert (total == sign * MAX_FIXED).all()
        lattice.add_exact(np.full(len(lattice), -sign * basis.MAX_COEFFICIENT, np.int32), float(MAX_FIXED), total)
        assert (total == -sign * MAX_FIXED).all()


def test_chunks_of_leaves_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    lattice = Lattice.over(some_leaves(), 4, 3)
    integers = np.arange(len(lattice), dtype=np.int32) % 300 - 150
    totals = []
    for chunk in (4096, 1, 4, 6):
        monkeypatch.setattr(operator, "_CHUNK", chunk)
        totals.append(np.zeros((lattice.num_leaves, 512), np.int32))
        lattice.add_exact(integers, 7.0, totals[-1])
    assert all(np.array_equal(total, totals[0]) for total in totals)


def digest() -> str:
    """Of everything a lattice computes, evaluated and fitted."""
    lattice = Lattice.over(some_leaves(), 4, 3)
    importance, values = random_importance(9), random_voxels(10)
    integers = np.random.default_rng(11).integers(-9999, 9999, len(lattice)).astype(np.int32)
    total = np.zeros(values.shape, np.int32)
    lattice.add_exact(integers, 3.0, total)
    fit = LatticeFit(lattice, values, np.maximum(importance, 1), FitOptions(bend=0.1, iterations=6))
    scaled = np.resize(values, len(lattice))
    results = (
        lattice.nodes.cells, lattice.nodes.leaf_table, lattice.neighbours, total, lattice.evaluate(integers),
        lattice.adjoint(values), lattice.normal(scaled, importance, 1 / IMPORTANCE_ONE), fit.coefficients,
        fit.quantised(0.05),
    )  # fmt: skip
    return hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest()


def test_results_do_not_depend_on_the_number_of_threads(on_threads: Callable[[int, Callable[[], Any]], Any]) -> None:
    assert on_threads(1, digest) == on_threads(3, digest)


def test_no_leaves_are_no_problem() -> None:
    lattice = Lattice.over(np.zeros((0, 3), np.int32), 4, 3)
    assert len(lattice) == lattice.num_leaves == 0
    assert lattice.evaluate(np.zeros(0)).shape == (0, 512)
    assert lattice.adjoint(np.zeros((0, 512), np.float32)).shape == (0,)
    lattice.add_exact(np.zeros(0, np.int32), 1.0, np.zeros((0, 512), np.int32))
