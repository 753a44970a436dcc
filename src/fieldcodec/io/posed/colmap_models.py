"""What COLMAP's files hold, and its camera models."""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np


class CameraModel(NamedTuple):
    """One of COLMAP's models, its numbers in the order of the files."""

    name: str
    names: tuple[str, ...]
    lens: tuple[str, ...] | None  # the first of `names`, the rest being distortion; None: no pinhole camera


_ONE, _TWO = ("f", "cx", "cy"), ("fx", "fy", "cx", "cy")
_SIX = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_FOUR = ("k1", "k2", "k3", "k4")
_THIN = ("k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1")
_RAD_TAN = ("k0", "k1", "k2", "k3", "k4", "k5", "p0", "p1", "s0", "s1", "s2", "s3")

MODELS = {
    0: CameraModel("SIMPLE_PINHOLE", _ONE, _ONE),
    1: CameraModel("PINHOLE", _TWO, _TWO),
    2: CameraModel("SIMPLE_RADIAL", (*_ONE, "k"), _ONE),
    3: CameraModel("RADIAL", (*_ONE, "k1", "k2"), _ONE),
    4: CameraModel("OPENCV", (*_TWO, "k1", "k2", "p1", "p2"), _TWO),
    5: CameraModel("OPENCV_FISHEYE", (*_TWO, *_FOUR), None),
    6: CameraModel("FULL_OPENCV", (*_TWO, *_SIX), _TWO),
    7: CameraModel("FOV", (*_TWO, "omega"), None),
    8: CameraModel("SIMPLE_RADIAL_FISHEYE", (*_ONE, "k"), None),
    9: CameraModel("RADIAL_FISHEYE", (*_ONE, "k1", "k2"), None),
    10: CameraModel("THIN_PRISM_FISHEYE", (*_TWO, *_THIN), None),
    11: CameraModel("RAD_TAN_THIN_PRISM_FISHEYE", (*_TWO, *_RAD_TAN), None),
    12: CameraModel("SIMPLE_DIVISION", (*_ONE, "k"), None),
    13: CameraModel("DIVISION", (*_TWO, "k"), None),
    14: CameraModel("SIMPLE_FISHEYE", _ONE, None),
    15: CameraModel("FISHEYE", _TWO, None),
    16: CameraModel("EUCM", (*_TWO, "alpha", "beta"), None),
    17: CameraModel("EQUIRECTANGULAR", ("w", "h"), None),
}
NUMBER_OF_MODEL = {model.name: number for number, model in MODELS.items()}


@final
@dataclass(frozen=True)
class ColmapCamera:
    """A row of `cameras`."""

    number: int
    model: int  # a key of MODELS
    width: int
    height: int
    numbers: tuple[float, ...]  # as many as the model has names


@final
@dataclass(frozen=True, eq=False)
class ColmapImage:
    """A row of `images`, without the points seen in it."""

    name: str
    camera: int
    rotation: np.ndarray  # [4] float64 quaternion w, x, y, z, world to camera
    translation: np.ndarray  # [3] float64
