"""`fieldcodec decode` of the frames of a sequence; and what it shares with that of one volume."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import find_grids, split_names
from fieldcodec.cli.outputs import check_output
from fieldcodec.errors import ExitCode, InputError, UnknownGridError, UsageError
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.frame_paths import choose_numbers, format_frame, has_placeholder
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.sequence.compressed import CompressedSequence

if TYPE_CHECKING:
    from fieldcodec.cli.decode import Decode


def decode_frames(options: "Decode") -> ExitCode:
    """Writes the frames asked for, one after another; only their groups are read."""
    sequence = fc.open_sequence(options.input)
    numbers = choose_numbers(sequence.frames, options.frames)
    outputs = _outputs(options, sequence, numbers)
    for output in outputs:
        check_output(output, overwrite=options.overwrite, source=options.input)
    _check_grids(options, sequence)
    start = time.perf_counter()
    frames = []
    with ProgressBars() as bars:
        for place, (number, output) in enumerate(zip(numbers, outputs, strict=True)):
            bars.share("frames", place / len(numbers))
            volumes = decoded(sequence.frame(number), options, bars, is_strict=False)
            fc.write_volumes(output, volumes)
            grids = [grid_line(grid) for grid in volumes]
            size = output.stat().st_size
            frames.append({"frame": number, "output": str(output), "bytes": size, "grids": grids})
    seconds = time.perf_counter() - start
    if options.json:
        result_json({"input": str(options.input), "seconds": seconds, "frames": frames})
    else:
        shown = str(outputs[0]) if len(outputs) == 1 else f"{outputs[0]} to {outputs[-1].name}"
        say(f"wrote {shown}: {len(frames)} frames in {seconds:.1f} s")
    return ExitCode.OK


def decoded(
    compressed: CompressedVolume, options: "Decode", on_event: ProgressBars, *, is_strict: bool = True
) -> VolumeFile:
    """The grids asked for, and of them what is asked for.

    Args:
        is_strict: refuse names of grids that are not there, else leave them out.
    """
    rows = None
    if options.grids is not None:
        names, wanted = [grid.name for grid in compressed.grids], split_names(options.grids)
        if not is_strict:
            wanted = tuple(item for item in wanted if item in names or item in [f"#{row}" for row in range(len(names))])
        rows = find_grids(names, wanted)
    bbox = None if options.bbox is None else _box(options.bbox)
    return compressed.to_grids(rows, bbox=bbox, level=options.level, device=options.device, on_event=on_event)


def grid_line(grid: SparseGrid | OpaqueGrid) -> dict[str, Any]:
    """What `--json` says of a grid that was written."""
    return {
        "name": grid.name,
        "value_type": grid.value_type.name if isinstance(grid, SparseGrid) else grid.type_name,
        "active_voxels": grid.topology.num_active_voxels if isinstance(grid, SparseGrid) else None,
    }


def check_vdb_name(path: Path) -> None:
    if path.suffix.lower() != ".vdb":
        raise UsageError(f"the output {path.name} does not end in .vdb, the only format that is written")


def _outputs(options: "Decode", sequence: CompressedSequence, numbers: list[int]) -> list[Path]:
    """A path for each frame; their folder is made where it is missing."""
    target = options.output or options.input.parent
    if has_placeholder(target) and not target.is_dir():
        check_vdb_name(target)
        outputs = [Path(format_frame(target, number)) for number in numbers]
    elif target.suffix.lower() == ".vdb":
        if len(numbers) > 1:
            raise UsageError(f"{target} has no place for the numbers of {len(numbers)} frames; write smoke_%04d.vdb")
        outputs = [target]
    else:
        outputs = [target / Path(sequence.name(number)).with_suffix(".vdb") for number in numbers]
    if len(set(outputs)) < len(outputs):
        raise UsageError(f"some frames have the same name in {options.input}; give a pattern such as smoke_%04d.vdb")
    try:
        outputs[0].parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {outputs[0].parent}: {error.strerror}") from error
    return outputs


def _check_grids(options: "Decode", sequence: CompressedSequence) -> None:
    """Refuse names that no frame has."""
    known = dict.fromkeys(grid.name for grid in sequence.layout.grids)
    unknown = [name for name in split_names(options.grids) if name not in known and not name.startswith("#")]
    if unknown:
        there = ", ".join(map(repr, known)) or "none"
        raise UnknownGridError(f"no frame has a grid called {unknown[0]!r}; there are {there}")


def _box(text: str) -> list[int]:
    """`x0,y0,z0,x1,y1,z1` as numbers."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--bbox is {text!r}; needed are six whole numbers x0,y0,z0,x1,y1,z1") from error
