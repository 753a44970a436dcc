"""The files of a sequence: patterns of names <-> frame numbers.

A pattern is one of

    smoke_*.vdb                       a shell's pattern; the number is the last run of digits that varies
    smoke_%04d.vdb, smoke_%d.vdb      as in C
    smoke_$F4.vdb, smoke_$F.vdb       as in Houdini
    smoke_####.vdb                    as in many players: as many digits as hashes
    frames                            a folder: every volume in it

The number is looked for in the name of the file; a `%04d`, `$F4` or `####` in the name of a folder means itself.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fieldcodec.errors import FrameNumberError, InputError, UsageError

VOLUME_SUFFIXES = (".vdb", ".nvdb")
_PLACEHOLDER = re.compile(r"%0?(?P<c>\d*)d|\$F(?P<houdini>\d*)|\$\{F(?P<braced>\d*)\}|(?P<hashes>#+)")
_DIGITS = re.compile(r"\d+")
_RANGE = re.compile(r"\s*(-?\d+)\s*(?:-\s*(-?\d+)\s*)?")
_WIDEST = 32  # digits of a number
_MOST_SHOWN = 8  # ranges in a message
LARGEST_FRAME = 2**31 - 1


@dataclass(frozen=True)
class FramePath:
    """One file of a sequence."""

    number: int
    path: Path

    def __str__(self) -> str:
        return f"frame {self.number} ({self.path})"


def is_pattern(text: str | os.PathLike[str]) -> bool:
    """Whether a path names several files: it has a placeholder of frame numbers, or is a shell's pattern.

    A file that exists by that very name is no pattern, whatever its name.
    """
    path = os.fspath(text)
    if os.path.isfile(path):
        return False
    return glob.has_magic(path) or _PLACEHOLDER.search(os.path.basename(path)) is not None


def has_placeholder(pattern: str | os.PathLike[str]) -> bool:
    """Whether the name has a place for the frame's number, so that `format_frame` can fill it in."""
    return _PLACEHOLDER.search(os.path.basename(os.fspath(pattern))) is not None


def format_frame(pattern: str | os.PathLike[str], number: int) -> str:
    """The path of a frame: `format_frame("smoke_%04d.vdb", 7)` is "smoke_0007.vdb".

    Args:
        pattern: with `%04d`, `%d`, `$F4`, `$F` or `####` in its name; the last one counts.

    Raises:
        UsageError: it has no place for the number.
    """
    before, width, after = _split(os.fspath(pattern))
    return f"{before}{number:0{width}d}{after}"


def find_frames(patterns: Sequence[str | os.PathLike[str]]) -> list[FramePath]:
    """The files of a sequence in the order of their numbers.

    Args:
        patterns: one pattern, one folder, or several files (as a shell gives them for an unquoted pattern).

    Raises:
        InputError: no file is found; the message says what was looked for.
        FrameNumberError: a name has no number, or two names have the same.
    """
    if len(patterns) == 1 and not os.path.isfile(patterns[0]):
        return _checked(_frames_of(os.fspath(patterns[0])))
    missing = [os.fspath(path) for path in patterns if not os.path.isfile(path)]
    if missing or not patterns:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}{more}: there is no such file" if missing else "no file of a sequence is named")
    return _checked(_numbered([Path(path) for path in patterns]))


def missing_numbers(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last number of each gap in rising `numbers`."""
    return [(before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1]


def number_ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last number of each run of neighbours in rising `numbers`."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def ranges_text(ranges: Sequence[tuple[int, int]]) -> str:
    """`1-3, 7, 9-12`; shortened where there are many."""
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_MOST_SHOWN]]
    return ", ".join(shown) + (f" and {len(ranges) - _MOST_SHOWN} more" if len(ranges) > _MOST_SHOWN else "")


def parse_ranges(text: str) -> list[tuple[int, int]]:
    """`10-20,25` as [(10, 20), (25, 25)].

    Raises:
        UsageError: the text is something else.
    """
    ranges = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first = int(match[1]) if match else 0
        last = int(match[2]) if match and match[2] else first
        if match is None or last < first:
            raise UsageError(f"the frames {text!r} are not understood at {part!r}; needed is such as 10-20,25")
        ranges.append((first, last))
    return ranges


def choose_numbers(numbers: Iterable[int], text: str | None) -> list[int]:
    """Those of the numbers that lie in the ranges of `text` (all where it is None), in their order.

    Raises:
        UsageError: the text is not understood, or no number lies in it.
    """
    known = list(numbers)
    if text is None:
        return known
    ranges = parse_ranges(text)
    chosen = [number for number in known if any(first <= number <= last for first, last in ranges)]
    if not chosen:
        raise UsageError(f"none of the frames {text} is there; there are {ranges_text(number_ranges(known)) or 'none'}")
    return chosen


def common_pattern(names: Sequence[tuple[int, str]]) -> str | None:
    """The `%04d` pattern that gives every name from its number; None where there is none.

    Args:
        names: number and name of each frame.
    """
    if not names:
        return None
    number, name = min(names, key=lambda pair: abs(pair[0]))  # the most leading zeros
    for match in reversed(list(_DIGITS.finditer(name))):
        digits = match.group()
        if int(digits) != abs(number):
            continue
        start = match.start() - (number < 0)
        for width in ("", f"0{match.end() - start}"):
            pattern = f"{name[:start]}%{width}d{name[match.end() :]}"
            if has_placeholder(pattern) and all(format_frame(pattern, n) == other for n, other in names):
                return pattern
    return None


def _split(pattern: str) -> tuple[str, int, str]:
    """What stands before the number, its least width (1 for none), and what stands behind."""
    folder, name = os.path.split(pattern)
    places = list(_PLACEHOLDER.finditer(name))
    if not places:
        raise UsageError(
            f"{pattern!r} has no place for the number of a frame; write such as smoke_%04d.vdb, smoke_$F4.vdb or "
            "smoke_####.vdb"
        )
    place = places[-1]
    digits = place["c"] or place["houdini"] or place["braced"]
    width = len(place["hashes"]) if place["hashes"] else int(digits) if digits else 1
    if not 1 <= width <= _WIDEST:
        raise UsageError(f"{pattern!r} asks for {width} digits; allowed are 1 to {_WIDEST}")
    return os.path.join(folder, name[: place.start()]), width, name[place.end() :]


def _frames_of(pattern: str) -> list[FramePath]:
    """Of a folder, a placeholder or a shell's pattern."""
    if os.path.isdir(pattern):
        paths = [path for path in Path(pattern).iterdir() if path.suffix.lower() in VOLUME_SUFFIXES and path.is_file()]
        if not paths:
            raise InputError(f"the folder {pattern} holds no volumes; looked for were {', '.join(VOLUME_SUFFIXES)}")
        return _numbered(paths)
    if glob.has_magic(pattern) and not has_placeholder(pattern):
        paths = [Path(path) for path in glob.glob(pattern) if os.path.isfile(path)]
        if not paths:
            raise InputError(f"no file matches {pattern!r}; check the folder, and quote the pattern in a shell")
        return _numbered(paths)
    if not has_placeholder(pattern):
        raise InputError(f"{pattern} does not exist")
    frames = _placed(pattern)
    if not frames:
        raise InputError(f"no file matches {pattern!r}; the first frames would be called {_examples(pattern)}")
    return frames


def _placed(pattern: str) -> list[FramePath]:
    """The files that a pattern with a placeholder gives."""
    before, _, after = _split(pattern)
    folder, start = os.path.split(before)
    wanted = re.compile(re.escape(start) + r"(-?\d{1,10})" + re.escape(after))
    where = Path(folder or ".")
    if not where.is_dir():
        raise InputError(f"no file matches {pattern!r}: there is no folder {where}")
    frames = []
    for path in where.iterdir():
        match = wanted.fullmatch(path.name)
        if match and path.is_file() and os.path.basename(format_frame(pattern, int(match[1]))) == path.name:
            frames.append(FramePath(int(match[1]), path))
    return frames


def _examples(pattern: str) -> str:
    return f"{os.path.basename(format_frame(pattern, 0))}, {os.path.basename(format_frame(pattern, 1))}"


def _numbered(paths: Sequence[Path]) -> list[FramePath]:
    """Files with the last run of digits that varies in their names as number."""
    runs = [_DIGITS.findall(path.name.removesuffix(path.suffix)) for path in paths]
    without = [path for path, found in zip(paths, runs, strict=True) if not found]
    if without:
        raise FrameNumberError(
            f"the name {without[0].name} has no number, so its place in the sequence is not known; number the frames "
            "or leave it out"
        )
    counts = {len(found) for found in runs}
    last = -1
    if len(counts) == 1:
        varying = [place for place in range(counts.pop()) if len({found[place] for found in runs}) > 1]
        last = varying[-1] if varying else -1
    return [FramePath(int(found[last]), path) for path, found in zip(paths, runs, strict=True)]


def _checked(frames: list[FramePath]) -> list[FramePath]:
    """In rising order, every number once."""
    frames = sorted(frames, key=lambda frame: (frame.number, str(frame.path)))
    for before, after in pairwise(frames):
        if before.number == after.number:
            raise FrameNumberError(
                f"{before.path} and {after.path} are both frame {after.number}; give a narrower pattern"
            )
    for frame in frames:
        if abs(frame.number) > LARGEST_FRAME:
            raise FrameNumberError(f"{frame.path}: frame numbers go up to {LARGEST_FRAME}, this one is {frame.number}")
    return frames
