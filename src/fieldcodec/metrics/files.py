"""Everything in which two files of grids differ, by name."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fieldcodec.grid.metadata import STATISTICS, Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.metrics.quality import GridQuality, compare_grids

Grid = SparseGrid | OpaqueGrid
_LONGEST_TEXT = 60


class DifferenceKind(StrEnum):
    """What two grids, or the files around them, differ in."""

    MISSING = "missing"  # only in the first file
    EXTRA = "extra"  # only in the second file
    NAME = "name"
    ORDER = "order"
    TYPE = "type"
    CLASS = "class"
    TRANSFORM = "transform"
    METADATA = "metadata"
    BACKGROUND = "background"
    STORAGE = "storage"  # 16-bit floats in the file, or not
    PAYLOAD = "payload"  # the bytes of a grid that is not interpreted
    TOPOLOGY = "topology"
    VALUES = "values"
    INACTIVE = "inactive values"


@dataclass(frozen=True)
class Difference:
    """One named difference; `text` gives both sides."""

    kind: DifferenceKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class GridComparison:
    """A pair of grids, or a grid that has no counterpart."""

    name: str
    index: int | None  # position in the first file, None where it is not there
    other_index: int | None  # position in the second file
    value_type: str
    grid_class: str
    differences: tuple[Difference, ...]
    quality: GridQuality | None  # None where the values cannot be compared

    @property
    def is_equal(self) -> bool:
        """True when nothing differs, neither tree nor values nor anything around them."""
        return not self.differences


def compare_files(first: VolumeFile, second: VolumeFile) -> list[GridComparison]:
    """Compare two files grid by grid: first those of the first file in order, then what only the second has.

    Grids pair up by name, equal names in file order; a grid left over is paired with the one at the same
    position if that is left over too and of the same type (it was renamed).
    """
    pairs = _pairs(first, second)
    comparisons = [_compare_pair(first[i], i, None if j is None else second[j], j) for i, j in pairs.items()]
    taken = set(pairs.values())
    for position, grid in enumerate(second):
        if position not in taken:
            comparisons.append(
                _single(grid, None, position, Difference(DifferenceKind.EXTRA, "only in the second file"))
            )
    return comparisons


def compare_file_metadata(first: VolumeFile, second: VolumeFile) -> tuple[Difference, ...]:
    """Differences of the metadata of the files themselves, statistics aside."""
    return tuple(_metadata_differences(first.metadata, second.metadata))


def _pairs(first: VolumeFile, second: VolumeFile) -> dict[int, int | None]:
    """Position in the first file -> position in the second file."""
    waiting: dict[str, list[int]] = defaultdict(list)
    for position, grid in enumerate(second):
        waiting[grid.name].append(position)
    pairs: dict[int, int | None] = {
        position: waiting[grid.name].pop(0) if waiting[grid.name] else None for position, grid in enumerate(first)
    }
    left = {position for positions in waiting.values() for position in positions}
    for position, other in pairs.items():
        if other is None and position in left and _type_name(first[position]) == _type_name(second[position]):
            pairs[position] = position
    return pairs


def _compare_pair(grid: Grid, index: int, other: Grid | None, other_index: int | None) -> GridComparison:
    if other is None:
        return _single(grid, index, None, Difference(DifferenceKind.MISSING, "only in the first file"))
    differences = []
    if grid.name != other.name:
        differences.append(Difference(DifferenceKind.NAME, f"{grid.name!r} is {other.name!r} in the second file"))
    if index != other_index:
        differences.append(Difference(DifferenceKind.ORDER, f"at position {index}, then at {other_index}"))
    if _type_name(grid) != _type_name(other):
        differences.append(_changed(DifferenceKind.TYPE, _type_name(grid), _type_name(other)))
    quality = None
    if isinstance(grid, SparseGrid) and isinstance(other, SparseGrid):
        differences += _grid_differences(grid, other)
        if grid.channels == other.channels:
            quality = compare_grids(grid, other)
            differences += _quality_differences(quality)
    elif isinstance(grid, OpaqueGrid) and isinstance(other, OpaqueGrid) and grid.payload != other.payload:
        sizes = f"{len(grid.payload):,} bytes, then {len(other.payload):,}"
        differences.append(Difference(DifferenceKind.PAYLOAD, f"the bytes differ ({sizes})"))
    return GridComparison(
        grid.name, index, other_index, _type_name(grid), _class_name(grid), tuple(differences), quality
    )


def _single(grid: Grid, index: int | None, other_index: int | None, difference: Difference) -> GridComparison:
    return GridComparison(grid.name, index, other_index, _type_name(grid), _class_name(grid), (difference,), None)


def _grid_differences(a: SparseGrid, b: SparseGrid) -> Iterator[Difference]:
    """All around the tree; the grid class has a kind of its own and is not repeated as metadata."""
    if a.grid_class != b.grid_class:
        yield _changed(DifferenceKind.CLASS, a.grid_class, b.grid_class)
    if a.transform != b.transform:
        yield _changed(DifferenceKind.TRANSFORM, _transform_text(a.transform), _transform_text(b.transform))
    if a.background.dtype != b.background.dtype or a.background.tobytes() != b.background.tobytes():
        yield _changed(DifferenceKind.BACKGROUND, str(a.background.tolist()), str(b.background.tolist()))
    if a.save_as_half != b.save_as_half:
        yield _changed(DifferenceKind.STORAGE, _storage_text(a), _storage_text(b))
    skip = ("class",) if a.grid_class != b.grid_class else ()
    yield from _metadata_differences(a.metadata.without(*skip), b.metadata.without(*skip))


def _quality_differences(quality: GridQuality) -> Iterator[Difference]:
    if quality.topology_differs:
        yield Difference(DifferenceKind.TOPOLOGY, f"{quality.topology_differs:,} voxels or nodes differ")
    if quality.max_error or quality.nonfinite_differs:
        text = f"largest error {quality.max_error or 0:.6g}"
        if quality.nonfinite_differs:
            text += f", {quality.nonfinite_differs:,} values are NaN or infinite on one side"
        yield Difference(DifferenceKind.VALUES, text)
    if quality.inactive_differs:
        yield Difference(DifferenceKind.INACTIVE, f"{quality.inactive_differs:,} inactive voxels and tiles differ")


def _metadata_differences(a: Metadata, b: Metadata) -> Iterator[Difference]:
    mine = {entry.name: entry for entry in a if entry.name not in STATISTICS}
    theirs = {entry.name: entry for entry in b if entry.name not in STATISTICS}
    for name in (*mine, *(name for name in theirs if name not in mine)):
        if mine.get(name) != theirs.get(name):
            text = f"{name!r} is {_entry_text(mine.get(name))}, then {_entry_text(theirs.get(name))}"
            yield Difference(DifferenceKind.METADATA, text)


def _changed(kind: DifferenceKind, before: str, after: str) -> Difference:
    return Difference(kind, f"{before}, then {after}")


def _entry_text(entry: MetaEntry | None) -> str:
    if entry is None:
        return "missing"
    value = repr(entry.value)
    return f"{value[:_LONGEST_TEXT]}{'...' if len(value) > _LONGEST_TEXT else ''} ({entry.type_name})"


def _transform_text(transform: GridTransform) -> str:
    if not transform.is_linear:
        return f"{transform.map_type} of {len(transform.payload)} bytes"
    rows = ["(" + " ".join(f"{value:.6g}" for value in row[:3]) + ")" for row in transform.matrix]
    return f"{transform.map_type} {' '.join(rows)}"


def _storage_text(grid: SparseGrid) -> str:
    return "stored in 16 bits" if grid.save_as_half else "stored in full"


def _type_name(grid: Grid) -> str:
    return grid.value_type.name if isinstance(grid, SparseGrid) else grid.type_name


def _class_name(grid: Grid) -> str:
    return grid.grid_class if isinstance(grid, SparseGrid) else "unknown"
