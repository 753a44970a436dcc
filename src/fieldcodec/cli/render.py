"""`fieldcodec render`: pictures of a volume, or of the objects of a collection."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from fieldcodec.cli.console import ProgressBars, result, result_json, say
from fieldcodec.cli.inputs import (
    ConversionOptions,
    find_grids,
    is_compressed_collection,
    is_sequence,
    kind_of,
    open_frame,
    read_input,
    refuse_frame,
    refuse_options,
    require_file,
)
from fieldcodec.cli.layers import layer_paths, save_layers
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.cli.radiance_files import holds_radiance
from fieldcodec.errors import ExitCode, UnsupportedGridError, UsageError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.metrics.ssim import ssim
from fieldcodec.render.camera import Camera, Vector, turntable
from fieldcodec.render.figure import Panel, compose
from fieldcodec.render.layers import surface_layers
from fieldcodec.render.options import Look, RenderOptions, SurfaceColours
from fieldcodec.render.picture import Needs, default_camera, drawn_grid, needs_of, render, resolved, save_png

_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class Render:
    """Draw a volume: fog by ray marching, level sets as lit surfaces, slices, maximum projections, turntables.

    Of a collection one object is drawn in its colours (--item), or all of them on a contact sheet.
    """

    input: Positional[Path]
    """A volume of any kind: .fcodec, .vdb, .nvdb, a dense array or a mesh."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The .png file; the input's name with .png unless given. Frames of a turntable are called NAME_000.png, ..."""
    grid: Annotated[str | None, arg(metavar="NAME")] = None
    """The grid, by name or position (#0 is the first); by default the one with the most active voxels."""
    frame: Annotated[int | None, arg(metavar="NUMBER")] = None
    """The frame to take of a compressed sequence."""
    item: Annotated[str | None, arg(metavar="NAME")] = None
    """Collections: the object, by name or position (#0 is the first); without, a contact sheet of all is drawn."""
    lod: Annotated[int | None, arg(metavar="N")] = None
    """Collections: only the levels of detail down to this one."""
    look: Literal["auto", "fog", "surface"] = "auto"
    """Auto draws level sets as surfaces and all else as fog."""
    slice: Annotated[str | None, arg(metavar="AXIS=PLACE")] = None
    """One plane of voxels instead, such as z=0.5: the middle layer across the z axis."""
    max_projection: bool = False
    """The largest value along each ray instead."""
    camera: Annotated[str | None, arg(metavar="SCENE:PART/NUMBER")] = None
    """Collections and radiance fields: the camera of a posed picture, such as posed/lego:test/17; its own size unless
    --size is given."""
    camera_direction: Annotated[str | None, arg(metavar="X,Y,Z")] = None
    """Where the camera looks, in world space; it chooses its distance itself."""
    look_at: Annotated[str | None, arg(metavar="X,Y,Z")] = None
    """The place in the middle of the picture, in world space; by default the middle of the volume."""
    zoom: Annotated[float | None, arg(metavar="FACTOR")] = None
    """So many times as large as what shows all of the volume."""
    fov: float = 35.0
    """Degrees between the upper and the lower edge of the picture without zoom."""
    orthographic: bool = False
    """No perspective."""
    size: Annotated[str | None, arg(metavar="WIDTHxHEIGHT")] = None
    """Pixels; 512x512 unless given. On a contact sheet of each object, there 160x160."""
    supersampling: int = 2
    """n draws n x n rays for each pixel."""
    turntable: Annotated[int | None, arg(metavar="N")] = None
    """N pictures on one turn around the volume."""
    density: float | None = None
    """Fog: extinction for each unit of value and world length; by default thick parts look opaque."""
    value_range: Annotated[str | None, arg(metavar="LOW,HIGH")] = None
    """Values at the ends of the colours, and of what fog absorbs; by default 0 (slices: the least) and the largest. Of
    a compressed file only leaves in the picture are decoded where it is given, for fog with --density."""
    colormap: Literal["heat", "ocean", "grey"] | None = None
    """Colours of values; fog is white without."""
    transparent: bool = False
    """Nothing behind the volume: RGBA."""
    depth: bool = False
    """Surfaces and radiance fields: also write NAME_depth.png, near white and far dark."""
    normals: bool = False
    """Surfaces and radiance fields: also write NAME_normals.png, x, y and z from -1 to 1 as red, green and blue."""
    compare: Annotated[Path | None, arg(metavar="ORIGINAL")] = None
    """Also draw this volume or mesh, alike and beside the other, and print the structural similarity (SSIM); an object
    of a collection and its mesh in colours where both have some."""
    conversion: Annotated[ConversionOptions, arg(name="")] = field(default_factory=ConversionOptions)
    """How meshes and arrays become volumes."""
    device: str = "auto"
    """Where networks of compressed files run: auto, cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Replace outputs that exist."""
    json: bool = False
    """Print what was written for programs."""


def parse(arguments: Sequence[str]) -> Render:
    return parse_options(Render, arguments)


def run(options: Render) -> ExitCode:
    sources = [options.input] if options.compare is None else [options.input, options.compare]
    for path in sources:
        require_file(path)
    refuse_frame(options.input, options.frame)
    outputs = _outputs(options)
    for path in outputs:
        for place in (path, *layer_paths(options, path)):
            check_output(place, overwrite=options.overwrite, source=options.input)
    wanted, size = _render_options(options), _size(options)
    direction = _numbers("--camera-direction", options.camera_direction)
    view = _View(direction, _numbers("--look-at", options.look_at), size)
    if holds_radiance(options.input):
        _refuse_what_grids_have(options)
        views = import_module("fieldcodec.cli.radiance_views")
        return views.draw_pictures(options, outputs, direction, size if options.size else None)
    objects = _of_objects(options)
    if objects is not None and options.item is None:
        _refuse_what_grids_have(options)
        return objects.draw_sheet(options, outputs[0], direction, min(size) if options.size else None)
    if objects is not None and objects.is_radiance(options):
        _refuse_what_grids_have(options)
        return objects.draw_field(options, outputs, direction, size if options.size else None)
    start = time.perf_counter()
    with ProgressBars() as bars:
        shown, wanted = _shown(options, wanted, objects, view, bars)
        _refuse_layers_without_surface(options, wanted)
        camera = view.camera(options, wanted, tuple(each.grid for each in shown))
        if objects is not None and options.camera is not None:
            reason = "--camera says where the camera is"
            refuse_options({"--look-at": options.look_at, "--zoom": options.zoom}, reason)
            camera = objects.named_camera(options.camera, size if options.size else None)
        written, similarities = _written(options, shown, wanted, camera, outputs, bars)
    _report(options, written, shown[0].grid, similarities, time.perf_counter() - start)
    return ExitCode.OK


@dataclass(frozen=True, eq=False)
class _Shown:
    """What is drawn: a grid, and the colours of its surface where it has some."""

    grid: SparseGrid
    colours: SurfaceColours | None = None


@dataclass(frozen=True)
class _View:
    """What the options say of the camera, as numbers."""

    direction: Vector | None
    look_at: Vector | None
    size: tuple[int, int]

    def camera(self, options: Render, wanted: RenderOptions, grids: tuple[SparseGrid, ...]) -> Camera:
        """That of the picture, or of the first one of a turntable; the values of the grids do not matter."""
        camera = default_camera(
            grids, wanted, self.direction, turning=options.turntable is not None,
            fov=options.fov, orthographic=options.orthographic, width=self.size[0], height=self.size[1],
        )  # fmt: skip
        if self.look_at is not None:
            camera = camera.looking_at(self.look_at)
        return camera if options.zoom is None else camera.zoomed(options.zoom)


def _shown(
    options: Render, wanted: RenderOptions, objects: ModuleType | None, view: _View, bars: ProgressBars
) -> tuple[list[_Shown], RenderOptions]:
    """What the input holds, and what it is compared with; and the options with what the last of them decides."""
    original = []
    if options.compare is not None:
        original = [_Shown(_read(options.compare, options, needs_of(wanted, None), bars))]
        # The original decides what is chosen by itself, so that both are drawn alike.
        wanted = resolved(wanted, original[0].grid)
    if objects is None:

        def cameras(grid: SparseGrid, chosen: RenderOptions) -> tuple[Camera, ...]:
            camera = view.camera(options, chosen, (grid, *(each.grid for each in original)))
            return turntable(camera, options.turntable or 1)

        # Without zoom all that is active is in the picture of fog.
        cut = wanted.look is Look.SLICE or options.zoom is not None or view.look_at is not None
        found = _Shown(_read(options.input, options, needs_of(wanted, cameras if cut else None), bars))
        return [found, *original], wanted if original else resolved(wanted, found.grid)
    found = _Shown(*objects.object_to_draw(options))
    if not original:
        return [found], resolved(wanted, found.grid)
    if found.colours is None:
        return [found, *original], wanted
    colours = objects.colours_of_file(options.compare)
    # Where only one side has colours, both are drawn without, or the pictures would differ in nothing else.
    both = (found, replace(original[0], colours=colours))
    return [replace(each, colours=colours and each.colours) for each in both], wanted


def _written(
    options: Render, shown: list[_Shown], wanted: RenderOptions, camera: Camera, outputs: list[Path], bars: ProgressBars
) -> tuple[list[Path], list[float]]:
    """Writes all pictures; returns their paths, and how alike both sides are in each where two are drawn."""
    written, similarities = [], []
    for number, (path, frame) in enumerate(zip(outputs, turntable(camera, len(outputs)), strict=True)):
        pictures = _draw(shown, frame, wanted, bars, number, len(outputs))
        if options.compare is not None:
            similarities.append(ssim(pictures[1], pictures[0]))
            pictures = [_side_by_side(options, shown, pictures, similarities[-1])]
        save_png(path, pictures[0])
        written.append(path)
        if options.depth or options.normals:
            layers = surface_layers(shown[0].grid, frame)
            written += save_layers(options, path, layers.depths, layers.normals)
    return written, similarities


def _refuse_layers_without_surface(options: Render, wanted: RenderOptions) -> None:
    layers = {"--depth": options.depth, "--normals": options.normals}
    if options.compare is not None:
        refuse_options(layers, "--compare draws two volumes; draw each of them alone for that")
    if wanted.look is not Look.SURFACE:
        refuse_options(layers, f"{options.input} is not drawn as a surface; they are of surfaces and radiance fields")


def _refuse_what_grids_have(options: Render) -> None:
    given = {"--look-at": options.look_at, "--zoom": options.zoom, "--value-range": options.value_range}
    refuse_options(given, "they are for pictures of grids and of single surfaces")


def _of_objects(options: Render) -> ModuleType | None:
    """What draws objects where the input is a collection, loaded only then: it needs torch."""
    if is_compressed_collection(options.input):
        return import_module("fieldcodec.cli.collections.pictures")
    given = {"--item": options.item, "--lod": options.lod, "--camera": options.camera}
    refuse_options(given, f"{options.input} holds no objects")
    return None


def _outputs(options: Render) -> list[Path]:
    path = options.output or default_output(options.input, ".png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"the output {path.name} does not end in .png, the only format that is written")
    if options.turntable is None:
        return [path]
    if options.turntable < 1 or options.slice is not None or options.camera is not None:
        raise UsageError("a turntable needs 1 frame or more, and does not go with --slice or --camera")
    digits = max(3, len(str(options.turntable - 1)))
    return [path.with_name(f"{path.stem}_{number:0{digits}}{path.suffix}") for number in range(options.turntable)]


def _render_options(options: Render) -> RenderOptions:
    if options.compare is not None and options.transparent:
        raise UsageError("--transparent does not go with --compare, which draws a page")
    chosen = [options.slice is not None, options.max_projection, options.look != "auto"]
    if sum(chosen) > 1:
        raise UsageError("--slice, --max-projection and --look exclude each other; give one of them")
    settings = RenderOptions(
        look=Look.MAXIMUM if options.max_projection else Look(options.look),
        supersampling=options.supersampling,
        density=options.density,
        value_range=_range(options.value_range),
        colormap=options.colormap,
        background=None if options.transparent else "studio",
    )
    if options.slice is None:
        return settings
    axis, _, place = options.slice.partition("=")
    if axis not in _AXES or not _is_number(place):
        raise UsageError(f"--slice {options.slice!r} is not understood; give an axis and a place, such as z=0.5")
    return replace(settings, look=Look.SLICE, slice_axis=_AXES[axis], slice_place=float(place))


def _numbers(flag: str, text: str | None) -> Vector | None:
    """Three numbers, such as a direction."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(map(_is_number, parts)):
        raise UsageError(f"{flag} {text!r} is not understood; give x,y,z")
    return float(parts[0]), float(parts[1]), float(parts[2])


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, _, high = text.partition(",")
    if not (_is_number(low) and _is_number(high)):
        raise UsageError(
            f"--value-range {text!r} is not understood; give the least and the largest value, such as 0,2.5"
        )
    return float(low), float(high)


def _size(options: Render) -> tuple[int, int]:
    if options.size is None:
        return 512, 512
    width, _, height = options.size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {options.size!r} is not understood; give width and height, such as 512x512")
    return int(width), int(height)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read(path: Path, options: Render, needs: Needs, bars: ProgressBars) -> SparseGrid:
    if kind_of(path) == "compressed":
        compressed = open_frame(path, options.frame if path == options.input or is_sequence(path) else None)
        names = [grid.name for grid in compressed.grids]
        rows = None if options.grid is None else find_grids(names, [options.grid])
        return compressed.drawn(
            rows, surface=needs.surface, inactive=needs.inactive, leaves=needs.leaves, device=options.device,
            on_event=bars,
        )  # fmt: skip
    volumes = read_input(path, options.conversion, bars.share)
    if options.grid is None:
        return drawn_grid(volumes)
    return _drawable(volumes, find_grids([grid.name for grid in volumes], [options.grid])[0])


def _drawable(volumes: VolumeFile, row: int) -> SparseGrid:
    grid = volumes[row]
    if not isinstance(grid, SparseGrid):
        raise UnsupportedGridError(f"grid {grid.name!r} is of type {grid.type_name}, which is carried but not drawn")
    return grid


def _draw(
    shown: list[_Shown], camera: Camera, wanted: RenderOptions, bars: ProgressBars, number: int, frames: int
) -> list[np.ndarray]:
    """One picture of each; the bar goes over all tiles of all pictures."""
    pictures: list[np.ndarray] = []
    for each in shown:
        before = number * len(shown) + len(pictures)

        def on_progress(share: float, before: int = before) -> None:
            bars.share("render", (before + share) / (frames * len(shown)))

        pictures.append(render(each.grid, camera, replace(wanted, colours=each.colours), on_progress=on_progress))
    return pictures


def _side_by_side(options: Render, shown: list[_Shown], pictures: list[np.ndarray], similarity: float) -> np.ndarray:
    assert options.compare is not None
    panels = [Panel(options.compare.name, pictures[1]), Panel(options.input.name, pictures[0])]
    sizes = f"{options.compare.stat().st_size:,} and {options.input.stat().st_size:,} bytes"
    original = shown[-1].grid
    title, note = original.name or "(unnamed)", f"{original.value_type.name}, {original.grid_class}"
    width = pictures[0].shape[1]
    return np.asarray(compose(title, note, sizes, panels, f"SSIM {similarity:.4f}", width))


def _report(options: Render, outputs: list[Path], grid: SparseGrid, similarities: list[float], seconds: float) -> None:
    mean = sum(similarities) / len(similarities) if similarities else None
    if options.json:
        result_json(
            {
                "input": str(options.input),
                "outputs": [str(path) for path in outputs],
                "grid": grid.name,
                "ssim": mean,
                "seconds": seconds,
            }
        )
        return
    if mean is not None:
        result(f"SSIM {mean:.4f}")
    shown = str(outputs[0]) if len(outputs) == 1 else f"{outputs[0]} to {outputs[-1].name}"
    say(f"wrote {shown}: {'grid' if options.item is None else 'object'} {grid.name!r} in {seconds:.1f} s")
