"""What the first run on a machine costs: encoding and decoding with no compiled kernels on disk, and again with them.

    python benchmarks/first_run.py [--rounds 3] [--out benchmarks/results]

The volume is the procedural sphere. Each command runs in a process of its own, whose kernels are kept in a folder that
is empty at first; on the clock and in seconds of the processor, helpers included. Leaves OUT/first-run/first-run.json.
"""

import argparse
import datetime
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from run import ROOT

from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text

FOLDER = "first-run"


def measure_round(folder: Path) -> dict[str, dict[str, float]]:
    """Seconds of each command, cold and warm, with kernels in folders of their own."""
    volume, file, back = (folder / name for name in ("sphere.vdb", "sphere.fcodec", "back.vdb"))
    _seconds(folder / "others", "generate", "sphere", str(volume))
    encode = ("encode", str(volume), "--output", str(file), "--overwrite")
    decode = ("decode", str(file), "--output", str(back), "--overwrite")
    found: dict[str, dict[str, float]] = {}
    for name, command in {"encode": encode, "decode": decode}.items():
        for state in ("cold", "warm"):
            found[f"{name}-{state}"] = _seconds(folder / f"kernels-{name}", *command)
    return found


def _seconds(kernels: Path, *command: str) -> dict[str, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fieldcodec", *command], env=os.environ | {"NUMBA_CACHE_DIR": str(kernels)},
        check=True, capture_output=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - start, "processor_seconds": used}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where to put the file")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with TemporaryDirectory() as folder:
            rounds.append(measure_round(Path(folder)))
        print(rounds[-1], flush=True)
    medians = {
        name: {kind: statistics.median(each[name][kind] for each in rounds) for kind in rounds[0][name]}
        for name in rounds[0]
    }
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"), "commit": commit(),
        "machine": machine("cpu"), "load": os.getloadavg()[0], "medians": medians, "rounds": rounds,
    }  # fmt: skip
    folder = options.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "first-run.json").write_text(to_json_text(result) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
