"""What a `.fcodec` file holds of one grid: the one table that encode and decode share.

Each stored part is a section of the container (see docs/format.md); its key is (section, grid number).
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.container.container import Container
from fieldcodec.container.format import SectionId

VOLUME_KIND = "volume"  # of a file, in its META
FRAME_BYTES = 512  # of a file beside those of its grids, at most: its table of sections and its settings
SECTIONS_OF = "sections_of"  # in a group's description of a grid: the one whose sections it shares
STORED_LEVEL = "stored level"  # the section that a decoder of the grid itself never needs

# name in reports -> section, in the order in which a decoder needs them
GRID_SECTIONS: dict[str, SectionId] = {
    "root": SectionId.ROOT,
    "upper masks": SectionId.UPPER_MASKS,
    "level-1 classifier": SectionId.LEVEL1_NETWORK,
    "lower masks": SectionId.LOWER_MASKS,
    "level-0 classifier": SectionId.LEVEL0_NETWORK,
    "lattice coefficients": SectionId.LATTICE,
    "mesh": SectionId.MESH,
    "leaf masks": SectionId.LEAF_MASKS,
    "inactive voxels": SectionId.INACTIVE_VOXELS,
    "inactive lower tiles": SectionId.INACTIVE_LOWER_TILES,
    "inactive upper tiles": SectionId.INACTIVE_UPPER_TILES,
    "inactive root tiles": SectionId.INACTIVE_ROOT_TILES,
    "active tiles": SectionId.ACTIVE_TILES,
    "tile regressor": SectionId.TILE_NETWORK,
    "voxel values": SectionId.VOXEL_VALUES,
    "voxel regressor": SectionId.VOXEL_NETWORK,
    "voxel residuals": SectionId.VOXEL_RESIDUALS,
    "refinement": SectionId.REFINEMENT,
    "motion": SectionId.MOTION,
    "signs": SectionId.SIGNS,
    "opaque grid": SectionId.OPAQUE_GRID,
    STORED_LEVEL: SectionId.STORED_LEVEL,
}
_NAMES = {int(id): name for name, id in GRID_SECTIONS.items() if name != STORED_LEVEL}  # those that a GRID may hold
NETWORK_SECTIONS = {
    "level1": "level-1 classifier",
    "level0": "level-0 classifier",
    "tiles": "tile regressor",
    "values": "voxel regressor",
}


def pack_sections(sections: Mapping[str, bytes]) -> bytes:
    """All sections of one grid as one: a file of many small grids has no entry of its table for each of theirs.

    The stored level is not among them; it stays a section of its own.
    """
    stored = sorted((int(GRID_SECTIONS[name]), data) for name, data in sections.items() if name != STORED_LEVEL)
    writer = ByteWriter()
    writer.varint(len(stored))
    for id, _ in stored:
        writer.varint(id)
    writer.streams([data for _, data in stored])
    return writer.getvalue()


def unpack_sections(data: bytes) -> dict[str, bytes]:
    """Raises FormatError where the bytes are damaged, or hold what is no section of a grid."""
    reader = ByteReader(data, "sections of a grid")
    ids = [reader.varint() for _ in range(reader.varint(len(_NAMES)))]
    if not all(id in _NAMES for id in ids) or sorted(set(ids)) != ids:
        raise reader.error(f"the sections {ids} are not rising, or none of a grid")
    streams = reader.streams(len(ids))
    reader.end()
    return {_NAMES[id]: stream for id, stream in zip(ids, streams, strict=True)}


class PackedSections(Mapping[str, bytes]):
    """The sections of one grid of a group of frames, read (and their checksum verified) when they are asked for."""

    def __init__(self, opened: Container, number: int) -> None:
        self._opened, self._number = opened, number
        self._level = SectionId.STORED_LEVEL, number

    @cached_property
    def _sections(self) -> dict[str, bytes]:
        key = SectionId.GRID, self._number
        return unpack_sections(self._opened.read(*key)) if key in self._opened else {}

    def __getitem__(self, name: str) -> bytes:
        if name == STORED_LEVEL and self._level in self._opened:
            return self._opened.read(*self._level)
        return self._sections[name]

    def __contains__(self, name: object) -> bool:
        return self._level in self._opened if name == STORED_LEVEL else name in self._sections

    def __iter__(self) -> Iterator[str]:
        yield from self._sections
        if self._level in self._opened:
            yield STORED_LEVEL

    def __len__(self) -> int:
        return len(self._sections) + (self._level in self._opened)

    @property
    def num_bytes(self) -> int:
        """Of all of them; reads nothing."""
        return self._opened.length(SectionId.GRID, self._number) + self._opened.length(*self._level)
