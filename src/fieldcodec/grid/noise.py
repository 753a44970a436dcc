"""Fractal value noise: smooth random numbers over space, the same for the same seed."""

from typing import final

import numpy as np

_SIDE = 32  # the lattice of random values repeats after this many cells; a power of two
_GAIN = 0.55  # of the amplitude from one octave to the next, twice as fine


@final
class FractalNoise:
    """Sum of octaves of value noise (random values at lattice points, quintic interpolation), in [-1, 1]."""

    largest = 1.0  # no value is larger in size

    def __init__(self, seed: int, octaves: int) -> None:
        rng = np.random.default_rng(seed)
        self._lattice = rng.uniform(-1, 1, (_SIDE,) * 3).astype(np.float32)
        self._shifts = rng.uniform(0, _SIDE, (octaves, 3))
        weights = _GAIN ** np.arange(octaves)
        self._weights = (weights / weights.sum()).astype(np.float32)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """[q, 3] points, one lattice cell of the coarsest octave to the unit -> [q] float32."""
        total = np.zeros(len(points), np.float32)
        for octave, (shift, weight) in enumerate(zip(self._shifts, self._weights, strict=True)):
            total += weight * self._smooth(points * 2.0**octave + shift)
        return total

    def _smooth(self, points: np.ndarray) -> np.ndarray:
        cell = np.floor(points)
        t = (points - cell).astype(np.float32)
        t = t * t * t * (t * (t * 6 - 15) + 10)
        low = cell.astype(np.int64) & (_SIDE - 1)
        steps = np.array([_SIDE * _SIDE, _SIDE, 1])
        near, far = low * steps, ((low + 1) & (_SIDE - 1)) * steps
        flat = self._lattice.reshape(-1)
        across = []  # along z first, then y, then x
        for x, y in ((near, near), (near, far), (far, near), (far, far)):
            column = x[:, 0] + y[:, 1]
            across.append(_mix(flat[column + near[:, 2]], flat[column + far[:, 2]], t[:, 2]))
        return _mix(_mix(across[0], across[1], t[:, 1]), _mix(across[2], across[3], t[:, 1]), t[:, 0])


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + share * (b - a)
