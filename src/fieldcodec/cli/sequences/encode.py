"""`fieldcodec encode` of the frames of a sequence."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import FrameReader, split_names
from fieldcodec.cli.outputs import check_output
from fieldcodec.cli.sequences.tables import print_summary
from fieldcodec.errors import ExitCode, InputError, UnknownGridError, UsageError
from fieldcodec.io.frame_paths import (
    FramePath,
    choose_numbers,
    find_frames,
    missing_numbers,
    number_ranges,
    ranges_text,
)
from fieldcodec.io.vdb import read_vdb_summary
from fieldcodec.metrics.rate import compression_ratio
from fieldcodec.volume.grid_quality import parse_grid_quality
from fieldcodec.volume.sequence.encode import SequenceJob
from fieldcodec.volume.sequence.measure import FrameMeasure
from fieldcodec.volume.sequence.partial import PartialFolder
from fieldcodec.volume.sequence.summary import summarise

if TYPE_CHECKING:
    from fieldcodec.cli.encode import Encode


def encode_frames(options: "Encode") -> ExitCode:
    """Finds the frames, encodes those asked for, and reports."""
    if options.output is None:
        raise UsageError("a sequence needs the name of its file: --output smoke.fcodec")
    for flag, value in (("--image", options.image), ("--mesh", options.mesh)):
        if value is not None:
            raise UsageError(f"{flag} goes with one volume, not with a sequence")
    if options.append and not options.output.is_file():
        raise InputError(f"{options.output} does not exist, so nothing can be appended to it; leave out --append")
    frames = _frames(options)
    check_output(options.output, overwrite=options.overwrite or options.append)
    reader = FrameReader(options.conversion, split_names(options.grids), options.skip_unsupported)
    _check_grid_names(frames, reader, [*parse_grid_quality(options.settings.grid_quality), *reader.grids])
    job = SequenceJob(
        tuple((frame.number, frame.path) for frame in frames), options.output, options.settings, options.sequence,
        append=options.append, overwrite=options.overwrite, load=reader, device=options.device, check=options.check,
    )  # fmt: skip
    start = time.perf_counter()
    try:
        with ProgressBars() as bars:
            measures = job.run(bars)
    except BaseException:
        _tell_of_finished_groups(options.output)
        raise
    _report(options, measures, time.perf_counter() - start)
    missed = [f"{measure.number}" for measure in measures if not all(grid.is_goal_met for grid in measure.grids)]
    if missed:
        say(f"fieldcodec: the quality asked for was not reached in {len(missed)} frames, the first is {missed[0]}")
    return ExitCode.QUALITY if missed else ExitCode.OK


def tell_of_gaps(numbers: Sequence[int]) -> None:
    """A warning where frames are missing in between."""
    gaps = missing_numbers(numbers)
    if gaps:
        count = sum(last - first + 1 for first, last in gaps)
        say(f"fieldcodec: warning: {count} frames are missing: {ranges_text(gaps)}; the others are taken")


def _frames(options: "Encode") -> list[FramePath]:
    found = find_frames(options.inputs)
    chosen = set(choose_numbers([frame.number for frame in found], options.frames))
    frames = [frame for frame in found if frame.number in chosen]
    if options.frames is None:
        tell_of_gaps([frame.number for frame in frames])
    for frame in frames:
        if options.output is not None and options.output.exists() and options.output.samefile(frame.path):
            raise UsageError(f"the output {options.output} is one of the frames; choose another path")
    return frames


def _check_grid_names(frames: Sequence[FramePath], reader: FrameReader, wanted: Sequence[str]) -> None:
    """Refuse names that no frame has, before hours of work; frames are looked at until all names are found."""
    missing = {name for name in wanted if not name.startswith("#")}
    known: dict[str, None] = {}
    for frame in frames:
        if not missing:
            return
        is_vdb = frame.path.suffix.lower() == ".vdb"
        grids = read_vdb_summary(frame.path).grids if is_vdb else reader(frame.path).grids
        known |= dict.fromkeys(grid.name for grid in grids)
        missing -= set(known)
    if missing:
        there = ", ".join(map(repr, known)) or "none"
        raise UnknownGridError(f"no frame has a grid called {sorted(missing)[0]!r}; there are {there}")


def _tell_of_finished_groups(output: Path) -> None:
    folder = PartialFolder(output).path
    if any(folder.glob("group_*.fcodec")):
        say(f"fieldcodec: finished groups of frames are kept in {folder}; the same command goes on from there")


def _report(options: "Encode", measures: Sequence[FrameMeasure], seconds: float) -> None:
    assert options.output is not None  # checked at the start
    num_bytes = options.output.stat().st_size
    grids = summarise(measures)
    source = sum(measure.bytes_source or 0 for measure in measures)
    ours = sum(measure.bytes or 0 for measure in measures)
    encoded = sum(measure.seconds_encode or 0.0 for measure in measures) / len(measures)
    if options.json:
        result_json(
            {
                "inputs": [str(path) for path in options.inputs],
                "output": str(options.output),
                "settings": dataclasses.asdict(options.settings) | dataclasses.asdict(options.sequence),
                "bytes": num_bytes,
                "bytes_source": source,
                "ratio_source": compression_ratio(source, ours),
                "seconds": seconds,
                "seconds_per_frame": encoded,
                "frames": [measure.to_json() for measure in measures],
                "grids": [grid.to_json() for grid in grids],
            }
        )
        return
    known = ranges_text(number_ranges([measure.number for measure in measures]))
    head = f"{len(measures)} frames ({known}): {ours:,} bytes from {source:,} in {seconds:.1f} s, "
    print_summary(Console(), f"{head}{encoded:.2f} s a frame", grids)
    say(f"wrote {options.output}: {num_bytes:,} bytes")
