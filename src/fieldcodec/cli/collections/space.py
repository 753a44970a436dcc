"""`fieldcodec collection map`, `neighbours` and `blend`: what the latents of a collection say."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, arg

from fieldcodec.cli.collections.decode import ItemWriter
from fieldcodec.cli.collections.items import find_item
from fieldcodec.cli.collections.pictures import thumbnails
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import require_file
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.latent_space import between, interpolated, map_picture, map_places, neighbours
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.surface import level_set_of_item
from fieldcodec.errors import ExitCode, InputError, UsageError
from fieldcodec.nets.device import choose_device
from fieldcodec.radiance.pictures import DEFAULT_DIRECTION, PictureOptions, draw, posed
from fieldcodec.render.camera import Camera
from fieldcodec.render.figure import save_image
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.picture import default_camera, render, save_png

_MOST_FRAMES = 10_000


@dataclass(frozen=True)
class Map:
    """Draw a map of a collection, on which objects with like latents are neighbours."""

    file: Positional[Path]
    """The .fcodec file of the collection."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The .png file; the collection's name with .map.png unless given."""
    size: int = 128
    """Pixels of each object."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Replace the output if it exists."""
    json: bool = False
    """Print the places of the objects for programs."""


@dataclass(frozen=True)
class Neighbours:
    """List the objects of a collection that are most like one of them, by their latents."""

    file: Positional[Path]
    """The .fcodec file of the collection."""
    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Of the object."""
    count: int = 5
    """How many."""
    measure: Literal["cosine", "euclidean"] = "cosine"
    """1 - cosine of the angle seen from the mean of all latents (0 alike, 2 opposite), or the Euclidean distance."""
    json: bool = False
    """Print the same for programs."""


@dataclass(frozen=True)
class Blend:
    """Turn one object into another in steps, by blending their latents."""

    file: Positional[Path]
    """The .fcodec file of the collection."""
    first: Annotated[Positional[str], arg(metavar="FIRST")]
    """The object to begin with."""
    second: Annotated[Positional[str], arg(metavar="SECOND")]
    """The object to end with."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The folder of the frames, which is made where it is missing; FIRST_to_SECOND beside the file unless given."""
    frames: int = 12
    """How many, both ends included."""
    format: Literal["png", "ply", "obj", "vdb"] = "png"
    """Pictures, meshes or level sets."""
    size: int = 512
    """Pixels along each side of a picture."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Replace frames that exist."""
    json: bool = False
    """Print what was written for programs."""


def draw_map(options: Map) -> ExitCode:
    """Writes the picture."""
    output = options.output or default_output(options.file, ".map.png")
    if output.suffix.lower() != ".png":
        raise UsageError(f"the output {output.name} does not end in .png, the only format that is written")
    collection = _open(options.file)
    check_output(output, overwrite=options.overwrite, source=options.file)
    _check_size(options.size)
    with ProgressBars() as bars:
        pictures = thumbnails(collection, options.file, bars, options.size, device=options.device)
    save_image(output, Image.fromarray(map_picture(pictures, collection.names, collection.latents)))
    if options.json:
        places = map_places(collection.latents).tolist()
        items = [{"name": name, "place": place} for name, place in zip(collection.names, places, strict=True)]
        result_json({"input": str(options.file), "output": str(output), "items": items})
    else:
        say(f"wrote {output}: {len(collection)} objects")
    return ExitCode.OK


def list_neighbours(options: Neighbours) -> ExitCode:
    """Prints a table."""
    collection = _open(options.file)
    if options.count < 1:
        raise UsageError(f"--count is {options.count}; 1 or more are needed")
    row = find_item(collection.names, options.name, options.file)
    found = neighbours(collection.latents, row, options.count, options.measure)
    if options.json:
        near = [{"name": collection.names[other.row], "distance": other.distance} for other in found]
        result_json({"input": str(options.file), "name": collection.names[row], "neighbours": near})
        return ExitCode.OK
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"like {escape(collection.names[row])}")
    table.add_column(f"{options.measure} distance", justify="right")
    for other in found:
        table.add_row(escape(collection.names[other.row]), f"{other.distance:.3g}")
    Console().print(table)
    return ExitCode.OK


def blend_objects(options: Blend) -> ExitCode:
    """Writes frames from one object to another."""
    if not 2 <= options.frames <= _MOST_FRAMES:
        raise UsageError(f"--frames is {options.frames}; 2 to {_MOST_FRAMES} are possible")
    _check_size(options.size)
    collection = _open(options.file)
    rows = [find_item(collection.names, name, options.file) for name in (options.first, options.second)]
    kinds = {collection.entry(row).kind for row in rows}
    if "radiance" in kinds and len(kinds) > 1:
        raise UsageError(
            f"{options.first!r} and {options.second!r} are a surface and a radiance field, which do not blend"
        )
    if "radiance" in kinds and options.format in ("ply", "obj"):
        raise UsageError(f"radiance fields are written as png or vdb, not as {options.format}")
    outputs = _frame_paths(options, [collection.names[row] for row in rows])
    start = time.perf_counter()
    with ProgressBars() as bars:
        shares = np.linspace(0, 1, options.frames).tolist()
        write = _painter(collection, rows, options) if options.format == "png" else _write
        for place, (share, output) in enumerate(zip(shares, outputs, strict=True)):
            bars.share("frames", place / options.frames)
            write(_between(collection, rows, share, options.device), output)
    if options.json:
        result_json({"input": str(options.file), "outputs": [str(path) for path in outputs if path.exists()]})
    else:
        seconds = time.perf_counter() - start
        say(f"wrote {outputs[0]} to {outputs[-1].name}: {options.frames} frames in {seconds:.1f} s")
    return ExitCode.OK


def _open(path: Path) -> CompressedCollection:
    require_file(path)
    collection = open_collection(path)
    if not len(collection):
        raise UsageError(f"{path} holds no object")
    return collection


def _check_size(size: int) -> None:
    if not 16 <= size <= 4096:
        raise UsageError(f"--size is {size}; 16 to 4096 pixels are possible")


def _frame_paths(options: Blend, names: list[str]) -> list[Path]:
    """Where the frames go; their folder is made where it is missing."""
    folder = options.output or options.file.parent / f"{names[0]}_to_{names[1]}"
    digits = max(3, len(str(options.frames - 1)))
    outputs = [folder / f"frame_{number:0{digits}}.{options.format}" for number in range(options.frames)]
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
    for output in outputs:
        check_output(output, overwrite=options.overwrite)
    return outputs


def _between(collection: CompressedCollection, rows: list[int], share: float, device: str) -> ItemField | RadianceItem:
    """The objects themselves at both ends, with what the file corrects of them; in between what the networks say."""
    chosen = choose_device(device)
    first, second = rows
    if share in (0.0, 1.0):
        return collection.field(second if share else first, chosen)
    latents = torch.from_numpy(collection.latents[[first, second]]).to(chosen)
    placements = collection.entry(first).placement, collection.entry(second).placement
    if collection.entry(first).kind == "radiance":
        latent = (1 - share) * latents[0] + share * latents[1]
        return RadianceItem.predicted(collection.network(chosen), latent, between(*placements, share), name="blend")
    coloured = all(collection.entry(row).kind == "coloured" for row in rows)
    return interpolated(
        collection.network(chosen), latents[0], latents[1], share, placements, name="blend", coloured=coloured
    )


def _painter(
    collection: CompressedCollection, rows: list[int], options: Blend
) -> Callable[[ItemField | RadianceItem, Path], None]:
    """Draws frames, all from one place: that from which both ends and the middle can be seen."""
    ends = [_between(collection, rows, share, options.device) for share in (0.0, 0.5, 1.0)]
    fields = [item for item in ends if isinstance(item, RadianceItem)]
    if fields:
        return _field_painter(fields, options)
    shown = [level_set_of_item(item) for item in ends if isinstance(item, ItemField)]
    seen = tuple(grid for grid in shown if grid.topology.num_active_voxels) or (shown[0],)
    look = RenderOptions(look=Look.SURFACE, supersampling=2)
    camera = default_camera(seen, look, width=options.size, height=options.size)

    def draw(item: ItemField | RadianceItem, output: Path) -> None:
        assert isinstance(item, ItemField)
        colours = item.colour if item.has_colours else None
        save_png(output, render(level_set_of_item(item), camera, replace(look, colours=colours)))

    return draw


def _field_painter(seen: list[RadianceItem], options: Blend) -> Callable[[ItemField | RadianceItem, Path], None]:
    boxes = [item.bounds for item in seen if item.bounds is not None]
    if not boxes:
        raise UsageError("neither object has any cells to be drawn")
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    camera = Camera.framing((low, high), DEFAULT_DIRECTION, up=seen[0].up, width=options.size, height=options.size)

    def paint(item: ItemField | RadianceItem, output: Path) -> None:
        assert isinstance(item, RadianceItem)
        save_image(output, Image.fromarray(draw(item, posed(camera), PictureOptions(supersampling=2)).colours))

    return paint


def _write(item: ItemField | RadianceItem, output: Path) -> None:
    if ItemWriter()(item, output, overwrite=True) is None:
        say(f"fieldcodec: warning: {output.name} would have no surface, so it is not written")
