"""The description of a sequence file: which frames are in which group, their names, what they hold. No torch."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard

from fieldcodec.container.files import is_file_name
from fieldcodec.errors import FormatError, UnknownFrameError, UsageError
from fieldcodec.io.frame_paths import LARGEST_FRAME, format_frame, number_ranges, ranges_text

KIND = "sequence"
MAX_GROUP_FRAMES = 256  # also bounds how many frames have to be decoded before another
_PATTERN = re.compile(r"[^%$#]*%(0[1-9]\d?)?d[^%$#]*")


@dataclass(frozen=True)
class GridPresence:
    """A grid by its name and kind, and the frames of a group that have it; for reports only."""

    name: str
    value_type: str
    grid_class: str
    frames: tuple[int, ...]

    @property
    def kind(self) -> tuple[str, str, str]:
        return self.name, self.value_type, self.grid_class


@dataclass(frozen=True)
class GroupEntry:
    """One group of frames.

    Attributes:
        frames: their numbers, rising.
        names: of the files they came from, `None` where the file's pattern gives them.
        sizes: bytes of each frame's grids, with its share of the group's description; for reports only.
        grids: for reports only.
    """

    frames: tuple[int, ...]
    sizes: tuple[int, ...]
    grids: tuple[GridPresence, ...]
    names: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        places = {number: place for place, number in enumerate(self.frames)}
        grids = [
            [*grid.kind, None if grid.frames == self.frames else [places[number] for number in grid.frames]]
            for grid in self.grids
        ]
        data = {"frames": list(self.frames), "bytes": list(self.sizes), "grids": grids}
        return data if self.names is None else {**data, "names": list(self.names)}

    @staticmethod
    def from_json(data: Any, number: int) -> "GroupEntry":
        """The entry of group `number`, checked."""
        what = f"the description of group {number}"
        if not isinstance(data, dict):
            raise FormatError(f"{what} is not understood: {data!r}")
        frames = frame_numbers(data.get("frames"), what)
        sizes = data.get("bytes")
        if not _whole_numbers(sizes) or len(sizes) != len(frames) or min(sizes) < 0:
            raise FormatError(f"{what}: its bytes are {sizes!r}, where a number for each frame is needed")
        names = data.get("names")
        if names is not None:
            if not isinstance(names, list) or len(names) != len(frames) or not all(map(is_file_name, names)):
                raise FormatError(f"{what}: its names are {names!r}, where the name of a file for each frame is needed")
            names = tuple(names)
        grids = data.get("grids")
        if not isinstance(grids, list):
            raise FormatError(f"{what}: its grids are {grids!r}, where a list is needed")
        return GroupEntry(frames, tuple(sizes), tuple(_presence(grid, frames, what) for grid in grids), names)


@dataclass(frozen=True)
class SequenceLayout:
    """What a sequence file says of itself."""

    groups: tuple[GroupEntry, ...]
    pattern: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self._places) != sum(len(group.frames) for group in self.groups):
            raise FormatError("a frame occurs in two groups of the sequence")
        if self.pattern is None and any(group.names is None for group in self.groups):
            raise FormatError("the sequence has neither a pattern of names nor the names of its frames")

    def to_json(self) -> dict[str, Any]:
        groups = [group.to_json() for group in self.groups]
        return {"kind": KIND, "pattern": self.pattern, "groups": groups, "settings": self.settings}

    @staticmethod
    def from_json(data: Any) -> "SequenceLayout":
        """From the META section of a file.

        Raises:
            FormatError: it is none of a sequence, or an entry is wrong.
        """
        kind = data.get("kind") if isinstance(data, dict) else None
        if kind != KIND or not isinstance(data.get("groups"), list):
            raise FormatError(f"the file says that it holds {kind!r}; a sequence is needed")
        pattern, settings = data.get("pattern"), data.get("settings", {})
        if pattern is not None and not is_name_pattern(pattern):
            raise FormatError(f"the pattern of names {pattern!r} is none; needed is such as smoke_%04d.vdb")
        if not isinstance(settings, dict):
            raise FormatError(f"the settings are {settings!r}, where an object is needed")
        groups = tuple(GroupEntry.from_json(entry, number) for number, entry in enumerate(data["groups"]))
        return SequenceLayout(groups, pattern, settings)

    @cached_property
    def frames(self) -> tuple[int, ...]:
        """All numbers, rising."""
        return tuple(sorted(self._places))

    def __contains__(self, number: object) -> bool:
        return number in self._places

    def place(self, number: int) -> tuple[int, int]:
        """Group of a frame and its place in it.

        Raises:
            UnknownFrameError: there is no such frame.
        """
        if number not in self._places:
            known = ranges_text(number_ranges(self.frames)) or "none"
            raise UnknownFrameError(f"there is no frame {number}; the sequence has {len(self.frames)} frames: {known}")
        return self._places[number]

    def name(self, number: int) -> str:
        """What the file of a frame was called."""
        group, place = self.place(number)
        names = self.groups[group].names
        if names is not None:
            return names[place]
        assert self.pattern is not None  # checked when the layout was made
        return format_frame(self.pattern, number)

    def size(self, number: int) -> int:
        """Bytes of a frame's grids and of its share of the description, as the file says."""
        group, place = self.place(number)
        return self.groups[group].sizes[place]

    @cached_property
    def grids(self) -> tuple[GridPresence, ...]:
        """All grids of all groups, in the order in which they come up."""
        found: dict[tuple[str, str, str], set[int]] = {}
        for group in self.groups:
            for grid in group.grids:
                found.setdefault(grid.kind, set()).update(grid.frames)
        return tuple(GridPresence(*kind, tuple(sorted(frames))) for kind, frames in found.items())

    @cached_property
    def _places(self) -> dict[int, tuple[int, int]]:
        return {
            number: (row, place)
            for row, group in enumerate(self.groups)
            for place, number in enumerate(group.frames)
        }  # fmt: skip


def frame_numbers(data: Any, what: str) -> tuple[int, ...]:
    """The numbers of a group's frames from a file.

    Raises:
        FormatError: they are no whole numbers, do not rise, or are too many.
    """
    if not _whole_numbers(data) or not 1 <= len(data) <= MAX_GROUP_FRAMES:
        raise FormatError(f"{what}: its frames are {data!r}; needed are 1 to {MAX_GROUP_FRAMES} whole numbers")
    if sorted(set(data)) != data or not -LARGEST_FRAME <= data[0] <= data[-1] <= LARGEST_FRAME:
        raise FormatError(f"{what}: its frames are {data!r}, which do not rise or are out of bounds")
    return tuple(data)


def is_name_pattern(pattern: object) -> bool:
    """Whether it gives the name of every frame's file, for readers of every kind."""
    if not isinstance(pattern, str) or _PATTERN.fullmatch(pattern) is None:
        return False
    try:
        return is_file_name(format_frame(pattern, -LARGEST_FRAME))
    except UsageError:  # too many digits
        return False


def _whole_numbers(data: Any) -> TypeGuard[list[int]]:
    return isinstance(data, list) and all(type(number) is int for number in data)


def _presence(data: Any, frames: tuple[int, ...], what: str) -> GridPresence:
    if not isinstance(data, list) or len(data) != 4 or not all(isinstance(text, str) for text in data[:3]):
        raise FormatError(f"{what}: one of its grids is {data!r}; needed are name, type, class and frames")
    name, value_type, grid_class, places = data
    if places is None:
        return GridPresence(name, value_type, grid_class, frames)
    if not _whole_numbers(places) or sorted(set(places)) != places or not all(0 <= p < len(frames) for p in places):
        raise FormatError(f"{what}: grid {name!r} is said to be in the frames {places!r} of {len(frames)}")
    return GridPresence(name, value_type, grid_class, tuple(frames[place] for place in places))
