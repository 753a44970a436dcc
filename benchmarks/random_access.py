"""Random access as in the paper's Table 6: a million random points in the bounding box of each volume.

    python benchmarks/random_access.py --data FOLDER [--only smoke,bunny] [--points 1000000] [--nanovdb INCLUDE]

Measured in milliseconds, points in index space, on one thread and on two: nearest, trilinear and tricubic samples of
the decoded grid; the same from the compressed file, cold (nothing decoded but the tree) and warm (leaves kept);
trilinear in world space, warm; and the continuous field. Of files that hold networks also the bare network.
Where OpenVDB's and NanoVDB's headers are (Debian: libopenvdb-dev libnanovdb-dev g++), their samplers in C++ are timed
on the same points of the decoded grid; `--nanovdb` names the folder of headers where it is not a usual one.
All take turns, and the best of several rounds counts, as other work may disturb any one of them.
Leaves OUT/random-access/NAME.json.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rows import chosen_rows
from run import ROOT, ROWS

import fieldcodec as fc
from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.threads import VARIABLE, available_threads
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.fields import FieldEvaluator
from fieldcodec.volume.network_chain import expert_field
from fieldcodec.volume.random_access import GridAccess

FOLDER = "random-access"
DEFAULT = ("smoke", "sphere", "cloud", "bunny", "sphere-network")
INTERPOLATIONS = ("nearest", "trilinear", "tricubic")
_SOURCE = Path(__file__).with_name("nanovdb_samplers.cc")
_ROUNDS, _RUNS = 3, 2  # rounds in which all take turns, and runs of each in a round
THREADS = (1, 2)


def measure_row(grid: SparseGrid, compressed: CompressedVolume, count: int, nanovdb: str | None) -> dict[str, Any]:
    """Milliseconds of everything on one volume, by number of threads."""
    decoded = compressed.to_grids()[0]
    assert isinstance(decoded, SparseGrid)
    bounds = decoded.topology.active_bounds
    assert bounds is not None
    points = np.random.default_rng(0).uniform(bounds[0], bounds[1] + 1, (count, 3))
    access = compressed.access()
    times: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        samplers = _samplers_in_c(Path(folder), decoded, points, nanovdb)
        for threads in [threads for threads in THREADS if threads <= available_threads()]:
            os.environ[VARIABLE] = str(threads)
            best = times[str(threads)] = {}
            for _ in range(_ROUNDS):
                for name, taken in (samplers(threads) | _ours(compressed, decoded, access, points)).items():
                    best[name] = min(taken, best.get(name, np.inf))
            del os.environ[VARIABLE]
    return {
        "points": count, "share_active": float(access.active_at(points, space="index").mean()),
        "leaves": decoded.topology.num_leaves, "active_voxels": decoded.topology.num_active_voxels,
        "compressed_bytes": len(compressed.to_bytes()), "values": str(compressed.grids[0].lattice or "network"),
        "load": os.getloadavg()[0], "milliseconds": times,
    }  # fmt: skip


def _ours(
    compressed: CompressedVolume, decoded: SparseGrid, access: GridAccess, points: np.ndarray
) -> dict[str, float]:
    """Milliseconds of one round; `access` is kept from round to round."""
    times: dict[str, float] = {}
    for interpolation in INTERPOLATIONS:
        asked = {"space": "index", "interpolation": interpolation}
        decoded.sample(points[:1], **asked)  # compiles, and prepares the tree
        times[f"decoded-{interpolation}"] = _best(partial(decoded.sample, points, **asked))
        start = time.perf_counter()
        fresh = compressed.access()
        times["open"] = 1000 * (time.perf_counter() - start)
        times[f"cold-{interpolation}"] = _once(partial(fresh.sample, points, **asked))
        access.sample(points, **asked)
        times[f"warm-{interpolation}"] = _best(partial(access.sample, points, **asked))
    world = decoded.transform.to_world(points)
    times["warm-trilinear-world"] = _best(partial(access.sample, world))
    times["field"] = _best(partial(access.sample, points, space="index", interpolation="field"))
    network = expert_field(compressed.grids[0], "values")
    if network is not None:
        times["network"] = _once(partial(FieldEvaluator(network, torch.device("cpu")).values, points))
    return times


def _once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def _best(work: Callable[[], object]) -> float:
    return min(_once(work) for _ in range(_RUNS))


def _samplers_in_c(
    folder: Path, grid: SparseGrid, points: np.ndarray, include: str | None
) -> Callable[[int], dict[str, float]]:
    """What times OpenVDB's and NanoVDB's samplers on so many threads; nothing where they cannot be built."""
    program = folder / "samplers"
    flags = ["-O3", "-std=c++17", "-w", *([f"-I{include}"] if include else [])]
    libraries = ["-lopenvdb", "-ltbb", "-lImath-3_1", "-pthread"]
    try:
        subprocess.run(["g++", *flags, _SOURCE, "-o", program, *libraries], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        print("  OpenVDB's and NanoVDB's samplers are left out: their headers or g++ are missing", flush=True)
        return lambda _: {}
    volume, places = folder / "grid.vdb", folder / "points"
    fc.write_volumes(volume, fc.VolumeFile((replace(grid, save_as_half=False),)))
    points.tofile(places)

    def measure(threads: int) -> dict[str, float]:
        command = [str(program), str(volume), str(places), str(threads), "", str(_RUNS)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return {name: float(taken) for name, taken in (line.split() for line in lines)}

    return measure


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FIELDCODEC_DATA"), help="folder of real volumes")
    parser.add_argument("--only", help=f"volumes, of {', '.join(ROWS)}; {', '.join(DEFAULT)} unless given")
    parser.add_argument("--points", type=int, default=1_000_000, help="how many")
    parser.add_argument("--nanovdb", help="folder of NanoVDB's headers")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where to put the files")
    options = parser.parse_args()
    options.only = chosen_rows(parser, options.only, ROWS, DEFAULT)
    if options.data is None:
        parser.error("--data names no folder of real volumes")
    return options


def main() -> int:
    options = parse()
    folder = options.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        row = ROWS[name]
        print(f"{name} ...", flush=True)
        grid = row.first_grid(options.data)
        result = measure_row(grid, fc.encode_volume(grid, row.settings), options.points, options.nanovdb)
        about = {"name": name, "what": row.what, "source": row.source, "machine": machine("cpu"), "commit": commit()}
        path = folder / f"{name}.json"
        path.write_text(to_json_text(about | result) + "\n", encoding="utf-8")
        for threads, taken in result["milliseconds"].items():
            for what, milliseconds in taken.items():
                print(f"  {what:20} {milliseconds:10.1f} ms on {threads}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
