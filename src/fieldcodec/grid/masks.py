"""Bit masks of tree nodes, packed as OpenVDB stores them.

A mask of n bits is n/8 bytes; bit i is byte i >> 3, bit i & 7 (little bit order).
Slot i of a node of log2 width w is at (x, y, z) with i = (x << 2w) | (y << w) | z.
"""

import numpy as np

LEAF_LOG2, LOWER_LOG2, UPPER_LOG2 = 3, 4, 5
LEAF_DIM, LOWER_DIM, UPPER_DIM = 8, 128, 4096  # voxels along one side of a node
LEAF_SLOTS, LOWER_SLOTS, UPPER_SLOTS = 512, 4096, 32768


def pack(bits: np.ndarray) -> np.ndarray:
    """[..., slots] bool -> [..., slots / 8] uint8."""
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack(packed: np.ndarray) -> np.ndarray:
    """[..., bytes] uint8 -> [..., bytes * 8] bool."""
    return np.unpackbits(packed, axis=-1, bitorder="little").view(bool)


def count(packed: np.ndarray) -> int:
    """Number of set bits."""
    return int(np.bitwise_count(packed).sum(dtype=np.int64))


def slot_offsets(log2: int) -> np.ndarray:
    """[slots, 3] int32: (x, y, z) of each slot of a node, in slots."""
    slots = np.arange(1 << (3 * log2), dtype=np.int32)
    low = (1 << log2) - 1
    return np.stack([slots >> (2 * log2), (slots >> log2) & low, slots & low], axis=-1)


def set_slots(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and slots of all set bits, in order: two int64 arrays."""
    rows, columns = np.nonzero(packed)
    bits = np.unpackbits(packed[rows, columns][:, None], axis=1, bitorder="little")
    which, bit = np.nonzero(bits)
    return rows[which], columns[which] * 8 + bit
