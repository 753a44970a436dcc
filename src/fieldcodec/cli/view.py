"""`fieldcodec view`: a page on this machine to look at a file with."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, result, say
from fieldcodec.cli.inputs import (
    ConversionOptions,
    is_compressed_sequence,
    kind_of,
    read_input,
    refuse_collection,
    require_file,
)
from fieldcodec.cli.measure import method_of
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.sequences.compare import holds_frames
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.frame_paths import find_frames
from fieldcodec.view.answers import Answers
from fieldcodec.view.server import ViewServer
from fieldcodec.view.source import Frame, GridEntry, Source
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid


@dataclass(frozen=True)
class View:
    """Look at a volume or a sequence in the browser: turn it, move a layer or an iso value, see where it is wrong.

    A page is served on this machine, to this machine only, until Ctrl-C; nothing is fetched from anywhere else.
    """

    input: Positional[Path]
    """A .fcodec file, or anything else that `encode` takes; also a folder or pattern of frames."""
    original: Annotated[Path | None, arg(metavar="PATH")] = None
    """What the file was made from (of a sequence a folder or pattern); the page then shows it too, and the errors."""
    port: int = 0
    """The port on 127.0.0.1; 0 takes any that is free."""
    browser: bool = True
    """Open the page in a browser; the link is printed either way."""
    device: str = "auto"
    """Where networks of .fcodec files run: auto, cpu, cuda, cuda:1, ..."""
    conversion: Annotated[ConversionOptions, arg(name="")] = field(default_factory=ConversionOptions)
    """How an input that is no volume becomes one."""


def parse(arguments: Sequence[str]) -> View:
    return parse_options(View, arguments)


def run(options: View) -> ExitCode:
    server = ViewServer(Answers(open_source(options), _about(options)), options.port)
    try:
        result(server.address)
        sys.stdout.flush()
        say(f"showing {options.input.name}; Ctrl-C ends it")
        if options.browser and _has_screen():
            webbrowser.open(server.address)
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        say("stopped")
    finally:
        server.server_close()
    return ExitCode.OK


def open_source(options: View) -> Source:
    """What the page looks at. Compressed grids and frames are read later, everything else is read now.

    Raises:
        InputError: a file is missing, unreadable or of no known kind.
        UsageError: the input is a sequence and the original is none, or the other way round.
        FormatError: a compressed file is foreign or damaged.
    """
    for path in filter(None, (options.input, options.original)):
        if not holds_frames(path):
            require_file(path)
        refuse_collection(path)
    original = options.original
    if original is not None and holds_frames(original) != holds_frames(options.input):
        raise UsageError(f"{options.input} and {original} are not alike: one is a sequence, the other one volume")
    if holds_frames(options.input):
        return _sequence_source(options)
    with ProgressBars() as bars:
        originals = read_input(original, options.conversion, bars.share) if original else None
        if kind_of(options.input) == "compressed":
            return Source.of(_compressed_frame(fc.open(options.input), options, originals))
        return Source.of(_frame_in_memory(read_input(options.input, options.conversion, bars.share), originals))


def _sequence_source(options: View) -> Source:
    """Frames of a compressed sequence, or files; each is read when it is looked at."""
    files = {frame.number: frame.path for frame in find_frames([options.original])} if options.original else {}

    def originals(number: int) -> VolumeFile | None:
        return read_input(files[number], options.conversion) if number in files else None

    if is_compressed_sequence(options.input):
        sequence = fc.open_sequence(options.input)
        numbers = sequence.frames

        def open_frame(place: int) -> Frame:
            number = numbers[place]
            return _compressed_frame(sequence.frame(number), options, originals(number))
    else:
        paths = find_frames([options.input])
        numbers = tuple(frame.number for frame in paths)

        def open_frame(place: int) -> Frame:
            return _frame_in_memory(read_input(paths[place].path, options.conversion), originals(numbers[place]))

    return Source([str(number) for number in numbers], open_frame, has_originals=bool(files))


def _compressed_frame(compressed: CompressedVolume, options: View, originals: VolumeFile | None) -> Frame:
    def load(row: int) -> SparseGrid:
        return _sparse(compressed.to_grids([row], device=options.device), 0)

    return Frame(tuple(map(_entry, compressed.grids)), load, originals)


def _frame_in_memory(volumes: VolumeFile, originals: VolumeFile | None) -> Frame:
    return Frame(tuple(map(_entry_in_memory, volumes)), lambda row: _sparse(volumes, row), originals)


def _sparse(volumes: VolumeFile, row: int) -> SparseGrid:
    grid = volumes[row]
    assert isinstance(grid, SparseGrid)  # carried grids are marked as such, and not asked for
    return grid


def _entry(grid: CompressedGrid) -> GridEntry:
    sections = {name: len(data) for name, data in grid.sections.items()}
    if grid.is_opaque:
        return GridEntry(
            grid.name, "carried", "unknown", None, grid.num_bytes, method_of(grid), sections, is_carried=True
        )
    return GridEntry(
        grid.name, grid.value_type.name, grid.grid_class, grid.active_voxels, grid.num_bytes, method_of(grid), sections
    )


def _entry_in_memory(grid: SparseGrid | OpaqueGrid) -> GridEntry:
    if isinstance(grid, OpaqueGrid):
        return GridEntry(grid.name, grid.type_name, "unknown", is_carried=True)
    return GridEntry(grid.name, grid.value_type.name, grid.grid_class, grid.topology.num_active_voxels)


def _about(options: View) -> dict[str, object]:
    original = options.original
    return {
        "version": fc.__version__,
        "file": options.input.name,
        "bytes": _size(options.input),
        "original": original.name if original else None,
        "original_bytes": _size(original) if original else None,
    }


def _size(path: Path) -> int:
    """Bytes of a file, or of all frames that a folder or pattern stands for."""
    if path.is_file():
        return path.stat().st_size
    return sum(frame.path.stat().st_size for frame in find_frames([path]))


def _has_screen() -> bool:
    """False on a server without one, where a browser in the terminal would take it over."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
