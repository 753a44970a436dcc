"""What an encoding or a comparison found, for programs (JSON) and people (tables)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from fieldcodec.metrics.files import Difference, GridComparison
from fieldcodec.metrics.quality import GridQuality
from fieldcodec.metrics.rate import bits_per_active_voxel, compression_ratio
from fieldcodec.metrics.tables import print_tables


@dataclass(frozen=True)
class GridReport:
    """One grid: its size before and after, its quality, the work it took. None is unknown or makes no sense."""

    name: str
    value_type: str
    grid_class: str
    active_voxels: int | None = None
    effective_resolution: tuple[int, int, int] | None = None
    bytes_raw: int | None = None
    """Of the tree in a `.vdb` without compression (`rate.raw_vdb_bytes`)."""
    bytes_vdb16_blosc: int | None = None
    """Of a real `.vdb` of this grid alone, 16-bit floats and Blosc, as measured by writing it."""
    bytes: int | None = None
    """Of the grid in the compressed file: all its sections, and its description in `meta`."""
    method: str | None = None
    """How it is stored: the tree form, such as `[Hash,5,4,NN(3)]`, or `lossless`."""
    parameters: int | None = None
    """Numbers in all networks of the grid, static ones included (Table 2's "Num. Params")."""
    multiply_adds: int | None = None
    """Per voxel decoded."""
    corrections: int | None = None
    """Decisions of the classifiers that were wrong and stored as corrections."""
    rounding_loss: float | None = None
    """By what part the value network's RMSE grew when its weights were rounded to what is stored."""
    seconds_encode: float | None = None
    seconds_decode: float | None = None
    sections: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each section of the compressed grid."""
    choices: tuple[Mapping[str, object], ...] = ()
    """Lattices that were tried on a sample, the one taken first: `lattices`, `step`, `sample_bytes`, `rmse`."""
    trials: tuple[Mapping[str, object], ...] = ()
    """Methods that were tried on the whole grid, the one taken first: `method`, `detail`, `bytes`, `rmse`, `excess`,
    `seconds`, `verdict`."""
    quality: GridQuality | None = None
    differences: tuple[Difference, ...] = ()
    """Of metadata, transform and the like; filled by comparisons."""

    @property
    def ratio(self) -> float | None:
        """Bytes of the 16-bit Blosc `.vdb` per byte of ours (Table 2's "Comp. Ratio")."""
        return compression_ratio(self.bytes_vdb16_blosc, self.bytes)

    @property
    def ratio_raw(self) -> float | None:
        """Bytes of the uncompressed tree per byte of ours."""
        return compression_ratio(self.bytes_raw, self.bytes)

    @property
    def bits_per_active_voxel(self) -> float | None:
        if self.bytes is None or self.active_voxels is None:
            return None
        return bits_per_active_voxel(self.bytes, self.active_voxels)

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dumps`; the quality's fields stand beside the grid's own."""
        quality = self.quality.to_json() if self.quality else dict.fromkeys(_QUALITY_KEYS)
        own = {name: getattr(self, name) for name in _GRID_KEYS}
        own["effective_resolution"] = list(self.effective_resolution) if self.effective_resolution else None
        own["sections"] = dict(self.sections)
        own["choices"] = [dict(choice) for choice in self.choices]
        own["trials"] = [dict(trial) for trial in self.trials]
        own["differences"] = [{"kind": str(item.kind), "text": item.text} for item in self.differences]
        return finite_json({**quality, **own})


_GRID_KEYS = (
    "name", "value_type", "grid_class", "active_voxels", "effective_resolution", "bytes_raw", "bytes_vdb16_blosc",
    "bytes", "ratio", "ratio_raw", "bits_per_active_voxel", "method", "parameters", "multiply_adds", "corrections",
    "rounding_loss", "seconds_encode", "seconds_decode", "sections", "choices", "trials",
    "differences",
)  # fmt: skip
_QUALITY_KEYS = (
    "topology_identical", "topology_differs", "iou", "mcd", "rmse", "rmse_relative", "max_error",
    "max_error_relative", "value_range", "psnr", "tile_max_error", "compared_voxels", "inactive_differs",
    "nonfinite_differs",
)  # fmt: skip


@dataclass(frozen=True)
class EncodeReport:
    """All grids of a file; made by encoding, and by comparing two files (`comparison_report`)."""

    grids: tuple[GridReport, ...]
    bytes: int
    """Of the compressed file, or of the second of two files compared."""
    bytes_source: int | None = None
    """Of the file encoded, or of the first of two files compared."""
    seconds: float | None = None
    differences: tuple[Difference, ...] = ()
    """Of the files' own metadata; filled by comparisons."""

    def to_json(self) -> dict[str, object]:
        """An object with `bytes` and `grids`; only plain values, null where a number makes no sense."""
        fields: dict[str, object] = {
            "bytes": self.bytes,
            "bytes_source": self.bytes_source,
            "ratio_source": compression_ratio(self.bytes_source, self.bytes),
            "seconds": self.seconds,
            "differences": [{"kind": str(item.kind), "text": item.text} for item in self.differences],
        }
        return {**finite_json(fields), "grids": [grid.to_json() for grid in self.grids]}

    def to_table(self, console: Console) -> None:
        """Print tables for people, at most 100 columns wide."""
        head = [f"{self.bytes:,} bytes"]
        if self.bytes_source is not None:
            head.append(f"from {self.bytes_source:,} bytes")
        if self.seconds is not None:
            head.append(f"in {self.seconds:.1f} s")
        print_tables(console, " ".join(head), self.grids, self.differences)


def comparison_report(
    comparisons: Sequence[GridComparison], *, bytes_first: int, bytes_second: int,
    file_differences: tuple[Difference, ...] = (), seconds: float | None = None,
) -> EncodeReport:  # fmt: skip
    """The report of `compare_files`, with the sizes of the two files."""
    grids = []
    for item in comparisons:
        quality = item.quality
        grids.append(
            GridReport(
                name=item.name,
                value_type=item.value_type,
                grid_class=item.grid_class,
                active_voxels=quality.active_voxels if quality else None,
                effective_resolution=quality.effective_resolution if quality else None,
                quality=quality,
                differences=item.differences,
            )
        )
    return EncodeReport(tuple(grids), bytes_second, bytes_first, seconds, file_differences)


def finite_json(fields: dict[str, object]) -> dict[str, object]:
    """The same fields with None for floats JSON cannot say (NaN and infinities)."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }
