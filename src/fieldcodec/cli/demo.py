"""`fieldcodec demo`: the whole way on one volume, for a first look."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, say, to_json_text
from fieldcodec.cli.first_run import OF_ENCODING, helped_by_others
from fieldcodec.cli.inputs import ConversionOptions, read_input
from fieldcodec.cli.measure import encode_and_measure
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.cli.pictures import save_picture
from fieldcodec.errors import ExitCode, InputError
from fieldcodec.grid.procedural import PROCEDURALS
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.volume.settings import VolumeSettings


@dataclass(frozen=True)
class Demo:
    """Encode and decode a volume, print the report, and write a picture of original, decoded and error.

    Without a volume it makes some smoke. Everything lands in one folder.
    """

    volume: Annotated[Positional[Path | None], arg(metavar="VOLUME")] = None
    """A .vdb file, or anything else that `encode` takes."""
    output: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("fieldcodec-demo")
    """The folder; made if missing, its files of the same names are replaced."""
    resolution: int = 64
    """Of the smoke that is made: voxels across; it is twice as high."""
    device: str = "auto"
    """Where the networks are trained: auto, cpu, cuda, cuda:1, ..."""
    settings: Annotated[VolumeSettings, arg(name="")] = field(default_factory=VolumeSettings)
    """The codec."""


def parse(arguments: Sequence[str]) -> Demo:
    return parse_options(Demo, arguments)


def run(options: Demo) -> ExitCode:
    with helped_by_others(OF_ENCODING):
        return _run(options)


def _run(options: Demo) -> ExitCode:
    folder = options.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made: {error.strerror or error}") from error
    with ProgressBars() as bars:
        source = options.volume or folder / "smoke.vdb"
        names = [default_output(Path(source.name), ".fcodec").name, "decoded.vdb", "comparison.png", "report.json"]
        compressed, back, picture, report = (folder / name for name in names)
        for path in (compressed, back, picture, report):
            check_output(path, overwrite=True, source=options.volume)
        if options.volume is None:
            grid = PROCEDURALS["smoke"](options.resolution, 0)
            fc.write_volumes(source, VolumeFile((grid,)))
        volumes = read_input(source, ConversionOptions(), bars.share)
        measured = encode_and_measure(
            volumes, options.settings, compressed, bytes_source=source.stat().st_size,
            device=options.device, overwrite=True, on_event=bars,
        )  # fmt: skip
    assert measured.decoded is not None  # encode_and_measure checks unless told otherwise
    fc.write_volumes(back, measured.decoded)
    has_picture = save_picture(picture, volumes, measured.decoded, overwrite=True)
    report.write_text(to_json_text(measured.report.to_json()) + "\n", encoding="utf-8")
    measured.report.to_table(Console())
    for path in (compressed, back, *([picture] if has_picture else []), report):
        say(f"wrote {path}")
    return ExitCode.OK
