"""Compiled kernels of the coder of active masks whose voxels have known decoded values.

Every uncertain voxel has a logit of "active" from its value. A coded bit tells how wrong the logits
around it are: they, and what was found out before, are the inputs of a linear predictor that learns
online. Its result goes, with counters of contexts, through the logistic mixer of `mixing`.

What is known around a leaf lies in a window of 14 x 14 x 14 voxels (three on each side of the leaf): bits, and up to
two voxels away four numbers per coded voxel, in 1/256 nat, each in an array of its own:

    evidence   expected error of the voxel's logit, given its bit, nothing else known
    weight     how much the bit could tell at all, p (1 - p) in 1/4096
    estimate   the error as all that is known up to the voxel puts it
    surprise   expected error of the prediction, given the bit

Loops are cut so that each writes to one array: compilers then use vector instructions for them.
"""

from typing import NamedTuple

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.neighbours import find
from fieldcodec.jit import inlined, kernel

REACH = 3
SIDE = 8 + 2 * REACH
_X, _Y = SIDE * SIDE, SIDE
NUM_WIDE, NUM_NEAR = 61, 19  # voxels whose evidence is an input, and whose estimate and surprise are
FIRST = 2 * (_X + _Y + 1)  # steps to them are counted from the voxel so far before, so that none is negative
EVIDENCE, WEIGHT, ESTIMATE, SURPRISE = 0, 1, 2, 3
_NUMBERS = 4
_NEAR = 4 + NUM_WIDE
_INPUTS = _NEAR + 2 * NUM_NEAR
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


class Tables(NamedTuple):
    """What does not change while coding."""

    logistic: np.ndarray  # mixing.tables()
    evidence: np.ndarray  # [701] int64 by logit / 8 + 350: expected error of a logit whose bit is 1, in 1/256 nat
    wide: np.ndarray  # [61] uint64: FIRST + steps in the window to the voxels whose evidence is an input
    near: np.ndarray  # [19] uint64: FIRST + steps to the voxels whose estimate and surprise are inputs
    blurs: np.ndarray  # [2, 61] int32: weights of a narrow and a wide blur of the evidence, in 1/256


@kernel
def _gather(state, doubts, logits, masks, cells, table, leaf, first, bits, window, doubt):  # type: ignore[no-untyped-def]
    """Fill the window (bits as far as they are known, else likely ones) and `doubt` with what is around `leaf`."""
    doubt[:] = _DOUBT_START
    for i in range(27):
        dx, dy, dz = i // 9, i // 3 % 3, i % 3
        row = find(table, cells, cells[leaf, 0] + dx - 1, cells[leaf, 1] + dy - 1, cells[leaf, 2] + dz - 1)
        known = first <= row < leaf
        if known:
            doubt[0] += doubts[row - first, 0]
            doubt[1] += doubts[row - first, 1]
        z0, z1 = _start(dz), _start(dz + 1)
        for x in range(_start(dx), _start(dx + 1)):
            for y in range(_start(dy), _start(dy + 1)):
                at = x * _X + y * _Y
                voxel = ((x - REACH) & 7) << 6 | ((y - REACH) & 7) << 3
                if known:
                    byte, of_leaf = masks[row, voxel >> 3], state[row - first]
                    for z in range(z0, z1):
                        slot = voxel | (z - REACH) & 7
                        bits[at + z] = byte >> (slot & 7) & 1
                        for number in range(_NUMBERS):
                            window[number, at + z] = of_leaf[number, slot]
                else:
                    for z in range(z0, z1):
                        bits[at + z] = 1 if row >= 0 and logits[row, voxel | (z - REACH) & 7] > 0 else 0
                        for number in range(_NUMBERS):
                            window[number, at + z] = 0


@inlined
def _start(step):  # type: ignore[no-untyped-def]
    """Where in the window the leaf before (0), the leaf itself (1), the leaf after (2) and the end (3) start."""
    return (0 if step == 0 else REACH) if step < 2 else (REACH + 8 if step == 2 else SIDE)


@inlined
def _bin(value, step, half):  # type: ignore[no-untyped-def]
    """Number in 0..2 half - 1 of the bin of width `step` that a signed value is in; 0 starts bin `half`."""
    return min(max((value + half * step) // step, 0), 2 * half - 1)


@inlined
def _inputs(window, inputs, told, wide, near, blurs, at, logit):  # type: ignore[no-untyped-def]
    """Fill the predictor's inputs: logit, bias, blurred evidence, evidence, estimates and surprises around."""
    low = np.uint64(at - FIRST)
    for j in range(NUM_WIDE):
        inputs[4 + j] = window[EVIDENCE, low + wide[j]]
    for j in range(NUM_WIDE):
        told[j] = window[WEIGHT, low + wide[j]]
    for j in range(NUM_NEAR):
        inputs[_NEAR + j] = window[ESTIMATE, low + near[j]]
    for j in range(NUM_NEAR):
        inputs[_NEAR + NUM_NEAR + j] = window[SURPRISE, low + near[j]]
    near_told, near_weight, far_told, far_weight = np.int64(0), np.int64(1 << 20), np.int64(0), np.int64(1 << 20)
    for j in range(NUM_WIDE):  # products stay below 2^23
        near_told += np.int32(blurs[0, j] * inputs[4 + j])
        near_weight += np.int32(blurs[0, j] * told[j])
        far_told += np.int32(blurs[1, j] * inputs[4 + j])
        far_weight += np.int32(blurs[1, j] * told[j])
    inputs[0] = logit
    inputs[1] = _BIAS
    inputs[2] = min(max((near_told << 12) // near_weight, -4096), 4096)
    inputs[3] = min(max((far_told << 12) // far_weight, -4096), 4096)


@inlined
def _contexts(window, bits, slots, at, logit, first):  # type: ignore[no-untyped-def]
    """Fill `slots` with the contexts of a voxel predicted to have the logit `first`."""
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
        evidence = window[EVIDENCE, at - step]
        signs = signs * 3 + (0 if evidence == 0 else (1 if evidence > 0 else 2))
        sum_estimates += window[ESTIMATE, at - step]
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
def _new_model(logistic):  # type: ignore[no-untyped-def]
    """A model that knows no more than the logits, and how often each of its weight sets learned.

    Weights of the predictor [4, inputs] int32 in 1/2^20, those of the mixer [56, 1 + contexts] int64 in 1/2^16, and
    counters of contexts, see `mixing`.
    """
    weights = np.zeros((_SETS, _INPUTS), np.int32)
    weights[:, 0] = _WEIGHT_ONE
    weights[:, 2:4] = _WEIGHT_ONE // 2
    mixer = np.full((_MIXER_SETS, 1 + _CONTEXTS), (1 << mixing.WEIGHT_SHIFT) * 6 // (10 * _CONTEXTS), np.int64)
    mixer[:, 0] = (1 << mixing.WEIGHT_SHIFT) * 4 // 10
    return weights, np.zeros(_SETS, np.int64), mixer, _start_counts(logistic)


@inlined
def _evidence_of(table, logit, bit):  # type: ignore[no-untyped-def]
    """Expected error of a logit, given the bit that came, in 1/256 nat."""
    middle = table.size // 2
    if bit:
        return table[middle + logit // EVIDENCE_STEP]
    return -table[middle + -logit // EVIDENCE_STEP]


@inlined
def _predict(weights, chosen, inputs):  # type: ignore[no-untyped-def]
    """The logit that the linear predictor gives a voxel."""
    total = np.int64(0)
    for i in range(_INPUTS):
        total += np.int64(inputs[i]) * np.int64(weights[chosen, i])
    return min(max(total // _WEIGHT_ONE, -_LIMIT), _LIMIT)


@inlined
def _mixer_set(doubt, own, first):  # type: ignore[no-untyped-def]
    """The mixer's weights for a predicted logit, where predictions were as good as they are around."""
    came, expected = doubt[0] + _DOUBT_OWN * own[0], doubt[1] + _DOUBT_OWN * own[1]
    level = 0
    for ratio in _DOUBTS:
        if came * 16 > expected * ratio:
            level += 1
    return level << 3 | min(abs(first) >> 7, 7)


@inlined
def _mix(logistic, mixer, counts, slots, mixed, first, chosen):  # type: ignore[no-untyped-def]
    """The logit mixed from the predicted one and the contexts' counters."""
    mixed[0] = first
    total = first * mixer[chosen, 0]
    for i in range(_CONTEXTS):
        value = logistic[np.int64(counts[slots[i]]) >> 20]
        mixed[1 + i] = value
        total += value * mixer[chosen, 1 + i]
    return min(max(total >> mixing.WEIGHT_SHIFT, -_LIMIT), _LIMIT)


@inlined
def _learn_inputs(weights, seen, chosen, inputs, probability, bit):  # type: ignore[no-untyped-def]
    """Move the predictor towards the bit that came."""
    seen[chosen] += 1
    rate = _RATE_SLOW + (_RATE_FAST - _RATE_SLOW) * _RATE_VOXELS // (_RATE_VOXELS + seen[chosen])
    error = ((bit << rc.PROB_BITS) - probability) * rate
    for i in range(_INPUTS):
        weights[chosen, i] += np.int32((np.int64(inputs[i]) * error + (1 << 19)) >> 20)


@inlined
def _learn_contexts(mixer, counts, slots, mixed, chosen, probability, bit):  # type: ignore[no-untyped-def]
    """Move the mixer and the counters towards the bit that came, as `mixing.learn` does."""
    error = ((bit << rc.PROB_BITS) - probability) * _MIXING_RATE
    for i in range(1 + _CONTEXTS):
        mixer[chosen, i] += (mixed[i] * error + (1 << 17)) >> 18
    for i in range(_CONTEXTS):
        counts[slots[i]] = mixing.counted(counts[slots[i]], bit, _COUNT_LIMIT)


@kernel
def _code_leaf(coder, buffer, masks, logits, tables, model, room, known, noted, own):  # type: ignore[no-untyped-def]
    """Code the uncertain bits of one leaf; notes what they tell in `noted` [4, 512] and `own` [2].

    `known` is what `_gather` has filled.
    """
    logistic, evidences, wide, near, blurs = tables
    weights, seen, mixer, counts = model
    inputs, told, slots, mixed = room
    bits, window, doubt = known
    for voxel in range(512):
        logit = np.int64(logits[voxel])
        if abs(logit) > _LIMIT:
            continue
        x, y, z = voxel >> 6, voxel >> 3 & 7, voxel & 7
        at = (x + REACH) * _X + (y + REACH) * _Y + z + REACH
        bit = np.int64(masks[voxel >> 3] >> z & 1)
        expected = mixing.squash(logistic, logit)
        if abs(logit) > _FAR:
            bit = rc.code_bit(coder, buffer, bit, expected)
            if bit != (1 if logit > 0 else 0):
                window[EVIDENCE, at] = window[SURPRISE, at] = _evidence_of(evidences, logit, bit)
        else:
            _inputs(window, inputs, told, wide, near, blurs, at, logit)
            chosen = min(abs(logit) >> 9, _SETS - 1)
            first = _predict(weights, chosen, inputs)
            predicted = mixing.squash(logistic, first)
            _contexts(window, bits, slots, at, logit, first)
            mixer_set = _mixer_set(doubt, own, first)
            probability = mixing.squash(logistic, _mix(logistic, mixer, counts, slots, mixed, first, mixer_set))
            bit = rc.code_bit(coder, buffer, bit, probability)
            _learn_inputs(weights, seen, chosen, inputs, predicted, bit)
            _learn_contexts(mixer, counts, slots, mixed, mixer_set, probability, bit)
            surprise = _evidence_of(evidences, first, bit)
            own[0] += abs(surprise)
            own[1] += predicted * _evidence_of(evidences, first, 1) >> (rc.PROB_BITS - 1)
            window[EVIDENCE, at] = _evidence_of(evidences, logit, bit)
            window[WEIGHT, at] = expected * (rc.PROB_ONE - expected) >> 20
            window[ESTIMATE, at] = min(max(first - logit + surprise, -_ESTIMATE_LIMIT), _ESTIMATE_LIMIT)
            window[SURPRISE, at] = surprise
        bits[at] = bit
        masks[voxel >> 3] = masks[voxel >> 3] & ~(1 << z) | bit << z
        for number in range(_NUMBERS):
            noted[number, voxel] = window[number, at]


@kernel
def code_group(coder, buffer, masks, logits, cells, table, first, last, tables):  # type: ignore[no-untyped-def]
    """Code the uncertain bits of leaves first..last-1 of `masks` [N, 64]; returns the buffer.

    `logits` is [N, 512] int16 in 1/256 nat; outside of +-2800 the bit is certain, and is left as it is.
    """
    model = _new_model(tables.logistic)
    room = (
        np.zeros(_INPUTS, np.int32), np.zeros(NUM_WIDE, np.int32), np.zeros(_CONTEXTS, np.int64),
        np.zeros(1 + _CONTEXTS, np.int64),
    )  # fmt: skip
    bits, window = np.zeros(SIDE**3, np.uint8), np.zeros((_NUMBERS, SIDE**3), np.int32)
    # Sizes of surprises that came, and that were expected: in the leaves around one, and of each leaf.
    doubt, doubts = np.zeros(2, np.int64), np.zeros((last - first, 2), np.int64)
    state = np.zeros((last - first, _NUMBERS, 512), np.int16)
    for leaf in range(first, last):
        if not _any_uncertain(logits[leaf]):
            continue
        buffer = rc.reserve(coder, buffer, np.int64(LEAF_DECISIONS))
        _gather(state, doubts, logits, masks, cells, table, leaf, first, bits, window, doubt)
        _code_leaf(
            coder, buffer, masks[leaf], logits[leaf], tables, model, room, (bits, window, doubt), state[leaf - first],
            doubts[leaf - first],
        )  # fmt: skip
    return buffer


@inlined
def _any_uncertain(logits):  # type: ignore[no-untyped-def]
    """Whether a leaf has a bit to code."""
    uncertain = 0
    for voxel in range(512):
        uncertain |= 1 if abs(np.int64(logits[voxel])) <= _LIMIT else 0
    return uncertain != 0
