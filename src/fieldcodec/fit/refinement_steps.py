"""Compiled steps of the fit of `refinement`: gradients of a batch, block by block, and Adam.

A batch is taken in blocks of 64 voxels, one array of 64 for each feature or neuron, so that all that is done for a
voxel is done for a vector of them. Everything runs on one thread, in one order.
"""

import math

import numpy as np

from fieldcodec.jit import kernel
from fieldcodec.lattice.refinement_kernels import ONE

_BLOCK = 64  # voxels; what belongs to them stays in the first cache
_UNIT = np.float32(1 / ONE)  # of features
_EPSILON = np.float32(1e-8)
_SQUARES_DECAY = 0.999


@kernel
def _draw(state, features, errors, importance, inputs, wanted, weights):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """A block of voxels at random (xorshift64*): inputs [27, block], -1..1; returns the generator's next state."""
    count = np.uint64(features.shape[0])
    for s in range(wanted.size):
        state ^= state >> np.uint64(12)
        state ^= state << np.uint64(25)
        state ^= state >> np.uint64(27)
        row = (((state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)) * count) >> np.uint64(32)
        for i in range(inputs.shape[0]):
            inputs[i, s] = features[row, i] * _UNIT
        wanted[s], weights[s] = errors[row], importance[row]
    return state


@kernel(fastmath=True)
def _layer(inputs, weights, biases, outputs):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """outputs [m, block] = weights [n, m]^T inputs [n, block] + biases [m]."""
    for j in range(biases.size):
        for s in range(_BLOCK):
            outputs[j, s] = biases[j]
        for i in range(inputs.shape[0]):
            weight = weights[i, j]
            for s in range(_BLOCK):
                outputs[j, s] += weight * inputs[i, s]


@kernel(fastmath=True)
def _activate(values, slopes, leak):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Leaky rectifier within -1..1, in place; `slopes` get its derivatives."""
    for j in range(values.shape[0]):
        for s in range(_BLOCK):
            slope = np.float32(1) if values[j, s] >= 0 else leak
            value = values[j, s] * slope
            slopes[j, s] = slope if abs(value) <= 1 else np.float32(0)
            values[j, s] = min(max(value, np.float32(-1)), np.float32(1))


@kernel(fastmath=True)
def _add_gradients(inputs, backward, of_weights, of_biases):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Of a layer's weights [n, m] and biases [m], from derivatives by its outputs [m, block]."""
    for j in range(of_biases.size):
        for i in range(inputs.shape[0]):
            total = np.float32(0)
            for s in range(_BLOCK):
                total += inputs[i, s] * backward[j, s]
            of_weights[i, j] += total
        total = np.float32(0)
        for s in range(_BLOCK):
            total += backward[j, s]
        of_biases[j] += total


@kernel(fastmath=True)
def _back(backward, weights, slopes, result):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """result [n, block] = slopes * weights [n, m] backward [m, block]: derivatives by what went into a rectifier."""
    for i in range(weights.shape[0]):
        for s in range(_BLOCK):
            result[i, s] = 0
        for j in range(weights.shape[1]):
            weight = weights[i, j]
            for s in range(_BLOCK):
                result[i, s] += weight * backward[j, s]
        for s in range(_BLOCK):
            result[i, s] *= slopes[i, s]


@kernel
def _parts(flat, inputs, first, second):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Views of a network's tensors, which lie one after the other."""
    a = inputs * first
    b = a + first
    c = b + first * second
    d = c + second
    return (
        flat[:a].reshape(inputs, first), flat[a:b], flat[b:c].reshape(first, second), flat[c:d],
        flat[d : d + second].reshape(second, 1), flat[d + second :],
    )  # fmt: skip


@kernel
def optimise(parameters, widths, features, errors, importance, rates, decays, batch, one, leak, seed):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Adam on voxels drawn at random, in place.

    Args:
        parameters: [P] float32, all tensors of a network one after the other.
        widths: neurons of its layers.
        features: [n, 27] int8.
        errors, importance: [n] float32; the weighted mean square of what is left of the errors is minimised.
        rates, decays: [steps], of learning and of the mean gradient.
        batch: voxels of a step, a multiple of 64.
        one: weights are rounded to 1 / one for the gradients, which pass straight through.
        leak: slope of the rectifier below 0.
        seed: of the draw, above 0.
    """
    size, (first, second) = features.shape[1], widths
    rounded, gradients = np.empty_like(parameters), np.empty_like(parameters)
    mean, squares = np.zeros_like(parameters), np.zeros_like(parameters)
    inputs, wanted, weights = (
        np.empty((size, _BLOCK), np.float32), np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32),
    )  # fmt: skip
    hidden, deep = np.empty((first, _BLOCK), np.float32), np.empty((second, _BLOCK), np.float32)
    hidden_slopes, deep_slopes = np.empty_like(hidden), np.empty_like(deep)
    back_hidden, back_deep = np.empty_like(hidden), np.empty_like(deep)
    said = np.empty((1, _BLOCK), np.float32)
    weights0, biases0, weights1, biases1, weights2, biases2 = _parts(rounded, size, first, second)
    of_weights0, of_biases0, of_weights1, of_biases1, of_weights2, of_biases2 = _parts(gradients, size, first, second)
    state = np.uint64(seed)
    for step in range(rates.size):
        for k in range(parameters.size):
            rounded[k] = np.rint(parameters[k] * one) / one
            gradients[k] = 0
        for _ in range(batch // _BLOCK):
            state = _draw(state, features, errors, importance, inputs, wanted, weights)
            _layer(inputs, weights0, biases0, hidden)
            _activate(hidden, hidden_slopes, leak)
            _layer(hidden, weights1, biases1, deep)
            _activate(deep, deep_slopes, leak)
            _layer(deep, weights2, biases2, said)
            for s in range(_BLOCK):
                said[0, s] = 2 * weights[s] * (said[0, s] - wanted[s]) / np.float32(batch)
            _add_gradients(deep, said, of_weights2, of_biases2)
            _back(said, weights2, deep_slopes, back_deep)
            _add_gradients(hidden, back_deep, of_weights1, of_biases1)
            _back(back_deep, weights1, hidden_slopes, back_hidden)
            _add_gradients(inputs, back_hidden, of_weights0, of_biases0)
        _step_of_adam(parameters, gradients, mean, squares, rates[step], decays[step], step + 1)


@kernel
def _step_of_adam(parameters, gradients, mean, squares, rate, decay, count):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    pace = np.float32(rate / (1 - decay**count))
    scale = np.float32(1 / math.sqrt(1 - _SQUARES_DECAY**count))
    kept, kept_squares = np.float32(decay), np.float32(_SQUARES_DECAY)
    for k in range(parameters.size):
        gradient = gradients[k]
        mean[k] = kept * mean[k] + (1 - kept) * gradient
        squares[k] = kept_squares * squares[k] + (1 - kept_squares) * gradient * gradient
        parameters[k] -= pace * mean[k] / (math.sqrt(squares[k]) * scale + _EPSILON)
