"""Measure the codec on real volumes; one JSON file per row.

    python benchmarks/run.py --data FOLDER [--only NAME] [--device cpu] [--out benchmarks/results]

Each row runs in a process of its own, so that peak memory and warm-up are its own. `table.py` makes tables of them.
"""

import argparse
import dataclasses
import datetime
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import fieldcodec as fc
from fieldcodec.bench.effort import StageClock
from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.cli.inputs import ConversionOptions, read_input
from fieldcodec.cli.measure import Measured, encode_and_measure
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh import read_mesh
from fieldcodec.volume.quality import Quality

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One volume with one choice of settings; `source` is relative to the data folder."""

    source: str
    what: str
    preset: str = "balanced"
    conversion: ConversionOptions = field(default_factory=ConversionOptions)
    quality: Quality = field(default_factory=Quality)
    mesh: bool = False  # the encoder may code the source mesh itself

    @property
    def settings(self) -> fc.VolumeSettings:
        """Of the encoder."""
        return replace(fc.VolumeSettings.preset(self.preset), quality=self.quality)

    def first_grid(self, data: Path) -> SparseGrid:
        """The first grid of the source in the folder `data`."""
        grid = read_input(data / self.source, self.conversion)[0]
        assert isinstance(grid, SparseGrid)
        return grid


_ANY = Quality()  # the preset's


def _mesh(source: str, what: str, resolution: int, quality: Quality = _ANY, preset: str = "balanced") -> Row:
    return Row(source, what, preset, ConversionOptions(resolution=resolution, half_width=3.0), quality)


_SMOKE = ("vdb/smoke.vdb", "OpenVDB's sample smoke, fog volume")
_SPHERE = ("vdb/sphere.vdb", "OpenVDB's sample sphere, level set")
_CLOUD = ("vdb/wdas_cloud_sixteenth.vdb", "Disney cloud at 1/16 resolution, fog volume")
_IGUANA = ("volumes/iguana.nii.gz", "X-ray CT of an iguana's head, voxels above 0")
_BUNNY = ("meshes_scans/bunny_closed.obj.xz", "Stanford Bunny, level set of 628 voxels", 628)
_DRAGON = "meshes_scans/dragon_vrip.ply.gz"
ROWS = {
    # what a newcomer gets
    "smoke": Row(*_SMOKE),
    "sphere": Row(*_SPHERE),
    "cloud": Row(*_CLOUD),
    "iguana": Row(*_IGUANA),
    "bunny": _mesh(*_BUNNY),
    # the quality of the paper's Table 2, for models of its kind
    "bunny-0.072": _mesh(*_BUNNY, Quality(iou=0.9985, mcd=0.072)),
    "bunny-0.072-mesh": replace(_mesh(*_BUNNY, Quality(iou=0.9985, mcd=0.072)), mesh=True),
    "dragon-980": _mesh(_DRAGON, "Stanford Dragon, 980 voxels", 980, Quality(iou=0.996, mcd=0.125)),
    "armadillo-1519": _mesh(
        "meshes_scans/armadillo.obj.xz", "Armadillo, 1519 voxels", 1519, Quality(iou=0.998, mcd=0.115)
    ),
    "lucy-1600": _mesh("meshes_scans/lucy.ply.xz", "Lucy, 1600 voxels", 1600, Quality(iou=0.998, mcd=0.138)),
    "gears-800": _mesh(
        "meshes_mechanical/gears.stl.xz", "gears, 800 voxels, at the quality of Crawler", 800,
        Quality(iou=0.996, mcd=0.174),
    ),
    "engine-800": _mesh(
        "meshes_mechanical/2CylinderEngine.glb", "two-cylinder engine, 800 voxels, at the quality of Crawler", 800,
        Quality(iou=0.996, mcd=0.174),
    ),
    "dragon-2029": _mesh(_DRAGON, "Stanford Dragon, 2029 voxels", 2029, Quality(mcd=0.125)),
    # the paper's networks: sized by its heuristics, and with its own hyper-parameters
    "smoke-network": Row(*_SMOKE, "network"),
    "sphere-network": Row(*_SPHERE, "network"),
    "cloud-network": Row(*_CLOUD, "network"),
    "iguana-network": Row(*_IGUANA, "network"),
    "bunny-network": _mesh(*_BUNNY, preset="network"),
    "bunny-paper": _mesh(*_BUNNY, preset="paper-bunny"),
}  # fmt: skip


class PeakMemory:
    """Peak resident memory up to the last event of encoding or decoding: what comes after is only measuring."""

    def __init__(self, started: float) -> None:
        self.bytes = 0
        self._started, self._said = started, started

    def __call__(self, event: fc.FitEvent) -> None:
        self.bytes = peak_resident_bytes()
        now = time.perf_counter()
        if now - self._said > 60:
            self._said = now
            loss = "" if event.loss is None else f", loss {event.loss:.4g}"
            print(f"  {now - self._started:.0f} s: {event.stage} {event.step}/{event.total}{loss}", flush=True)


def peak_resident_bytes() -> int:
    """Of this process so far; the system counts in bytes on macOS and in KiB elsewhere."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(name: str, row: Row, data: Path, device: str) -> dict[str, Any]:
    """Encode, decode and compare one row."""
    source = data / row.source
    start = time.perf_counter()
    volumes = read_input(source, row.conversion)
    seconds_read = time.perf_counter() - start
    memory = PeakMemory(start)
    clock = StageClock(memory)
    with TemporaryDirectory() as folder:
        measured = encode_and_measure(
            volumes, row.settings, Path(folder) / "out.fcodec", mesh=read_mesh(source) if row.mesh else None,
            bytes_source=source.stat().st_size, device=device, on_event=clock,
        )  # fmt: skip
    used = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    return {
        "name": name,
        "what": row.what,
        "source": row.source,
        "preset": row.preset,
        "conversion": dataclasses.asdict(row.conversion),
        "settings": row.settings.to_json(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(used),
        "seconds": {"read": seconds_read, "encode": measured.seconds_encode, "decode": measured.seconds_decode},
        "seconds_of_stages": clock.stop()[1],
        **speeds(measured),
        "peak_memory_bytes": memory.bytes,
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if used == "cuda" else None,
        "report": measured.report.to_json(),
    }


def speeds(measured: Measured) -> dict[str, Any]:
    """Samples trained and active voxels decoded per second, and how each network was fitted."""
    fits = [
        {"grid": grid.name, "network": role, **dataclasses.asdict(fit)}
        for grid in measured.compressed.grids
        for role, fit in grid.fits.items()
    ]
    seconds = sum(fit["seconds"] for fit in fits)
    active = sum(grid.active_voxels or 0 for grid in measured.report.grids)
    return {
        "fits": fits,
        "encode_samples_per_second": sum(fit["samples"] for fit in fits) / seconds if seconds else None,
        "encode_active_voxels_per_second": active / measured.seconds_encode if measured.seconds_encode else None,
        "decode_active_voxels_per_second": active / measured.seconds_decode if measured.seconds_decode else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = os.environ.get("FIELDCODEC_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None, help="folder of real volumes")
    parser.add_argument("--only", choices=ROWS, help="run one row in this process")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the JSON files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only is None:
        own = [sys.executable, __file__, "--data", options.data, "--device", options.device, "--out", options.out]
        codes = [subprocess.run([*map(str, own), "--only", name]).returncode for name in ROWS]
        return max(codes)
    print(f"{options.only} ...", flush=True)
    result = measure(options.only, ROWS[options.only], options.data, options.device)
    suffix = "-cuda" if result["machine"]["device"] == "cuda" else ""
    path = options.out / f"{options.only}{suffix}.json"
    path.write_text(to_json_text(result) + "\n", encoding="utf-8")
    grid = result["report"]["grids"][0]
    print(
        f"{options.only}: {result['report']['bytes']:,} bytes, ratio {grid['ratio']:.1f}, {result['seconds']}, {path}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
