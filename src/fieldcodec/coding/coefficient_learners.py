"""Learners that predict what a plane leaves over at a node from what it leaves over at the neighbours.

Each is a linear predictor fitted by least squares to the nodes coded so far, through the moments of their residuals:

* one per node and place: moments are handed on from neighbour to neighbour and fade with distance, so that every
  node has a predictor of its surroundings, whose weights start from those of its neighbours (where a surface bends,
  and in which direction, differs from place to place);
* two per class of nodes, by how many neighbours exist: one with a long and one with a short memory;
* one of all nodes.

Everything is integers; float64 is used where it holds them exactly, because processors multiply it faster.
"""

import math
from typing import NamedTuple

import numpy as np

from fieldcodec.coding import coefficient_prediction as prediction
from fieldcodec.coding.coefficient_prediction import NEAR_WEIGHTS, NUM_NEAR, STENCIL_SIZE
from fieldcodec.jit import kernel

BLEND, LOCAL, SLOW, FAST, POOLED, PLANE = range(6)
NUM_PREDICTORS = 6
CLASS_OF_COUNT = np.array([0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 2 + [5] * 2 + [6], np.int64)
NUM_CLASSES = 7
ERROR_LIMIT = (1 << 12) - 1

_NUM_PRODUCTS = STENCIL_SIZE * STENCIL_SIZE
NUM_MOMENTS = _NUM_PRODUCTS + STENCIL_SIZE
_UNIT_BITS = 8  # of a residual in units of their root mean square; moments have twice as many
_UNIT_LIMIT = 1 << 10
_ROOT_BITS = 16
# 2^24 / sqrt(energy) for energies of 8 bits; `_gather` brings larger ones below
_ROOTS = np.array([math.isqrt((1 << 2 * (_ROOT_BITS + _UNIT_BITS)) // max(x, 1)) for x in range(256)], np.int64)
_QUIET = 3 << (2 * prediction.FRACTION_BITS)  # a mean square of residuals that counts as little
_FADING = 1751  # 0.855 * 2^11
_PRIOR_NODES = 2  # how many nodes' worth the moments of the class count for at a place
_LOCAL_RIDGE = 6000  # 0.1 in moments
_FAST_DECAY, _SLOW_DECAY, _POOLED_DECAY = 4, 7, 6  # a solve takes 2^-n off the moments
_FIRST_PERIOD, _PERIOD = 8, 64  # nodes from solve to solve, doubling from the first to the last
_COUNT_BITS = 8

WEIGHT_BITS = 16
_WEIGHT_LIMIT = 8 << WEIGHT_BITS
_FACTOR_BITS = 20
_RIDGE = 1 << 18
_LEAST_PIVOT = 1 << 12


class Learners(NamedTuple):
    """All that the learners know, and their scratch space. K neighbours, T moments, C classes, n nodes."""

    ring: np.ndarray  # [R, T] int32: moments gathered at the last R nodes
    local: np.ndarray  # [n, K] int32: weights at each node
    active: np.ndarray  # [n] bool: nodes that have moments and weights
    errors: np.ndarray  # [n, predictors] int16: errors of each, in 1/64
    moods: np.ndarray  # [n] int64: mean error of the surroundings, in 1/512
    fresh: np.ndarray  # [C, T] int64: moments since the last solve
    slow: np.ndarray  # [C, T] int64
    fast: np.ndarray  # [C, T] int64
    prior: np.ndarray  # [C, T] int32: mean of `slow`, times _PRIOR_NODES
    pooled: np.ndarray  # [T] int64
    since: np.ndarray  # [C + 1] int64: nodes since the last solve, of each class and of all
    periods: np.ndarray  # [C + 1] int64: nodes from solve to solve
    slow_nodes: np.ndarray  # [C] int64: nodes that `slow` remembers, in 1/256
    weights: np.ndarray  # [2 C + 1, K] int64: of slow, fast and pooled learners
    around: np.ndarray  # [T] int32: moments inherited by the node
    own: np.ndarray  # [T] int32: moments of the node itself
    units: np.ndarray  # [K] int32
    here: np.ndarray  # [K] float64: weights of the node
    matrix: np.ndarray  # [K * K] float64
    left: np.ndarray  # [K] float64
    inverses: np.ndarray  # [K] int64
    factor: np.ndarray  # [K, K] int64
    products: np.ndarray  # [K, K] int64
    diagonal: np.ndarray  # [K] int64


def new_learners(rows: np.ndarray) -> Learners:
    """Learners that know nothing, for nodes with these neighbours, [n, K]."""
    count, size = len(rows), STENCIL_SIZE
    near = rows[:, :NUM_NEAR]
    behind = np.where(near >= 0, np.arange(count)[:, None] - near, 0).max(initial=0)
    ring = 1 << int(behind).bit_length()
    moments = (NUM_CLASSES, NUM_MOMENTS)
    return Learners(
        ring=np.zeros((ring, NUM_MOMENTS), np.int32),
        local=np.zeros((count, size), np.int32),
        active=np.zeros(count, np.bool_),
        errors=np.zeros((count, NUM_PREDICTORS), np.int16),
        moods=np.zeros(count, np.int64),
        fresh=np.zeros(moments, np.int64),
        slow=np.zeros(moments, np.int64),
        fast=np.zeros(moments, np.int64),
        prior=np.zeros(moments, np.int32),
        pooled=np.zeros(NUM_MOMENTS, np.int64),
        since=np.zeros(NUM_CLASSES + 1, np.int64),
        periods=np.full(NUM_CLASSES + 1, _FIRST_PERIOD, np.int64),
        slow_nodes=np.zeros(NUM_CLASSES, np.int64),
        weights=np.zeros((2 * NUM_CLASSES + 1, size), np.int64),
        around=np.zeros(NUM_MOMENTS, np.int32),
        own=np.zeros(NUM_MOMENTS, np.int32),
        units=np.zeros(size, np.int32),
        here=np.zeros(size),
        matrix=np.zeros(size * size),
        left=np.zeros(size),
        inverses=np.zeros(size, np.int64),
        factor=np.zeros((size, size), np.int64),
        products=np.zeros((size, size), np.int64),
        diagonal=np.zeros(size, np.int64),
    )


@kernel
def predict(learners, rows, cls, plane, residuals, predictions):  # type: ignore[no-untyped-def]
    """Fill `predictions`, in 1/64, of a node of class `cls`; returns how far apart they lie.

    `rows` [K] are the numbers of its neighbours, `plane` the plane's value, `residuals` [K] what it leaves over.
    """
    _inherit(rows, learners.active, learners.ring, learners.around)
    _start_weights(rows, learners.active, learners.local, learners.weights[cls], learners.here)
    _relax(learners.around, learners.prior[cls], learners.matrix, learners.left, learners.inverses, learners.here)
    here, weights = learners.here, learners.weights
    local, slow, fast, pooled = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for k in range(STENCIL_SIZE):
        local += np.int64(here[k]) * residuals[k]
        slow += weights[cls, k] * residuals[k]
        fast += weights[NUM_CLASSES + cls, k] * residuals[k]
        pooled += weights[2 * NUM_CLASSES, k] * residuals[k]
    predictions[LOCAL] = plane + (local >> WEIGHT_BITS)
    predictions[SLOW] = plane + (slow >> WEIGHT_BITS)
    predictions[FAST] = plane + (fast >> WEIGHT_BITS)
    predictions[POOLED] = plane + (pooled >> WEIGHT_BITS)
    predictions[PLANE] = plane
    return _blend(rows, learners.errors, predictions)


@kernel
def learn(learners, node, cls, value, residuals, predictions):  # type: ignore[no-untyped-def]
    """Take in the value, in 1/64, that `predict` was asked for."""
    errors, local, here = learners.errors, learners.local, learners.here
    for p in range(NUM_PREDICTORS):
        errors[node, p] = min(abs(value - predictions[p]), ERROR_LIMIT)
    slot = node & (learners.ring.shape[0] - 1)
    own, around, moments, fresh = learners.own, learners.around, learners.ring[slot], learners.fresh[cls]
    _gather(residuals, value - predictions[PLANE], learners.units, own)
    for t in range(NUM_MOMENTS):
        moments[t] = around[t] + own[t]
        fresh[t] += own[t]
    learners.active[node] = True
    for k in range(STENCIL_SIZE):
        local[node, k] = here[k]
    since, periods = learners.since, learners.periods
    since[cls] += 1
    since[NUM_CLASSES] += 1
    if since[cls] >= periods[cls]:
        _solve_class(learners, cls)
        since[cls] = 0
        periods[cls] = min(2 * periods[cls], _PERIOD)
        if since[NUM_CLASSES] >= periods[NUM_CLASSES]:
            _solve(learners.pooled, learners, learners.weights[2 * NUM_CLASSES])
            for t in range(NUM_MOMENTS):
                learners.pooled[t] -= learners.pooled[t] >> _POOLED_DECAY
            since[NUM_CLASSES] = 0
            periods[NUM_CLASSES] = min(2 * periods[NUM_CLASSES], _PERIOD)


@kernel
def _gather(residuals, target, units, own):  # type: ignore[no-untyped-def]
    """own [T] = products of the residuals with each other and with the target.

    They are in units of the root mean square of the residuals: so no node counts for much more than others, and
    all numbers stay below 2^21 whatever the values are. `units` [K] is scratch space.
    """
    energy = np.int64(0)
    for k in range(STENCIL_SIZE):
        energy += residuals[k] * residuals[k]
    energy = _QUIET + energy // STENCIL_SIZE
    half = 0
    while (energy >> (2 * half)) >= _ROOTS.size:
        half += 1
    root = _ROOTS[energy >> (2 * half)]
    for k in range(STENCIL_SIZE):
        units[k] = (residuals[k] * root) >> (_ROOT_BITS + half)
    target = min(max(target, -prediction.RESIDUAL_LIMIT), prediction.RESIDUAL_LIMIT)
    target = np.int32(min(max((target * root) >> (_ROOT_BITS + half), -_UNIT_LIMIT), _UNIT_LIMIT))
    size = units.size
    for i in range(size):
        row = own[i * size : (i + 1) * size]
        for j in range(size):
            row[j] = units[i] * units[j]
        own[_NUM_PRODUCTS + i] = units[i] * target


@kernel
def _inherit(rows, active, ring, around):  # type: ignore[no-untyped-def]
    """around [T] = mean of the moments that the nearest neighbours have gathered, times 0.855; below 2^24."""
    around[:] = 0
    mass = 0
    for k in range(NUM_NEAR):
        if rows[k] >= 0 and active[rows[k]]:
            moments = ring[rows[k] & (ring.shape[0] - 1)]
            mass += NEAR_WEIGHTS[k]
            if NEAR_WEIGHTS[k] == 2:
                for t in range(NUM_MOMENTS):
                    around[t] += moments[t] << 1
            else:
                for t in range(NUM_MOMENTS):
                    around[t] += moments[t]
    if mass > 0:
        scale = np.int32(_FADING // mass)
        for t in range(NUM_MOMENTS):
            around[t] = (np.int32(around[t] >> 4) * scale) >> 7


@kernel
def _start_weights(rows, active, local, learnt, here):  # type: ignore[no-untyped-def]
    """here [K] = mean of the weights of the neighbours that share a face, or those of the class."""
    count = 0
    here[:] = 0
    for k in range(3):
        if rows[k] >= 0 and active[rows[k]]:
            count += 1
            for j in range(STENCIL_SIZE):
                here[j] += local[rows[k], j]
    for j in range(STENCIL_SIZE):
        here[j] = np.float64(np.int64(here[j]) // count if count else learnt[j])


@kernel
def _relax(around, prior, matrix, left, inverses, weights):  # type: ignore[no-untyped-def]
    """Improve weights [K] towards the solution of (around + prior) weights = right side, by a Gauss-Seidel sweep.

    `weights` are integers in 1/65536 below 2^19, moments are below 2^25, so all sums are exact integers below 2^53.
    """
    for place in range(matrix.size):
        matrix[place] = around[place] + prior[place]
    for i in range(STENCIL_SIZE):
        diagonal = i * (STENCIL_SIZE + 1)
        matrix[diagonal] += _LOCAL_RIDGE
        inverses[i] = (np.int64(1) << 40) // np.int64(matrix[diagonal])
        left[i] = (np.int64(around[_NUM_PRODUCTS + i]) + prior[_NUM_PRODUCTS + i]) << WEIGHT_BITS
    for i in range(STENCIL_SIZE):
        _subtract(left, matrix, i, weights[i])
    for i in range(STENCIL_SIZE):
        step = ((np.int64(left[i]) >> 12) * inverses[i]) >> 28
        new = min(max(weights[i] + np.float64(step), -_WEIGHT_LIMIT), _WEIGHT_LIMIT)
        change = new - weights[i]
        weights[i] = new
        _subtract(left, matrix, i, change)


@kernel
def _subtract(left, matrix, row, factor):  # type: ignore[no-untyped-def]
    """left [K] -= factor * one row of the matrix; unsigned indices let this become vector instructions."""
    start = np.uint64(row * STENCIL_SIZE)
    for j in range(np.uint64(left.size)):
        left[j] -= matrix[start + j] * factor


@kernel
def _blend(rows, errors, predictions):  # type: ignore[no-untyped-def]
    """Mean of the predictors, each weighted by the inverse of its squared errors nearby; returns how far they differ.

    After "Blending predictors" of lossless image coders (Seemann and Tischer, 1997).
    """
    base = predictions[LOCAL]
    total, mass = np.int64(0), np.int64(0)
    low, high = base, base
    for p in range(1, NUM_PREDICTORS):
        energy = np.int64(0)
        for k in range(NUM_NEAR):
            if rows[k] >= 0:
                error = np.int64(errors[rows[k], p])
                energy += error * error * NEAR_WEIGHTS[k]
        weight = (np.int64(1) << 36) // (energy + 256)
        total += weight * min(max(predictions[p] - base, -prediction.RESIDUAL_LIMIT), prediction.RESIDUAL_LIMIT)
        mass += weight
        low, high = min(low, predictions[p]), max(high, predictions[p])
    predictions[BLEND] = base + total // mass
    return high - low


@kernel
def _solve_class(learners, cls):  # type: ignore[no-untyped-def]
    """Let the learners of a class take in what came since their last solve."""
    fresh, slow, fast, prior = learners.fresh[cls], learners.slow[cls], learners.fast[cls], learners.prior[cls]
    nodes = learners.slow_nodes
    nodes[cls] += (learners.since[cls] << _COUNT_BITS) - (nodes[cls] >> _SLOW_DECAY)
    for t in range(NUM_MOMENTS):
        slow[t] += fresh[t] - (slow[t] >> _SLOW_DECAY)
        fast[t] += fresh[t] - (fast[t] >> _FAST_DECAY)
        learners.pooled[t] += fresh[t]
        fresh[t] = 0
        prior[t] = (slow[t] * (_PRIOR_NODES << _COUNT_BITS)) // nodes[cls]
    _solve(slow, learners, learners.weights[cls])
    _solve(fast, learners, learners.weights[NUM_CLASSES + cls])


@kernel
def _solve(moments, learners, weights):  # type: ignore[no-untyped-def]
    """weights [K] = solution of the moments' equations in 1/65536, by triangular factors L D L^T in fixed point."""
    factor, products, diagonal = learners.factor, learners.products, learners.diagonal
    largest = np.int64(1)
    for i in range(STENCIL_SIZE):
        largest = max(largest, moments[i * (STENCIL_SIZE + 1)])
    shift = 0  # the largest number of the matrix gets 30 bits
    while (largest >> shift) >= (1 << 30):
        shift += 1
    for j in range(STENCIL_SIZE):
        for i in range(j, STENCIL_SIZE):
            inner = np.int64(0)
            for k in range(j):
                inner += factor[i, k] * products[j, k]
            total = (moments[i * STENCIL_SIZE + j] >> shift) - (inner >> _FACTOR_BITS)
            if i == j:
                diagonal[j] = max(total + (_RIDGE >> shift), _LEAST_PIVOT)
                products[j, j] = diagonal[j]
            else:
                products[i, j] = total
                factor[i, j] = (total << _FACTOR_BITS) // diagonal[j]
    for i in range(STENCIL_SIZE):
        total = moments[_NUM_PRODUCTS + i] >> shift
        for k in range(i):
            total -= (factor[i, k] * products[k, k]) >> _FACTOR_BITS
        products[i, i] = total
    for i in range(STENCIL_SIZE - 1, -1, -1):
        total = (products[i, i] << WEIGHT_BITS) // diagonal[i]
        for k in range(i + 1, STENCIL_SIZE):
            total -= (factor[k, i] * weights[k]) >> _FACTOR_BITS
        weights[i] = min(max(total, -_WEIGHT_LIMIT), _WEIGHT_LIMIT)
