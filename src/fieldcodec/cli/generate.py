"""`fieldcodec generate`: procedural volumes and sequences to play with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output
from fieldcodec.cli.summaries import grid_summary, summary_line
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.grid.procedural import PROCEDURALS
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.io.frame_paths import format_frame, has_placeholder
from fieldcodec.simulate import SEQUENCES, SequenceOptions

_EXAMPLE = "%04d"


@dataclass(frozen=True)
class Generate:
    """Make a procedural volume, or a sequence of them."""

    kind: Annotated[
        Positional[str], arg(help=f"A volume: {', '.join(PROCEDURALS)}; or a sequence: {', '.join(SEQUENCES)}.")
    ]
    output: Positional[Path]
    """The .vdb file; of a sequence a pattern such as frames/smoke_%04d.vdb (or #### or $F4)."""
    resolution: int = 96
    """Voxels across."""
    seed: int = 0
    """Another number, another volume; the same number, the same volume."""
    frames: int | None = None
    """Frames in the whole sequence, 60 unless given; they are numbered from 0."""
    first_frame: int | None = None
    """Make no frame before this one."""
    last_frame: int | None = None
    """Make no frame after this one."""
    start: Annotated[float | None, arg(metavar="SECONDS")] = None
    """The time of frame 0; the kind's own unless given."""
    end: Annotated[float | None, arg(metavar="SECONDS")] = None
    """The time of the last frame of the whole sequence; the kind's own unless given."""
    closed_box: bool = False
    """Plume: a wall above, too, that keeps all smoke in the box."""
    overwrite: bool = False
    """Replace outputs that exist."""
    json: bool = False
    """Print what was written for programs."""


def parse(arguments: Sequence[str]) -> Generate:
    return parse_options(Generate, arguments)


def run(options: Generate) -> ExitCode:
    if options.kind in SEQUENCES:
        return _run_sequence(options)
    if options.kind not in PROCEDURALS:
        known = ", ".join((*PROCEDURALS, *SEQUENCES))
        raise UsageError(f"unknown kind of volume {options.kind!r}; known are {known}")
    _check_no_sequence(options)
    check_output(options.output, overwrite=options.overwrite)
    grid = PROCEDURALS[options.kind](options.resolution, options.seed)
    fc.write_volumes(options.output, VolumeFile((grid,)))
    summary = grid_summary(grid)
    if options.json:
        size = options.output.stat().st_size
        result_json({"output": str(options.output), "bytes": size, "grids": [summary]})
    else:
        say(f"wrote {options.output}: {summary_line(summary)}")
    return ExitCode.OK


def _run_sequence(options: Generate) -> ExitCode:
    """Each frame is written as soon as it is made, and stays if the command is interrupted later."""
    sequence = _sequence_options(options)
    paths = _paths(options.output, sequence.numbers)
    for path in paths.values():
        check_output(path, overwrite=options.overwrite)
    rows, start = [], time.perf_counter()
    with ProgressBars() as bars:
        bars.share("frames", 0.0)
        for number, volumes in SEQUENCES[options.kind](sequence):
            fc.write_volumes(paths[number], volumes)
            rows.append(_row(number, paths[number], volumes, time.perf_counter() - start))
            start = time.perf_counter()
            bars.share("frames", len(rows) / len(paths))
    if options.json:
        report = {"kind": options.kind, "output": str(options.output), "resolution": options.resolution}
        result_json({**report, "bytes": sum(row["bytes"] for row in rows), "frames": rows})
    else:
        for row in rows:
            say(f"wrote {row['output']}: " + "; ".join(map(summary_line, row["grids"])))
    return ExitCode.OK


def _row(number: int, path: Path, volumes: VolumeFile, seconds: float) -> dict[str, Any]:
    grids = [grid_summary(grid) for grid in volumes]
    return {"frame": number, "output": str(path), "bytes": path.stat().st_size, "seconds": seconds, "grids": grids}


def _sequence_options(options: Generate) -> SequenceOptions:
    return SequenceOptions(
        resolution=options.resolution,
        frames=SequenceOptions.frames if options.frames is None else options.frames,
        first_frame=options.first_frame,
        last_frame=options.last_frame,
        start=options.start,
        end=options.end,
        seed=options.seed,
        closed_box=options.closed_box,
    )


def _paths(output: Path, numbers: range) -> dict[int, Path]:
    """The file of each frame; a plain name will do for a single one."""
    if output.suffix.lower() != ".vdb":
        raise UsageError(f"the output {output.name} does not end in .vdb, the only format that is written")
    if has_placeholder(output):
        return {number: Path(format_frame(output, number)) for number in numbers}
    if len(numbers) == 1:
        return {numbers[0]: output}
    pattern = output.with_stem(f"{output.stem}_{_EXAMPLE}")
    raise UsageError(
        f"{len(numbers)} frames are to be written, but {output.name} names one file; "
        f"give a pattern such as {pattern} (also #### or $F4), or ask for one frame"
    )


def _check_no_sequence(options: Generate) -> None:
    """A single volume has no frames: options that ask for some are mistakes."""
    for name in ("frames", "first_frame", "last_frame", "start", "end"):
        value = getattr(options, name)
        if value is not None and not (name == "frames" and value == 1):
            flag = name.replace("_", "-")
            raise UsageError(
                f"--{flag} is {value}, but {options.kind} is a single volume; sequences are {', '.join(SEQUENCES)}"
            )
