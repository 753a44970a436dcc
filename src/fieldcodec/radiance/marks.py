"""How grids say that they are parts of a radiance field (`radiance.volume`). No torch."""

from collections.abc import Iterable
from typing import Any

from fieldcodec.grid.metadata import Metadata

VERSION = 1
ROLE, VERSION_NAME, UP_NAME = "radiance", "radiance_version", "radiance_up"
DENSITY, COLOUR = "density", "colour"
Direction = tuple[float, float, float]
DEFAULT_UP: Direction = (0.0, 0.0, 1.0)  # for those who look at a field, in world space, unless it is known better


def is_radiance(grids: Iterable[Any]) -> bool:
    """Whether grids, or descriptions of grids, with `metadata` are those of a radiance field."""
    return any(role_of(getattr(grid, "metadata", None)) == DENSITY for grid in grids)


def role_of(metadata: Any) -> str | None:
    """Which part of a radiance field a grid with such metadata is; None where it is none."""
    role = metadata.get(ROLE) if isinstance(metadata, Metadata) else None
    return role if isinstance(role, str) else None
