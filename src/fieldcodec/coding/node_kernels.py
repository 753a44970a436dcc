"""Compiled kernels of the node mask coder: ternary slots with causal contexts."""

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.neighbours import find
from fieldcodec.jit import kernel

INACTIVE, ACTIVE, CHILD = 0, 1, 2
_BEFORE, _AFTER = 2, 1  # halo of the padded box on the low and on the high side
_CONTEXT_BITS = 16
_NUM_PLAIN, _NUM_HINTED = 4, 3
_NUM_SELECT = 32
_COUNT_LIMIT, _LEARNING_RATE = 255, 8


@kernel
def _gather(states, side, cells, table, node, first, box):  # type: ignore[no-untyped-def]
    """Fill the halo of `box` from the nodes around `node` that were coded in this group; 0 elsewhere."""
    box[:] = INACTIVE
    for i in range(27):
        if i == 13:
            continue
        step = (i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1)
        row = find(table, cells, cells[node, 0] + step[0], cells[node, 1] + step[1], cells[node, 2] + step[2])
        if row < first or row >= node:
            continue
        low, high = np.zeros(3, np.int64), np.zeros(3, np.int64)
        for axis in range(3):
            low[axis] = side - _BEFORE if step[axis] < 0 else 0
            high[axis] = _AFTER if step[axis] > 0 else side
        for x in range(low[0], high[0]):
            for y in range(low[1], high[1]):
                for z in range(low[2], high[2]):
                    at = (x + step[0] * side + _BEFORE, y + step[1] * side + _BEFORE, z + step[2] * side + _BEFORE)
                    box[at] = states[row, (x * side + y) * side + z]


@kernel
def _children(box, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    return 1 if box[x + dx, y + dy, z + dz] == CHILD else 0


@kernel
def _plain_contexts(box, x, y, z, place, slots):  # type: ignore[no-untyped-def]
    """Contexts from the slots before; returns the mixer's choice (0..7)."""
    plane, count = np.int64(0), np.int64(0)
    for dy in range(-1, 2):
        for dz in range(-1, 2):
            bit = _children(box, x, y, z, -1, dy, dz)
            plane = plane << 1 | bit
            count += bit
    line = np.int64(0)
    for dz in range(-1, 2):
        line = line << 1 | _children(box, x, y, z, 0, -1, dz)
    here = _children(box, x, y, z, 0, 0, -1) | _children(box, x, y, z, 0, 0, -2) << 1
    slots[0] = plane | line << 9 | here << 12
    sx, sy, sz = np.int64(box[x - 1, y, z]), np.int64(box[x, y - 1, z]), np.int64(box[x, y, z - 1])
    edges = np.int64(box[x - 1, y - 1, z]) + 3 * np.int64(box[x - 1, y, z - 1]) + 9 * np.int64(box[x, y - 1, z - 1])
    edges += 27 * np.int64(box[x - 1, y, z + 1]) + 81 * np.int64(box[x - 1, y + 1, z])
    edges += 243 * np.int64(box[x, y - 1, z + 1])
    slots[1] = sx + 3 * sy + 9 * sz + 27 * edges
    two = np.int64(box[x - 2, y, z]) + 3 * np.int64(box[x, y - 2, z]) + 9 * np.int64(box[x, y, z - 2])
    slots[2] = sx + 3 * sy + 9 * sz + 27 * two + 729 * (count + 10 * (line & 1) + 20 * (line >> 2))
    slots[3] = sx + 3 * sy + 9 * sz + 27 * place
    return (1 if sx == CHILD else 0) | (2 if sy == CHILD else 0) | (4 if sz == CHILD else 0)


@kernel
def _hinted_contexts(box, hints, side, x, y, z, slots):  # type: ignore[no-untyped-def]
    """Contexts of the slot's hint, the mistakes of the hints before and the classes of the hints after."""
    slot = ((x - _BEFORE) * side + y - _BEFORE) * side + z - _BEFORE
    hint = np.int64(hints[slot])
    wrong, ahead = np.int64(0), np.int64(0)
    for axis in range(3):
        position = x if axis == 0 else (y if axis == 1 else z)
        stride = side * side if axis == 0 else (side if axis == 1 else 1)
        class_before, class_after = np.int64(3), np.int64(3)
        if position > _BEFORE:
            guess = np.int64(hints[slot - stride]) >> 3
            truth = box[x - (axis == 0), y - (axis == 1), z - (axis == 2)]
            class_before = np.int64(0 if guess == truth else (1 if truth == CHILD else 2))
        if position < _BEFORE + side - 1:
            class_after = np.int64(hints[slot + stride]) >> 3
        wrong, ahead = wrong << 2 | class_before, ahead << 2 | class_after
    faces = np.int64(box[x - 1, y, z]) + 3 * np.int64(box[x, y - 1, z]) + 9 * np.int64(box[x, y, z - 1])
    slots[0] = hint | wrong << 5
    slots[1] = hint | faces << 5
    slots[2] = hint | ahead << 5
    return (hint >> 3) + 1


@kernel
def _start_counts(num_plain, num_hinted, logistic):  # type: ignore[no-untyped-def]
    """Counters of all contexts for both questions; hinted ones start from what the hint says."""
    num = num_plain + num_hinted
    counts = np.full((2 * num) << _CONTEXT_BITS, mixing.COUNTER_HALF, np.uint32)
    for question in range(2):
        for i in range(num_plain << _CONTEXT_BITS, num << _CONTEXT_BITS):
            guess, confidence = (i & 31) >> 3, i & 7
            logit = 64 + 128 * confidence
            yes = guess == (CHILD if question == 0 else ACTIVE)
            counts[i + question * (num << _CONTEXT_BITS)] = mixing.squash(logistic, logit if yes else -logit) << 16
    return counts


@kernel
def code_nodes(coder, buffer, states, log2, cells, table, first, last, hints, logistic):  # type: ignore[no-untyped-def]
    """Code the slot states ([n, slots]) of nodes first..last-1; returns the buffer."""
    side = 1 << log2
    hinted = hints.shape[0] > 0
    num = _NUM_PLAIN + (_NUM_HINTED if hinted else 0)
    counts = _start_counts(_NUM_PLAIN, num - _NUM_PLAIN, logistic)
    weights = np.full((2 * _NUM_SELECT, num), (1 << mixing.WEIGHT_SHIFT) * 18 // (10 * num), np.int64)
    slots, inputs = np.zeros(num, np.int64), np.zeros(num, np.int64)
    box = np.zeros((side + _BEFORE + _AFTER, side + _BEFORE + _AFTER, side + _BEFORE + _AFTER), np.uint8)
    for node in range(first, last):
        _gather(states, side, cells, table, node, first, box)
        for slot in range(side**3):
            if slot & (side - 1) == 0:
                buffer = rc.reserve(coder, buffer, 2 * side)
            x, y, z = slot // (side * side), slot // side % side, slot % side
            place = (x << 3 >> log2) << 6 | (y << 3 >> log2) << 3 | (z << 3 >> log2)
            x, y, z = x + _BEFORE, y + _BEFORE, z + _BEFORE
            select = _plain_contexts(box, x, y, z, place, slots)
            if hinted:
                select += 8 * _hinted_contexts(box, hints[node], side, x, y, z, slots[_NUM_PLAIN:])
            state = np.int64(states[node, slot])
            for question in range(2):
                for i in range(num):
                    slots[i] = (slots[i] & 0xFFFF) + ((i + question * num) << _CONTEXT_BITS)
                choice = select + question * _NUM_SELECT
                p = mixing.predict(logistic, slots, inputs, counts, weights, choice)
                bit = rc.code_bit(coder, buffer, 1 if state == (CHILD if question == 0 else ACTIVE) else 0, p)
                mixing.learn(slots, inputs, counts, weights, choice, p, bit, _COUNT_LIMIT, _LEARNING_RATE)
                if bit:
                    state = np.int64(CHILD if question == 0 else ACTIVE)
                    break
                if question == 1:
                    state = np.int64(INACTIVE)
            states[node, slot] = state
            box[x, y, z] = state
    return buffer


@kernel
def code_flags(coder, buffer, bits):  # type: ignore[no-untyped-def]
    """Code bits with one adaptive model per value of the bit before."""
    models = rc.new_models(2)
    previous = 0
    for i in range(bits.size):
        buffer = rc.reserve(coder, buffer, np.int64(1))
        bits[i] = rc.code_adaptive(coder, buffer, models, previous, np.int64(bits[i]))
        previous = bits[i]
    return buffer
