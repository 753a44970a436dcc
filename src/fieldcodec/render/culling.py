"""Which leaves a picture needs, told from the tree alone: of a compressed file the others need not be decoded.

cameras --> leaves that rays can meet ----------------------------------------+--> rows of leaves
              \\-> cells of light around them --> cells on the way to the lamp -+

A picture of these leaves is that of all leaves, bit for bit: a leaf left out is zero, and no ray asks for it.
"""

from collections.abc import Sequence
from itertools import count

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render import light
from fieldcodec.render.camera import Camera
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.painters import UP, lamp_direction, slice_index
from fieldcodec.render.ray_tree import index_to_world

_MARGIN = 1.0  # voxels; nothing is lost to rounding


def needed_leaves(grid: SparseGrid, cameras: Sequence[Camera], options: RenderOptions) -> np.ndarray | None:
    """Rows [n] of the leaves that pictures need, rising; None where they need all.

    Args:
        grid: with its whole tree; values of leaves are not looked at.
        options: resolved, see `picture.resolved`.
    """
    if options.look is Look.SURFACE:
        return None
    to_world, origins = index_to_world(grid), grid.topology.leaf_origins.astype(np.float64)
    if options.look is Look.SLICE:
        place, middle = slice_index(grid, options), (masks.LEAF_DIM - 1) / 2
        needed = np.abs(origins[:, options.slice_axis] + middle - place) <= middle
        reach = masks.LEAF_DIM / 2 + _MARGIN
        needed &= np.any([_in_view(camera, to_world, origins + middle, reach) for camera in cameras], axis=0)
    else:
        # A ray looks at a leaf while it is in the block of its voxels, or in one of the seven before that.
        reach, dense = masks.LEAF_DIM + _MARGIN, grid.topology.leaf_active.any(axis=1)
        seen = [dense & _in_view(camera, to_world, origins, reach) for camera in cameras]
        needed = np.any(seen, axis=0)
        if options.look is Look.FOG and options.shadow_cells and not np.array_equal(needed, dense):
            lit = [_shading(grid, each, camera, options) for each, camera in zip(seen, cameras, strict=True)]
            needed |= dense & np.any(lit, axis=0)
    return np.flatnonzero(needed)


def _in_view(camera: Camera, to_world: np.ndarray, centres: np.ndarray, reach: float) -> np.ndarray:
    """[n] bool: which cubes around `centres` [n, 3], index space, may have a part in the picture; none in it is missed.

    Args:
        reach: half the side of a cube.
    """
    axes = np.stack(camera.axes)
    turned, start = to_world[:3] @ axes.T, (to_world[3] - camera.position) @ axes.T
    tall = np.tan(np.radians(camera.fov) / 2) if camera.height_world is None else camera.height_world / 2
    wide = tall * camera.width / camera.height
    sides = np.array([[-1, 0, wide], [1, 0, wide], [0, -1, tall], [0, 1, tall], [0, 0, 1]], np.float64)
    beyond = np.zeros(len(sides))
    if camera.height_world is not None:  # edges of the picture stay apart, however far away
        beyond[:4] = sides[:4, 2]
        sides[:4, 2] = 0
    slopes = turned @ sides.T
    inside = centres @ slopes + (start @ sides.T + beyond) + reach * np.abs(slopes).sum(axis=0)
    return np.asarray((inside >= 0).all(axis=1))


def _shading(grid: SparseGrid, seen: np.ndarray, camera: Camera, options: RenderOptions) -> np.ndarray:
    """[N] bool: which leaves may throw shadows on those that are seen."""
    box = light.cell_box(grid, options.shadow_cells)
    if box is None or not seen.any():
        return np.zeros(len(seen), bool)
    across = max(masks.LEAF_DIM >> box.shift, 1)
    steps = np.stack(list(np.ndindex(across, across, across)))
    cells = (grid.topology.leaf_origins.astype(np.int64) >> box.shift)[:, None] + steps - box.first
    inside = np.all((cells >= 0) & (cells < box.shape), axis=-1)
    lit = np.zeros(box.shape, bool)
    lit[tuple(cells[seen][inside[seen]].T)] = True
    for _ in range(across + 1):  # places in the block before a leaf, and cells that light is mixed from
        lit = light.grown(lit)
    crossed, to_index = light.grown(lit), np.linalg.inv(index_to_world(grid)[:3])  # neighbours tell which cells count
    for direction in (lamp_direction(camera, options), UP):
        _add_ways(crossed, lit, direction @ to_index)
    found = np.zeros(inside.shape, bool)
    found[inside] = crossed[tuple(cells[inside].T)]
    return np.asarray(found.any(axis=1))


def _add_ways(crossed: np.ndarray, lit: np.ndarray, direction: np.ndarray) -> None:
    """Sets the cells [X, Y, Z] that light reads on its way to the cells `lit`, from a direction in index space."""
    used = np.nonzero(lit)
    low, high = np.min(used, axis=1), np.max(used, axis=1) + 1
    block = light.grown(np.pad(lit[tuple(map(slice, low, high))], 1))  # beside a rounded place lie all that it reads
    low, high = low - 1, high + 1
    step, shape = direction / np.abs(direction).max(), np.array(lit.shape)
    for number in count():  # places as in `light_kernels`: a step apart, from half a step on
        shift = np.rint((number + 0.5) * step).astype(np.int64)
        first, last = np.maximum(low + shift, 0), np.minimum(high + shift, shape)
        if np.any(first >= last):
            return
        begin = first - low - shift
        crossed[tuple(map(slice, first, last))] |= block[tuple(map(slice, begin, begin + last - first))]
