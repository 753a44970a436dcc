"""Weights of uniform B-splines in integers, per leaf of 8 voxels and axis.

A lattice of stride s has a node at every multiple of s voxels. A voxel x takes its value from the nodes around
its cell floor(x / s): two of them for linear splines, four for cubic ones. Weights are rounded to 12 bits after
the point with their sum kept at exactly one, so that a value is an exact integer: with the product of three
weights of 12 bits and coefficients below 2^16, every sum stays below 2^53 and float64 holds it exactly.
"""

from fractions import Fraction
from functools import cache

import numpy as np

from fieldcodec.grid.masks import LEAF_DIM

WEIGHT_BITS = 12
WEIGHT_ONE = 1 << WEIGHT_BITS
VALUE_BITS = 3 * WEIGHT_BITS  # bits after the point of a sum of weighted coefficients
MAX_COEFFICIENT = (1 << 15) - 1
STRIDES = (2, 3, 4, 6, 8, 16)
MOTION_STRIDES = (16, 32, 64)  # of the lattices that hold motion
DEGREES = (1, 3)


def name(stride: int, degree: int) -> str:
    """For people: cubic/8 is one cubic spline coefficient every 8 voxels."""
    return f"{'linear' if degree == 1 else 'cubic'}/{stride}"


def num_taps(degree: int) -> int:
    """Nodes per axis that a voxel takes its value from."""
    return degree + 1


def first_tap(degree: int) -> int:
    """The first of them, counted from the node of the voxel's cell."""
    return 0 if degree == 1 else -1


def window(stride: int, degree: int) -> int:
    """Most nodes per axis that the voxels of one leaf take their values from."""
    cells = max((phase + LEAF_DIM - 1) // stride for phase in _phases(stride)) + 1
    return cells - 1 + num_taps(degree)


def nodes_used(phases: np.ndarray, stride: int, degree: int) -> np.ndarray:
    """Of a window, the nodes along an axis that have a weight: the first so many, for origins modulo the stride."""
    return (phases + LEAF_DIM - 1) // stride + num_taps(degree)


@cache
def leaf_weights(stride: int, degree: int) -> np.ndarray:
    """[stride, 8, window] float64, integers: weights of a leaf's voxels along one axis, in 1/4096.

    The first index is the leaf's origin modulo the stride; the last one counts nodes from
    floor(origin / stride) + first_tap(degree).
    """
    table = np.zeros((stride, LEAF_DIM, window(stride, degree)))
    for phase in _phases(stride):
        for voxel in range(LEAF_DIM):
            cell, offset = divmod(phase + voxel, stride)
            table[phase, voxel, cell : cell + num_taps(degree)] = _tap_weights(stride, offset, degree)
    table.setflags(write=False)
    return table


def _phases(stride: int) -> list[int]:
    return sorted({LEAF_DIM * leaf % stride for leaf in range(stride)})


def _tap_weights(stride: int, offset: int, degree: int) -> list[int]:
    """Integer weights of one voxel, `offset` voxels into its cell; they sum to 4096."""
    t = Fraction(offset, stride)
    if degree == 1:
        exact = [1 - t, t]
    else:
        exact = [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]
    weights = [round(WEIGHT_ONE * weight) for weight in exact]
    weights[weights.index(max(weights))] += WEIGHT_ONE - sum(weights)
    return weights
