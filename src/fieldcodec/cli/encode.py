"""`fieldcodec encode`: a volume into a small file, with a report of what it costs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import ConversionOptions, kind_of, read_input, select_grids, split_names, without_opaque
from fieldcodec.cli.measure import encode_and_measure
from fieldcodec.cli.options import parse_options, value_of
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.cli.pictures import save_picture
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.io.mesh import Mesh, read_mesh
from fieldcodec.volume.settings import PRESETS, VolumeSettings


@dataclass(frozen=True)
class Encode:
    """Compress a volume into a .fcodec file.

    The written file is decoded again and compared with the input, and the report says what was found.
    """

    input: Positional[Path]
    """A .vdb or .nvdb file, a dense array (.npy, .nii, .nii.gz, .raw) or a mesh (.obj, .ply, .stl, .glb)."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The compressed file; the input's name with .fcodec unless given."""
    preset: Annotated[str, arg(help=f"Settings to start from: {', '.join(PRESETS)}.")] = "balanced"
    grids: Annotated[str | None, arg(metavar="NAME,NAME")] = None
    """Only these grids, by name or position (#0 is the first)."""
    skip_unsupported: Annotated[bool, arg(name="skip-unsupported")] = False
    """Leave out grids that cannot be read, and those that can only be carried uncompressed, such as points."""
    mesh: Annotated[Path | None, arg(metavar="PATH")] = None
    """The mesh that the level sets of the input were made from, in world space: coded itself where that is smaller.
    An input that is a mesh counts as such by itself."""
    device: str = "auto"
    """Where the networks are trained: auto, cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Replace the output if it exists."""
    json: bool = False
    """Print the report for programs."""
    image: Annotated[Path | None, arg(metavar="PATH")] = None
    """Also write a PNG of original, decoded and error side by side."""
    check: bool = True
    """Decode the written file and compare."""
    conversion: Annotated[ConversionOptions, arg(name="")] = field(default_factory=ConversionOptions)
    """Inputs that are no sparse volume."""
    settings: Annotated[VolumeSettings, arg(name="")] = field(default_factory=VolumeSettings)
    """The codec."""


def parse(arguments: Sequence[str]) -> Encode:
    """Options from the command line; the preset gives the defaults of the settings."""
    preset = value_of(arguments, "--preset") or "balanced"
    default = Encode(input=tyro.MISSING, preset=preset, settings=VolumeSettings.preset(preset))
    return parse_options(Encode, arguments, default=default)


def run(options: Encode) -> ExitCode:
    output = options.output or default_output(options.input, ".fcodec")
    check_output(output, overwrite=options.overwrite, source=options.input)
    if options.image is not None:
        check_output(options.image, overwrite=options.overwrite, source=options.input)
        if not options.check:
            raise UsageError("--image needs the decoded volume; leave out --no-check")
    with ProgressBars() as bars:
        skip = (lambda refused: say(f"fieldcodec: left out: {refused}")) if options.skip_unsupported else None
        volumes = read_input(options.input, options.conversion, bars.share, on_unsupported=skip)
        volumes = select_grids(volumes, split_names(options.grids))
        if options.skip_unsupported:
            volumes, dropped = without_opaque(volumes)
            for name in dropped:
                say(f"fieldcodec: left out the grid {name}")
        measured = encode_and_measure(
            volumes, options.settings, output, mesh=_mesh(options), bytes_source=options.input.stat().st_size,
            device=options.device, overwrite=options.overwrite, check=options.check, on_event=bars,
        )  # fmt: skip
    if options.image is not None and measured.decoded is not None:
        save_picture(options.image, volumes, measured.decoded, overwrite=options.overwrite)
    for grid in measured.compressed.grids:
        if grid.gave_up_voxels:
            say(f"fieldcodec: grid {grid.name!r}: tolerant topology gave up {grid.gave_up_voxels:,} voxels")
    if options.json:
        extra = {"input": str(options.input), "output": str(output), "settings": dataclasses.asdict(options.settings)}
        result_json({**extra, **measured.report.to_json()})
    else:
        measured.report.to_table(Console())
        say(f"wrote {output}")
    missed = [grid.name or "unnamed" for grid in measured.compressed.grids if not grid.goal_met]
    if missed:
        say(f"fieldcodec: the quality asked for was not reached for {', '.join(missed)}; the report says what was")
    return ExitCode.QUALITY if missed else ExitCode.OK


def _mesh(options: Encode) -> Mesh | None:
    """The mesh behind the input, where there is one that can be coded."""
    path = options.mesh or (options.input if kind_of(options.input) == "mesh" else None)
    if path is None or (options.mesh is None and find_spec("DracoPy") is None):
        return None
    return read_mesh(path)
