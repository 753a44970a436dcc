"""Which corners of a cubic lattice hold values: the topology of a radiance grid, apart from its values."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.radiance.field import Occupancy

MOST_CELLS = 512  # along an axis: tables over the whole box stay below about 1 GB


@final
@dataclass(frozen=True, eq=False)
class CornerLattice:
    """Corners of a box of cubic cells; a cell is live where all eight of its corners are held.

    Three kinds of coordinates: world space; lattice space, where corner (i, j, k) is the point (i, j, k) and

        world = low + lattice * cell

    and rows: held corners are numbered along z first, then y, then x, so that the corners of a slab of x are
    consecutive rows, and corner (i, j, k + 1) of a live cell follows (i, j, k).
    """

    low: np.ndarray  # [3] float64: corner (0, 0, 0), world units
    cell: float  # edge, world units
    held: np.ndarray  # [nx + 1, ny + 1, nz + 1] bool

    def __post_init__(self) -> None:
        low = np.array(self.low, np.float64)
        if low.shape != (3,) or not np.isfinite(low).all() or not (np.isfinite(self.cell) and self.cell > 0):
            raise UsageError(f"a lattice from {self.low} with cells of edge {self.cell} is not possible")
        if self.held.ndim != 3 or not all(2 <= n <= MOST_CELLS + 1 for n in self.held.shape):
            raise UsageError(
                f"a lattice of {' x '.join(str(n - 1) for n in self.held.shape)} cells is not possible; "
                f"use 1 to {MOST_CELLS} along each of three axes"
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "held", np.ascontiguousarray(self.held, bool))

    @staticmethod
    def of_cells(low: np.ndarray, cell: float, cells: np.ndarray) -> "CornerLattice":
        """The corners of the given cells [nx, ny, nz]; cells between them that have all corners are live as well."""
        held = np.zeros([n + 1 for n in cells.shape], bool)
        for i, j, k in np.ndindex(2, 2, 2):
            held[i : i + cells.shape[0], j : j + cells.shape[1], k : k + cells.shape[2]] |= cells
        return CornerLattice(low, cell, held)

    @cached_property
    def live(self) -> np.ndarray:
        """[nx, ny, nz] bool: cells all of whose corners are held."""
        nx, ny, nz = (n - 1 for n in self.held.shape)
        live = np.ones((nx, ny, nz), bool)
        for i, j, k in np.ndindex(2, 2, 2):
            live &= self.held[i : i + nx, j : j + ny, k : k + nz]
        return live

    @cached_property
    def rows(self) -> np.ndarray:
        """[nx + 1, ny + 1, nz + 1] int32: the row of each corner, -1 where it is not held."""
        rows = np.full(self.held.shape, -1, np.int32)
        rows[self.held] = np.arange(self.num_corners, dtype=np.int32)
        return rows

    @cached_property
    def places(self) -> np.ndarray:
        """[n, 3] int32: the corner of each row, lattice space."""
        return np.argwhere(self.held).astype(np.int32)

    @cached_property
    def num_corners(self) -> int:
        return int(np.count_nonzero(self.held))

    @property
    def num_cells(self) -> int:
        """Live cells."""
        return int(np.count_nonzero(self.live))

    @cached_property
    def occupancy(self) -> Occupancy:
        return Occupancy(self.low, self.cell, self.live)

    @property
    def high(self) -> np.ndarray:
        """[3] float64: the last corner, world units."""
        return np.asarray(self.low + (np.array(self.held.shape) - 1) * self.cell)


def dilated(cells: np.ndarray) -> np.ndarray:
    """[nx, ny, nz] bool: cells that are set or touch one that is, by a face, an edge or a corner."""
    for axis in range(3):
        grown = cells.copy()
        ahead = [slice(None)] * 3
        behind = [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        grown[tuple(ahead)] |= cells[tuple(behind)]
        grown[tuple(behind)] |= cells[tuple(ahead)]
        cells = grown
    return cells
