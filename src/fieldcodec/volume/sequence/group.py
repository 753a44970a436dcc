"""A group of frames: a file inside the file, decoded on its own.

frames -> one list of grids (equal ones once) -> META of kind "group" + sections, grids numbered from 0
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xxhash

from fieldcodec.container.canonical_json import dump_json
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import MAX_SECTIONS, SectionId
from fieldcodec.errors import FormatError, UnknownFrameError, UsageError
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid, check_description, metadata_from_json, metadata_to_json
from fieldcodec.volume.sections import SECTIONS_OF, STORED_LEVEL, PackedSections, pack_sections
from fieldcodec.volume.sequence.layout import MAX_GROUP_FRAMES, GridPresence, GroupEntry, frame_numbers

KIND = "group"


@dataclass(frozen=True, eq=False)
class CompressedGroup:
    """Frames that are stored together; grids of later ones may be differences to those of earlier ones."""

    numbers: tuple[int, ...]
    volumes: tuple[CompressedVolume, ...]

    def frame(self, number: int) -> CompressedVolume:
        if number not in self.numbers:
            raise UnknownFrameError(f"there is no frame {number} in the group of {self.numbers}")
        return self.volumes[self.numbers.index(number)]

    @cached_property
    def _table(self) -> "_GridTable":
        table = _GridTable()
        for volume in self.volumes:
            table.add_frame(volume)
        return table

    def entry(self, names: tuple[str, ...] | None, num_bytes: int) -> GroupEntry:
        """What the file's own description says of the group.

        Args:
            names: of the frames' files; None where a pattern gives them.
            num_bytes: of the whole group.
        """
        present: dict[tuple[str, str, str], list[int]] = {}
        for number, volume in zip(self.numbers, self.volumes, strict=True):
            for kind in dict.fromkeys(map(_kind, volume.grids)):
                present.setdefault(kind, []).append(number)
        grids = tuple(GridPresence(*kind, tuple(frames)) for kind, frames in present.items())
        return GroupEntry(self.numbers, tuple(self._frame_bytes(num_bytes)), grids, names)

    def grid_bytes(self, num_bytes: int) -> list[list[int]]:
        """Bytes of every grid of every frame: its sections and a share of the rest.

        A grid that several frames share counts for the first of them.
        """
        sizes = []
        for total, own in zip(self._frame_bytes(num_bytes), self._section_bytes, strict=True):
            rest = total - sum(own)
            sizes.append([size + part for size, part in zip(own, _shares(rest, len(own)), strict=True)])
        return sizes

    def _frame_bytes(self, num_bytes: int) -> list[int]:
        """They add up to `num_bytes`."""
        own = [sum(sizes) for sizes in self._section_bytes]
        return [size + part for size, part in zip(own, _shares(num_bytes - sum(own), len(own)), strict=True)]

    @cached_property
    def _section_bytes(self) -> list[list[int]]:
        """Of the sections of every grid of every frame, 0 where an earlier frame has the same; nothing is read."""
        seen: set[int] = set()
        sizes = []
        for volume in self.volumes:
            sizes.append([0 if id(grid.sections) in seen else _bytes_of(grid.sections) for grid in volume.grids])
            seen.update(id(grid.sections) for grid in volume.grids)
        return sizes

    def to_bytes(self) -> bytes:
        """The group's section; equal content gives equal bytes.

        Raises:
            UsageError: the group has too many grids for one section.
        """
        table = self._table
        frames = [
            {"number": number, "grids": rows, "metadata": metadata_to_json(volume.metadata)}
            for number, rows, volume in zip(self.numbers, table.frames, self.volumes, strict=True)
        ]
        settings = self.volumes[0].settings
        meta = {"kind": KIND, "frames": frames, "grids": table.descriptions, "settings": settings}
        sections = [section for row, stored in enumerate(table.sections) for section in _sections(stored, row)]
        if len(sections) >= MAX_SECTIONS:
            raise UsageError(
                f"the group of frames {self.numbers[0]} to {self.numbers[-1]} has {len(sections):,} grids and levels, "
                f"fewer than {MAX_SECTIONS:,} are allowed; ask for a smaller group size"
            )
        return Container([Section.meta(meta), *sections]).to_bytes()

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> "CompressedGroup":
        """The group of a section; grids are read when they are asked for.

        Raises:
            FormatError: the bytes are damaged, or none of a group.
        """
        opened = Container.from_bytes(data)
        meta = opened.meta()
        kind = meta.get("kind") if isinstance(meta, dict) else None
        frames, descriptions = (meta.get("frames"), meta.get("grids")) if kind == KIND else (None, None)
        if not isinstance(frames, list) or not isinstance(descriptions, list):
            raise FormatError(f"the section of a group says that it holds {kind!r}; a group of frames is needed")
        _check_sections(opened, len(descriptions))
        if not all(isinstance(frame, dict) for frame in frames):
            raise FormatError("the frames of a group are not understood")
        numbers = frame_numbers([frame.get("number") for frame in frames], "a group")
        grids = _read_grids(opened, descriptions)
        settings = meta.get("settings", {})
        volumes = tuple(
            CompressedVolume(
                tuple(grids[row] for row in _rows(frame, len(grids))),
                metadata_from_json(frame.get("metadata", [])),
                settings if isinstance(settings, dict) else {},
            )
            for frame in frames
        )
        return CompressedGroup(numbers, volumes)


def _sections(stored: Mapping[str, bytes], row: int) -> list[Section]:
    """Those of one grid: all in one, but for its stored level."""
    sections = []
    if any(name != STORED_LEVEL for name in stored):
        sections.append(Section(SectionId.GRID, pack_sections(stored), row))
    if STORED_LEVEL in stored:
        sections.append(Section(SectionId.STORED_LEVEL, stored[STORED_LEVEL], row, must_understand=False))
    return sections


def _bytes_of(sections: Mapping[str, bytes]) -> int:
    if isinstance(sections, PackedSections):
        return sections.num_bytes
    return sum(len(section.data) for section in _sections(sections, 0))


def _shares(total: int, parts: int) -> list[int]:
    """Parts as equal as whole numbers can be."""
    return [total // parts + (place < total % parts) for place in range(parts)]


class _GridTable:
    """The grids of all frames in one list; a grid that several frames share is there once."""

    def __init__(self) -> None:
        self.descriptions: list[dict[str, Any]] = []
        self.sections: list[Mapping[str, bytes]] = []
        self.frames: list[list[int]] = []
        self._by_identity: dict[int, int] = {}
        self._by_sections: dict[int, int] = {}
        self._by_content: dict[bytes, int] = {}

    def add_frame(self, volume: CompressedVolume) -> None:
        rows: list[int] = []
        for grid in volume.grids:
            rows.append(self._add(grid, rows))
        self.frames.append(rows)

    def _add(self, grid: CompressedGrid, taken: list[int]) -> int:
        """Position of a grid; `taken` are those of its own frame, which holds no position twice."""
        known = self._by_identity.get(id(grid))
        if known is not None and known not in taken:
            return known
        meta = {key: value for key, value in grid.meta.items() if key != "reference"}
        if grid.reference is not None:
            if id(grid.reference) not in self._by_identity:
                raise ValueError(f"grid {grid.name!r} refers to a grid that is not earlier in its group")
            meta["reference"] = self._by_identity[id(grid.reference)]
        owner = self._by_sections.get(id(grid.sections)) if grid.sections else None
        sections = grid.sections
        if owner is not None and self.descriptions[owner] != meta:
            meta[SECTIONS_OF], sections = owner, {}
        content = _digest(meta, sections)
        row = self._by_content.get(content)
        if row is None or row in taken:
            row = len(self.descriptions)
            self.descriptions.append(meta)
            self.sections.append(sections)
            self._by_content.setdefault(content, row)
            self._by_sections.setdefault(id(grid.sections), row)
        self._by_identity[id(grid)] = row
        return row


def _digest(meta: dict[str, Any], sections: Mapping[str, bytes]) -> bytes:
    digest = xxhash.xxh3_128(dump_json(meta))
    for name in sorted(sections):
        digest.update(f"{name} {len(sections[name])} ".encode())
        digest.update(sections[name])
    return digest.digest()


def _kind(grid: CompressedGrid) -> tuple[str, str, str]:
    if grid.is_opaque:
        return grid.name, str(grid.meta["opaque"]["type_name"]), "unknown"
    return grid.name, grid.value_type.name, grid.grid_class


def _check_sections(opened: Container, num_grids: int) -> None:
    """Nothing but grids and their stored levels in a group: above all no group in a group."""
    for key in opened:
        of_a_grid = key.id in (SectionId.GRID, SectionId.STORED_LEVEL) and key.grid < num_grids
        if key.id != SectionId.META and not of_a_grid:
            raise FormatError(f"a group of {num_grids} grids holds the section {key}, which does not belong there")


def _rows(frame: dict[str, Any], num_grids: int) -> list[int]:
    rows = frame.get("grids")
    if (
        not isinstance(rows, list)
        or not all(type(row) is int and 0 <= row < num_grids for row in rows)
        or len(set(rows)) != len(rows)
    ):
        raise FormatError(f"frame {frame['number']} is said to have the grids {rows!r} of {num_grids} in its group")
    return rows


def _read_grids(opened: Container, descriptions: list[Any]) -> list[CompressedGrid]:
    """All grids, each with the one it refers to."""
    grids: list[CompressedGrid] = []
    depths: list[int] = []  # how many grids have to be decoded before
    for row, description in enumerate(descriptions):
        meta = check_description(description, row)
        reference, depth = None, 0
        if "reference" in meta:
            reference = _earlier(grids, meta, "reference")
            depth = depths[meta["reference"]] + 1
            if depth >= MAX_GROUP_FRAMES:
                raise FormatError(f"grid {meta['name']!r}: more than {MAX_GROUP_FRAMES} grids refer to one another")
        owner = _earlier(grids, meta, SECTIONS_OF) if SECTIONS_OF in meta else None
        if owner is not None and SECTIONS_OF in descriptions[meta[SECTIONS_OF]]:
            raise FormatError(f"grid {meta['name']!r}: its {SECTIONS_OF} is grid {meta[SECTIONS_OF]}, which has none")
        own = {key: value for key, value in meta.items() if key != SECTIONS_OF}
        sections = PackedSections(opened, row) if owner is None else owner.sections
        grid = CompressedGrid(own, sections, reference=reference)
        if (reference or owner) is not None and (grid.is_opaque or grid.instance_of is not None):
            raise FormatError(f"grid {grid.name!r} has no values of its own, so it cannot refer to another grid")
        grids.append(grid)
        depths.append(depth)
    return grids


def _earlier(grids: list[CompressedGrid], meta: dict[str, Any], key: str) -> CompressedGrid:
    """The earlier grid whose position a description has under a key."""
    row = meta[key]
    if type(row) is not int or not 0 <= row < len(grids):
        raise FormatError(
            f"grid {meta['name']!r}: its {key} is grid {row!r}, where one of the {len(grids)} before it is needed"
        )
    if grids[row].is_opaque or grids[row].instance_of is not None:
        raise FormatError(f"grid {meta['name']!r}: its {key} is grid {row}, which has no values of its own")
    return grids[row]
