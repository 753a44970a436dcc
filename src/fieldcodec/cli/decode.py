"""`fieldcodec decode`: the volume back from a compressed file."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import find_grids, require_file, split_names
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.grid.sparse_grid import SparseGrid


@dataclass(frozen=True)
class Decode:
    """Restore the .vdb file from a .fcodec file."""

    input: Positional[Path]
    """The compressed file."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The .vdb file; the input's name with .vdb unless given."""
    grids: Annotated[str | None, arg(metavar="NAME,NAME")] = None
    """Only these grids, by name or position (#0 is the first)."""
    bbox: Annotated[str | None, arg(metavar="X0,Y0,Z0,X1,Y1,Z1")] = None
    """Only the voxels of this box: its first and last voxel along each axis, in index space (write --bbox=-8,...
    where the first number is negative)."""
    level: Annotated[int, arg(metavar="0-4")] = 0
    """Coarser: 1 is half the resolution, 2 a quarter, up to 4."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Replace the output if it exists."""
    json: bool = False
    """Print what was written for programs."""


def parse(arguments: Sequence[str]) -> Decode:
    return parse_options(Decode, arguments)


def run(options: Decode) -> ExitCode:
    require_file(options.input)
    output = options.output or default_output(options.input, ".vdb")
    if output.suffix.lower() != ".vdb":
        raise UsageError(f"the output {output.name} does not end in .vdb, the only format that is written")
    check_output(output, overwrite=options.overwrite, source=options.input)
    bbox = None if options.bbox is None else _box(options.bbox)
    start = time.perf_counter()
    compressed = fc.open(options.input)
    with ProgressBars() as bars:
        names = [grid.name for grid in compressed.grids]
        rows = find_grids(names, split_names(options.grids)) if options.grids is not None else None
        volumes = compressed.to_grids(rows, bbox=bbox, level=options.level, device=options.device, on_event=bars)
    seconds = time.perf_counter() - start
    fc.write_volumes(output, volumes)
    grids = [
        {
            "name": grid.name,
            "value_type": grid.value_type.name if isinstance(grid, SparseGrid) else grid.type_name,
            "active_voxels": grid.topology.num_active_voxels if isinstance(grid, SparseGrid) else None,
        }
        for grid in volumes
    ]
    if options.json:
        size = output.stat().st_size
        result_json(
            {"input": str(options.input), "output": str(output), "bytes": size, "seconds": seconds, "grids": grids}
        )
    else:
        say(f"wrote {output}: {len(grids)} grid{'' if len(grids) == 1 else 's'} in {seconds:.1f} s")
    return ExitCode.OK


def _box(text: str) -> list[int]:
    """`x0,y0,z0,x1,y1,z1` as numbers."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--bbox is {text!r}; needed are six whole numbers x0,y0,z0,x1,y1,z1") from error
