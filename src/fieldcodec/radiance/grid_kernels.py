"""Radiance grids on the CPU: values at points, what rays see, and the gradients of what they should see.

Corner (i, j, k + 1) of a live cell is the row after (i, j, k), see `lattice.CornerLattice`: four look-ups find eight
corners. `shades` is [n, W] here: red, green and blue of the first harmonic, of the second, and so on for K of them,
then zeros up to W, see `grid.row_width`. Rows are indexed, never cut out: each cut would count references.
"""

import numpy as np

from fieldcodec.jit import kernel

_ONE, _HALF = np.float32(1), np.float32(0.5)  # with a plain 1 all would be computed in float64


@kernel
def cell_of(point, low, cell, live, first, beside):  # type: ignore[no-untyped-def]
    """Whether a point, world space, lies in a live cell; its least corner and its place in it, 0 to 1."""
    for axis in range(3):
        place = (point[axis] - low[axis]) / cell
        whole = np.floor(place)
        first[axis] = int(whole)
        beside[axis] = place - whole
        if whole < 0 or whole >= live.shape[axis]:
            return False
    return live[first[0], first[1], first[2]]


@kernel
def corners_of(first, beside, rows, near, weights):  # type: ignore[no-untyped-def]
    """Rows [4] and weights [8] of a cell's corners: row near[q] has weights[2 q], the row after it weights[2 q + 1]."""
    for q in range(4):
        i, j = q >> 1, q & 1
        near[q] = rows[first[0] + i, first[1] + j, first[2]]
        across = (beside[0] if i else _ONE - beside[0]) * (beside[1] if j else _ONE - beside[1])
        weights[2 * q] = across * (_ONE - beside[2])
        weights[2 * q + 1] = across * beside[2]


@kernel
def thickness_at(thickness, near, weights):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for q in range(4):
        row = near[q]
        total += weights[2 * q] * thickness[row] + weights[2 * q + 1] * thickness[row + 1]
    return total


@kernel
def shade_at(shades, near, weights, basis, ray, mixed, colour):  # type: ignore[no-untyped-def]
    """colour [3] = 0.5 + the interpolated harmonics times basis[ray], not clipped; `mixed` [W] is for scratch."""
    for c in range(len(mixed)):
        mixed[c] = 0
    for q in range(4):
        row, a, b = near[q], weights[2 * q], weights[2 * q + 1]
        for c in range(len(mixed)):
            mixed[c] += a * shades[row, c]
        for c in range(len(mixed)):
            mixed[c] += b * shades[row + 1, c]
    red, green, blue = _HALF, _HALF, _HALF
    for band in range(basis.shape[1]):
        share = basis[ray, band]
        red += mixed[3 * band] * share
        green += mixed[3 * band + 1] * share
        blue += mixed[3 * band + 2] * share
    colour[0], colour[1], colour[2] = red, green, blue


@kernel
def softplus(x):  # type: ignore[no-untyped-def]
    return max(x, np.float32(0)) + np.log1p(np.exp(-abs(x)))


@kernel
def evaluate(points, basis, low, cell, rows, live, thickness, shades, density, colours):  # type: ignore[no-untyped-def]
    """Density [m] and colour [m, 3] at points [m, 3], seen along directions whose harmonics are basis [m, K]."""
    first, beside = np.empty(3, np.int64), np.empty(3, np.float32)
    near, weights = np.empty(4, np.int64), np.empty(8, np.float32)
    mixed, colour = np.empty(shades.shape[1], np.float32), np.empty(3, np.float32)
    for m in range(len(points)):
        if not cell_of(points[m], low, cell, live, first, beside):
            density[m] = 0
            for channel in range(3):
                colours[m, channel] = _HALF
            continue
        corners_of(first, beside, rows, near, weights)
        density[m] = softplus(thickness_at(thickness, near, weights)) / cell
        shade_at(shades, near, weights, basis, m, mixed, colour)
        for channel in range(3):
            colours[m, channel] = min(max(colour[channel], np.float32(0)), _ONE)
