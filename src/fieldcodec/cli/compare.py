"""`fieldcodec compare`: how far one volume or sequence is from another, or a collection from its meshes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from fieldcodec.cli.collections.compare import compare_objects
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.failures import TOLERATED, grid_failures
from fieldcodec.cli.inputs import (
    ConversionOptions,
    is_compressed_collection,
    is_sequence,
    kind_of,
    open_frame,
    read_input,
    refuse_options,
    require_file,
)
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output
from fieldcodec.cli.pictures import save_picture
from fieldcodec.cli.radiance_files import holds_posed, holds_radiance
from fieldcodec.cli.sequences.compare import compare_frames, holds_frames
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.metrics.files import compare_file_metadata, compare_files
from fieldcodec.metrics.report import EncodeReport, comparison_report


@dataclass(frozen=True)
class Compare:
    """Measure how far the second volume is from the first, grid by grid; of sequences, frame by frame; or how far the
    objects of a collection are from their meshes, or views of a radiance field from pictures that were held out.

    The exit code is 0 where both have the same grids with the same topology, transform, class and metadata,
    and 5 otherwise; values may differ, unless a limit is given. Of a collection it is 5 where one side has an object
    that the other has not, or a limit is passed.
    """

    first: Positional[Path]
    """The original: .vdb, .nvdb or .fcodec; of a sequence a pattern such as 'smoke_*.vdb', a folder, or a .fcodec; of
    a collection the folder or pattern of its meshes; of a radiance field the folder of posed pictures."""
    second: Positional[Path]
    """The copy, likewise."""
    frames: Annotated[str | None, arg(metavar="RANGES")] = None
    """Sequences: only these frames, such as 10-20,25."""
    frame: Annotated[int | None, arg(metavar="NUMBER")] = None
    """The frame to take of a compressed sequence, where the other is one volume or both are compressed."""
    max_rmse: float | None = None
    """Exit code 5 where a grid's root mean square error is above this, in units of its values."""
    max_error: float | None = None
    """Exit code 5 where a value's error is above this, in its units."""
    min_iou: Annotated[float | None, arg(metavar="PERCENT")] = None
    """Collections: exit code 5 where the gIoU of an object is below this."""
    max_chamfer: Annotated[float | None, arg(metavar="CD")] = None
    """Collections: exit code 5 where the CD of an object is above this."""
    factor: Annotated[int | None, arg(metavar="N")] = None
    """Posed pictures: make them N times smaller first."""
    min_psnr: Annotated[float | None, arg(metavar="DB")] = None
    """Posed pictures: exit code 5 where the mean PSNR of held-out views is below this."""
    json: bool = False
    """Print the comparison for programs."""
    image: Annotated[Path | None, arg(metavar="PATH")] = None
    """Also write a PNG of both and the error side by side."""
    overwrite: bool = False
    """Replace the image if it exists."""


def parse(arguments: Sequence[str]) -> Compare:
    return parse_options(Compare, arguments)


def run(options: Compare) -> ExitCode:
    if is_compressed_collection(options.second):
        return compare_objects(options)
    if holds_posed(options.first) and holds_radiance(options.second):
        return import_module("fieldcodec.cli.radiance_views").compare_views(options)
    refuse_options({"--factor": options.factor, "--min-psnr": options.min_psnr}, "these are no pictures and views")
    limits = {"--min-iou": options.min_iou, "--max-chamfer": options.max_chamfer}
    refuse_options(limits, f"{options.second} holds no objects of a collection")
    if options.frame is None and (holds_frames(options.first) or holds_frames(options.second)):
        return compare_frames(options)
    if options.frames is not None:
        raise UsageError("--frames goes with sequences; these are single volumes")
    for path in (options.first, options.second):
        require_file(path)
    if options.image is not None:
        check_output(options.image, overwrite=options.overwrite)
    start = time.perf_counter()
    with ProgressBars() as bars:
        first, second = (_read(path, options.frame, bars) for path in (options.first, options.second))
    report = comparison_report(
        compare_files(first, second),
        bytes_first=options.first.stat().st_size,
        bytes_second=options.second.stat().st_size,
        file_differences=compare_file_metadata(first, second),
        seconds=time.perf_counter() - start,
    )
    if options.image is not None:
        save_picture(options.image, first, second, overwrite=options.overwrite)
    failures = _failures(report, options)
    if options.json:
        head = {"first": str(options.first), "second": str(options.second), "failures": failures}
        result_json({**head, **report.to_json()})
    else:
        report.to_table(Console())
    for failure in failures:
        say(f"fieldcodec: differs: {failure}")
    return ExitCode.QUALITY if failures else ExitCode.OK


def _read(path: Path, frame: int | None, bars: ProgressBars) -> VolumeFile:
    if kind_of(path) == "compressed":
        return open_frame(path, frame if is_sequence(path) else None).to_grids(on_event=bars)
    return read_input(path, ConversionOptions(), bars.share)


def _failures(report: EncodeReport, options: Compare) -> list[str]:
    """Every difference that is more than one of values, and every limit that is passed, in words."""
    found = [f"file: {item}" for item in report.differences if item.kind not in TOLERATED]
    for grid in report.grids:
        label = f"grid {grid.name!r}"
        found += grid_failures(label, grid.differences, grid.quality, options.max_rmse, options.max_error)
    return found
