"""The normal equations of a lattice's least squares, and their solution by conjugate gradients.

    (A^T W A + smoothness B^T D B) coefficients = A^T W target

    A: coefficients -> voxels    W: importance of voxels
    B: second differences        D: their weights

No matrix is ever formed. What an implementation promises: it keeps all vectors where it computes, as arrays of one
library, float32, that know + - * /; sums over all coefficients are scalars of at least float32's precision on the
same device, and nothing but `array` and `float(...)` makes the host wait for that device. Sums may be taken in any
order: coefficients are rounded to integers afterwards, and a decoder never comes here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from fieldcodec.lattice.operator import Lattice

Vector = Any  # [n] float32, one entry a node, of the implementation's library
Scalar = Any  # of that library, on its device
DIAGONAL_FLOOR = 1e-4  # of voxels' part: below it, rounding errors of the residual would be blown up
SMALLEST = 1e-30  # what is divided by


class NormalEquations(ABC):
    """Of one channel; second differences begin with a weight of 1.

    Attributes:
        right: A^T W target.
        patience: steps of a solve between two looks at its residual, for which the host waits.
    """

    right: Vector
    patience: int = 1

    @abstractmethod
    def vector(self, values: np.ndarray) -> Vector:
        """[n] numbers of any type as a vector."""

    @abstractmethod
    def array(self, vector: Vector) -> np.ndarray:
        """A vector as [n] float32; may share its memory."""

    @abstractmethod
    def local_means(self, target: np.ndarray) -> Vector:
        """Around every node the mean of the target [N, 512] with the spline's weights, a first guess."""

    @abstractmethod
    def apply(self, vector: Vector) -> Vector:
        """The left side's matrix times a vector; a new one."""

    @abstractmethod
    def diagonal(self) -> Vector:
        """The left side's diagonal, voxels' part at least DIAGONAL_FLOOR; a new vector."""

    @abstractmethod
    def reweight(self, vector: Vector, bend: float) -> None:
        """Weights of second differences become 1 / (1 + (difference / bend)^2)."""

    @abstractmethod
    def dot(self, one: Vector, other: Vector) -> Scalar:
        """Sum of products."""

    @abstractmethod
    def quotient(self, above: Scalar, below: Scalar) -> Scalar:
        """above / max(below, SMALLEST), to be multiplied with vectors."""

    @abstractmethod
    def rounded(self, vector: Vector, step: float, rows: Vector) -> Vector:
        """A new vector, entries where `rows` is true rounded to multiples of `step`."""

    def solve(self, values: Vector, iterations: int, tolerance: float, free: Vector | None = None) -> Vector:
        """Conjugate gradients with the diagonal as preconditioner.

        Args:
            values: where to begin.
            tolerance: ends the solve when the residual has fallen by this factor.
            free: 0 where a value must stay, else 1; None where all are free.
        """
        inverse = (1 if free is None else free) / self.diagonal()
        rest = self.right - self.apply(values)
        direction = ready = rest * inverse
        product = first = self.dot(rest, ready)
        for done in range(iterations):
            if done and done % self.patience == 0 and float(product) <= float(first) * tolerance * tolerance:
                break
            along = self.apply(direction)
            length = self.quotient(product, self.dot(direction, along))  # 0 once the residual is
            values = values + length * direction
            rest -= length * along
            ready = rest * inverse
            before, product = product, self.dot(rest, ready)
            direction = ready + self.quotient(product, before) * direction
        return values


MakeEquations = Callable[[Lattice, np.ndarray, np.ndarray, float, float], NormalEquations]
"""(lattice, target [N, 512] floats, importance [N, 512] uint8, weight of an importance of 1, smoothness)."""
