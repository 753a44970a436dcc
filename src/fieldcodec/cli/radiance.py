"""`fieldcodec radiance`: from posed pictures to a radiance field as a volume."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output
from fieldcodec.cli.radiance_views import measured, measured_facts, quality_line, save_beside
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.fit.phases import FitEvent
from fieldcodec.io.posed import PosedScene, read_posed
from fieldcodec.nets.device import choose_device
from fieldcodec.radiance.fit import RadianceFit, fit_scene
from fieldcodec.radiance.settings import RadianceSettings
from fieldcodec.radiance.volume import to_volumes


@dataclass(frozen=True)
class Radiance:
    """Fit a radiance field to pictures whose cameras are known, write it as a .vdb file, and measure it on pictures
    that were held out.

    The file holds density and colours on a sparse grid. `fieldcodec render FILE` draws it from anywhere, `fieldcodec
    encode FILE` makes it small, `fieldcodec compare SCENE FILE` measures it.
    """

    scene: Positional[Path]
    """A folder with transforms_train.json and so on, as NeRF's synthetic scenes have, or of a COLMAP model."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The .vdb file; the scene's name with .vdb, here, unless given."""
    images: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Where the pictures are, if not where the scene says."""
    preset: Literal["draft", "balanced", "fine"] = "balanced"
    """Draft: a look after a minute or two. Balanced: some minutes. Fine: for a GPU and full resolution."""
    factor: Annotated[int | None, arg(metavar="N")] = None
    """Make the pictures N times smaller first."""
    width: Annotated[int | None, arg(metavar="PIXELS")] = None
    """The same by how wide the pictures are to be, at most."""
    minutes: Annotated[float | None, arg(metavar="M")] = None
    """End after so many minutes, however far the fit is; what is compiled before, once on a machine, does not count."""
    cells: Annotated[int | None, arg(metavar="N")] = None
    """Cells along the longest side at the end, 8 to 512, instead of the preset's."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Steps in all, instead of the preset's."""
    seed: int = 0
    """Another number, other rays; the same number, the same field on any number of threads of a processor."""
    device: str = "auto"
    """Where the fit runs: auto, cpu, cuda, cuda:1, ..."""
    picture: Annotated[Path | None, arg(metavar="PATH")] = None
    """Also write a PNG of held-out views: the true pictures, those of the field, and the error."""
    views: Annotated[int | None, arg(metavar="N")] = None
    """Measure on so many held-out views at most; on all unless given, on none with 0."""
    overwrite: bool = False
    """Replace outputs that exist."""
    json: bool = False
    """Print the report for programs."""


def parse(arguments: Sequence[str]) -> Radiance:
    return parse_options(Radiance, arguments)


def run(options: Radiance) -> ExitCode:
    output = options.output or Path(f"{options.scene.resolve().stem}.vdb")
    if output.suffix.lower() != ".vdb":
        raise UsageError(f"the output {output.name} does not end in .vdb, the only format that is written")
    check_output(output, overwrite=options.overwrite, source=options.scene)
    if options.picture is not None:
        check_output(options.picture, overwrite=options.overwrite)
    device = choose_device(options.device)
    settings = RadianceSettings.preset(options.preset).scaled(cells=options.cells, steps=options.steps)
    settings = replace(settings, seed=options.seed, minutes=options.minutes or 0.0)
    scene = read_posed(options.scene, images=options.images)
    for note in scene.notes:
        say(f"fieldcodec: note: {note}")
    factor = _factor(options, scene)
    with ProgressBars() as bars:

        def show(event: FitEvent) -> None:
            bars(replace(event, loss=None))
            bars.note(event.stage, f"{_decibels(event.loss):.1f} dB")

        fit = fit_scene(scene, settings, factor=factor, device=device, on_event=show)
        fc.write_volumes(output, to_volumes(fit.grid))
        views = options.views is None or options.views > 0
        found = measured(fit.grid.to(device), scene, factor, options.views, device, bars) if views else []
    if options.picture is not None and found:
        save_beside(options.picture, found)
    report = _report(options, output, scene, factor, fit) | measured_facts(found)
    if options.json:
        result_json(report)
        return ExitCode.OK
    say(
        f"wrote {output}: {report['cells']:,} cells, {report['bytes']:,} bytes, {report['steps']:,} steps in "
        f"{report['seconds']:.0f} s"
    )
    if found:
        say(quality_line(found))
    return ExitCode.OK


def _factor(options: Radiance, scene: PosedScene) -> int:
    """How many times smaller the pictures are made."""
    if options.factor is not None and options.width is not None:
        raise UsageError("--factor and --width say the same; give one of them")
    if options.width is None:
        return 1 if options.factor is None else options.factor
    widest = max(view.camera.width for view in scene.views)
    if not 1 <= options.width <= widest:
        raise UsageError(f"--width is {options.width}; allowed are 1 to {widest}, which the pictures have")
    return -(-widest // options.width)


def _decibels(loss: float | None) -> float:
    return float(-10 * np.log10(max(loss or 0.0, 1e-12)))


def _report(options: Radiance, output: Path, scene: PosedScene, factor: int, fit: RadianceFit) -> dict[str, Any]:
    lattice = fit.grid.lattice
    return {
        "scene": str(options.scene), "output": str(output), "preset": options.preset, "factor": factor,
        "pictures": len(scene.of("train")), "source_bytes": scene.source_bytes, "bytes": output.stat().st_size,
        "cells": lattice.num_cells, "corners": lattice.num_corners, "cell": lattice.cell, "steps": fit.steps,
        "seconds": fit.seconds,
    }  # fmt: skip
