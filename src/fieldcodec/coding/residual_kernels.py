"""Compiled kernels of the residual coder: its decisions, leaf by leaf.

The error of a voxel is its decoded value minus its given prediction. Its expected error is a weighted sum
of its neighbours' errors; what is coded is the rest, in steps: the size first, then the sign. Where a grid
repeats a few values exactly, a voxel's kind (which of them, or none) is coded before.
"""

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.residual_contexts import (
    MAX_LENGTH,
    SUM_LIMIT,
    bit_length,
    expected_error,
    fill_contexts,
    is_worth_it,
    log4,
    minus,
    plus,
    quantised,
    slope_at,
    step_of_pass,
)
from fieldcodec.coding.residual_passes import MAX_WINDOW, NUM_PASSES
from fieldcodec.coding.residual_windows import gather
from fieldcodec.jit import inlined, kernel

MAX_SPECIALS = 7
SHIFT_LIMIT = 24
STEP_LIMIT = 1 << 40
_MAX_SIZE = 1 << 30  # of sizes that neighbours remember
_NUM = 5  # contexts of a decision
_CONTEXT_BITS = 16
_COUNT_LIMIT, _COUNT_MASK, _LEARNING_RATE = 255, 1023, 6
_RECIPROCAL = (2 * 65536 // (2 * np.arange(_COUNT_MASK + 1, dtype=np.int64) + 3)).astype(np.int64)  # 1 / (n + 1.5)
_STEPS = 16  # decisions about a size: eight up and eight down from the length expected
_SECOND_BIT, _THIRD_BIT, _LOW_MODELS = 0, 65 << 5, (65 << 5) + 2 * 65  # models of the bits below the leading one
_VOXEL_DECISIONS = 256
_UNKNOWN = -1


@inlined
def _slot(context, base, step):  # type: ignore[no-untyped-def]
    return np.uint64(context << _CONTEXT_BITS | base << 4 | step)


@inlined
def _chance(counts, weights, logistic, bases, step, choice):  # type: ignore[no-untyped-def]
    """Probability of a 1 from the contexts `bases` [5], each below 4096, of which `step` (0..15) is part."""
    total = np.int64(0)
    for i in range(_NUM):  # a constant number of turns: unrolled
        total += logistic[counts[_slot(i, bases[i], step)] >> np.uint32(20)] * weights[choice, i]
    return mixing.squash(logistic, total >> mixing.WEIGHT_SHIFT)


@inlined
def _counted(packed, bit):  # type: ignore[no-untyped-def]
    """A counter (see `mixing.counters`) moved towards a bit."""
    seen = np.int64(packed) & _COUNT_MASK
    value = np.int64(packed) >> 10
    value += (((_COUNT_MASK << 12 | 0xFFF if bit else 0) - value) * _RECIPROCAL[seen]) >> 16
    return np.uint32(value << 10 | min(seen + 1, _COUNT_LIMIT))


@inlined
def _decide(coder, buffer, bit, counts, weights, logistic, bases, step, choice):  # type: ignore[no-untyped-def]
    """Code one decision with mixed contexts, see `_chance`, and learn from it as `mixing.learn` does."""
    p = _chance(counts, weights, logistic, bases, step, choice)
    bit = rc.code_bit(coder, buffer, bit, p)
    error = ((bit << 16) - p) * _LEARNING_RATE
    for i in range(_NUM):
        slot = _slot(i, bases[i], step)
        weights[choice, i] += (logistic[counts[slot] >> np.uint32(20)] * error + (1 << 17)) >> 18
        counts[slot] = _counted(counts[slot], bit)
    return bit


@inlined
def _code_size(coder, buffer, size, start, counts, weights, logistic, models, bases, number):  # type: ignore[no-untyped-def]
    """Code a size, an int64 taken as unsigned: its bit length in steps up or down from `start`, then its bits."""
    given, length = bit_length(size), start
    while length < MAX_LENGTH:
        step = min(length - start, 7)
        bit = 1 if given > length else 0
        if not _decide(coder, buffer, bit, counts, weights, logistic, bases, step, number << 4 | step):
            break
        length += 1
    if length == start:
        while length > 0:
            step = 8 + min(start - length, 7)
            bit = 1 if given >= length else 0
            if _decide(coder, buffer, bit, counts, weights, logistic, bases, step, number << 4 | step):
                break
            length -= 1
    result = np.int64(1 if length else 0)
    for i in range(length - 2, -1, -1):
        bit = (size >> i) & 1
        if i == length - 2:
            bit = rc.code_adaptive(coder, buffer, models, _SECOND_BIT + (length << 5 | bases[0] >> 6), bit)
        elif i == length - 3:
            bit = rc.code_adaptive(coder, buffer, models, _THIRD_BIT + (length << 1 | (result & 1)), bit)
        else:
            bit = rc.code_bit(coder, buffer, bit, rc.PROB_ONE // 2)
        result = result << 1 | bit
    return result


@inlined
def _code_kind(coder, buffer, kind, value, specials, log_step, kinds, at, taps, shares, mix, bases, number):  # type: ignore[no-untyped-def]
    """Code which special value a voxel has, or their number for none, asking for the neighbours' kinds first.

    `value` is the expected one: how far the special ones are from it, in steps, is part of the contexts.
    """
    counts, weights, logistic, votes = mix
    votes[:] = 0
    known, nearest, num_specials = 1, 0, specials.size
    for i in range(taps.size):
        other = kinds[at + taps[i]]
        if i < 3:
            nearest = nearest << 3 | (other + 1 if other >= 0 else 0) & 7
        if other >= 0:
            votes[other] += shares[i]
            known += shares[i]
    for rank in range(num_specials):
        best = 0
        for i in range(1, num_specials + 1):
            if votes[i] > votes[best]:
                best = i
        share = votes[best] * 15 // known
        close = 31
        if best < num_specials:
            close = min(max(log4(min(abs(minus(value, specials[best])), SUM_LIMIT) << 2) - log_step, 0) >> 1, 31)
        bases[0] = best << 8 | share << 4 | number
        bases[1] = best << 9 | nearest
        bases[2] = best << 9 | close << 4 | share
        bases[3] = best << 9 | close << 4 | number
        bases[4] = rank << 4 | share
        bit = 1 if kind == best else 0
        if _decide(coder, buffer, bit, counts, weights, logistic, bases, rank, best << 4 | number):
            return best
        votes[best] = -1
    for i in range(num_specials + 1):
        if votes[i] >= 0:
            return i
    return num_specials


@inlined
def _code_sign(coder, buffer, negative, near, at, taps, expected, models):  # type: ignore[no-untyped-def]
    """Code whether a residual is negative; its contexts are the sides on which the nearest errors lie."""
    context = np.int64(0)
    for i in range(4):
        side = minus(near[at + taps[i]], expected)
        context = context * 3 + (1 if side > 0 else (2 if side < 0 else 0))
    return rc.code_adaptive(coder, buffer, models, context, negative)


@kernel
def _code_leaf_flags(coder, buffer, values, predictions, masks, around, step, keep):  # type: ignore[no-untyped-def]
    """Code which leaves have residuals; returns [n] uint8. In the others predictions are near enough."""
    models = rc.new_models(27)
    coded = np.zeros(values.shape[0], np.uint8)
    for leaf in range(values.shape[0]):
        context = np.int64(0)
        for i in (4, 10, 12):  # the leaves before it along x, y and z
            row = around[leaf, i]
            context = context * 3 + (np.int64(coded[row]) if 0 <= row < leaf else 2)
        given = np.int64(0)
        if not rc.decodes(coder):
            for voxel in range(512):
                if masks[leaf, voxel >> 3] >> (voxel & 7) & 1:
                    given |= quantised(minus(values[leaf, voxel], predictions[leaf, voxel]), step, keep) != 0
        buffer = rc.reserve(coder, buffer, np.int64(1))
        coded[leaf] = rc.code_adaptive(coder, buffer, models, context, given)
    return buffer, coded


@inlined
def _kind_of(value, specials):  # type: ignore[no-untyped-def]
    for i in range(specials.size):
        if value == specials[i]:
            return i
    return specials.size


@inlined
def _code_value(coder, buffer, left, step, economy, start, near, at, taps, expected, mix, bases, number):  # type: ignore[no-untyped-def]
    """Code what is `left` of a voxel's value, in steps; returns how many, and their size.

    An encoder gives up a single step whose code is too long for the error that it takes away.
    """
    counts, weights, logistic, low_bits, signs = mix
    level = np.int64(0) if rc.decodes(coder) else quantised(left, step, 500 + (economy >> 1))
    if economy and start == 0 and abs(level) == 1:
        chance = _chance(counts, weights, logistic, bases, 0, number << 4)
        level *= is_worth_it(abs(left), step, economy, chance, logistic)
    size = _code_size(coder, buffer, abs(level), start, counts, weights, logistic, low_bits, bases, number)
    if size:
        negative = np.int64(1 if level < 0 else 0)
        if _code_sign(coder, buffer, negative, near, at, taps, expected, signs):
            return -size, size
    return size, size


@kernel
def _new_mixer(choices):  # type: ignore[no-untyped-def]
    """Counters of all contexts and the mixer's weights, unseen."""
    counts = np.full(_NUM << _CONTEXT_BITS, mixing.COUNTER_HALF, np.uint32)
    return counts, np.full((choices, _NUM), (1 << mixing.WEIGHT_SHIFT) * 12 // (10 * _NUM), np.int64)


@kernel
def _code_leaf(  # type: ignore[no-untyped-def]
    coder, buffer, leaf, number, step, settings, specials, taps, shares, weights, order, leaves, known, room
):
    """Code the voxels of one leaf that belong to one pass; the tuples are those of `code_group`."""
    values, predictions, masks = leaves
    errors, sizes, kinds = known
    near, near_sizes, near_kinds, bases, mix, mix_kind = room
    economy, shift, lowest, num, log_step = settings[2], settings[3], settings[4], taps.size, log4(step << 2)
    mask, predicted, result = masks[leaf], predictions[leaf], values[leaf]
    for k in range(order.starts[number], order.starts[number + 1]):
        voxel, at = order.voxels[k], order.places[k]
        if not mask[voxel >> 3] >> (voxel & 7) & 1:
            continue
        expected = expected_error(near, at, taps, num, weights, shift)
        value = plus(predicted[voxel], expected)
        kind = specials.size
        if kind:
            kind = _kind_of(result[voxel], specials)
            kind = _code_kind(
                coder, buffer, kind, value, specials, log_step, near_kinds, at, taps, shares, mix_kind, bases, number
            )
            kinds[leaf, voxel] = near_kinds[at] = kind
        size = np.int64(_UNKNOWN)
        if kind < specials.size:
            value = specials[kind]
        else:
            slope = log4(slope_at(predicted, voxel) << 2)
            height = log4(min(max(minus(value, lowest), 0), SUM_LIMIT) << 2)
            start = fill_contexts(
                near, near_sizes, at, taps, shares, num, expected, slope, height, log_step, number, bases
            )
            left = minus(result[voxel], value)
            level, size = _code_value(
                coder, buffer, left, step, economy, start, near, at, taps, expected, mix, bases, number
            )
            value = plus(value, level * step)
        result[voxel] = value
        errors[leaf, voxel] = near[at] = minus(value, predicted[voxel])
        if size > _MAX_SIZE or size < _UNKNOWN:
            size = np.int64(_MAX_SIZE)
        sizes[leaf, voxel] = near_sizes[at] = size


@kernel
def code_group(coder, buffer, values, predictions, masks, around, settings, specials, weights, order, logistic):  # type: ignore[no-untyped-def]
    """Code the residuals of a group of leaves; returns the buffer.

    Args:
        values: [n, 512] int64: targets; on return, decoded values of the voxels that `masks` [n, 64] has.
        predictions: [n, 512] int64.
        around: [n, 27] int64, see `around_leaves`.
        settings: [5] int64: step, per cent of it that coarse passes take, economy of an encoder in thousandths
            of a step per nat, shift of errors in the weighted sum, lowest value.
        specials: [0..7] int64: values that are coded as themselves.
        weights: [10, 24] int64.
        order: `residual_passes.passes()`.
        logistic: `mixing.tables()`.
    """
    keep = 500 + 2 * settings[2]
    buffer, coded = _code_leaf_flags(coder, buffer, values, predictions, masks, around, settings[0], keep)
    errors = np.zeros(values.shape, np.int64)
    sizes = np.full(values.shape, _UNKNOWN, np.int32)
    kinds = np.full(values.shape if specials.size else (1, 1), _UNKNOWN, np.int8)
    for leaf in range(values.shape[0]):
        if not coded[leaf]:  # its errors are as good as known: none
            for voxel in range(values.shape[1]):
                values[leaf, voxel] = predictions[leaf, voxel]
            sizes[leaf] = 0
    near, near_sizes = np.zeros(MAX_WINDOW, np.int64), np.zeros(MAX_WINDOW, np.int32)
    near_kinds = np.zeros(MAX_WINDOW, np.int8)
    mix = (*_new_mixer(NUM_PASSES * _STEPS), logistic, rc.new_models(_LOW_MODELS), rc.new_models(81))
    mix_kind = (*_new_mixer(128), logistic, np.zeros(MAX_SPECIALS + 1, np.int64))
    room = (near, near_sizes, near_kinds, np.zeros(_NUM, np.int64), mix, mix_kind)
    for number in range(NUM_PASSES):
        step, shape = step_of_pass(number, settings[0], settings[1]), order.shape[number]
        taps, shares = order.taps[number, : shape[3]], order.shares[number]
        for leaf in range(values.shape[0]):
            if not coded[leaf]:
                continue
            buffer = rc.reserve(coder, buffer, np.int64(256 * _VOXEL_DECISIONS))
            gather(errors, 0, around[leaf], shape, near)
            gather(sizes, _UNKNOWN, around[leaf], shape, near_sizes)
            if specials.size:
                gather(kinds, _UNKNOWN, around[leaf], shape, near_kinds)
            _code_leaf(
                coder, buffer, leaf, number, step, settings, specials, taps, shares, weights[number], order,
                (values, predictions, masks), (errors, sizes, kinds), room,
            )  # fmt: skip
    return buffer
