"""Frames -> a sequence file, group by group, so that memory holds groups and never the sequence.

frames -> groups -> [group_work, side by side] -> finished groups on disk -> joined into the output by one rename
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fieldcodec import __version__
from fieldcodec.container.container import save_container
from fieldcodec.container.files import check_output, is_file_name
from fieldcodec.container.format import MAX_SECTIONS
from fieldcodec.errors import FrameNumberError, InputError, UsageError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.io.frame_paths import LARGEST_FRAME, common_pattern, format_frame, number_ranges, ranges_text
from fieldcodec.metrics.flicker import Flicker
from fieldcodec.volume.sequence.compressed import CompressedSequence, open_sequence, sequence_container
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.sequence.group_work import BorderTask, FrameSource, GroupTask, Loader, load_frame
from fieldcodec.volume.sequence.layout import GroupEntry, SequenceLayout, is_name_pattern
from fieldcodec.volume.sequence.measure import FrameMeasure
from fieldcodec.volume.sequence.partial import PartialFolder
from fieldcodec.volume.sequence.settings import SequenceSettings
from fieldcodec.volume.sequence.workers import Workers
from fieldcodec.volume.settings import VolumeSettings

_MOST_FRAMES = 1 << 19  # what the description has room for
_STAGE = "frames"


def encode_sequence(
    frames: Iterable[tuple[int, Any]],
    output: str | os.PathLike[str],
    settings: VolumeSettings | None = None,
    sequence: SequenceSettings | None = None,
    *,
    append: bool = False,
    overwrite: bool = False,
    load: Loader = load_frame,
    device: str | None = None,
    on_event: OnEvent = ignore_event,
) -> CompressedSequence:
    """Compresses frames into a `.fcodec` file.

    An encode that was interrupted goes on where it was when it is asked for again: finished groups are kept in the
    folder `OUTPUT.partial` until all are there.

    Args:
        frames: number and source of each frame, such as (17, "smoke_0017.vdb"); see `io.frame_paths.find_frames`.
        settings: of the frames, `VolumeSettings()` where None.
        sequence: how they are put together, `SequenceSettings()` where None.

    Other arguments:
        append: add the frames to the sequence that `output` is, instead of making a new one.
        overwrite: replace `output` if it exists.
        load: makes grids of a source, only when its group's turn has come; by default sources are paths or grids. With
            several jobs it is pickled.
        device: "cpu", "cuda", ...; chosen by itself where None.
        on_event: called with a `FitEvent` now and then.

    Raises:
        FrameNumberError: a number occurs twice, or is in the file already.
        OutputExistsError: `output` exists, and neither `append` nor `overwrite` is given.
        UsageError: groups of an interrupted run with other settings or frames are there.
        FieldcodecError: a frame cannot be read or encoded; the message names it, finished groups are kept.
    """
    job = SequenceJob(
        tuple(frames), Path(output), settings or VolumeSettings(), sequence or SequenceSettings(), append=append,
        overwrite=overwrite, load=load, device=device, check=False,
    )  # fmt: skip
    job.run(on_event)
    return open_sequence(output)


@dataclass(frozen=True)
class SequenceJob:
    """All that the encode of a sequence depends on; see `encode_sequence`.

    Attributes:
        check: decode every frame again and measure it.
    """

    frames: tuple[tuple[int, Any], ...]
    output: Path
    settings: VolumeSettings = field(default_factory=VolumeSettings)
    sequence: SequenceSettings = field(default_factory=SequenceSettings)
    append: bool = False
    overwrite: bool = False
    load: Loader = load_frame
    device: str | None = None
    check: bool = True

    def run(self, on_event: OnEvent = ignore_event) -> list[FrameMeasure]:
        """Writes the file; returns what was measured of the frames, in the order of their numbers."""
        old = open_sequence(self.output) if self.append else None
        if old is None:
            check_output(self.output, overwrite=self.overwrite)
        sources = self._sources(old)
        size = self.sequence.group_size
        groups = [sources[start : start + size] for start in range(0, len(sources), size)]
        if len(groups) + (0 if old is None else len(old.layout.groups)) >= MAX_SECTIONS:
            raise UsageError(f"{len(groups):,} groups are too many for one file; ask for a larger group size")
        folder = PartialFolder(self.output)
        folder.prepare(self._identity(sources), restart=self.sequence.restart)
        with Workers(self.sequence.jobs) as workers:
            self._encode_groups(groups, folder, workers, on_event)
            flickers = self._flickers(groups, workers, on_event) if self.check else {}
        measures = [measure for row in range(len(groups)) for measure in folder.measures(row)]
        self._join(old, groups, folder)
        folder.remove()
        return [
            measure.with_flickers(flickers[measure.number]) if measure.number in flickers else measure
            for measure in measures
        ]

    def _sources(self, old: CompressedSequence | None) -> list[FrameSource]:
        """The frames in the order of their numbers, with names that a file can have."""
        sources: list[FrameSource] = []
        for number, source in sorted(self.frames, key=lambda frame: frame[0]):
            if sources and sources[-1].number == number:
                raise FrameNumberError(
                    f"frame {number} is given twice: {sources[-1].name} and {_name_of(number, source)}"
                )
            if type(number) is not int or abs(number) > LARGEST_FRAME:
                raise FrameNumberError(f"the frame number {number!r} is none; allowed are whole numbers of 31 bits")
            sources.append(FrameSource(number, source, _name_of(number, source)))
        if not sources:
            raise InputError("there is no frame to encode")
        if len(sources) + (0 if old is None else len(old)) > _MOST_FRAMES:
            raise UsageError(f"{len(sources):,} frames are too many for one file; at most {_MOST_FRAMES:,} are allowed")
        known = [] if old is None else [frame.number for frame in sources if frame.number in old]
        if known:
            raise FrameNumberError(
                f"{self.output} has the frames {ranges_text(number_ranges(known))} already; only new ones can be added"
            )
        return sources

    def _identity(self, sources: Sequence[FrameSource]) -> dict[str, Any]:
        """What finished groups depend on."""
        old = _stamp(self.output) if self.append else None
        load = repr(self.load) if is_dataclass(self.load) else getattr(self.load, "__qualname__", "")
        return {
            "fieldcodec": __version__,
            "settings": self.settings.to_json(),
            "group_size": self.sequence.group_size,
            "frames": [[each.number, each.name, _stamp(each.source) if each.is_file else None] for each in sources],
            "reading": load,
            "device": self.device,
            "check": self.check,
            "file to append to": old,
            "resumable": all(frame.is_file for frame in sources),
        }  # fmt: skip

    def _encode_groups(
        self, groups: Sequence[Sequence[FrameSource]], folder: PartialFolder, workers: Workers, on_event: OnEvent
    ) -> None:
        total = sum(map(len, groups))
        tasks = [
            GroupTask(row, tuple(frames), self.settings, self.output.absolute(), self.load, self.device, self.check)
            for row, frames in enumerate(groups)
            if not folder.has_group(row)
        ]
        done = total - sum(len(task.frames) for task in tasks)
        on_event(FitEvent(_STAGE, done, total))

        def on_group(task: GroupTask, _: None) -> None:
            nonlocal done
            done += len(task.frames)
            on_event(FitEvent(_STAGE, done, total))

        # progress inside a group is seen from the same process only
        workers.run(GroupTask.run if workers.jobs > 1 else partial(GroupTask.run, on_event=on_event), tasks, on_group)

    def _flickers(
        self, groups: Sequence[Sequence[FrameSource]], workers: Workers, on_event: OnEvent
    ) -> dict[int, list[Flicker | None]]:
        """Number of the first frame of each group but the first -> flicker of its grids."""
        tasks = [
            BorderTask(row, groups[row - 1][-1], groups[row][0], self.output.absolute(), self.load, self.device)
            for row in range(1, len(groups))
        ]
        found: dict[int, list[Flicker | None]] = {}

        def on_border(task: BorderTask, flickers: list[Flicker | None]) -> None:
            found[task.after.number] = flickers
            on_event(FitEvent("flicker between groups", len(found), len(tasks)))

        workers.run(BorderTask.run, tasks, on_border)
        return found

    def _join(
        self, old: CompressedSequence | None, groups: Sequence[Sequence[FrameSource]], folder: PartialFolder
    ) -> None:  # fmt: skip
        """All groups into one file; their bytes stay on disk until they are written."""
        names = [(frame.number, frame.name) for frames in groups for frame in frames]
        pattern = common_pattern(names) if old is None else old.layout.pattern
        pattern = pattern if is_name_pattern(pattern) else None
        settings = self.settings.to_json() | {"group_size": self.sequence.group_size}
        entries: list[GroupEntry] = []
        stored: list[bytes | memoryview] = []
        if old is not None:
            entries, settings = list(old.layout.groups), old.layout.settings
            stored = [old.group_bytes(row) for row in range(len(entries))]
        for row, frames in enumerate(groups):
            stored.append(folder.group_view(row))
            group = CompressedGroup.from_bytes(stored[-1])
            entries.append(group.entry(_names(frames, pattern), len(stored[-1])))
        layout = SequenceLayout(tuple(entries), pattern, settings)
        overwrite = self.overwrite or old is not None
        save_container(self.output, sequence_container(layout, stored), overwrite=overwrite)


def _name_of(number: int, source: Any) -> str:
    if not isinstance(source, str | os.PathLike):
        return f"frame_{number:04d}.vdb"
    name = Path(source).name
    return name if is_file_name(name) else f"frame_{number:04d}{Path(source).suffix}"


def _names(frames: Sequence[FrameSource], pattern: str | None) -> tuple[str, ...] | None:
    """Of the files of a group, None where the pattern gives them."""
    if pattern is not None and all(format_frame(pattern, frame.number) == frame.name for frame in frames):
        return None
    return tuple(frame.name for frame in frames)


def _stamp(path: Any) -> list[int]:
    """Size and time of change of a file."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the name and the permissions") from error
    return [stat.st_size, stat.st_mtime_ns]
