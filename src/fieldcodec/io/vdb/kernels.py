"""Compiled loops over the chained blocks of a `.vdb` tree.

A block is the value table of one node: a code byte, up to two inactive values, perhaps a mask that selects
between these, perhaps a length, and the payload. Sizes chain, so blocks can only be found one after the other.
Values are handled as bytes, so one compiled version serves every value type. Every access is checked against
`end` first: a scan returns a status and the byte position where it stopped.
"""

import numpy as np

from fieldcodec.jit import inlined, kernel

# Block codes: which inactive values are stored (io/Compression.h of OpenVDB).
BACKGROUND, MINUS_BACKGROUND, ONE_VALUE = 0, 1, 2
MASKED_BACKGROUNDS, MASKED_ONE_VALUE, MASKED_TWO_VALUES = 3, 4, 5
ALL_VALUES = 6

# Columns of a table of blocks.
CODE, INACTIVE, SELECT, PAYLOAD, LENGTH, PACKED, COUNT, MASK, CHILD, RUN, LEAVES, COLUMNS = range(12)

Sizes = tuple[int, int, bool, bool, bool]  # value bytes, stored bytes, compressed?, active mask?, half?

# What a scan found.
FINE, CUT, BAD_CODE, BAD_LENGTH = 0, 1, 2, 3

_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@kernel
def _count(data: np.ndarray, pos: int, size: int) -> int:
    total = 0
    for i in range(pos, pos + size):
        total += _BITS[data[i]]
    return total


@kernel
def _scan_block(
    data: np.ndarray, pos: int, end: int, slots: int, sizes: Sizes, table: np.ndarray, index: int
) -> tuple[int, int]:
    """Fills a row of a table from the code byte at `pos`, given its mask; returns status and end of the block.

    The values of half grids are stored without a length where there are none.
    """
    value_size, stored_size, compressed, masked, half = sizes
    if pos >= end:
        return CUT, pos
    code = data[pos]
    if code > ALL_VALUES:
        return BAD_CODE, pos
    table[index, CODE] = code
    pos += 1
    table[index, INACTIVE] = pos
    if code in (ONE_VALUE, MASKED_ONE_VALUE):
        pos += value_size
    elif code == MASKED_TWO_VALUES:
        pos += 2 * value_size
    table[index, SELECT] = pos
    if MASKED_BACKGROUNDS <= code <= MASKED_TWO_VALUES:
        pos += slots // 8
    count = slots
    if masked and code != ALL_VALUES:
        count = _count(data, table[index, MASK], slots // 8)
    table[index, COUNT] = count
    length = count * stored_size
    table[index, PACKED] = 0
    if compressed and not (half and count == 0):  # nothing at all is stored for no half values
        if pos + 8 > end:
            return CUT, pos
        stored = np.int64(0)
        for i in range(8):
            stored |= np.int64(data[pos + i]) << (8 * i)
        if stored > end - pos - 8:
            return CUT, pos
        if stored <= 0 and -stored != length:
            return BAD_LENGTH, pos
        pos += 8
        if stored > 0:
            length = int(stored)
            table[index, PACKED] = 1
    if length > end - pos:
        return CUT, pos
    table[index, PAYLOAD], table[index, LENGTH] = pos, length
    return FINE, pos + length


@kernel
def scan_internal(
    data: np.ndarray, pos: int, end: int, sizes: Sizes, nodes: np.ndarray, slots: int, leaf_bytes: int
) -> tuple[int, int, int]:
    """Fills a table with internal nodes that follow each other: two masks, block, masks of the leaves below.

    leaf_bytes: size of one leaf's mask where the children are leaves, 0 where they are to be scanned later.

    Returns status, end and node index.
    """
    width = slots // 8
    for node in range(len(nodes)):
        if pos + 2 * width > end:
            return CUT, pos, node
        nodes[node, CHILD], nodes[node, MASK] = pos, pos + width
        nodes[node, RUN] = _count(data, pos, width)
        status, pos = _scan_block(data, pos + 2 * width, end, slots, sizes, nodes, node)
        nodes[node, LEAVES] = pos
        if status == FINE and nodes[node, RUN] * leaf_bytes > end - pos:
            status = CUT
        if status != FINE:
            return status, pos, node
        pos += nodes[node, RUN] * leaf_bytes
    return FINE, pos, len(nodes)


@kernel
def scan_leaves(data: np.ndarray, pos: int, end: int, sizes: Sizes, leaves: np.ndarray) -> tuple[int, int, int]:
    """Fills a table with the buffers of leaves that follow each other; returns status, end and leaf index."""
    for leaf in range(len(leaves)):
        if pos + 64 > end:
            return CUT, pos, leaf
        leaves[leaf, MASK] = pos
        status, pos = _scan_block(data, pos + 64, end, np.int64(512), sizes, leaves, leaf)
        if status != FINE:
            return status, pos, leaf
    return FINE, pos, len(leaves)


@inlined
def _copy(source: np.ndarray, start: int, target: np.ndarray, at: int, count: int) -> None:
    """One by one: see `fieldcodec.jit`."""
    for byte in range(count):
        target[at + byte] = source[start + byte]


@kernel
def gather_runs(data: np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int) -> np.ndarray:
    """[sum of counts, width]: rows of `width` bytes that stand in runs."""
    out = np.empty((counts.sum(), width), np.uint8)
    row = 0
    for run in range(len(starts)):
        for i in range(counts[run]):
            _copy(data, starts[run] + i * width, out[row], 0, width)
            row += 1
    return out


@kernel
def scatter(
    out: np.ndarray,
    data: np.ndarray,
    blocks: np.ndarray,
    flat: np.ndarray,
    starts: np.ndarray,
    background: np.ndarray,
    negative: np.ndarray,
) -> None:
    """Fills value tables [n, slots, value bytes] from payloads in `flat` and the inactive values of each block."""
    slots, size = out.shape[1], out.shape[2]
    pair = np.empty((2, size), np.uint8)
    for block in range(len(blocks)):
        row, source = blocks[block], starts[block]
        if row[COUNT] == slots:
            for slot in range(slots):
                _copy(flat, source + slot * size, out[block, slot], 0, size)
            continue
        code = row[CODE]
        stored = row[INACTIVE]
        _copy(background, 0, pair[1], 0, size)
        if code == BACKGROUND:
            _copy(background, 0, pair[0], 0, size)
        elif code in (MINUS_BACKGROUND, MASKED_BACKGROUNDS):
            _copy(negative, 0, pair[0], 0, size)
        else:
            _copy(data, stored, pair[0], 0, size)
        if code == MASKED_TWO_VALUES:
            _copy(data, stored + size, pair[1], 0, size)
        selected = code >= MASKED_BACKGROUNDS
        for slot in range(slots):
            bit = 1 << (slot & 7)
            if data[row[MASK] + (slot >> 3)] & bit:
                _copy(flat, source, out[block, slot], 0, size)
                source += size
            else:
                which = 1 if selected and data[row[SELECT] + (slot >> 3)] & bit else 0
                _copy(pair[which], 0, out[block, slot], 0, size)


@kernel
def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    for byte in range(len(a)):  # noqa: SIM110
        if a[byte] != b[byte]:
            return False
    return True


@kernel
def _inactive_code(
    values: np.ndarray,
    active: np.ndarray,
    child: np.ndarray,
    background: np.ndarray,
    negative: np.ndarray,
    pair: np.ndarray,
) -> int:
    """Block code of one value table; `pair` gets its two inactive values. Values are compared by bits."""
    found = 0
    for slot in range(len(values)):
        bit = 1 << (slot & 7)
        if active[slot >> 3] & bit or child[slot >> 3] & bit:
            continue
        value = values[slot]
        if (found > 0 and _equal(value, pair[0])) or (found > 1 and _equal(value, pair[1])):
            continue
        if found == 2:
            return ALL_VALUES
        _copy(value, 0, pair[found], 0, len(value))
        found += 1
    if found == 0:
        _copy(background, 0, pair[0], 0, len(background))
        return BACKGROUND
    if found == 1:
        if _equal(pair[0], background):
            return BACKGROUND
        return MINUS_BACKGROUND if _equal(pair[0], negative) else ONE_VALUE
    if _equal(pair[0], background):  # the background, if present, becomes the second value
        _copy(pair[1], 0, pair[0], 0, len(background))
        _copy(background, 0, pair[1], 0, len(background))
    if not _equal(pair[1], background):
        return MASKED_TWO_VALUES
    return MASKED_BACKGROUNDS if _equal(pair[0], negative) else MASKED_ONE_VALUE


@kernel
def pack_blocks(
    values: np.ndarray,
    stored: np.ndarray,
    active: np.ndarray,
    child: np.ndarray,
    background: np.ndarray,
    negative: np.ndarray,
    masked: bool,
    prefix: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Value tables as the bytes of a file, payloads not yet compressed.

    values: [n, slots, value bytes]; stored: [n, slots, stored bytes], the same values as they are stored;
    active, child: [n, slots / 8]; prefix: [n, p] bytes put before each block.

    Returns the bytes, and [n, 2] begin and end of each payload in them.
    """
    slots, size, stored_size = values.shape[1], values.shape[2], stored.shape[2]
    largest = prefix.shape[1] + 1 + 2 * size + slots // 8 + slots * stored_size
    out = np.empty(len(values) * largest, np.uint8)
    spans = np.empty((len(values), 2), np.int64)
    pair = np.empty((2, size), np.uint8)
    pos = 0
    for block in range(len(values)):
        _copy(prefix[block], 0, out, pos, prefix.shape[1])
        pos += prefix.shape[1]
        code = ALL_VALUES
        if masked:
            code = _inactive_code(values[block], active[block], child[block], background, negative, pair)
        out[pos] = code
        pos += 1
        shown = 2 if code == MASKED_TWO_VALUES else 1 if code in (ONE_VALUE, MASKED_ONE_VALUE) else 0
        for i in range(shown):
            _copy(pair[i], 0, out, pos, size)
            pos += size
        if MASKED_BACKGROUNDS <= code <= MASKED_TWO_VALUES:
            _select(values[block], active[block], pair[1], out[pos : pos + slots // 8])
            pos += slots // 8
        spans[block, 0] = pos
        for slot in range(slots):
            if code == ALL_VALUES or active[block, slot >> 3] & (1 << (slot & 7)):
                _copy(stored[block, slot], 0, out, pos, stored_size)
                pos += stored_size
        spans[block, 1] = pos
    return out[:pos], spans


@kernel
def _select(values: np.ndarray, active: np.ndarray, second: np.ndarray, out: np.ndarray) -> None:
    """Sets the bit of each inactive slot that holds the second inactive value."""
    out[:] = 0
    for slot in range(len(values)):
        bit = 1 << (slot & 7)
        if not active[slot >> 3] & bit and _equal(values[slot], second):
            out[slot >> 3] |= bit
