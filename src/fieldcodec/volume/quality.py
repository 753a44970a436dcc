"""What an encode may lose, in the words of the people who ask for it."""

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid

_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_MCD_OF_IOU = 0.25  # voxels
_NEAR_VOXELS = 3.0  # from the surface: as far as a narrow band reaches
_NUMBER = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z%]*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Quality:
    """The quality asked for; every demand that is given is met. With none, the preset's `target_rmse` counts.

    A length or a value is a plain number in the file's own units, or a text with a unit: "1%" of the range of the
    active values, "0.1vx" voxels.
    """

    rmse: float | str | None = None
    """Largest root mean square error of active values: in the file's units, or as 1% of their range, or 0.1vx."""
    psnr: float | None = None
    """Least peak signal-to-noise ratio in dB, the peak being the range of the active values."""
    max_error: float | str | None = None
    """Largest error of any active value: in the file's units, or as 1% of their range, or 0.1vx."""
    iou: float | None = None
    """Level sets: least intersection over union of the interiors. Alone it allows an mcd of 0.25 voxel."""
    mcd: float | str | None = None
    """Level sets: largest modified Chamfer distance of the surfaces, in voxels."""
    size: int | str | None = None
    """Most bytes of a grid, such as 100KB; the best quality that fits."""
    lossless: bool = False
    """Restore every value bit for bit."""

    def __post_init__(self) -> None:
        for name in ("rmse", "max_error", "mcd"):
            if getattr(self, name) is not None:
                _parse_length(name, getattr(self, name))
        if self.psnr is not None and not 0 < self.psnr <= 200:
            raise UsageError(f"psnr is {self.psnr}; allowed is 0 to 200 dB")
        if self.iou is not None and not 0 < self.iou < 1:
            raise UsageError(f"iou is {self.iou}; allowed is above 0 and below 1 (for exact values ask for lossless)")
        if self.size is not None:
            parse_size(self.size)
        others = [item.name for item in fields(self) if item.name not in ("lossless", "size")]
        asked = [name for name in others if getattr(self, name) is not None]
        if self.lossless and (asked or self.size is not None):
            raise UsageError("lossless leaves no error; leave out " + ", ".join([*asked, *["size"] * bool(self.size)]))
        if self.size is not None and asked:
            raise UsageError(f"size and {asked[0]} cannot both be promised; ask for one of them")

    def __str__(self) -> str:
        asked = [f"{item.name}={getattr(self, item.name)}" for item in fields(self)]
        return ", ".join(text for text in asked if not text.endswith(("=None", "=False"))) or "the preset's quality"

    @property
    def is_asked(self) -> bool:
        return any(getattr(self, item.name) not in (None, False) for item in fields(self))

    @staticmethod
    def from_json(data: Any) -> "Quality":
        known = {item.name for item in fields(Quality)}
        if not isinstance(data, dict) or set(data) - known:
            raise UsageError(f"the quality asked for is {data!r}; known are {', '.join(sorted(known))}")
        return Quality(**data)


@dataclass(frozen=True)
class Goal:
    """Demands on one grid in plain numbers; None is no demand.

    Attributes:
        rmse, max_error: in the file's units.
        mcd: in voxels.
        size: bytes of the grid.
    """

    rmse: float | None = None
    max_error: float | None = None
    iou: float | None = None
    mcd: float | None = None
    size: int | None = None
    lossless: bool = False

    def finer(self, factor: float) -> "Goal":
        """With every mean error that is allowed multiplied by a factor below 1."""
        return replace(
            self,
            rmse=None if self.rmse is None else self.rmse * factor,
            mcd=None if self.mcd is None else self.mcd * factor,
            iou=None if self.iou is None else 1 - (1 - self.iou) * factor,
        )

    def excess(self, *, rmse: float, max_error: float, iou: float | None, mcd: float | None) -> float:
        """Largest ratio of what was measured to what is allowed; 1 and below is good."""
        ratios = [0.0]
        if self.rmse is not None:
            ratios.append(rmse / self.rmse)
        if self.max_error is not None:
            ratios.append(max_error / self.max_error)
        if self.iou is not None and iou is not None:
            ratios.append((1 - iou) / (1 - self.iou))
        if self.mcd is not None and mcd is not None:
            ratios.append(mcd / self.mcd)
        return max(ratios)


def goal_of(quality: Quality, grid: SparseGrid, value_range: float, default_rmse: float) -> Goal:
    """The demands on a grid whose active values span `value_range`.

    Args:
        default_rmse: as a part of the range, where nothing is asked for; the surface of a level set may then be
            twice as many voxels off, and so may its distances be where its background is not outside. 0 asks for exact
            values.

    Raises:
        UsageError: a demand has no meaning for the grid.
    """
    surface = is_surface(grid)
    if not quality.is_asked and default_rmse == 0:
        return Goal(lossless=True)
    voxel = float(grid.transform.voxel_size.mean()) if grid.transform.is_linear else math.nan
    if not quality.is_asked and surface:
        return Goal(mcd=2 * default_rmse)
    if not quality.is_asked:
        part = default_rmse * value_range
        if _crosses_zero(grid) and voxel > 0:
            # distances whose outside is not marked, so that the surface cannot be measured, are held to voxels all the
            # same; near the surface, as most of them may be large numbers that are easy to keep
            near = np.mean(np.abs(grid.active_values()) <= _NEAR_VOXELS * voxel)
            return Goal(rmse=min(part, 2 * default_rmse * voxel * math.sqrt(near)) or part)
        return Goal(rmse=part)
    if (quality.iou is not None or quality.mcd is not None) and not surface:
        raise UsageError(
            f"grid {grid.name!r} is no level set of floats whose active values change their sign, so it has no "
            "surface; ask for rmse, psnr or max_error instead of iou or mcd"
        )
    rmse = _absolute("rmse", quality.rmse, value_range, voxel)
    if quality.psnr is not None:
        from_psnr = value_range * 10 ** (-quality.psnr / 20)
        rmse = from_psnr if rmse is None else min(rmse, from_psnr)
    mcd = None
    if quality.mcd is not None:
        number, unit = _parse_length("mcd", quality.mcd)
        if unit == "%":
            raise UsageError("mcd is a distance in voxels, such as 0.05")
        mcd = number
    elif quality.iou is not None and rmse is None and quality.max_error is None:
        mcd = _MCD_OF_IOU  # interiors can be kept exactly while the surface moves within its voxels
    size = None if quality.size is None else parse_size(quality.size)
    bound = _absolute("max_error", quality.max_error, value_range, voxel)
    return Goal(rmse, bound, quality.iou, mcd, size, quality.lossless)


def is_surface(grid: SparseGrid) -> bool:
    """Level sets of floats with active values on both sides of zero: the zero crossing is a surface."""
    return bool(grid.channels == 1 and grid.background[0] > 0) and _crosses_zero(grid)


def _crosses_zero(grid: SparseGrid) -> bool:
    """Whether it is a level set by its class, of floats on both sides of zero."""
    if not (grid.is_level_set and grid.channels == 1 and grid.value_type.is_float):
        return False
    values = grid.active_values()
    return values.size > 0 and bool(values.min() < 0 < values.max())


def parse_size(size: int | str) -> int:
    """Bytes of 100000, "100KB", "1.5 MB", "2MiB"."""
    number, unit = _number_and_unit(size)
    count = number * _UNITS.get(unit, math.nan)
    if not 1 <= count < math.inf:
        raise UsageError(f"size is {size!r}; needed is a number of bytes, such as 100000, 100KB or 1.5MB")
    return int(count)


def _absolute(name: str, length: float | str | None, value_range: float, voxel: float) -> float | None:
    """A length in the file's units."""
    if length is None:
        return None
    number, unit = _parse_length(name, length)
    factor = {"": 1.0, "%": value_range / 100, "vx": voxel}[unit]
    if not number * factor > 0:
        raise UsageError(f"{name} {length!r} comes to {number * factor} in the file's units; it must be above 0")
    return number * factor


def _parse_length(name: str, length: float | str) -> tuple[float, str]:
    number, unit = _number_and_unit(length)
    if unit not in ("", "%", "vx") or not 0 < number < math.inf:
        raise UsageError(
            f"{name} is {length!r}; needed is a number above 0 in the file's units, "
            "or one with a unit: 1% of the range of values, 0.1vx voxels"
        )
    return number, unit


def _number_and_unit(text: float | str) -> tuple[float, str]:
    """Of "1.5 MB" 1.5 and "mb"; NaN where there is no number."""
    match = _NUMBER.fullmatch(str(text))
    try:
        return (float(match.group(1)), match.group(2).lower()) if match else (math.nan, "")
    except ValueError:  # such as 1.2.3
        return math.nan, ""
