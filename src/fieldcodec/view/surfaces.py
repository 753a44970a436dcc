"""Iso-surfaces of a size that a browser can turn."""

from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.coarsen import MAX_LEVEL, coarsened
from fieldcodec.grid.iso_blocks import crossed_blocks
from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.view.cells import differences
from fieldcodec.view.source import Pair, Which

_MOST_BLOCKS = 10_000  # of 8^3 cells; each holds about 150 triangles of a smooth surface


@dataclass(frozen=True, eq=False)
class ShownSurface:
    """Triangles in the index space of the full resolution, relative to voxel `low` (for the precision of singles)."""

    vertices: np.ndarray  # [n, 3] float32
    normals: np.ndarray  # [n, 3] float32, of index space
    triangles: np.ndarray  # [m, 3] uint32
    errors: np.ndarray | None  # [n] float32: the difference of both grids at each vertex, where errors are shown
    iso: float
    level: int  # 0 is full resolution, 1 half of it, ...


def surface(pair: Pair, which: Which, iso: float) -> ShownSurface:
    """The surface of the grid shown; for errors that of the decoded grid, with the error at each vertex.

    Large surfaces are taken from a coarser grid, so that the browser gets a million and a half triangles or so.

    Raises:
        UsageError: the value is not possible, or there is no original.
        UnsupportedGridError: the grid has vectors.
    """
    grid, level = pair.grid(which), 0
    if grid.channels == 1 and grid.transform.is_linear and np.isfinite(iso):
        grid, level = _small_enough(grid, iso)
    found = iso_surface(grid, iso, in_world_space=False)
    scale = 1 << level
    places = found.vertices * scale + (scale - 1) / 2
    low = pair.box[0] if pair.box is not None else np.zeros(3)
    errors = None
    if which is Which.ERROR:
        kind = "trilinear" if grid.value_type.is_float else "nearest"
        first, second = (np.asarray(one.sample(places, space="index", interpolation=kind)) for one in pair.grids)
        errors = differences(first, second)
    return ShownSurface(
        (places - low).astype(np.float32), found.normals, found.triangles.astype(np.uint32), errors, found.iso, level
    )


def _small_enough(grid: SparseGrid, iso: float) -> tuple[SparseGrid, int]:
    """The grid at the finest level whose surface is not too large, and that level."""
    inside_below = grid.is_level_set or bool(grid.background[0] > iso)
    blocks = len(crossed_blocks(grid, iso, inside_below))
    level = 0
    while blocks > _MOST_BLOCKS and level < MAX_LEVEL:
        blocks, level = blocks // 4, level + 1
    return coarsened(grid, level), level
