"""Find nodes by their origin, many at a time."""

from typing import final

import numpy as np


@final
class OriginTable:
    """Rows of a list of distinct origins, found by coordinates.

    Exact over the whole int32 range: three coordinates of 32 bits do not fit one 64-bit key, so each
    axis is numbered first and the numbers are combined, which always fits.
    """

    def __init__(self, origins: np.ndarray) -> None:
        """`origins`: [n, 3] integers, distinct, in any order."""
        self._axes, numbers = [], []
        for axis in range(3):
            values, number = np.unique(np.asarray(origins)[:, axis], return_inverse=True)
            self._axes.append(values)
            numbers.append(number)
        self._pairs, pair = np.unique(numbers[0] * len(self._axes[1]) + numbers[1], return_inverse=True)
        keys = pair * len(self._axes[2]) + numbers[2]
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, origins: np.ndarray) -> np.ndarray:
        """[m, 3] integers -> [m] int64: the row of each origin, -1 where there is none."""
        origins = np.asarray(origins)
        if not len(self) or not len(origins):
            return np.full(len(origins), -1, np.int64)
        x, known_x = _position(self._axes[0], origins[:, 0])
        y, known_y = _position(self._axes[1], origins[:, 1])
        z, known_z = _position(self._axes[2], origins[:, 2])
        pair, known_pair = _position(self._pairs, x * len(self._axes[1]) + y)
        place, known = _position(self._keys, pair * len(self._axes[2]) + z)
        known &= known_x & known_y & known_z & known_pair
        return np.where(known, self._order[place], -1)


def _position(table: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of values in a sorted table (clipped to it), and whether each is really there."""
    place = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return place, table[place] == values
