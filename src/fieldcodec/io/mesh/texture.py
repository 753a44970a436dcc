"""Colours of textures at places of a surface."""

from dataclasses import dataclass
from typing import final

import numpy as np

_EDGE = 1e-3  # texels: a chart that ends this near to the edge of one does not reach into it


@final
@dataclass(frozen=True, eq=False)
class Texture:
    """An image, its first row at the top: v = 1."""

    image: np.ndarray  # [h, w, 3] uint8, sRGB

    def at(self, places: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Colours [n, 3] float64, 0 to 255, mixed of the four texels around each place.

        Only texels that the chart of a place covers are mixed in: cells of a palette do not run into each other, and
        what lies between the charts of an atlas stays out. Images repeat beyond 0 and 1.

        Args:
            places: [n, 2] u and v.
            boxes: [n, 4] the least u and v of the chart that each place lies in, and the largest.
        """
        height, width, _ = self.image.shape
        columns = _texels(places[:, 0], boxes[:, 0], boxes[:, 2], width)
        rows = _texels(1 - places[:, 1], 1 - boxes[:, 3], 1 - boxes[:, 1], height)
        result = np.zeros((len(places), 3))
        for row, row_weight in rows:
            for column, weight in columns:
                result += self.image[row, column] * (row_weight * weight)[:, None]
        return result


def _texels(places: np.ndarray, low: np.ndarray, high: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Along one axis: numbers [n] and weights [n] of the texels on both sides of each place."""
    first = np.floor(low * size + _EDGE)
    last = np.maximum(np.ceil(high * size - _EDGE) - 1, first)
    middle = places * size - 0.5
    below = np.floor(middle)
    share = middle - below
    return [
        (np.clip(below + step, first, last).astype(np.int64) % size, share if step else 1 - share) for step in (0, 1)
    ]


def to_linear(colours: np.ndarray) -> np.ndarray:
    """sRGB of 0 to 255 to amounts of light of 0 to 1."""
    values = np.asarray(colours, np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """The inverse of `to_linear`."""
    values = np.clip(np.asarray(light, np.float64), 0, 1)
    return 255 * np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)
