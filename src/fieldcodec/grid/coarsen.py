"""A grid at half, a quarter, an eighth or a sixteenth of its resolution, for pictures and previews.

Coarse voxel I covers the fine voxels 2 I and 2 I + 1 along each axis, and lies at their middle, 2 I + 1/2; the
transform says so, and world positions of features agree at all levels.

- Values are the mean of the eight voxels covered, an inactive one counting with the background. So the sum of a fog
  volume (its mass, at a background of 0) is an eighth, and the voxels' volume eight times as large. A voxel is active
  where one of the eight is.
- Level sets: the mean of the eight distances is the distance at the middle (trilinear), where the band holds all eight;
  elsewhere it is continued from there (`continuation`), as a mean of clipped distances would be too short. Distances
  stay in world units; the background doubles, so that the band keeps its width in voxels, at every level.
- Staggered vectors: component i is known on the lower face along axis i, so it is the mean of the four on that face.
- Whole numbers are rounded means, bools are True where half of the eight are.

A lattice of coefficients need not be decoded in full for this. The values of a leaf are a constant matrix times the
coefficients around it; the means of its voxels by 8^level are the same matrix with its rows averaged, which has 8^level
times fewer rows. That holds for level sets, whose distance does not end at the masks, and for leaves of fog that are
active throughout. A leaf with inactive voxels needs its mask and all its rows, and residuals coded voxel by voxel have
to be decoded as they are.
"""

from dataclasses import replace

import numpy as np

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.coarse_tree import OCTANTS, CoarseTree, halved_tree
from fieldcodec.grid.continuation import continue_distance
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.metadata import STATISTICS
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import STAGGERED, SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import rounded_integers

MAX_LEVEL = 4
_LEAVES_AT_ONCE = 1024
_AROUND = np.stack(list(np.ndindex(3, 3, 3))) - 1
_NONE = np.zeros((0, 3), np.int64)


def coarsened(grid: SparseGrid, level: int) -> SparseGrid:
    """The grid at 1/2^level of its resolution; level 0 is the grid itself.

    Raises:
        UsageError: the level is not 0 to 4.
        UnsupportedGridError: the transform is no linear one.
    """
    check_level(level)
    if level and not grid.transform.is_linear:
        raise UnsupportedGridError(
            f"grid {grid.name!r} has a {grid.transform.map_type}, which has no coarser form; use full resolution"
        )
    for _ in range(level):
        grid = _halved(grid)
    return grid


def check_level(level: int) -> None:
    """Raises UsageError where there is no such level."""
    if not 0 <= level <= MAX_LEVEL:
        raise UsageError(f"level {level} does not exist; use 0 (full resolution) to {MAX_LEVEL} (a sixteenth)")


def coarse_transform(transform: GridTransform, level: int) -> GridTransform:
    """Where the voxels of `level` are: coarse index I is at fine index I * 2^level + (2^level - 1) / 2."""
    factor = 1 << level
    matrix = transform.matrix.copy()
    matrix[3, :3] += np.full(3, (factor - 1) / 2) @ matrix[:3, :3]
    matrix[:3, :3] *= factor
    return GridTransform.of_matrix(matrix)


def _halved(grid: SparseGrid) -> SparseGrid:
    if grid.is_level_set and grid.channels == 1 and grid.value_type.is_float and grid.background[0] > 0:
        return _halved_level_set(grid)
    tree = halved_tree(grid, _NONE)
    values, active = _means(grid, tree.leaf_origins, grid.grid_class == STAGGERED)
    some = np.asarray(active.any(axis=2))
    return _grid(grid, tree, _cast(values, some, grid), some)


def _halved_level_set(grid: SparseGrid) -> SparseGrid:
    """Continues the distance into the neighbours of the coarse leaves, and keeps those that the new band reaches."""
    background = float(grid.background[0])
    matrix = grid.transform.matrix[:3, :3]
    # A voxel nearer than this has its eight fine ones within the band; at least something of a thin band is kept.
    certain = max(background - 0.5 * float(np.abs(matrix).sum(axis=0).max()), 0.5 * background)
    inner = halved_tree(grid, _NONE)
    near = np.unique((inner.leaf_origins.astype(np.int64)[:, None] + _AROUND * 8).reshape(-1, 3), axis=0)
    wide = halved_tree(grid, near)
    values, active = _means(grid, wide.leaf_origins, False)
    values = values[..., 0]
    known = active.all(axis=2) & (np.abs(values) < certain)
    stored = np.where(known, values, np.copysign(certain, values)).astype(grid.value_type.dtype)
    scaled = replace(grid, background=np.array([certain], grid.value_type.dtype))
    distance = continue_distance(_grid(scaled, wide, stored[..., None], known))
    reach = min(2 * background, float(np.abs(distance).max(initial=0)) or background)
    new = np.array([reach], grid.value_type.dtype)
    distance = np.clip(distance, -new[0], new[0]).astype(grid.value_type.dtype)
    some = np.abs(distance) < new[0]
    is_kept = some.any(axis=1) | (OriginTable(inner.leaf_origins).find(wide.leaf_origins) >= 0)
    tree = halved_tree(grid, wide.leaf_origins[is_kept])
    return _signed_tiles(_grid(replace(grid, background=new), tree, distance[is_kept][..., None], some[is_kept]))


def _signed_tiles(grid: SparseGrid) -> SparseGrid:
    """Tiles hold plus or minus the background."""
    sides = {
        name: np.copysign(grid.background, getattr(grid, name)).astype(grid.value_type.dtype)
        for name in ("lower_tile_values", "upper_tile_values", "root_tile_values")
    }
    return replace(grid, **sides)


def _grid(fine: SparseGrid, tree: CoarseTree, values: np.ndarray, active: np.ndarray) -> SparseGrid:
    """Values [N, 512, C] and states [N, 512] on a tree; name, background and the rest from the finer grid."""
    return SparseGrid(
        name=fine.name,
        value_type=fine.value_type,
        topology=tree.topology(masks.pack(active)),
        leaf_values=values,
        lower_tile_values=tree.lower.tile_values(),
        upper_tile_values=tree.upper.tile_values(),
        root_tile_values=tree.root_values,
        background=fine.background,
        transform=coarse_transform(fine.transform, 1),
        metadata=fine.metadata.without(*STATISTICS),
        save_as_half=fine.save_as_half,
    )


def _means(grid: SparseGrid, origins: np.ndarray, is_staggered: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of coarse leaves [n, 3]: means [n, 512, C] float64, and the states [n, 512, 8] of the voxels they are of."""
    count, channels = len(origins), grid.channels
    fine = (origins.astype(np.int64)[:, None] * 2 + OCTANTS * masks.LEAF_DIM).reshape(-1, 3)
    blocks = blocks_at(grid, fine)
    means = np.empty((count, masks.LEAF_SLOTS, channels))
    states = np.empty((count, masks.LEAF_SLOTS, 8), bool)
    keeps_inactive = grid.is_level_set
    for first in range(0, count, _LEAVES_AT_ONCE):
        leaves = slice(first, min(first + _LEAVES_AT_ONCE, count))
        part = slice(8 * leaves.start, 8 * leaves.stop)
        active = blocks.active(part)
        values = blocks.values(part).astype(np.float64)
        if not keeps_inactive:
            values = np.where(active[..., None], values, grid.background)
        eights = _in_eights(values)
        means[leaves] = eights.mean(axis=2)
        if is_staggered and channels == 3:
            for axis in range(3):
                on_face = OCTANTS[:, axis] == 0
                means[leaves, :, axis] = eights[:, :, on_face, axis].mean(axis=2)
        states[leaves] = _in_eights(active[..., None])[..., 0]
    return means, states


def _in_eights(blocks: np.ndarray) -> np.ndarray:
    """Fine blocks [n * 8, 512, C], eight to a coarse leaf -> [n, 512, 8, C], eight voxels to a coarse one."""
    channels = blocks.shape[-1]
    cube = blocks.reshape(-1, 2, 2, 2, 4, 2, 4, 2, 4, 2, channels)
    return cube.transpose(0, 1, 4, 2, 6, 3, 8, 5, 7, 9, 10).reshape(-1, masks.LEAF_SLOTS, 8, channels)


def _cast(means: np.ndarray, active: np.ndarray, grid: SparseGrid) -> np.ndarray:
    kind = grid.value_type
    if kind.name == "mask":  # its values are its states
        return active[..., None].copy()
    if kind.is_bool:
        return means >= 0.5
    return rounded_integers(means, kind.dtype) if kind.is_integer else means.astype(kind.dtype)
