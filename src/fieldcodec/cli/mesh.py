"""`fieldcodec mesh`: the iso-surface of a grid, or an object of a collection, as a mesh file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fieldcodec.cli.collections.decode import mesh_of_object
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import (
    ConversionOptions,
    find_grids,
    is_compressed_collection,
    kind_of,
    open_frame,
    read_input,
    refuse_frame,
    refuse_options,
    require_file,
)
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.errors import ExitCode, UnsupportedGridError, UsageError
from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid
from fieldcodec.io.mesh import read as meshes
from fieldcodec.io.mesh.write import check_mesh_suffix, write_mesh
from fieldcodec.volume.compressed_grid import CompressedGrid


@dataclass(frozen=True)
class Mesh:
    """Write the surface of a level set, or of a fog volume at a value, as triangles with normals.

    The surface of a closed level set is watertight: every edge has exactly two triangles.
    """

    input: Positional[Path]
    """A .fcodec file, or anything else that `encode` takes."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The .ply or .obj file; the input's name with .ply unless given."""
    frame: Annotated[int | None, arg(metavar="NUMBER")] = None
    """The frame to take of a compressed sequence."""
    iso: float | None = None
    """The value at the surface; unless given, 0 for level sets and half of the robust maximum (the value that 99.9 %
    of the active voxels do not exceed) for all else."""
    grid: Annotated[str | None, arg(metavar="NAME")] = None
    """The grid, by name or position (#0 is the first); unless given, the first one with numbers."""
    item: Annotated[str | None, arg(metavar="NAME")] = None
    """Collections: the object, by name or position; `decode` has more options for them."""
    index: bool = False
    """Positions in voxels (index space) instead of world units."""
    device: str = "auto"
    """Where networks of .fcodec files run: auto, cpu, cuda, cuda:1, ..."""
    conversion: Annotated[ConversionOptions, arg(name="")] = field(default_factory=ConversionOptions)
    """How an input that is no volume becomes one."""
    overwrite: bool = False
    """Replace the output if it exists."""
    json: bool = False
    """Print what was written for programs."""


def parse(arguments: Sequence[str]) -> Mesh:
    return parse_options(Mesh, arguments)


def run(options: Mesh) -> ExitCode:
    if is_compressed_collection(options.input):
        return mesh_of_object(options)
    refuse_options({"--item": options.item}, f"{options.input} holds no objects")
    output = options.output or default_output(options.input, ".ply")
    check_mesh_suffix(output)
    check_output(output, overwrite=options.overwrite, source=options.input)
    with ProgressBars() as bars:
        grid = _read_grid(options, bars)
    surface = iso_surface(grid, options.iso, in_world_space=not options.index)
    if not len(surface.triangles):
        raise UsageError(
            f"grid {grid.name!r} has no surface at {surface.iso:g}: no voxel is on the other side of it; "
            "give another --iso"
        )
    mesh = meshes.Mesh(surface.vertices, surface.triangles)
    write_mesh(output, mesh, surface.normals, overwrite=options.overwrite)
    facts = {"grid": grid.name, "iso": surface.iso, "space": "index" if options.index else "world"}
    counts = {"vertices": len(surface.vertices), "triangles": len(surface.triangles)}
    if options.json:
        size = output.stat().st_size
        result_json({"input": str(options.input), "output": str(output), "bytes": size, **facts, **counts})
    else:
        say(f"wrote {output}: {grid.name or '(unnamed)'} at {surface.iso:g}, {counts['triangles']:,} triangles")
    return ExitCode.OK


def _read_grid(options: Mesh, bars: ProgressBars) -> SparseGrid:
    """The grid asked for, or the first one with one number to a voxel; of a compressed file no other is decoded."""
    require_file(options.input)
    refuse_frame(options.input, options.frame)
    if kind_of(options.input) == "compressed":
        compressed = open_frame(options.input, options.frame)
        grid = compressed.to_grids([_row(options, compressed.grids)], device=options.device, on_event=bars)[0]
    else:
        volumes = read_input(options.input, options.conversion, bars.share)
        grid = volumes[_row(options, volumes.grids)]
    assert isinstance(grid, SparseGrid)  # _row sees to it
    return grid


def _row(options: Mesh, grids: Sequence[SparseGrid | OpaqueGrid | CompressedGrid]) -> int:
    """Position of the grid to take."""
    rows = range(len(grids)) if options.grid is None else find_grids([grid.name for grid in grids], [options.grid])
    for row in rows:
        grid = grids[row]
        if isinstance(grid, OpaqueGrid) or (isinstance(grid, CompressedGrid) and grid.is_opaque):
            continue
        if grid.channels == 1:
            return row
    which = "no grid" if options.grid is None else f"no grid called {options.grid!r}"
    raise UnsupportedGridError(f"{options.input} has {which} with one number to a voxel; a surface needs that")
