"""Inside and outside of any triangles, for points anywhere.

A closed mesh has a winding number: a point is inside where it is not zero, so solids may overlap and cavities stay
outside. Solids turned inside out are turned over first, unless they lie in another one.

An open mesh can be read in two ways, and neither serves all. Fans over its holes close scans and models with hidden
sides left out, but stand in the open air where much is missing. Stabbing lines see through loose panels that enclose
something, and leave an outside only on both sides of a sheet; but they shine into a solid through each of its holes.
Both are tried: the better one changes its sign less often where there is no triangle, and loses less of the surface by
being outside on both sides of it. Cups, tubes and boxes without a lid are solid then, cloths and leaves have no inside.
"""

from collections.abc import Callable
from typing import final

import numpy as np

from fieldcodec.io.mesh.parts import connected_parts
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.repair import oriented, with_holes_closed
from fieldcodec.io.mesh.sample import surface_points
from fieldcodec.io.mesh.stabbing import inside_by_stabbing
from fieldcodec.io.mesh.tree import TriangleTree

_PROBES = 8192  # short ways near the surface, and places on it, at which the sign is watched
_REACH = 0.07  # of the longest side of the mesh: how far from the surface the ways start; they are half as long
_CLOSE = 1e-4  # of the longest side: from a place on the surface to either side
_LOSS = 0.025  # what a place of the surface counts that has no inside, beside a way whose sign flips

_Sign = Callable[[np.ndarray], np.ndarray]
"""[q, 3] points -> [q] bool."""


@final
class InsideTest:
    """Which points a mesh encloses."""

    def __init__(self, mesh: Mesh, tree: TriangleTree | None = None) -> None:
        """Args: tree: of the triangles of `mesh`, where there is one already.

        Raises:
            InputError: the triangles of an open mesh have no area.
            MissingPackageError: triangles are turned against their neighbours, and libigl is not installed.
        """
        self._tree = tree or TriangleTree(mesh.vertices, mesh.triangles)
        whole, is_closed = with_holes_closed(oriented(mesh))
        self.is_closed = is_closed and len(whole.triangles) == len(mesh.triangles)
        self._solid = None
        if is_closed:
            triangles = _outside_out(whole)
            same = triangles is mesh.triangles
            self._solid = self._tree if same else TriangleTree(whole.vertices, triangles)
        if self._solid is not None and not self.is_closed and not self._winding_is_better(mesh, self._solid):
            self._solid = None

    @property
    def is_by_stabbing(self) -> bool:
        """Whether lines through the points decide, not the winding number."""
        return self._solid is None

    def __call__(
        self, points: np.ndarray, distances: np.ndarray | None = None, *, threads: int | None = 1
    ) -> np.ndarray:
        """[q, 3] points -> [q] bool.

        Args:
            distances: [q] to the surface, where they are known: they save work.
        """
        if self._solid is None:
            return inside_by_stabbing(self._tree, points, threads=threads)
        clear = distances if self.is_closed else None  # fans may be nearer
        return self._solid.windings(points, clear, threads=threads) != 0

    def _winding_is_better(self, mesh: Mesh, solid: TriangleTree) -> bool:
        rng = np.random.default_rng(0)
        low, high = mesh.bounds
        size = float((high - low).max())
        drawn = surface_points(mesh, _PROBES, rng)
        step = _CLOSE * size * drawn.normals
        starts = drawn.points + size * rng.uniform(-_REACH, _REACH, (_PROBES, 3))
        ends = starts + size * rng.uniform(-_REACH / 2, _REACH / 2, (_PROBES, 3))
        is_free = ~self._tree.crossed(starts, ends)
        ways = starts[is_free], ends[is_free]
        sides = drawn.points + step, drawn.points - step

        def cost(sign: _Sign) -> float:
            flips = np.count_nonzero(sign(ways[0]) != sign(ways[1])) / max(len(ways[0]), 1)
            return flips + _LOSS * float(np.mean(~(sign(sides[0]) | sign(sides[1]))))

        by_stabbing = cost(lambda points: inside_by_stabbing(self._tree, points))
        return cost(lambda points: solid.windings(points) != 0) <= by_stabbing


def _outside_out(closed: Mesh) -> np.ndarray:
    """The triangles, turned so that they enclose volume, but for parts that lie in others: cavities."""
    triangles = closed.triangles
    part = connected_parts(triangles, len(closed.vertices))
    a, b, c = np.moveaxis((closed.vertices - closed.vertices.mean(axis=0))[triangles], 1, 0)
    volumes = np.bincount(part, np.einsum("ij,ij->i", a, np.cross(b, c)))
    if volumes.sum() < 0:  # all is inside out, cavities too
        triangles, volumes = np.ascontiguousarray(triangles[:, ::-1]), -volumes
    is_negative = volumes < 0
    if not is_negative.any():
        return triangles
    is_inner = np.ones(len(volumes), bool)  # as far as is known: with all of their triangles
    rows, positive = np.flatnonzero(is_negative[part]), triangles[~is_negative[part]]
    middles = closed.vertices[triangles[rows]].mean(axis=1)
    is_free = TriangleTree(closed.vertices, positive).windings(middles) == 0
    is_inner[part[rows[is_free]]] = False
    turn = (is_negative & ~is_inner)[part]
    triangles = triangles.copy()
    triangles[turn] = triangles[turn][:, ::-1]
    return triangles
