"""Compiled kernels of lattices: evaluation on leaves, its adjoint, and the two in one for least squares.

Along every axis a leaf's 8 voxels take their values from `width` nodes with the weights of `basis.leaf_weights`;
three small products, one per axis, do a leaf. With integer weights and coefficients every sum is an integer that
float64 holds exactly, so the order of the sums, and hence threads and vector units, do not matter.

`weights` is [stride, width * 8] here, all voxels' weights of a node after each other. `taps` is a tuple of `width`
numbers of no meaning: its length is part of its type, so the kernels are compiled for that width, with short loops
unrolled and long ones in vector units. That is four times as fast as a width known only when they run.
"""

import numpy as np

from fieldcodec.jit import inlined, kernel, row_kernel

_LEAST = 1024  # leaves that are worth a turn on a thread


@inlined(fastmath=True)
def _times(weight, values, at):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Eight values from `at` on, weighted."""
    return (
        weight * values[at], weight * values[at + 1], weight * values[at + 2], weight * values[at + 3],
        weight * values[at + 4], weight * values[at + 5], weight * values[at + 6], weight * values[at + 7],
    )  # fmt: skip


@inlined(fastmath=True)
def _plus(t, weight, values, at):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The same, added to eight numbers."""
    return (
        t[0] + weight * values[at], t[1] + weight * values[at + 1], t[2] + weight * values[at + 2],
        t[3] + weight * values[at + 3], t[4] + weight * values[at + 4], t[5] + weight * values[at + 5],
        t[6] + weight * values[at + 6], t[7] + weight * values[at + 7],
    )  # fmt: skip


@inlined
def _store(t, out, at):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Eight sums in one go: a store between the sums would make the compiler load the factors again."""
    out[at], out[at + 1], out[at + 2], out[at + 3] = t[0], t[1], t[2], t[3]
    out[at + 4], out[at + 5], out[at + 6], out[at + 7] = t[4], t[5], t[6], t[7]


@inlined(fastmath=True)
def _expand(local, wx, wy, wz, taps, a, b, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """out[512] = values at the voxels of a leaf from local [K^3] coefficients; `a` and `b` are space for sums."""
    width = len(taps)
    for ij in range(width * width):  # along z: a[K, K, 8]
        t = _times(local[ij * width], wz, np.int64(0))
        for k in range(1, width):
            t = _plus(t, local[ij * width + k], wz, 8 * k)
        _store(t, a, 8 * ij)
    for i in range(width):  # along y: b[K, 8, 8]
        for y in range(8):
            t = _times(wy[y], a, 8 * i * width)
            for j in range(1, width):
                t = _plus(t, wy[8 * j + y], a, 8 * (i * width + j))
            _store(t, b, 64 * i + 8 * y)
    for x in range(8):
        for yz in range(64):
            total = wx[x] * b[yz]
            for i in range(1, width):
                total += wx[8 * i + x] * b[64 * i + yz]
            out[64 * x + yz] = total


@inlined(fastmath=True)
def _contract(values, wx, wy, wz, taps, a, b, local):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """local[K^3] = the adjoint of `_expand` applied to values[512]."""
    width = len(taps)
    for i in range(width):
        for yz in range(64):
            total = wx[8 * i] * values[yz]
            for x in range(1, 8):
                total += wx[8 * i + x] * values[64 * x + yz]
            b[64 * i + yz] = total
    for i in range(width):
        for j in range(width):
            t = _times(wy[8 * j], b, 64 * i)
            for y in range(1, 8):
                t = _plus(t, wy[8 * j + y], b, 64 * i + 8 * y)
            _store(t, a, 8 * (i * width + j))
    for ij in range(width * width):
        for k in range(width):
            total = wz[8 * k] * a[8 * ij]
            for z in range(1, 8):
                total += wz[8 * k + z] * a[8 * ij + z]
            local[ij * width + k] = total


@row_kernel(_LEAST)
def evaluate(first, last, coefficients, table, phases, weights, taps, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """out[n, 512] = values of the leaves of `table`."""
    width, kind = len(taps), out.dtype
    local = np.empty(width**3, kind)
    a, b = np.empty(width * width * 8, kind), np.empty(width * 64, kind)
    for leaf in range(first, last):
        for i in range(width**3):
            local[i] = coefficients[table[leaf, i]]
        p = phases[leaf]
        _expand(local, weights[p[0]], weights[p[1]], weights[p[2]], taps, a, b, out[leaf])


@row_kernel(_LEAST)
def adjoint(first, last, values, table, phases, weights, taps, parts):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """parts[N, K^3] = what each leaf's values [N, 512] give to the nodes of its window."""
    width, kind = len(taps), parts.dtype
    a, b = np.empty(width * width * 8, kind), np.empty(width * 64, kind)
    for leaf in range(first, last):
        p = phases[leaf]
        _contract(values[leaf], weights[p[0]], weights[p[1]], weights[p[2]], taps, a, b, parts[leaf])


@row_kernel(_LEAST)
def normal(first, last, coefficients, importance, scale, table, phases, weights, taps, parts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """parts[N, K^3] = adjoint(importance * evaluate(coefficients)), leaf by leaf; importance [N, 512] uint8 / scale."""
    width, kind = len(taps), parts.dtype
    local, values = np.empty(width**3, kind), np.empty(512, kind)
    a, b = np.empty(width * width * 8, kind), np.empty(width * 64, kind)
    for leaf in range(first, last):
        for i in range(width**3):
            local[i] = coefficients[table[leaf, i]]
        p = phases[leaf]
        wx, wy, wz = weights[p[0]], weights[p[1]], weights[p[2]]
        _expand(local, wx, wy, wz, taps, a, b, values)
        for i in range(512):
            values[i] *= importance[leaf, i] * scale
        _contract(values, wx, wy, wz, taps, a, b, parts[leaf])


@kernel
def scatter(parts, table, total):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """total[n] += parts, in the order of the leaves."""
    for leaf in range(parts.shape[0]):
        for i in range(parts.shape[1]):
            total[table[leaf, i]] += parts[leaf, i]
