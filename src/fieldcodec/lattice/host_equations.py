"""Normal equations in compiled kernels on the CPU; the same numbers whatever the number of threads."""

import numpy as np

from fieldcodec.lattice.bending import add_bend_diagonal, bend, reweight, unbend
from fieldcodec.lattice.equations import DIAGONAL_FLOOR, SMALLEST, NormalEquations
from fieldcodec.lattice.operator import Lattice


class HostEquations(NormalEquations):
    """Vectors are numpy's.

    Args:
        target: [N, 512] floats.
        importance: [N, 512] uint8.
        scale: what an importance of 1 weighs.
        smoothness: weight of the squares of second differences.
    """

    def __init__(
        self, lattice: Lattice, target: np.ndarray, importance: np.ndarray, scale: float, smoothness: float
    ) -> None:
        self._lattice, self._importance, self._scale = lattice, importance, scale
        self._smoothness = np.float32(smoothness)
        weights = importance * np.float32(scale)
        self.right = lattice.adjoint(target * weights)
        self._voxel_diagonal = np.maximum(lattice.diagonal(weights), np.float32(DIAGONAL_FLOOR))
        self._bends = (lattice.neighbours >= 0).all(axis=2).astype(np.float32)  # [n, 3]

    def vector(self, values: np.ndarray) -> np.ndarray:
        return values

    def array(self, vector: np.ndarray) -> np.ndarray:
        return vector

    def local_means(self, target: np.ndarray) -> np.ndarray:
        lattice = self._lattice
        return lattice.adjoint(target) / np.maximum(lattice.adjoint(np.ones_like(target)), np.float32(1e-9))

    def apply(self, vector: np.ndarray) -> np.ndarray:
        lattice = self._lattice
        result = lattice.normal(vector, self._importance, self._scale)
        bent = np.empty_like(self._bends)
        bend(len(vector), vector, lattice.neighbours, self._bends, bent)
        unbend(len(vector), bent, lattice.neighbours, self._smoothness, result)
        return result

    def diagonal(self) -> np.ndarray:
        diagonal = self._voxel_diagonal.copy()
        add_bend_diagonal(len(diagonal), self._bends, self._lattice.neighbours, self._smoothness, diagonal)
        return diagonal

    def reweight(self, vector: np.ndarray, bend: float) -> None:
        reweight(len(vector), vector, self._lattice.neighbours, np.float32(1 / bend), self._bends)

    def dot(self, one: np.ndarray, other: np.ndarray) -> float:
        return float(np.dot(one, other))

    def quotient(self, above: float, below: float) -> np.float32:
        return np.float32(above / max(below, SMALLEST))

    def rounded(self, vector: np.ndarray, step: float, rows: np.ndarray) -> np.ndarray:
        return np.where(rows, np.rint(vector / np.float32(step)) * np.float32(step), vector)
