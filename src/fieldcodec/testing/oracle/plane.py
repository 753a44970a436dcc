"""Neighbours of a lattice's node, and the plane through them."""

from collections.abc import Sequence
from functools import lru_cache

Cell = tuple[int, int, int]

STEPS: list[Cell] = [
    (-1, 0, 0), (0, -1, 0), (0, 0, -1),
    (-1, -1, 0), (-1, 0, -1), (-1, 0, 1), (-1, 1, 0), (0, -1, -1), (0, -1, 1),
    (-1, -1, -1), (-1, -1, 1), (-1, 1, -1), (-1, 1, 1),
    (-2, 0, 0), (0, -2, 0), (0, 0, -2),
]  # fmt: skip
FIT = [36] * 3 + [9] * 6 + [4] * 4 + [2] * 3
NEAR = [2] * 3 + [1] * 6
ADJACENT = 13

_Matrix = list[list[int]]


def fit_plane(values: Sequence[int | None], rough: bool) -> tuple[int, list[int]]:
    """The plane's value, and what it leaves at each neighbour; `values` are theirs, None where there is none."""
    weights = _plane_weights(tuple(value is not None for value in values), 160 if rough else 2)
    sums = [sum(w * v for w, v in zip(row, values, strict=True) if v is not None) for row in weights]
    left = []
    for (dx, dy, dz), value in zip(STEPS, values, strict=True):
        here = sums[0] + sums[1] * dx + sums[2] * dy + sums[3] * dz + 512 >> 10
        left.append(0 if value is None else min(max((value << 6) - here, -(1 << 20)), 1 << 20))
    return sums[0] + 512 >> 10, left


@lru_cache(maxsize=1 << 16)
def _plane_weights(exists: tuple[bool, ...], flatness: int) -> _Matrix:
    """[4][16] in 1/65536."""
    if not any(exists):
        return [[0] * 16 for _ in range(4)]
    matrix = [[flatness * (a == b > 0) for b in range(4)] for a in range(4)]
    for step, fit, is_there in zip(STEPS, FIT, exists, strict=True):
        g = (1, *step)
        if is_there:
            matrix = [[matrix[a][b] + fit * g[a] * g[b] for b in range(4)] for a in range(4)]
    determinant = _determinant(matrix)
    # the matrix is symmetric, and so is its adjugate
    adjugate = [[(-1) ** (a + b) * _determinant(_minor(matrix, a, b)) for b in range(4)] for a in range(4)]
    weights = [[0] * 16 for _ in range(4)]
    for k, is_there in enumerate(exists):
        if is_there:
            g = (1, *STEPS[k])
            for a in range(4):
                product = sum(x * y for x, y in zip(adjugate[a], g, strict=True))
                weights[a][k] = (product * FIT[k] << 16) // determinant
    return weights


def _minor(matrix: _Matrix, row: int, column: int) -> _Matrix:
    return [[x for j, x in enumerate(numbers) if j != column] for i, numbers in enumerate(matrix) if i != row]


def _determinant(matrix: _Matrix) -> int:
    if len(matrix) == 1:
        return matrix[0][0]
    return sum((-1) ** j * x * _determinant(_minor(matrix, 0, j)) for j, x in enumerate(matrix[0]))
