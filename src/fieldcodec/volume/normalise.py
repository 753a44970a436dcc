"""The range a regressor sees: level sets in [-1, 1], other channels by their own range (NeuralVDB 3.2)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.value_type import rounded_integers


@dataclass(frozen=True)
class Normalisation:
    """network = (value - offset) / scale, per channel; decoded values are clipped to [low, high]. All [C] float64."""

    offset: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def of(grid: SparseGrid, values: np.ndarray) -> "Normalisation":
        """From the active values [n, C], n > 0."""
        low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
        peak = np.maximum(np.abs(low), np.abs(high))
        if grid.is_level_set and grid.value_type.is_float:
            offset, scale = np.zeros_like(low), peak
        else:
            # values that begin near zero (density) keep it; others (temperature, velocity) are centred
            centred = (low < 0) | (low > 0.1 * high)
            offset = np.where(centred, (low + high) / 2, 0.0)
            scale = np.where(centred, (high - low) / 2, peak)
        return Normalisation(offset, np.where(scale > 0, scale, 1.0), low, high)

    @property
    def relative_range(self) -> float:
        """Value range in the network's units, root mean square over channels."""
        return float(np.sqrt(np.mean(((self.high - self.low) / self.scale) ** 2)))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """[n, C] values -> [n, C] float32."""
        return ((values.astype(np.float64) - self.offset) / self.scale).astype(np.float32)

    def invert(self, network: np.ndarray, grid_dtype: np.dtype, save_as_half: bool) -> np.ndarray:
        """[n, C] network outputs -> values of the grid's type, clipped, integers rounded."""
        values = np.clip(network.astype(np.float64) * self.scale + self.offset, self.low, self.high)
        if grid_dtype.kind in "iu":
            return rounded_integers(values, grid_dtype)
        if save_as_half:
            values = values.astype(np.float16)
        return values.astype(grid_dtype)

    def to_json(self) -> dict[str, list[float]]:
        return {name: getattr(self, name).tolist() for name in ("offset", "scale", "low", "high")}

    @staticmethod
    def from_json(data: Any, channels: int) -> "Normalisation":
        try:
            arrays = [_floats(data[name]) for name in ("offset", "scale", "low", "high")]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"value range in the meta section is not understood: {error}") from error
        if any(array.shape != (channels,) or not np.isfinite(array).all() for array in arrays):
            raise FormatError(f"value range in the meta section must hold {channels} finite numbers each")
        return Normalisation(*arrays)


def _floats(numbers: Any) -> np.ndarray:
    if not isinstance(numbers, list) or any(type(number) not in (int, float) for number in numbers):
        raise ValueError(f"{numbers!r} is not a list of numbers")
    return np.array([float(number) for number in numbers], np.float64)
