"""What the page looks at: the grids of a file and, where it is given, the original of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from threading import RLock

import numpy as np

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.grid.value_type import VALUE_TYPES


class Which(StrEnum):
    """What of a pair is shown."""

    DECODED = "decoded"
    ORIGINAL = "original"
    ERROR = "error"  # the absolute difference of both


@dataclass(frozen=True)
class GridEntry:
    """A grid of the file as it is listed before anything is decoded."""

    name: str
    value_type: str
    grid_class: str
    active_voxels: int | None = None
    num_bytes: int | None = None  # in the compressed file
    method: str | None = None  # how it is stored, in words
    sections: dict[str, int] = field(default_factory=dict)  # bytes of its sections in the compressed file
    is_carried: bool = False  # byte for byte, so there is nothing to look at


@dataclass(frozen=True, eq=False)
class Pair:
    """A decoded grid and its original, None where that is not given or not comparable."""

    decoded: SparseGrid
    original: SparseGrid | None

    @cached_property
    def box(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Smallest and largest index [3], int64, of what is active in either grid; None where nothing is."""
        grids = [self.decoded] + ([self.original] if self.original else [])
        bounds = [grid.topology.active_bounds for grid in grids]
        lows = [bound[0] for bound in bounds if bound is not None]
        highs = [bound[1] for bound in bounds if bound is not None]
        return (np.min(lows, axis=0), np.max(highs, axis=0)) if lows else None

    @property
    def grids(self) -> tuple[SparseGrid, SparseGrid]:
        """Original and decoded grid.

        Raises:
            UsageError: there is no original.
        """
        if self.original is None:
            raise UsageError("there is no original to compare with; start with --original and the file it came from")
        return self.original, self.decoded

    def grid(self, which: Which) -> SparseGrid:
        """The grid that is shown; errors are shown on the decoded one.

        Raises:
            UsageError: the original is asked for, or errors, and there is none.
        """
        if which is Which.DECODED:
            return self.decoded
        original, decoded = self.grids
        return original if which is Which.ORIGINAL else decoded


@dataclass(frozen=True, eq=False)
class Frame:
    """The grids of a file, or of one moment of a sequence.

    `load` gives the decoded grid at a position, and is called only for grids that are not carried. Grids are paired
    with `originals` by name, equal names in file order; then by position.
    """

    entries: tuple[GridEntry, ...]
    load: Callable[[int], SparseGrid]
    originals: VolumeFile | None = None

    @property
    def first(self) -> int:
        """The grid to begin with: of numbers rather than of vectors, of these rather than a mask, and then the one with
        the most active voxels; -1 where none can be shown."""

        def rank(row: int) -> tuple[bool, bool, int]:
            entry = self.entries[row]
            kind = VALUE_TYPES[entry.value_type]
            return not kind.is_bool, kind.channels == 1, entry.active_voxels or 0

        rows = [row for row, entry in enumerate(self.entries) if not entry.is_carried]
        return max(rows, key=rank, default=-1)

    def has_original(self, row: int) -> bool:
        """True where the grid has one of the same name, or at the same place, to be compared with."""
        return self._partners[row] is not None

    @cached_property
    def _partners(self) -> list[int | None]:
        return _partners(self.entries, self.originals)

    def open(self, row: int) -> Pair:
        """Decodes a grid.

        Raises:
            UsageError: there is no such grid.
            UnsupportedGridError: it is carried byte for byte.
            FormatError: the file is damaged.
        """
        if not 0 <= row < len(self.entries):
            raise UsageError(f"there is no grid number {row}; the file has {len(self.entries)} grids, from 0")
        entry = self.entries[row]
        if entry.is_carried:
            raise UnsupportedGridError(
                f"grid {entry.name!r} of type {entry.value_type} is carried byte for byte, so it cannot be shown"
            )
        partner, decoded = self._partners[row], self.load(row)
        original = self.originals[partner] if self.originals is not None and partner is not None else None
        if isinstance(original, SparseGrid) and original.channels == decoded.channels:
            return Pair(decoded, original)
        return Pair(decoded, None)


class Source:
    """Frames whose grids are decoded when they are looked at; one frame and one pair are kept. Several threads may ask.

    Attributes:
        frames: names of the moments in time; a file of one volume has one, "".
        has_originals: whether there is anything to compare with.
    """

    def __init__(self, frames: Sequence[str], open_frame: Callable[[int], Frame], *, has_originals: bool) -> None:
        """
        Args:
            open_frame: position of a frame -> its grids.
        """
        self.frames, self.has_originals = tuple(frames), has_originals
        self._open_frame = open_frame
        self._lock = RLock()
        self._frame: tuple[int, Frame] | None = None
        self._pair: tuple[int, int, Pair] | None = None

    @staticmethod
    def of(frame: Frame) -> "Source":
        """A file of one volume."""
        return Source(("",), lambda _: frame, has_originals=frame.originals is not None)

    def frame(self, number: int) -> Frame:
        """The frame at a position, read now unless it was the last one asked for.

        Raises:
            UsageError: there is no such frame.
            FormatError, InputError: its file is damaged or gone.
        """
        if not 0 <= number < len(self.frames):
            raise UsageError(f"there is no frame at {number}; the file has {len(self.frames)}, from 0")
        with self._lock:
            if self._frame is None or self._frame[0] != number:
                self._frame = self._pair = None  # the old one goes before the new one comes
                self._frame = (number, self._open_frame(number))
            return self._frame[1]

    def pair(self, number: int, row: int) -> Pair:
        """The grid at a position of a frame, decoded now unless it was the last one asked for; see `Frame.open`."""
        with self._lock:
            frame = self.frame(number)
            if self._pair is None or self._pair[:2] != (number, row):
                self._pair = None
                self._pair = (number, row, frame.open(row))
            return self._pair[2]


def _partners(entries: Sequence[GridEntry], originals: VolumeFile | None) -> list[int | None]:
    """Position of each grid's original."""
    if originals is None:
        return [None] * len(entries)
    free = {row: grid.name for row, grid in enumerate(originals) if isinstance(grid, SparseGrid)}
    partners: list[int | None] = []
    for entry in entries:
        same = [row for row, name in free.items() if name == entry.name and not entry.is_carried]
        partners.append(same[0] if same else None)
        free.pop(same[0] if same else -1, None)
    for row, entry in enumerate(entries):  # those that were renamed
        if partners[row] is None and row in free and not entry.is_carried:
            partners[row] = row
    return partners
