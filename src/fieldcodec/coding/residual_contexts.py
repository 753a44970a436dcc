"""Small functions of the residual coder's inner loop: expected errors, contexts, rounding.

All are compiled into the kernels that call them.
"""

import numpy as np

from fieldcodec.coding.residual_passes import WEIGHT_BITS
from fieldcodec.jit import inlined

FINEST = 100  # per cent
SUM_LIMIT = 1 << 40  # of the numbers that enter sums
MAX_LENGTH = 64
_EXPECTED_LIMIT = 1 << 60
_SIGN_NATS = 217  # in 1/256: what a size of 1 costs beyond its first decision, mostly the sign


@inlined
def plus(a, b):  # type: ignore[no-untyped-def]
    """a + b of int64, wrapping around: numba takes overflow of signed integers for impossible, of unsigned ones not."""
    return np.int64(np.uint64(a) + np.uint64(b))


@inlined
def minus(a, b):  # type: ignore[no-untyped-def]
    """a - b of int64, wrapping around."""
    return np.int64(np.uint64(a) - np.uint64(b))


@inlined
def bit_length(value):  # type: ignore[no-untyped-def]
    """Bits of an int64 taken as unsigned."""
    if value < 0:
        return np.int64(64)
    bits = np.int64(0)
    for half in (32, 16, 8, 4, 2):
        if value >= 1 << half:
            value >>= half
            bits += half
    return bits + min(value, 2)


@inlined
def log4(value):  # type: ignore[no-untyped-def]
    """About 4 * log2(1 + value / 4) of a number >= 0: four levels an octave; never above 247."""
    value += 4
    bits = bit_length(value)
    return 4 * (bits - 3) + ((value >> (bits - 3)) & 3)


@inlined
def expected_error(near, at, taps, num, weights, shift):  # type: ignore[no-untyped-def]
    """The error expected at a place of the window."""
    total = np.int64(1 << (WEIGHT_BITS - 1))
    for i in range(num):
        total += min(max(near[at + taps[i]] >> shift, -SUM_LIMIT), SUM_LIMIT) * weights[i]
    total >>= WEIGHT_BITS
    bound = _EXPECTED_LIMIT >> shift
    return min(max(total, -bound), bound) << shift


@inlined
def slope_at(predictions, voxel):  # type: ignore[no-untyped-def]
    """Sum over the axes of the larger difference between a voxel's prediction and the next ones in its leaf."""
    total = np.int64(0)
    for axis in range(3):
        place = voxel >> (3 * axis) & 7
        largest = 0
        if place > 0:
            largest = min(abs(minus(predictions[voxel], predictions[voxel - (1 << (3 * axis))])), SUM_LIMIT)
        if place < 7:
            largest = max(
                largest, min(abs(minus(predictions[voxel + (1 << (3 * axis))], predictions[voxel])), SUM_LIMIT)
            )
        total += largest
    return total


@inlined
def fill_contexts(near, sizes, at, taps, shares, num, expected, slope, height, log_step, number, bases):  # type: ignore[no-untyped-def]
    """Fill `bases` with a voxel's contexts; returns the bit length of its size to start from.

    Known neighbours give the mean of their sizes and how far their errors scatter about the expected one.
    `slope` and `height` are `log4` of the prediction's slope and of the expected value above the lowest one;
    like the scatter they count in steps.
    """
    total, known, scatter, nearest = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(num):
        size = np.int64(sizes[at + taps[i]])
        if i < 4:
            nearest = nearest << 2 | (3 if size > 1 else size + 1)
        if size >= 0:
            total += size * shares[i]
            known += shares[i]
            scatter += min(abs(minus(near[at + taps[i]], expected)), SUM_LIMIT) * shares[i]
    local = (total << 4) // known if known else np.int64(8)
    fine = min(log4(local), 127)
    spread = min(max(log4((scatter << 3) // known if known else scatter) - log_step, 0), 63)
    slope = min(max(slope - log_step, 0) >> 1, 15)
    height = min(max(height - log_step, 0) >> 1, 31)
    start = min(bit_length(local * 5 >> 8), MAX_LENGTH - 1)  # 5/16 of the mean: sizes are heavy-tailed
    bases[0] = fine << 4 | number
    bases[1] = min(fine >> 1, 63) << 5 | slope << 1 | (number > 6)
    bases[2] = min(fine >> 1, 63) << 5 | height
    bases[3] = min(start, 7) << 8 | nearest
    bases[4] = spread << 5 | height
    return start


@inlined
def quantised(value, step, keep):  # type: ignore[no-untyped-def]
    """value / step, its size rounded up where the rest is more than `keep` thousandths of a step."""
    if step == 1:
        return value
    size = abs(value)
    level = size // step
    if (size - level * step) * 1000 > step * keep:
        level += 1
    return -level if value < 0 else level


@inlined
def is_worth_it(left, step, economy, chance, logistic):  # type: ignore[no-untyped-def]
    """Whether rounding `left` to one step instead of none is worth its bytes; `chance` is that of any step."""
    nats = max(_SIGN_NATS - logistic[chance >> 4], 0)  # in 1/256
    return left * 1000 > step * min(500 + (economy * nats >> 8), 1000)


@inlined
def step_of_pass(number, step, coarse):  # type: ignore[no-untyped-def]
    """The step of a pass: `coarse` per cent of it at strides 8 and 4, halfway between at stride 2."""
    finer = FINEST if number > 6 else ((FINEST + coarse) >> 1 if number > 3 else coarse)
    return max(step * finer // FINEST, 1)
