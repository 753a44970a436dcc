"""Coarse levels of compressed files, with and without one stored: seconds, memory, bytes and errors.

    python benchmarks/levels.py --data FOLDER [--only smoke,bunny] [--out benchmarks/results]

Each volume is encoded without a stored level, with level 1 and with level 2. Of each file full resolution and levels 1
to 3 are decoded, each in a process of its own on one thread: the median of three decodes from the file on disk, on the
clock and in seconds of the processor, which hold on a busy machine, and the peak of resident memory in the first of
them over what the process had before (loading compiled kernels included). Errors are root mean squares over the active
voxels of the coarsened original, as a part of the range of its values, or of level sets in its voxels.
Leaves OUT/levels/NAME.json.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rows import chosen_rows
from run import ROOT, ROWS

import fieldcodec as fc
from fieldcodec.bench.effort import measured
from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.threads import VARIABLE

FOLDER = "levels"
DEFAULT = ("smoke", "cloud", "iguana", "bunny")
STORED = (0, 1, 2)
LEVELS = (0, 1, 2, 3)  # 0: full resolution
_ROUNDS = 3
_ONE_THREAD = {VARIABLE: "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def measure_row(grid: SparseGrid, settings: fc.VolumeSettings, folder: Path) -> list[dict[str, Any]]:
    """What is said of each file: without a stored level, with level 1, with level 2."""
    paths: list[Path] = []
    files: list[dict[str, Any]] = []
    for stored in STORED:
        start = time.perf_counter()
        compressed = fc.encode_volume(grid, replace(settings, stored_level=stored), device="cpu")
        seconds = time.perf_counter() - start
        paths.append(folder / f"{stored}.fcodec")
        compressed.save(paths[-1])
        level_bytes = len(compressed.grids[0].sections.get("stored level", b""))
        files.append({
            "stored_level": stored, "bytes": paths[-1].stat().st_size, "level_bytes": level_bytes,
            "no_level": compressed.grids[0].no_level, "seconds_encode": seconds, "decodes": {},
            "errors": _errors(grid, compressed, stored) if level_bytes else None,
        })  # fmt: skip
    for level in LEVELS:
        for path, file in zip(paths, files, strict=True):
            if file["level_bytes"] or not file["stored_level"]:
                file["decodes"][str(level)] = _decoded_elsewhere(path, level)
    return files


def _errors(grid: SparseGrid, compressed: fc.CompressedVolume, level: int) -> dict[str, float]:
    """Of the stored level, to what the whole file and the original give; beside them, what the file's is off."""
    stored, whole = compressed.to_grids(level=level)[0], compressed.to_grids()[0]
    assert isinstance(stored, SparseGrid)
    assert isinstance(whole, SparseGrid)
    original, decoded = coarsened(grid, level), coarsened(whole, level)
    voxels = original.topology.active_voxels().astype(np.float64)
    asked = {"space": "index", "interpolation": "nearest"}
    found, of_file, true = (each.sample(voxels, **asked).astype(np.float64) for each in (stored, decoded, original))
    unit = float(original.transform.voxel_size.mean()) if grid.is_level_set else float(np.ptp(true))

    def rmse(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(one - other)))) / unit

    return {
        "stored_to_decoded": rmse(found, of_file), "stored_to_original": rmse(found, true),
        "decoded_to_original": rmse(of_file, true), "voxels": len(voxels),
    }  # fmt: skip


def _decoded_elsewhere(path: Path, level: int) -> dict[str, Any]:
    """What `decode_here` says, in a process of its own on one thread."""
    command = [sys.executable, __file__, "--decode", str(path), "--level", str(level)]
    done = subprocess.run(command, env=os.environ | _ONE_THREAD, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def decode_here(path: Path, level: int) -> dict[str, Any]:
    """Seconds, on the clock and of the processor, and memory of decoding a file at a level."""
    _, before = measured(lambda _: None)
    on_clock, of_processor, peaks = [], [], []
    for _ in range(_ROUNDS):
        start = time.process_time()
        _, effort = measured(lambda _: fc.open(path).to_grids(level=level, device="cpu"))
        of_processor.append(time.process_time() - start)
        on_clock.append(effort.seconds)
        peaks.append(effort.peak_bytes)
    return {
        "seconds": statistics.median(on_clock), "rounds": on_clock,
        "processor_seconds": statistics.median(of_processor), "processor_rounds": of_processor,
        "resident_bytes_before": before.peak_bytes, "peak_bytes": peaks[0],
    }  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FIELDCODEC_DATA"), help="folder of real volumes")
    parser.add_argument("--only", help=f"volumes, of {', '.join(ROWS)}; {', '.join(DEFAULT)} unless given")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where to put the files")
    parser.add_argument("--decode", type=Path, help="only this compressed file, in this process")
    parser.add_argument("--level", type=int, default=0, help="of --decode")
    options = parser.parse_args()
    options.only = chosen_rows(parser, options.only, ROWS, DEFAULT)
    if options.data is None and options.decode is None:
        parser.error("--data names no folder of real volumes")
    return options


def main() -> int:
    options = parse()
    if options.decode is not None:
        print(json.dumps(decode_here(options.decode, options.level)))
        return 0
    folder = options.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        row = ROWS[name]
        print(f"{name} ...", flush=True)
        grid, settings = row.first_grid(options.data), row.settings
        with TemporaryDirectory() as files:
            measures = measure_row(grid, settings, Path(files))
        about = {
            "name": name, "what": row.what, "source": row.source, "settings": settings.to_json(),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"), "machine": machine("cpu"),
            "commit": commit(), "decode_threads": 1, "is_level_set": grid.is_level_set,
            "load": os.getloadavg()[0], "files": measures,
        }  # fmt: skip
        path = folder / f"{name}.json"
        path.write_text(to_json_text(about) + "\n", encoding="utf-8")
        for file in measures:
            times = ", ".join(f"{each['seconds']:.3f}" for each in file["decodes"].values())
            said = file["no_level"] or f"full resolution and levels in s: {times}"
            print(f"  level {file['stored_level']}: {file['bytes']:,} bytes, {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
