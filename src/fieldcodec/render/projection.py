"""Flat pictures of a volume: means along the view axis, slices, and where two volumes differ."""

from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render.bricks import Bricks, brick_origins, bricks_of, difference_bricks, slices_through
from fieldcodec.render.view import Frame


@dataclass(frozen=True, eq=False)
class Projection:
    """Pictures of two grids and of their difference; NaN where nothing is active along the ray."""

    original: np.ndarray  # [H, W] float64
    decoded: np.ndarray
    error: np.ndarray


def pixel_voxels(frame: Frame, most_pixels: int) -> int:
    """Voxels along the side of a pixel: the least power of two that keeps the picture below `most_pixels`."""
    factor = 1
    while max(frame.window_size[0], frame.window_size[1]) > most_pixels * factor:
        factor *= 2
    return factor


def mean_projection(original: SparseGrid, decoded: SparseGrid, frame: Frame, factor: int) -> Projection:
    """Means over the voxels along each ray that are active in the grid (for the error: in either grid).

    The error is the mean absolute difference, as in Figure 12 of NeuralVDB.
    """
    return _project(original, decoded, frame, factor, brick_origins(original, decoded), None)


def slice_projection(original: SparseGrid, decoded: SparseGrid, frame: Frame, factor: int, depth: int) -> Projection:
    """One layer of voxels at camera depth `depth`, relative to the frame."""
    origins = slices_through(frame, brick_origins(original, decoded), depth)
    return _project(original, decoded, frame, factor, origins, depth)


def line_integral(grid: SparseGrid, frame: Frame, factor: int) -> np.ndarray:
    """[H, W] float64: sum of the active values along each ray, voxel by voxel; what fog absorbs."""
    total = np.zeros(frame.image_shape(factor))
    for bricks in bricks_of(grid, frame, brick_origins(grid)):
        _add(total, bricks.corners, bricks.values.sum(axis=3, dtype=np.float64), factor)
    return frame.cropped(total, factor) / factor**2


def _project(
    original: SparseGrid, decoded: SparseGrid, frame: Frame, factor: int, origins: np.ndarray, depth: int | None
) -> Projection:
    shape = frame.image_shape(factor)
    pictures = []
    for source in (
        bricks_of(original, frame, origins),
        bricks_of(decoded, frame, origins),
        difference_bricks(original, decoded, frame, origins),
    ):
        total, weight = np.zeros(shape), np.zeros(shape)
        for whole in source:
            bricks = whole if depth is None else _layer(whole, depth)
            _add(total, bricks.corners, bricks.values.sum(axis=3, dtype=np.float64), factor)
            _add(weight, bricks.corners, bricks.active.sum(axis=3, dtype=np.float64), factor)
        means = np.divide(total, weight, out=np.full(shape, np.nan), where=weight > 0)
        pictures.append(frame.cropped(means, factor))
    return Projection(*pictures)


def _layer(bricks: Bricks, depth: int) -> Bricks:
    """The same bricks with a depth of one voxel."""
    local = depth - bricks.corners[:, 2]
    rows = np.arange(len(local))
    return Bricks(
        bricks.corners, bricks.values[rows, :, :, local][..., None], bricks.active[rows, :, :, local][..., None]
    )


def _add(image: np.ndarray, corners: np.ndarray, squares: np.ndarray, factor: int) -> None:
    """Add squares [n, 8, 8] of voxels to an image of coarser pixels, at camera corners [n, 3]."""
    inner = min(factor, 8)
    cells = 8 // inner
    sums = squares.reshape(-1, cells, inner, cells, inner).sum(axis=(2, 4))
    offset = np.arange(cells) * inner
    rows = (corners[:, 0, None] + offset) // factor
    columns = (corners[:, 1, None] + offset) // factor
    flat = rows[:, :, None] * image.shape[1] + columns[:, None, :]
    image += np.bincount(flat.ravel(), sums.ravel(), minlength=image.size).reshape(image.shape)
