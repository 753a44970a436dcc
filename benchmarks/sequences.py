"""Measure the codec on sequences, beside files of single frames and general compressors; one JSON file per row.

    python benchmarks/sequences.py NAME 'frames/smoke_%04d.vdb' [--frames 0-59] [--alone=OPTIONS]
        [-- options of fieldcodec encode]

Three files are made of the frames: one in groups of 16; one in groups of 1, which is every frame by itself; and an
archive of the frames' own files by zstd, level 19, with a window as long as all of them. What frames take with
16-bit values under Blosc is in the reports of the first two. Times to a frame are those of fresh processes.
`--alone` adds options for the second file, such as a stricter demand that makes both equally good.
"""

import argparse
import datetime
import json
import shlex
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zstandard

from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.io.frame_paths import choose_numbers, find_frames

RESULTS = Path(__file__).parent / "results" / "sequences"
_FRAME_RUNS = 3
_READ_FRAME = """
import sys, time
import fieldcodec as fc
fc.open  # the package is loaded: a program that shows frames has that behind it
start = time.perf_counter()
fc.open_sequence(sys.argv[1]).frame(int(sys.argv[2])).to_grids()
print(time.perf_counter() - start)
"""


def encode(pattern: str, output: Path, group_size: int, options: list[str]) -> dict[str, Any]:
    """The report of `fieldcodec encode`."""
    command = ["encode", pattern, "-o", str(output), "--json", "--overwrite", "--group-size", str(group_size), *options]
    done = subprocess.run([sys.executable, "-m", "fieldcodec", *command], stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    names = {"inputs": [Path(name).name for name in report["inputs"]], "output": output.name}
    return report | names  # folders of a machine are nobody's business


def zstd_bytes(paths: list[Path]) -> tuple[int, float]:
    """Bytes of an archive of files, and seconds."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "frames.tar"
        with tarfile.open(archive, "w") as tar:
            for path in paths:
                tar.add(path, path.name)
        size = archive.stat().st_size
        window = min(max(size.bit_length(), 20), zstandard.WINDOWLOG_MAX)
        parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=window, enable_ldm=True)
        with archive.open("rb") as source, (Path(folder) / "frames.tar.zst").open("wb") as target:
            zstandard.ZstdCompressor(compression_params=parameters).copy_stream(source, target, size=size)
        return (Path(folder) / "frames.tar.zst").stat().st_size, time.perf_counter() - start


def seconds_to_frames(path: Path, numbers: list[int]) -> dict[str, float]:
    """Seconds to a frame of a file, cold: the median of a few processes that do nothing else."""
    seconds = {}
    for number in numbers:
        runs = []
        for _ in range(_FRAME_RUNS):
            command = [sys.executable, "-c", _READ_FRAME, str(path), str(number)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(float(done.stdout))
        seconds[str(number)] = statistics.median(runs)
    return seconds


def measure(
    name: str, pattern: str, frames: str | None, options: list[str], alone_options: list[str]
) -> dict[str, Any]:
    """One row; `alone_options` are further options for the file of single frames."""
    found = find_frames([pattern])
    if frames is not None:
        chosen = set(choose_numbers([frame.number for frame in found], frames))
        found = [frame for frame in found if frame.number in chosen]
        options = ["--frames", frames, *options]
    numbers = [frame.number for frame in found]
    with TemporaryDirectory() as folder:
        together, single = Path(folder) / "together.fcodec", Path(folder) / "single.fcodec"
        sequence = encode(pattern, together, 16, options)
        alone = encode(pattern, single, 1, [*options, *alone_options])
        first_group = [numbers[0], numbers[min(15, len(numbers) - 1)]]
        cold = seconds_to_frames(together, sorted({*first_group, numbers[len(numbers) // 2], numbers[-1]}))
    archive, seconds_archive = zstd_bytes([Path(frame.path) for frame in found])
    return {
        "name": name,
        "frames": len(numbers),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine("cpu"),
        "options": options,
        "options_alone": alone_options,
        "sequence": sequence,
        "alone": alone,
        "zstd": {"bytes": archive, "seconds": seconds_archive},
        "seconds_to_frame": cold,
    }


def summary(result: dict[str, Any]) -> str:
    """A few lines for people."""
    sequence, alone = result["sequence"], result["alone"]
    blosc = sum(grid["bytes_vdb16_blosc"] or 0 for grid in sequence["grids"])
    lines = [
        f"{result['name']}: {result['frames']} frames, {sequence['bytes']:,} bytes; 16-bit + Blosc {blosc:,} "
        f"({blosc / sequence['bytes']:.1f}), zstd {result['zstd']['bytes']:,}, frame by frame {alone['bytes']:,} "
        f"({alone['bytes'] / sequence['bytes']:.2f}); {sequence['seconds_per_frame']:.1f} against "
        f"{alone['seconds_per_frame']:.1f} s a frame"
    ]
    for grid, other in zip(sequence["grids"], alone["grids"], strict=True):
        pairs = (("RMSE", "rmse"), ("IoU", "iou"), ("flicker", "flicker"))
        means = [f"{title} {grid[key]['mean']:.4g} ({other[key]['mean']:.4g})" for title, key in pairs if grid.get(key)]
        lines.append(f"  {grid['name']}: {grid['bytes']:,} bytes ({other['bytes']:,}), {', '.join(means)}")
    return "\n".join([*lines, f"  seconds to a frame: {result['seconds_to_frame']}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="of the row")
    parser.add_argument("pattern", help="of the frames' files")
    parser.add_argument("--frames", help="only these, such as 0-15")
    parser.add_argument("--alone", default="", help="further options of encode for the file of single frames")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("options", nargs="*", help="options of fieldcodec encode, after --")
    chosen = parser.parse_args()
    result = measure(chosen.name, chosen.pattern, chosen.frames, chosen.options, shlex.split(chosen.alone))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"{chosen.name}.json").write_text(to_json_text(result) + "\n", encoding="utf-8")
    print(summary(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
