"""Numbers of an earlier frame at displaced places, and the mending of distances."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from typing import final

import numpy as np

from fieldcodec.testing.oracle.leaf_masks import Origin

MOST = 1 << 30
_FARTHEST = 1 << 24  # of motion, in 1/1024 voxel
_SPREAD = 12
_HALF_WIDTHS = 4
_PASSES = 24
_HALF = 1 << 11
_VOXELS = np.array(list(product(range(8), repeat=3)))


@final
@dataclass(frozen=True)
class Earlier:
    """[512] numbers of each leaf, as int64; `fill` where there are none; distances go on where there are none."""

    leaves: Mapping[Origin, np.ndarray]
    fill: int
    distances: bool

    @property
    def most(self) -> int:
        """Limit of results: of distances some half widths of their band."""
        return min(_HALF_WIDTHS * abs(self.fill), MOST) if self.distances else MOST

    def at(self, origins: Sequence[Origin], motion: np.ndarray) -> np.ndarray:
        """[n, 512] int64, displaced by motion [3, n, 512] in 1/1024 voxel."""
        rows = [self._leaf(origin, motion[:, row])[0] for row, origin in enumerate(origins)]
        return np.array(rows, np.int64).reshape(-1, 512)

    def mended(self, origins: Sequence[Origin], slope: float) -> np.ndarray:
        """[n, 512] int64: distances of its own leaves."""
        return np.array([self._mended(origin, slope) for origin in origins], np.int64).reshape(-1, 512)

    def _mended(self, origin: Origin, slope: float) -> np.ndarray:
        numbers, gradient = self._leaf(origin, np.zeros((3, 512), np.int64))
        feet = np.zeros((3, 512), np.int64)
        for voxel in range(512):
            x, y, z = (float(np.float32(gradient[axis, voxel])) for axis in range(3))
            square = x * x + y * y + z * z
            size = abs(float(numbers[voxel])) / slope
            if 0.3 * slope * slope < square < 3.0 * slope * slope and 0.5 < size < 6:
                step = -float(numbers[voxel]) / (slope * math.sqrt(square)) * 1024
                feet[:, voxel] = [round(step * each) for each in (x, y, z)]
        there, _ = self._leaf(origin, feet, stretch=False)
        moved = (feet != 0).any(axis=0) & (np.abs(there) < 2.5 * slope)
        return np.clip(np.where(moved, numbers + there, numbers), -self.most, self.most)

    def _leaf(self, origin: Origin, motion: np.ndarray, *, stretch: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """[512] numbers and [3, 512] their slopes by the displacement, int64."""
        motion = np.clip(motion.astype(np.int64), -_FARTHEST, _FARTHEST)
        whole, part = motion >> 10, motion & 1023
        low = whole.min(axis=1)
        whole = np.minimum(whole, low[:, None] + _SPREAD)
        window = self._window(np.array(origin) + low - 1, 12 + whole.max(axis=1) - low)
        first = _VOXELS.T + whole - low[:, None]  # of four taps along each axis, in the window
        weights, slopes = _tables()
        near = [weights[part[axis]] for axis in range(3)]
        numbers = _spline(window, first, near)
        steep = [slopes[part[axis]] for axis in range(3)]
        gradient = np.array([_spline(window, first, [*near[:a], steep[a], *near[a + 1 :]]) for a in range(3)])
        if self.distances and stretch:
            ratios = [_ratio(motion, voxel, gradient[:, voxel].tolist()) for voxel in range(512)]
            numbers = np.rint(numbers * np.array(ratios)).astype(np.int64)
        return np.clip(numbers, -self.most, self.most), gradient

    def _window(self, corner: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        window, known = np.zeros(sizes, np.int64), np.zeros(sizes, bool)
        last = corner + sizes - 1
        for cell in product(*(range(int(a) >> 3, (int(b) >> 3) + 1) for a, b in zip(corner, last, strict=True))):
            leaf = np.array(cell) * 8
            numbers = self.leaves.get((int(leaf[0]), int(leaf[1]), int(leaf[2])))
            if numbers is not None:
                start, stop = np.maximum(leaf, corner), np.minimum(leaf + 7, last) + 1
                of_window = tuple(slice(a, b) for a, b in zip(start - corner, stop - corner, strict=True))
                of_leaf = tuple(slice(a, b) for a, b in zip(start - leaf, stop - leaf, strict=True))
                window[of_window], known[of_window] = numbers.reshape(8, 8, 8)[of_leaf], True
        for _ in range(_PASSES if self.distances else 0):
            window, known = _gone_on(window, known, self.most)
        return np.where(known, window, self.fill)


def _gone_on(window: np.ndarray, known: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Straight lines through two known voxels in a row, one voxel on."""
    total, count = np.zeros_like(window), np.zeros_like(window)
    for axis, side in product(range(3), (False, True)):
        lines, seen = (np.flip(a, axis) if side else a for a in (window, known))
        lines, seen = np.moveaxis(lines, axis, 0), np.moveaxis(seen, axis, 0)
        both = seen[1:-1] & seen[:-2]
        sums, counts = (np.moveaxis(np.flip(a, axis) if side else a, axis, 0) for a in (total, count))
        sums[2:] += np.where(both, 2 * lines[1:-1] - lines[:-2], 0)
        counts[2:] += both
    new = ~known & (count > 0)
    said = np.clip(total // np.maximum(count, 1), -most, most)
    return np.where(new, said, window), known | new


def _spline(window: np.ndarray, first: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """[512]: z within y within x, each sum rounded to the nearest, halves up."""
    x, y, z = first
    total = np.zeros(512, np.int64)
    for i in range(4):
        plane = np.zeros(512, np.int64)
        for j in range(4):
            line = sum((weights[2][:, k] * window[x + i, y + j, z + k] for k in range(4)), np.zeros(512, np.int64))
            plane += weights[1][:, j] * (line + _HALF >> 12)
        total += weights[0][:, i] * (plane + _HALF >> 12)
    return total + _HALF >> 12


@cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """[1024, 4] weights of the spline in 1/4096, and of its slope."""
    weights, slopes = [], []
    for place in range(1024):
        t = Fraction(place, 1024)
        weights.append(_whole([(-t + 2 * t**2 - t**3) / 2, (2 - 5 * t**2 + 3 * t**3) / 2,
                               (t + 4 * t**2 - 3 * t**3) / 2, (t**3 - t**2) / 2], 4096))  # fmt: skip
        slopes.append(_whole([(-1 + 4 * t - 3 * t**2) / 2, (9 * t**2 - 10 * t) / 2,
                              (1 + 8 * t - 9 * t**2) / 2, (3 * t**2 - 2 * t) / 2], 0))  # fmt: skip
    return np.array(weights), np.array(slopes)


def _whole(exact: Sequence[Fraction], total: int) -> list[int]:
    numbers = [round(4096 * each) for each in exact]
    numbers[numbers.index(max(numbers))] += total - sum(numbers)
    return numbers


def _ratio(motion: np.ndarray, voxel: int, gradient: list[int]) -> float:
    """By which the numbers' slope grows when space is displaced, upside down."""
    while max(abs(g) for g in gradient) >= 1 << 20:
        gradient = [g >> 1 for g in gradient]
    before = sum(g * g for g in gradient)
    after = 0
    for along, stride in enumerate((64, 8, 1)):
        place = voxel // stride % 8
        least, most = (voxel - stride * (place > 0)), (voxel + stride * (place < 7))
        twice = 2 if place in (0, 7) else 1
        growth = [twice * int(motion[axis, most] - motion[axis, least]) for axis in range(3)]
        total = 2048 * gradient[along] + sum(g * m for g, m in zip(gradient, growth, strict=True)) >> 9
        after += min(max(total, -(1 << 24)), 1 << 24) ** 2
    if before == 0 or after == 0:
        return 1.0
    return min(max(math.sqrt(16.0 * before / after), 0.5), 2.0)
