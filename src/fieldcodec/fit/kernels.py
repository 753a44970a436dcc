"""Compiled kernels of the samplers."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def nth_active(active: np.ndarray, leaves: np.ndarray, ranks: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Slot of the active voxel of rank `ranks[i]` in leaf `leaves[i]`."""
    slots = np.empty(len(leaves), np.int64)
    for i in range(len(leaves)):
        remaining = ranks[i]
        slot = 0
        for byte in range(64):
            bits = active[leaves[i], byte]
            count = 0
            value = bits
            while value:
                value &= value - np.uint8(1)
                count += 1
            if remaining < count:
                for bit in range(8):
                    if bits >> np.uint8(bit) & 1:
                        if remaining == 0:
                            slot = byte * 8 + bit
                            break
                        remaining -= 1
                break
            remaining -= count
        slots[i] = slot
    return slots
