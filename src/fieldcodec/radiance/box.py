"""Where a fit may put anything: a box around what the cameras look at, and the cells of it that the pictures allow."""

from collections.abc import Sequence

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.io.posed import PosedCamera, PosedScene, PosedView, focus, project
from fieldcodec.radiance.marks import DEFAULT_UP, Direction

_ROOM = 0.05  # known bounds are grown by this part of their longest side
_MOST_VIEWS = 48
_VISIBLE = 2 / 255  # a pixel that differs from the background by no more may be background
_PLAIN_SHARE = 0.2  # of the views have to show plain background, where no alpha says what is background
_LEAST_UP = 0.1  # length of the mean of unit vectors below which they know no common direction
_NEAR_AXIS = float(np.cos(np.radians(20)))

Box = tuple[np.ndarray, np.ndarray]


def scene_box(scene: PosedScene) -> Box:
    """Least and largest corner [3] of the box to fit in, world space.

    The bounds that the scene states, with some room; else the box of the largest ball around the point that the cameras
    look at which none of them leaves out.

    Raises:
        UsageError: neither is known.
    """
    if scene.bounds is not None:
        low, high = scene.bounds
        room = _ROOM * float((high - low).max())
        return low - room, high + room
    cameras = [view.camera for view in scene.of("train")]
    middle = focus(cameras)
    if middle is None:
        raise UsageError(
            f"{scene.name}: where the object is cannot be told, as all cameras look the same way; state it"
        )
    radius = min((_seen_radius(camera, middle) for camera in cameras), default=0.0)
    if not radius > 0:
        raise UsageError(
            f"{scene.name}: a camera does not see the point {middle.round(3)} that all look at; state a box"
        )
    return middle - radius, middle + radius


def scene_up(scene: PosedScene) -> Direction:
    """The mean of what is upwards in the pictures; where an axis of the world is within 20 degrees of it, that."""
    mean = np.mean([view.camera.to_world[:, 1] for view in scene.views], axis=0)
    length = float(np.linalg.norm(mean))
    if length < _LEAST_UP:
        return DEFAULT_UP
    up = mean / length
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > _NEAR_AXIS:
        up = np.eye(3)[axis] * np.sign(up[axis])
    return float(up[0]), float(up[1]), float(up[2])


def _seen_radius(camera: PosedCamera, middle: np.ndarray) -> float:
    """Of the largest ball around a point that lies between the edges of the picture, along its shorter side."""
    pixels, depths = project(camera, middle[None])
    if not depths[0] > 0:
        return 0.0
    away = float(np.linalg.norm(middle - camera.position))
    column, row = pixels[0] + 0.5
    free = (
        (min(camera.cx, camera.width - camera.cx) - abs(column - camera.cx)) / camera.fx,
        (min(camera.cy, camera.height - camera.cy) - abs(row - camera.cy)) / camera.fy,
    )
    return away * float(np.sin(np.arctan(max(min(free), 0.0))))


def allowed_cells(scene: PosedScene, low: np.ndarray, cell: float, shape: Sequence[int]) -> np.ndarray:
    """[nx, ny, nz] bool: cells that may hold something by what the training pictures show around them.

    With alpha a cell is empty where one picture shows nothing at all around its middle; on a plain background where a
    fifth of them do, since parts of an object may have its colour; among surroundings everything is allowed. What a
    picture does not show is allowed by it.

    Raises:
        InputError: a picture cannot be read.
    """
    background = scene.background
    if background == "surroundings":
        return np.ones(tuple(shape), bool)
    views = scene.of("train")
    views = views[:: max(1, -(-len(views) // _MOST_VIEWS))]
    places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    middles = low + (places + 0.5) * cell
    needed = 1 if background is None else max(1, int(np.ceil(_PLAIN_SHARE * len(views))))
    votes, open_cells = np.zeros(len(middles), np.int32), np.arange(len(middles))
    for view in views:
        votes[open_cells] += _shown_empty(view, middles[open_cells], cell, background)
        open_cells = open_cells[votes[open_cells] < needed]
    return np.asarray((votes < needed).reshape(tuple(shape)))


def _shown_empty(view: PosedView, middles: np.ndarray, cell: float, background: str | None) -> np.ndarray:
    """[n] bool: cubes of an edge around points within a square of pixels that shows nothing but background."""
    camera, picture = view.camera, view.picture()
    if background is None:
        full = picture[..., 3] > 0 if picture.shape[2] == 4 else np.ones(picture.shape[:2], bool)
    else:
        full = np.abs(picture[..., :3] - (1.0 if background == "white" else 0.0)).max(axis=2) > _VISIBLE
    pixels, depths = project(camera, middles)
    reach = cell * np.sqrt(3) / 2  # of a cube from its middle
    nearest = np.maximum(depths - reach, 1e-9)
    radius = max(camera.fx, camera.fy) * reach / nearest + 1
    with np.errstate(invalid="ignore"):
        shown = (depths > reach) & (
            (pixels - radius[:, None] >= 0) & (pixels + radius[:, None] <= full.shape[::-1])
        ).all(1)
    rows, columns, wide = pixels[shown, 1], pixels[shown, 0], radius[shown]
    top, bottom = np.floor(rows - wide).astype(int), np.floor(rows + wide).astype(int)
    left, right = np.floor(columns - wide).astype(int), np.floor(columns + wide).astype(int)
    sums = np.pad(full.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # of all pixels above and to the left
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    empty = np.zeros(len(middles), bool)
    empty[shown] = inside == 0
    return empty
