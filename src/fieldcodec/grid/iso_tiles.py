"""Root tiles with nothing around them: the surface of such a cube of 4096^3 voxels, without looking at its voxels.

Cell by cell it would have 200 million triangles. But marching cubes makes the same flat faces and bevelled edges
around a cube of any size, so two voxels along each axis stand for the 4096: 44 triangles, in the same places.
"""

from dataclasses import dataclass, replace

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import SparseGrid

_AROUND = np.array([step for step in np.ndindex(3, 3, 3) if step != (1, 1, 1)], np.int64) - 1
_FIRST, _LAST = 1, 2  # of the voxels of a block that stand for a tile


@dataclass(frozen=True, eq=False)
class LoneTiles:
    """Root tiles that touch neither nodes nor other tiles, nor any at a corner, but those that hold the background."""

    origins: np.ndarray  # [n, 3] int64
    values: np.ndarray  # [n] float64

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def blocks(self) -> np.ndarray:
        """[n, 3] int64: origins of blocks deep inside the tiles, where nothing else has any surface."""
        return self.origins + masks.UPPER_DIM // 2

    def voxels(self, part: slice, background: float) -> np.ndarray:
        """[m, 11, 11, 11] float64: a block with its margin, see `iso_kernels`, that stands for each of some tiles."""
        values = np.full((len(self.origins[part]), 11, 11, 11), background)
        inside = slice(1 + _FIRST, 2 + _LAST)
        values[:, inside, inside, inside] = self.values[part, None, None, None]
        return values

    def stretched(self, places: np.ndarray) -> np.ndarray:
        """[v, 3] positions in such blocks -> positions relative to the tiles' origins."""
        return np.where(places < (_FIRST + _LAST) / 2, places - _FIRST, places - _LAST + masks.UPPER_DIM - 1)


def without_lone_tiles(grid: SparseGrid) -> tuple[SparseGrid, LoneTiles]:
    """A scalar grid with its lone root tiles taken out, and these."""
    topology, values = grid.topology, grid.root_tile_values[:, 0]
    origins = topology.root_tile_origins.astype(np.int64)
    odd = np.flatnonzero(values != grid.background[0])
    taken = OriginTable(np.concatenate([topology.upper_origins.astype(np.int64), origins[odd]]))
    around = (origins[odd, None] + _AROUND * masks.UPPER_DIM).reshape(-1, 3)
    lone = odd[(taken.find(around).reshape(-1, len(_AROUND)) < 0).all(axis=1)]
    if not len(lone):
        return grid, LoneTiles(origins[lone], values[lone].astype(np.float64))
    kept = np.ones(len(values), bool)
    kept[lone] = False
    rest = replace(
        topology,
        root_tile_origins=topology.root_tile_origins[kept],
        root_tile_active=topology.root_tile_active[kept],
    )
    found = LoneTiles(origins[lone], values[lone].astype(np.float64))
    return replace(grid, topology=rest, root_tile_values=grid.root_tile_values[kept]), found
