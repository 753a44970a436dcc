"""Cameras in world space: where rays begin and where they go."""

from dataclasses import dataclass, replace

import numpy as np

from fieldcodec.errors import UsageError

Vector = tuple[float, float, float]

UP: Vector = (0.0, 1.0, 0.0)  # of volumes and surfaces, as in most VFX scenes
DEFAULT_DIRECTION: Vector = (-0.55, -0.38, -1.0)
_LARGEST_SIDE = 16384
_ON_RING = 32  # points that stand for a circle
_AIR = 1.06  # the framed box fills this much less of the picture than it could


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, or an orthographic one where `height_world` is given. All lengths are world units.

    up
    |   look_at          a picture row runs along `right`, columns run against `up`;
    |  /                 pixel (row 0, column 0) is at the top left
    position --- right
    """

    position: Vector
    look_at: Vector
    up: Vector = UP
    fov: float = 35.0  # degrees between the upper and the lower edge; not used by orthographic cameras
    height_world: float | None = None  # orthographic: world length from the upper to the lower edge
    width: int = 512  # pixels
    height: int = 512

    def __post_init__(self) -> None:
        numbers = np.array([*self.position, *self.look_at, *self.up])
        if numbers.shape != (9,) or not np.isfinite(numbers).all():
            raise UsageError("a camera needs finite x, y, z for its position, for look_at and for up")
        if self.position == self.look_at:
            raise UsageError(f"the camera stands at {self.position} and looks at the same point; move either")
        if not 0 < self.fov < 180:
            raise UsageError(f"a field of view of {self.fov} degrees is not possible; use more than 0, less than 180")
        if self.height_world is not None and not (np.isfinite(self.height_world) and self.height_world > 0):
            raise UsageError(f"an orthographic camera cannot show {self.height_world} units; use a positive length")
        for side in (self.width, self.height):
            if not 1 <= side <= _LARGEST_SIDE:
                raise UsageError(f"a picture of {self.width} x {self.height} pixels is not possible; use 1 to 16384")

    @staticmethod
    def framing(
        bounds: tuple[np.ndarray, np.ndarray],
        direction: Vector = DEFAULT_DIRECTION,
        *,
        up: Vector = UP,
        fov: float = 35.0,
        orthographic: bool = False,
        width: int = 512,
        height: int = 512,
    ) -> "Camera":
        """The camera that looks along `direction` and shows a whole box, as large as it fits.

        Args:
            bounds: least and largest corner of the box, [3] each, world space.
            direction: from the camera to the box, any length but 0.

        Raises:
            UsageError: a number is not allowed.
        """
        picks = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
        corners = np.where(picks == 0, np.asarray(bounds[0], np.float64), np.asarray(bounds[1], np.float64))
        return Camera.around(corners, direction, up=up, fov=fov, orthographic=orthographic, width=width, height=height)

    @staticmethod
    def around(
        points: np.ndarray,
        direction: Vector = DEFAULT_DIRECTION,
        *,
        up: Vector = UP,
        fov: float = 35.0,
        orthographic: bool = False,
        width: int = 512,
        height: int = 512,
    ) -> "Camera":
        """As `framing`, for points [n, 3] in world space, n >= 1: closer where they leave corners of their box free.

        Raises:
            UsageError: a number is not allowed.
        """
        if not np.any(direction) or not np.isfinite(direction).all():
            raise UsageError(f"the camera cannot look along {direction}; give a direction other than 0,0,0")
        middle, forward = _middle(points), np.asarray(direction, np.float64) / np.linalg.norm(direction)
        probe = Camera(_vector(middle - forward), _vector(middle), up, fov, None, width, height)
        axes = np.stack(probe.axes)
        centre = _middle((points - middle) @ axes.T) @ axes + middle  # of the points as the camera sees them
        seen = (points - centre) @ axes.T
        x, y, depth = np.abs(seen[:, 0]) * _AIR, np.abs(seen[:, 1]) * _AIR, seen[:, 2]
        reach = float(np.linalg.norm(np.ptp(points, axis=0))) or 1.0
        if orthographic:
            tall = 2 * max(float(y.max()), float(x.max()) * height / width, 1e-6 * reach)
            place = _vector(centre - forward * reach)
            return replace(probe, position=place, look_at=_vector(centre), height_world=tall)
        slope = np.tan(np.radians(fov) / 2)
        tall, wide = y / slope - depth, x * height / (width * slope) - depth
        distance = max(float(tall.max()), float(wide.max()), 1e-3 * reach)
        place = _vector(centre - forward * distance)
        return replace(probe, position=place, look_at=_vector(centre))

    def looking_at(self, place: Vector) -> "Camera":
        """The camera moved sidewards, upwards and along its view, so that `place` is where `look_at` was."""
        position = _vector(np.add(self.position, np.subtract(place, self.look_at)))
        return replace(self, position=position, look_at=place)

    def zoomed(self, factor: float) -> "Camera":
        """The camera, from the same place, that shows the middle of the picture `factor` times as large.

        Raises:
            UsageError: the factor is not a positive number.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise UsageError(f"a picture cannot be {factor} times as large; use a number above 0, such as 4")
        if self.height_world is not None:
            return replace(self, height_world=self.height_world / factor)
        slope = np.tan(np.radians(self.fov) / 2) / factor
        return replace(self, fov=float(np.degrees(2 * np.arctan(slope))))

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors right, up and forward, [3] each; another up is taken where `up` is along the view."""
        forward = np.subtract(self.look_at, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, self.up)
        if np.linalg.norm(right) < 1e-6 * max(float(np.linalg.norm(self.up)), 1e-300):
            right = np.cross(forward, np.roll(np.abs(forward) >= np.abs(forward).max(), 1).astype(np.float64))
        right = right / np.linalg.norm(right)
        return right, np.cross(right, forward), forward

    def ray_table(self) -> np.ndarray:
        """[6, 3] float64: how the ray of picture place (x right, y down, both -1 to 1) begins and goes:

        origin = rows[0] + x rows[1] + y rows[2], direction = rows[3] + x rows[4] + y rows[5].
        """
        right, above, forward = self.axes
        table = np.zeros((6, 3))
        table[0], table[3] = self.position, forward
        tall = np.tan(np.radians(self.fov) / 2) if self.height_world is None else self.height_world / 2
        first = 4 if self.height_world is None else 1
        table[first], table[first + 1] = right * tall * self.width / self.height, -above * tall
        return table


def turntable(camera: Camera, frames: int) -> tuple[Camera, ...]:
    """Cameras on one turn around `look_at`, evenly spread; the first is `camera` itself, the axis its `up`.

    Raises:
        UsageError: `frames` is less than 1.
    """
    if frames < 1:
        raise UsageError(f"a turntable of {frames} frames is not possible; use 1 or more")
    axis = np.asarray(camera.up, np.float64) / np.linalg.norm(camera.up)
    arm = np.subtract(camera.position, camera.look_at)
    along = axis * (arm @ axis)
    cameras = []
    for frame in range(frames):
        angle = 2 * np.pi * frame / frames
        turned = along + (arm - along) * np.cos(angle) + np.cross(axis, arm) * np.sin(angle)
        position = camera.position if frame == 0 else _vector(np.asarray(camera.look_at) + turned)
        cameras.append(replace(camera, position=position))
    return tuple(cameras)


def swept(points: np.ndarray, up: Vector) -> np.ndarray:
    """[n, 3] -> [m, 3]: the upright cylinder that points sweep when they turn around the middle of their box."""
    axis = np.asarray(up, np.float64) / np.linalg.norm(up)
    middle = _middle(points)
    levels = (points - middle) @ axis
    radius = float(np.linalg.norm(points - middle - levels[:, None] * axis, axis=1).max())
    first = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    first /= np.linalg.norm(first)
    angles = np.arange(_ON_RING)[:, None] * (2 * np.pi / _ON_RING)
    ring = radius * (np.cos(angles) * first + np.sin(angles) * np.cross(axis, first))
    return np.concatenate([middle + ring + level * axis for level in (levels.min(), levels.max())])


def _middle(points: np.ndarray) -> np.ndarray:
    """[n, 3] -> [3]: the middle of the box around points."""
    return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2)


def _vector(values: np.ndarray) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])
