"""`fieldcodec generate`: procedural volumes to play with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.console import result_json, say
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output
from fieldcodec.cli.summaries import grid_summary, summary_line
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.grid.procedural import PROCEDURALS
from fieldcodec.grid.sparse_grid import VolumeFile


@dataclass(frozen=True)
class Generate:
    """Make a procedural volume."""

    kind: Annotated[Positional[str], arg(help=f"One of {', '.join(PROCEDURALS)}.")]
    output: Positional[Path]
    """The .vdb file."""
    resolution: int = 96
    """Voxels across."""
    seed: int = 0
    """Another number, another volume; the same number, the same volume."""
    overwrite: bool = False
    """Replace the output if it exists."""
    json: bool = False
    """Print what was written for programs."""


def parse(arguments: Sequence[str]) -> Generate:
    return parse_options(Generate, arguments)


def run(options: Generate) -> ExitCode:
    if options.kind not in PROCEDURALS:
        raise UsageError(f"unknown kind of volume {options.kind!r}; known are {', '.join(PROCEDURALS)}")
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
