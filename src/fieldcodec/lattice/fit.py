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
from fieldcodec.lattice.equations import MakeEquations
from fieldcodec.lattice.host_equations import HostEquations
from fieldcodec.lattice.operator import Lattice

IMPORTANCE_ONE = 16  # the importance of an ordinary voxel
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
        target: [N, 512] floats.
        importance: [N, 512] uint8, in 1/16.
        make_equations: where and how the equations are solved; on the CPU unless another is given.
    """

    def __init__(
        self,
        lattice: Lattice,
        target: np.ndarray,
        importance: np.ndarray,
        options: FitOptions,
        make_equations: MakeEquations = HostEquations,
    ) -> None:
        self._lattice = lattice
        equations = make_equations(lattice, target, importance, 1 / IMPORTANCE_ONE, options.smoothness)
        values = equations.solve(equations.local_means(target), options.iterations, options.tolerance)
        for _ in range(options.rounds if options.bend > 0 else 0):
            equations.reweight(values, options.bend)
            values = equations.solve(values, max(4, options.iterations // 3), options.tolerance)
        self._equations, self._solution = equations, values

    @property
    def coefficients(self) -> np.ndarray:
        """[n] float32, the solution before rounding."""
        return self._equations.array(self._solution)

    def quantised(self, step: float, iterations: int = 2) -> np.ndarray:
        """[n] int32: coefficients in multiples of `step`.

        The eight parities of nodes are rounded one after the other; after each, the nodes that are not yet rounded
        are fitted again by a few steps, so that they make good what rounding did. At the same step this takes away
        about two thirds of the error that rounding adds.
        """
        equations, values = self._equations, self._solution
        parity = equations.vector((self._lattice.nodes.cells & 1) @ np.array([1, 2, 4]))
        free = equations.vector(np.ones(len(self._lattice), np.float32))
        for chosen in _CLASS_ORDER:
            values = equations.rounded(values, step, parity == chosen)
            free = free * (parity != chosen)
            if iterations and chosen != _CLASS_ORDER[-1]:
                values = equations.solve(values, iterations, 0.0, free)
        limit = basis.MAX_COEFFICIENT
        return np.clip(np.rint(equations.array(values) / np.float32(step)), -limit, limit).astype(np.int32)
