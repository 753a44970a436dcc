"""`fieldcodec compare` of two sequences: frame by frame, and from frame to frame."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import fieldcodec as fc
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.failures import grid_failures
from fieldcodec.cli.inputs import ConversionOptions, is_compressed_sequence, read_input
from fieldcodec.cli.sequences.tables import print_summary
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.io.frame_paths import choose_numbers, find_frames, is_pattern, number_ranges, ranges_text
from fieldcodec.metrics.files import DifferenceKind, GridComparison, compare_files
from fieldcodec.metrics.flicker import file_flicker
from fieldcodec.volume.sequence.compressed import CompressedSequence
from fieldcodec.volume.sequence.measure import FrameMeasure, GridMeasure
from fieldcodec.volume.sequence.summary import summarise

if TYPE_CHECKING:
    from fieldcodec.cli.compare import Compare


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Frames to read one by one: files, or those of a compressed sequence."""

    paths: dict[int, Path]
    sequence: CompressedSequence | None = None

    @staticmethod
    def open(path: Path) -> "FrameSet":
        if is_compressed_sequence(path):
            sequence = fc.open_sequence(path)
            return FrameSet(dict.fromkeys(sequence.frames, path), sequence)
        return FrameSet({frame.number: frame.path for frame in find_frames([path])})

    def read(self, number: int, bars: ProgressBars) -> VolumeFile:
        if self.sequence is not None:
            return self.sequence.frame(number).to_grids(on_event=bars)
        return read_input(self.paths[number], ConversionOptions())

    def bytes(self, number: int) -> int:
        if self.sequence is not None:
            return self.sequence.layout.size(number)
        return self.paths[number].stat().st_size


def holds_frames(path: Path) -> bool:
    """Whether an argument stands for several frames."""
    return path.is_dir() or is_pattern(path) or is_compressed_sequence(path)


def compare_frames(options: "Compare") -> ExitCode:
    """Frames that both sides have are compared; a frame that only one side has is a difference."""
    if options.image is not None:
        raise UsageError("--image goes with two volumes; choose a frame with --frame")
    first, second = FrameSet.open(options.first), FrameSet.open(options.second)
    shared = choose_numbers(sorted(set(first.paths) & set(second.paths)), options.frames)
    start = time.perf_counter()
    failures = [] if options.frames is not None else _lonely(first, second)
    measures = []
    with ProgressBars() as bars:
        before: tuple[VolumeFile, VolumeFile] | None = None
        for place, number in enumerate(shared):
            bars.share("frames", place / len(shared))
            now = (first.read(number, bars), second.read(number, bars))
            comparisons = compare_files(*now)
            measure = _measure(number, comparisons, first, second)
            if before is not None:
                flickers = file_flicker(before, now)
                measure = measure.with_flickers([*flickers, *[None] * (len(measure.grids) - len(flickers))])
            failures += _failures(number, comparisons, options)
            measures.append(measure)
            before = now
    _report(options, measures, failures, time.perf_counter() - start)
    return ExitCode.QUALITY if failures else ExitCode.OK


def _lonely(first: FrameSet, second: FrameSet) -> list[str]:
    found = []
    for which, mine, other in (("first", first, second), ("second", second, first)):
        numbers = sorted(set(mine.paths) - set(other.paths))
        if numbers:
            found.append(f"only the {which} has the frames {ranges_text(number_ranges(numbers))}")
    return found


def _measure(
    number: int, comparisons: Sequence[GridComparison], first: FrameSet, second: FrameSet
) -> FrameMeasure:  # fmt: skip
    grids = tuple(
        GridMeasure(
            name=item.name,
            active_voxels=item.quality.active_voxels if item.quality else None,
            differences=tuple(str(found) for found in item.differences if found.kind != DifferenceKind.VALUES),
        ).with_quality(item.quality)
        for item in comparisons
    )
    return FrameMeasure(number, first.paths[number].name, grids, second.bytes(number), first.bytes(number))


def _failures(number: int, comparisons: Sequence[GridComparison], options: "Compare") -> list[str]:
    found = []
    for item in comparisons:
        label = f"frame {number}, grid {item.name!r}"
        found += grid_failures(label, item.differences, item.quality, options.max_rmse, options.max_error)
    return found


def _report(options: "Compare", measures: Sequence[FrameMeasure], failures: Sequence[str], seconds: float) -> None:
    grids = summarise(measures)
    sizes = [sum(m.bytes_source or 0 for m in measures), sum(m.bytes or 0 for m in measures)]
    if options.json:
        result_json(
            {
                "first": str(options.first),
                "second": str(options.second),
                "failures": list(failures),
                "bytes_source": sizes[0],
                "bytes": sizes[1],
                "seconds": seconds,
                "frames": [measure.to_json() for measure in measures],
                "grids": [grid.to_json() for grid in grids],
            }
        )
    else:
        known = ranges_text(number_ranges([measure.number for measure in measures]))
        head = f"{len(measures)} frames ({known}): {sizes[1]:,} bytes, the first {sizes[0]:,}, in {seconds:.1f} s"
        print_summary(Console(), head, grids)
    for failure in failures:
        say(f"fieldcodec: differs: {failure}")
