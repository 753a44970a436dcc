"""The tables of sequences, and of what networks gain by starting from those of the frame before."""

import json
import statistics
from pathlib import Path
from typing import Any

from tabling import Result, machines, markdown, percent, size


def sequences(folder: Path) -> str:
    """The tables of sequences, one of whole files and one of their grids."""
    if not any(folder.glob("*.json")):
        return "No sequences are recorded yet; `python benchmarks/sequences.py` makes them."
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    files, grids = [], []
    for result in results:
        whole, alone = result["sequence"], result["alone"]
        blosc = sum(grid["bytes_vdb16_blosc"] or 0 for grid in whole["grids"])
        files.append([
            result["name"], str(result["frames"]), size(blosc), size(result["zstd"]["bytes"]), size(alone["bytes"]),
            f"**{size(whole['bytes'])}**", f"{blosc / whole['bytes']:.0f}", f"{alone['bytes'] / whole['bytes']:.2f}",
            f"{whole['seconds_per_frame']:.1f} / {alone['seconds_per_frame']:.1f} s",
            f"{min(result['seconds_to_frame'].values()):.2f} to {max(result['seconds_to_frame'].values()):.2f} s",
        ])  # fmt: skip
        for grid, other in zip(whole["grids"], alone["grids"], strict=True):
            measures = [f"{_mean(grid, key)} / {_mean(other, key)}" for key in ("rmse", "iou", "mcd", "flicker")]
            grids.append([result["name"], grid["name"], size(grid["bytes"]), size(other["bytes"]), *measures])
    heads = (
        ["sequence", "frames", "16-bit + Blosc", "zstd -19", "frame by frame", "ours", "ratio to Blosc",
         "to frame by frame", "encode a frame", "to any frame, cold"],
        ["sequence", "grid", "bytes", "frame by frame", "RMSE", "IoU", "mCD", "flicker"],
    )  # fmt: skip
    note = "Pairs are of the sequence and of frame by frame; means over the frames."
    tables = [markdown(heads[0], files), "", note, "", markdown(heads[1], grids)]
    return "\n".join([*tables, "", "\n".join(machines(results))])


def warm_starts(folder: Path) -> str:
    """The table of `warm_start.py`: frames in one group, whose networks start warm, beside each frame alone."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    if not results:
        return "Nothing is recorded yet; `python benchmarks/warm_start.py` makes it."
    head = [
        "sequence", "frames", "steps of the first frame", "of a later frame", "of one alone", "fewer steps",
        "less time to fit", "bytes, together / alone", "error, together / alone",
    ]  # fmt: skip
    return "\n\n".join([markdown(head, [_warm_start(result) for result in results]), "\n".join(machines(results))])


def _warm_start(result: Result) -> list[str]:
    """Ratios are of the frames after the first: that one starts cold in both."""
    together, alone = result["together"][1:], result["alone"][1:]
    steps, seconds = (
        sum(row[key] for row in alone) / sum(row[key] for row in together) for key in ("steps", "seconds_fitting")
    )
    total = [sum(row["bytes"] for row in result[kind]) for kind in ("together", "alone")]
    return [
        result["name"], f"{result['frames'][0]} to {result['frames'][-1]}", str(result["together"][0]["steps"]),
        f"{statistics.mean(row['steps'] for row in together):.0f}",
        f"{statistics.mean(row['steps'] for row in alone):.0f}", f"{steps:.2f} times", f"{seconds:.2f} times",
        " / ".join(map(size, total)), " / ".join(_error(result[kind]) for kind in ("together", "alone")),
    ]  # fmt: skip


def _error(rows: list[dict[str, Any]]) -> str:
    """Mean over frames and grids: 1 - IoU of level sets, else RMSE as a part of the range."""
    found = [quality for row in rows for quality in row["quality"] if quality is not None]
    overlaps = [quality["iou"] for quality in found if quality["iou"] is not None]
    if overlaps:
        return f"IoU {statistics.mean(overlaps):.4f}"
    return f"RMSE {percent(statistics.mean(quality['rmse_relative'] for quality in found))}"


def _mean(grid: dict[str, Any], key: str) -> str:
    return "-" if not grid.get(key) else f"{grid[key]['mean']:.4g}"
