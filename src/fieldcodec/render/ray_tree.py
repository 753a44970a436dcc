"""A sparse grid made ready for rays: tables from places to leaves and tiles, and which of them a ray can pass over.

This is all that the ray loops know of a volume, so whatever fills these tables can be drawn: `ray_tree` fills
them from a `SparseGrid`.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.lookup import TILE_LOG2, tiles_of
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render import ray_kernels

LOW_SIDE, HIGH_SIDE, MIXED = 1, 2, 3  # kinds of leaves and tiles; rays stop only where kinds combine to MIXED
_LARGEST = 1e30
_AT_ONCE = 4096  # leaves or tiles


class Meaning(Enum):
    """What the numbers of a grid are taken for."""

    DENSITY = "density"  # magnitudes of active voxels, 0 elsewhere; rays pass over what is 0
    DISTANCE = "distance"  # signed distances; rays pass over what has one sign throughout
    VALUE = "value"  # values (of vectors their magnitudes), active or not; rays stop everywhere


@dataclass(frozen=True, eq=False)
class RayTree:
    """The tables; R entries of the root, U upper nodes, L lower nodes, N leaves, T tiles.

    A code >= 0 is a row of the next level's table; one below 0 means tile `~code`. Tile 0 is the background.
    """

    root_keys: np.ndarray  # [R, 3] int64, in units of 4096 voxels, sorted by x, then y, then z
    root_codes: np.ndarray  # [R] int32
    upper: np.ndarray  # [U, 32768] int32
    lower: np.ndarray  # [L, 4096] int32
    leaves: np.ndarray  # [N, 512] float32
    tiles: np.ndarray  # [T] float32
    leaf_kinds: np.ndarray  # [N] uint8
    tile_kinds: np.ndarray  # [T] uint8
    lower_origins: np.ndarray  # [L, 3] int64
    low: np.ndarray  # [3] float64: index-space corner of the box outside which a ray meets nothing
    high: np.ndarray  # [3] float64
    to_world: np.ndarray  # [4, 3] float64: world = [i, j, k, 1] @ to_world

    @cached_property
    def tables(self) -> tuple[np.ndarray, ...]:
        """What the kernels take, in their order; the last [L, 4096] uint8: see `combine_kinds`."""
        combined = np.empty(self.lower.shape, np.uint8)
        known = (
            self.root_keys, self.root_codes, self.upper, self.lower,
            self.leaves, self.tiles, self.leaf_kinds, self.tile_kinds,
        )  # fmt: skip
        ray_kernels.combine_kinds(combined, known, self.lower_origins)
        return (*known, combined)

    @property
    def is_empty(self) -> bool:
        return bool(np.any(self.high <= self.low))

    @cached_property
    def _to_index(self) -> np.ndarray:
        return np.linalg.inv(self.to_world[:3])

    @property
    def voxel_world(self) -> float:
        """World length of a voxel, the mean of its three edges."""
        return float(np.linalg.norm(self.to_world[:3], axis=1).mean())

    def index_points(self, points: np.ndarray) -> np.ndarray:
        """[..., 3] world positions -> index space."""
        return (points - self.to_world[3]) @ self._to_index

    def index_directions(self, directions: np.ndarray) -> np.ndarray:
        """[..., 3] world directions -> index space; lengths along a ray stay world lengths."""
        return np.asarray(directions, np.float64) @ self._to_index

    def world_gradients(self, gradients: np.ndarray) -> np.ndarray:
        """[..., 3] gradients in index space -> world space."""
        return gradients @ self._to_index.T


def index_to_world(grid: SparseGrid) -> np.ndarray:
    """[4, 3] float64: world = [i, j, k, 1] @ it. Frustum transforms are not evaluated: those grids are drawn in index
    space."""
    matrix = grid.transform.matrix if grid.transform.is_linear else np.eye(4)
    return np.ascontiguousarray(matrix[:, :3])


def ray_tree(grid: SparseGrid, meaning: Meaning) -> RayTree:
    """The tables of a grid."""
    topology = grid.topology
    leaves = _scalars(grid.leaf_values, meaning)
    tiles, tile_active = _all_tiles(grid, meaning)
    if meaning is Meaning.DENSITY:
        leaves[~topology.leaf_active_bits] = 0
        tiles = np.where(tile_active, tiles, np.float32(0))
    low, high = _bounds(grid, meaning)
    root_keys, root_codes, upper, lower = _codes(grid)
    return RayTree(
        root_keys=root_keys,
        root_codes=root_codes,
        upper=upper,
        lower=lower,
        leaves=np.ascontiguousarray(leaves),
        tiles=tiles,
        leaf_kinds=_kinds(leaves, meaning),
        tile_kinds=_kinds(tiles[:, None], meaning),
        lower_origins=topology.lower_origins.astype(np.int64),
        low=low,
        high=high,
        to_world=index_to_world(grid),
    )


def world_bounds(grids: tuple[SparseGrid, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the world-space box around the active voxels of all grids; a unit box where there are none."""
    points = outline(grids, exact=False)
    return points.min(axis=0), points.max(axis=0)


def outline(grids: tuple[SparseGrid, ...], *, exact: bool = True) -> np.ndarray:
    """[n, 3] world positions around the active voxels of all grids: corners of leaves and tiles, cut to the box
    around what is active, or of that box alone. A unit box where there is nothing."""
    points = []
    picks = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
    for grid in grids:
        bounds = grid.topology.active_bounds
        if bounds is None:
            continue
        low, high = bounds[0] - 0.5, bounds[1] + 0.5
        index = np.where(picks == 0, low, high)
        if exact:
            index = np.clip(_cube_corners(grid, picks), low, high)
        points.append(grid.transform.to_world(index) if grid.transform.is_linear else index)
    return np.concatenate(points) if points else picks - 0.5


def _cube_corners(grid: SparseGrid, picks: np.ndarray) -> np.ndarray:
    """[n, 3]: corners of the leaves and tiles that hold active voxels, in index space."""
    topology = grid.topology
    used = topology.leaf_origins[topology.leaf_active.any(axis=1)]
    cubes = [(3, used), *topology.active_set.cubes.items()]
    corners = [(origins[:, None] + picks * (1 << log2) - 0.5).reshape(-1, 3) for log2, origins in cubes]
    return np.unique(np.concatenate(corners), axis=0)


def _scalars(values: np.ndarray, meaning: Meaning) -> np.ndarray:
    """[n, ..., C] -> [n, ...] float32, finite; magnitudes of vectors and of densities. A part at a time, as `values`
    of a large grid fill the memory."""
    result = np.empty(values.shape[:-1], np.float32)
    for start in range(0, len(values), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        result[part] = _finite_scalars(values[part], meaning)
    return result


def _finite_scalars(values: np.ndarray, meaning: Meaning) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        if values.shape[-1] > 1:
            scalars = np.sqrt(np.square(values.astype(np.float64)).sum(axis=-1))
        else:
            scalars = values[..., 0].astype(np.float64 if values.dtype.itemsize > 4 else np.float32)
            scalars = np.abs(scalars) if meaning is Meaning.DENSITY else scalars
    finite = np.nan_to_num(scalars, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(finite, -_LARGEST, _LARGEST).astype(np.float32)


def _all_tiles(grid: SparseGrid, meaning: Meaning) -> tuple[np.ndarray, np.ndarray]:
    """Values [T] float32 and active states [T] of the background and the tiles of all levels."""
    levels = [tiles_of(grid, log2) for log2 in TILE_LOG2]
    values = np.concatenate([grid.background[None], *(level.values for level in levels)])
    active = np.concatenate([np.zeros(1, bool), *(level.active for level in levels)])
    return _scalars(values, meaning), active


def _kinds(values: np.ndarray, meaning: Meaning) -> np.ndarray:
    """[n, voxels] -> [n] uint8."""
    if meaning is Meaning.VALUE:
        return np.full(len(values), MIXED, np.uint8)
    if meaning is Meaning.DENSITY:
        return np.asarray(np.where((values > 0).any(axis=1), MIXED, LOW_SIDE), np.uint8)
    inside = values < 0
    kinds = inside.any(axis=1) * HIGH_SIDE + (~inside).any(axis=1) * LOW_SIDE
    return np.asarray(kinds, np.uint8)


def _bounds(grid: SparseGrid, meaning: Meaning) -> tuple[np.ndarray, np.ndarray]:
    """The box of what can be seen; low = high where there is nothing."""
    bounds = grid.topology.active_bounds
    if bounds is None:
        return np.zeros(3), np.zeros(3)
    air = 0.5 if meaning is Meaning.VALUE else 1.0  # interpolated values fade over one voxel
    return bounds[0] - air, bounds[1] + air


def _codes(grid: SparseGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys and codes of the root, codes of upper and lower nodes; tiles are numbered as in `_all_tiles`."""
    topology = grid.topology
    upper_start = 1 + topology.num_lower_tiles
    root_start = upper_start + topology.num_upper_tiles
    lower = _node_codes(topology.lower_child, masks.LOWER_SLOTS, 1)
    upper = _node_codes(topology.upper_child, masks.UPPER_SLOTS, upper_start)
    uppers, root_tiles = len(topology.upper_origins), len(topology.root_tile_origins)
    keys = np.concatenate([topology.upper_origins, topology.root_tile_origins]).astype(np.int64) >> 12
    codes = np.concatenate([np.arange(uppers), ~(root_start + np.arange(root_tiles))]).astype(np.int32)
    order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
    return np.ascontiguousarray(keys[order]), codes[order], upper, lower


def _node_codes(child: np.ndarray, slots: int, first_tile: int) -> np.ndarray:
    """[n, slots / 8] child masks -> [n, slots] int32 codes: children and tiles are both numbered in slot order."""
    bits = masks.unpack(child).reshape(-1)
    codes = np.empty(len(bits), np.int32)
    codes[bits] = np.arange(np.count_nonzero(bits))
    codes[~bits] = ~(first_tile + np.arange(len(bits) - np.count_nonzero(bits)))
    return codes.reshape(-1, slots)
