"""A compressed sequence: a `.fcodec` file of frames, of which any one is there at once."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, final

from fieldcodec.container.container import Container, Section, open_container, save_container
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.sections import VOLUME_KIND
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.sequence.layout import SequenceLayout

_GROUPS_KEPT = 2  # a player at the border of two groups goes back and forth


@final
class CompressedSequence:
    """Frames by their numbers, each a `CompressedVolume`; reading one touches its group and no other.

    for number in sequence:
        volumes = sequence.frame(number).to_grids()
    """

    def __init__(self, opened: Container) -> None:
        """A sequence over the sections of a file; see `open_sequence`.

        Raises:
            FormatError: the file holds no sequence, or its description is wrong.
        """
        self._opened = opened
        meta = opened.meta()
        if isinstance(meta, dict) and meta.get("kind") == VOLUME_KIND:
            raise FormatError("the file holds a volume, where a sequence is needed; fieldcodec.open opens it")
        self.layout = SequenceLayout.from_json(meta)
        self._check_sections()
        self._kept: OrderedDict[int, CompressedGroup] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.layout.frames)

    def __iter__(self) -> Iterator[int]:
        """Frame numbers, rising."""
        return iter(self.layout.frames)

    def __contains__(self, number: object) -> bool:
        return number in self.layout

    @property
    def frames(self) -> tuple[int, ...]:
        """Frame numbers, rising."""
        return self.layout.frames

    @property
    def settings(self) -> dict[str, Any]:
        """How the sequence was encoded; for reports only."""
        return self.layout.settings

    @property
    def num_bytes(self) -> int:
        """Of the whole file."""
        return self._opened.num_bytes

    def frame(self, number: int) -> CompressedVolume:
        """One frame; its group is read and verified, nothing is decoded yet.

        Raises:
            UnknownFrameError: there is no such frame.
            FormatError: the group is damaged.
        """
        row, place = self.layout.place(number)
        return self.group(row).volumes[place]

    def name(self, number: int) -> str:
        """What the file of a frame was called.

        Raises:
            UnknownFrameError: there is no such frame.
        """
        return self.layout.name(number)

    def group(self, row: int) -> CompressedGroup:
        """A group of frames, in the order of the file; the last ones are kept.

        Raises:
            FormatError: it is damaged, or holds other frames than the file says.
        """
        with self._lock:
            if row not in self._kept:
                self._kept[row] = self._read_group(row)
            self._kept.move_to_end(row)
            while len(self._kept) > _GROUPS_KEPT:
                self._kept.popitem(last=False)
            return self._kept[row]

    def to_bytes(self) -> bytes:
        """The file's bytes; equal content gives equal bytes."""
        return self._opened.to_bytes()

    @staticmethod
    def from_bytes(data: bytes) -> "CompressedSequence":
        return CompressedSequence(Container.from_bytes(data))

    @staticmethod
    def of_groups(
        groups: Sequence[CompressedGroup], pattern: str = "frame_%04d.vdb", settings: dict[str, Any] | None = None
    ) -> "CompressedSequence":
        """A sequence in memory.

        Args:
            pattern: what the frames are called when they are decoded.
        """
        stored = [group.to_bytes() for group in groups]
        entries = tuple(group.entry(None, len(data)) for group, data in zip(groups, stored, strict=True))
        return CompressedSequence(sequence_container(SequenceLayout(entries, pattern, settings or {}), stored))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a `.fcodec` file; under a temporary name first, so that nothing half-written is left behind."""
        save_container(path, self._opened, overwrite=overwrite)

    def group_bytes(self, row: int) -> memoryview:
        """The stored bytes of a group, verified and not copied."""
        return self._opened.view(SectionId.GROUP, row)

    def _read_group(self, row: int) -> CompressedGroup:
        try:
            group = CompressedGroup.from_bytes(self.group_bytes(row))
        except FormatError as error:
            raise FormatError(f"group {row}: {error}") from error
        expected = self.layout.groups[row].frames
        if group.numbers != expected:
            raise FormatError(f"group {row} holds the frames {group.numbers}, where the file says {expected}")
        return group

    def _check_sections(self) -> None:
        stored = {key.grid for key in self._opened if key.id == SectionId.GROUP}
        if stored != set(range(len(self.layout.groups))):
            raise FormatError(
                f"the file describes {len(self.layout.groups)} groups of frames and holds {len(stored)} others"
            )


def open_sequence(path: str | os.PathLike[str]) -> CompressedSequence:
    """Opens a `.fcodec` file of frames; reads its description, no frame yet.

    Raises:
        InputError: the file cannot be read.
        FormatError: it is foreign, damaged, cut, too new, or holds no sequence.
    """
    return CompressedSequence(open_container(path))


def sequence_container(layout: SequenceLayout, groups: Sequence[bytes | memoryview]) -> Container:
    """The file of a description and the bytes of its groups."""
    sections = [Section(SectionId.GROUP, data, row) for row, data in enumerate(groups)]
    return Container([Section.meta(layout.to_json()), *sections])
