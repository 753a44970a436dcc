"""The surface of what a mesh encloses, without what its parts hide in one another.

Models are often put together from solids that overlap: a lid in its pot, slices in a bowl. What lies inside the whole
is no surface of it: nobody sees it, and a field of distances would have to store it. Points are drawn from what is seen
alone; distances are to triangles of which anything is seen.
"""

from typing import final

import numpy as np

from fieldcodec.io.mesh.inside import InsideTest
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.sample import SurfacePoints, surface_points
from fieldcodec.io.mesh.tree import TriangleTree

_PROBES = 8192  # places at which it is seen whether anything is hidden at all
_LEAST = 1e-3  # of the probes; fewer are not worth a second look at every point
_CLOSE = 1e-4  # of the longest side: from a place on the surface to either side
_MOST_ROUNDS = 32
_CORNERS = np.array([
    [1 / 3, 1 / 3, 1 / 3], [0.96, 0.02, 0.02], [0.02, 0.96, 0.02], [0.02, 0.02, 0.96], [0.49, 0.49, 0.02],
    [0.49, 0.02, 0.49], [0.02, 0.49, 0.49],
])  # fmt: skip
"""Places on a triangle, as weights of its corners: all hidden means that the triangle is."""


@final
class VisibleSurface:
    """A mesh, and which of it can be seen from outside."""

    def __init__(self, mesh: Mesh) -> None:
        """Raises:
        InputError: the triangles have no area.
        MissingPackageError: triangles are turned against their neighbours, and libigl is not installed.
        """
        self.mesh = mesh
        self._tree = TriangleTree(mesh.vertices, mesh.triangles)
        self._inside = InsideTest(mesh, self._tree)
        low, high = mesh.bounds
        self._step = _CLOSE * float((high - low).max())
        probes = surface_points(mesh, _PROBES, np.random.default_rng(0))
        share = float(self._is_hidden(probes.points, probes.normals).mean())
        self.has_hidden_parts = _LEAST < share < 1  # all hidden: then nothing would be left
        self._shown = self._shown_triangles() if self.has_hidden_parts else self._tree

    def points(self, count: int, rng: np.random.Generator) -> SurfacePoints:
        """`count` points of what can be seen, independent and uniform by area."""
        drawn = surface_points(self.mesh, count, rng)
        if not self.has_hidden_parts:
            return drawn
        found = [self._seen(drawn)]
        missing = count - len(found[0].rows)
        for _ in range(_MOST_ROUNDS):
            if missing <= 0:
                break
            found.append(self._seen(surface_points(self.mesh, count, rng)))
            missing -= len(found[-1].rows)
        parts = [[getattr(some, name) for some in found] for name in ("rows", "weights", "points", "normals")]
        return SurfacePoints(*(np.concatenate(part)[:count] for part in parts))

    def signed_distances(self, points: np.ndarray) -> np.ndarray:
        """[q, 3] float64 -> [q] float64: to what can be seen, negative inside. Faster for points in Morton order."""
        distances, _ = self._tree.nearest(points)
        inside = self._inside(points, distances)
        if self.has_hidden_parts:
            distances, _ = self._shown.nearest(points)
        return np.where(inside, -distances, distances)

    def _seen(self, drawn: SurfacePoints) -> SurfacePoints:
        kept = ~self._is_hidden(drawn.points, drawn.normals)
        return SurfacePoints(drawn.rows[kept], drawn.weights[kept], drawn.points[kept], drawn.normals[kept])

    def _is_hidden(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """[q] bool: the whole is on both sides."""
        hidden = self._inside(points + self._step * normals)
        hidden[hidden] = self._inside(points[hidden] - self._step * normals[hidden])
        return hidden

    def _shown_triangles(self) -> TriangleTree:
        """Without those that are hidden at all of some places."""
        corners = self.mesh.vertices[self.mesh.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        hidden = np.ones(len(corners), bool)
        for weights in _CORNERS:
            rows = np.flatnonzero(hidden)
            hidden[rows] = self._is_hidden(np.tensordot(corners[rows], weights, (1, 0)), normals[rows])
        if hidden.all():
            return self._tree
        return TriangleTree(self.mesh.vertices, np.ascontiguousarray(self.mesh.triangles[~hidden]))
