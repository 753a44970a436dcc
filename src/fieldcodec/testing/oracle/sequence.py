"""A file of frames: groups, and grids that refer to those of earlier frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.testing.oracle.container import WHOLE_FILE, meta_json, read_sections
from fieldcodec.testing.oracle.fields import Field
from fieldcodec.testing.oracle.lattices import Lattice
from fieldcodec.testing.oracle.levels import LEVEL
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.references import Reference
from fieldcodec.testing.oracle.values import rows, unpack
from fieldcodec.testing.oracle.volume import META, Decoded, decode_grid, decode_values, read_json, read_metadata

GROUP, GRID = 22, 24
OF_A_GRID = (*range(2, 22), 23)
_MOST_FRAMES = 256


def decode_sequence(data: bytes) -> dict[int, VolumeFile]:
    """The frames of a `.fcodec` file, by their numbers.

    Raises:
        FormatError: the file is not what docs/format.md says.
    """
    sections = read_sections(data)
    meta = read_json(meta_json(sections.get((WHOLE_FILE, META), b"")))
    if not isinstance(meta, dict) or meta.get("kind") != "sequence" or not isinstance(meta.get("groups"), list):
        raise FormatError("the file holds no sequence")
    stored = {grid: content for (grid, id), content in sections.items() if id == GROUP}
    if set(stored) != set(range(len(meta["groups"]))):
        raise FormatError("the file holds other groups than it says")
    frames: dict[int, VolumeFile] = {}
    for row, entry in enumerate(meta["groups"]):
        group = decode_group(stored[row])
        if list(group) != entry["frames"] or set(group) & set(frames):
            raise FormatError("a group holds other frames than the file says")
        frames |= group
    return dict(sorted(frames.items()))


def decode_group(data: bytes) -> dict[int, VolumeFile]:
    """The frames of one group, in their order."""
    sections = read_sections(data)
    meta = read_json(meta_json(sections.get((WHOLE_FILE, META), b"")))
    if not isinstance(meta, dict) or meta.get("kind") != "group":
        raise FormatError("a section of a group holds none")
    try:
        count = len(meta["grids"])
        others = [(grid, id) for grid, id in sections if (grid, id) != (WHOLE_FILE, META)]
        if any(id not in (GRID, LEVEL) or grid >= count for grid, id in others):
            raise FormatError("a group holds what is no grid of it")
        frames, table = meta["frames"], _Table(meta["grids"], sections)
        numbers = [frame["number"] for frame in frames]
        if any(type(number) is not int for number in numbers) or not 1 <= len(numbers) <= _MOST_FRAMES:
            raise FormatError("the numbers of the frames are not understood")
        if sorted(set(numbers)) != numbers:
            raise FormatError("frames are not in rising order")
        return {frame["number"]: table.frame(frame) for frame in frames}
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise FormatError(f"a group is not understood: {error!r}") from error


def _unpacked(data: bytes) -> dict[int, bytes]:
    """Sections of a grid by their ids."""
    reader = Reader(data)
    ids = [reader.varint() for _ in range(reader.varint())]
    if sorted(set(ids)) != ids or not set(ids) <= set(OF_A_GRID):
        raise FormatError("the sections of a grid are not rising, or none of a grid")
    streams = reader.streams(len(ids))
    reader.end()
    return dict(zip(ids, streams, strict=True))


@final
@dataclass(frozen=True)
class _Kept:
    """A grid, and what it is to later ones: no reference, where its values are not held by lattices."""

    grid: SparseGrid
    reference: Reference | None
    fields: Mapping[str, Field]

    @staticmethod
    def of(decoded: Decoded) -> "_Kept":
        grid, reference = decoded.grid, None
        if isinstance(decoded.numbers, Lattice):
            topology = grid.topology
            matrix: np.ndarray | None = grid.transform.matrix if grid.transform.is_linear else None
            origins, masks = rows(topology.leaf_origins), unpack(topology.leaf_active)
            reference = decoded.numbers.as_reference(origins, masks, matrix)
        return _Kept(grid, reference, decoded.fields)


@final
class _Table:
    """The grids of a group."""

    def __init__(self, descriptions: list[Any], sections: Mapping[tuple[int, int], bytes]) -> None:
        self._descriptions = descriptions
        stored = {grid: content for (grid, id), content in sections.items() if id == GRID}
        self._sections: list[dict[int, bytes]] = []
        self._kept: dict[int, _Kept] = {}
        self._steps: list[int] = []  # from each grid to the last one that it needs
        for row, description in enumerate(descriptions):
            self._steps.append(self._steps_of(row, description))
            if "sections_of" in description:
                owner = self._earlier(row, description, "sections_of")
                if "sections_of" in descriptions[owner]:
                    raise FormatError("a grid shares the sections of one that has none of its own")
                self._sections.append(self._sections[owner])
            else:
                self._sections.append(_unpacked(stored[row]) if row in stored else {})

    def _earlier(self, row: int, description: Any, key: str) -> int:
        """The position of an earlier grid under a key."""
        place = description[key]
        if type(place) is not int or not 0 <= place < row:
            raise FormatError("a grid refers to no earlier one")
        for each in (description, self._descriptions[place]):
            if "opaque" in each or each.get("instance_of") is not None:
                raise FormatError("a grid without values of its own refers to another, or is referred to")
        return place

    def _steps_of(self, row: int, description: Any) -> int:
        if "reference" not in description:
            return 0
        place = self._earlier(row, description, "reference")
        if self._steps[place] + 1 >= _MOST_FRAMES:
            raise FormatError("too many grids refer to one another")
        return self._steps[place] + 1

    def frame(self, frame: Any) -> VolumeFile:
        grids: list[SparseGrid | OpaqueGrid] = []
        for row in frame["grids"]:
            if type(row) is not int or not 0 <= row < len(self._descriptions) or frame["grids"].count(row) > 1:
                raise FormatError("a frame names a grid that is not there, or one twice")
            description = self._descriptions[row]
            if "opaque" in description or description.get("instance_of") is not None:
                grids.append(decode_grid(description, self._sections[row], grids))
            else:
                grids.append(self._decoded(row).grid)
        return VolumeFile(tuple(grids), read_metadata(frame.get("metadata", [])))

    def _decoded(self, row: int) -> _Kept:
        chain = [row]
        while chain[-1] not in self._kept and "reference" in self._descriptions[chain[-1]]:
            chain.append(self._descriptions[chain[-1]]["reference"])
        for each in reversed(chain):  # earlier grids first: nothing here is as deep as a chain is long
            if each not in self._kept:
                self._kept[each] = self._decode(each)
        return self._kept[row]

    def _decode(self, row: int) -> _Kept:
        """A grid, the one that it refers to being there."""
        description, sections = self._descriptions[row], self._sections[row]
        if "reference" not in description:
            return _Kept.of(decode_values(description, sections))
        before, kind = description["reference"], description["value_type"]
        return _Kept.of(
            decode_values(description, sections, partial(self._reference, before, kind), partial(self._network, before))
        )

    def _reference(self, row: int, value_type: str) -> Reference:
        reference = self._kept[row].reference
        if reference is None or self._descriptions[row]["value_type"] != value_type:
            raise FormatError("a grid is predicted from one of another kind")
        return reference

    def _network(self, row: int, role: str) -> Field:
        fields = self._kept[row].fields
        if role not in fields:
            raise FormatError(f"the network {role} is a difference to one that is not there")
        return fields[role]
