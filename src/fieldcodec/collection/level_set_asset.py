"""Ground truth of one object from a level set.

    SparseGrid -> surface at zero -> as a mesh (`ground_truth`)

Distances are those to that surface, not the grid's: its trilinear samples are a little off between voxels, and it knows
none beyond its narrow band.
"""

from fieldcodec.collection.asset import Asset
from fieldcodec.collection.ground_truth import asset_of_mesh
from fieldcodec.collection.inputs import ObjectSource
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import InputError, UnsupportedGridError
from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.mesh.read import Mesh


def asset_of_level_set(grid: SparseGrid, name: str, settings: CollectionSettings, *, source_bytes: int = 0) -> Asset:
    """Samples of the surface of a level set, placed in world space; see `asset_of_mesh`.

    Raises:
        UnsupportedGridError: the grid is no level set, or its transform is no linear one.
        InputError: it has no surface.
    """
    if not grid.is_level_set:
        raise UnsupportedGridError(f"grid {grid.name!r} is no level set; objects of a collection need a surface")
    surface = iso_surface(grid, 0.0)
    mesh = Mesh.of(surface.vertices, surface.triangles)
    if not len(mesh.triangles):
        raise InputError(f"the level set {grid.name!r} is empty: its values do not change their sign")
    return asset_of_mesh(mesh, name, settings, source_bytes=source_bytes)


def level_set_of(volumes: VolumeFile, source: ObjectSource) -> SparseGrid:
    """The level set of a file that an object is made from.

    Raises:
        UnsupportedGridError: there is none.
    """
    rows = range(len(volumes.grids)) if source.grid is None else [source.grid]
    for row in rows:
        grid = volumes.grids[row]
        if isinstance(grid, SparseGrid) and grid.is_level_set:
            return grid
    raise UnsupportedGridError(
        f"{source} holds no level set and no radiance field; objects of a collection are one of these"
    )
