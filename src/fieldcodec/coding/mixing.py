"""Logistic mixing of bit predictions in integers (Mahoney's PAQ, "lightweight" form).

Every context keeps a counter; the counters of a voxel's contexts are brought to the logistic
domain, `stretch(p) = ln(p / (1 - p))`, weighted by a small online-trained linear unit and brought
back by `squash(x) = 1 / (1 + exp(-x))`. All numbers are integers: probabilities have 16 bits,
the logistic domain 8 bits after the point, weights 16. The two tables are rounded from correctly
rounded decimal arithmetic, so they are the same everywhere.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache

import numpy as np

from fieldcodec.coding import range_coder as rc
from fieldcodec.jit import inlined, kernel

STRETCH_LIMIT = 2800  # in 1/256: probabilities from 1.8e-5
_COUNTER_BITS = 22
COUNTER_HALF = 1 << (_COUNTER_BITS + 9)  # an unseen context: one half, count 0
_COUNT_MASK = 1023
_RECIPROCAL = (2 * 65536 // (2 * np.arange(_COUNT_MASK + 1, dtype=np.int64) + 3)).astype(np.int64)  # 1 / (n + 1.5)
WEIGHT_SHIFT = 16


@cache
def tables() -> np.ndarray:
    """[4096 + 5601] int64: stretch of (i + 1/2) / 4096, then squash of -2800..2800, in 1/65536."""
    context = Context(prec=18, rounding=ROUND_HALF_EVEN, traps=[])
    table = []
    for i in range(4096):
        odds = context.divide(Decimal(2 * i + 1), Decimal(8192 - 2 * i - 1))
        table.append(int(context.multiply(context.ln(odds), Decimal(256)).to_integral_value(ROUND_HALF_EVEN)))
    for i in range(-STRETCH_LIMIT, STRETCH_LIMIT + 1):
        growth = context.exp(context.divide(Decimal(-i), Decimal(256)))
        table.append(
            int(
                context.divide(Decimal(rc.PROB_ONE), context.add(Decimal(1), growth)).to_integral_value(ROUND_HALF_EVEN)
            )
        )
    result = np.array(table, np.int64)
    result.setflags(write=False)
    return result


def counters(count: int) -> np.ndarray:
    """[count] uint32: probability of a 1 in the upper 22 bits, observations in the lower 10."""
    return np.full(count, COUNTER_HALF, np.uint32)


@inlined
def squash(table, value):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-value / 256)) in 1/65536, in 1..65535."""
    return table[4096 + STRETCH_LIMIT + min(max(value, -STRETCH_LIMIT), STRETCH_LIMIT)]


@inlined
def counted(packed, bit, limit):  # type: ignore[no-untyped-def]
    """A counter moved towards a bit; one that has seen `limit` bits goes on as if it had seen so many."""
    seen = np.int64(packed) & _COUNT_MASK
    value = np.int64(packed) >> 10
    target = (1 << _COUNTER_BITS) - 1 if bit else 0
    value += ((target - value) * _RECIPROCAL[seen]) >> 16
    return np.uint32(value << 10 | min(seen + 1, limit))


@kernel
def predict(table, slots, inputs, counts, weights, select):  # type: ignore[no-untyped-def]
    """Mix the counters named by `slots`; fills `inputs`, returns the probability of a 1 in 1..65535."""
    total = np.int64(0)
    for i in range(slots.size):
        value = table[np.int64(counts[slots[i]]) >> 20]
        inputs[i] = value
        total += value * weights[select, i]
    return squash(table, total >> WEIGHT_SHIFT)


@kernel
def learn(slots, inputs, counts, weights, select, probability, bit, limit, rate):  # type: ignore[no-untyped-def]
    """Move the mixing weights and the counters towards the bit that came."""
    error = ((bit << 16) - probability) * rate
    for i in range(slots.size):
        weights[select, i] += (inputs[i] * error + (1 << 17)) >> 18
        counts[slots[i]] = counted(counts[slots[i]], bit, limit)
