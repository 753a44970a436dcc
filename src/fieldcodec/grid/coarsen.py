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

A compressed file need not be decoded in full for this: `LeafSource` gives leaves a few at a time, and for level sets
`distance_at_level` takes means of a distance that does not end at the masks, such as that of a lattice of coefficients.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.coarse_tree import OCTANTS, CoarseTree, halved_tree
from fieldcodec.grid.continuation import continue_distance
from fieldcodec.grid.lookup import Blocks, blocks_at, tiles_at
from fieldcodec.grid.metadata import STATISTICS
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import STAGGERED, SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import rounded_integers

MAX_LEVEL = 4
MAX_DIRECT = 2  # the level up to which cubes of one mean lie within the band of most level sets
_LEAVES_AT_ONCE = 1024  # coarse ones
_AROUND = np.stack(list(np.ndindex(3, 3, 3))) - 1
_NONE = np.zeros((0, 3), np.int64)
_ROUNDING = 1e-3  # voxels

LeafSource = Callable[[np.ndarray], np.ndarray]
"""Rows [n] of leaves, rising -> their values [n, 512, C]."""


def coarsened(grid: SparseGrid, level: int, leaves: LeafSource | None = None) -> SparseGrid:
    """The grid at 1/2^level of its resolution; level 0 is the grid itself.

    Args:
        leaves: where the values of leaves are, if not in the grid; asked for about eight thousand at once. For a level
            above 0.

    Raises:
        UsageError: the level is not 0 to 4.
        UnsupportedGridError: the transform is no linear one.
    """
    check_level(level)
    _check_linear(grid, level)
    for _ in range(level):
        grid, leaves = _halved(grid, leaves or grid.leaf_values.__getitem__), None
    return grid


def _check_linear(grid: SparseGrid, level: int) -> None:
    if level and not grid.transform.is_linear:
        raise UnsupportedGridError(
            f"grid {grid.name!r} has a {grid.transform.map_type}, which has no coarser form; use full resolution"
        )


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


def distance_at_level(grid: SparseGrid, means: np.ndarray, level: int) -> SparseGrid:
    """A level set at 1/2^level of its resolution from a distance known in all of its leaves.

    Where the mean distance of a coarse voxel is within the band it is taken as it is, and continued from there.

    Args:
        grid: a scalar level set; masks and values of its leaves are not looked at.
        means: [N, (8 / 2^d)^3], d being the lower of 2 and the level: means over cubes of 2^d voxels, in world units.
        level: 1 to 4.

    Raises:
        UsageError: the level is not 1 to 4.
        UnsupportedGridError: the transform is no linear one.
    """
    check_level(level)
    if level == 0:
        raise UsageError("level 0 is the grid itself, which has states; decode it, or use a level of 1 to 4")
    _check_linear(grid, level)
    direct = min(level, MAX_DIRECT)
    background = float(grid.background[0])
    shell = grid
    for _ in range(direct - 1):
        shell = _shell(shell)
    inner = halved_tree(shell, _NONE)
    values = _cubes_of_leaves(grid, means, inner.leaf_origins, direct)
    certain = _certain(grid) if direct == 1 else background
    coarse = _level_set(shell, inner, values, np.abs(values) < certain, certain)
    return coarsened(coarse, level - direct)


def _shell(grid: SparseGrid) -> SparseGrid:
    """The tree of a level set at half the resolution, with nothing in its leaves."""
    tree = halved_tree(grid, _NONE)
    shape = (len(tree.leaf_origins), masks.LEAF_SLOTS, grid.channels)
    nothing = np.broadcast_to(np.zeros((), grid.value_type.dtype), shape)
    coarse = _grid(grid, tree, nothing, np.broadcast_to(False, shape[:2]))
    return _signed_tiles(replace(coarse, background=2 * grid.background))


def _cubes_of_leaves(grid: SparseGrid, means: np.ndarray, origins: np.ndarray, level: int) -> np.ndarray:
    """[n, 512]: of coarse leaves [n, 3], from means of cubes in the fine leaves; elsewhere tiles and background."""
    side, cells = 1 << level, masks.LEAF_DIM >> level
    steps = np.stack(list(np.ndindex(side, side, side))) * masks.LEAF_DIM
    blocks = blocks_at(grid, (origins.astype(np.int64)[:, None] * side + steps).reshape(-1, 3))
    values = np.repeat(blocks.fill[:, :1].astype(np.float64), cells**3, axis=1)
    inside = blocks.rows >= 0
    values[inside] = means[blocks.rows[inside]]
    cube = values.reshape(-1, side, side, side, cells, cells, cells).transpose(0, 1, 4, 2, 5, 3, 6)
    return cube.reshape(-1, masks.LEAF_SLOTS)


def _halved(grid: SparseGrid, leaves: LeafSource) -> SparseGrid:
    if grid.is_level_set and grid.channels == 1 and grid.value_type.is_float and grid.background[0] > 0:
        return _halved_level_set(grid, leaves)
    tree = halved_tree(grid, _NONE)
    values, active = _means(grid, leaves, tree.leaf_origins, grid.grid_class == STAGGERED)
    some = np.asarray(active.any(axis=2))
    return _grid(grid, tree, _cast(values, some, grid), some)


def _halved_level_set(grid: SparseGrid, leaves: LeafSource) -> SparseGrid:
    inner = halved_tree(grid, _NONE)
    values, active = _means(grid, leaves, inner.leaf_origins, False)
    certain = _certain(grid)
    known = active.all(axis=2) & (np.abs(values[..., 0]) < certain)
    return _level_set(grid, inner, values[..., 0], known, certain)


def _certain(grid: SparseGrid) -> float:
    """A coarse voxel nearer than this has its eight fine ones within the band; of a thin band something is kept."""
    background = float(grid.background[0])
    return max(background - 0.5 * float(np.abs(grid.transform.matrix[:3, :3]).sum(axis=0).max()), 0.5 * background)


def _level_set(
    grid: SparseGrid, inner: CoarseTree, values: np.ndarray, known: np.ndarray, certain: float
) -> SparseGrid:
    """Continues the distance into the neighbours of the coarse leaves, and keeps those that the new band reaches.

    Args:
        grid: the finer grid.
        inner: its tree at half the resolution.
        values, known: [n, 512], of the leaves of `inner`; what is not known has the sign of its value.
        certain: no known value is beyond.
    """
    kind, doubled = grid.value_type.dtype, 2 * float(grid.background[0])
    wide = halved_tree(
        grid, _neighbours(inner.leaf_origins, known, doubled / (2 * float(grid.transform.voxel_size.min())))
    )
    rows = OriginTable(inner.leaf_origins).find(wide.leaf_origins)
    is_inner = rows >= 0
    sides = tiles_at(grid, wide.leaf_origins.astype(np.int64) * 2)[0]
    stored = np.repeat(np.copysign(certain, sides), masks.LEAF_SLOTS, axis=1).astype(kind)
    stored[is_inner] = np.where(known, values, np.copysign(certain, values))[rows[is_inner]]
    active = np.zeros(stored.shape, bool)
    active[is_inner] = known[rows[is_inner]]
    scaled = replace(grid, background=np.array([certain], kind))
    distance = continue_distance(_grid(scaled, wide, stored[..., None], active))
    reach = min(doubled, float(np.abs(distance).max(initial=0)) or 0.5 * doubled)
    new = np.array([reach], kind)
    distance = np.clip(distance, -new[0], new[0]).astype(kind)
    some = np.abs(distance) < new[0]
    is_kept = some.any(axis=1) | is_inner
    tree = halved_tree(grid, wide.leaf_origins[is_kept])
    return _signed_tiles(_grid(replace(grid, background=new), tree, distance[is_kept][..., None], some[is_kept]))


def _neighbours(origins: np.ndarray, known: np.ndarray, band: float) -> np.ndarray:
    """[m, 3]: origins of leaves into which a band of this half width, in voxels, may reach from leaves [n, 3]."""
    near: np.ndarray = np.ones((len(origins), 2, 2, 2), bool)
    # Where a band ends in another leaf, the surface and what is known beside it lie in the half next to that.
    if band < masks.LEAF_DIM // 2 - 1 + _ROUNDING:
        near = np.asarray(known.reshape(-1, 2, 4, 2, 4, 2, 4).any(axis=(2, 4, 6)))
    found = []
    for step in _AROUND:
        side = tuple(slice(None) if along == 0 else slice(int(along > 0), 1 + int(along > 0)) for along in step)
        reached = near[(slice(None), *side)].any(axis=(1, 2, 3))
        found.append(origins[reached].astype(np.int64) + step * masks.LEAF_DIM)
    return np.unique(np.concatenate(found), axis=0)


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


def _means(
    grid: SparseGrid, leaf_source: LeafSource, origins: np.ndarray, is_staggered: bool
) -> tuple[np.ndarray, np.ndarray]:
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
        values = _values_of(blocks, part, leaf_source).astype(np.float64)
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


def _values_of(blocks: Blocks, part: slice, leaves: LeafSource) -> np.ndarray:
    """[m, 512, C]: values of the voxels of some of the blocks."""
    rows = blocks.rows[part]
    values = np.repeat(blocks.fill[part][:, None], masks.LEAF_SLOTS, axis=1)
    wanted = np.unique(rows[rows >= 0])
    if len(wanted):
        values[rows >= 0] = leaves(wanted)[np.searchsorted(wanted, rows[rows >= 0])]
    return values


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
