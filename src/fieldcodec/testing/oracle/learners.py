"""Learners that predict coefficients of a lattice: local, by class, pooled, and their blend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fieldcodec.testing.oracle.plane import NEAR

Moments = np.ndarray  # [16, 17] int64: products X, then y as the last column
Weights = list[int]

_CLASS_OF = [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 2 + [5] * 2 + [6]
_WEIGHT_LIMIT = 1 << 19
BLEND, LOCAL, SLOW, FAST, POOLED, PLANE = range(6)


def class_of(neighbours: int) -> int:
    return _CLASS_OF[neighbours]


def clip(x: int, limit: int) -> int:
    return min(max(x, -limit), limit)


@final
@dataclass
class Node:
    """What later nodes know of a node; a silent one has no moments."""

    value: int
    errors: Sequence[int] = (0, 0, 0, 0, 0, 0)
    mood: int = 0
    moments: Moments | None = None
    weights: Sequence[int] = ()


@final
class _Class:
    """Learners of the nodes of one class."""

    def __init__(self) -> None:
        self.fresh, self.slow, self.fast, self.prior = (np.zeros((16, 17), np.int64) for _ in range(4))
        self.nodes, self.since, self.period = 0, 0, 8
        self.slow_weights, self.fast_weights = [0] * 16, [0] * 16


@final
class Learners:
    """Everything learned in a group."""

    def __init__(self) -> None:
        self._classes = [_Class() for _ in range(7)]
        self._pooled = np.zeros((16, 17), np.int64)
        self._pooled_weights = [0] * 16
        self._since, self._period = 0, 8
        self._inherited = self._pooled
        self._weights = [0] * 16

    def predict(self, neighbours: Sequence[Node | None], plane: int, left: Sequence[int]) -> list[int]:
        """The six predictions; remembers what `learn` needs."""
        own = self._classes[class_of(sum(node is not None for node in neighbours))]
        self._inherited = _inherited(neighbours)
        self._weights = _swept(self._inherited + own.prior, _first_weights(neighbours, own.slow_weights))
        by = (self._weights, own.slow_weights, own.fast_weights, self._pooled_weights)
        predictions = [plane + (sum(w * x for w, x in zip(weights, left, strict=True)) >> 16) for weights in by]
        predictions.append(plane)
        total = mass = 0
        for p, prediction in enumerate(predictions, 1):
            energy = sum(near * node.errors[p] ** 2 for near, node in zip(NEAR, neighbours, strict=False) if node)
            weight = (1 << 36) // (energy + 256)
            total += weight * clip(prediction - predictions[0], 1 << 20)
            mass += weight
        return [predictions[0] + total // mass, *predictions]

    def learn(
        self, neighbours: Sequence[Node | None], value: int, left: Sequence[int], predicted: Sequence[int]
    ) -> Node:
        """The node with this value, but for its mood; all learners take it in."""
        own = _own_moments(left, (value << 6) - predicted[PLANE])
        errors = [min(abs((value << 6) - prediction), 4095) for prediction in predicted]
        node = Node(value, errors, 0, self._inherited + own, self._weights)
        group = self._classes[class_of(sum(node is not None for node in neighbours))]
        group.fresh = group.fresh + own
        group.since += 1
        self._since += 1
        if group.since >= group.period:
            self._solve_class(group)
            if self._since >= self._period:
                self._pooled_weights = _solution(self._pooled)
                self._pooled = self._pooled - (self._pooled >> 6)
                self._since, self._period = 0, min(2 * self._period, 64)
        return node

    def _solve_class(self, group: _Class) -> None:
        group.nodes += (group.since << 8) - (group.nodes >> 7)
        group.slow = group.slow + group.fresh - (group.slow >> 7)
        group.fast = group.fast + group.fresh - (group.fast >> 4)
        self._pooled = self._pooled + group.fresh
        group.fresh = np.zeros_like(group.fresh)
        group.prior = group.slow * 512 // group.nodes
        group.slow_weights, group.fast_weights = _solution(group.slow), _solution(group.fast)
        group.since, group.period = 0, min(2 * group.period, 64)


def _inherited(neighbours: Sequence[Node | None]) -> Moments:
    total, mass = np.zeros((16, 17), np.int64), 0
    for near, node in zip(NEAR, neighbours, strict=False):
        if node is not None and node.moments is not None:
            total += near * node.moments
            mass += near
    return (total >> 4) * (1751 // mass) >> 7 if mass else total


def _first_weights(neighbours: Sequence[Node | None], of_class: Weights) -> Weights:
    voiced = [node for node in neighbours[:3] if node is not None and node.moments is not None]
    if not voiced:
        return list(of_class)
    return [sum(node.weights[j] for node in voiced) // len(voiced) for j in range(16)]


def _swept(moments: Moments, weights: Weights) -> Weights:
    """One Gauss-Seidel sweep."""
    products = moments[:, :16] + 6000 * np.eye(16, dtype=np.int64)
    rest = (moments[:, 16] << 16) - products.T @ np.array(weights)
    for i in range(16):
        step = (int(rest[i]) >> 12) * ((1 << 40) // int(products[i, i])) >> 28
        new = clip(weights[i] + step, _WEIGHT_LIMIT)
        rest -= products[i] * (new - weights[i])
        weights[i] = new
    return weights


def _own_moments(left: Sequence[int], target: int) -> Moments:
    energy = 12288 + sum(x * x for x in left) // 16
    h = 0
    while energy >> 2 * h >= 256:
        h += 1
    root = math.isqrt((1 << 48) // max(energy >> 2 * h, 1))
    units = [x * root >> 16 + h for x in left]
    units.append(clip(clip(target, 1 << 20) * root >> 16 + h, 1024))
    return np.outer(np.array(units[:16], np.int64), np.array(units, np.int64))


def _solution(moments: Moments) -> Weights:
    """By factors L D L^T in fixed point."""
    rows = moments.tolist()
    largest, shift = max(1, *(rows[i][i] for i in range(16))), 0
    while largest >> shift >= 1 << 30:
        shift += 1
    factor = [[0] * 16 for _ in range(16)]
    product = [[0] * 16 for _ in range(16)]
    diagonal = [0] * 16
    for j in range(16):
        for i in range(j, 16):
            rest = (rows[i][j] >> shift) - (sum(factor[i][k] * product[j][k] for k in range(j)) >> 20)
            if i == j:
                diagonal[j] = product[j][j] = max(rest + (1 << 18 >> shift), 4096)
            else:
                product[i][j], factor[i][j] = rest, (rest << 20) // diagonal[j]
    z: list[int] = []
    for i in range(16):
        z.append((rows[i][16] >> shift) - sum(factor[i][k] * z[k] >> 20 for k in range(i)))
    weights = [0] * 16
    for i in reversed(range(16)):
        weights[i] = (z[i] << 16) // diagonal[i] - sum(factor[k][i] * weights[k] >> 20 for k in range(i + 1, 16))
        weights[i] = clip(weights[i], _WEIGHT_LIMIT)
    return weights
