"""The `.fcodec` file as named, checksummed byte sections (docs/format.md).

    preamble | table: one entry per section | section | section | ... end of file

Sections lie one behind the other in the order of the table, without holes or overlaps. Opening a file
checks the preamble and the table; a section's checksum is checked whenever its bytes are read.
"""

import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self, final

import xxhash

from fieldcodec.container import format as fmt
from fieldcodec.container.files import write_atomically
from fieldcodec.container.format import WHOLE_FILE, SectionFlag, SectionId
from fieldcodec.container.packed_json import pack_json, unpack_json
from fieldcodec.errors import FormatError, InputError

_KNOWN_IDS = frozenset(int(id) for id in SectionId)
_GET_AGAIN = "get the file again from its source"


class SectionKey(NamedTuple):
    """Names a section: its kind, and the number of its grid or WHOLE_FILE."""

    id: int
    grid: int = WHOLE_FILE

    def __str__(self) -> str:
        name = SectionId(self.id).name if self.id in _KNOWN_IDS else f"number {self.id}"
        return name if self.grid == WHOLE_FILE else f"{name} of grid {self.grid}"


@final
@dataclass(frozen=True)
class Section:
    """One section on its way into a file; a view of a mapped file stays on disk until it is written."""

    id: int
    data: bytes | memoryview
    grid: int = WHOLE_FILE
    must_understand: bool = True

    @staticmethod
    def meta(value: Any) -> "Section":
        """The META section: canonical JSON of `value`, packed."""
        return Section(SectionId.META, pack_json(value))


@dataclass(frozen=True)
class _Entry:
    flags: SectionFlag
    offset: int
    length: int
    checksum: int


@final
class Container:
    """The sections of one file. Immutable; a file opened by `open_container` is read section by section."""

    def __init__(self, sections: Iterable[Section]) -> None:
        """A container of new sections.

        Raises:
            ValueError: a section occurs twice, or a number is out of its limits.
        """
        ordered = sorted(sections, key=lambda section: _order(SectionKey(section.id, section.grid)))
        if len(ordered) > fmt.MAX_SECTIONS:
            raise ValueError(f"{len(ordered)} sections, at most {fmt.MAX_SECTIONS} are allowed")
        self._entries: dict[SectionKey, _Entry] = {}
        self._payloads: dict[SectionKey, bytes | memoryview] | None = {}  # None: the bytes are in `_view`
        offset = fmt.PREAMBLE.size + len(ordered) * fmt.ENTRY.size
        for section in ordered:
            key = SectionKey(section.id, section.grid)
            if key in self._entries:
                raise ValueError(f"the section {key} occurs twice")
            if not (0 < section.id < 1 << 16 and 0 <= section.grid <= WHOLE_FILE):
                raise ValueError(f"a section's id must be in 1..65535 and its grid 32 bits, got {key}")
            flags = SectionFlag.MUST_UNDERSTAND if section.must_understand else SectionFlag(0)
            entry = _Entry(flags, offset, len(section.data), xxhash.xxh3_64_intdigest(section.data))
            self._entries[key] = entry
            self._payloads[key] = section.data
            offset += entry.length
        self._view: memoryview = memoryview(b"")
        self._map: mmap.mmap | None = None
        self.version = (fmt.MAJOR, fmt.MINOR)
        self.num_bytes = offset

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "Container":
        """A container over the bytes of a file; sections are not copied.

        Raises:
            FormatError: the bytes are foreign, damaged, cut or too new.
        """
        container = cls(())
        container._payloads = None
        container._view = memoryview(data)
        container.version, container._entries = _parse(container._view)
        container.num_bytes = len(container._view)
        return container

    def to_bytes(self) -> bytes:
        """The file. Equal sections give equal bytes."""
        return b"".join(self._chunks())

    def __iter__(self) -> Iterator[SectionKey]:
        """Keys in the order of the file: the whole file's sections, then grid by grid."""
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: tuple[int, int]) -> bool:
        return SectionKey(*key) in self._entries

    def length(self, id: int, grid: int = WHOLE_FILE) -> int:
        """Bytes of a section, 0 where there is none; reads nothing."""
        entry = self._entries.get(SectionKey(id, grid))
        return 0 if entry is None else entry.length

    def read(self, id: int, grid: int = WHOLE_FILE) -> bytes:
        """The bytes of a section, verified.

        Raises:
            FormatError: there is no such section, or its checksum is wrong.
        """
        data = self._payload(SectionKey(id, grid))
        return data if isinstance(data, bytes) else bytes(data)

    def view(self, id: int, grid: int = WHOLE_FILE) -> memoryview:
        """As `read`, without a copy; let go of it before the file is closed."""
        return memoryview(self._payload(SectionKey(id, grid)))

    def _payload(self, key: SectionKey) -> bytes | memoryview:
        entry = self._entries.get(key)
        if entry is None:
            raise FormatError(f"the file lacks the section {key}; {_GET_AGAIN}")
        if self._payloads is not None:
            return self._payloads[key]
        data = self._view[entry.offset : entry.offset + entry.length]
        if xxhash.xxh3_64_intdigest(data) != entry.checksum:
            raise FormatError(f"the section {key} is damaged: its checksum is wrong; {_GET_AGAIN}")
        return data

    def meta(self) -> Any:
        """The value of the META section."""
        if self.length(SectionId.META) > fmt.MAX_META_BYTES:
            raise FormatError(f"the section META has more than {fmt.MAX_META_BYTES} bytes; {_GET_AGAIN}")
        return unpack_json(self.read(SectionId.META))

    def verify(self) -> None:
        """Check the checksums of all sections; raises FormatError naming the first wrong one."""
        for key in self:
            self.read(*key)

    def close(self) -> None:
        """Let go of the file; sections cannot be read any more."""
        self._view.release()
        if self._map is not None:
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _chunks(self) -> Iterator[bytes]:
        table = b"".join(
            fmt.ENTRY.pack(key.id, entry.flags, key.grid, entry.offset, entry.length, entry.checksum)
            for key, entry in self._entries.items()
        )
        yield _preamble(self.version, len(self), self.num_bytes, table) + table
        for key in self:
            yield self.read(*key)


def open_container(path: str | os.PathLike[str]) -> Container:
    """A container over a memory-mapped file; use it in a `with` block.

    Raises:
        InputError: the file is missing or unreadable.
        FormatError: it is foreign, damaged, cut or too new.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {os.fspath(path)}: {error}; check the name and the permissions") from error
    try:
        container = Container.from_bytes(b"" if mapped is None else memoryview(mapped))
    except FormatError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from error
    container._map = mapped
    return container


def save_container(path: str | os.PathLike[str], container: Container, *, overwrite: bool = False) -> None:
    """Write a container to a file, completely or not at all.

    Raises:
        OutputExistsError: the file exists and `overwrite` is False.
        InputError: it cannot be written, or no space is left.
    """
    write_atomically(path, container._chunks(), overwrite=overwrite)


def _order(key: SectionKey) -> tuple[int, int]:
    """The order of sections in a file: the whole file's first, then by grid, then by id."""
    return (-1 if key.grid == WHOLE_FILE else key.grid, key.id)


def _preamble(version: tuple[int, int], sections: int, num_bytes: int, table: bytes) -> bytes:
    """The preamble; its checksum is taken over itself with checksum 0 and the table."""
    blank = fmt.PREAMBLE.pack(fmt.MAGIC, *version, sections, num_bytes, 0)
    checksum = xxhash.xxh3_64_intdigest(blank + table)
    return fmt.PREAMBLE.pack(fmt.MAGIC, *version, sections, num_bytes, checksum)


def _parse(data: memoryview) -> tuple[tuple[int, int], dict[SectionKey, _Entry]]:
    """Version and table of a file; everything about them is checked here."""
    if bytes(data[: len(fmt.MAGIC)]) != fmt.MAGIC:
        if fmt.MAGIC.startswith(bytes(data[: len(fmt.MAGIC)])):
            raise FormatError(f"the file is cut: it has only {len(data)} bytes; {_GET_AGAIN}")
        raise FormatError(f"not a .fcodec file: it begins with {bytes(data[:8])!r}, not with {fmt.MAGIC!r}")
    if len(data) < fmt.PREAMBLE.size:
        raise FormatError(f"the file is cut: it has only {len(data)} bytes; {_GET_AGAIN}")
    _, major, minor, sections, num_bytes, _ = fmt.PREAMBLE.unpack_from(data)
    if major != fmt.MAJOR:
        raise FormatError(
            f"the file has fieldcodec format {major}.{minor}, this release reads {fmt.MAJOR}.x; "
            f"it needs a release of fieldcodec for format {major}.{minor} or newer"
        )
    if sections > fmt.MAX_SECTIONS:
        raise FormatError(f"the file announces {sections} sections, at most {fmt.MAX_SECTIONS} are allowed")
    start = fmt.PREAMBLE.size + sections * fmt.ENTRY.size
    if num_bytes != len(data) or start > len(data):
        raise FormatError(
            f"the file has {len(data)} bytes, but announces {num_bytes} with {sections} sections; {_GET_AGAIN}"
        )
    table = bytes(data[fmt.PREAMBLE.size : start])
    if _preamble((major, minor), sections, num_bytes, table) != bytes(data[: fmt.PREAMBLE.size]):
        raise FormatError(f"the table of sections is damaged: its checksum is wrong; {_GET_AGAIN}")
    return (major, minor), _parse_table(table, (major, minor), start, num_bytes)


def _parse_table(table: bytes, version: tuple[int, int], start: int, end: int) -> dict[SectionKey, _Entry]:
    entries: dict[SectionKey, _Entry] = {}
    position, previous = start, (-2, 0)
    for number, fields in enumerate(fmt.ENTRY.iter_unpack(table)):
        id, flags, grid, offset, length, checksum = fields
        key = SectionKey(id, grid)
        problem = ""
        if _order(key) <= previous or id == 0:
            problem = "is out of order or occurs twice"
        elif offset != position or length > min(end - offset, fmt.MAX_SECTION_BYTES):
            problem = (
                f"lies at {offset} with {length} bytes, where {position} with at most {end - position} is expected"
            )
        elif flags & ~int(SectionFlag.MUST_UNDERSTAND) and version <= (fmt.MAJOR, fmt.MINOR):
            problem = f"has unknown flags {flags:#x}"
        elif flags & SectionFlag.MUST_UNDERSTAND and id not in _KNOWN_IDS:
            problem = f"must be understood: the file needs fieldcodec format {version[0]}.{version[1]} or newer"
        if problem:
            raise FormatError(
                f"entry {number} of the table, the section {key}, {problem} "
                f"(this release reads format {fmt.MAJOR}.{fmt.MINOR})"
            )
        entries[key] = _Entry(SectionFlag(flags & SectionFlag.MUST_UNDERSTAND), offset, length, checksum)
        position, previous = offset + length, _order(key)
    if position != end:
        raise FormatError(f"{end - position} bytes behind the last section belong to none; {_GET_AGAIN}")
    return entries
