"""Pictures of the objects of a collection: one as a surface, all of them as a contact sheet."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fieldcodec.cli.collections.items import find_item, open_item, open_surface, warn_of_coarse_levels
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import kind_of, refuse_options
from fieldcodec.cli.radiance_views import draw_field as draw_radiance
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.latent_space import radiance_thumbnail, thumbnail
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.surface import level_set_of_item
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh.appearance import read_coloured_mesh
from fieldcodec.io.mesh.surface_colours import SurfaceColours as MeshColours
from fieldcodec.radiance.pictures import parse_camera, resized
from fieldcodec.render.camera import DEFAULT_DIRECTION, Camera, Vector
from fieldcodec.render.figure import save_image
from fieldcodec.render.options import SurfaceColours

if TYPE_CHECKING:
    from fieldcodec.cli.render import Render

THUMBNAIL = 160  # pixels
_PAGE, _INK = (24, 27, 33), (214, 218, 224)
_GAP, _LABEL = 8, 20  # pixels
_BROADEST = 1600  # pixels, where that is enough for one object


def object_to_draw(options: "Render") -> tuple[SparseGrid, SurfaceColours | None]:
    """The surface of the object that `fieldcodec render --item` asks for, and its colours where it has any.

    Raises:
        UsageError: options were given that do not go with objects.
    """
    path = options.input
    refuse_options({"--grid": options.grid, "--frame": options.frame}, f"{path} holds a collection of objects")
    assert options.item is not None
    collection = open_collection(path)
    warn_of_coarse_levels(collection, options.lod)
    item = open_surface(collection, options.item, path, lod=options.lod, device=options.device)
    grid = level_set_of_item(item)
    if not grid.topology.num_active_voxels:
        raise UsageError(f"the object {item.name!r} of {path} has no surface to draw")
    return grid, item.colour if item.has_colours else None


def is_radiance(options: "Render") -> bool:
    """Whether the object that is asked for is a radiance field."""
    assert options.item is not None
    collection = open_collection(options.input)
    return collection.entry(find_item(collection.names, options.item, options.input)).kind == "radiance"


def draw_field(
    options: "Render", outputs: list[Path], direction: Vector | None, size: tuple[int, int] | None
) -> ExitCode:
    """Pictures of a radiance field."""
    assert options.item is not None
    refuse_options(
        {
            "--grid": options.grid, "--frame": options.frame, "--slice": options.slice, "--compare": options.compare,
            "--max-projection": options.max_projection, "--orthographic": options.orthographic,
            "--look": options.look != "auto", "--density": options.density, "--colormap": options.colormap,
        },
        f"the object {options.item} of {options.input} is a radiance field",
    )  # fmt: skip
    collection = open_collection(options.input)
    warn_of_coarse_levels(collection, options.lod)
    item = open_item(collection, options.item, options.input, lod=options.lod, device=options.device)
    assert isinstance(item, RadianceItem)
    return draw_radiance(
        options, outputs, direction, size, lambda *_: item, facts={"item": item.name}, what=f"object {item.name!r}"
    )


def colours_of_file(path: Path) -> SurfaceColours | None:
    """Colours of the surface that a file holds; None where it has none.

    Raises:
        InputError: a texture is missing, or a mesh is damaged.
    """
    if kind_of(path) != "mesh":
        return None
    return MeshColours.of(read_coloured_mesh(path))


def named_camera(text: str, size: tuple[int, int] | None) -> Camera:
    """Of a posed picture, for surfaces; its axis goes through the middle of what is drawn."""
    found = parse_camera(text) if size is None else resized(parse_camera(text), *size)
    x, y, z = found.position.tolist()
    a, b, c = (found.position + found.forward).tolist()
    u, v, w = found.to_world[:, 1].tolist()
    fov = float(np.degrees(2 * np.arctan(found.height / 2 / found.fy)))
    return Camera((x, y, z), (a, b, c), (u, v, w), fov, None, found.width, found.height)


def draw_sheet(options: "Render", output: Path, direction: Vector | None, size: int | None) -> ExitCode:
    """Writes a contact sheet: a small picture of each object with its name.

    Args:
        size: of each picture in pixels.
    """
    reason = "a contact sheet shows all objects of a collection; choose one with --item NAME"
    refuse_options(
        {
            "--grid": options.grid, "--frame": options.frame, "--turntable": options.turntable,
            "--slice": options.slice, "--max-projection": options.max_projection, "--compare": options.compare,
            "--transparent": options.transparent, "--orthographic": options.orthographic,
            "--camera": options.camera, "--depth": options.depth, "--normals": options.normals,
            "--look fog": options.look == "fog", "--density": options.density, "--colormap": options.colormap,
        },
        reason,
    )  # fmt: skip
    start, collection = time.perf_counter(), open_collection(options.input)
    if not len(collection):
        raise UsageError(f"{options.input} holds no object to draw")
    warn_of_coarse_levels(collection, options.lod)
    with ProgressBars() as bars:
        pictures = thumbnails(
            collection, options.input, bars, size or THUMBNAIL, direction, options.lod, options.device
        )
    save_image(output, Image.fromarray(sheet(pictures, collection.names)))
    seconds = time.perf_counter() - start
    if options.json:
        facts = {"input": str(options.input), "outputs": [str(output)], "items": list(collection.names)}
        result_json({**facts, "seconds": seconds})
    else:
        say(f"wrote {output}: {len(collection)} objects in {seconds:.1f} s")
    return ExitCode.OK


def thumbnails(
    collection: CompressedCollection, path: Path, bars: ProgressBars, size: int, direction: Vector | None = None,
    lod: int | None = None, device: str = "auto",
) -> list[np.ndarray]:  # fmt: skip
    """[size, size, 4] uint8 for each object."""
    pictures = []
    for place, name in enumerate(collection.names):
        bars.share("pictures", place / len(collection))
        item = open_item(collection, name, path, lod=lod, device=device)
        if isinstance(item, RadianceItem):
            pictures.append(radiance_thumbnail(item, size, direction=direction))
        else:
            pictures.append(thumbnail(item, size, direction=direction or DEFAULT_DIRECTION))
    return pictures


def sheet(pictures: list[np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """[H, W, 3] uint8: pictures [size, size, 4] in rows, each with its name below."""
    side = pictures[0].shape[0]
    fitting = max(1, (_BROADEST - _GAP) // (side + _GAP))
    columns = min(fitting, int(np.ceil(np.sqrt(1.6 * len(pictures)))), len(pictures))
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (_GAP + columns * (side + _GAP), _GAP + rows * (side + _LABEL + _GAP)), _PAGE)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for place, (pixels, name) in enumerate(zip(pictures, names, strict=True)):
        left, top = _GAP + place % columns * (side + _GAP), _GAP + place // columns * (side + _LABEL + _GAP)
        picture = Image.fromarray(pixels)
        page.paste(picture, (left, top), picture)
        draw.text((left + side / 2, top + side + 3), _fitting(name, font, side), _INK, font, anchor="ma")
    return np.asarray(page)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, its middle left out where it is too long: ends of names often differ most."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 2 and font.getlength(f"{text[: kept - kept // 2]}...{text[-(kept // 2) :]}") > width:
        kept -= 1
    return f"{text[: kept - kept // 2]}...{text[-(kept // 2) :]}"
