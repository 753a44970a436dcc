"""What the commands do with files of radiance fields: pictures from new cameras, and comparison with true ones."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from fieldcodec.cli.console import ProgressBars, result, result_json, say
from fieldcodec.cli.inputs import ConversionOptions, kind_of, open_frame, read_input, refuse_options, require_file
from fieldcodec.cli.layers import save_layers
from fieldcodec.cli.outputs import check_output
from fieldcodec.errors import ExitCode
from fieldcodec.io.posed import PosedCamera, PosedScene, read_posed
from fieldcodec.metrics.images import mean_of, missing_flip
from fieldcodec.nets.device import choose_device
from fieldcodec.radiance.field import RadianceField
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.measure import ViewQuality, measure_views
from fieldcodec.radiance.pictures import (
    PictureOptions,
    draw,
    look_around,
    parse_camera,
    posed,
    resized,
)
from fieldcodec.radiance.volume import from_volumes
from fieldcodec.render.camera import Vector, turntable
from fieldcodec.render.figure import save_image

if TYPE_CHECKING:
    from fieldcodec.cli.compare import Compare
    from fieldcodec.cli.render import Render

_SHOWN = 4  # views on a picture beside the truth
_ERROR_GAIN = 4.0


def read_radiance(path: Path, bars: ProgressBars, device: torch.device) -> RadianceGrid:
    """The radiance field of a .vdb file, or of what the volume codec made of one.

    Raises:
        InputError: the file holds none, or parts of one only.
    """
    if kind_of(path) == "compressed":
        return from_volumes(open_frame(path, None).to_grids(device=str(device), on_event=bars)).to(device)
    return from_volumes(read_input(path, ConversionOptions(), bars.share)).to(device)


def draw_pictures(
    options: "Render", outputs: Sequence[Path], direction: Vector | None, size: tuple[int, int] | None
) -> ExitCode:
    """`fieldcodec render` of a file that holds a radiance field."""
    _refuse_what_volumes_have(options)

    def read(bars: ProgressBars, device: torch.device) -> RadianceField:
        return read_radiance(options.input, bars, device)

    facts, what = {"grid": "radiance field"}, "radiance field"
    return draw_field(options, outputs, direction, size, read, facts=facts, what=what)


def draw_field(
    options: "Render",
    outputs: Sequence[Path],
    direction: Vector | None,
    size: tuple[int, int] | None,
    read: Callable[[ProgressBars, torch.device], RadianceField],
    *,
    facts: dict[str, str],
    what: str,
) -> ExitCode:
    """Writes the pictures that `fieldcodec render` asks for of any radiance field, and tells of them.

    Args:
        facts, what: what is told of the field to programs, and to people.
    """
    start, device = time.perf_counter(), choose_device(options.device)
    with ProgressBars() as bars:
        written = _drawn(options, outputs, direction, size, read(bars, device), bars, device)
    seconds = time.perf_counter() - start
    if options.json:
        paths = [str(path) for path in written]
        result_json({"input": str(options.input), "outputs": paths, **facts, "seconds": seconds})
    else:
        more = f" to {written[-1].name}" if len(written) > 1 else ""
        say(f"wrote {written[0]}{more}: {what} in {seconds:.1f} s")
    return ExitCode.OK


def _drawn(
    options: "Render",
    outputs: Sequence[Path],
    direction: Vector | None,
    size: tuple[int, int] | None,
    field: RadianceField,
    bars: ProgressBars,
    device: torch.device,
) -> list[Path]:
    """Writes pictures; returns all their paths."""
    wanted = PictureOptions(
        background=None if options.transparent else (1.0, 1.0, 1.0),
        supersampling=options.supersampling,
        normals=options.normals,
        device=device,
    )
    written = []
    cameras = _cameras(field, options, len(outputs), direction, size)
    for number, (path, camera) in enumerate(zip(outputs, cameras, strict=True)):

        def on_progress(share: float, before: int = number) -> None:
            bars.share("render", (before + share) / len(outputs))

        taken = draw(field, camera, wanted, on_progress=on_progress)
        save_image(path, Image.fromarray(taken.colours))
        written += [path, *save_layers(options, path, taken.depths, taken.normals)]
    return written


def _cameras(
    field: RadianceField, options: "Render", count: int, direction: Vector | None, size: tuple[int, int] | None
) -> list[PosedCamera]:
    if options.camera is not None:
        refuse_options(
            {"--turntable": options.turntable, "--camera-direction": direction}, "--camera says where the camera is"
        )
        camera = parse_camera(options.camera)
        return [camera if size is None else resized(camera, *size)]
    width, height = size or (512, 512)
    turning = options.turntable is not None
    first = look_around(field, direction, fov=options.fov, width=width, height=height, turning=turning)
    return [posed(camera) for camera in turntable(first, count)]


def _refuse_what_volumes_have(options: "Render") -> None:
    refuse_options(
        {
            "--grid": options.grid, "--frame": options.frame, "--item": options.item, "--lod": options.lod,
            "--slice": options.slice, "--max-projection": options.max_projection,
            "--look": options.look != "auto", "--orthographic": options.orthographic, "--density": options.density,
            "--colormap": options.colormap, "--compare": options.compare,
        },
        f"{options.input} holds a radiance field, which has its own colours; its grids are drawn alone after "
        "fieldcodec decode, or beside true pictures by fieldcodec compare SCENE FILE",
    )  # fmt: skip


def compare_views(options: "Compare") -> ExitCode:
    """`fieldcodec compare SCENE FILE`: how near views of a radiance field are to held-out pictures."""
    refuse_options(
        {
            "--frames": options.frames, "--frame": options.frame, "--max-rmse": options.max_rmse,
            "--max-error": options.max_error, "--min-iou": options.min_iou, "--max-chamfer": options.max_chamfer,
        },
        f"{options.first} holds posed pictures",
    )  # fmt: skip
    require_file(options.second)
    if options.image is not None:
        check_output(options.image, overwrite=options.overwrite)
    device, scene = choose_device(None), read_posed(options.first)
    with ProgressBars() as bars:
        field = read_radiance(options.second, bars, device)
        found = measured(field, scene, options.factor or 1, None, device, bars)
    if options.image is not None:
        save_beside(options.image, found)
    facts = measured_facts(found)
    failed = options.min_psnr is not None and facts["psnr"] < options.min_psnr
    if options.json:
        rows = [{"view": each.name, **vars(each.quality)} for each in found]
        head = {"first": str(options.first), "second": str(options.second), "bytes": options.second.stat().st_size}
        result_json({**head, **facts, "views": rows})
    else:
        result(quality_line(found))
    if failed:
        say(f"fieldcodec: differs: the mean PSNR is below {options.min_psnr:g} dB")
    return ExitCode.QUALITY if failed else ExitCode.OK


def measured(
    field: RadianceField,
    scene: PosedScene,
    factor: int,
    most: int | None,
    device: torch.device,
    bars: ProgressBars,
) -> list[ViewQuality]:
    """Held-out views, with a progress bar."""

    def on_progress(share: float) -> None:
        bars.share("held-out views", share)

    return list(measure_views(field, scene, factor=factor, most=most, device=device, on_progress=on_progress))


def measured_facts(found: Sequence[ViewQuality]) -> dict[str, Any]:
    """Means for a report; what could not be measured is None, and `flip_missing` says why."""
    if not found:
        return {"held_out_views": 0}
    facts = {"held_out_views": len(found), **vars(mean_of([each.quality for each in found]))}
    return facts | ({} if missing_flip() is None else {"flip_missing": missing_flip()})


def quality_line(found: Sequence[ViewQuality]) -> str:
    """`25 held-out views: PSNR 29.04 dB, SSIM 0.9512, FLIP 0.0712`."""
    facts = measured_facts(found)
    similar = "not measured (pictures below 11 pixels)" if facts["ssim"] is None else f"{facts['ssim']:.4f}"
    seen = f"not measured ({facts['flip_missing']})" if facts["flip"] is None else f"{facts['flip']:.4f}"
    return f"{facts['held_out_views']} held-out views: PSNR {facts['psnr']:.2f} dB, SSIM {similar}, FLIP {seen}"


def save_beside(path: Path, found: Sequence[ViewQuality]) -> None:
    """Writes a PNG of some views, evenly chosen, a row each: the truth, the field, four times the error."""
    chosen = [found[number * len(found) // min(_SHOWN, len(found))] for number in range(min(_SHOWN, len(found)))]
    wide = max(each.true.shape[1] for each in chosen)
    rows = []
    for each in chosen:
        error = np.clip(np.abs(each.true - each.seen) * _ERROR_GAIN, 0, 1)
        room = [(0, 0), (0, wide - each.true.shape[1]), (0, 0)]
        rows.append(np.concatenate([np.pad(part, room) for part in (each.true, each.seen, error)], axis=1))
    pixels = np.rint(np.concatenate(rows) * 255).astype(np.uint8)
    save_image(path, Image.fromarray(pixels))
