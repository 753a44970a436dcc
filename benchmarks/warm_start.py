"""What the warm start of networks saves in a sequence (NeuralVDB, section 3.6); one JSON file per row.

    python benchmarks/warm_start.py NAME 'frames/leveque_%04d.vdb' [--frames 8-23] [--only-grid density]

The frames are encoded by the network method twice: as one group, in which each frame's networks start from those of the
frame before, and each alone. Steps and seconds of fitting, bytes, and the error of what comes back are kept per frame.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fieldcodec as fc
from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.frame_paths import choose_numbers, find_frames
from fieldcodec.metrics.files import compare_files
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.sequence.group_encode import encode_frames

RESULTS = Path(__file__).parent / "results" / "warm-start"


def encode(frames: Sequence[VolumeFile], settings: fc.VolumeSettings) -> list[dict[str, Any]]:
    """What each frame of one group took."""
    start = time.perf_counter()
    volumes = encode_frames(frames, settings, labels=[str(number) for number in range(len(frames))])
    seconds = (time.perf_counter() - start) / len(frames)
    return [about(frame, volume) | {"seconds": seconds} for frame, volume in zip(frames, volumes, strict=True)]


def about(frame: VolumeFile, volume: CompressedVolume) -> dict[str, Any]:
    """Effort, bytes and quality of one frame."""
    fits = [fit for grid in volume.grids for fit in grid.fits.values()]
    qualities = [found.quality for found in compare_files(frame, volume.to_grids())]
    return {
        "steps": sum(fit.steps for fit in fits),
        "samples": sum(fit.samples for fit in fits),
        "seconds_fitting": sum(fit.seconds for fit in fits),
        "warm": all(fit.from_earlier for fit in fits),
        "bytes": sum(grid.num_bytes for grid in volume.grids),
        "quality": [None if quality is None else quality.to_json() for quality in qualities],
    }


def measure(name: str, frames: Sequence[VolumeFile], numbers: list[int], settings: fc.VolumeSettings) -> dict[str, Any]:
    """One row."""
    together = encode(frames, settings)
    alone = [encode([frame], settings)[0] for frame in frames]
    return {
        "name": name,
        "frames": numbers,
        "commit": commit(),
        "machine": machine("cpu"),
        "settings": settings.to_json(),
        "active_voxels": [sum(grid.topology.num_active_voxels for grid in grids_of(frame)) for frame in frames],
        "together": together,
        "alone": alone,
        "ratios": {key: total(alone, key) / total(together, key) for key in ("steps", "seconds_fitting", "bytes")},
    }


def grids_of(frame: VolumeFile) -> list[SparseGrid]:
    return [grid for grid in frame if isinstance(grid, SparseGrid)]


def total(rows: list[dict[str, Any]], key: str) -> float:
    return float(sum(row[key] for row in rows))


def chosen_grids(path: Path, only: str | None) -> VolumeFile:
    """The grids of a frame's file, or one of them."""
    volumes = fc.read_volumes(path)
    return volumes if only is None else VolumeFile(tuple(grid for grid in volumes if grid.name == only))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="of the row")
    parser.add_argument("pattern", help="of the frames' files")
    parser.add_argument("--frames", help="only these, such as 8-23")
    parser.add_argument("--only-grid", help="name of a grid")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    chosen = parser.parse_args()
    found = find_frames([chosen.pattern])
    numbers = choose_numbers([frame.number for frame in found], chosen.frames) if chosen.frames else None
    found = [frame for frame in found if numbers is None or frame.number in set(numbers)]
    frames = [chosen_grids(Path(frame.path), chosen.only_grid) for frame in found]
    settings = fc.VolumeSettings.preset("network")
    result = measure(chosen.name, frames, [frame.number for frame in found], settings)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"{chosen.name}.json").write_text(to_json_text(result) + "\n", encoding="utf-8")
    print(chosen.name, result["ratios"])
    for kind in ("together", "alone"):
        print(" ", kind, [(row["steps"], row["bytes"], round(row["seconds_fitting"], 1)) for row in result[kind]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
