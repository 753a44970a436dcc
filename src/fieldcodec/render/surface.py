"""The surface of a level set: the first change of sign along each ray, and the direction it faces."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render import kernels
from fieldcodec.render.view import Frame


@dataclass(frozen=True, eq=False)
class Surface:
    """What rays met; NaN where they met nothing."""

    points: np.ndarray  # [H, W, 3] float64: camera coordinates (v, u, d) relative to the frame, in voxels
    normals: np.ndarray  # [H, W, 3] float32: unit vectors in camera coordinates

    @property
    def hit(self) -> np.ndarray:
        """[H, W] bool."""
        return np.isfinite(self.points[..., 2])


@final
class SurfaceField:
    """A scalar level set, made ready for rays and samples; values between voxels are trilinear."""

    def __init__(self, grid: SparseGrid, frame: Frame) -> None:
        self._grid, self._frame = grid, frame
        values = grid.leaf_values[..., 0]
        self._values = np.ascontiguousarray(values, np.float64 if values.dtype == np.float64 else np.float32)
        origins = grid.topology.leaf_origins
        self._corners = frame.view.origins(origins) - frame.low
        self._near, self._fill = self._neighbours(origins)
        first, steps = frame.view.slot_steps()
        self._voxels = (self._values, self._near, self._fill.astype(self._values.dtype), first, steps)

    def trace(self, shape: tuple[int, int]) -> Surface:
        """Shoot `shape` = (H, W) rays, evenly spread over the window."""
        frame, corners = self._frame, self._corners
        columns, rows = int(frame.size[1]) // 8, int(frame.size[0]) // 8
        inside = np.all((corners[:, :2] >= 0) & (corners[:, :2] < frame.size[:2]), axis=1) & self._may_cross()
        cell = (corners[:, 0] // 8) * columns + corners[:, 1] // 8
        order = np.flatnonzero(inside)[np.lexsort((corners[inside, 2], cell[inside]))]
        starts = np.searchsorted(cell[order], np.arange(rows * columns + 1))
        points, normals = np.full((*shape, 3), np.nan), np.full((*shape, 3), np.nan, np.float32)
        pitch = frame.window_size[:2] / np.asarray(shape, np.float64)
        start = frame.window_low[:2].astype(np.float64)
        kernels.trace(len(points), points, normals, self._voxels, corners, order, starts, columns, start, pitch)
        return Surface(points, normals)

    def sample(self, points: np.ndarray) -> np.ndarray:
        """[n, 3] camera coordinates relative to the frame -> [n] float64: values there.

        In a block without leaf the value is that of its tile, or the background, throughout.
        """
        base = np.floor(points).astype(np.int64)
        index = self._frame.view.to_index(base + self._frame.low)
        found = blocks_at(self._grid, index & ~7)
        values = found.fill[:, 0].astype(np.float64)
        inside = found.rows >= 0
        sampled = np.empty(int(inside.sum()))
        kernels.sample(
            len(sampled), sampled, self._voxels, found.rows[inside], base[inside] & 7, (points - base)[inside]
        )
        values[inside] = sampled
        return values

    def _may_cross(self) -> np.ndarray:
        """[n] bool: leaves with a negative value in them or next to them; no ray enters the surface elsewhere."""
        negative = np.less(self._values, 0).any(axis=1)
        around: np.ndarray = np.where(self._near >= 0, negative[self._near], np.less(self._fill, 0))
        return np.asarray(around.any(axis=1))

    def _neighbours(self, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [n, 27] of the leaves around each leaf in camera order (-1: none), and the value where there is none."""
        view = self._frame.view
        steps = np.empty((27, 3), np.int64)
        steps[:, list(view.axes)] = (np.stack(list(np.ndindex(3, 3, 3))) - 1) * view.signs * 8
        found = blocks_at(self._grid, (origins[:, None] + steps).reshape(-1, 3))
        return found.rows.astype(np.int32).reshape(-1, 27), found.fill[:, 0].reshape(-1, 27)
