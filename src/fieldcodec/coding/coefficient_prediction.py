"""Compiled kernels that predict a lattice coefficient from the ones coded before it: neighbours and plane.

Nodes are visited in lexicographic order of their cells. A node's neighbours are the `STENCIL`: those of the 16
nearest places before it that exist. A plane fitted through them (weighted least squares; its weights follow from
which neighbours exist, so they are computed once per pattern) gives the simple prediction, and stands in for
neighbours that do not exist: what they would leave over beside the plane is zero (see `coefficient_learners`).

Fields are in 1/64 of a quantiser step (`FRACTION_BITS`).
"""

import numpy as np

from fieldcodec.jit import kernel

FRACTION_BITS = 6
_REACH = 2


def _stencil(size: int) -> np.ndarray:
    """[size, 3] int64: the places before (0, 0, 0) in lexicographic order, nearest first."""
    places = [tuple(place) for place in np.array(list(np.ndindex((2 * _REACH + 1,) * 3))) - _REACH]
    before = sorted((x * x + y * y + z * z, (x, y, z)) for x, y, z in places if (x, y, z) < (0, 0, 0))
    return np.array([place for _, place in before[:size]], np.int64)


STENCIL_SIZE = 16
STENCIL = _stencil(STENCIL_SIZE)
NUM_ADJACENT = 13  # the first places of the stencil: neighbours that share a face, an edge or a corner
NUM_NEAR = 9  # the first of these: neighbours that share a face or an edge
NEAR_WEIGHTS = np.array([2, 2, 2, 1, 1, 1, 1, 1, 1], np.int64)
# Weights of the plane fit are 36 / distance^4. A gradient of zero has a weight too: small in smooth fields, where
# it decides only what the neighbours leave open; large in rough ones, where the plane is little more than a mean.
_FIT_WEIGHTS = np.array([36 // int(place @ place) ** 2 for place in STENCIL], np.int64)
SMOOTH_FLATNESS, ROUGH_FLATNESS = 2, 160
PLANE_BITS = 16
RESIDUAL_LIMIT = 1 << 20


@kernel
def neighbour_rows(keys, steps, rows, later):  # type: ignore[no-untyped-def]
    """Fill rows[n, K] with the number of the node at key + steps[k], or -1; later[n] counts adjacent nodes after it.

    `keys` rise, `steps` are negative: every column needs one pass of two pointers.
    """
    for k in range(steps.size):
        other = 0
        for i in range(keys.size):
            wanted = keys[i] + steps[k]
            while keys[other] < wanted:
                other += 1
            found = keys[other] == wanted
            rows[i, k] = other if found else -1
            if found and k < NUM_ADJACENT:
                later[other] += 1


@kernel
def pattern_of(rows):  # type: ignore[no-untyped-def]
    """[n] int64: which neighbours exist, one bit per place of the stencil."""
    pattern = np.zeros(rows.shape[0], np.int64)
    for i in range(rows.shape[0]):
        for k in range(STENCIL_SIZE):
            if rows[i, k] >= 0:
                pattern[i] |= np.int64(1) << k
    return pattern


@kernel
def _invert4(m, inverse):  # type: ignore[no-untyped-def]
    """Adjugate of a symmetric 4 x 4 integer matrix; returns the determinant. Exact."""
    for i in range(4):
        for j in range(4):
            minor = np.zeros((3, 3), np.int64)
            for r in range(3):
                for c in range(3):
                    minor[r, c] = m[r if r < i else r + 1, c if c < j else c + 1]
            value = minor[0, 0] * (minor[1, 1] * minor[2, 2] - minor[1, 2] * minor[2, 1])
            value -= minor[0, 1] * (minor[1, 0] * minor[2, 2] - minor[1, 2] * minor[2, 0])
            value += minor[0, 2] * (minor[1, 0] * minor[2, 1] - minor[1, 1] * minor[2, 0])
            inverse[i, j] = value if (i + j) % 2 == 0 else -value
    total = np.int64(0)
    for j in range(4):
        total += m[0, j] * inverse[0, j]
    return total


@kernel
def plane_weights(patterns, flatness):  # type: ignore[no-untyped-def]
    """[P, 4, K] int32 in 1/65536: value and gradient of the plane fitted through the neighbours of each pattern.

    `flatness` is the weight of a gradient of zero, SMOOTH_FLATNESS or ROUGH_FLATNESS.
    """
    weights = np.zeros((patterns.size, 4, STENCIL_SIZE), np.int32)
    matrix, inverse, row = np.zeros((4, 4), np.int64), np.zeros((4, 4), np.int64), np.ones(4, np.int64)
    for p in range(patterns.size):
        if patterns[p] == 0:
            continue
        matrix[:] = 0
        for a in range(1, 4):
            matrix[a, a] = flatness
        for k in range(STENCIL_SIZE):
            if (patterns[p] >> k) & 1:
                for a in range(3):
                    row[1 + a] = STENCIL[k, a]
                for a in range(4):
                    for b in range(4):
                        matrix[a, b] += _FIT_WEIGHTS[k] * row[a] * row[b]
        determinant = _invert4(matrix, inverse)
        for k in range(STENCIL_SIZE):
            if (patterns[p] >> k) & 1:
                for a in range(3):
                    row[1 + a] = STENCIL[k, a]
                for a in range(4):
                    total = np.int64(0)
                    for b in range(4):
                        total += inverse[a, b] * row[b]
                    weights[p, a, k] = ((total * _FIT_WEIGHTS[k]) << PLANE_BITS) // determinant
    return weights


@kernel
def fit_plane(values, rows, weights, residuals):  # type: ignore[no-untyped-def]
    """The plane's value at a node, in 1/64; fills `residuals` [K] with what it leaves over at the neighbours.

    `rows` [K] are the numbers of the neighbours, `weights` [4, K] those of their pattern.
    """
    value, gx, gy, gz = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for k in range(STENCIL_SIZE):
        if rows[k] >= 0:
            v = np.int64(values[rows[k]])
            value += v * weights[0, k]
            gx += v * weights[1, k]
            gy += v * weights[2, k]
            gz += v * weights[3, k]
    half = np.int64(1) << (PLANE_BITS - FRACTION_BITS - 1)
    for k in range(STENCIL_SIZE):
        residuals[k] = 0
        if rows[k] >= 0:
            plane = value + gx * STENCIL[k, 0] + gy * STENCIL[k, 1] + gz * STENCIL[k, 2]
            left = (np.int64(values[rows[k]]) << FRACTION_BITS) - ((plane + half) >> (PLANE_BITS - FRACTION_BITS))
            residuals[k] = min(max(left, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)
    return (value + half) >> (PLANE_BITS - FRACTION_BITS)


@kernel
def plane_values(values, rows, pattern_rows, planes, result):  # type: ignore[no-untyped-def]
    """result [n] int32 = the planes' values at all nodes, rounded to steps of the quantiser."""
    residuals = np.zeros(STENCIL_SIZE, np.int64)
    for i in range(values.size):
        plane = fit_plane(values, rows[i], planes[pattern_rows[i]], residuals)
        result[i] = (plane + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
