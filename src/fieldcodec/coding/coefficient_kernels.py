"""Compiled kernels of the coefficient coder: one walk over a group's nodes serves both directions.

A node's value is coded as a cell index relative to the prediction: is it zero, its sign, then its magnitude in
unary. The probability of each of these bits is mixed (see `mixing`) from two kinds of opinion: what a logistic
distribution around each predictor says, its spread learnt in a context of its own, and adaptive counters in
contexts of what is known around the node. Where values are much larger than their spread the cells grow to
2^m values, whose lower bits are then coded raw. A node whose neighbours are all zero has one adaptive bit first.
"""

from typing import NamedTuple

import numpy as np

from fieldcodec.coding import coefficient_learners as learning
from fieldcodec.coding import coefficient_prediction as prediction
from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.coefficient_learners import BLEND, FAST, LOCAL, NUM_CLASSES, PLANE, POOLED, SLOW
from fieldcodec.coding.coefficient_prediction import NEAR_WEIGHTS, NUM_NEAR, STENCIL_SIZE
from fieldcodec.jit import kernel

VALUE_LIMIT = (1 << 15) - 1
PARENT_LEVELS = 8
_FRACTION = prediction.FRACTION_BITS
_ONE = 1 << _FRACTION
_LEVELS = 16  # of quantised errors, by half octaves

# Distributions: the predictor that each has as its mean; the contexts of the spreads are in `_contexts`.
_MEANS = np.array([BLEND, BLEND, LOCAL, SLOW, FAST, POOLED, PLANE], np.int64)
_NUM_DISTRIBUTIONS = len(_MEANS)
_SPREAD_CONTEXTS = 256
_SPREAD_BITS = 8  # of a spread, after the point of its 1/64
_SPREAD_START, _SPREAD_LEAST, _SPREAD_MEMORY = 2 << (_FRACTION + _SPREAD_BITS), 3 << (_FRACTION + _SPREAD_BITS - 6), 64
_SLOPE_BITS = 14
_SLOPE = 355 << (_SPREAD_BITS + _SLOPE_BITS)  # 256 * 2 ln 2 / mean absolute error
_COARSE = 6 << (_FRACTION + _SPREAD_BITS)  # mean errors from this on make the cells grow

_STEPS = 32  # bits of a node that have counters and weights of their own
_LONGEST = 20  # cells from this on end in a Golomb code
_COUNTER_STARTS = np.array(
    [0, 128, 640, 856, 1368, 1496, 2520], np.int64
)  # contexts of each counter, one after another
_NUM_COUNTERS = len(_COUNTER_STARTS) - 1
_COUNT_LIMIT, _LEARNING_RATE = 250, 3
_RECIPROCAL = (2 * 65536 // (2 * np.arange(_COUNT_LIMIT + 1, dtype=np.int64) + 3)).astype(np.int64)  # 1 / (n + 1.5)
_NUM_INPUTS = _NUM_DISTRIBUTIONS + _NUM_COUNTERS + 1  # the last one is always 1
_DECISIONS = rc.GOLOMB_DECISIONS + 64
_SILENT_CONTEXTS = PARENT_LEVELS * 4 * 4 * 2


class Known(NamedTuple):
    """What both sides know of a group's nodes, in coding order."""

    rows: np.ndarray  # [n, K] int32: numbers of the neighbours of the stencil, -1 where there is none
    later: np.ndarray  # [n] int64: how many adjacent nodes come after a node
    pattern_rows: np.ndarray  # [n] int64: row of `planes` for each node
    planes: np.ndarray  # [P, 4, K] int32: see `prediction.plane_weights`
    parents: np.ndarray  # [n] int64 in 0..7: how much the coarser lattice does at the place


class Mixture(NamedTuple):
    """State of the coder of cells: distributions D, counters, and the weights that mix them."""

    spreads: np.ndarray  # [D, contexts] int64: mean absolute errors
    seen: np.ndarray  # [D, contexts] int64: how many errors that is the mean of
    where: np.ndarray  # [D] int64: contexts of the node
    lows: np.ndarray  # [D] int64: lower edge of cell 0, in spreads
    widths: np.ndarray  # [D] int64: width of a cell, in spreads
    stops: np.ndarray  # [D] int64: 1 - exp(-width)
    counts: np.ndarray  # [contexts * steps] uint32, see `mixing.counters`
    slots: np.ndarray  # [counters] int64: contexts of the node
    weights: np.ndarray  # [steps + classes * 4, inputs] int64
    inputs: np.ndarray  # [inputs] int64
    tail: np.ndarray  # models of the Golomb code
    silence: np.ndarray  # models of zeros among zeros
    stretch: np.ndarray  # [4096] int16: first table of `mixing`
    squash: np.ndarray  # [5601] uint16: second table of `mixing`; small, so that both stay in the cache


def new_mixture() -> Mixture:
    """A coder that has seen nothing."""
    spreads = np.full((_NUM_DISTRIBUTIONS, _SPREAD_CONTEXTS), _SPREAD_START, np.int64)
    weights = np.zeros((_STEPS + NUM_CLASSES * 4, _NUM_INPUTS), np.int64)
    weights[:_STEPS, :_NUM_DISTRIBUTIONS] = (1 << mixing.WEIGHT_SHIFT) // _NUM_DISTRIBUTIONS
    weights[:_STEPS, _NUM_DISTRIBUTIONS:-1] = (1 << mixing.WEIGHT_SHIFT) // 16
    table = mixing.tables()
    return Mixture(
        spreads=spreads,
        seen=np.zeros_like(spreads),
        where=np.zeros(_NUM_DISTRIBUTIONS, np.int64),
        lows=np.zeros(_NUM_DISTRIBUTIONS, np.int64),
        widths=np.zeros(_NUM_DISTRIBUTIONS, np.int64),
        stops=np.zeros(_NUM_DISTRIBUTIONS, np.int64),
        counts=mixing.counters(int(_COUNTER_STARTS[-1]) * _STEPS),
        slots=np.zeros(_NUM_COUNTERS, np.int64),
        weights=weights,
        inputs=np.full(_NUM_INPUTS, 256, np.int64),
        tail=rc.new_models(rc.GOLOMB_MODELS),
        silence=rc.new_models(_SILENT_CONTEXTS),
        stretch=table[:4096].astype(np.int16),
        squash=table[4096:].astype(np.uint16),
    )


@kernel
def _squash(table, value):  # type: ignore[no-untyped-def]
    """The logistic function of value / 256 in 1/65536."""
    return np.int64(table[mixing.STRETCH_LIMIT + min(max(value, -mixing.STRETCH_LIMIT), mixing.STRETCH_LIMIT)])


@kernel
def _count(counts, slot, bit):  # type: ignore[no-untyped-def]
    """Move a counter towards the bit that came."""
    packed = np.int64(counts[slot])
    seen, value = packed & 1023, packed >> 10
    value += (((4194303 if bit else 0) - value) * _RECIPROCAL[seen]) >> 16
    counts[slot] = (value << 10) | min(seen + 1, _COUNT_LIMIT)


@kernel
def _level(value, unit):  # type: ignore[no-untyped-def]
    """Half octaves of value / unit, 0..15."""
    level, bound = 0, unit
    while level < _LEVELS - 2 and value >= 2 * bound:
        bound *= 2
        level += 2
    return level + (1 if 2 * value >= 3 * bound else 0)


@kernel
def _opinion(step, negative, low, width, stop, squash):  # type: ignore[no-untyped-def]
    """Probability in 1/65536 that a bit is 1: step 0 "is it zero", 1 "is it positive", k + 1 "is it +-k".

    With F the logistic function and a, b = a + d the edges of a cell, its share of what lies at or beyond it is
    F(b) (1 - exp(-d)), and its share of everything F(b) F(-a) (1 - exp(-d)).
    """
    if step == 0:
        inside = _squash(squash, low + width) * _squash(squash, -low)
        return ((inside >> 16) * stop) >> 16
    if step == 1:
        above, below = _squash(squash, -low - width), _squash(squash, low)
        return (above << 16) // (above + below)
    reach = (step - 1) * width
    edge = reach - low if negative else low + width + reach
    return (_squash(squash, edge) * stop) >> 16


@kernel
def _code_cell(coder, buffer, cell, cls, mixture):  # type: ignore[no-untyped-def]
    """Code a cell index bit by bit, each with the mixture of all opinions, and learn from it."""
    inputs, weights, counts, slots = mixture.inputs, mixture.weights, mixture.counts, mixture.slots
    lows, widths, stops, stretch, squash = mixture.lows, mixture.widths, mixture.stops, mixture.stretch, mixture.squash
    step, negative, wanted, bit = 0, 0, abs(cell), 0
    while True:
        column = step if step < 2 else min(2 * step - 2 + negative, _STEPS - 2 + negative)
        w1, w2 = column, _STEPS + cls * 4 + min(step, 3)
        total = 256 * (weights[w1, _NUM_INPUTS - 1] + weights[w2, _NUM_INPUTS - 1])
        for i in range(_NUM_DISTRIBUTIONS):
            opinion = _opinion(step, negative, lows[i], widths[i], stops[i], squash)
            inputs[i] = stretch[min(opinion, 65535) >> 4]
            total += inputs[i] * (weights[w1, i] + weights[w2, i])
        for i in range(_NUM_COUNTERS):
            j = _NUM_DISTRIBUTIONS + i
            inputs[j] = stretch[np.int64(counts[slots[i] + column]) >> 20]
            total += inputs[j] * (weights[w1, j] + weights[w2, j])
        probability = _squash(squash, total >> mixing.WEIGHT_SHIFT)
        if step == 0:
            bit = 1 if cell == 0 else 0
        elif step == 1:
            bit = 1 if cell > 0 else 0
        else:
            bit = 1 if wanted == step - 1 else 0
        bit = rc.code_bit(coder, buffer, bit, probability)
        error = ((bit << 16) - probability) * _LEARNING_RATE
        for i in range(_NUM_INPUTS):
            change = (inputs[i] * error + (1 << 17)) >> 18
            weights[w1, i] += change
            weights[w2, i] += change
        for i in range(_NUM_COUNTERS):
            _count(counts, slots[i] + column, bit)
        if step == 1:
            negative = 1 - bit
        elif bit or step > _LONGEST:
            break
        step += 1
    if step == 0:
        return np.int64(0)
    size = np.int64(step - 1)
    if not bit:
        size += 1 + rc.code_golomb(coder, buffer, mixture.tail, 0, max(wanted - step, 0))
    return -size if negative else size


@kernel
def _surroundings(values, rows, learners):  # type: ignore[no-untyped-def]
    """Means of the neighbours' errors and moods, their weighted sum, how many are not zero; -1 without neighbours."""
    errors, moods = learners.errors, learners.moods
    error, mood, mass, total, nonzero = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for k in range(STENCIL_SIZE):
        if rows[k] >= 0:
            value = np.int64(values[rows[k]])
            nonzero += value != 0
            if k < NUM_NEAR:
                weight = NEAR_WEIGHTS[k]
                error += np.int64(errors[rows[k], BLEND]) * weight
                mood += moods[rows[k]] * weight
                total += value * weight
                mass += weight
    if mass == 0:
        return np.int64(-1), np.int64(16) << _FRACTION, total, nonzero
    return error // mass, mood // mass, total, nonzero


@kernel
def _contexts(node, values, known, learners, residuals, cls, predictions, apart, mixture):  # type: ignore[no-untyped-def]
    """Choose the counters and spreads of a node by what is known around it; returns the mood of its surroundings."""
    rows = known.rows[node]
    error, mood, total, nonzero = _surroundings(values, rows, learners)
    texture, adjacent, nearest = np.int64(0), 0, np.int64(0)
    for k in range(prediction.NUM_ADJACENT):
        texture += np.abs(residuals[k])
        adjacent += rows[k] >= 0
    for k in range(3):
        clipped = np.int64(min(max(values[rows[k]], -2), 2)) if rows[k] >= 0 else np.int64(3)
        nearest = nearest * 6 + clipped + 2
    e = _level(error, _ONE // 4) if error >= 0 else _LEVELS - 1
    t = _level(texture // max(adjacent, 1), _ONE // 8)
    d = _level(apart, _ONE // 8)
    m = _level(mood >> 3, _ONE // 4)
    after, parent = min(known.later[node], 12) >> 2, known.parents[node]
    where = mixture.where
    where[0] = e * NUM_CLASSES + cls
    where[1] = t * 16 + after * 4 + min(d >> 2, 3)
    where[2] = m * 16 + t
    where[3] = e * NUM_CLASSES + cls
    where[4] = d * NUM_CLASSES + cls
    where[5] = m * 16 + e
    where[6] = t * PARENT_LEVELS + parent
    centre = predictions[BLEND] + _ONE // 2
    whole, part = centre >> _FRACTION, (centre >> (_FRACTION - 3)) & 7
    slots = mixture.slots
    slots[0] = cls << 4 | e
    slots[1] = after << 7 | parent << 4 | e
    slots[2] = nearest
    slots[3] = (min(max(whole, -8), 7) + 8) << 5 | part << 2 | min(t >> 2, 3)
    slots[4] = d << 3 | part
    slots[5] = (min(max((total + 1) >> 1, -8), 7) + 8) << 6 | (min(nonzero, 15) << 2) | after
    for i in range(_NUM_COUNTERS):
        slots[i] = (_COUNTER_STARTS[i] + slots[i]) * _STEPS
    return mood


@kernel
def _code_value(coder, buffer, given, cls, predictions, mixture):  # type: ignore[no-untyped-def]
    """Code a value around its prediction, and let the spreads learn from it; returns the value."""
    spreads, where, all_seen = mixture.spreads, mixture.where, mixture.seen
    lows, widths, stops, squash = mixture.lows, mixture.widths, mixture.stops, mixture.squash
    centre = (predictions[BLEND] + _ONE // 2) >> _FRACTION
    shift = np.int64(0)
    while (spreads[0, where[0]] >> shift) >= _COARSE:
        shift += 1
    half = (np.int64(1) << shift) >> 1
    low = ((centre - half) << _FRACTION) - _ONE // 2
    for j in range(_NUM_DISTRIBUTIONS):
        slope = _SLOPE // spreads[j, where[j]]
        lows[j] = ((low - predictions[_MEANS[j]]) * slope) >> _SLOPE_BITS
        widths[j] = max(((np.int64(_ONE) << shift) * slope) >> _SLOPE_BITS, 1)
        inside = _squash(squash, widths[j])
        stops[j] = 65536 - ((65536 - inside) << 16) // inside
    offset = given - centre + half
    cell = _code_cell(coder, buffer, offset >> shift, cls, mixture)
    if shift > 0:
        offset = (cell << shift) + rc.code_raw(coder, buffer, shift, offset & ((np.int64(1) << shift) - 1))
    else:
        offset = cell
    value = min(max(centre - half + offset, -VALUE_LIMIT), VALUE_LIMIT)
    for j in range(_NUM_DISTRIBUTIONS):
        seen = all_seen[j, where[j]] + 1
        error = abs((value << _FRACTION) - predictions[_MEANS[j]]) << _SPREAD_BITS
        spread = spreads[j, where[j]]
        spreads[j, where[j]] = max(spread + (error - spread) // (seen + 1), _SPREAD_LEAST)
        all_seen[j, where[j]] = min(seen, _SPREAD_MEMORY)
    return value


@kernel
def code_group(coder, buffer, values, known, learners, mixture):  # type: ignore[no-untyped-def]
    """Code the values [n] int32 of one group's nodes, in lexicographic order of their cells; returns the buffer.

    They are read when encoding and filled when decoding. `known` is what both sides know of the nodes, `learners`
    and `mixture` are new ones.
    """
    residuals = np.zeros(STENCIL_SIZE, np.int64)
    predictions = np.zeros(learning.NUM_PREDICTORS, np.int64)
    surprise = np.int64(0)  # how often a silence has ended of late, in 1/64
    for i in range(values.size):
        buffer = rc.reserve(coder, buffer, np.int64(_DECISIONS))
        rows = known.rows[i]
        count, silent = 0, True
        for k in range(STENCIL_SIZE):
            if rows[k] >= 0:
                count += 1
                silent &= values[rows[k]] == 0
        if silent and count > 0:
            where = (known.parents[i] * 4 + (min(known.later[i], 12) >> 2)) * 4 + min(surprise >> 6, 3)
            where = where * 2 + (1 if count == STENCIL_SIZE else 0)
            zero = rc.code_adaptive(coder, buffer, mixture.silence, where, 1 if values[i] == 0 else 0)
            surprise += (0 if zero else 64) - (surprise >> 5)
            if zero:
                values[i] = 0
                continue
        cls = learning.CLASS_OF_COUNT[count]
        plane = prediction.fit_plane(values, rows, known.planes[known.pattern_rows[i]], residuals)
        apart = learning.predict(learners, rows, cls, plane, residuals, predictions)
        mood = _contexts(i, values, known, learners, residuals, cls, predictions, apart, mixture)
        value = _code_value(coder, buffer, np.int64(values[i]), cls, predictions, mixture)
        values[i] = value
        learning.learn(learners, i, cls, value << _FRACTION, residuals, predictions)
        learners.moods[i] = (mood * 7 + (np.int64(learners.errors[i, BLEND]) << 3)) >> 3
    return buffer
