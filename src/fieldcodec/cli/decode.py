"""`fieldcodec decode`: volumes or objects back from a compressed file."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.collections.decode import decode_objects
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.first_run import OF_DECODING, helped_by_others
from fieldcodec.cli.inputs import held_kind, refuse_options, require_file
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.cli.sequences.decode import check_vdb_name, decode_frames, decoded, grid_line
from fieldcodec.errors import ExitCode, UsageError


@dataclass(frozen=True)
class Decode:
    """Restore the .vdb file, the frames of a sequence or the objects of a collection from a .fcodec file."""

    input: Positional[Path]
    """The compressed file."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The .vdb file; the input's name with .vdb unless given. Of a sequence: a pattern such as 'back/smoke_%04d.vdb'
    or a folder, which is made where it is missing; unless given, frames get the names they had, beside the input.
    Of a collection: with --item a .ply, .obj or .vdb file, else a folder."""
    frames: Annotated[str | None, arg(metavar="RANGES")] = None
    """Sequences: only these frames, such as 10-20,25."""
    grids: Annotated[str | None, arg(metavar="NAME,NAME")] = None
    """Only these grids, by name or position (#0 is the first)."""
    bbox: Annotated[str | None, arg(metavar="X0,Y0,Z0,X1,Y1,Z1")] = None
    """Only the voxels of this box: its first and last voxel along each axis, in index space (write --bbox=-8,...
    where the first number is negative)."""
    level: Annotated[int, arg(metavar="0-4")] = 0
    """Coarser: 1 is half the resolution, 2 a quarter, up to 4."""
    item: Annotated[str | None, arg(metavar="NAME")] = None
    """Collections: only this object, by name or position (#0 is the first)."""
    format: Literal["ply", "obj", "vdb"] | None = None
    """Collections: meshes with colours or level sets, where no file is named; ply unless given."""
    points: bool = False
    """Collections: points on the surface with normals and colours instead, as .ply."""
    resolution: Annotated[int | None, arg(metavar="N")] = None
    """Collections: voxels along the cube around an object that its surface is taken from; four for each of the finest
    cells unless given."""
    lod: Annotated[int | None, arg(metavar="N")] = None
    """Collections: only the levels of detail down to this one."""
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
    kind = held_kind(options.input)
    if kind == "collection":
        return decode_objects(options)
    with helped_by_others(OF_DECODING):
        return _decode(options, kind)


def _decode(options: Decode, kind: str) -> ExitCode:
    objects = {"--item": options.item, "--format": options.format, "--resolution": options.resolution}
    refuse_options({**objects, "--points": options.points, "--lod": options.lod}, f"{options.input} holds no objects")
    if kind == "sequence":
        return decode_frames(options)
    if options.frames is not None:
        raise UsageError(f"{options.input} holds one volume; leave out --frames")
    output = options.output or default_output(options.input, ".vdb")
    check_vdb_name(output)
    check_output(output, overwrite=options.overwrite, source=options.input)
    start = time.perf_counter()
    with ProgressBars() as bars:
        volumes = decoded(fc.open(options.input), options, bars)
    seconds = time.perf_counter() - start
    fc.write_volumes(output, volumes)
    grids = [grid_line(grid) for grid in volumes]
    if options.json:
        size = output.stat().st_size
        result_json(
            {"input": str(options.input), "output": str(output), "bytes": size, "seconds": seconds, "grids": grids}
        )
    else:
        say(f"wrote {output}: {len(grids)} grid{'' if len(grids) == 1 else 's'} in {seconds:.1f} s")
    return ExitCode.OK
