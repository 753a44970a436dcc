"""Lattices of spline coefficients: which nodes there are, and sums at the voxels of leaves."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np

from fieldcodec.testing.oracle.leaf_masks import Origin
from fieldcodec.testing.oracle.plane import Cell


def _tap_range(origin: int, stride: int, degree: int) -> range:
    """Nodes along an axis that the voxels of a leaf take their values from."""
    before, after = (0, 1) if degree == 1 else (1, 2)
    return range(origin // stride - before, (origin + 7) // stride + after + 1)


def node_blocks(origins: Sequence[Origin], stride: int, degree: int) -> list[list[Cell]]:
    """Nodes, block by block, in their order."""
    side = 144 // stride if stride in (3, 6) else -(-128 // stride)
    blocks: dict[Cell, set[Cell]] = {}
    for origin in origins:
        for x, y, z in product(*(_tap_range(a, stride, degree) for a in origin)):
            blocks.setdefault((x // side, y // side, z // side), set()).add((x, y, z))
    return [sorted(blocks[block]) for block in sorted(blocks)]


@cache
def _tap_weights(offset: int, stride: int, degree: int) -> list[int]:
    """Of a voxel `offset` voxels into its cell, in 1/4096."""
    t = Fraction(offset, stride)
    exact = [1 - t, t]
    if degree == 3:
        exact = [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]
    weights = [round(4096 * weight) for weight in exact]
    weights[weights.index(max(weights))] += 4096 - sum(weights)
    return weights


def leaf_sums(coefficients: Mapping[Cell, int], origin: Origin, stride: int, degree: int) -> np.ndarray:
    """[512] E at the voxels of a leaf; float64 holds these integers exactly."""
    ranges = [_tap_range(a, stride, degree) for a in origin]
    sums = np.array([coefficients[x, y, z] for x, y, z in product(*ranges)], np.int64)
    sums = sums.reshape([len(each) for each in ranges])
    for axis in range(3):
        table = np.zeros((8, len(ranges[axis])), np.int64)
        for voxel in range(8):
            cell, offset = divmod(origin[axis] + voxel, stride)
            first = cell - (degree == 3) - ranges[axis].start
            table[voxel, first : first + degree + 1] = _tap_weights(offset, stride, degree)
        sums = np.moveaxis(np.tensordot(table, sums, (1, axis)), 0, axis)
    return sums.reshape(512).astype(np.float64)
