"""Surfaces given by functions of space, as narrow-band level sets that hold true distances.

A function that is zero on a surface, such as a soft union of bodies, is seldom a distance elsewhere. So

    function -> marching cubes -> each triangle in four -> vertices moved onto the surface -> distances to the triangles
"""

from collections.abc import Callable

import numpy as np

from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.procedural import level_set_of_function
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh import Mesh, voxelize
from fieldcodec.simulate.refine import in_four

SpaceFunction = Callable[[np.ndarray], np.ndarray]
"""[n, 3] float64 points in world space -> [n] float64, negative inside."""

_NEWTON_STEPS = 3
_DIFFERENCE = 1e-3  # voxels: of the places whose values make a gradient
_FARTHEST = 0.5  # voxels that a vertex may be moved: it was a small part of one off


def level_set_of_surface(
    function: SpaceFunction, steepest: float, low: np.ndarray, high: np.ndarray, *, voxel_size: float, name: str
) -> SparseGrid:
    """A level set with its zero where `function` has it, and the distance to there as its values.

    Distances are those to triangles of half a voxel with corners on the surface. Parts thinner than a voxel are lost.

    Args:
        function: smooth, of a slope not far from 1 at the surface.
        steepest: at least its largest slope anywhere.
        low, high: [3] corners of a box around the surface, in world space.
        voxel_size: voxel (i, j, k) is at (i, j, k) times this.
    """
    band = 3.0
    rough = level_set_of_function(
        name,
        lambda voxels: function(voxels * voxel_size) / voxel_size,
        np.floor(low / voxel_size) - band,
        np.ceil(high / voxel_size) + band + 1,
        bound=lambda voxels: function(voxels * voxel_size) / (steepest * voxel_size),
    )
    surface = iso_surface(rough, in_world_space=False)
    vertices, triangles = in_four(surface.vertices * voxel_size, surface.triangles)
    mesh = Mesh.of(_on_surface(function, vertices, voxel_size), triangles)
    return voxelize(mesh, voxel_size=voxel_size, half_width=band, name=name)


def _on_surface(function: SpaceFunction, points: np.ndarray, voxel_size: float) -> np.ndarray:
    """Points near the surface, moved onto it along the gradient by Newton's method."""
    step, moved = _DIFFERENCE * voxel_size, points
    for _ in range(_NEWTON_STEPS):
        slopes = [(function(moved + step * axis) - function(moved - step * axis)) / (2 * step) for axis in np.eye(3)]
        gradient = np.stack(slopes, axis=1)
        square = np.maximum(np.einsum("qi,qi->q", gradient, gradient), 1e-12)
        moved = moved - gradient * (function(moved) / square)[:, None]
    is_near = np.linalg.norm(moved - points, axis=1) <= _FARTHEST * voxel_size
    return np.where(is_near[:, None], moved, points)
