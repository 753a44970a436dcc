"""The order in which voxels with residuals are coded, and what is known when each one is.

Voxels are coded from coarse to fine: first those whose coordinates are multiples of 8, then, for the
strides 4, 2 and 1, those halfway along z, halfway along y and halfway along x. A pass visits all leaves
of its group, so most voxels have decoded neighbours on both sides (the order of SZ3's interpolation).
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

NUM_PASSES = 10
MAX_TAPS = 24
MAX_WINDOW = 12**3
WEIGHT_BITS = 9
WEIGHT_LIMIT = 4 << WEIGHT_BITS
_FIRST_AXIS = 3  # in the first pass no axis has known voxels on both sides


class Passes(NamedTuple):
    """Tables of the ten passes, the same for every file.

    What is known around a leaf is gathered into a window: a cube of voxels one stride apart, the leaf's own
    in the middle and a halo around them. Places in it are flat indices.

    Attributes:
        shape: [10, 4] int64 per pass: stride, side and halo of its window, number of neighbours.
        starts: [11] int64: the range of each pass in `voxels` and `places`.
        voxels: [512] int64: number of a voxel in its leaf.
        places: [512] int64: its place in the window.
        taps: [10, 24] int64: neighbours known by then, nearest first, as differences of places.
        shares: [10, 24] int64: weight of each neighbour in local means, 24 / squared distance.
    """

    shape: np.ndarray
    starts: np.ndarray
    voxels: np.ndarray
    places: np.ndarray
    taps: np.ndarray
    shares: np.ndarray


@cache
def passes() -> Passes:
    """The tables."""
    zeros = (np.zeros(size, np.int64) for size in ((NUM_PASSES, 4), NUM_PASSES + 1, 512, 512))
    result = Passes(*zeros, *(np.zeros((NUM_PASSES, MAX_TAPS), np.int64) for _ in range(2)))
    at = 0
    for number in range(NUM_PASSES):
        stride, axis = (8, _FIRST_AXIS) if number == 0 else (4 >> (number - 1) // 3, 2 - (number - 1) % 3)
        halo = 1 if number == 0 else 2
        side = 8 // stride + 2 * halo
        taps = neighbours(axis)
        result.shape[number] = stride, side, halo, len(taps)
        for i, (x, y, z) in enumerate(taps):
            result.taps[number, i] = (x * side + y) * side + z
            result.shares[number, i] = 24 // (x * x + y * y + z * z)
        for x, y, z in product(range(8 // stride), repeat=3):
            odd = (x & 1, y & 1, z & 1)
            if axis == _FIRST_AXIS or (odd[axis] and not any(odd[:axis])):
                result.voxels[at] = ((x * 8 + y) * 8 + z) * stride
                result.places[at] = ((x + halo) * side + y + halo) * side + z + halo
                at += 1
        result.starts[number + 1] = at
    for table in result:
        table.setflags(write=False)
    return result


def neighbours(axis: int) -> list[tuple[int, int, int]]:
    """Offsets in strides of the neighbours that are known, nearest first, for voxels halfway along an axis."""
    reach = 1 if axis == _FIRST_AXIS else 2
    found: list[tuple[int, int, int]] = []
    for x, y, z in product(range(-reach, reach + 1), repeat=3):
        offset = (x, y, z)
        if axis < _FIRST_AXIS and any(c & 1 for c in offset[:axis]):
            continue  # coded by a later pass
        in_earlier_pass = axis < _FIRST_AXIS and offset[axis] & 1
        if (in_earlier_pass or offset < (0, 0, 0)) and sum(c * c for c in offset) <= 6:
            found.append(offset)
    return sorted(found, key=lambda offset: (sum(c * c for c in offset), offset))[:MAX_TAPS]


def plain_weights() -> np.ndarray:
    """[10, 24] int64: weights of neighbours where none are stored: about the mean of the nearest ones."""
    weights = np.zeros((NUM_PASSES, MAX_TAPS), np.int64)
    for number, shares in enumerate(passes().shares):
        nearest = int(np.count_nonzero(shares == 24))
        weights[number, :nearest] = (1 << WEIGHT_BITS) // (nearest + 1)
    return weights
