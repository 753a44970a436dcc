"""The colours of a mesh at points on it or near it."""

from typing import final

import numpy as np

from fieldcodec.io.mesh.appearance import Appearance, ColouredMesh
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.tree import TriangleTree


@final
class SurfaceColours:
    """[n, 3] points -> [n, 3] colours of 0 to 1 (sRGB): those of the nearest places on a mesh."""

    def __init__(self, mesh: Mesh, appearance: Appearance) -> None:
        self._appearance = appearance
        self._corners = mesh.vertices[mesh.triangles]
        self._tree = TriangleTree(mesh.vertices, mesh.triangles)

    @staticmethod
    def of(coloured: ColouredMesh) -> "SurfaceColours | None":
        """None where nothing in the file has a colour."""
        return None if coloured.appearance is None else SurfaceColours(coloured.mesh, coloured.appearance)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        _, rows = self._tree.nearest(np.ascontiguousarray(points, np.float64), threads=None)
        return self._appearance.colours(rows, _weights(self._corners[rows], points)) / 255.0


def _weights(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[n, 3]: of the corners [n, 3, 3] of triangles, at the foot of points [n, 3]; drawn in where that is outside."""
    along, across, away = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    normal = np.cross(along, across)
    doubled = np.maximum((normal * normal).sum(axis=1), np.finfo(np.float64).tiny)
    second = (np.cross(away, across) * normal).sum(axis=1) / doubled
    third = (np.cross(along, away) * normal).sum(axis=1) / doubled
    weights = np.clip(np.stack([1 - second - third, second, third], axis=1), 0, 1)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
