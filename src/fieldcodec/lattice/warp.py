"""Motion compensation: what an earlier frame says of the leaves of a later one, in integers.

    prediction(x) = R(x + m(x)),   m = motion of the leaves, R = numbers of the earlier frame's leaves

m is a lattice of three channels (backward motion: it points from a voxel to where its matter came from), and R is
interpolated by Catmull-Rom splines. Everything is an integer, so what is coded with a prediction decodes exactly.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property

import numpy as np

from fieldcodec.coding.neighbours import cells_and_table
from fieldcodec.lattice import warp_kernels as kernels
from fieldcodec.lattice.operator import MAX_FIXED, Lattice
from fieldcodec.lattice.slope_kernels import slopes_at_rest

PLACE_ONE = 1 << kernels.PLACE_BITS  # of motion: a voxel
MAX_MOTION = 1 << 24  # 16,384 voxels
_LARGEST_REPAIR = 2.5  # voxels
_FARTHEST = 4  # half widths of a band, beyond which a distance is kept as that


@dataclass(frozen=True, eq=False)
class Earlier:
    """Numbers of an earlier frame.

    Attributes:
        origins: [N, 3] int32, of its leaves.
        numbers: [C, N, 512] int32.
        fill: [C] int32: the number where it has no leaves; of distances, the half width of their band.
        distances: numbers are distances: they go on along straight lines where there are no leaves, and motion that
            stretches space stretches them.
    """

    origins: np.ndarray
    numbers: np.ndarray
    fill: np.ndarray
    distances: bool

    def limit(self, channel: int) -> int:
        """What the results of a channel are kept within: distances beyond some half widths tell nothing."""
        return min(_FARTHEST * abs(int(self.fill[channel])), MAX_FIXED) if self.distances else MAX_FIXED

    @cached_property
    def _cells_and_table(self) -> tuple[np.ndarray, np.ndarray]:
        return cells_and_table(self.origins, 3)

    def at(self, origins: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """[C, n, 512] int32: numbers at the voxels of leaves at [n, 3] origins, displaced.

        Args:
            motion: [3, n, 512] int32, in 1/1024 voxel.
        """
        result = np.empty((len(self.numbers), len(origins), 512), np.int32)
        for channel, out in enumerate(result):
            self._warp(channel, origins, motion, out, np.empty((3, 0, 512), np.float32))
        return result

    def mended(self, slope: float) -> np.ndarray:
        """[1, N, 512] int32: distances of its own leaves, made to agree with the surface they are distances to.

        From a voxel x with distance d and gradient g the surface is expected at x - d g / |g|; what is found there
        instead of zero is added to d. So errors far from the surface become those near to it.

        Args:
            slope: numbers a voxel.
        """
        limit = self.limit(0)
        gradients, motion = (np.empty((3, len(self.origins), 512), kind) for kind in (np.float32, np.int32))
        slopes_at_rest(len(self.numbers[0]), self.numbers[0], *self._cells_and_table, limit, gradients)
        numbers = np.clip(self.numbers[0], -limit, limit)
        kernels.feet(len(numbers), numbers, gradients, slope, motion)
        there = np.empty_like(numbers)
        self._warp(0, self.origins, motion, there, np.empty((3, 0, 512), np.float32), stretch=False)
        kernels.mend(len(numbers), numbers, motion, there, _LARGEST_REPAIR * slope, limit)
        return numbers[None]

    def linearised(self, channel: int, origins: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[n, 512] int32 and [3, n, 512] float32: numbers of a channel and their slopes per voxel."""
        result, slopes = np.empty((len(origins), 512), np.int32), np.empty((3, len(origins), 512), np.float32)
        self._warp(channel, origins, motion, result, slopes)
        return result, slopes

    def _warp(
        self, channel: int, origins: np.ndarray, motion: np.ndarray, out: np.ndarray, slopes: np.ndarray, *,
        stretch: bool = True,
    ) -> None:  # fmt: skip
        limited = np.ascontiguousarray(np.clip(motion, -MAX_MOTION, MAX_MOTION), np.int32)
        kernels.warp(
            len(origins), self.numbers[channel], *self._cells_and_table, np.ascontiguousarray(origins, np.int64),
            limited, *_weights(), np.int32(self.fill[channel]), self.distances, self.distances and stretch,
            self.limit(channel), out, slopes,
        )  # fmt: skip


def motion_at(
    lattice: Lattice, integers: np.ndarray, step: int, leaves: slice | np.ndarray = slice(None)
) -> np.ndarray:
    """[3, n, 512] int32 in 1/1024 voxel: motion of leaves, from coefficients [3, nodes] in steps of `step` / 1024."""
    motion = np.zeros((3, len(lattice.nodes.leaf_nodes[leaves]), 512), np.int32)
    for axis in range(3):
        lattice.add_exact(integers[axis], float(step), motion[axis], leaves)
    return motion


@cache
def _weights() -> tuple[np.ndarray, np.ndarray]:
    """[1024, 4] int64: Catmull-Rom weights in 1/4096 of the numbers before, at, after and beyond a place; slopes'."""
    one = 1 << kernels.WEIGHT_BITS
    weights, slopes = np.zeros((2, PLACE_ONE, 4), np.int64)
    for place in range(PLACE_ONE):
        t = Fraction(place, PLACE_ONE)
        exact = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
        slope = [-1 + 4 * t - 3 * t**2, -10 * t + 9 * t**2, 1 + 8 * t - 9 * t**2, -2 * t + 3 * t**2]
        weights[place], slopes[place] = _rounded(exact, one), _rounded(slope, 0)
    for table in (weights, slopes):
        table.setflags(write=False)
    return weights, slopes


def _rounded(halves: list[Fraction], total: int) -> list[int]:
    """Weights given in halves as integers in 1/4096 of a given sum: the largest one takes what rounding leaves."""
    weights = [round(weight / 2 * (1 << kernels.WEIGHT_BITS)) for weight in halves]
    weights[weights.index(max(weights))] += total - sum(weights)
    return weights
