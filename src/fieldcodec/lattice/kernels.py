"""Compiled kernels of lattices: evaluation on leaves, its adjoint, and the two in one for least squares.

Along every axis a leaf's 8 voxels take their values from `window` nodes with the weights of `basis.leaf_weights`;
three small products, one per axis, do a leaf. With integer weights and coefficients every sum is an integer that
float64 holds exactly, so the order of the sums, and hence threads and vector units, do not matter.
"""

import numpy as np
from numba import njit, prange


@njit(cache=True, nogil=True, fastmath=True)
def _expand(local, wx, wy, wz, a, b, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """out[512] = values at the voxels of a leaf from local [K^3] coefficients."""
    width = wx.shape[1]
    for ij in range(width * width):  # along z: a[K, K, 8]
        for z in range(8):
            total = wz[z, 0] * local[ij * width]
            for k in range(1, width):
                total += wz[z, k] * local[ij * width + k]
            a[ij, z] = total
    for i in range(width):  # along y: b[K, 8, 8]
        for y in range(8):
            for z in range(8):
                total = wy[y, 0] * a[i * width, z]
                for j in range(1, width):
                    total += wy[y, j] * a[i * width + j, z]
                b[i, y * 8 + z] = total
    for x in range(8):
        for yz in range(64):
            total = wx[x, 0] * b[0, yz]
            for i in range(1, width):
                total += wx[x, i] * b[i, yz]
            out[x * 64 + yz] = total


@njit(cache=True, nogil=True, fastmath=True)
def _contract(values, wx, wy, wz, a, b, local):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """local[K^3] = the adjoint of `_expand` applied to values[512]."""
    width = wx.shape[1]
    for i in range(width):
        for yz in range(64):
            b[i, yz] = wx[0, i] * values[yz]
        for x in range(1, 8):
            for yz in range(64):
                b[i, yz] += wx[x, i] * values[x * 64 + yz]
    for i in range(width):
        for j in range(width):
            for z in range(8):
                total = wy[0, j] * b[i, z]
                for y in range(1, 8):
                    total += wy[y, j] * b[i, y * 8 + z]
                a[i * width + j, z] = total
    for ij in range(width * width):
        for k in range(width):
            total = wz[0, k] * a[ij, 0]
            for z in range(1, 8):
                total += wz[z, k] * a[ij, z]
            local[ij * width + k] = total


@njit(cache=True, nogil=True, parallel=True)
def evaluate(coefficients, table, phases, weights, first, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """out[n, 512] = values of leaves first..first+n-1."""
    width = weights.shape[2]
    kind = out.dtype
    for row in prange(out.shape[0]):
        leaf = first + row
        local = np.empty(width**3, kind)
        for i in range(width**3):
            local[i] = coefficients[table[leaf, i]]
        a, b = np.empty((width * width, 8), kind), np.empty((width, 64), kind)
        p = phases[leaf]
        _expand(local, weights[p[0]], weights[p[1]], weights[p[2]], a, b, out[row])


@njit(cache=True, nogil=True, parallel=True)
def adjoint(values, table, phases, weights, parts):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """parts[N, K^3] = what each leaf's values [N, 512] give to the nodes of its window."""
    width = weights.shape[2]
    kind = parts.dtype
    for leaf in prange(values.shape[0]):
        a, b = np.empty((width * width, 8), kind), np.empty((width, 64), kind)
        p = phases[leaf]
        _contract(values[leaf], weights[p[0]], weights[p[1]], weights[p[2]], a, b, parts[leaf])


@njit(cache=True, nogil=True, parallel=True)
def normal(coefficients, importance, scale, table, phases, weights, parts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """parts[N, K^3] = adjoint(importance * evaluate(coefficients)), leaf by leaf; importance [N, 512] uint8 / scale."""
    width = weights.shape[2]
    kind = parts.dtype
    for leaf in prange(table.shape[0]):
        local = np.empty(width**3, kind)
        for i in range(width**3):
            local[i] = coefficients[table[leaf, i]]
        a, b = np.empty((width * width, 8), kind), np.empty((width, 64), kind)
        values = np.empty(512, kind)
        p = phases[leaf]
        wx, wy, wz = weights[p[0]], weights[p[1]], weights[p[2]]
        _expand(local, wx, wy, wz, a, b, values)
        for i in range(512):
            values[i] *= importance[leaf, i] * scale
        _contract(values, wx, wy, wz, a, b, parts[leaf])


@njit(cache=True, nogil=True)
def scatter(parts, table, total):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """total[n] += parts, in the order of the leaves."""
    for leaf in range(parts.shape[0]):
        for i in range(parts.shape[1]):
            total[table[leaf, i]] += parts[leaf, i]
