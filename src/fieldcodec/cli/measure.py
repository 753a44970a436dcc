"""Encode, decode what was written, and measure both: the report of `encode`, `demo` and the benchmarks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fieldcodec as fc
from fieldcodec.cli.console import StageEvent
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.vdb.size import vdb16_blosc_bytes
from fieldcodec.lattice.refinement import Refinement
from fieldcodec.metrics.files import GridComparison, compare_file_metadata, compare_files
from fieldcodec.metrics.quality import effective_resolution
from fieldcodec.metrics.rate import raw_vdb_bytes
from fieldcodec.metrics.report import EncodeReport, GridReport
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.settings import VolumeSettings

OnEvent = Callable[[StageEvent], None]


@dataclass(frozen=True)
class Measured:
    """What an encode gave, and what came back from the written file where that was asked for."""

    report: EncodeReport
    compressed: CompressedVolume
    seconds_encode: float
    seconds_decode: float | None
    decoded: VolumeFile | None


def encode_and_measure(
    volumes: VolumeFile,
    settings: VolumeSettings,
    output: Path,
    *,
    mesh: Mesh | None = None,
    bytes_source: int | None = None,
    device: str | None = None,
    overwrite: bool = False,
    check: bool = True,
    on_event: OnEvent,
) -> Measured:
    """Encode into a file; with `check`, decode that file again and compare voxel by voxel.

    Raises:
        OutputExistsError, InputError: the output cannot be written.
        InvalidValuesError: a value is not finite and the settings refuse such.
    """
    clock = GridClock(on_event)
    start = time.perf_counter()
    compressed = fc.encode_volume(volumes, settings, mesh=mesh, device=device, on_event=clock)
    seconds_encode = time.perf_counter() - start
    compressed.save(output, overwrite=overwrite)
    decoded, seconds_decode, comparisons = None, None, None
    decode_clock = GridClock(on_event)
    if check:
        start = time.perf_counter()
        decoded = fc.open(output).to_grids(device=device, on_event=decode_clock)
        seconds_decode = time.perf_counter() - start
        comparisons = compare_files(volumes, decoded)
    only_one = len(volumes) == 1
    grids = tuple(
        _grid_report(
            grid, info, comparisons[row] if comparisons else None,
            seconds_encode if only_one else clock.seconds.get(grid.name or "unnamed"),
            seconds_decode if only_one else decode_clock.seconds.get(grid.name or "unnamed"),
        )
        for row, (grid, info) in enumerate(zip(volumes, compressed.grids, strict=True))
    )  # fmt: skip
    report = EncodeReport(
        grids=grids,
        bytes=output.stat().st_size,
        bytes_source=bytes_source,
        seconds=seconds_encode,
        differences=compare_file_metadata(volumes, decoded) if decoded else (),
    )
    return Measured(report, compressed, seconds_encode, seconds_decode, decoded)


class GridClock:
    """Passes events on, and adds up the seconds between events of each grid (the part of a stage before `: `)."""

    def __init__(self, on_event: OnEvent) -> None:
        self.seconds: dict[str, float] = {}
        self._on_event = on_event
        self._last = time.perf_counter()

    def __call__(self, event: StageEvent) -> None:
        now = time.perf_counter()
        name = event.stage.rpartition(": ")[0]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
        self._on_event(event)


def _grid_report(
    grid: SparseGrid | OpaqueGrid, info: CompressedGrid, comparison: GridComparison | None,
    seconds_encode: float | None, seconds_decode: float | None,
) -> GridReport:  # fmt: skip
    quality = comparison.quality if comparison else None
    return GridReport(
        name=grid.name,
        value_type=grid.value_type.name if isinstance(grid, SparseGrid) else grid.type_name,
        grid_class=grid.grid_class if isinstance(grid, SparseGrid) else "unknown",
        active_voxels=grid.topology.num_active_voxels if isinstance(grid, SparseGrid) else None,
        effective_resolution=effective_resolution(grid) if isinstance(grid, SparseGrid) else None,
        bytes_raw=raw_vdb_bytes(grid) if isinstance(grid, SparseGrid) else len(grid.payload),
        bytes_vdb16_blosc=vdb16_blosc_bytes(grid),
        bytes=info.num_bytes,
        method=method_of(info),
        parameters=None if info.lattice else info.parameters,
        multiply_adds=multiply_adds_per_voxel(info),
        corrections=None if info.lattice else info.corrections,
        rounding_loss=info.fits["values"].rounding_loss if "values" in info.fits else None,
        seconds_encode=seconds_encode,
        seconds_decode=seconds_decode,
        sections={name: len(data) for name, data in info.sections.items()},
        choices=tuple(choice.to_json() for choice in info.choices),
        trials=tuple(trial.to_json() for trial in info.trials),
        quality=quality,
        differences=comparison.differences if comparison else (),
    )


def method_of(info: CompressedGrid) -> str:
    """How a grid is stored, in a few words: the form of the tree, and where the values of voxels are."""
    if info.is_opaque:
        return "carried unchanged"
    if info.lattice is not None:
        return str(info.lattice) if info.lattice.mesh else f"lattice {info.lattice}"
    if info.method != "network":
        return "lossless" if info.tree == "explicit" else "[Hash,5,NN(4),3] lossless values"
    return "[Hash,5,NN(4),NN(3)]" if info.tree == "neural" else "[Hash,5,4,NN(3)]"


def multiply_adds_per_voxel(info: CompressedGrid) -> int | None:
    """Of a voxel of a leaf: for its value, and for its active state where a classifier tells it."""
    if info.lattice is not None:
        refinement = Refinement.from_bytes(info.section("refinement")) if info.lattice.refined else None
        network = 0 if refinement is None else refinement.multiply_adds * info.channels
        return info.lattice.multiply_adds + network or None
    specs = info.network_specs
    asked = [specs[role].multiply_adds for role in ("values", "level0") if role in specs]
    return sum(asked) if asked else None
