"""How integers F of leaf voxels become values and margins: what lattices, meshes and networks have in common."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.grid.value_type import ValueType
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin


class LeafNumbers(Protocol):
    """Knows F of all leaf voxels from the leaves' origins, before their masks are read."""

    def slot_hints(self, lower_origins: Sequence[Origin]) -> list[list[int]] | None:
        """0..23 for each slot of lower nodes; None where nothing is known of them."""

    def leaf_masks(self, origins: Sequence[Origin]) -> list[Bits]:
        """Active bits; to be asked for before the values."""

    def values(self, origins: Sequence[Origin], masks: Sequence[Bits]) -> np.ndarray:
        """[leaves, 512, C], of which those of active voxels count."""


@final
@dataclass(frozen=True)
class Scale:
    """`unit` to `high` and `background` have a number for each channel."""

    unit: list[float]
    offset: list[float]
    low: list[float]
    high: list[float]
    banded: bool
    background: list[float]
    kind: ValueType
    half: bool

    def __post_init__(self) -> None:
        numbers = (self.unit, self.offset, self.low, self.high, self.background)
        if any(len(x) != self.kind.channels for x in numbers) or min(self.unit) <= 0 or type(self.banded) is not bool:
            raise FormatError("the description of the values is not understood")

    @property
    def dtype(self) -> np.dtype:
        """What values are rounded to first."""
        return np.dtype("<f2") if self.half and self.kind.is_float else self.kind.dtype

    def rounded(self, channel: int, fixed: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Values of a type, of F of one channel."""
        values = fixed * self.unit[channel] + self.offset[channel]
        values = np.minimum(np.maximum(values, self.low[channel]), self.high[channel])
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return values.astype(dtype)
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        if dtype.itemsize == 8:
            most = (1 << 63) - 1024  # the largest double in it
        whole = [min(max(int(x), least), most) for x in np.rint(values).ravel().tolist()]
        return np.array(whole, dtype).reshape(values.shape)

    def margins(self, fixed: Sequence[np.ndarray]) -> np.ndarray:
        """Whole numbers of 16 bits, of F of all channels."""
        unit, offset, band = self.unit, self.offset, abs(self.background[0])
        if self.banded and band > 0:
            margins = (band / unit[0] - np.abs(fixed[0] + offset[0] / unit[0])) * (192 * unit[0] / band)
        else:
            margins = np.zeros_like(fixed[0])
            for channel, rest in enumerate(self.background):
                span = max(abs(self.high[channel] - rest), abs(self.low[channel] - rest)) or 1.0
                away = np.abs(fixed[channel] * unit[channel] + (offset[channel] - rest))
                with np.errstate(invalid="ignore"):  # a background may be infinite or no number
                    margins = np.maximum(margins, away * (8192 / span))
        margins = np.where(np.isnan(margins), 0, np.clip(np.rint(margins), -32768, 32767))
        return margins.astype(np.int64)


def finite_numbers(data: Any) -> list[float]:
    """Raises FormatError where an entry is no finite number."""
    largest = sys.float_info.max
    if not isinstance(data, list) or not all(type(x) in (int, float) and abs(x) <= largest for x in data):
        raise FormatError("a number of a description is not finite")
    return [float(x) for x in data]
