"""`fieldcodec collection add` and `remove`: other objects, the same networks."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import FlagCreatePairsOff, Positional, arg

from fieldcodec.cli.collections.compare import settings_of
from fieldcodec.cli.collections.items import find_item
from fieldcodec.cli.collections.measure import CollectionReport, measure_objects, scenes_among
from fieldcodec.cli.collections.tables import print_report
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import require_file
from fieldcodec.cli.outputs import check_output
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.encode import add_to_collection
from fieldcodec.collection.inputs import find_inputs
from fieldcodec.collection.prepare import prepare
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.nets.device import choose_device


@dataclass(frozen=True)
class Add:
    """Add objects to a finished collection: only latents are fitted, the networks stay as they are.

    The file is replaced at the end, in one step; the objects that are in it stay as they were.
    """

    file: Positional[Path]
    """The .fcodec file of the collection."""
    inputs: Positional[tuple[Path, ...]]
    """Meshes or level sets, folders of them or patterns in quotes."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """Write the larger collection here, and leave the file as it is."""
    steps: int = 0
    """Steps of the fit; 0: as many as --minutes allow."""
    minutes: float = 1.0
    """How long to fit where no number of steps is given."""
    latent_rate: float = 0.02
    """How fast latents change."""
    detail_level: int | None = None
    """Level of detail whose cells get latents of their own; by default two above the finest. More is better and takes
    more bytes; 0: the object has one latent and no more."""
    device: str = "auto"
    """Where latents are fitted: auto, cpu, cuda, cuda:1, ..."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """That share the objects of a step on a CPU; by default one for each processor."""
    overwrite: bool = False
    """Replace the --output if it exists."""
    json: bool = False
    """Print the report for programs."""
    check: bool = True
    """Decode the new objects and compare."""
    cache: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Where samples of the meshes are kept for the next run; a folder of the platform's unless given."""
    no_cache: FlagCreatePairsOff[bool] = False
    """Neither look for kept samples nor keep them."""


@dataclass(frozen=True)
class Remove:
    """Remove objects from a collection; the file is replaced at the end, in one step."""

    file: Positional[Path]
    """The .fcodec file of the collection."""
    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME ...")]
    """Of the objects to remove."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """Write the smaller collection here, and leave the file as it is."""
    overwrite: bool = False
    """Replace the --output if it exists."""
    json: bool = False
    """Print what was removed for programs."""


def add_objects(options: Add) -> ExitCode:
    """Fits latents, and writes the collection with the new objects behind the others."""
    require_file(options.file)
    if not options.inputs:
        raise UsageError("no objects to add are named; give meshes, level sets, folders of them or patterns")
    collection, inputs = open_collection(options.file), find_inputs(options.inputs)
    taken = [name for name in inputs if name in collection.names]
    if taken:
        raise UsageError(
            f"{options.file} has an object called {taken[0]!r} already; rename the mesh, or remove that object first: "
            f"fieldcodec collection remove {options.file.name} {taken[0]}"
        )
    output = _output(options)
    choose_device(options.device)  # where it is not there, that is told first
    settings = replace(
        settings_of(collection), steps=options.steps, minutes=options.minutes, latent_rate=options.latent_rate,
        detail_level=max(collection.spec.lods - 2, 1) if options.detail_level is None else options.detail_level,
    )  # fmt: skip
    start = time.perf_counter()
    with ProgressBars() as bars:
        assets = prepare(
            options.inputs, settings, counted=collection.listing.shared_files, cache=options.cache,
            keep=not options.no_cache, on_event=bars,
        )  # fmt: skip
        larger = add_to_collection(
            collection, assets, settings, device=options.device, threads=options.threads, on_event=bars
        )
        larger.save(output, overwrite=True)
        larger = open_collection(output)
        checked, scenes = (assets, scenes_among(inputs)) if options.check else ([], {})
        qualities = measure_objects(larger, checked, bars, options.device, scenes, settings.scene_factor)
    report = CollectionReport.of(larger, output, qualities, 0)
    if options.json:
        result_json({"output": str(output), "added": list(inputs), **report.to_json()})
    else:
        print_report(Console(), report)
        say(f"wrote {output}: {_counted(inputs)} added in {time.perf_counter() - start:.0f} s")
    return ExitCode.OK


def remove_objects(options: Remove) -> ExitCode:
    """Writes the collection without some objects."""
    require_file(options.file)
    if not options.names:
        raise UsageError("no objects to remove are named")
    collection = open_collection(options.file)
    gone = sorted({find_item(collection.names, name, options.file) for name in options.names})
    if len(gone) == len(collection):
        raise UsageError(f"nothing would be left of {options.file}; delete the file if that is what you want")
    output, names = _output(options), [collection.names[row] for row in gone]
    smaller: CompressedCollection = collection.removed(gone)
    smaller.save(output, overwrite=True)
    if options.json:
        kept = list(smaller.names)
        result_json({"output": str(output), "removed": names, "items": kept, "bytes": output.stat().st_size})
    else:
        say(f"wrote {output}: {_counted(names)} removed, {len(smaller)} left, {output.stat().st_size:,} bytes")
    return ExitCode.OK


def _output(options: Add | Remove) -> Path:
    """The collection itself unless another file is named; it is replaced in one step."""
    output = options.output or options.file
    is_itself = output.exists() and output.samefile(options.file)
    check_output(output, overwrite=options.overwrite or is_itself)
    return output


def _counted(names: object) -> str:
    count = len(list(names))  # type: ignore[call-overload]
    return f"{count} object{'' if count == 1 else 's'}"
