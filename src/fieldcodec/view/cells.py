"""A grid as a dense box of cells, small enough for a texture whatever the size of the grid.

Cells are cubes of 1, 2, 4, ... voxels a side, as large as needed for the box to have no more than some cells along each
axis, and in all. So memory is bounded by that number, and work by the number of leaves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.lookup import Tiles, blocks_at, tiles_of
from fieldcodec.grid.sparse_grid import SparseGrid

LONGEST = 512  # cells along an axis, at most
MOST = 200**3  # cells in all
_BLOCKS_AT_ONCE = 4096  # two million voxels
_LARGEST = 1e30
_LEAF = masks.LEAF_DIM


@dataclass(frozen=True, eq=False)
class Cells:
    """Cubes of `factor`^3 voxels; the first one begins at voxel `low` (a multiple of the leaf and of `factor`)."""

    low: np.ndarray  # [3] int64
    shape: tuple[int, int, int]
    factor: int

    @staticmethod
    def around(box: tuple[np.ndarray, np.ndarray], longest: int) -> "Cells":
        """The finest cells around a box (smallest and largest index, inclusive): at most `longest` along an axis, and
        MOST in all."""
        factor = 1
        while True:
            aligned = max(_LEAF, factor)
            low = np.asarray(box[0], np.int64) & ~(aligned - 1)
            high = (np.asarray(box[1], np.int64) + aligned) & ~(aligned - 1)
            shape = (high - low) // factor
            if shape.max() <= longest and int(np.prod(shape)) <= MOST:
                return Cells(low, (int(shape[0]), int(shape[1]), int(shape[2])), factor)
            factor *= 2


def density_cells(grid: SparseGrid, cells: Cells) -> np.ndarray:
    """[X, Y, Z] float32: means of the magnitudes of active voxels; what is not active counts as 0."""

    def density(part: np.ndarray) -> np.ndarray:
        blocks, whole = blocks_at(grid, part), slice(0, len(part))
        return np.where(blocks.active(whole), magnitudes(blocks.values(whole)), np.float32(0))

    result = np.zeros(cells.shape, np.float32)
    origins = _blocks((grid,))
    for part, values in _reduced(origins, cells, density, np.mean):
        _put(result, cells, part, values, np.add)
    for tiles in _large_tiles(grid):
        _fill(result, cells, tiles, magnitudes(tiles.values))
    return result


def error_cells(original: SparseGrid, decoded: SparseGrid, cells: Cells) -> np.ndarray:
    """[X, Y, Z] float32: the largest absolute difference of voxels active in either grid, in leaves and 8^3 tiles."""

    def error(part: np.ndarray) -> np.ndarray:
        whole = slice(0, len(part))
        first, second = blocks_at(original, part), blocks_at(decoded, part)
        active = first.active(whole) | second.active(whole)
        return np.where(active, differences(first.values(whole), second.values(whole)), np.float32(0))

    result = np.zeros(cells.shape, np.float32)
    origins = _blocks((original, decoded))
    for part, values in _reduced(origins, cells, error, np.max):
        _put(result, cells, part, values, np.maximum)
    return result


def magnitudes(values: np.ndarray) -> np.ndarray:
    """[..., C] -> [...] float32, finite (NaN and infinity are 0): lengths of vectors, sizes of numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        if values.shape[-1] == 1:
            sizes = np.abs(values[..., 0].astype(np.float64))
        else:
            sizes = np.sqrt(np.square(values.astype(np.float64)).sum(axis=-1))
    return np.minimum(np.nan_to_num(sizes, nan=0.0, posinf=0.0), _LARGEST).astype(np.float32)


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two times [..., C] -> [...] float32: the magnitudes of what lies between, 0 where either is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return magnitudes(second.astype(np.float64) - first.astype(np.float64))


def _blocks(grids: tuple[SparseGrid, ...]) -> np.ndarray:
    """[n, 3] int64: origins of the leaves and of the active 8^3 tiles of all grids, each once."""
    found = []
    for grid in grids:
        tiles = tiles_of(grid, masks.LEAF_LOG2)
        found += [grid.topology.leaf_origins.astype(np.int64), tiles.origins[tiles.active].astype(np.int64)]
    return np.unique(np.concatenate(found), axis=0)


def _reduced(
    origins: np.ndarray, cells: Cells, read: Callable[[np.ndarray], np.ndarray], reduce: Callable[..., np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some blocks at a time: their origins [b, 3], and [b, m, m, m] what `reduce` makes of the voxels of each cell."""
    side = min(cells.factor, _LEAF)
    m = _LEAF // side
    end = cells.low + np.array(cells.shape) * cells.factor
    origins = origins[np.all((origins >= cells.low) & (origins < end), axis=1)]
    for first in range(0, len(origins), _BLOCKS_AT_ONCE):
        part = origins[first : first + _BLOCKS_AT_ONCE]
        voxels = read(part).reshape(-1, m, side, m, side, m, side)
        yield part, reduce(voxels, axis=(2, 4, 6))


def _put(result: np.ndarray, cells: Cells, origins: np.ndarray, values: np.ndarray, combine: np.ufunc) -> None:
    """Adds blocks, or takes the larger value: [b, m, m, m] values of the blocks at [b, 3]."""
    x, y, z = ((origins - cells.low) // cells.factor).T
    if cells.factor <= _LEAF:
        m = values.shape[1]
        boxes = result.reshape(result.shape[0] // m, m, result.shape[1] // m, m, result.shape[2] // m, m).transpose(
            0, 2, 4, 1, 3, 5
        )
        boxes[x // m, y // m, z // m] = values
        return
    share = (_LEAF / cells.factor) ** 3 if combine is np.add else 1.0
    combine.at(result, (x, y, z), values[:, 0, 0, 0] * np.float32(share))


def _large_tiles(grid: SparseGrid) -> Iterator[Tiles]:
    """Active tiles of 128^3 and 4096^3 voxels."""
    for log2 in (masks.LEAF_LOG2 + masks.LOWER_LOG2, masks.LEAF_LOG2 + masks.LOWER_LOG2 + masks.UPPER_LOG2):
        tiles = tiles_of(grid, log2)
        yield Tiles(log2, tiles.origins[tiles.active], tiles.values[tiles.active], tiles.active[tiles.active])


def _fill(result: np.ndarray, cells: Cells, tiles: Tiles, values: np.ndarray) -> None:
    """Adds constant cubes; one smaller than a cell adds its share."""
    share = min(1.0, ((1 << tiles.log2) / cells.factor) ** 3)
    for origin, value in zip(tiles.origins.astype(np.int64), values, strict=True):
        first = (origin - cells.low) // cells.factor
        last = (origin + (1 << tiles.log2) - 1 - cells.low) // cells.factor + 1
        x, y, z = (slice(max(int(a), 0), max(int(b), 0)) for a, b in zip(first, last, strict=True))
        result[x, y, z] += value * np.float32(share)
