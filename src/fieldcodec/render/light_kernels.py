"""Coarse cells of density and the light that reaches them, compiled."""

import math

import numpy as np

from fieldcodec.jit import kernel


@kernel
def add_leaves(cells, leaves, origins, low, shift):  # type: ignore[no-untyped-def]
    """Add means of leaves [n, 512] at origins [n, 3] to cells [X, Y, Z] of 2^shift voxels from voxel `low` on."""
    share = 1.0 / (1 << (3 * shift))
    for row in range(len(leaves)):
        for slot in range(512):
            value = leaves[row, slot]
            if value > 0:
                x = (origins[row, 0] + (slot >> 6) - low[0]) >> shift
                y = (origins[row, 1] + ((slot >> 3) & 7) - low[1]) >> shift
                z = (origins[row, 2] + (slot & 7) - low[2]) >> shift
                cells[x, y, z] += value * share


@kernel
def _depth(cells, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Sum of trilinear samples from half a step beyond cell (x, y, z) on, until the ray leaves the cells."""
    total = 0.0
    x, y, z = x + 0.5 * dx, y + 0.5 * dy, z + 0.5 * dz
    while -1 < x < cells.shape[0] and -1 < y < cells.shape[1] and -1 < z < cells.shape[2]:
        i, j, k = math.floor(x), math.floor(y), math.floor(z)
        a, b, c = x - i, y - j, z - k
        for corner in range(8):
            p, q, r = i + (corner >> 2), j + ((corner >> 1) & 1), k + (corner & 1)
            if 0 <= p < cells.shape[0] and 0 <= q < cells.shape[1] and 0 <= r < cells.shape[2]:
                weight = (a if corner & 4 else 1 - a) * (b if corner & 2 else 1 - b) * (c if corner & 1 else 1 - c)
                total += weight * cells[p, q, r]
        x, y, z = x + dx, y + dy, z + dz
    return total


@kernel
def fill_light(lights, first, last, cells, used, direction, scale):  # type: ignore[no-untyped-def]
    """Set lights [X, Y, Z] of the layers first <= x < last to exp(-scale * depth towards `direction` [3]).

    `direction` is a step of a ray in cells, `scale` the optical depth of a step at a sum of 1; cells that are not
    `used` stay as they are.
    """
    for x in range(first, last):
        for y in range(cells.shape[1]):
            for z in range(cells.shape[2]):
                if used[x, y, z]:
                    depth = _depth(cells, float(x), float(y), float(z), direction[0], direction[1], direction[2])
                    lights[x, y, z] = np.exp(-scale * depth)
