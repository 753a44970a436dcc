"""The scalar voxels of one or two grids as 8^3 bricks in camera coordinates, a run at a time.

Nothing here makes a dense copy of a whole grid. Tiles of 8^3 voxels become bricks; active tiles of
128^3 and 4096^3 voxels are left out of images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.lookup import Blocks, blocks_at
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render.view import Frame

_BRICKS_AT_ONCE = 2048
_LARGEST = 1e38


@dataclass(frozen=True, eq=False)
class Bricks:
    """Some bricks of a grid: values where active, 0 elsewhere."""

    corners: np.ndarray  # [n, 3] int64: least camera coordinates, relative to the frame
    values: np.ndarray  # [n, 8, 8, 8] float32
    active: np.ndarray  # [n, 8, 8, 8] bool


def brick_origins(*grids: SparseGrid) -> np.ndarray:
    """[n, 3] int32: index origins of all leaves and active tiles of 8^3 voxels that any of the grids has."""
    parts = []
    for grid in grids:
        parts += [grid.topology.leaf_origins, grid.topology.active_set.cubes[3]]
    return np.unique(np.concatenate(parts), axis=0)


def bricks_of(grid: SparseGrid, frame: Frame, origins: np.ndarray) -> Iterator[Bricks]:
    """What a grid has at the given origins, in that order."""
    blocks = blocks_at(grid, origins)
    corners = frame.view.origins(origins) - frame.low
    for part in _parts(len(origins)):
        values, active = _scalars(blocks, part)
        yield Bricks(corners[part], frame.view.blocks(values), frame.view.blocks(active))


def difference_bricks(a: SparseGrid, b: SparseGrid, frame: Frame, origins: np.ndarray) -> Iterator[Bricks]:
    """Absolute differences of two grids (lengths of the differences of vectors) where either is active."""
    first, second = blocks_at(a, origins), blocks_at(b, origins)
    corners = frame.view.origins(origins) - frame.low
    for part in _parts(len(origins)):
        active = first.active(part) | second.active(part)
        with np.errstate(invalid="ignore"):  # infinite in both: no difference
            gap = first.values(part).astype(np.float64) - second.values(part)
        values = _finite(np.where(active, _length(gap), 0))
        yield Bricks(corners[part], frame.view.blocks(values), frame.view.blocks(active))


def depth_order(frame: Frame, origins: np.ndarray) -> np.ndarray:
    """The origins sorted from near to far, then by row and column."""
    corners = frame.view.origins(origins)
    return origins[np.lexsort((corners[:, 1], corners[:, 0], corners[:, 2]))]


def slices_through(frame: Frame, origins: np.ndarray, depth: int) -> np.ndarray:
    """The origins of the bricks that hold camera depth `depth` (relative to the frame)."""
    corners = frame.view.origins(origins)[:, 2] - frame.low[2]
    return origins[(corners <= depth) & (depth < corners + 8)]


def _scalars(blocks: Blocks, part: slice) -> tuple[np.ndarray, np.ndarray]:
    """Values [m, 512] float32 (magnitudes of vectors; 0 where inactive or not finite) and active states."""
    values, active = blocks.values(part), blocks.active(part)
    scalars = _length(values.astype(np.float64)) if values.shape[-1] > 1 else values[..., 0]
    return _finite(np.where(active, scalars, 0)), active


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _BRICKS_AT_ONCE, count)) for start in range(0, count, _BRICKS_AT_ONCE))


def _length(values: np.ndarray) -> np.ndarray:
    """[..., C] -> [...]: length over the last axis."""
    with np.errstate(over="ignore"):
        return np.abs(values[..., 0]) if values.shape[-1] == 1 else np.linalg.norm(values, axis=-1)


def _finite(values: np.ndarray) -> np.ndarray:
    """float32 without NaN and infinities, which become 0; what is too large for float32 becomes its largest."""
    wide = values.astype(np.float64) if values.dtype.itemsize > 4 else values.astype(np.float32)
    return np.clip(np.nan_to_num(wide, nan=0.0, posinf=0.0, neginf=0.0), -_LARGEST, _LARGEST).astype(np.float32)
