"""Integer weights of B-splines on leaves: exact sums, near the formula, in the right places."""

from fractions import Fraction

import numpy as np
import pytest

from fieldcodec.lattice import basis

EVERY = [(stride, degree) for stride in basis.STRIDES for degree in basis.DEGREES]


def cardinal(degree: int, x: Fraction) -> Fraction:
    """The B-spline of a degree around 0, by the Cox-de Boor recursion; nothing shared with the code under test."""

    def on_knots(order: int, u: Fraction) -> Fraction:  # support [0, order + 1)
        if order == 0:
            return Fraction(0 <= u < 1)
        return (u * on_knots(order - 1, u) + (order + 1 - u) * on_knots(order - 1, u - 1)) / order

    return on_knots(degree, x + Fraction(degree + 1, 2))


def possible_phases(stride: int) -> set[int]:
    return {origin % stride for origin in range(-64 * stride, 64 * stride, 8)}


@pytest.mark.parametrize(("stride", "degree"), EVERY)
def test_weights_are_integers_that_sum_to_one(stride: int, degree: int) -> None:
    weights = basis.leaf_weights(stride, degree)
    assert weights.shape == (stride, 8, basis.window(stride, degree))
    assert np.array_equal(weights, np.rint(weights))
    assert weights.min() >= 0
    for phase in range(stride):
        sums = weights[phase].sum(axis=1)
        assert np.array_equal(sums, np.full(8, 4096 if phase in possible_phases(stride) else 0)), phase


@pytest.mark.parametrize(("stride", "degree"), EVERY)
def test_weights_follow_the_formula_within_rounding(stride: int, degree: int) -> None:
    weights = basis.leaf_weights(stride, degree)
    for phase in possible_phases(stride):
        for voxel in range(8):
            for tap in range(weights.shape[2]):
                node = tap + basis.first_tap(degree)  # counted from the leaf's first cell
                exact = 4096 * cardinal(degree, Fraction(phase + voxel, stride) - node)
                # half a unit from rounding, and the largest weight takes the rounding of all others
                assert abs(Fraction(weights[phase, voxel, tap]) - exact) <= Fraction(1, 2) * degree + Fraction(1, 2)


@pytest.mark.parametrize("stride", basis.STRIDES)
def test_linear_weights_at_nodes_take_the_node_alone(stride: int) -> None:
    weights = basis.leaf_weights(stride, 1)
    for phase in possible_phases(stride):
        for voxel in range(-phase % stride, 8, stride):
            assert np.flatnonzero(weights[phase, voxel]).tolist() == [(phase + voxel) // stride]


@pytest.mark.parametrize(("stride", "degree"), EVERY)
def test_windows_are_no_wider_than_needed(stride: int, degree: int) -> None:
    width = basis.window(stride, degree)
    last = max((phase + 7) // stride + basis.num_taps(degree) for phase in possible_phases(stride))
    assert width == last


def test_some_weights_by_hand() -> None:
    assert basis.leaf_weights(2, 1)[0, :3].tolist() == [
        [4096, 0, 0, 0, 0],
        [2048, 2048, 0, 0, 0],
        [0, 4096, 0, 0, 0],
    ]
    # 1/6, 4/6, 1/6 at a node; 1/48, 23/48, 23/48, 1/48 between two
    assert basis.leaf_weights(2, 3)[0, :2, :4].tolist() == [[683, 2730, 683, 0], [85, 1963, 1963, 85]]
    assert basis.leaf_weights(16, 1)[8, 0].tolist() == [2048, 2048]


def test_weights_are_shared_and_cannot_be_changed() -> None:
    assert basis.leaf_weights(4, 3) is basis.leaf_weights(4, 3)
    with pytest.raises(ValueError, match="read-only"):
        basis.leaf_weights(4, 3)[0, 0, 0] = 1
