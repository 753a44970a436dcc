"""Numbers of all frames of a grid in one line."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fieldcodec.io.frame_paths import number_ranges
from fieldcodec.metrics.rate import compression_ratio
from fieldcodec.volume.sequence.measure import FrameMeasure, GridMeasure


@dataclass(frozen=True)
class Spread:
    """A number over the frames of a grid: its mean, and the worst one with its frame."""

    mean: float
    worst: float
    frame: int


@dataclass(frozen=True)
class GridSummary:
    """One grid over all frames; None is unknown or makes no sense."""

    name: str
    frames: tuple[tuple[int, int], ...]
    """First and last number of each run of frames that have it."""
    bytes: int | None
    bytes_vdb16_blosc: int | None
    topology_differs: tuple[int, ...]
    """Frames whose tree is not the original's."""
    rmse: Spread | None
    max_error: Spread | None
    iou: Spread | None
    mcd: Spread | None
    flicker: Spread | None
    flicker_relative: Spread | None

    @property
    def ratio(self) -> float | None:
        """Bytes of 16-bit Blosc `.vdb` files per byte of ours."""
        return compression_ratio(self.bytes_vdb16_blosc, self.bytes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}


def summarise(measures: Sequence[FrameMeasure]) -> list[GridSummary]:
    """Grid by grid, in the order in which they come up; grids of one name in a frame count as the same grid."""
    found: dict[str, list[tuple[int, GridMeasure]]] = {}
    for measure in measures:
        for grid in measure.grids:
            found.setdefault(grid.name, []).append((measure.number, grid))
    return [_summary(name, grids) for name, grids in found.items()]


def _summary(name: str, grids: Sequence[tuple[int, GridMeasure]]) -> GridSummary:
    def spread(
        read: Callable[[GridMeasure], float | None], worst: Callable[..., tuple[float, int]] = max
    ) -> Spread | None:
        values = [(read(grid), number) for number, grid in grids]
        known = [(value, number) for value, number in values if value is not None]
        if not known:
            return None
        extreme, frame = worst(known, key=lambda pair: pair[0])
        return Spread(math.fsum(value for value, _ in known) / len(known), extreme, frame)

    return GridSummary(
        name=name,
        frames=tuple(number_ranges(sorted({number for number, _ in grids}))),
        bytes=_total(grid.bytes for _, grid in grids),
        bytes_vdb16_blosc=_total(grid.bytes_vdb16_blosc for _, grid in grids),
        topology_differs=tuple(number for number, grid in grids if grid.topology_identical is False),
        rmse=spread(lambda grid: grid.rmse),
        max_error=spread(lambda grid: grid.max_error),
        iou=spread(lambda grid: grid.iou, min),
        mcd=spread(lambda grid: grid.mcd),
        flicker=spread(lambda grid: grid.flicker),
        flicker_relative=spread(lambda grid: grid.flicker_relative),
    )


def _total(sizes: Iterable[int | None]) -> int | None:
    """None where any of them is not known."""
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)
