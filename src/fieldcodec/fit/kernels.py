"""Compiled kernels of the samplers."""

import numpy as np

from fieldcodec.coding.bits import popcount
from fieldcodec.jit import kernel

RANK_BITS = 8  # ranks that share an entry of a guide differ in this many low bits


def rank_guide(ends: np.ndarray) -> np.ndarray:
    """[ranks / 256] int64: where the search for a rank may begin. `ends` [n]: cumulative counts of active voxels."""
    return np.searchsorted(ends, np.arange(0, ends[-1], 1 << RANK_BITS), side="right")


@kernel
def find_active(
    words: np.ndarray, rows: np.ndarray, ends: np.ndarray, guide: np.ndarray, ranks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Leaves and slots [m] int64 of the active voxels of these ranks among all of the leaves `rows` [n].

    `words` [leaves, 8] uint64 are the masks, bit i of word w being slot 64 w + i; `ends` and `guide` as in
    `rank_guide`.
    """
    leaves, slots = np.empty(len(ranks), np.int64), np.empty(len(ranks), np.int64)
    for i in range(len(ranks)):
        rank = ranks[i]
        which = guide[rank >> RANK_BITS]
        while ends[which] <= rank:
            which += 1
        leaf = rows[which]
        remaining = rank - (ends[which - 1] if which else 0)
        index = 0
        while True:
            count = popcount(words[leaf, index])
            if remaining < count:
                break
            remaining -= count
            index += 1
        word, shift = words[leaf, index], np.int64(0)
        for width in (32, 16, 8, 4, 2, 1):  # halves the stretch that holds the bit
            count = popcount(word & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)))
            if remaining >= count:
                remaining -= count
                word >>= np.uint64(width)
                shift += width
        leaves[i], slots[i] = leaf, index * 64 + shift
    return leaves, slots
