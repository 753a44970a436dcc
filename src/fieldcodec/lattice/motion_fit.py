"""Finding the motion between two frames: Gauss-Newton on the coefficients of a lattice.

    minimise  sum over voxels  importance (R(x + m(x)) - target(x))^2  +  smoothness sum of (second differences)^2

Only the part of the motion along the gradient is told by the values; the second term decides the rest.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldcodec.lattice.bending import add_bend_diagonal, bend, unbend
from fieldcodec.lattice.operator import Lattice
from fieldcodec.lattice.warp import PLACE_ONE, Earlier, motion_at

_DIAGONAL_FLOOR = 1e-3


@dataclass(frozen=True)
class MotionOptions:
    """How motion is sought.

    Attributes:
        smoothness: weights of the second term, one Gauss-Newton step each; strong ones first, so that what is far
            off is found before details are.
        iterations: of conjugate gradients in a step.
    """

    smoothness: tuple[float, ...] = (30.0, 3.0, 0.3, 0.1)
    iterations: int = 12


def fit_motion(
    earlier: Earlier, unit: float, lattice: Lattice, origins: np.ndarray, target: np.ndarray, importance: np.ndarray,
    options: MotionOptions, start: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """[3, nodes] float32: coefficients in voxels.

    Args:
        unit: of the earlier frame's numbers, in those of the target.
        lattice, origins: of the leaves [n, 3] that are looked at.
        target: [C, n, 512] float32.
        importance: [n, 512] float32.
        start: [3, nodes] float32, where to begin; bending is measured against it.
    """
    coefficients = start
    for smoothness in options.smoothness:
        integers = np.rint(coefficients * PLACE_ONE).astype(np.int32)
        found, slopes = _linearised(earlier, unit, lattice, origins, integers)
        bent = coefficients - start
        step = _solve(lattice, found, slopes, target, importance, bent, smoothness, options.iterations)
        coefficients = coefficients + step
    return coefficients


def _linearised(
    earlier: Earlier, unit: float, lattice: Lattice, origins: np.ndarray, integers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values [C, n, 512] at the displaced places, and their slopes [C, 3, n, 512] per voxel, float32."""
    motion = motion_at(lattice, integers, 1)
    channels = [earlier.linearised(channel, origins, motion) for channel in range(len(earlier.numbers))]
    values = np.stack([of_channel * np.float32(unit) for of_channel, _ in channels])
    return values, np.stack([slopes for _, slopes in channels]) * np.float32(unit)


def _solve(
    lattice: Lattice, found: np.ndarray, slopes: np.ndarray, target: np.ndarray, importance: np.ndarray,
    coefficients: np.ndarray, smoothness: float, iterations: int,
) -> np.ndarray:  # fmt: skip
    """The change of the coefficients: conjugate gradients with the diagonal as preconditioner.

    Args:
        coefficients: [3, nodes], whose bending the second term is of.
    """
    system = _System(lattice, slopes, importance, np.float32(smoothness))
    rest = system.right(target - found) - system.bent(coefficients)
    inverse = 1 / system.diagonal()
    change = np.zeros_like(coefficients)
    ready = rest * inverse
    direction, product = ready, float(np.vdot(rest, ready))
    for _ in range(iterations):
        along = system.apply(direction)
        length = np.float32(product / max(float(np.vdot(direction, along)), 1e-30))
        change += length * direction
        rest -= length * along
        ready = rest * inverse
        before, product = product, float(np.vdot(rest, ready))
        direction = ready + np.float32(product / max(before, 1e-30)) * direction
    return change


@dataclass(frozen=True, eq=False)
class _System:
    """The normal equations of one step; three channels that the slopes couple."""

    lattice: Lattice
    slopes: np.ndarray
    importance: np.ndarray
    smoothness: np.float32

    @cached_property
    def bends(self) -> np.ndarray:
        """[nodes, 3] float32: weights of second differences, 0 where a node has no two neighbours along an axis."""
        return np.asarray((self.lattice.neighbours >= 0).all(axis=2), np.float32)

    def right(self, rest: np.ndarray) -> np.ndarray:
        """[3, nodes] of [C, n, 512]."""
        weighted = rest * self.importance
        return np.stack([self.lattice.adjoint((self.slopes[:, k] * weighted).sum(axis=0)) for k in range(3)])

    def apply(self, direction: np.ndarray) -> np.ndarray:
        """The matrix times [3, nodes]."""
        moved = np.stack([self.lattice.evaluate(of_axis) for of_axis in direction])
        return self.right((self.slopes * moved).sum(axis=1)) + self.bent(direction)

    def bent(self, coefficients: np.ndarray) -> np.ndarray:
        """The smoothness term's matrix times [3, nodes]."""
        neighbours, result = self.lattice.neighbours, np.zeros_like(coefficients)
        for of_axis, out in zip(coefficients, result, strict=True):
            bent = np.empty_like(self.bends)
            bend(len(out), np.ascontiguousarray(of_axis), neighbours, self.bends, bent)
            unbend(len(out), bent, neighbours, self.smoothness, out)
        return result

    def diagonal(self) -> np.ndarray:
        """[3, nodes]"""
        squares = (self.slopes**2 * self.importance[None, None]).sum(axis=0)
        result = np.stack([np.maximum(self.lattice.diagonal(of_axis), _DIAGONAL_FLOOR) for of_axis in squares])
        for out in result:
            add_bend_diagonal(len(out), self.bends, self.lattice.neighbours, self.smoothness, out)
        return result
