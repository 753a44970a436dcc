"""The qualities that all codecs are asked for, on one scale.

Every measure of error falls about tenfold where a tolerance does, so each is turned into a score in decibels,
-20 log10(error), with the error RMSE / range of the values, 1 - IoU, or mCD in voxels. For the first that is the PSNR.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.volume.quality import Quality, goal_of, is_surface

Measure = Literal["psnr", "rmse", "iou", "mcd"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
DEFAULT_PSNR = "22,25,30,35,40,45"
DEFAULT_MCD = "0.2,0.1,0.05,0.02"
_UNITS = {"psnr": " dB", "mcd": " vx"}


@dataclass(frozen=True)
class Demand:
    """One quality asked for."""

    measure: Measure
    text: str
    """As it was asked for, e.g. `30` or `1%`."""
    quality: Quality
    score: float

    def __str__(self) -> str:
        return f"{self.measure} {self.text}{_UNITS.get(self.measure, '')}".removeprefix("psnr ")


def score_of(measure: Measure, rmse_relative: float, iou: float | None, mcd: float | None) -> float:
    """Of what was measured, in dB; infinite where there is no error, and minus infinite without a surface."""
    error = {"psnr": rmse_relative, "rmse": rmse_relative, "iou": None if iou is None else 1 - iou, "mcd": mcd}[measure]
    if error is None:
        return -math.inf
    return -20 * math.log10(error) if error > 0 else math.inf


def demands_of(grid: SparseGrid, value_range: float, asked: Mapping[Measure, str | None]) -> tuple[Demand, ...]:
    """The demands in the order of their scores, from loose to strict.

    Args:
        value_range: of the active values.
        asked: numbers separated by commas for each measure, None for those not asked for. Without any: PSNRs, and for
            the surface of a level set its distance.

    Raises:
        UsageError: several measures are asked for, a number is none, or a demand makes no sense for the grid.
    """
    given = [(measure, text) for measure, text in asked.items() if text is not None]
    if len(given) > 1:
        names = " and ".join(f"--{measure}" for measure, _ in given)
        raise UsageError(f"{names} cannot be asked for in one run, whose curves have one axis; give one of them")
    measure, text = given[0] if given else ("mcd", DEFAULT_MCD) if is_surface(grid) else ("psnr", DEFAULT_PSNR)
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise UsageError(f"--{measure} names no quality; give numbers such as {DEFAULT_PSNR} for psnr")
    found = {item: _demand(grid, value_range, measure, item) for item in items}
    return tuple(sorted(found.values(), key=lambda demand: demand.score))


def _demand(grid: SparseGrid, value_range: float, measure: Measure, text: str) -> Demand:
    try:
        value: float | str = float(text)
    except ValueError:
        value = text
    if isinstance(value, str) and measure in ("psnr", "iou"):
        raise UsageError(f"--{measure} has {text!r}; needed are numbers separated by commas")
    quality = Quality.from_json({measure: value})
    goal = goal_of(quality, grid, value_range, 0.0)
    relative = math.nan if goal.rmse is None else goal.rmse / value_range
    return Demand(measure, text, quality, score_of(measure, relative, goal.iou, goal.mcd))
