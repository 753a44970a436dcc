"""Least squares on a lattice: the coefficients that fit leaf voxels best at few bits, and their rounding.

    minimise  sum over voxels       importance (value - target)^2
            + sum over nodes, axes  smoothness w (second difference)^2

Solved by conjugate gradients without ever forming the matrix. The second term stands for the rate: a coder that
predicts a coefficient from its neighbours pays for what the prediction misses, about the logarithm of it. Its
weights w = 1 / (1 + (difference / bend)^2) are renewed a few times, which turns the sum of squares into one of
logarithms (iteratively reweighted least squares). Coefficients that hardly any voxel depends on, such as those at
the rim of a narrow band, then follow their neighbours and cost next to nothing.
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.lattice import basis
from fieldcodec.lattice.bending import add_bend_diagonal, bend, reweight, unbend
from fieldcodec.lattice.operator import Lattice

IMPORTANCE_ONE = 16  # the importance of an ordinary voxel
_SCALE = np.float32(1 / IMPORTANCE_ONE)
_FLOOR = np.float32(1e-4)  # of the preconditioner: below it, rounding errors of the residual would be blown up
_CLASS_ORDER = (0, 7, 3, 4, 5, 2, 1, 6)  # parities of nodes (x + 2 y + 4 z), opposite ones after each other


@dataclass(frozen=True)
class FitOptions:
    """How a lattice is fitted.

    Attributes:
        smoothness: weight of the second term, against voxels of importance 1.
        bend: second differences well below it cost in proportion to their square, those above hardly more;
            in the target's units. 0 leaves all weights at 1.
        rounds: times the weights are renewed.
        iterations: conjugate gradient steps of the first solve; later rounds take a third of them.
        tolerance: ends a solve when the residual has fallen by this factor.
    """

    smoothness: float = 0.05
    bend: float = 0.0
    rounds: int = 1
    iterations: int = 24
    tolerance: float = 1e-4


class LatticeFit:
    """One channel of one lattice fitted to leaf voxels.

    Args:
        target: [N, 512] float32.
        importance: [N, 512] uint8, in 1/16.

    Attributes:
        coefficients: [n] float32, the solution before rounding.
    """

    def __init__(self, lattice: Lattice, target: np.ndarray, importance: np.ndarray, options: FitOptions) -> None:
        self._lattice, self._importance, self._options = lattice, importance, options
        scaled = importance * _SCALE
        self._right = lattice.adjoint(target * scaled)
        self._voxel_diagonal = np.maximum(lattice.diagonal(scaled), _FLOOR)
        self._bends = (lattice.neighbours >= 0).all(axis=2).astype(np.float32)  # weights of second differences
        self.coefficients = self._solve(_local_means(lattice, target), options.iterations, options.tolerance)
        for _ in range(options.rounds if options.bend > 0 else 0):
            reweight(self.coefficients, lattice.neighbours, np.float32(1 / options.bend), self._bends)
            self.coefficients = self._solve(self.coefficients, max(4, options.iterations // 3), options.tolerance)

    def quantised(self, step: float, iterations: int = 2) -> np.ndarray:
        """[n] int32: coefficients in multiples of `step`.

        The eight parities of nodes are rounded one after the other; after each, the nodes that are not yet rounded
        are fitted again by a few steps, so that they make good what rounding did. At the same step this takes away
        about two thirds of the error that rounding adds.
        """
        parity = (self._lattice.nodes.cells & 1) @ np.array([1, 2, 4])
        values, free = self.coefficients.copy(), np.ones(len(self.coefficients), np.float32)
        for chosen in _CLASS_ORDER:
            rows = parity == chosen
            values[rows] = np.rint(values[rows] / np.float32(step)) * np.float32(step)
            free[rows] = 0
            if iterations and chosen != _CLASS_ORDER[-1]:
                values = self._solve(values, iterations, 0.0, free)
        limit = basis.MAX_COEFFICIENT
        return np.clip(np.rint(values / np.float32(step)), -limit, limit).astype(np.int32)

    def _apply(self, coefficients: np.ndarray) -> np.ndarray:
        lattice = self._lattice
        result = lattice.normal(coefficients, self._importance, float(_SCALE))
        bent = np.empty_like(self._bends)
        bend(coefficients, lattice.neighbours, self._bends, bent)
        unbend(bent, lattice.neighbours, np.float32(self._options.smoothness), result)
        return result

    def _solve(
        self, values: np.ndarray, iterations: int, tolerance: float, free: np.ndarray | None = None
    ) -> np.ndarray:
        """Conjugate gradients with the diagonal as preconditioner; `free` [n] is 0 where a value must stay."""
        diagonal = self._voxel_diagonal.copy()
        add_bend_diagonal(self._bends, self._lattice.neighbours, np.float32(self._options.smoothness), diagonal)
        inverse = 1 / diagonal if free is None else free / diagonal
        rest = self._right - self._apply(values)
        ready = rest * inverse
        direction = ready.copy()
        product = first = float(np.dot(rest, ready))
        for _ in range(iterations):
            if product <= first * tolerance * tolerance or product <= 0:
                break
            along = self._apply(direction)
            length = np.float32(product / max(float(np.dot(direction, along)), 1e-30))
            values = values + length * direction
            rest -= length * along
            ready = rest * inverse
            before, product = product, float(np.dot(rest, ready))
            direction = ready + np.float32(product / before) * direction
        return values


def _local_means(lattice: Lattice, target: np.ndarray) -> np.ndarray:
    """[n]: around every node the mean of the target with the spline's weights, a first guess."""
    return lattice.adjoint(target) / np.maximum(lattice.adjoint(np.ones_like(target)), np.float32(1e-9))
