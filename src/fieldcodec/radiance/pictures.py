"""Pictures of radiance fields for people: cameras by name or around the field, turntables."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from fieldcodec.errors import UsageError
from fieldcodec.io.posed import PosedCamera, read_posed, shrunk
from fieldcodec.io.posed.scene import SPLITS
from fieldcodec.nets.device import CPU
from fieldcodec.radiance.field import RadianceField
from fieldcodec.radiance.march import STEP
from fieldcodec.radiance.render import OnProgress, RadiancePicture, photograph
from fieldcodec.render.camera import Camera, Vector, swept

DEFAULT_DIRECTION: Vector = (-1.0, 0.65, -0.6)  # from the camera to the field, z upwards
_FIRM = 0.5  # alpha from which depth and normal are shown
_MOST_CORNERS = 1 << 16  # of occupied cells that a camera is placed by


@final
@dataclass(frozen=True)
class PictureOptions:
    """How a picture of a radiance field is taken."""

    background: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    """Behind the field, 0 to 1 (sRGB); None for pictures with alpha."""
    supersampling: int = 1
    """n draws n x n rays for each pixel and takes their mean."""
    step: float = STEP
    """Cells between two samples of a ray."""
    normals: bool = False
    device: torch.device = CPU

    def __post_init__(self) -> None:
        if not 1 <= self.supersampling <= 8:
            raise UsageError(f"supersampling is {self.supersampling}; allowed are 1 to 8")


@final
@dataclass(frozen=True, eq=False)
class Views:
    """What a camera sees, as arrays to be saved as PNG."""

    colours: np.ndarray  # [h, w, 3] uint8, or [h, w, 4] with alpha, not multiplied in
    depths: np.ndarray  # [h, w] float32: world units along the rays; 0 where more than half of the light passes
    normals: np.ndarray | None  # [h, w, 3] float32, world space; 0 likewise


def draw(
    field: RadianceField,
    camera: PosedCamera | None = None,
    options: PictureOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> Views:
    """A picture of a radiance field.

    Args:
        camera: by default one that shows all of it, see `look_around`.

    Raises:
        UsageError: the field is empty and no camera is given.
    """
    options = options or PictureOptions()
    camera = camera or posed(look_around(field))
    finer = _finer(camera, options.supersampling)
    taken = photograph(
        field, finer, step=options.step, normals=options.normals, device=options.device, on_progress=on_progress
    )
    some = (slice(None, None, options.supersampling),) * 2
    firm = taken.alpha[some] > _FIRM
    return Views(
        colours=_colours(taken, options),
        depths=np.where(firm, taken.depths[some], 0),
        normals=None if taken.normals is None else np.where(firm[..., None], taken.normals[some], 0),
    )


def _colours(taken: RadiancePicture, options: PictureOptions) -> np.ndarray:
    if options.background is not None:
        pixels = shrunk(taken.over(options.background), options.supersampling)
    else:
        straight = np.clip(taken.colours / np.maximum(taken.alpha, 1e-6)[..., None], 0, 1)
        pixels = shrunk(np.concatenate([straight, taken.alpha[..., None]], axis=2), options.supersampling)
    return np.asarray(np.rint(pixels * 255).astype(np.uint8))


def _finer(camera: PosedCamera, factor: int) -> PosedCamera:
    """The camera with `factor` pixels along each side of one."""
    return PosedCamera(
        camera.width * factor, camera.height * factor, camera.fx * factor, camera.fy * factor,
        camera.cx * factor, camera.cy * factor, camera.to_world,
    )  # fmt: skip


def look_around(
    field: RadianceField,
    direction: Vector | None = None,
    *,
    fov: float = 35.0,
    width: int = 512,
    height: int = 512,
    turning: bool = False,
) -> Camera:
    """The camera that looks along a direction and shows every occupied cell; for `render.camera.turntable`, too.

    Args:
        direction: from the camera to the field, world space.
        turning: leave room for a turntable around the field's own up.

    Raises:
        UsageError: the field is empty, or a number is not allowed.
    """
    occupancy = field.occupancy
    cells = np.argwhere(occupancy.cells)
    if not len(cells):
        raise UsageError("the radiance field is empty: there is nothing that a camera could show")
    cells = cells[:: max(1, len(cells) // _MOST_CORNERS)]
    corners = np.concatenate([cells + corner for corner in np.ndindex(2, 2, 2)])
    points = occupancy.low + corners * occupancy.cell
    up = np.asarray(field.up, np.float64)
    if turning:
        points = swept(points, field.up)
    return Camera.around(points, direction or _default_direction(up), up=field.up, fov=fov, width=width, height=height)


def posed(camera: Camera) -> PosedCamera:
    """A look-at camera as one of pictures.

    Raises:
        UsageError: it is orthographic.
    """
    if camera.height_world is not None:
        raise UsageError("radiance fields are drawn in perspective; an orthographic camera cannot be used")
    right, above, forward = camera.axes
    focal = camera.height / 2 / float(np.tan(np.radians(camera.fov) / 2))
    pose = np.stack([right, above, -forward, np.asarray(camera.position)], axis=1)
    return PosedCamera(camera.width, camera.height, focal, focal, camera.width / 2, camera.height / 2, pose)


def parse_camera(text: str) -> PosedCamera:
    """The camera of a view of a scene: `SCENE:PART/NUMBER`, such as `posed/lego:test/17`, counted from 0.

    Raises:
        UsageError: it is not understood, or there is no such view.
        InputError: the scene cannot be read.
    """
    scene, colon, view = text.rpartition(":")
    part, slash, number = view.partition("/")
    split = next((name for name in SPLITS if name == part), None)
    if not (colon and slash and scene and split and number.isdecimal()):
        raise UsageError(f"camera {text!r} is not understood; give SCENE:PART/NUMBER, such as posed/lego:test/17")
    views = read_posed(Path(scene)).of(split)
    if int(number) >= len(views):
        raise UsageError(f"{scene} has {len(views)} views of {part}, counted from 0; there is no number {number}")
    return views[int(number)].camera


def resized(camera: PosedCamera, width: int, height: int) -> PosedCamera:
    """The camera with a picture of another size, as much of the scene being seen from its upper to its lower edge."""
    scale = height / camera.height
    shift = (width - camera.width * scale) / 2
    return PosedCamera(
        width, height, camera.fx * scale, camera.fy * scale, camera.cx * scale + shift, camera.cy * scale,
        camera.to_world,
    )  # fmt: skip


def _default_direction(up: np.ndarray) -> Vector:
    """The default direction, turned so that its z is along `up`."""
    other = np.roll(up, 1)
    right = other - up * (other @ up) / (up @ up)
    if np.linalg.norm(right) < 1e-6:
        right = np.array([1.0, 0.0, 0.0])
    axes = np.stack([right / np.linalg.norm(right), np.cross(up, right) / np.linalg.norm(np.cross(up, right)), up])
    x, y, z = np.asarray(DEFAULT_DIRECTION) @ axes
    return float(x), float(y), float(z)
