"""Compiled kernels of the smoothness term: weighted second differences of coefficients along the axes.

`neighbours` is [n, 3, 2] int32, -1 where there is none; `bends` [n, 3] are the weights of the second differences
around each node, 0 where it has no two neighbours along an axis.
"""

import numpy as np

from fieldcodec.jit import inlined, row_kernel

_LEAST = 1 << 16  # nodes that are worth a turn on a thread


@row_kernel(_LEAST)
def bend(first, last, coefficients, neighbours, bends, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """out[n, 3] = weight * second difference."""
    for i in range(first, last):
        for axis in range(3):
            out[i, axis] = 0
            if bends[i, axis] > 0:
                low, high = neighbours[i, axis, 0], neighbours[i, axis, 1]
                out[i, axis] = bends[i, axis] * (coefficients[low] - 2 * coefficients[i] + coefficients[high])


@inlined
def _gathered(values, neighbours, i, own):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """`own` times the values [n, 3] of node i, and once those of the nodes before and after it along each axis."""
    here = np.float32(0)
    for axis in range(3):
        here += own * values[i, axis]
        for side in range(2):
            near = neighbours[i, axis, side]
            if near >= 0:
                here += values[near, axis]
    return here


@row_kernel(_LEAST)
def unbend(first, last, bent, neighbours, scale, total):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """total[n] += scale * the adjoint of second differences, of `bent` [n, 3]."""
    for i in range(first, last):
        total[i] += scale * _gathered(bent, neighbours, i, np.int64(-2))


@row_kernel(_LEAST)
def add_bend_diagonal(first, last, bends, neighbours, scale, diagonal):  # type: ignore[no-untyped-def]  # pragma: no cover
    """diagonal[n] += scale * the diagonal of the second differences' normal matrix."""
    for i in range(first, last):
        diagonal[i] += scale * _gathered(bends, neighbours, i, np.int64(4))


@row_kernel(_LEAST)
def reweight(first, last, coefficients, neighbours, per_bend, bends):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """bends = 1 / (1 + (second difference / bend)^2)."""
    for i in range(first, last):
        for axis in range(3):
            low, high = neighbours[i, axis, 0], neighbours[i, axis, 1]
            if low >= 0 and high >= 0:
                second = (coefficients[low] - 2 * coefficients[i] + coefficients[high]) * per_bend
                bends[i, axis] = 1 / (1 + second * second)
