"""Bytes of every codec at equal quality, read off the curves that `rate_distortion.py` has measured.

    python benchmarks/bars.py [--results benchmarks/results/rate-distortion] [--only smoke,cloud]

Prints a table in Markdown for each input.
"""

import argparse
import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "rate-distortion"
WITHOUT_TREE = " (values only)"
WITH_TREE = " + tree"

Result = dict[str, Any]
Curve = list[tuple[int, float]]
"""Bytes and PSNR in dB, both rising."""


def load(folder: Path = RESULTS, only: Sequence[str] = ()) -> list[Result]:
    """The results of a folder, in the order of their names; only the inputs named, where any are."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [result for result in results if not only or result["name"] in only]


def curves(result: Result) -> dict[str, Curve]:
    """Label -> the best points of a codec; codecs without a tree of their own are there with and without it.

    A point is kept where no other of the same codec is at most as large and at least as good. Lossless points have an
    infinite PSNR.
    """
    found: dict[str, Curve] = {}
    for point in result["points"]:
        tree = WITH_TREE if point["mask_bytes"] else "" if point["mask_bytes_included"] else WITHOUT_TREE
        psnr = math.inf if point["psnr"] is None else point["psnr"]
        found.setdefault(point["codec"] + tree, []).append((point["bytes"], psnr))
    return {label: _front(points) for label, points in found.items()}


def _front(points: Curve) -> Curve:
    front: Curve = []
    for size, psnr in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or psnr > front[-1][1]:
            front.append((size, psnr))
    return front


def bytes_at(curve: Curve, psnr: float) -> float | None:
    """Bytes for a PSNR in dB, interpolated in log(bytes) between the neighbouring points of a curve.

    The smallest point where all are better; None where none is good enough.
    """
    if psnr <= curve[0][1]:
        return float(curve[0][0])
    for (size, low), (next_size, high) in pairwise(curve):
        if psnr <= high:
            share = 1.0 if math.isinf(high) else (psnr - low) / (high - low)
            return size * (next_size / size) ** share
    return None


def table(result: Result) -> str:
    """Bytes of all codecs at the PSNRs of a result, in Markdown."""
    targets = result["targets_psnr"]
    rows = [["codec", *(f"{target:g} dB" for target in targets)], ["---"] * (len(targets) + 1)]
    for label, curve in curves(result).items():
        sizes = [bytes_at(curve, target) for target in targets]
        rows.append([label, *("-" if size is None else f"{size:,.0f}" for size in sizes)])
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    grid = result["grid"]
    head = f"{result['name']}: {grid['active_voxels']:,} active voxels, tree {grid['bytes_tree']:,} bytes"
    return "\n".join([head, "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--only", default="", help="inputs, e.g. smoke,cloud")
    options = parser.parse_args()
    only = [name.strip() for name in options.only.split(",") if name.strip()]
    print("\n\n".join(table(result) for result in load(options.results, only)))


if __name__ == "__main__":
    main()
