"""Points drawn evenly from the surface of a mesh."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fieldcodec.errors import InputError
from fieldcodec.io.mesh.read import Mesh


@final
@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Places on triangles."""

    rows: np.ndarray  # [n] int64: the triangle of each point
    weights: np.ndarray  # [n, 3] float64: of its corners, summing to 1
    points: np.ndarray  # [n, 3] float64
    normals: np.ndarray  # [n, 3] float64: unit normals of the triangles


def surface_points(mesh: Mesh, count: int, rng: np.random.Generator) -> SurfacePoints:
    """`count` points, independent and uniform by area.

    Raises:
        InputError: the triangles have no area.
    """
    a, b, c = np.moveaxis(mesh.vertices[mesh.triangles], 1, 0)
    normals = np.cross(b - a, c - a)
    doubled_areas = np.linalg.norm(normals, axis=1)
    ends = np.cumsum(doubled_areas)
    if not len(ends) or not ends[-1] > 0:
        raise InputError("the triangles of the mesh have no area; a surface is needed")
    rows = np.searchsorted(ends, rng.random(count) * np.nextafter(ends[-1], 0), side="right")
    root, share = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], axis=1)
    points = weights[:, :1] * a[rows] + weights[:, 1:2] * b[rows] + weights[:, 2:] * c[rows]
    return SurfacePoints(rows, weights, points, normals[rows] / doubled_areas[rows, None])
