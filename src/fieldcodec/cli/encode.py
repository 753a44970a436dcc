"""`fieldcodec encode`: a volume, a sequence or a collection into a small file, with a report of what it costs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from fieldcodec.cli.collections.choose import wants_collection
from fieldcodec.cli.collections.encode import EncodeCollection, encode_objects, parse_collection
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.first_run import OF_ENCODING, helped_by_others
from fieldcodec.cli.inputs import ConversionOptions, kind_of, read_input, select_grids, split_names, without_opaque
from fieldcodec.cli.measure import encode_and_measure
from fieldcodec.cli.options import parse_options, switches_of, take_values, value_of
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.cli.pictures import save_picture
from fieldcodec.cli.sequences.encode import encode_frames
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.io.frame_paths import is_pattern
from fieldcodec.io.mesh import Mesh, read_mesh
from fieldcodec.volume.sequence.settings import SequenceSettings
from fieldcodec.volume.settings import PRESETS, VolumeSettings


@dataclass(frozen=True)
class Encode:
    """Compress a volume, or the frames of a sequence, into a .fcodec file.

    The written file is decoded again and compared with the input, and the report says what was found. Of a sequence,
    finished groups of frames are kept beside the output; the same command goes on after an interruption.

    Several meshes, or a folder or pattern of them, become the objects of a collection, which has options of its own:
    `fieldcodec encode --collection --help` prints them.
    """

    inputs: Positional[tuple[Path, ...]]
    """A .vdb or .nvdb file, a dense array (.npy, .nii, .nii.gz, .raw) or a mesh (.obj, .ply, .stl, .glb). A sequence
    is a pattern in quotes ('smoke_*.vdb', smoke_%04d.vdb, 'smoke_$F4.vdb', smoke_####.vdb), a folder or several files;
    it needs --output."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The compressed file; the input's name with .fcodec unless given."""
    frames: Annotated[str | None, arg(metavar="RANGES")] = None
    """Sequences: only these frames, such as 10-20,25."""
    append: bool = False
    """Sequences: add new frames to the output, which exists."""
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
    sequence: Annotated[SequenceSettings, arg(name="")] = field(default_factory=SequenceSettings)
    """How frames are put together."""
    settings: Annotated[VolumeSettings, arg(name="")] = field(default_factory=VolumeSettings)
    """The codec."""


def parse(arguments: Sequence[str]) -> Encode | EncodeCollection:
    """Options from the command line; the preset gives the defaults of the settings.

    `--grid-quality` takes one value and may be given several times.
    """
    if wants_collection(arguments, switches_of(Encode) | switches_of(EncodeCollection)):
        return parse_collection(arguments)
    preset = value_of(arguments, "--preset") or "balanced"
    qualities, rest = take_values(arguments, "--grid-quality")
    settings = VolumeSettings.preset(preset)
    settings = replace(settings, grid_quality=(*settings.grid_quality, *qualities))
    return parse_options(Encode, rest, default=Encode(inputs=tyro.MISSING, preset=preset, settings=settings))


def run(options: Encode | EncodeCollection) -> ExitCode:
    if isinstance(options, EncodeCollection):
        return encode_objects(options)
    if not options.inputs:
        raise UsageError("an input is required: a file, or a pattern of the names of frames in quotes")
    if options.output is None and len(options.inputs) > 1 and options.inputs[-1].suffix == ".fcodec":
        name = options.inputs[-1]
        raise UsageError(f"{name} stands among the inputs; the file to be written is named by --output {name}")
    with helped_by_others(OF_ENCODING):
        return _encode(options)


def _encode(options: Encode) -> ExitCode:
    source = options.inputs[0]
    if len(options.inputs) > 1 or options.append or source.is_dir() or is_pattern(source):
        return encode_frames(options)
    if options.frames is not None:
        raise UsageError(f"{source.name} is one file; --frames goes with a sequence")
    return _encode_one(options, source)


def _encode_one(options: Encode, source: Path) -> ExitCode:
    output = options.output or default_output(source, ".fcodec")
    check_output(output, overwrite=options.overwrite, source=source)
    if options.image is not None:
        check_output(options.image, overwrite=options.overwrite, source=source)
        if not options.check:
            raise UsageError("--image needs the decoded volume; leave out --no-check")
    with ProgressBars() as bars:
        skip = (lambda refused: say(f"fieldcodec: left out: {refused}")) if options.skip_unsupported else None
        volumes = read_input(source, options.conversion, bars.share, on_unsupported=skip)
        volumes = select_grids(volumes, split_names(options.grids))
        if options.skip_unsupported:
            volumes, dropped = without_opaque(volumes)
            for name in dropped:
                say(f"fieldcodec: left out the grid {name}")
        measured = encode_and_measure(
            volumes, options.settings, output, mesh=_mesh(options, source), bytes_source=source.stat().st_size,
            device=options.device, overwrite=options.overwrite, check=options.check, on_event=bars,
        )  # fmt: skip
    if options.image is not None and measured.decoded is not None:
        save_picture(options.image, volumes, measured.decoded, overwrite=options.overwrite)
    for grid in measured.compressed.grids:
        if grid.gave_up_voxels:
            say(f"fieldcodec: grid {grid.name!r}: tolerant topology gave up {grid.gave_up_voxels:,} voxels")
        if grid.no_level:
            say(f"fieldcodec: grid {grid.name!r}: no coarse level was stored: {grid.no_level}")
    if options.json:
        extra = {"input": str(source), "output": str(output), "settings": dataclasses.asdict(options.settings)}
        result_json({**extra, **measured.report.to_json()})
    else:
        measured.report.to_table(Console())
        say(f"wrote {output}")
    missed = [grid.name or "unnamed" for grid in measured.compressed.grids if not grid.goal_met]
    if missed:
        say(f"fieldcodec: the quality asked for was not reached for {', '.join(missed)}; the report says what was")
    return ExitCode.QUALITY if missed else ExitCode.OK


def _mesh(options: Encode, source: Path) -> Mesh | None:
    """The mesh behind the input, where there is one that can be coded."""
    path = options.mesh or (source if kind_of(source) == "mesh" else None)
    if path is None or (options.mesh is None and find_spec("DracoPy") is None):
        return None
    return read_mesh(path)
