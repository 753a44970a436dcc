"""Index space <-> world space: the only place that converts between them.

A transform keeps the very bytes OpenVDB stores for its map, so that it comes back exactly;
the matrix used for arithmetic is derived from them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldcodec.errors import UnsupportedGridError, UsageError

_SCALE_DOUBLES = 15  # scale, voxel size, 1/scale, 1/scale^2, 1/(2 scale); three doubles each
_PAYLOAD_DOUBLES = {
    "UniformScaleMap": _SCALE_DOUBLES,
    "ScaleMap": _SCALE_DOUBLES,
    "UniformScaleTranslateMap": 3 + _SCALE_DOUBLES,
    "ScaleTranslateMap": 3 + _SCALE_DOUBLES,
    "TranslationMap": 3,
    "UnitaryMap": 16,
    "AffineMap": 16,
}
FRUSTUM = "NonlinearFrustumMap"
_POINTS_AT_ONCE = 4096


@dataclass(frozen=True)
class GridTransform:
    """One of OpenVDB's maps: `map_type` is its name, `payload` the bytes that follow it in a file."""

    map_type: str
    payload: bytes

    def __post_init__(self) -> None:
        doubles = _PAYLOAD_DOUBLES.get(self.map_type)
        if doubles is not None and len(self.payload) != doubles * 8:
            raise ValueError(f"a {self.map_type} needs {doubles * 8} bytes, got {len(self.payload)}")

    @staticmethod
    def uniform(voxel_size: float, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> "GridTransform":
        """World = index * voxel_size + origin (the world position of voxel (0, 0, 0)'s centre)."""
        h = float(voxel_size)
        if h == 0 or not np.isfinite(h):
            raise UsageError(f"the voxel size is {h}; it must be a finite length other than 0")
        return _scaled(np.repeat(h, 3), np.asarray(origin, np.float64))

    @staticmethod
    def of_matrix(matrix: np.ndarray) -> "GridTransform":
        """The simplest map with world = [i, j, k, 1] @ matrix (OpenVDB's row-vector convention).

        Args:
            matrix: [4, 4], last column (0, 0, 0, 1). A matrix for column vectors must be transposed first.

        Raises:
            UsageError: the matrix is singular, not finite or not affine.
        """
        matrix = np.array(matrix, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.any(matrix[:, 3] != (0, 0, 0, 1)):
            raise UsageError(
                "an affine transform needs a finite 4 x 4 matrix for row vectors with last column (0, 0, 0, 1), "
                f"got {matrix.tolist()}"
            )
        linear, scale = matrix[:3, :3], np.diag(matrix)[:3]
        if np.linalg.matrix_rank(linear) < 3:
            raise UsageError(f"the transform matrix is singular: {matrix.tolist()}; each axis needs a length")
        if np.array_equal(linear, np.diag(scale)):
            return _scaled(scale, matrix[3, :3])
        return GridTransform("AffineMap", matrix.astype("<f8").tobytes())

    @property
    def is_linear(self) -> bool:
        """False for frustum transforms, which are carried but not evaluated."""
        return self.map_type in _PAYLOAD_DOUBLES

    @cached_property
    def matrix(self) -> np.ndarray:
        """[4, 4] float64: world = [i, j, k, 1] @ matrix (OpenVDB's row-vector convention)."""
        if not self.is_linear:
            raise UnsupportedGridError(
                f"a {self.map_type} has no matrix; world-space access needs a linear transform "
                f"(one of {', '.join(_PAYLOAD_DOUBLES)})"
            )
        values = np.array(struct.unpack(f"<{len(self.payload) // 8}d", self.payload))
        if self.map_type in ("UnitaryMap", "AffineMap"):
            return values.reshape(4, 4)
        matrix = np.eye(4)
        if "Translat" in self.map_type:
            matrix[3, :3], values = values[:3], values[3:]
        if "Scale" in self.map_type:
            matrix[:3, :3] = np.diag(values[:3])
        return matrix

    @cached_property
    def voxel_size(self) -> np.ndarray:
        """[3] float64: world length of one voxel along each index axis."""
        return np.linalg.norm(self.matrix[:3, :3], axis=1)

    def to_world(self, ijk: np.ndarray) -> np.ndarray:
        """[n, 3] index coordinates -> [n, 3] world positions, float64."""
        ijk = np.asarray(ijk, np.float64)
        world = np.empty(ijk.shape)
        for part in _parts(len(world)):
            np.matmul(ijk[part], self.matrix[:3, :3], out=world[part])
            world[part] += self.matrix[3, :3]
        return world

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """[n, 3] world positions -> [n, 3] index coordinates, float64, not rounded.

        Raises:
            UnsupportedGridError: the map is not linear, or singular (which a damaged file may be).
        """
        points, scale = np.asarray(points, np.float64), self._scale
        index = np.empty(points.shape)
        for part in _parts(len(points)):
            shifted = points[part] - self.matrix[3, :3]
            if scale is None:
                np.matmul(shifted, self.inverse, out=index[part])
            else:
                np.divide(shifted, scale, out=index[part])
        return index

    @cached_property
    def inverse(self) -> np.ndarray:
        """[3, 3] float64: index directions = world directions @ inverse."""
        try:
            return np.linalg.inv(self.matrix[:3, :3])
        except np.linalg.LinAlgError as error:
            raise UnsupportedGridError(
                f"the {self.map_type} is singular: {self.matrix.tolist()}; world space needs a length for each axis"
            ) from error

    @cached_property
    def _scale(self) -> np.ndarray | None:
        """[3], where axes are scaled alone: dividing by it rounds once, which no product with an inverse does."""
        linear, scale = self.matrix[:3, :3], np.diag(self.matrix)[:3]
        return scale.copy() if scale.all() and np.array_equal(linear, np.diag(scale)) else None


def _parts(count: int) -> Iterator[slice]:
    """Points that stay in the cache, and are too few for a matrix library to start threads, which cost far more."""
    return (slice(start, start + _POINTS_AT_ONCE) for start in range(0, count, _POINTS_AT_ONCE))


def _scaled(scale: np.ndarray, origin: np.ndarray) -> GridTransform:
    """A scale map, uniform or not, with a translation or without: scale [3], origin [3]."""
    uniform = "Uniform" if np.all(scale == scale[0]) else ""
    doubles = np.concatenate([scale, np.abs(scale), 1 / scale, 1 / (scale * scale), 0.5 / scale])
    if not origin.any():
        return GridTransform(f"{uniform}ScaleMap", doubles.astype("<f8").tobytes())
    return GridTransform(f"{uniform}ScaleTranslateMap", np.concatenate([origin, doubles]).astype("<f8").tobytes())
