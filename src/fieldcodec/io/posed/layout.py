"""What the files that say where the cameras are have in common, before any picture is looked at."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from fieldcodec.io.posed.camera import Fault
from fieldcodec.io.posed.scene import Split

DISTORTED = "has lens distortion, which is not supported (undistort the pictures first)"  # kinds of faults
OTHER_CAMERA = "has a camera that is no pinhole camera (undistort the pictures first)"
HELD_OUT_EVERY = 8  # where a scene has no split, every eighth picture in the order of names is for testing


@final
@dataclass(frozen=True)
class Lens:
    """What a file says of size and focal lengths; None where it leaves that to the picture, or to a default."""

    width: float | None = None  # pixels
    height: float | None = None
    fx: float | None = None  # pixels
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None
    angle_x: float | None = None  # radians between the left and the right edge; used where fx is None
    angle_y: float | None = None

    def size(self) -> tuple[float, float] | None:
        """Width and height, where both are stated."""
        return None if self.width is None or self.height is None else (self.width, self.height)

    def at(self, width: int, height: int) -> tuple[float, float, float, float] | None:
        """fx, fy, cx and cy for a picture of a size; None where no focal length is stated."""
        fx = _focal(width, self.angle_x) if self.fx is None else self.fx
        fy = _focal(height, self.angle_y) if self.fy is None else self.fy
        fx, fy = fy if fx is None else fx, fx if fy is None else fy  # square pixels, where only one is stated
        if fx is None or fy is None:
            return None
        return fx, fy, width / 2 if self.cx is None else self.cx, height / 2 if self.cy is None else self.cy


@final
@dataclass(frozen=True, eq=False)
class ListedView:
    """A view as a file lists it."""

    name: str  # of its picture: a path below the folder of pictures, with or without suffix
    lens: Lens
    to_world: np.ndarray  # [3, 4] float64, PosedCamera's convention; not checked
    split: Split | None  # None: the file does not say


@final
@dataclass(frozen=True, eq=False)
class Listing:
    """All that a layout's files say."""

    views: list[ListedView]
    files: list[Path]  # that were read
    folders: list[Path]  # in which pictures are looked for, best first
    limit: Path  # no picture is looked for outside of it
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    faults: list[tuple[str, Fault]] = field(default_factory=list)  # view, what is wrong with it
    notes: list[str] = field(default_factory=list)  # what a user should know


def _focal(side: int, angle: float | None) -> float | None:
    """The focal length in pixels at which `side` pixels span an angle."""
    if angle is None:
        return None
    with np.errstate(divide="ignore"):
        return float(np.float64(side / 2) / np.tan(np.float64(angle) / 2))
