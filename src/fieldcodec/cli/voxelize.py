"""`fieldcodec voxelize`: meshes and dense arrays as `.vdb` files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import ConversionOptions, read_input
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output
from fieldcodec.cli.summaries import grid_summary, summary_line
from fieldcodec.errors import ExitCode


@dataclass(frozen=True)
class Voxelize:
    """Turn a mesh into a narrow-band level set, or a dense array into a fog volume."""

    input: Positional[Path]
    """A mesh (.obj, .ply, .stl, .glb) or a dense array (.npy, .nii, .nii.gz, .raw)."""
    output: Positional[Path]
    """The .vdb file."""
    conversion: Annotated[ConversionOptions, arg(name="")] = field(default_factory=ConversionOptions)
    """How."""
    overwrite: bool = False
    """Replace the output if it exists."""
    json: bool = False
    """Print what was written for programs."""


def parse(arguments: Sequence[str]) -> Voxelize:
    return parse_options(Voxelize, arguments)


def run(options: Voxelize) -> ExitCode:
    check_output(options.output, overwrite=options.overwrite, source=options.input)
    with ProgressBars() as bars:
        volumes = read_input(options.input, options.conversion, bars.share)
    fc.write_volumes(options.output, volumes)
    summaries = [grid_summary(grid) for grid in volumes]
    if options.json:
        size = options.output.stat().st_size
        result_json({"output": str(options.output), "bytes": size, "grids": summaries})
    else:
        for summary in summaries:
            say(f"wrote {options.output}: {summary_line(summary)}")
    return ExitCode.OK
