"""Compiled kernels of the palette coder: finding the palette, connected components, contexts."""

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.neighbours import find
from fieldcodec.jit import kernel

MAX_PALETTE = 16
ABSENT = 255  # a slot without a coded value
_OPEN = 254  # a slot whose value is not known yet
_CONTEXT_BITS = 16
_NUM = 5
_COUNT_LIMIT, _LEARNING_RATE = 255, 8


@kernel
def index_values(rows, palette, indices):  # type: ignore[no-untyped-def]
    """Fill `palette` [17, b] with the distinct rows of `rows` [K, b] and `indices` [K]; returns their number.

    Stops at 17, which means too many.
    """
    known, last = 0, 0
    for k in range(rows.shape[0]):
        found = -1
        for j in range(known + 1):
            i = last if j == 0 else j - 1
            if i >= known:
                continue
            same = True
            for b in range(rows.shape[1]):
                if rows[k, b] != palette[i, b]:
                    same = False
                    break
            if same:
                found = i
                break
        if found < 0:
            for b in range(rows.shape[1]):  # one by one: see `fieldcodec.jit`
                palette[known, b] = rows[k, b]
            found = known
            known += 1
            if known > MAX_PALETTE:
                return known
        indices[k] = found
        last = found
    return known


@kernel
def _root(parents, slot):  # type: ignore[no-untyped-def]
    while parents[slot] != slot:
        parents[slot] = parents[parents[slot]]
        slot = parents[slot]
    return slot


@kernel
def _slot_before(before, side, node, slot, axis):  # type: ignore[no-untyped-def]
    """Number of the slot one step down an axis, or -1; `before` [n, 3] are the nodes one step down."""
    stride = side * side if axis == 0 else (side if axis == 1 else 1)
    if slot // stride % side > 0:
        return node * side**3 + slot - stride
    row = before[node, axis]
    return row * side**3 + slot + (side - 1) * stride if row >= 0 else np.int64(-1)


@kernel
def components(states, side, before):  # type: ignore[no-untyped-def]
    """[n * slots] int32: for each slot that is not ABSENT the first slot of its connected component, else -1."""
    volume = side**3
    parents = np.full(states.size, -1, np.int32)
    for here in range(states.size):
        if states[here] == ABSENT:
            continue
        parents[here] = here
        for axis in range(3):
            other = _slot_before(before, side, here // volume, here % volume, axis)
            if other >= 0 and states[other] != ABSENT:
                a, b = _root(parents, np.int64(here)), _root(parents, other)
                parents[max(a, b)] = min(a, b)
    for here in range(states.size):
        if parents[here] >= 0:
            parents[here] = parents[parents[here]]  # parents come first, so theirs are final
    return parents


@kernel
def neighbours_before(cells, table, first, last):  # type: ignore[no-untyped-def]
    """[n, 3] int64: rows, counted from `first`, of the nodes one step down each axis, or -1."""
    before = np.full((last - first, 3), -1, np.int64)
    for node in range(first, last):
        for axis in range(3):
            row = find(
                table, cells, cells[node, 0] - (axis == 0), cells[node, 1] - (axis == 1), cells[node, 2] - (axis == 2)
            )
            if first <= row < node:
                before[node - first, axis] = row - first
    return before


@kernel
def _look_back(states, side, before, node, slot, axis):  # type: ignore[no-untyped-def]
    """Nearest known value down an axis (16: none within 8 steps) and the number of slots passed over, 0..7."""
    for gap in range(8):
        here = _slot_before(before, side, node, slot, axis)
        if here < 0:
            return np.int64(16), np.int64(gap)
        if states[here] < MAX_PALETTE:
            return np.int64(states[here]), np.int64(gap)
        node, slot = here // side**3, here % side**3
    return np.int64(16), np.int64(7)


@kernel
def _code_symbol(coder, buffer, states, side, before, here, size, value, mix, slots, inputs):  # type: ignore[no-untyped-def]
    """Code the palette index of one slot with contexts of the nearest values before it."""
    counts, weights, logistic = mix
    volume = side**3
    sx, gx = _look_back(states, side, before, here // volume, here % volume, np.int64(0))
    sy, gy = _look_back(states, side, before, here // volume, here % volume, np.int64(1))
    sz, gz = _look_back(states, side, before, here // volume, here % volume, np.int64(2))
    bases = (
        sx + 17 * (sy + 17 * (sz + 17 * (min(gx, 1) + 2 * min(gy, 1) + 4 * min(gz, 1)))),
        sz + 17 * (gz + 8 * (sy + 17 * gy)),
        sz + 17 * (gz + 8 * (sx + 17 * gx)),
        sy + 17 * (gy + 8 * (sx + 17 * gx)),
        np.int64(0),
    )
    symbol = np.int64(0)
    while symbol < size - 1:  # is it the first, the second, ... entry of the palette?
        for i in range(_NUM):
            mixed = bases[i] * 16 + symbol
            slots[i] = (((mixed * 40503) ^ (mixed >> 7)) & 0xFFFF) + (i << _CONTEXT_BITS)
        p = mixing.predict(logistic, slots, inputs, counts, weights, symbol)
        bit = rc.code_bit(coder, buffer, 1 if value == symbol else 0, p)
        mixing.learn(slots, inputs, counts, weights, symbol, p, bit, _COUNT_LIMIT, _LEARNING_RATE)
        if bit:
            break
        symbol += 1
    return symbol


@kernel
def code_group(coder, buffer, states, side, before, size, logistic):  # type: ignore[no-untyped-def]
    """Code the palette indices `states` [n * slots] of a group of nodes; returns the buffer.

    Encoding, `states` holds indices and ABSENT; decoding, anything below ABSENT means "to be decoded".
    Each component is coded at its first slot: whether all its values are equal, and the first of them.
    """
    decodes = rc.decodes(coder)
    parents = components(states, side, before)
    given = states.copy()
    uniform = np.ones(states.size, np.uint8)
    for here in range(states.size):
        if parents[here] >= 0:
            if not decodes and given[here] != given[parents[here]]:
                uniform[parents[here]] = 0
            states[here] = _OPEN
    counts = np.full(_NUM << _CONTEXT_BITS, mixing.COUNTER_HALF, np.uint32)
    weights = np.full((MAX_PALETTE, _NUM), (1 << mixing.WEIGHT_SHIFT) * 35 // 100, np.int64)
    mix = (counts, weights, logistic)
    slots, inputs = np.zeros(_NUM, np.int64), np.zeros(_NUM, np.int64)
    models = rc.new_models(1)
    for here in range(states.size):
        first = parents[here]
        if first < 0:
            continue
        if first == here:
            buffer = rc.reserve(coder, buffer, np.int64(1))
            uniform[here] = rc.code_adaptive(coder, buffer, models, np.int64(0), np.int64(uniform[here]))
        elif uniform[first]:
            states[here] = states[first]
            continue
        buffer = rc.reserve(coder, buffer, np.int64(MAX_PALETTE))
        states[here] = _code_symbol(
            coder, buffer, states, side, before, np.int64(here), size, np.int64(given[here]), mix, slots, inputs
        )
    return buffer
