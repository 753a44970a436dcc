"""Compiled kernels of `refinement`: what a network sees of a voxel, and what it says, in integers."""

import numpy as np

from fieldcodec.coding.neighbours import find
from fieldcodec.jit import inlined, kernel

FEATURES = 27
ONE = 127  # the integer that stands for 1 in features and activations
WEIGHT_SHIFT = 7  # weights are in 1/128: coarser ones lose a third of the gain on level sets
LEAK = 3  # negative activations are divided by 8
_REACH_SHIFT = 20
_SIDE = 10  # of a leaf and one voxel around it
_EDGES, _CORNERS = 12, 8


@kernel
def around_leaf(cells, table, leaf, rows):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Rows [27] of the leaves around a leaf; -1 where there is none."""
    for i in range(27):
        x, y, z = cells[leaf, 0] + i // 9 - 1, cells[leaf, 1] + i // 3 % 3 - 1, cells[leaf, 2] + i % 3 - 1
        rows[i] = find(table, cells, x, y, z)


@kernel
def gather(numbers, active, rows, values, states):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fills windows of 10^3 voxels around a leaf: `values`, and `states`: 1 active, 0 not, -1 where no leaf is."""
    at = 0
    for x in range(-1, 9):
        for y in range(-1, 9):
            line = (x & 7) << 6 | (y & 7) << 3
            first = ((x >> 3) + 1) * 9 + ((y >> 3) + 1) * 3 + 1
            for z in range(-1, 9):
                row, slot = rows[first + (z >> 3)], line | (z & 7)
                if row < 0:
                    values[at], states[at] = 0, -1
                else:
                    values[at] = numbers[row, slot]
                    states[at] = active[row, slot >> 3] >> (slot & 7) & 1
                at += 1


@inlined
def _scaled(number, factor):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """An integer times factor / 2^20, rounded, within -127..127."""
    return min(max((number * factor + (1 << (_REACH_SHIFT - 1))) >> _REACH_SHIFT, -ONE), ONE)


@inlined
def _see(values, states, slot, factors, features):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """What the network is told of a voxel, see `refinement`."""
    x, y, z = slot >> 6, slot >> 3 & 7, slot & 7
    centre = ((x + 1) * _SIDE + y + 1) * _SIDE + z + 1
    own = values[centre]
    edges, corners, edge_states, corner_states, face = np.int64(0), np.int64(0), 0, 0, 0
    for i in range(-1, 2):
        for j in range(-1, 2):
            for k in range(-1, 2):
                order = abs(i) + abs(j) + abs(k)
                if order == 0:
                    continue
                at = centre + (i * _SIDE + j) * _SIDE + k
                state = states[at]
                difference = values[at] - own if state >= 0 else np.int64(0)
                state = max(state, 0)
                if order == 1:
                    features[face] = _scaled(difference, factors[0])
                    features[8 + face] = state * ONE
                    face += 1
                elif order == 2:
                    edges += difference
                    edge_states += state
                else:
                    corners += difference
                    corner_states += state
    features[6] = _scaled(edges, factors[1])
    features[7] = _scaled(corners, factors[2])
    features[14] = edge_states * ONE // _EDGES
    features[15] = corner_states * ONE // _CORNERS
    features[16] = _scaled(own, factors[3])
    features[17] = _scaled(own, factors[0])
    for bit in range(3):
        features[18 + 3 * bit] = ((x >> bit & 1) * 2 - 1) * ONE
        features[19 + 3 * bit] = ((y >> bit & 1) * 2 - 1) * ONE
        features[20 + 3 * bit] = ((z >> bit & 1) * 2 - 1) * ONE


@inlined
def _layer(inputs, weights, biases, outputs):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Sums of a layer: inputs [n], weights [n, m], biases [m] -> outputs [m], in 1/(127 * 128)."""
    for j in range(biases.size):
        outputs[j] = biases[j] * ONE
    for i in range(weights.shape[0]):
        x = inputs[i]
        for j in range(biases.size):
            outputs[j] += x * weights[i, j]


@inlined
def _activate(sums):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Leaky rectifier, in place: sums in 1/(127 * 128) -> activations in 1/127, within -1..1."""
    for j in range(sums.size):
        leaked = sums[j] if sums[j] >= 0 else sums[j] >> LEAK
        sums[j] = min(max((leaked + (1 << (WEIGHT_SHIFT - 1))) >> WEIGHT_SHIFT, -ONE), ONE)


@kernel
def refine(numbers, active, cells, table, first, factors, layers, step, limit, result):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Adds what the network says to active voxels of leaves first..first + len(result) - 1.

    Args:
        layers: weights [27, a], biases [a], [a, b], [b], [b, 1], [1]; int32.
        result: [n, 512] int32: refined numbers; already filled for voxels that are not active.
    """
    weights0, biases0, weights1, biases1, weights2, biases2 = layers
    rows = np.empty(27, np.int64)
    values, states = np.empty(_SIDE**3, np.int64), np.empty(_SIDE**3, np.int32)
    features, said = np.empty(FEATURES, np.int32), np.empty(1, np.int32)
    hidden0, hidden1 = np.empty(biases0.size, np.int32), np.empty(biases1.size, np.int32)
    unit = np.int64(ONE << WEIGHT_SHIFT)
    for i in range(len(result)):
        around_leaf(cells, table, first + i, rows)
        gather(numbers, active, rows, values, states)
        for slot in range(512):
            if active[first + i, slot >> 3] >> (slot & 7) & 1:
                _see(values, states, slot, factors, features)
                _layer(features, weights0, biases0, hidden0)
                _activate(hidden0)
                _layer(hidden0, weights1, biases1, hidden1)
                _activate(hidden1)
                _layer(hidden1, weights2, biases2, said)
                change = (2 * np.int64(said[0]) * step + unit) // (2 * unit)
                result[i, slot] = min(max(numbers[first + i, slot] + change, -limit), limit)


@kernel
def features_of(numbers, active, cells, table, leaves, factors, result):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """What the network sees of the active voxels of some leaves, in order: result [voxels, 27] int8."""
    rows = np.empty(27, np.int64)
    values, states = np.empty(_SIDE**3, np.int64), np.empty(_SIDE**3, np.int32)
    features, count = np.empty(FEATURES, np.int32), 0
    for leaf in leaves:
        around_leaf(cells, table, leaf, rows)
        gather(numbers, active, rows, values, states)
        for slot in range(512):
            if active[leaf, slot >> 3] >> (slot & 7) & 1:
                _see(values, states, slot, factors, features)
                for k in range(FEATURES):
                    result[count, k] = features[k]
                count += 1
