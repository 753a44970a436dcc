"""Pinhole cameras of pictures: pixels <-> rays in world space."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np

from fieldcodec.errors import InputError, UsageError

LARGEST_SIDE = 16384  # pixels
_ROTATION_TOLERANCE = 1e-3  # of the entries of R^T R - 1; files with few digits stay well below
_WIDEST_VIEW = 170.0  # degrees; a focal length given in widths instead of pixels shows as nearly 180
_NARROWEST_VIEW = 0.01
_PARALLEL = 1e-6  # eigenvalue per camera below which viewing directions are taken as parallel


class Fault(NamedTuple):
    """What is wrong with a view: the kind, which many views may share, and what was found in this one."""

    kind: str  # goes on after "a view ..."
    found: str = ""


@final
@dataclass(frozen=True, eq=False)
class PosedCamera:
    """A pinhole camera in world space, without distortion.

    Camera space is OpenGL's: x to the right of the picture, y upwards, and the camera looks along -z.

         y                   world = to_world[:, :3] @ (x, y, z) + to_world[:, 3]
         |  / -z (view)
         | /                 picture: column = cx - 0.5 + fx x / -z, row = cy - 0.5 - fy y / -z
         +----- x

    fx, fy, cx and cy are pixels; cx and cy count from the upper left corner of the picture, so that the principal point
    of a camera in the middle of its picture is (width / 2, height / 2), and the centre of the pixel in column 0, row 0
    lies at (0.5, 0.5) (COLMAP's and instant-ngp's way).

    Raises:
        InputError: the numbers are of no possible camera.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    to_world: np.ndarray  # [3, 4] float64, read only: rotation and the camera's place, world units

    def __post_init__(self) -> None:
        pose = np.array(self.to_world, np.float64)
        pose.setflags(write=False)
        object.__setattr__(self, "to_world", pose)
        fault = lens_fault(self.width, self.height, (self.fx, self.fy, self.cx, self.cy)) or pose_fault(pose)
        if fault is not None:
            raise InputError(f"a camera {fault.kind}: {fault.found}")

    @property
    def position(self) -> np.ndarray:
        """[3] float64, world space."""
        return self.to_world[:, 3]

    @property
    def forward(self) -> np.ndarray:
        """[3] float64: the unit direction in which the camera looks."""
        back = self.to_world[:, 2]
        return np.asarray(-back / np.linalg.norm(back))

    def scaled(self, factor: int) -> "PosedCamera":
        """The camera of the picture that `picture.shrunk` gives; columns and rows that fill no block are left out.

        Raises:
            UsageError: `factor` is below 1, or larger than the picture.
        """
        check_factor(factor, self.width, self.height)
        return replace(
            self,
            width=self.width // factor,
            height=self.height // factor,
            fx=self.fx / factor,
            fy=self.fy / factor,
            cx=self.cx / factor,
            cy=self.cy / factor,
        )

    def pixels(self) -> np.ndarray:
        """[height * width, 2] int64: column and row of every pixel, row by row."""
        rows, columns = np.mgrid[: self.height, : self.width]
        return np.stack([columns.reshape(-1), rows.reshape(-1)], axis=1)


def rays(camera: PosedCamera, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rays through pixels.

    Args:
        pixels: [n, 2] column and row; whole numbers are the centres of pixels, fractions lie between.

    Returns:
        origins: [n, 3] float64, read only (one row seen n times), world space.
        directions: [n, 3] float64 of length 1.
    """
    places = np.asarray(pixels, np.float64) + 0.5
    local = np.empty((len(places), 3))
    local[:, 0] = (places[:, 0] - camera.cx) / camera.fx
    local[:, 1] = (camera.cy - places[:, 1]) / camera.fy
    local[:, 2] = -1.0
    directions = local @ camera.to_world[:, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.broadcast_to(camera.position, directions.shape), directions


def project(camera: PosedCamera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points are seen: the inverse of `rays`.

    Args:
        points: [n, 3] world space.

    Returns:
        pixels: [n, 2] float64 column and row, whole numbers at the centres of pixels; NaN behind the camera.
        depths: [n] float64 along the viewing direction, world units; positive before the camera.
    """
    local = (np.asarray(points, np.float64) - camera.position) @ camera.to_world[:, :3]
    depths = -local[:, 2]
    before = np.where(depths > 0, depths, np.nan)
    columns = camera.cx - 0.5 + camera.fx * local[:, 0] / before
    rows = camera.cy - 0.5 - camera.fy * local[:, 1] / before
    return np.stack([columns, rows], axis=1), depths


def focus(cameras: Sequence[PosedCamera]) -> np.ndarray | None:
    """[3] float64: the point nearest to the middle axes of all cameras (least squares); None where all are parallel."""
    forward = np.array([camera.forward for camera in cameras]).reshape(-1, 3)
    positions = np.array([camera.position for camera in cameras]).reshape(-1, 3)
    # sum over cameras of |(1 - d d^T) (x - o)|^2 is least where  (sum (1 - d d^T)) x = sum (1 - d d^T) o
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    total = across.sum(axis=0)
    if not len(cameras) or np.linalg.eigvalsh(total)[0] < _PARALLEL * len(cameras):
        return None
    return np.asarray(np.linalg.solve(total, np.einsum("nij,nj->i", across, positions)))


def check_factor(factor: int, width: int, height: int) -> None:
    """UsageError where a picture cannot be made smaller by `factor`."""
    if not 1 <= factor <= min(width, height):
        raise UsageError(
            f"a picture of {width} x {height} pixels cannot be made {factor} times smaller; "
            f"use a whole number of 1 to {min(width, height)}"
        )


def lens_fault(width: int, height: int, lens: tuple[float, float, float, float]) -> Fault | None:
    """What is impossible in a picture's size and in fx, fy, cx and cy, if anything."""
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        return Fault(f"has a picture size out of 1 to {LARGEST_SIDE} pixels", f"{width} x {height}")
    fx, fy, cx, cy = lens
    if not np.isfinite(lens).all():
        return Fault("has camera numbers that are not finite", f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}")
    if fx <= 0 or fy <= 0:
        return Fault("has a focal length that is not positive", f"{fx:g}, {fy:g}")
    for side, focal in ((width, fx), (height, fy)):
        angle = 2 * np.degrees(np.arctan2(side / 2, focal))
        if not _NARROWEST_VIEW <= angle <= _WIDEST_VIEW:
            return Fault(
                f"has a field of view out of {_NARROWEST_VIEW:g} to {_WIDEST_VIEW:g} degrees",
                f"{angle:g} degrees: focal length {focal:g} for {side} pixels",
            )
    return None


def pose_fault(to_world: np.ndarray) -> Fault | None:
    """What is impossible in a camera-to-world matrix, if anything."""
    if to_world.shape != (3, 4):
        return Fault("has a camera matrix that is not 3 x 4", " x ".join(str(n) for n in to_world.shape))
    if not np.isfinite(to_world).all():
        return Fault("has camera numbers that are not finite", "in its matrix")
    with np.errstate(over="ignore", invalid="ignore"):
        rotation = to_world[:, :3]
        off = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if not off <= _ROTATION_TOLERANCE:
        return Fault("has a rotation whose axes are not unit vectors at right angles", f"off by {off:.2g}")
    if np.linalg.det(rotation) < 0:
        return Fault("has a mirror image for a rotation", "determinant -1")
    return None
