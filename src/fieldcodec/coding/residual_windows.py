"""Gathering what is known around a leaf into a window, see `residual_passes`."""

import numpy as np

from fieldcodec.coding.neighbours import find
from fieldcodec.jit import inlined, kernel


@kernel
def around_leaves(cells, table, first, last):  # type: ignore[no-untyped-def]
    """[n, 27] int64: rows, counted from `first`, of the leaves around leaves first..last-1; -1 outside."""
    rows = np.full((last - first, 27), -1, np.int64)
    for leaf in range(first, last):
        for i in range(27):
            x, y, z = cells[leaf, 0] + i // 9 - 1, cells[leaf, 1] + i // 3 % 3 - 1, cells[leaf, 2] + i % 3 - 1
            row = find(table, cells, x, y, z)
            if first <= row < last:
                rows[leaf - first, i] = row - first
    return rows


@inlined
def _fill(values, row, first, stride, outside, window, at, count):  # type: ignore[no-untyped-def]
    """Set `count` places of a window from `at` on to every `stride`-th value of a leaf."""
    if row < 0:
        for i in range(count):
            window[at + i] = outside
    else:
        for i in range(count):
            window[at + i] = values[row, first + i * stride]


@kernel
def gather(values, outside, around, shape, window):  # type: ignore[no-untyped-def]
    """Fill a pass's window from `values` [n, 512] of the leaves `around` [27] one leaf; `outside` where none is."""
    stride, side, halo = shape[0], shape[1], shape[2]
    inner = side - 2 * halo
    at = 0
    for x in range(-halo * stride, 8 + halo * stride, stride):
        for y in range(-halo * stride, 8 + halo * stride, stride):
            leaves = ((x >> 3) + 1) * 9 + ((y >> 3) + 1) * 3
            line = (x & 7) << 6 | (y & 7) << 3
            _fill(values, around[leaves], line | (8 - halo * stride) & 7, stride, outside, window, at, halo)
            _fill(values, around[leaves + 1], line, stride, outside, window, at + halo, inner)
            _fill(values, around[leaves + 2], line, stride, outside, window, at + halo + inner, halo)
            at += side
