"""Demands on single grids by name: `density:psnr=40`, `velocity:rmse=0.01`."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from fieldcodec.errors import UnknownGridError, UsageError
from fieldcodec.volume.quality import Quality

_DEMANDS = tuple(item.name for item in fields(Quality))
_NUMBERS = ("psnr", "iou")  # the others may have a unit


def parse_grid_quality(items: Sequence[str]) -> dict[str, Quality]:
    """Name of a grid -> what is asked of it.

    Args:
        items: each `NAME:DEMAND=VALUE`, or several with commas between; what has no name of its own belongs to the
            grid before, as in `density:psnr=40,max_error=1%,velocity:rmse=0.01`. `NAME:lossless` has no value.

    Raises:
        UsageError: an item is not understood, or a demand is not allowed.
    """
    asked: dict[str, dict[str, Any]] = {}
    for part in (part for item in items for part in single_demands(item)):
        name, _, demand = part.rpartition(":")
        key, equals, value = (text.strip() for text in demand.partition("="))
        if key not in _DEMANDS or (key == "lossless") == bool(equals):
            raise UsageError(
                f"the quality {part!r} is not understood; needed is GRID:DEMAND=VALUE with one of "
                f"{', '.join(_DEMANDS)} (GRID:lossless has no value)"
            )
        asked.setdefault(name, {})[key] = True if key == "lossless" else _value(key, value)
    return {grid: _quality(grid, demands) for grid, demands in asked.items()}


def single_demands(item: str) -> list[str]:
    """`density:psnr=40,iou=0.9` -> ["density:psnr=40", "density:iou=0.9"].

    Raises:
        UsageError: it names no grid.
    """
    parts: list[str] = []
    name = ""
    for part in item.split(","):
        head, colon, demand = part.strip().rpartition(":")
        if not colon and not parts:
            raise UsageError(f"the quality {item!r} names no grid; write such as density:psnr=40")
        name = head if colon else name
        parts.append(f"{name}:{demand}")
    return parts


def check_names(asked: Iterable[str], names: Sequence[str]) -> None:
    """Refuses a demand on a grid that is not there.

    Raises:
        UnknownGridError: it lists those there are.
    """
    unknown = [name for name in asked if name not in names]
    if unknown:
        known = ", ".join(repr(name) for name in dict.fromkeys(names)) or "none"
        raise UnknownGridError(f"a quality is asked of grid {unknown[0]!r}, which is not there; there are {known}")


def _value(key: str, text: str) -> Any:
    if key not in _NUMBERS:
        return text
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{key} is {text!r}; needed is a number") from error


def _quality(name: str, demands: dict[str, Any]) -> Quality:
    try:
        return Quality(**demands)
    except UsageError as error:
        raise UsageError(f"grid {name!r}: {error}") from error
