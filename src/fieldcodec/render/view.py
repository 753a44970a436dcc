"""Looking at a grid along one axis.

Index space is seen through a camera far out on the positive side of an axis. Camera coordinates are
(v, u, d): down, right and away from the camera, integers for voxels, with leaves aligned to multiples of 8.
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid

# For each axis looked along: the index axes of (v, u, d), and their signs. y is up, as in most VFX scenes.
_AXES = {0: (1, 2, 0), 1: (2, 0, 1), 2: (1, 0, 2)}
_SIGNS = {0: (-1, -1, -1), 1: (1, 1, -1), 2: (-1, 1, -1)}
AXIS_NAMES = "xyz"
_AIR = 0.04  # of the longest side, on every side


@dataclass(frozen=True)
class View:
    """Camera coordinates of one axis."""

    axis: int

    def __post_init__(self) -> None:
        if self.axis not in _AXES:
            raise UsageError(f"axis {self.axis!r} does not exist; use 0, 1 or 2 for x, y or z")

    @property
    def axes(self) -> tuple[int, int, int]:
        """Index axes of v, u and d."""
        return _AXES[self.axis]

    @property
    def signs(self) -> tuple[int, int, int]:
        """-1 where a camera axis runs against its index axis."""
        return _SIGNS[self.axis]

    def origins(self, origins: np.ndarray, size: int | np.ndarray = 8) -> np.ndarray:
        """[n, 3] least index corners of cubes of `size` voxels -> [n, 3] least camera corners."""
        picked = np.asarray(origins, np.int64)[:, list(self.axes)]
        return np.where(np.asarray(self.signs) > 0, picked, -picked - size)

    def blocks(self, leaf_values: np.ndarray) -> np.ndarray:
        """[n, 512] voxels of leaves -> [n, 8, 8, 8] in order v, u, d."""
        boxes = leaf_values.reshape(-1, 8, 8, 8).transpose(0, *(1 + axis for axis in self.axes))
        return boxes[(slice(None), *(slice(None, None, sign) for sign in self.signs))]

    def slot_steps(self) -> tuple[int, np.ndarray]:
        """(start, steps [3]): the slot of local voxel (v, u, d) of a leaf is start + dot((v, u, d), steps)."""
        strides = np.array([(64, 8, 1)[axis] for axis in self.axes], np.int64)
        signs = np.array(self.signs, np.int64)
        return int((strides * 7)[signs < 0].sum()), strides * signs

    def to_index(self, camera: np.ndarray) -> np.ndarray:
        """[n, 3] camera coordinates of voxels (fractions allowed) -> [n, 3] index coordinates."""
        signs = np.asarray(self.signs)
        index = np.empty_like(camera)
        index[:, list(self.axes)] = np.where(signs > 0, camera, -1 - camera)
        return index


@dataclass(frozen=True, eq=False)
class Frame:
    """A part of camera space, and the window within it that is shown; both in voxels, in order v, u, d."""

    view: View
    low: np.ndarray  # [3] int64, multiples of 8: camera coordinates of the frame's corner
    size: np.ndarray  # [3] int64, multiples of 8
    window_low: np.ndarray  # [3] int64: the window's corner, relative to the frame's
    window_size: np.ndarray  # [3] int64

    @property
    def aspect(self) -> float:
        """Height of the window divided by its width."""
        return float(self.window_size[0] / self.window_size[1])

    def image_shape(self, factor: int) -> tuple[int, int]:
        """(H, W) of a picture of the whole frame with pixels of `factor` voxels."""
        return -(-int(self.size[0]) // factor), -(-int(self.size[1]) // factor)

    def cropped(self, image: np.ndarray, factor: int) -> np.ndarray:
        """The window's part of a picture of the whole frame with pixels of `factor` voxels."""
        low = self.window_low[:2] // factor
        high = -(-(self.window_low + self.window_size)[:2] // factor)
        return image[low[0] : high[0], low[1] : high[1]]


def side_axis(grid: SparseGrid) -> int:
    """The horizontal axis along which a grid shows its larger face: 2 (z) or 0 (x)."""
    bounds = grid.topology.active_bounds
    if bounds is None:
        return 2
    size = bounds[1] - bounds[0]
    return 0 if size[0] < size[2] else 2


def frame_of(grids: tuple[SparseGrid, ...], axis: int) -> Frame:
    """The frame around the active voxels of all grids, with a little air; 8^3 voxels when all are empty."""
    view = View(axis)
    bounds = [grid.topology.active_bounds for grid in grids]
    lows = [bound[0] for bound in bounds if bound is not None]
    highs = [bound[1] for bound in bounds if bound is not None]
    low = np.min(lows, axis=0) if lows else np.zeros(3, np.int64)
    high = np.max(highs, axis=0) + 1 if highs else np.full(3, 8, np.int64)
    margin = max(2, round(_AIR * int((high - low).max())))
    low, high = low - margin, high + margin
    size = (high - low)[list(view.axes)]
    start = view.origins(low[None], size)[0]
    aligned = start & ~7
    return Frame(view, aligned, ((start + size + 7) & ~7) - aligned, start - aligned, size)
