"""What a worker does: one group of frames from its files to its bytes on disk; and the borders between groups."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.volumes import read_volumes
from fieldcodec.metrics.flicker import Flicker, file_flicker
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.sequence.group_encode import encode_frames
from fieldcodec.volume.sequence.measure import (
    FrameMeasure,
    measure_size,
    with_comparison,
    with_rival_sizes,
)
from fieldcodec.volume.sequence.naming import naming
from fieldcodec.volume.sequence.partial import PartialFolder
from fieldcodec.volume.settings import VolumeSettings

Loader = Callable[[Any], VolumeFile]


@dataclass(frozen=True)
class FrameSource:
    """One frame to encode: its number, what its loader gets, and what its file is called."""

    number: int
    source: Any
    name: str

    @property
    def label(self) -> str:
        return f"frame {self.number} ({self.source if self.is_file else self.name})"

    @property
    def is_file(self) -> bool:
        return isinstance(self.source, str | os.PathLike)

    @property
    def num_bytes(self) -> int | None:
        """Of its file."""
        return os.stat(self.source).st_size if self.is_file and os.path.exists(self.source) else None


@dataclass(frozen=True)
class GroupTask:
    """A group to encode."""

    row: int
    frames: tuple[FrameSource, ...]
    settings: VolumeSettings
    output: Path
    load: Loader
    device: str | None = None
    check: bool = True

    def run(self, on_event: OnEvent = ignore_event) -> None:
        """Encodes the group, measures it where that is asked for, and keeps both in the partial folder."""
        start = time.perf_counter()
        originals = [load_named(self.load, frame) for frame in self.frames]
        labels = [frame.label for frame in self.frames]
        volumes = encode_frames(originals, self.settings, labels=labels, device=self.device, on_event=on_event)
        volumes = [replace(volume, settings=self.settings.to_json()) for volume in volumes]
        group = CompressedGroup(tuple(frame.number for frame in self.frames), tuple(volumes))
        data = group.to_bytes()
        seconds = (time.perf_counter() - start) / len(self.frames)
        measures = [
            replace(
                measure_size(frame.number, frame.name, original, volume, sizes),
                bytes_source=frame.num_bytes,
                seconds_encode=seconds,
            )
            for frame, original, volume, sizes in zip(
                self.frames, originals, volumes, group.grid_bytes(len(data)), strict=True
            )
        ]
        if self.check:
            measures = self._checked(measures, originals, data)
        PartialFolder(self.output).save_group(self.row, data, measures)

    def _checked(
        self, measures: Sequence[FrameMeasure], originals: Sequence[VolumeFile], data: bytes
    ) -> list[FrameMeasure]:
        """The same with what comes back of the group's bytes."""
        group = CompressedGroup.from_bytes(data)
        before: tuple[VolumeFile, VolumeFile] | None = None
        checked = []
        for measure, original, volume in zip(measures, originals, group.volumes, strict=True):
            start = time.perf_counter()
            decoded = volume.to_grids(device=self.device)
            measure = replace(measure, seconds_decode=time.perf_counter() - start)
            measure = with_rival_sizes(with_comparison(measure, original, decoded), original)
            now = (original, decoded)
            checked.append(measure if before is None else measure.with_flickers(file_flicker(before, now)))
            before = now
        return checked


@dataclass(frozen=True)
class BorderTask:
    """The border between two groups, across which the flicker of the later one's first frame is measured."""

    row: int  # of the later group
    before: FrameSource
    after: FrameSource
    output: Path
    load: Loader
    device: str | None = None

    def run(self, on_event: OnEvent = ignore_event) -> list[Flicker | None]:
        pairs = []
        for row, frame in ((self.row - 1, self.before), (self.row, self.after)):
            group = CompressedGroup.from_bytes(PartialFolder(self.output).group_view(row))
            decoded = group.frame(frame.number).to_grids(device=self.device, on_event=on_event)
            pairs.append((load_named(self.load, frame), decoded))
        return file_flicker(pairs[0], pairs[1])


def load_named(load: Loader, frame: FrameSource) -> VolumeFile:
    """The frame's grids; errors name it."""
    with naming(frame.label):
        return load(frame.source)


def load_frame(source: Any) -> VolumeFile:
    """The grids of a `.vdb` or `.nvdb` file, or those that are in memory already."""
    if isinstance(source, VolumeFile):
        return source
    if isinstance(source, SparseGrid):
        return VolumeFile((source,))
    return read_volumes(source)
