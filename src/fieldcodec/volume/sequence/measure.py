"""What a sequence keeps of its frames, frame by frame and grid by grid."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.vdb.size import vdb16_blosc_bytes
from fieldcodec.metrics.files import compare_files
from fieldcodec.metrics.flicker import Flicker
from fieldcodec.metrics.quality import GridQuality
from fieldcodec.metrics.rate import compression_ratio
from fieldcodec.volume.compressed import CompressedVolume


@dataclass(frozen=True)
class GridMeasure:
    """One grid of one frame; None is unknown or makes no sense. Definitions: docs/metrics.md."""

    name: str
    active_voxels: int | None = None
    bytes: int | None = None
    """Of its sections, and of its share of its group's description."""
    bytes_vdb16_blosc: int | None = None
    is_goal_met: bool = True
    topology_identical: bool | None = None
    rmse: float | None = None
    value_range: float | None = None
    max_error: float | None = None
    psnr: float | None = None
    iou: float | None = None
    mcd: float | None = None
    flicker: float | None = None
    """Root mean square of the error of the change from the frame before, in the file's units."""
    flicker_relative: float | None = None
    """The same as a part of the original's change."""
    differences: tuple[str, ...] = ()
    """In words, errors of values aside."""

    def with_quality(self, quality: GridQuality | None) -> "GridMeasure":
        if quality is None:
            return self
        names = ("topology_identical", "rmse", "value_range", "max_error", "psnr", "iou", "mcd")
        return replace(self, **{name: getattr(quality, name) for name in names})

    def with_flicker(self, flicker: Flicker | None) -> "GridMeasure":
        if flicker is None:
            return self
        return replace(self, flicker=flicker.absolute, flicker_relative=flicker.relative)


@dataclass(frozen=True)
class FrameMeasure:
    """One frame: its size before and after, the work it took, and its grids in file order."""

    number: int
    name: str
    grids: tuple[GridMeasure, ...]
    bytes: int | None = None
    """Of its grids, as above."""
    bytes_source: int | None = None
    """Of its file."""
    seconds_encode: float | None = None
    """Of its group, shared out evenly."""
    seconds_decode: float | None = None

    @property
    def ratio(self) -> float | None:
        """Bytes of the 16-bit Blosc `.vdb` files of its grids per byte of ours."""
        sizes = [grid.bytes_vdb16_blosc for grid in self.grids]
        return None if None in sizes else compression_ratio(sum(filter(None, sizes)), self.bytes)

    def with_flickers(self, flickers: Sequence[Flicker | None]) -> "FrameMeasure":
        grids = tuple(grid.with_flicker(item) for grid, item in zip(self.grids, flickers, strict=True))
        return replace(self, grids=grids)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "FrameMeasure":
        """From `to_json`; raises TypeError or KeyError where it is something else."""
        grids = tuple(GridMeasure(**(grid | {"differences": tuple(grid["differences"])})) for grid in data["grids"])
        return FrameMeasure(**({key: value for key, value in data.items() if key != "ratio"} | {"grids": grids}))


def measure_size(
    number: int, name: str, original: VolumeFile, compressed: CompressedVolume, sizes: Sequence[int]
) -> FrameMeasure:
    """What is known of a frame without decoding it.

    Args:
        sizes: bytes of each grid.
    """
    grids = tuple(
        GridMeasure(
            name=grid.name,
            active_voxels=grid.topology.num_active_voxels if isinstance(grid, SparseGrid) else None,
            bytes=size,
            is_goal_met=info.goal_met,
        )
        for grid, info, size in zip(original, compressed.grids, sizes, strict=True)
    )
    return FrameMeasure(number, name, grids, sum(sizes))


def with_rival_sizes(measure: FrameMeasure, original: VolumeFile) -> FrameMeasure:
    """With the sizes of 16-bit Blosc `.vdb` files, found by writing them."""
    pairs = zip(measure.grids, original, strict=True)
    return replace(
        measure, grids=tuple(replace(item, bytes_vdb16_blosc=vdb16_blosc_bytes(grid)) for item, grid in pairs)
    )


def with_comparison(measure: FrameMeasure, original: VolumeFile, decoded: VolumeFile) -> FrameMeasure:
    """With errors and differences of the decoded frame."""
    compared = {item.index: item for item in compare_files(original, decoded) if item.index is not None}
    grids = tuple(
        replace(
            grid.with_quality(compared[row].quality),
            differences=tuple(str(item) for item in compared[row].differences if item.kind != "values"),
        )
        for row, grid in enumerate(measure.grids)
    )
    return replace(measure, grids=grids)
