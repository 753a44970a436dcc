"""Finding a node by its origin: an open-addressing hash table of row numbers."""

import numpy as np

from fieldcodec.jit import kernel


@kernel
def _hash(x, y, z, mask):  # type: ignore[no-untyped-def]
    mixed = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
    mixed ^= mixed >> 17
    return mixed & mask


@kernel
def _insert(table, cells):  # type: ignore[no-untyped-def]
    mask = table.size - 1
    for row in range(cells.shape[0]):
        slot = _hash(cells[row, 0], cells[row, 1], cells[row, 2], mask)
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = row


@kernel
def find(table, cells, x, y, z):  # type: ignore[no-untyped-def]
    """Row of the node in cell (x, y, z), or -1."""
    mask = table.size - 1
    slot = _hash(x, y, z, mask)
    while table[slot] >= 0:
        row = table[slot]
        if cells[row, 0] == x and cells[row, 1] == y and cells[row, 2] == z:
            return row
        slot = (slot + 1) & mask
    return np.int64(-1)


def cells_and_table(origins: np.ndarray, log2_side: int) -> tuple[np.ndarray, np.ndarray]:
    """[n, 3] int64 cells (origins in units of the node's side) and the hash table for `find`."""
    cells = np.ascontiguousarray(origins, np.int64) >> log2_side
    size = 1 << max(4, (2 * len(cells)).bit_length())
    table = np.full(size, -1, np.int64)
    _insert(table, cells)
    return cells, table
