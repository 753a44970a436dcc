"""A lattice on the leaves of a tree as a linear map: coefficients -> voxels, its adjoint, and its smoothness."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldcodec.lattice import basis, kernels
from fieldcodec.lattice.nodes import NodeSet

MAX_FIXED = 1 << 30
_CHUNK = 4096  # leaves evaluated at once where the result need not be kept


@dataclass(frozen=True, eq=False)
class Lattice:
    """One lattice over N leaves with n nodes."""

    nodes: NodeSet

    @staticmethod
    def over(leaf_origins: np.ndarray, stride: int, degree: int) -> "Lattice":
        """The lattice of this stride (in voxels) and degree (1 or 3) for leaves at [N, 3] origins."""
        return Lattice(NodeSet.of_leaves(leaf_origins, stride, degree))

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def num_leaves(self) -> int:
        return len(self.nodes.leaf_nodes)

    @cached_property
    def _exact_weights(self) -> np.ndarray:
        """[stride, window * 8]: `basis.leaf_weights` in the order of kernels."""
        weights = np.array(basis.leaf_weights(self.nodes.stride, self.nodes.degree))
        return np.ascontiguousarray(weights.transpose(0, 2, 1)).reshape(len(weights), -1)

    @cached_property
    def _weights(self) -> np.ndarray:
        """The same as parts of one, float32."""
        return (self._exact_weights / basis.WEIGHT_ONE).astype(np.float32)

    @cached_property
    def _taps(self) -> tuple[int, ...]:
        """Tells kernels the window, see there."""
        return tuple(range(self._exact_weights.shape[1] // 8))

    def evaluate(self, coefficients: np.ndarray) -> np.ndarray:
        """[N, 512] float32: values at all leaf voxels, of [n] coefficients."""
        values = np.empty((self.num_leaves, 512), np.float32)
        kernels.evaluate(
            len(values),
            np.asarray(coefficients, np.float32),
            self.nodes.leaf_table,
            self.nodes.leaf_phases,
            self._weights,
            self._taps,
            values,
        )
        return values

    def add_exact(
        self, integers: np.ndarray, factor: float, total: np.ndarray, leaves: slice | np.ndarray = slice(None)
    ) -> None:
        """total [N, 512] int32 += round(factor * value), kept within +-2^30; the value of [n] integers is exact.

        With `leaves`, `total` is of these rows only.

        Exact: the sum of weighted coefficients is an integer below 2^53, computed without rounding in any order;
        then one IEEE product and one rounding to the nearest integer, ties to even, follow. So the result is the
        same on every machine.
        """
        coefficients = np.asarray(integers, np.float64)
        table, phases = self.nodes.leaf_table[leaves], self.nodes.leaf_phases[leaves]
        unit = factor / float(1 << basis.VALUE_BITS)
        for start in range(0, len(total), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(total)))
            values = np.empty((rows.stop - start, 512), np.float64)
            kernels.evaluate(
                len(values), coefficients, table[rows], phases[rows], self._exact_weights, self._taps, values
            )
            sums = total[rows] + np.rint(values * unit)
            total[rows] = np.clip(sums, -MAX_FIXED, MAX_FIXED).astype(np.int32)

    def adjoint(self, values: np.ndarray) -> np.ndarray:
        """[n] float32: the transposed map of `evaluate`, of [N, 512] float32."""
        return self._adjoint(values, self._weights)

    def diagonal(self, importance: np.ndarray) -> np.ndarray:
        """[n] float32: the diagonal of `normal` for [N, 512] float32 importance."""
        return self._adjoint(importance, self._weights**2)

    def _adjoint(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        total = np.zeros(len(self), np.float32)
        table, phases = self.nodes.leaf_table, self.nodes.leaf_phases
        parts = np.empty(table.shape, np.float32)
        kernels.adjoint(len(table), np.ascontiguousarray(values, np.float32), table, phases, weights, self._taps, parts)
        kernels.scatter(parts, table, total)
        return total

    def normal(self, coefficients: np.ndarray, importance: np.ndarray, scale: float) -> np.ndarray:
        """[n] float32: adjoint(importance * scale * evaluate(coefficients)); importance [N, 512] uint8."""
        total = np.zeros(len(self), np.float32)
        table, phases = self.nodes.leaf_table, self.nodes.leaf_phases
        parts = np.empty(table.shape, np.float32)
        kernels.normal(
            len(table), coefficients, importance, np.float32(scale), table, phases, self._weights, self._taps, parts
        )
        kernels.scatter(parts, table, total)
        return total

    @cached_property
    def neighbours(self) -> np.ndarray:
        """[n, 3, 2] int32: the nodes before and after each node along each axis, -1 where there is none."""
        steps = np.eye(3, dtype=np.int64)
        sides = [self.nodes.find(self.nodes.cells + sign * step) for step in steps for sign in (-1, 1)]
        return np.ascontiguousarray(np.stack(sides, axis=1).reshape(-1, 3, 2))
