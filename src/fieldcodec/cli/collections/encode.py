"""`fieldcodec encode` of the objects of a collection."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import FlagCreatePairsOff, Positional, arg

from fieldcodec.cli.collections.measure import CollectionReport, measure_objects, scenes_among
from fieldcodec.cli.collections.tables import print_report
from fieldcodec.cli.collections.watch import TrainingWatch
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.options import parse_options, value_of
from fieldcodec.cli.outputs import check_output
from fieldcodec.collection.asset import AnyAsset
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.encode import encode_collection
from fieldcodec.collection.inputs import find_inputs
from fieldcodec.collection.prepare import prepare
from fieldcodec.collection.settings import PRESETS, CollectionSettings
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.nets.device import choose_device


@dataclass(frozen=True)
class EncodeCollection:
    """Compress a collection of objects into one .fcodec file: networks that all share, and a few numbers for each.

    Training stops after --minutes, or --steps. While it runs it is kept beside the output; after an interruption the
    same command goes on from there. The written file is decoded again and compared with the meshes.
    """

    inputs: Positional[tuple[Path, ...]]
    """Meshes (.obj, .ply, .stl, .glb, .gltf, also .gz or .xz), level sets and radiance fields (.vdb), folders with
    posed pictures, folders of all these, patterns in quotes. The name of an object is that of its file or folder."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The compressed file; of a folder the folder's name with .fcodec unless given."""
    collection: Annotated[FlagCreatePairsOff[bool], arg(name="collection")] = False
    """Take the inputs as objects of a collection, even if it is a single mesh, or volumes."""
    preset: Annotated[str, arg(help=f"Settings to start from: {', '.join(PRESETS)}.")] = "balanced"
    device: str = "auto"
    """Where the networks are trained: auto, cpu, cuda, cuda:1, ..."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """That share the objects of a step on a CPU; by default one for each processor."""
    restart: FlagCreatePairsOff[bool] = False
    """Begin anew where an interrupted training was kept."""
    overwrite: bool = False
    """Replace the output if it exists."""
    json: bool = False
    """Print the report for programs."""
    check: bool = True
    """Decode the written file and compare."""
    cache: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Where samples of the meshes are kept for the next run; a folder of the platform's unless given."""
    no_cache: FlagCreatePairsOff[bool] = False
    """Neither look for kept samples nor keep them."""
    settings: Annotated[CollectionSettings, arg(name="")] = field(default_factory=CollectionSettings)
    """The codec."""


def parse_collection(arguments: Sequence[str]) -> EncodeCollection:
    """Options from the command line; the preset gives the defaults of the settings."""
    preset = value_of(arguments, "--preset") or "balanced"
    default = EncodeCollection(inputs=tyro.MISSING, preset=preset, settings=CollectionSettings.preset(preset))
    return parse_options(EncodeCollection, arguments, default=default, command="encode --collection")


def encode_objects(options: EncodeCollection) -> ExitCode:
    """Prepares the objects, trains, writes the file, measures what comes back of it."""
    output = _output(options)
    check_output(output, overwrite=options.overwrite)
    inputs = find_inputs(options.inputs)
    if options.threads is not None and options.threads < 1:
        raise UsageError(f"--threads is {options.threads}; 1 or more are needed")
    choose_device(options.device)  # where it is not there, that is told before minutes of work
    checkpoint = output.with_name(output.name + ".training")
    if options.restart:
        checkpoint.unlink(missing_ok=True)
    start = time.perf_counter()
    with ProgressBars() as bars:
        assets = prepare(
            options.inputs, options.settings, cache=options.cache, keep=not options.no_cache, on_event=bars
        )
        prepared = time.perf_counter()
        collection = _train(options, assets, checkpoint, bars)
        collection.save(output, overwrite=options.overwrite)
        checkpoint.unlink(missing_ok=True)
        trained = time.perf_counter()
        collection = open_collection(output)
        scenes, factor = scenes_among(inputs), options.settings.scene_factor
        checked = assets if options.check else []
        qualities = measure_objects(collection, checked, bars, options.device, scenes if options.check else {}, factor)
    report = CollectionReport.of(collection, output, qualities, sum(asset.source_bytes for asset in assets))
    if options.json:
        result_json(
            {
                "inputs": list(dict.fromkeys(str(source.path) for source in inputs.values())),
                "output": str(output),
                "settings": dataclasses.asdict(options.settings),
                "seconds": {"prepare": prepared - start, "train": trained - prepared},
                **report.to_json(),
            }
        )
    else:
        print_report(Console(), report)
        say(f"wrote {output} in {trained - start:.0f} s")
    return ExitCode.OK


def _train(
    options: EncodeCollection, assets: Sequence[AnyAsset], checkpoint: Path, bars: ProgressBars
) -> CompressedCollection:
    """Trains to the end; an interruption is told with what is kept."""
    if checkpoint.exists():
        say(f"fieldcodec: going on with the training kept in {checkpoint}")
    try:
        with TrainingWatch(bars) as watch:
            return encode_collection(
                assets, options.settings, device=options.device, threads=options.threads, checkpoint=checkpoint,
                on_event=bars, on_step=watch,
            )  # fmt: skip
    except KeyboardInterrupt:
        if checkpoint.exists():
            say(f"fieldcodec: the training is kept in {checkpoint}; the same command goes on from there")
        raise


def _output(options: EncodeCollection) -> Path:
    if options.output is not None:
        return options.output
    if len(options.inputs) == 1 and options.inputs[0].is_dir() and options.inputs[0].name:
        return options.inputs[0].with_name(options.inputs[0].name + ".fcodec")
    raise UsageError("a collection needs the name of its file: --output things.fcodec")
