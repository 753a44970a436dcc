"""One layer of voxels across an axis, at full resolution as long as a picture can show it."""

from dataclasses import dataclass

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.view.cells import differences, magnitudes
from fieldcodec.view.source import Pair, Which

MOST = 2048  # numbers along each side of a layer; of longer ones every second, third, ... voxel is shown
_ROWS_AT_ONCE = 256
ACROSS = {0: (2, 1), 1: (0, 2), 2: (0, 1)}  # axis looked along -> index axes to the right and upwards


@dataclass(frozen=True, eq=False)
class Layer:
    """[H, W] float32, the first row at the top; of vectors the magnitudes. `step` voxels are between two numbers."""

    values: np.ndarray
    step: int


def layer(pair: Pair, which: Which, axis: int, index: int) -> Layer:
    """The voxels, active or not, of one layer of the box around both grids.

    Raises:
        UsageError: the axis or the layer does not exist, or there is no original.
    """
    if axis not in ACROSS:
        raise UsageError(f"axis {axis} does not exist; use 0, 1 or 2 for x, y or z")
    if pair.box is None:
        raise UsageError("the grid has no active voxels, so there is no layer to show")
    low, high = pair.box
    if not low[axis] <= index <= high[axis]:
        raise UsageError(f"layer {index} is outside the grid; use {low[axis]} to {high[axis]}")
    right, up = ACROSS[axis]
    size = high - low + 1
    step = max(1, -(-int(max(size[right], size[up])) // MOST))
    columns = np.arange(low[right], high[right] + 1, step)
    rows = np.arange(low[up], high[up] + 1, step)[::-1]
    values = np.empty((len(rows), len(columns)), np.float32)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[first : first + _ROWS_AT_ONCE]
        points = np.empty((len(part), len(columns), 3))
        points[..., axis], points[..., right], points[..., up] = index, columns, part[:, None]
        values[first : first + len(part)] = _shown(pair, which, points)
    return Layer(values, step)


def _shown(pair: Pair, which: Which, points: np.ndarray) -> np.ndarray:
    if which is not Which.ERROR:
        return scalars(_at(pair.grid(which), points))
    original, decoded = pair.grids
    return differences(_at(original, points), _at(decoded, points))


def scalars(values: np.ndarray) -> np.ndarray:
    """[..., C] -> [...] float32: numbers as they are (not finite ones as 0), vectors as magnitudes."""
    if values.shape[-1] > 1:
        return magnitudes(values)
    with np.errstate(over="ignore"):
        numbers = values[..., 0].astype(np.float32)
    return np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)


def _at(grid: SparseGrid, points: np.ndarray) -> np.ndarray:
    return np.asarray(grid.sample(points, space="index", interpolation="nearest"))
