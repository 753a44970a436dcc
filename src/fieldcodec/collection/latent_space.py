"""What the latents of a collection say: objects between objects, objects that are alike, a map of all."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.surface import level_set_of_item
from fieldcodec.errors import UsageError
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.radiance.pictures import PictureOptions, draw, look_around, posed
from fieldcodec.render.camera import DEFAULT_DIRECTION, Camera, Vector
from fieldcodec.render.figure import save_image
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.picture import render

Measure = Literal["cosine", "euclidean"]
_PAGE, _INK = (24, 27, 33), (214, 218, 224)
_MARGIN = 24  # pixels around a map
_LABEL = 18  # pixels below a thumbnail
_FINEST_STEP = 4  # places that are tried along the side of a thumbnail


@final
@dataclass(frozen=True)
class Neighbour:
    """An object like another one."""

    row: int
    distance: float


def interpolated(
    network: RecursiveField,
    first: Tensor,
    second: Tensor,
    share: float,
    placements: tuple[Placement, Placement] | None = None,
    *,
    name: str = "",
    coloured: bool | None = None,
) -> ItemField:
    """The object between two latents [D]: 0 is the first, 1 the second; others go beyond. Placements blend alike.

    Args:
        coloured: whether it has colours; by default where the network has them.

    Raises:
        UsageError: latents do not fit the network, or unfold without end.
    """
    latent, placement = (1 - share) * first + share * second, None
    if placements is not None:
        placement = between(*placements, share)
    return ItemField.predicted(network, latent, placement, name=name, coloured=coloured)


def between(first: Placement, second: Placement, share: float) -> Placement:
    """The placement between two: 0 is the first, 1 the second."""
    x, y, z = ((1 - share) * here + share * there for here, there in zip(first.centre, second.centre, strict=True))
    return Placement((x, y, z), (1 - share) * first.scale + share * second.scale)


def latent_distances(latents: np.ndarray, measure: Measure = "cosine") -> np.ndarray:
    """[n, n] float64 distances between latents [n, D].

    Args:
        measure: "cosine", 1 - cosine of the angle from the mean of all (0 alike, 2 opposite), or "euclidean".

    Raises:
        UsageError: the measure is another one.
    """
    if measure not in ("cosine", "euclidean"):
        raise UsageError(f"measure is {measure!r}; allowed are cosine and euclidean")
    values = np.asarray(latents, np.float64)
    if measure == "euclidean":
        return np.asarray(np.linalg.norm(values[:, None] - values[None], axis=2))
    # What all latents share says nothing about likeness.
    values = values - values.mean(axis=0)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    units = values / np.where(lengths > 0, lengths, 1)
    distances = np.clip(1 - units @ units.T, 0, 2)
    np.fill_diagonal(distances, 0)
    return np.asarray(distances)


def neighbours(latents: np.ndarray, row: int, count: int = 5, measure: Measure = "cosine") -> list[Neighbour]:
    """The objects whose latents [n, D] are most like that of a row, nearest first, itself left out.

    Raises:
        UsageError: there is no such row, or the measure is unknown.
    """
    if not 0 <= row < len(latents):
        raise UsageError(f"object {row} of {len(latents)} does not exist; the first is 0")
    distances = latent_distances(latents, measure)[row]
    order = [int(other) for other in np.argsort(distances, kind="stable") if other != row]
    return [Neighbour(other, float(distances[other])) for other in order[:count]]


def map_places(latents: np.ndarray) -> np.ndarray:
    """[n, 2] float64 coordinates of latents [n, D]: along their two principal axes, each in -1 .. 1.

    The first axis is the one along which they differ most. Signs are such that the largest weight of an axis is
    positive, so that the same latents always give the same map.
    """
    values = np.asarray(latents, np.float64)
    values = values - values.mean(axis=0)
    _, _, axes = np.linalg.svd(values, full_matrices=False)
    axes = np.concatenate([axes[:2], np.zeros((max(0, 2 - len(axes)), values.shape[1]))])
    axes *= np.where(axes[np.arange(2), np.abs(axes).argmax(axis=1)] < 0, -1, 1)[:, None]
    places = values @ axes.T
    largest = np.abs(places).max(initial=0)
    return np.asarray(places / largest if largest > 0 else places)


def apart(places: np.ndarray, width: float, height: float) -> np.ndarray:
    """[n, 2] centres of boxes of a size, none over another, each near its place; those in the middle move least."""
    done = np.empty((0, 2))
    out = np.empty((len(places), 2))
    size = np.array([width, height])
    for row in np.argsort(np.linalg.norm(places - places.mean(axis=0), axis=1), kind="stable"):
        reach = 0
        while True:
            steps = np.arange(-reach, reach + 1)
            offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2) * size / _FINEST_STEP
            offsets = offsets[np.argsort(np.linalg.norm(offsets, axis=1), kind="stable")]
            tried = places[row] + offsets
            gaps = np.abs(tried[:, None] - done[None]) / size
            free = np.flatnonzero((gaps >= 1 - 1e-9).any(axis=2).all(axis=1))
            if len(free):
                break
            reach = max(2 * reach, _FINEST_STEP)
        out[row] = tried[free[0]]
        done = np.concatenate([done, out[row][None]])
    return out


def thumbnail(
    item: ItemField,
    size: int = 128,
    *,
    resolution: int | None = None,
    direction: Vector = DEFAULT_DIRECTION,
    up: Vector = (0.0, 1.0, 0.0),
) -> np.ndarray:
    """[size, size, 4] uint8: a picture of an object, in its colours where it has some, with nothing behind it.

    Args:
        resolution: of the level set that is drawn; what `size` can show unless given.
        direction: from the camera to the object, world space.
        up: what is above, world space.
    """
    if resolution is None:
        resolution = int(np.clip(1 << int(np.ceil(np.log2(size))), 32, 4 << item.lods))
    grid = level_set_of_item(item, resolution)
    surface = np.abs(grid.active_values()[:, 0]) <= grid.transform.voxel_size[0]
    if not surface.any():
        return np.zeros((size, size, 4), np.uint8)
    points = grid.transform.to_world(grid.topology.active_voxels()[surface])
    options = RenderOptions(
        look=Look.SURFACE, supersampling=2, background=None, colours=item.colour if item.has_colours else None
    )
    return render(grid, Camera.around(points, direction, up=up, width=size, height=size), options)


def radiance_thumbnail(item: RadianceItem, size: int = 128, *, direction: Vector | None = None) -> np.ndarray:
    """[size, size, 4] uint8: a picture of a radiance field with nothing behind it; seen from the front unless given."""
    if not item.octree.num_cells[-1]:
        return np.zeros((size, size, 4), np.uint8)
    camera = posed(look_around(item, direction, width=size, height=size))
    return draw(item, camera, PictureOptions(background=None)).colours


def map_picture(thumbnails: Sequence[np.ndarray], names: Sequence[str], latents: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8: a map of a collection on which objects with like latents are neighbours.

    Args:
        thumbnails: [size, size, 4] uint8, one to an object, all of one size.
        latents: [n, D].

    Raises:
        UsageError: these are not of the same objects, or there are none.
    """
    if not len(thumbnails) == len(names) == len(latents) or not len(names):
        raise UsageError(
            f"{len(thumbnails)} thumbnails, {len(names)} names and {len(latents)} latents make no map; give one of "
            "each to every object"
        )
    side = thumbnails[0].shape[0]
    tile = np.array([side + 4, side + _LABEL + 4])
    # Room for twice as many as there are, more or less: then few have to move far.
    spread = np.sqrt(len(names)) * 0.7
    centres = apart(map_places(latents) * (1, -1) * tile * spread, *tile)
    corners = np.round(centres - centres.min(axis=0)).astype(int) + _MARGIN
    width, height = (corners.max(axis=0) + tile + _MARGIN).tolist()
    page = Image.new("RGB", (width, height), _PAGE)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for (left, top), pixels, name in zip(corners.tolist(), thumbnails, names, strict=True):
        picture = Image.fromarray(pixels)
        page.paste(picture, (left + 2, top + 2), picture)
        draw.text((left + tile[0] / 2, top + side + 4), _cut(name, font, side), _INK, font, anchor="ma")
    return np.asarray(page)


def save_map(
    path: str | os.PathLike[str],
    items: Sequence[ItemField],
    latents: np.ndarray,
    *,
    size: int = 128,
    direction: Vector = DEFAULT_DIRECTION,
    up: Vector = (0.0, 1.0, 0.0),
) -> None:
    """Draws all objects and writes the map of a collection as a PNG; arguments as of `thumbnail`.

    Raises:
        UsageError: there are no objects, or not one latent to each.
        InputError: the file cannot be written.
    """
    thumbnails = [thumbnail(item, size, direction=direction, up=up) for item in items]
    save_image(path, Image.fromarray(map_picture(thumbnails, [item.name for item in items], latents)))


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
