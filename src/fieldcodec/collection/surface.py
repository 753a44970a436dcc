"""The surface of an object of a collection: as a level set, as a mesh with colours, as oriented coloured points."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from fieldcodec.collection.item import ItemField
from fieldcodec.errors import UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.level_set import level_set_of_leaves
from fieldcodec.grid.octree import cell_edge
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.io.mesh.read import Mesh

HALF_WIDTH = 3.0  # of the narrow band, in voxels
MAX_RESOLUTION = 4096
_LEAVES_AT_ONCE = 256  # 131,072 voxels
_STEEPEST = 2.0  # a decoded distance is taken to change by no more than this with each unit of length
_LEAF_RADIUS = 3.5 * 3**0.5  # from the middle of a leaf to its outermost voxels
_CHILDREN = (np.stack(list(np.ndindex(2, 2, 2))) - 0.5) / 2  # from the middle of a cell to those of its children


@final
@dataclass(frozen=True, eq=False)
class ColouredMesh:
    """A closed mesh in world space, with a normal and a colour for each vertex."""

    mesh: Mesh
    normals: np.ndarray  # [n, 3] float32: unit vectors towards the outside
    colours: np.ndarray | None  # [n, 3] uint8, sRGB; None where the collection holds shapes alone


@final
@dataclass(frozen=True, eq=False)
class OrientedPoints:
    """Points on a surface, in world space."""

    points: np.ndarray  # [n, 3] float64
    normals: np.ndarray  # [n, 3] float32: unit vectors towards the outside
    colours: np.ndarray | None  # [n, 3] uint8, sRGB; None where the collection holds shapes alone


def default_resolution(item: ItemField) -> int:
    """Voxels along the cube with which the mesh is about as near to the surface as the field itself."""
    return min(4 << item.lods, MAX_RESOLUTION)


def level_set_of_item(item: ItemField, resolution: int | None = None) -> SparseGrid:
    """The narrow-band level set of an object, in world units; only voxels in and next to its shell are looked at.

    Args:
        resolution: voxels along the cube [-1, 1]^3; `default_resolution(item)` unless given.

    Raises:
        UsageError: the resolution is not allowed.
    """
    resolution = default_resolution(item) if resolution is None else resolution
    if not 8 <= resolution <= MAX_RESOLUTION:
        raise UsageError(f"the resolution is {resolution}; allowed are 8 to {MAX_RESOLUTION} voxels along the cube")
    voxel = 2.0 / resolution
    scale, centre = item.placement.scale, np.asarray(item.placement.centre)
    background = float(np.float32(HALF_WIDTH * voxel * scale))
    origins = _leaves_of_band(item, resolution)
    values = np.empty((len(origins), masks.LEAF_SLOTS), np.float32)
    offsets = masks.slot_offsets(masks.LEAF_LOG2)
    for rows in _batches(len(origins)):
        voxels = origins[rows, None] + offsets
        values[rows] = np.clip(_distance(item, voxels, resolution) * scale, -background, background)
    first = centre + scale * (0.5 * voxel - 1.0)
    return level_set_of_leaves(
        item.name or "surface", origins, values, background=background,
        is_inside=lambda voxels: _distance(item, voxels, resolution) < 0,
        transform=GridTransform.uniform(voxel * scale, (float(first[0]), float(first[1]), float(first[2]))),
        ask_every_tile=True,  # where a predicted shell has holes, neighbouring tiles may be on two sides
    )  # fmt: skip


def mesh_of_item(item: ItemField, resolution: int | None = None) -> ColouredMesh:
    """The closed surface of an object; arguments and errors as of `level_set_of_item`."""
    found = iso_surface(level_set_of_item(item, resolution), 0.0)
    return ColouredMesh(Mesh(found.vertices, found.triangles), found.normals, _colours(item, found.vertices))


def points_of_item(item: ItemField, subdivisions: int = 1) -> OrientedPoints:
    """Points on the surface, as ReFiNe draws them: centres of small cells near it, moved along the gradient.

    Args:
        subdivisions: how often the finest cells are cut in eight.

    Raises:
        UsageError: the number of subdivisions is not allowed.
    """
    if not 0 <= subdivisions <= 4:
        raise UsageError(f"the number of subdivisions is {subdivisions}; allowed are 0 to 4")
    points = (item.octree.cells(item.lods)[1] + 0.5) * item.edge - 1.0
    for level in range(item.lods, item.lods + subdivisions + 1):
        points = points[np.abs(item.distance(points, space="model")) <= cell_edge(level)]
        if level < item.lods + subdivisions:
            points = (points[:, None] + _CHILDREN * cell_edge(level)).reshape(-1, 3)
    distances, gradients = item.decoded_with_gradient(points)
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    normals = gradients / np.maximum(lengths, np.finfo(np.float32).tiny)
    world = item.placement.to_world(points - distances[:, None] * normals)
    return OrientedPoints(world, normals, _colours(item, world))


def _colours(item: ItemField, points: np.ndarray) -> np.ndarray | None:
    if not item.has_colours:
        return None
    return np.asarray((item.colour(points) * 255).round().astype(np.uint8))


def _distance(item: ItemField, voxels: np.ndarray, resolution: int) -> np.ndarray:
    """[...] distances, in units of the cube, at the middles of voxels [..., 3]."""
    return np.asarray(item.distance((voxels + 0.5) * (2.0 / resolution) - 1.0, space="model"))


def _leaves_of_band(item: ItemField, resolution: int) -> np.ndarray:
    """[n, 3] int64 origins of the leaves that voxels of the band may be in."""
    per_cell = resolution / (1 << item.lods)
    beyond = max(0, int(np.ceil(HALF_WIDTH - per_cell)) + 1)  # voxels of the band that are not in the shell
    cells = item.octree.cells(item.lods)[1]
    low = (np.floor(cells * per_cell).astype(np.int64) - beyond) >> 3
    high = (np.ceil((cells + 1) * per_cell).astype(np.int64) - 1 + beyond) >> 3
    spans = int((high - low).max(initial=-1)) + 1
    found = [np.zeros((0, 3), np.int64)]
    for step in np.ndindex(spans, spans, spans):
        leaves = low + np.array(step)
        found.append(np.unique(leaves[(leaves <= high).all(axis=1)], axis=0))
    origins = np.unique(np.concatenate(found), axis=0) * masks.LEAF_DIM
    reach = (HALF_WIDTH + _STEEPEST * _LEAF_RADIUS) * 2.0 / resolution
    return origins[np.abs(_distance(item, origins + 3.5, resolution)) <= reach]


def _batches(count: int) -> Iterator[slice]:
    return (slice(start, start + _LEAVES_AT_ONCE) for start in range(0, count, _LEAVES_AT_ONCE))
