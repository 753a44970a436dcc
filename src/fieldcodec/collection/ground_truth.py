"""Ground truth of one object from a mesh: points of its surface and signed distances around it.

    mesh -> normalised into the cube [-1, 1]^3 -> surface samples -> near and volume samples -> signed distances

As ReFiNe's generator does it: the mean of the vertices goes to the origin, the largest absolute coordinate becomes
0.9; each point of the surface gives a coarse and a fine sample of the distance. Other than there, closed cavities are
outside (`fieldcodec.io.mesh.inside`), and what parts of a mesh hide in others is no surface (`io.mesh.visible`).
"""

import math

import numpy as np

from fieldcodec.collection.asset import Asset, DistanceSamples, Placement, SurfaceSamples
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import InputError
from fieldcodec.grid.octree import cell_edge, morton
from fieldcodec.io.mesh.appearance import Appearance
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.sample import SurfacePoints
from fieldcodec.io.mesh.visible import VisibleSurface

EXTENT = 0.9  # the largest absolute coordinate of a normalised mesh
VOLUME_POINTS = 131_072  # what NGLOD's metrics use
VOLUME_MARGIN = 0.1  # of the longest side of the box, beyond it on every side
_ORDER_LEVEL = 10  # distances are asked for cell by cell of this level


def asset_of_mesh(
    mesh: Mesh,
    name: str,
    settings: CollectionSettings,
    *,
    appearance: Appearance | None = None,
    source_bytes: int = 0,
) -> Asset:
    """Samples of the surface and of the signed distance to it; the same for the same seed.

    Args:
        appearance: the colours of the mesh, where it has any.

    Raises:
        InputError: the mesh has no area.
        MissingPackageError: triangles are turned against their neighbours, and libigl is not installed.
    """
    placement = placement_of(mesh)
    surface = VisibleSurface(Mesh(placement.to_model(mesh.vertices), mesh.triangles))
    rng = np.random.default_rng(settings.seed)
    drawn = surface.points(settings.surface_points, rng)
    coarse = _around(drawn, cell_edge(settings.lods - 1), rng)
    fine = _around(drawn, cell_edge(settings.lods + 2), rng)
    volume = _in_box(surface.mesh, rng)
    distances = _signed_distances(surface, np.concatenate([coarse, fine, volume]))
    num_near = len(coarse) + len(fine)
    colours = appearance.colours(drawn.rows, drawn.weights) if appearance else None
    return Asset(
        name=name,
        placement=placement,
        surface=SurfaceSamples(drawn.points.astype(np.float32), drawn.normals.astype(np.float32), colours),
        near=DistanceSamples(np.concatenate([coarse, fine]), distances[:num_near]),
        volume=DistanceSamples(volume, distances[num_near:]),
        source_bytes=source_bytes,
    )


def placement_of(mesh: Mesh) -> Placement:
    """Where the normalised mesh lies in the world."""
    centre = mesh.vertices.mean(axis=0)
    reach = float(np.abs(mesh.vertices - centre).max())
    if not reach > 0:
        raise InputError("all triangles of the mesh are at one point; a surface is needed")
    return rounded_placement(centre, reach / EXTENT)


def rounded_placement(centre: np.ndarray, scale: float) -> Placement:
    """Digits that matter to no sample would take bytes of the file."""
    scale = float(f"{scale:.7g}")
    x, y, z = (round(float(each), 6 - math.floor(math.log10(scale))) for each in centre)
    return Placement((x, y, z), scale)


def _around(drawn: SurfacePoints, reach: float, rng: np.random.Generator) -> np.ndarray:
    """[n, 3] float32: each point moved by up to `reach` along each axis, as far as it is in the cube."""
    return np.clip(drawn.points + rng.uniform(-reach, reach, drawn.points.shape), -1, 1).astype(np.float32)


def _in_box(mesh: Mesh, rng: np.random.Generator) -> np.ndarray:
    """[VOLUME_POINTS, 3] float32 points drawn evenly from the enlarged box of the mesh, as far as it is in the cube."""
    low, high = mesh.bounds
    margin = VOLUME_MARGIN * float((high - low).max())
    return rng.uniform(np.maximum(low - margin, -1), np.minimum(high + margin, 1), (VOLUME_POINTS, 3)).astype(
        np.float32
    )


def _signed_distances(surface: VisibleSurface, points: np.ndarray) -> np.ndarray:
    """[q, 3] float32 points of the cube -> [q] float32, negative inside."""
    cells = ((points.astype(np.float64) + 1) / cell_edge(_ORDER_LEVEL)).astype(np.int64)
    order = np.argsort(morton(cells))
    result = np.empty(len(points), np.float32)
    result[order] = surface.signed_distances(points[order].astype(np.float64))
    return result
