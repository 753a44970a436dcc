"""`fieldcodec bench`: bytes against error of our methods and other codecs, on a volume of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from fieldcodec.bench import registry
from fieldcodec.bench.demands import DEFAULT_MCD, DEFAULT_PSNR, demands_of
from fieldcodec.bench.ours import METHODS, NetworkSize, Surroundings, methods
from fieldcodec.bench.peer import Result
from fieldcodec.bench.plot import picture_bytes, require_plot
from fieldcodec.bench.reference import Reference
from fieldcodec.bench.report import to_markdown, to_table
from fieldcodec.bench.run import measurable, measure
from fieldcodec.cli.console import ProgressBars, result, result_json, say, to_json_text
from fieldcodec.cli.inputs import ConversionOptions, kind_of, read_input, select_grids, split_names
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.container.files import write_atomically
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.io.mesh import Mesh, read_mesh
from fieldcodec.nets.device import choose_device

_METHODS = ", ".join(f"{name} ({what})" for name, what in METHODS.items())
_WIDTH = 160  # of the tables where stdout is no terminal


@dataclass(frozen=True)
class Bench:
    """Compare our files with those of other codecs at equal error, and keep the numbers.

    Every codec is brought to each quality asked for; all bytes are those of real files, decoded again. The table
    counts the exact tree for all: codecs that store none get the bytes of ours added.
    """

    input: Positional[Path]
    """A .vdb or .nvdb file, a dense array (.npy, .nii, .nii.gz, .raw) or a mesh (.obj, .ply, .stl, .glb)."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The JSON file of all numbers; the input's name with .bench.json unless given."""
    psnr: Annotated[
        str | None, arg(metavar="DB,DB", help=f"PSNRs to reach, in dB; fog gets {DEFAULT_PSNR} unless asked.")
    ] = None
    rmse: Annotated[str | None, arg(metavar="NUMBER,NUMBER")] = None
    """Instead: root mean square errors, in the file's units, or as 1% of the range of values, or 0.1vx."""
    iou: Annotated[str | None, arg(metavar="NUMBER,NUMBER")] = None
    """Instead, for level sets: intersections over union of the interiors, such as 0.99,0.999."""
    mcd: Annotated[
        str | None,
        arg(
            metavar="VOXELS,VOXELS",
            help=f"Instead, for level sets: distances of the surface; they get {DEFAULT_MCD} unless asked.",
        ),
    ] = None
    methods: Annotated[str, arg(metavar="NAME,NAME", help=f"Ours: {_METHODS}; or none.")] = "lattice"
    peers: Annotated[
        str,
        arg(metavar="NAME,NAME", help=f"Others, or beginnings of names: all, none, or {', '.join(registry.NAMES)}."),
    ] = "all"
    network_sizes: Annotated[str | None, arg(metavar="WIDTH,WIDTHxEPOCHS")] = None
    """For the method network: a point of its curve for each size, such as 32,64x4000."""
    mesh: Annotated[Path | None, arg(metavar="PATH")] = None
    """The mesh that the level set was made from, in world space: for draco and the method mesh. An input that is a
    mesh counts as such by itself."""
    grid: Annotated[str | None, arg(metavar="NAME")] = None
    """This grid, by name or position (#0 is the first); the one with the most active voxels unless given."""
    sweep: int = 20
    """Tolerances tried besides those of the search, for codecs whose curves are jagged; more is fairer to them."""
    plot: Annotated[Path | None, arg(metavar="PATH")] = None
    """Also draw the curves, as .png or .svg."""
    markdown: bool = False
    """Print the table in Markdown."""
    json: bool = False
    """Print the numbers for programs instead of the table."""
    device: str = "auto"
    """Where networks are trained: auto, cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Replace outputs if they exist."""
    conversion: Annotated[ConversionOptions, arg(name="")] = field(default_factory=ConversionOptions)
    """Inputs that are no sparse volume."""


def parse(arguments: Sequence[str]) -> Bench:
    return parse_options(Bench, arguments)


def run(options: Bench) -> ExitCode:
    output = options.output or default_output(options.input, ".bench.json")
    check_output(output, overwrite=options.overwrite, source=options.input)
    if options.plot is not None:
        require_plot(options.plot)
        check_output(options.plot, overwrite=options.overwrite, source=options.input)
    if not 0 <= options.sweep <= 1000:
        raise UsageError(f"--sweep is {options.sweep}; allowed is 0 to 1000")
    with ProgressBars() as bars:
        found = _measure(options, bars)
    write_atomically(output, [to_json_text(found).encode() + b"\n"], overwrite=options.overwrite)
    if options.plot is not None:
        write_atomically(options.plot, [picture_bytes(found, options.plot.suffix)], overwrite=options.overwrite)
    if options.json:
        result_json(found)
    elif options.markdown:
        result(to_markdown(found))
        for name, why in found["left_out"].items():
            say(f"fieldcodec: left out {name}: {why}")
    else:
        console = Console()
        to_table(found, console if console.is_terminal else Console(width=_WIDTH))
    for path in (output, *([options.plot] if options.plot else [])):
        say(f"wrote {path}")
    return ExitCode.OK


def _measure(options: Bench, bars: ProgressBars) -> Result:
    sizes = [NetworkSize.parse(item) for item in split_names(options.network_sizes)]
    volumes = read_input(options.input, options.conversion, bars.share)
    reference = Reference(measurable(select_grids(volumes, (options.grid,) if options.grid is not None else ())))
    mesh = _mesh(options)
    others = registry.peers(split_names(options.peers), mesh, close_holes=options.conversion.close_holes)
    demands = demands_of(
        reference.grid, reference.value_range,
        {"psnr": options.psnr, "rmse": options.rmse, "iou": options.iou, "mcd": options.mcd},
    )  # fmt: skip
    surroundings = Surroundings(mesh, options.device, bars)
    ours = methods([name for name in split_names(options.methods) if name != "none"], demands, surroundings, sizes)
    if not ours and not others:
        raise UsageError("nothing is to be measured: --methods and --peers name no codec")
    found = measure(
        reference, [*ours, *others], demands, sweep=options.sweep, device=choose_device(options.device).type,
        on_event=bars, on_codec=lambda name, what: say(f"{name}: {what}"),
    )  # fmt: skip
    return {**found, "what": options.input.name, "source": str(options.input)}


def _mesh(options: Bench) -> Mesh | None:
    path = options.mesh or (options.input if kind_of(options.input) == "mesh" else None)
    return None if path is None else read_mesh(path)
