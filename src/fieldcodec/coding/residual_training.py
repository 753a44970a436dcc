"""Fitting the weights of the residual coder's linear prediction: least squares over a sample of leaves.

Only an encoder does this, in floating point; the weights are stored as integers.
"""

import numpy as np

from fieldcodec.coding.residual_passes import (
    MAX_TAPS,
    MAX_WINDOW,
    NUM_PASSES,
    WEIGHT_BITS,
    WEIGHT_LIMIT,
    passes,
    plain_weights,
)
from fieldcodec.coding.residual_windows import gather
from fieldcodec.jit import kernel

SAMPLE_LEAVES = 1024
_FLOOR = 0.3  # of a step: scatter that coding adds
_RIDGE = 1e-4  # of the mean of the diagonal


@kernel
def add_moments(targets, masks, around, every, step, order, products, moments):  # type: ignore[no-untyped-def]
    """Add to the sums of products of neighbours' errors with each other and with the voxel's own error.

    `targets` [n, 512] int64 are the errors of a group, `around` [n, 27] its neighbourhoods; every
    `every`-th leaf counts. `products` is [10, 24, 24], its lower triangles only, `moments` [10, 24].
    A voxel weighs the less the more its neighbours scatter: bits go with the logarithm of the error.
    """
    errors = np.zeros(targets.shape, np.int64)
    near, inputs = np.zeros(MAX_WINDOW, np.int64), np.zeros(MAX_TAPS)
    for number in range(NUM_PASSES):
        num, taps, shares = order.shape[number, 3], order.taps[number], order.shares[number]
        for leaf in range(targets.shape[0]):
            sampled = leaf % every == 0
            if sampled:
                gather(errors, 0, around[leaf], order.shape[number], near)
            for k in range(order.starts[number], order.starts[number + 1]):
                voxel, at = order.voxels[k], order.places[k]
                if not masks[leaf, voxel >> 3] >> (voxel & 7) & 1:
                    continue
                error = targets[leaf, voxel]
                errors[leaf, voxel] = near[at] = error  # known to later voxels, as when coding
                if not sampled:
                    continue
                mean, total, scatter = 0.0, 0.0, 0.0
                for i in range(num):
                    inputs[i] = near[at + taps[i]]
                    mean += shares[i] * inputs[i]
                    total += shares[i]
                mean /= total
                for i in range(num):
                    scatter += shares[i] * abs(inputs[i] - mean)
                weight = (scatter / total + _FLOOR * step) ** -2
                for i in range(num):
                    moments[number, i] += weight * inputs[i] * error
                    for j in range(i + 1):
                        products[number, i, j] += weight * inputs[i] * inputs[j]


def new_moments() -> tuple[np.ndarray, np.ndarray]:
    """[10, 24, 24] and [10, 24] float64 zeros for `add_moments`."""
    return np.zeros((NUM_PASSES, MAX_TAPS, MAX_TAPS)), np.zeros((NUM_PASSES, MAX_TAPS))


def fitted_weights(products: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """[10, 24] int64 weights that minimise the squared error; passes without data keep the plain ones."""
    weights = plain_weights()
    order = passes()
    for number in range(NUM_PASSES):
        num = int(order.shape[number, 3])
        lower = np.tril(products[number, :num, :num])
        matrix = lower + np.tril(lower, -1).T
        size = float(np.trace(matrix)) / num
        if size > 0:
            solution = np.linalg.solve(matrix + _RIDGE * size * np.eye(num), moments[number, :num])
            whole = np.rint(solution * (1 << WEIGHT_BITS))
            weights[number, :num] = np.clip(whole, -WEIGHT_LIMIT, WEIGHT_LIMIT)
    return weights
