"""Compiled kernels of the leaf mask coder: what is known around a voxel, and its contexts.

The 3 x 3 x 3 leaves around the leaf being coded lie in `rows`, [24 * 24] int64: the bits of row
(x, y) are the 24 voxels along z, the leaf's own ones being 8..15. Voxels that are not known yet are
0, or copies of the nearest known voxel in the direction of growing y and z. `guess` holds the
classes that the hints predict in the same layout, for all leaves of the tree.
"""

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.neighbours import find
from fieldcodec.jit import kernel

MISSING, LATER, KNOWN = 0, 1, 2  # a neighbouring leaf: not in the tree, in the tree but not coded, coded
MIXED, FULL, EMPTY = 0, 1, 2
CONTEXT_BITS = 16
NUM_PLAIN, NUM_PLAIN_HINTED, NUM_HINTED = 6, 3, 5  # contexts without hints; with hints: plain ones, hinted ones
NUM_SELECT = 128
LEAF_DECISIONS = 514
COUNT_LIMIT, LEARNING_RATE = 160, 8
HINT_LEVELS = 32
HINT_STEP = 128  # one step of a hint is half a nat: 128 in the logistic domain
SIDE = 24
POPCOUNT = np.array([bin(i).count("1") for i in range(512)], np.int64)


@kernel
def _gather_known(masks, cells, table, leaf, first, rows, state):  # type: ignore[no-untyped-def]
    """Fill `rows` from the leaves around `leaf` that were coded in this group, and `state` [27]."""
    for i in range(27):
        dx, dy, dz = i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1
        row = find(table, cells, cells[leaf, 0] + dx, cells[leaf, 1] + dy, cells[leaf, 2] + dz)
        state[i] = MISSING if row < 0 else (KNOWN if first <= row < leaf else LATER)
        base = (dx + 1) * 8 * SIDE + (dy + 1) * 8
        for xy in range(64):
            at = base + (xy >> 3) * SIDE + (xy & 7)
            if dz == -1:
                rows[at] = 0
            if state[i] == KNOWN:
                rows[at] |= np.int64(masks[row, xy]) << (8 * (dz + 1))
            elif state[i] == LATER and dz == 1 and (rows[at] >> 15) & 1:
                rows[at] |= np.int64(0xFF) << 16
    for x in range(16):  # the leaves one step up in y
        if state[7 if x < 8 else 16] == LATER:
            rows[x * SIDE + 16] = rows[x * SIDE + 15]
            rows[x * SIDE + 17] = rows[x * SIDE + 15]


@kernel
def _gather_guess(classes, cells, table, leaf, guess):  # type: ignore[no-untyped-def]
    """Fill `guess` from the predicted classes ([N, 64], packed) of the leaves around `leaf`."""
    for i in range(27):
        dx, dy, dz = i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1
        row = find(table, cells, cells[leaf, 0] + dx, cells[leaf, 1] + dy, cells[leaf, 2] + dz)
        base = (dx + 1) * 8 * SIDE + (dy + 1) * 8
        for xy in range(64):
            at = base + (xy >> 3) * SIDE + (xy & 7)
            if dz == -1:
                guess[at] = 0
            if row >= 0:
                guess[at] |= np.int64(classes[row, xy]) << (8 * (dz + 1))


@kernel
def _run_length(rows, at, z, step, step_z):  # type: ignore[no-untyped-def]
    """State of the previous voxel along an axis and the length of its run, 1..7, as 4 bits."""
    first = (rows[at - step] >> (z - step_z)) & 1
    length = np.int64(1)
    while length < 7 and ((rows[at - (length + 1) * step] >> (z - (length + 1) * step_z)) & 1) == first:
        length += 1
    return (first << 3) | length


@kernel
def _plain_contexts(rows, x, y, z, open_faces, slots, hinted):  # type: ignore[no-untyped-def]
    """Contexts from the voxels before (x, y, z), each coordinate in 8..15; returns the mixer's choice."""
    at, low = x * SIDE + y, z - 2
    here = (rows[at] >> low) & 3  # z-2, z-1
    ym, ymm = (rows[at - 1] >> low) & 31, (rows[at - 2] >> low) & 31
    xm_m, xm, xm_p = (rows[at - SIDE - 1] >> low) & 31, (rows[at - SIDE] >> low) & 31, (rows[at - SIDE + 1] >> low) & 31
    ym_z, ym3 = ym >> 2 & 1, ym >> 1 & 7
    xm_z, xm3 = xm >> 2 & 1, xm >> 1 & 7
    slots[0] = (xm_m >> 1 & 7) | xm3 << 3 | (xm_p >> 1 & 7) << 6 | ym3 << 9 | here << 12
    plane = POPCOUNT[xm_m] + POPCOUNT[xm] + POPCOUNT[xm_p]
    plane += POPCOUNT[(rows[at - SIDE - 2] >> low) & 31] + POPCOUNT[(rows[at - SIDE + 2] >> low) & 31]
    xmm = (rows[at - 2 * SIDE] >> low) & 31
    deep = POPCOUNT[xmm] + POPCOUNT[(rows[at - 2 * SIDE - 1] >> low) & 31]
    deep += POPCOUNT[(rows[at - 2 * SIDE + 1] >> low) & 31]
    row = min(POPCOUNT[ym] + POPCOUNT[ymm], 7)
    slots[1] = plane | deep << 5 | here << 9 | row << 11 | xm_z << 14 | ym_z << 15
    run_z = _run_length(rows, at, z, 0, 1)
    runs = _run_length(rows, at, z, SIDE, 0) | _run_length(rows, at, z, 1, 0) << 4 | run_z << 8
    slots[2] = runs | (xm_m >> 2 & 1) << 12 | (xm >> 1 & 1) << 13 | (ym >> 1 & 1) << 14 | (ym >> 3 & 1) << 15
    faces = xm_z | ym_z << 1 | (here >> 1) << 2
    if not hinted:
        slots[3] = (x - 8) << 6 | (y - 8) << 3 | (z - 8) | open_faces << 9 | faces << 12
        slots[4] = runs | (xm_p >> 2 & 1) << 12 | (xm >> 3 & 1) << 13 | (xm_m >> 1 & 1) << 14 | (xm_p >> 3 & 1) << 15
        slots[5] = (xmm >> 1 & 7) | (ymm >> 1 & 7) << 3 | here << 6 | xm3 << 8 | ym3 << 11
        slots[5] |= (xm_p >> 2 & 1) << 14 | (xm_m >> 2 & 1) << 15
    return faces | (x == 8) << 3 | (y == 8) << 4 | (z == 8) << 5


@kernel
def _hinted_contexts(rows, guess, hints, x, y, z, faces, slots):  # type: ignore[no-untyped-def]
    """Contexts of the voxel's hint with the mistakes of the hints before it and the hints after it."""
    at, low = x * SIDE + y, z - 2
    voxel = (x - 8) << 6 | (y - 8) << 3 | (z - 8)
    hint = np.int64(hints[voxel])
    g_here, g_xm, g_ym = (guess[at] >> low) & 31, (guess[at - SIDE] >> low) & 31, (guess[at - 1] >> low) & 31
    g_xp, g_yp = (guess[at + SIDE] >> low) & 31, (guess[at + 1] >> low) & 31
    g_xm_m, g_xm_p = (guess[at - SIDE - 1] >> low) & 31, (guess[at - SIDE + 1] >> low) & 31
    b_here, b_xm, b_ym = (rows[at] >> low) & 3, (rows[at - SIDE] >> low) & 31, (rows[at - 1] >> low) & 31
    b_xm_m, b_xm_p = (rows[at - SIDE - 1] >> low) & 31, (rows[at - SIDE + 1] >> low) & 31
    w_here, w_xm, w_ym = (g_here & 3) ^ b_here, g_xm ^ b_xm, g_ym ^ b_ym
    w_xm_m, w_xm_p = g_xm_m ^ b_xm_m, g_xm_p ^ b_xm_p
    ahead = (g_xp >> 2 & 1) | (g_yp >> 2 & 1) << 1 | (g_here >> 3 & 1) << 2
    wrong = (w_xm >> 2 & 1) | (w_ym >> 2 & 1) << 1 | (w_here >> 1) << 2
    slots[0] = hint | faces << 5 | ahead << 8 | wrong << 11
    slots[1] = hint | (w_xm >> 1 & 7) << 5 | (w_ym >> 1 & 7) << 8 | w_here << 11
    slots[1] |= (w_xm_m >> 2 & 1) << 13 | (w_xm_p >> 2 & 1) << 14
    g_count = POPCOUNT[g_here >> 1 & 7] + POPCOUNT[g_xp >> 1 & 7] + POPCOUNT[g_yp >> 1 & 7]
    b_count = POPCOUNT[b_here] + POPCOUNT[b_xm >> 1 & 7] + POPCOUNT[b_ym >> 1 & 7] + POPCOUNT[b_xm_m >> 1 & 7]
    b_count += POPCOUNT[b_xm_p >> 1 & 7]
    slots[2] = hint | g_count << 5 | b_count << 9
    false_on = POPCOUNT[g_here & 3 & w_here] + POPCOUNT[g_xm & w_xm] + POPCOUNT[g_ym & w_ym]
    false_on += POPCOUNT[g_xm_m & w_xm_m] + POPCOUNT[g_xm_p & w_xm_p]
    false_off = POPCOUNT[b_here & w_here] + POPCOUNT[b_xm & w_xm] + POPCOUNT[b_ym & w_ym]
    false_off += POPCOUNT[b_xm_m & w_xm_m] + POPCOUNT[b_xm_p & w_xm_p]
    slots[3] = hint | min(false_on, 7) << 5 | min(false_off, 7) << 8 | faces << 11 | (g_here >> 3 & 1) << 14
    around = np.int64(0)
    for axis in range(3):  # hints of the six neighbours in two bits, the voxel's own beyond the leaf
        for sign in (-1, 1):
            step = sign << (6 - 3 * axis)
            inside = 0 <= ((voxel >> (6 - 3 * axis)) & 7) + sign < 8
            around = around << 2 | np.int64(hints[voxel + step] if inside else hints[voxel]) >> 3
    slots[4] = hint >> 1 | around << 4
    return (1 if hint >= 16 else 0) << 6


@kernel
def _leaf_kind(masks, leaf):  # type: ignore[no-untyped-def]
    """MIXED, FULL or EMPTY."""
    full, empty = True, True
    for i in range(64):
        full &= masks[leaf, i] == 255
        empty &= masks[leaf, i] == 0
    return FULL if full else (EMPTY if empty else MIXED)


@kernel
def _code_kind(coder, buffer, models, masks, cells, table, leaf, state, expected):  # type: ignore[no-untyped-def]
    """Code whether a leaf is mixed, full or empty; `expected` is what the hints say of it."""
    context = np.int64(expected)
    for i in (4, 10, 12):  # the leaves before it along x, y and z
        kind = 3
        if state[i] == KNOWN:
            dx, dy, dz = i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1
            row = find(table, cells, cells[leaf, 0] + dx, cells[leaf, 1] + dy, cells[leaf, 2] + dz)
            kind = _leaf_kind(masks, row)
        context = context * 4 + kind
    for i in (14, 16, 22):  # and whether there are leaves after it
        context = context * 2 + (1 if state[i] == MISSING else 0)
    kind = _leaf_kind(masks, leaf)
    if rc.code_adaptive(coder, buffer, models, context * 2, 1 if kind == MIXED else 0):
        return MIXED
    return FULL if rc.code_adaptive(coder, buffer, models, context * 2 + 1, 1 if kind == FULL else 0) else EMPTY


@kernel
def _start_counts(num_plain, num_hinted, logistic):  # type: ignore[no-untyped-def]
    """Counters of all contexts; hinted ones start from the probability that the hint means."""
    counts = np.full((num_plain + num_hinted) << CONTEXT_BITS, mixing.COUNTER_HALF, np.uint32)
    for i in range(num_plain << CONTEXT_BITS, counts.size):
        hint = i & (HINT_LEVELS - 1)
        if i >= (num_plain + num_hinted - 1) << CONTEXT_BITS:  # the last context keeps four bits of the hint
            hint = (i & 15) * 2
        probability = mixing.squash(logistic, (2 * hint - HINT_LEVELS + 1) * HINT_STEP // 2)
        counts[i] = probability << 16
    return counts


@kernel
def code_group(coder, buffer, masks, cells, table, first, last, hints, classes, logistic):  # type: ignore[no-untyped-def]
    """Code the masks of leaves first..last-1 ([N, 64] packed); returns the buffer.

    `hints` is [N, 512] and `classes` its predictions packed, [N, 64]; both have no rows where there are no hints.
    """
    hinted = hints.shape[0] > 0
    num_plain, num_hinted = (NUM_PLAIN_HINTED, NUM_HINTED) if hinted else (NUM_PLAIN, 0)
    num = num_plain + num_hinted
    counts = _start_counts(num_plain, num_hinted, logistic)
    weights = np.full((NUM_SELECT, num), (1 << mixing.WEIGHT_SHIFT) * 18 // (10 * num), np.int64)
    kinds = rc.new_models(3 * 1024)
    slots, inputs = np.zeros(num, np.int64), np.zeros(num, np.int64)
    rows, guess, state = np.zeros(SIDE * SIDE, np.int64), np.zeros(SIDE * SIDE, np.int64), np.zeros(27, np.int64)
    for leaf in range(first, last):
        buffer = rc.reserve(coder, buffer, np.int64(LEAF_DECISIONS))
        _gather_known(masks, cells, table, leaf, first, rows, state)
        expected = MIXED
        if hinted:
            _gather_guess(classes, cells, table, leaf, guess)
            expected = _leaf_kind(classes, leaf)
        kind = _code_kind(coder, buffer, kinds, masks, cells, table, leaf, state, expected)
        if kind != MIXED:
            masks[leaf, :] = 255 if kind == FULL else 0
            continue
        open_faces = (state[22] == MISSING) | (state[16] == MISSING) << 1 | (state[14] == MISSING) << 2
        for xy in range(64):
            x, y = (xy >> 3) + 8, (xy & 7) + 8
            at = x * SIDE + y
            given, byte = np.int64(masks[leaf, xy]), np.int64(0)
            for z in range(8):
                select = _plain_contexts(rows, x, y, z + 8, open_faces, slots, hinted)
                if hinted:
                    select |= _hinted_contexts(rows, guess, hints[leaf], x, y, z + 8, select & 7, slots[num_plain:])
                for i in range(num):
                    slots[i] += i << CONTEXT_BITS
                probability = mixing.predict(logistic, slots, inputs, counts, weights, select)
                bit = rc.code_bit(coder, buffer, (given >> z) & 1, probability)
                mixing.learn(slots, inputs, counts, weights, select, probability, bit, COUNT_LIMIT, LEARNING_RATE)
                byte |= bit << z
                rows[at] |= bit << (z + 8)
            masks[leaf, xy] = byte
            if state[14] == LATER and byte >> 7:
                rows[at] |= np.int64(0xFF) << 16
            if state[16] == LATER and y == 15:
                rows[at + 1] = rows[at]
                rows[at + 2] = rows[at]
    return buffer
