"""Compiled kernels of the coder of active masks whose voxels have known decoded values.

Every uncertain voxel has a logit of "active" from its value. A coded bit tells how wrong the logits
around it are: they, and what was found out before, are the inputs of a linear predictor that learns
online. Its result goes, with counters of contexts, through the logistic mixer of `mixing`.

What is known around a leaf lies in a window of 14 x 14 x 14 voxels (three on each side of the leaf),
with four numbers per coded voxel, in 1/256 nat:

    EVIDENCE   expected error of the voxel's logit, given its bit, nothing else known
    WEIGHT     how much the bit could tell at all, p (1 - p) in 1/4096
    ESTIMATE   the error as all that is known up to the voxel puts it
    SURPRISE   expected error of the prediction, given the bit
"""

from typing import NamedTuple

import numba
import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.jit import kernel
from fieldcodec.coding.neighbours import find

REACH = 3
SIDE = 8 + 2 * REACH
_X, _Y = SIDE * SIDE, SIDE
EVIDENCE, WEIGHT, ESTIMATE, SURPRISE = 0, 1, 2, 3
_LIMIT = mixing.STRETCH_LIMIT

EVIDENCE_STEP = 8  # of the logits that have an entry in the table of evidence
_SETS = 4  # weight sets of the predictor, by the size of the voxel's logit
_WEIGHT_ONE = 1 << 20
_BIAS = 77  # in 1/256: a constant input
_RATE_SLOW, _RATE_FAST, _RATE_VOXELS = 80, 655, 2000  # learning rate in 1/65536: falls from fast to slow
_ESTIMATE_LIMIT = 6 * 256  # in 1/256 nat
_FAR = 8 * 256  # voxels with larger logits are coded with just these

_CONTEXTS, _CONTEXT_BITS = 6, 16
_COUNT_LIMIT, _MIXING_RATE = 1023, 2
_DOUBTS = (8, 11, 14, 16, 19, 24)  # surprise that came over surprise that was expected, in 1/16: the mixer's levels
_DOUBT_START, _DOUBT_OWN = 2000, 4  # what both start from; how much the leaf's own voxels count
_MIXER_SETS = 8 * (len(_DOUBTS) + 1)
LEAF_DECISIONS = 512

_inlined = numba.njit(nogil=True, inline="always")  # calls count references to every array of a model: 1.3 times slower


class Tables(NamedTuple):
    """What does not change while coding; all int64."""

    logistic: np.ndarray  # mixing.tables()
    evidence: np.ndarray  # [701] by logit / 8 + 350: expected error of a logit whose bit is 1, in 1/256 nat
    wide: np.ndarray  # [n] steps in the window to the voxels whose evidence is an input
    near: np.ndarray  # [m] steps to the voxels whose estimate and surprise are inputs
    blurs: np.ndarray  # [2, n] weights of a narrow and a wide blur of the evidence, in 1/256


class _Model(NamedTuple):
    """What is learned, and room for one voxel's numbers."""

    weights: np.ndarray  # [4, inputs] int32 in 1/2^20
    seen: np.ndarray  # [4] int64: voxels that each weight set learned from
    mixer: np.ndarray  # [56, 1 + contexts] int64 in 1/2^16
    counts: np.ndarray  # [contexts << 16] uint32, see mixing
    inputs: np.ndarray  # [inputs] int32
    slots: np.ndarray  # [contexts] int64
    mixed: np.ndarray  # [1 + contexts] int64
    window: np.ndarray  # [14^3, 4] int16: what is known around the leaf
    bits: np.ndarray  # [14^3] uint8: the masks there, as far as they are known, else what values say
    doubt: np.ndarray  # [2] int64: sizes of surprises in leaves around it that came, and that were expected


@kernel
def _gather(state, doubts, logits, masks, cells, table, leaf, first, model):  # type: ignore[no-untyped-def]
    """Fill the model's window, bits (known, or likely ones) and doubt with what is around `leaf`."""
    window, bits = model.window, model.bits
    model.doubt[:] = _DOUBT_START
    for i in range(27):
        dx, dy, dz = i // 9, i // 3 % 3, i % 3
        row = find(table, cells, cells[leaf, 0] + dx - 1, cells[leaf, 1] + dy - 1, cells[leaf, 2] + dz - 1)
        known = first <= row < leaf
        if known:
            model.doubt[:] += doubts[row - first]
        z0, z1 = _start(dz), _start(dz + 1)
        for x in range(_start(dx), _start(dx + 1)):
            for y in range(_start(dy), _start(dy + 1)):
                at = x * _X + y * _Y
                voxel = ((x - REACH) & 7) << 6 | ((y - REACH) & 7) << 3
                if known:
                    byte = masks[row, voxel >> 3]
                    for z in range(z0, z1):
                        bits[at + z] = byte >> ((z - REACH) & 7) & 1
                        for channel in range(4):
                            window[at + z, channel] = state[row - first, voxel + ((z - REACH) & 7), channel]
                else:
                    window[at + z0 : at + z1] = 0
                    for z in range(z0, z1):
                        bits[at + z] = 1 if row >= 0 and logits[row, voxel + ((z - REACH) & 7)] > 0 else 0


@kernel
def _start(step):  # type: ignore[no-untyped-def]
    """Where in the window the leaf before (0), the leaf itself (1), the leaf after (2) and the end (3) start."""
    return (0, REACH, REACH + 8, SIDE)[step]


@kernel
def _bin(value, step, half):  # type: ignore[no-untyped-def]
    """Number in 0..2 half - 1 of the bin of width `step` that a signed value is in; 0 starts bin `half`."""
    return min(max((value + half * step) // step, 0), 2 * half - 1)


@_inlined
def _inputs(tables, model, at, logit):  # type: ignore[no-untyped-def]
    """Fill the predictor's inputs: logit, bias, blurred evidence, evidence, estimates and surprises around."""
    window, inputs = model.window, model.inputs
    wide, near, blurs = tables.wide, tables.near, tables.blurs
    num_wide, num_near = wide.size, near.size
    inputs[0] = logit
    inputs[1] = _BIAS
    base = 4
    near_told, near_weight, far_told, far_weight = np.int64(0), np.int64(1 << 20), np.int64(0), np.int64(1 << 20)
    for j in range(num_wide):
        evidence, weight = np.int64(window[at + wide[j], EVIDENCE]), np.int64(window[at + wide[j], WEIGHT])
        inputs[base + j] = evidence
        near_told += blurs[0, j] * evidence
        near_weight += blurs[0, j] * weight
        far_told += blurs[1, j] * evidence
        far_weight += blurs[1, j] * weight
    inputs[2] = min(max((near_told << 12) // near_weight, -4096), 4096)
    inputs[3] = min(max((far_told << 12) // far_weight, -4096), 4096)
    base += num_wide
    for j in range(num_near):
        inputs[base + j] = window[at + near[j], ESTIMATE]
        inputs[base + num_near + j] = window[at + near[j], SURPRISE]


@_inlined
def _contexts(model, at, logit, first):  # type: ignore[no-untyped-def]
    """Fill `slots` with the contexts of a voxel predicted to have the logit `first`."""
    window, bits, slots = model.window, model.bits, model.slots
    ahead = np.int64(bits[at + _X]) | np.int64(bits[at + _Y]) << 1 | np.int64(bits[at + 1]) << 2
    own, fine, coarse = _bin(logit, 128, 24), _bin(first, 96, 32), _bin(first, 256, 8)
    slots[0] = own | _bin(first - logit, 64, 16) << 6
    plane, deep, row = np.int64(0), np.int64(0), np.int64(0)
    for dz in range(-2, 3):
        for dy in range(-2, 3):
            plane += bits[at - _X + dy * _Y + dz]
        row += bits[at - _Y + dz] + bits[at - 2 * _Y + dz]
    for dy in (-_Y, 0, _Y):
        for dz in range(-1, 2):
            deep += bits[at - 2 * _X + dy + dz]
    slots[1] = plane | deep << 5 | row << 9 | np.int64(bits[at - 1]) << 13 | np.int64(bits[at - 2]) << 14
    slots[1] |= (1 if first > 0 else 0) << 15
    pattern = np.int64(bits[at - _X - _Y]) | np.int64(bits[at - _X - 1]) << 1 | np.int64(bits[at - _X]) << 2
    pattern |= np.int64(bits[at - _X + 1]) << 3 | np.int64(bits[at - _X + _Y]) << 4
    pattern |= np.int64(bits[at - _Y - 1]) << 5 | np.int64(bits[at - _Y]) << 6 | np.int64(bits[at - _Y + 1]) << 7
    pattern |= np.int64(bits[at - 1]) << 8
    slots[2] = coarse | pattern << 4 | ahead << 13
    signs, sum_estimates = np.int64(0), np.int64(0)
    for step in (_X, _Y, 1):
        evidence = window[at - step, EVIDENCE]
        signs = signs * 3 + (0 if evidence == 0 else (1 if evidence > 0 else 2))
        sum_estimates += window[at - step, ESTIMATE]
    slots[3] = own | signs << 6 | _bin(sum_estimates, 192, 8) << 11
    count_known, count_ahead = np.int64(0), np.int64(0)
    for dy in (-_Y, 0, _Y):
        for dz in range(-1, 2):
            count_known += bits[at - _X + dy + dz] + bits[at + dy + dz]
            count_ahead += bits[at + _X + dy + dz]
    slots[4] = fine | count_known << 6 | count_ahead << 11
    runs = np.int64(0)
    for step in (_X, _Y, 1):
        last = bits[at - step]
        length = 0
        while length < 2 and bits[at - (length + 2) * step] == last:
            length += 1
        runs = runs * 6 + 3 * last + length
    slots[5] = coarse | runs << 4 | ahead << 12
    for i in range(_CONTEXTS):
        slots[i] += i << _CONTEXT_BITS


@kernel
def _start_counts(logistic):  # type: ignore[no-untyped-def]
    """Counters of all contexts; each starts from the probability that its part of the prediction means."""
    counts = np.zeros(_CONTEXTS << _CONTEXT_BITS, np.uint32)
    for i in range(counts.size):
        context = i >> _CONTEXT_BITS
        if context == 0:
            start = ((i & 63) - 24) * 128 + ((i >> 6 & 31) - 16) * 64 + 96
        elif context == 3:
            start = ((i & 63) - 24) * 128 + ((i >> 11 & 15) - 8) * 48 + 88
        elif context == 4:
            start = ((i & 63) - 32) * 96 + 48
        elif context == 1:
            start = 256 if i >> 15 & 1 else -256
        else:
            start = ((i & 15) - 8) * 256 + 128
        counts[i] = mixing.squash(logistic, start) << 16
    return counts


@kernel
def _new_model(tables):  # type: ignore[no-untyped-def]
    """A model that knows no more than the logits."""
    num = 4 + tables.wide.size + 2 * tables.near.size
    weights = np.zeros((_SETS, num), np.int32)
    weights[:, 0] = _WEIGHT_ONE
    weights[:, 2:4] = _WEIGHT_ONE // 2
    mixer = np.full((_MIXER_SETS, 1 + _CONTEXTS), (1 << mixing.WEIGHT_SHIFT) * 6 // (10 * _CONTEXTS), np.int64)
    mixer[:, 0] = (1 << mixing.WEIGHT_SHIFT) * 4 // 10
    return _Model(
        weights,
        np.zeros(_SETS, np.int64),
        mixer,
        _start_counts(tables.logistic),
        np.zeros(num, np.int32),
        np.zeros(_CONTEXTS, np.int64),
        np.zeros(1 + _CONTEXTS, np.int64),
        np.zeros((SIDE**3, 4), np.int16),
        np.zeros(SIDE**3, np.uint8),
        np.zeros(2, np.int64),
    )


@_inlined
def _evidence_of(tables, logit, bit):  # type: ignore[no-untyped-def]
    """Expected error of a logit, given the bit that came, in 1/256 nat."""
    middle = tables.evidence.size // 2
    if bit:
        return tables.evidence[middle + logit // EVIDENCE_STEP]
    return -tables.evidence[middle + -logit // EVIDENCE_STEP]


@_inlined
def _predict(model, logit):  # type: ignore[no-untyped-def]
    """The weight set of a voxel and the logit that the linear predictor gives it."""
    chosen = min(abs(logit) >> 9, _SETS - 1)
    total = np.int64(0)
    weights = model.weights[chosen]
    for i in range(weights.size):
        total += np.int64(model.inputs[i]) * np.int64(weights[i])
    return chosen, min(max(total // _WEIGHT_ONE, -_LIMIT), _LIMIT)


@_inlined
def _mixer_set(model, doubt, first):  # type: ignore[no-untyped-def]
    """The mixer's weights for a predicted logit, where predictions were as good as they are around."""
    came = model.doubt[0] + _DOUBT_OWN * doubt[0]
    expected = model.doubt[1] + _DOUBT_OWN * doubt[1]
    level = 0
    for ratio in _DOUBTS:
        if came * 16 > expected * ratio:
            level += 1
    return level << 3 | min(abs(first) >> 7, 7)


@_inlined
def _mix(tables, model, first, chosen):  # type: ignore[no-untyped-def]
    """The logit mixed from the predicted one and the contexts' counters."""
    model.mixed[0] = first
    total = first * model.mixer[chosen, 0]
    for i in range(_CONTEXTS):
        value = tables.logistic[np.int64(model.counts[model.slots[i]]) >> 20]
        model.mixed[1 + i] = value
        total += value * model.mixer[chosen, 1 + i]
    return min(max(total >> mixing.WEIGHT_SHIFT, -_LIMIT), _LIMIT)


@_inlined
def _learn(model, chosen, first_probability, mixer_set, probability, bit):  # type: ignore[no-untyped-def]
    """Move the predictor, the mixer and the counters towards the bit that came."""
    seen = model.seen[chosen] + 1
    model.seen[chosen] = seen
    rate = _RATE_SLOW + (_RATE_FAST - _RATE_SLOW) * _RATE_VOXELS // (_RATE_VOXELS + seen)
    error = ((bit << rc.PROB_BITS) - first_probability) * rate
    predictor = model.weights[chosen]
    for i in range(predictor.size):
        predictor[i] += np.int32((np.int64(model.inputs[i]) * error + (1 << 19)) >> 20)
    error = ((bit << rc.PROB_BITS) - probability) * _MIXING_RATE
    model.mixer[mixer_set, 0] += (model.mixed[0] * error + (1 << 17)) >> 18
    counted, weights = model.mixed[1:], model.mixer[:, 1:]
    mixing.learn(model.slots, counted, model.counts, weights, mixer_set, probability, bit, _COUNT_LIMIT, _MIXING_RATE)


@_inlined
def _code_near(coder, buffer, tables, model, doubt, at, logit, bit):  # type: ignore[no-untyped-def]
    """Code one bit with all that is known, and note what it tells, in `doubt` for its leaf; returns the bit."""
    _inputs(tables, model, at, logit)
    chosen, first = _predict(model, logit)
    _contexts(model, at, logit, first)
    mixer_set = _mixer_set(model, doubt, first)
    mixed = _mix(tables, model, first, mixer_set)
    probability = mixing.squash(tables.logistic, mixed)
    bit = rc.code_bit(coder, buffer, bit, probability)
    predicted = mixing.squash(tables.logistic, first)
    _learn(model, chosen, predicted, mixer_set, probability, bit)
    surprise = _evidence_of(tables, first, bit)
    doubt[0] += abs(surprise)
    doubt[1] += predicted * _evidence_of(tables, first, 1) >> (rc.PROB_BITS - 1)
    expected = mixing.squash(tables.logistic, logit)
    window = model.window
    window[at, EVIDENCE] = _evidence_of(tables, logit, bit)
    window[at, WEIGHT] = expected * (rc.PROB_ONE - expected) >> 20
    estimate = first - logit + surprise
    window[at, ESTIMATE] = min(max(estimate, -_ESTIMATE_LIMIT), _ESTIMATE_LIMIT)
    window[at, SURPRISE] = surprise
    return bit


@_inlined
def _code_far(coder, buffer, tables, window, at, logit, bit):  # type: ignore[no-untyped-def]
    """Code one bit that is hardly in doubt; returns it."""
    bit = rc.code_bit(coder, buffer, bit, mixing.squash(tables.logistic, logit))
    if bit != (1 if logit > 0 else 0):
        window[at, EVIDENCE] = _evidence_of(tables, logit, bit)
        window[at, SURPRISE] = window[at, EVIDENCE]
    return bit


@kernel
def code_group(coder, buffer, masks, logits, cells, table, first, last, tables):  # type: ignore[no-untyped-def]
    """Code the uncertain bits of leaves first..last-1 of `masks` [N, 64]; returns the buffer.

    `logits` is [N, 512] int16 in 1/256 nat; outside of +-2800 the bit is certain, and is left as it is.
    """
    model = _new_model(tables)
    state = np.zeros((last - first, 512, 4), np.int16)
    doubts = np.zeros((last - first, 2), np.int64)
    for leaf in range(first, last):
        if not _any_uncertain(logits[leaf]):
            continue
        buffer = rc.reserve(coder, buffer, LEAF_DECISIONS)
        _gather(state, doubts, logits, masks, cells, table, leaf, first, model)
        for voxel in range(512):
            logit = np.int64(logits[leaf, voxel])
            if abs(logit) > _LIMIT:
                continue
            x, y, z = voxel >> 6, voxel >> 3 & 7, voxel & 7
            at = (x + REACH) * _X + (y + REACH) * _Y + z + REACH
            bit = np.int64(masks[leaf, voxel >> 3] >> z & 1)
            if abs(logit) > _FAR:
                bit = _code_far(coder, buffer, tables, model.window, at, logit, bit)
            else:
                bit = _code_near(coder, buffer, tables, model, doubts[leaf - first], at, logit, bit)
            model.bits[at] = bit
            masks[leaf, voxel >> 3] = masks[leaf, voxel >> 3] & ~(1 << z) | bit << z
            for channel in range(4):
                state[leaf - first, voxel, channel] = model.window[at, channel]
    return buffer


@kernel
def _any_uncertain(logits):  # type: ignore[no-untyped-def]
    """Whether a leaf has a bit to code."""
    uncertain = 0
    for voxel in range(512):
        uncertain |= 1 if abs(np.int64(logits[voxel])) <= _LIMIT else 0
    return uncertain != 0
