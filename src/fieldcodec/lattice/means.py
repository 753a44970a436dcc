"""Means of a spline over cubes of voxels, at the price of as many voxels as there are cubes.

The mean over a cube is the same product of three small matrices as the values of its voxels, with their rows averaged.
"""

import numpy as np

from fieldcodec.grid.masks import LEAF_DIM
from fieldcodec.jit import row_kernel
from fieldcodec.lattice import basis
from fieldcodec.lattice.operator import Lattice


def leaf_means(lattice: Lattice, coefficients: np.ndarray, level: int) -> np.ndarray:
    """[N, (8 / 2^level)^3] float64: means over cubes of 2^level voxels along a side, of [n] coefficients.

    Args:
        level: 0 to 3.
    """
    stride, degree = lattice.nodes.stride, lattice.nodes.degree
    cells = LEAF_DIM >> level
    exact = np.array(basis.leaf_weights(stride, degree))
    weights = exact.reshape(stride, cells, 1 << level, -1).mean(axis=2) / basis.WEIGHT_ONE
    means = np.empty((lattice.num_leaves, cells**3))
    _means(
        len(means), np.asarray(coefficients, np.float64), lattice.nodes.leaf_table, lattice.nodes.leaf_phases,
        np.ascontiguousarray(weights), means,
    )  # fmt: skip
    return means


@row_kernel(256)
def _means(first, last, coefficients, table, phases, weights, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    cells, width = weights.shape[1], weights.shape[2]
    for leaf in range(first, last):
        along_z, along_y = np.empty((width, width, cells)), np.empty((width, cells, cells))
        wx, wy, wz = weights[phases[leaf, 0]], weights[phases[leaf, 1]], weights[phases[leaf, 2]]
        for i in range(width):
            for j in range(width):
                for z in range(cells):
                    total = 0.0
                    for k in range(width):
                        total += wz[z, k] * coefficients[table[leaf, (i * width + j) * width + k]]
                    along_z[i, j, z] = total
        for i in range(width):
            for y in range(cells):
                for z in range(cells):
                    total = 0.0
                    for j in range(width):
                        total += wy[y, j] * along_z[i, j, z]
                    along_y[i, y, z] = total
        for x in range(cells):
            for y in range(cells):
                for z in range(cells):
                    total = 0.0
                    for i in range(width):
                        total += wx[x, i] * along_y[i, y, z]
                    out[leaf, (x * cells + y) * cells + z] = total
