"""A tree of boxes around triangles: nearest triangles and rays that hit anything, for points anywhere.

All answers are quickest for points that follow each other in space, as those in Morton order do.

Boxes are halved along their longest side by the number of triangles' centres on either side that costs rays least (the
surface area heuristic over 16 bins). Nodes lie depth first: the left child of node i is i + 1. Results do not depend on
the tree: the nearest distance is a minimum over triangles, and a hit is a hit.
"""

from typing import final

import numpy as np

from fieldcodec.io.mesh import tree_kernels
from fieldcodec.io.mesh.triangle import PREPARED, bounds_of
from fieldcodec.threads import map_threads

_POINTS_AT_ONCE = 1 << 14
_RAY = np.array([0.5377, 0.6483, 0.5391])  # along no plane or edge that models commonly have


@final
class TriangleTree:
    """Answers for many points at once, with the interpreter lock released."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """Args: vertices [n, 3] float64; triangles [m, 3] integers, at least one."""
        corners = np.ascontiguousarray(vertices[triangles].reshape(-1, 9), np.float64)
        self._order, self._boxes, self._links = tree_kernels.build(corners, bounds_of(corners))
        self._corners = corners[self._order]
        self._prepared = np.empty((len(corners), PREPARED))
        tree_kernels.prepare_all(self._corners, self._prepared)

    def nearest(self, points: np.ndarray, *, threads: int | None = 1) -> tuple[np.ndarray, np.ndarray]:
        """Distances [q] float64 of points [q, 3] to the surface, and rows [q] of the nearest triangles.

        Args:
            threads: None means one per processor, here and below.
        """
        points = np.ascontiguousarray(points, np.float64)
        squares, found = np.empty(len(points)), np.empty(len(points), np.int64)

        def look(part: slice) -> None:
            tree_kernels.nearest(self._boxes, self._links, self._prepared, points[part], squares[part], found[part])

        map_threads(look, _parts(len(points)), threads)
        return np.sqrt(squares), self._order[found]

    def crossed(self, starts: np.ndarray, ends: np.ndarray, *, threads: int | None = 1) -> np.ndarray:
        """[q] bool: whether the segments between points [q, 3] meet a triangle."""
        starts = np.ascontiguousarray(starts, np.float64)
        steps = np.ascontiguousarray(ends, np.float64) - starts
        result = np.empty(len(starts), bool)

        def look(part: slice) -> None:
            tree_kernels.crossed(self._boxes, self._links, self._corners, starts[part], steps[part], result[part])

        map_threads(look, _parts(len(starts)), threads)
        return result

    def stabbed(self, points: np.ndarray, lines: np.ndarray, *, threads: int | None = 1) -> np.ndarray:
        """[q] bool: whether all lines [k, 3] through a point of [q, 3] meet a triangle on both of its sides."""
        points = np.ascontiguousarray(points, np.float64)
        lines = np.ascontiguousarray(np.concatenate([lines, -lines]), np.float64)
        result = np.empty(len(points), bool)

        def look(part: slice) -> None:
            tree_kernels.stabbed(self._boxes, self._links, self._corners, points[part], lines, result[part])

        map_threads(look, _parts(len(points)), threads)
        return result

    def windings(
        self, points: np.ndarray, clearances: np.ndarray | None = None, *, threads: int | None = 1
    ) -> np.ndarray:
        """[q] int64: how often a closed mesh winds around points [q, 3], by the crossings of one ray from each.

        Args:
            clearances: [q] distances to the surface or less, which save rays: points nearer than that to one before
                are on its side.
        """
        points = np.ascontiguousarray(points, np.float64)
        clear = np.zeros(len(points)) if clearances is None else np.ascontiguousarray(clearances, np.float64)
        result = np.empty(len(points), np.int64)

        def look(part: slice) -> None:
            tree_kernels.windings(
                self._boxes, self._links, self._corners, points[part], clear[part], _RAY, result[part]
            )

        map_threads(look, _parts(len(points)), threads)
        return result


def _parts(count: int) -> list[slice]:
    return [slice(first, first + _POINTS_AT_ONCE) for first in range(0, count, _POINTS_AT_ONCE)]
