"""How much light of the lamp and of the sky reaches each part of a fog."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from fieldcodec.grid.lookup import TILE_LOG2, tiles_of
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render import light_kernels
from fieldcodec.render.ray_tree import RayTree
from fieldcodec.threads import map_threads

_THICK = 7.0  # optical depth of the thick parts of a volume, where it is chosen
_THICK_SHARE = 90  # percentile of the lines through a volume that are called thick
_SMALLEST = 1e-30


@dataclass(frozen=True, eq=False)
class Cells:
    """Mean densities in cubes of 2^shift voxels around the active voxels of a grid."""

    values: np.ndarray  # [X, Y, Z] float32
    low: np.ndarray  # [3] int64: least voxel of the first cell
    shift: int

    @property
    def light_place(self) -> np.ndarray:
        """[4] float64: index place of the middle of the first cell, and cells for each voxel."""
        side = 1 << self.shift
        return np.array([*(self.low + (side - 1) / 2), 1 / side])


@dataclass(frozen=True, eq=False)
class CellBox:
    """Where cells lie: from cell `first` on, all of 2^shift voxels."""

    first: np.ndarray  # [3] int64
    shape: np.ndarray  # [3] int64
    shift: int


def cell_box(grid: SparseGrid, most: int) -> CellBox | None:
    """The cells around the active voxels of a grid, at most `most` along the longest side; None where nothing is."""
    bounds = grid.topology.active_bounds
    if bounds is None:
        return None
    low, high = bounds
    shift, most = 0, max(most, 2)  # two cells at least: low and high may lie on both sides of 0
    while int(np.max((high >> shift) - (low >> shift))) >= most:
        shift += 1
    return CellBox(low >> shift, (high >> shift) - (low >> shift) + 1, shift)


def cells_of(grid: SparseGrid, tree: RayTree, most: int) -> Cells:
    """The cells of a grid, at most `most` along its longest side; `tree` holds its densities."""
    place = cell_box(grid, most)
    if place is None:
        return Cells(np.zeros((1, 1, 1), np.float32), np.zeros(3, np.int64), 0)
    first, shift = place.first, place.shift
    values = np.zeros(place.shape, np.float32)
    # Leaves without density may lie outside the box of active voxels.
    used = tree.leaf_kinds == 3
    origins = grid.topology.leaf_origins[used].astype(np.int64)
    light_kernels.add_leaves(values, tree.leaves[used], origins, first << shift, shift)
    start = 1
    for log2 in TILE_LOG2:
        tiles = tiles_of(grid, log2)
        densities = tree.tiles[start : start + len(tiles.values)]
        start += len(tiles.values)
        for row in np.flatnonzero(densities > 0):
            begin = (tiles.origins[row].astype(np.int64) >> shift) - first
            end = ((tiles.origins[row].astype(np.int64) + (1 << log2) - 1) >> shift) - first + 1
            box = tuple(slice(a, b) for a, b in zip(begin, end, strict=True))
            values[box] += densities[row] * 2.0 ** (3 * min(log2 - shift, 0))
    return Cells(values, first << shift, shift)


def thick_density(cells: Cells, tree: RayTree) -> float:
    """Extinction for each unit of value and world length at which the thick parts of a volume look opaque.

    It does not depend on the camera, so that all frames of a turntable show one fog.
    """
    depths = []
    for axis, length in enumerate(np.linalg.norm(tree.to_world[:3], axis=1)):
        lines = cells.values.sum(axis=axis, dtype=np.float64).ravel() * (length * (1 << cells.shift))
        depths.append(lines[lines > 0])
    found = np.concatenate(depths)
    return float(_THICK / max(np.percentile(found, _THICK_SHARE), _SMALLEST)) if len(found) else 1.0


def light_grid(
    cells: Cells, tree: RayTree, extinction: float, directions: tuple[np.ndarray, np.ndarray], threads: int | None
) -> np.ndarray:
    """[X, Y, Z, 2] float32: shares of the light from two world directions that reach each cell.

    Args:
        extinction: for each unit of value and world length.
    """
    lights = np.ones((*cells.values.shape, 2), np.float32)
    used = grown(cells.values > 0)
    for channel, direction in enumerate(directions):
        step = tree.index_directions(direction) / (1 << cells.shift)  # in cells, for a world length of 1
        length = 1 / np.abs(step).max()
        layers = [(first, min(first + 4, len(used))) for first in range(0, len(used), 4)]
        fill = partial(_fill, lights[..., channel], cells.values, used, step * length, extinction * length)
        map_threads(fill, layers, threads)
    return lights


def _fill(
    lights: np.ndarray, cells: np.ndarray, used: np.ndarray, step: np.ndarray, scale: float, layers: tuple[int, int]
) -> None:
    light_kernels.fill_light(lights, *layers, cells, used, step, scale)


def grown(used: np.ndarray) -> np.ndarray:
    """[X, Y, Z] bool, with all 26 neighbours of what is set: interpolation reads them."""
    for axis in range(3):
        wider = used.copy()
        moved, source = np.moveaxis(wider, axis, 0), np.moveaxis(used, axis, 0)
        moved[1:] |= source[:-1]
        moved[:-1] |= source[1:]
        used = wider
    return used
