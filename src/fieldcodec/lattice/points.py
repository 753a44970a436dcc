"""Splines at points between voxels, with their derivatives: the continuous field that a lattice stands for.

Weights are not rounded here, so at voxels values differ from `Lattice.add_exact` by the rounding of its weights.
"""

import numpy as np

from fieldcodec.jit import kernel, row_kernel
from fieldcodec.lattice import basis
from fieldcodec.lattice.operator import Lattice


def add_splines(
    lattice: Lattice, coefficients: np.ndarray, factor: float, points: np.ndarray, leaves: np.ndarray,
    values: np.ndarray, gradients: np.ndarray,
) -> None:  # fmt: skip
    """values [n] and gradients [n, 3] float64 += factor * spline, in units of voxels.

    Args:
        coefficients: [nodes].
        points: [n, 3] float64 in index space.
        leaves: [n] int64: the leaf that holds the voxel at the point's floor; negative where the point is left out.
    """
    nodes = lattice.nodes
    _add(
        len(points), np.asarray(coefficients, np.float64), nodes.leaf_table, nodes.leaf_nodes,
        basis.window(nodes.stride, nodes.degree), nodes.stride, nodes.degree, basis.first_tap(nodes.degree), factor,
        points, leaves, values, gradients,
    )  # fmt: skip


@kernel
def _weigh(t, stride, degree, weights, slopes):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Weights [4] of the nodes around a place `t` of the way through a cell, and their derivatives per voxel."""
    if degree == 1:
        weights[0], weights[1] = 1.0 - t, t
        slopes[0], slopes[1] = -1.0 / stride, 1.0 / stride
    else:
        s = 1.0 - t
        weights[0], weights[3] = s * s * s / 6.0, t * t * t / 6.0
        weights[1] = ((3.0 * t - 6.0) * t * t + 4.0) / 6.0
        weights[2] = ((3.0 * s - 6.0) * s * s + 4.0) / 6.0
        slopes[0], slopes[3] = -s * s / 2.0 / stride, t * t / 2.0 / stride
        slopes[1] = (9.0 * t - 12.0) * t / 6.0 / stride
        slopes[2] = -(9.0 * s - 12.0) * s / 6.0 / stride


@row_kernel(1 << 12)
def _add(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    begin, end, coefficients, table, leaf_nodes, width, stride, degree, first_tap, factor, points, leaves,
    values, gradients,
):  # fmt: skip
    taps = degree + 1
    weights, slopes, first = np.empty((3, 4)), np.empty((3, 4)), np.empty(3, np.int64)
    for n in range(begin, end):
        leaf = leaves[n]
        if leaf < 0:
            continue
        for axis in range(3):
            cell = np.floor(points[n, axis] / stride)
            first[axis] = np.int64(cell) + first_tap - leaf_nodes[leaf, axis]
            _weigh(points[n, axis] / stride - cell, stride, degree, weights[axis], slopes[axis])
        total, along_x, along_y, along_z = 0.0, 0.0, 0.0, 0.0
        for i in range(taps):
            plane, plane_y, plane_z = 0.0, 0.0, 0.0
            for j in range(taps):
                at = ((first[0] + i) * width + first[1] + j) * width + first[2]
                line, line_z = 0.0, 0.0
                for k in range(taps):
                    coefficient = coefficients[table[leaf, at + k]]
                    line += weights[2, k] * coefficient
                    line_z += slopes[2, k] * coefficient
                plane += weights[1, j] * line
                plane_y += slopes[1, j] * line
                plane_z += weights[1, j] * line_z
            total += weights[0, i] * plane
            along_x += slopes[0, i] * plane
            along_y += weights[0, i] * plane_y
            along_z += weights[0, i] * plane_z
        values[n] += factor * total
        gradients[n, 0] += factor * along_x
        gradients[n, 1] += factor * along_y
        gradients[n, 2] += factor * along_z
