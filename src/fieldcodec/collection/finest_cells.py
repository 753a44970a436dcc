"""Which points lie in the finest cells of an object."""

from typing import final

import numpy as np

from fieldcodec.grid.octree import Octree, cell_edge

_FAR = 9.0  # beyond the cube


@final
class FinestCells:
    """The finest cells of an octree of one object, as an array of the smallest box around them."""

    def __init__(self, octree: Octree) -> None:
        cells = octree.cells(octree.lods)[1]
        low, high = (cells.min(axis=0), cells.max(axis=0) + 1) if len(cells) else (np.zeros(3), np.ones(3))
        self.edge = cell_edge(octree.lods)
        """Of a cell, in the cube [-1, 1]^3."""
        self.low = low * self.edge - 1.0
        """[3] float64: least corner of the box."""
        self.occupied = np.zeros((high - low).astype(int), bool)
        """[nx, ny, nz]."""
        self.occupied[tuple((cells - low).astype(int).T)] = True

    def hold(self, points: np.ndarray) -> np.ndarray:
        """[n] bool: whether [n, 3] points of the cube, outside it or no numbers at all, are in a cell."""
        finite = np.nan_to_num(points.astype(np.float64), nan=_FAR, posinf=_FAR, neginf=-_FAR)
        cells = np.floor((finite - self.low) / self.edge)
        inside = ((cells >= 0) & (cells < self.occupied.shape)).all(axis=1)
        inside[inside] = self.occupied[tuple(cells[inside].astype(np.int64).T)]
        return np.asarray(inside)
