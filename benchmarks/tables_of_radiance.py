"""The tables of radiance fields: scenes by themselves, and collections of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tabling import Result, count, machines, markdown, size

SCENES = ("lego", "duck", "horse", "rose")
COLLECTIONS = (
    "four-small", "four", "four-large", "four-details-5", "four-longer", "four-details", "four-huge", "lego",
    "lego-pictures", "shared", "apart-scenes", "apart-shapes",
)  # fmt: skip


def radiance(folder: Path, collections: Path) -> str:
    """The tables of `radiance.py` and of `radiance_collections.py`, of what is there."""
    scenes, rows = _load(folder, SCENES), _load(collections, COLLECTIONS)
    if not scenes:
        return "No scenes are recorded yet; `python benchmarks/radiance.py` makes them."
    heads = (
        ["scene", "pictures", "preset", "cells", "steps", "fit, on the clock / of the processors", "load before"],
        ["scene", "stored as", "bytes", "PSNR dB", "SSIM", "FLIP", "encode"],
        ["collection", "objects", "parameters", "bytes", "an object", "mean PSNR, grids' own", "SSIM", "objects",
         "steps", "training"],
    )  # fmt: skip
    parts = [
        markdown(heads[0], [_fit(result) for result in scenes]),
        "Held-out views:",
        markdown(heads[1], [row for result in scenes for row in _stored(result)]),
    ]
    if rows:
        parts += ["Collections:", markdown(heads[2], [_collection(result) for result in rows])]
    return "\n\n".join([*parts, "\n".join(machines([*scenes, *rows]))])


def _load(folder: Path, names: Sequence[str]) -> list[Result]:
    paths = [folder / f"{name}{suffix}.json" for name in names for suffix in ("", "-cuda")]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def _fit(result: Result) -> list[str]:
    grid, factor = result["grid"], result["factor"]
    smaller = f", made {factor} times smaller" if factor > 1 else ""
    return [
        result["name"], result["pictures"].partition(": ")[2] + smaller,
        result["preset"], count(grid["cells"]), count(grid["steps"]),
        f"{grid['seconds']:.0f} / {grid['processor_seconds']:.0f} s", f"{result['load']:.1f}",
    ]  # fmt: skip


def _stored(result: Result) -> list[list[str]]:
    kinds = [("the grid, `.vdb`", result["grid"], "-")]
    for coded in sorted(result["codec"], key=lambda coded: coded["asked_psnr"]):
        kinds.append((f"`.fcodec`, {coded['asked_psnr']:g} dB", coded, f"{coded['encode_seconds']:.0f} s"))
    return [[result["name"], name, size(found["bytes"]), *_views(found), seconds] for name, found, seconds in kinds]


def _views(found: dict[str, Any]) -> list[str]:
    flip = found["flip"]
    return [f"{found['psnr']:.2f}", f"{found['ssim']:.4f}", "-" if flip is None else f"{flip:.4f}"]


def _collection(result: Result) -> list[str]:
    items = result["items"]
    scenes = [item for item in items if "views" in item]
    each = [f"{item['name']} {item['views']['psnr']:.2f} dB" for item in scenes]
    each += [f"{item['name']} gIoU {item['quality']['iou']:.1f}" for item in items if "quality" in item]
    psnr, own, ssim = (
        fmean(item[kind][key] for item in scenes) if scenes else None
        for kind, key in (("views", "psnr"), ("grid", "psnr"), ("views", "ssim"))
    )
    return [
        result["name"], str(len(items)), count(result["parameters"]), size(result["bytes"]),
        size(result["bytes"] / len(items)), "-" if psnr is None else f"{psnr:.2f} ({own:.2f})",
        "-" if ssim is None else f"{ssim:.3f}", ", ".join(each), count(result["steps"]),
        f"{result['seconds_to_encode']:.0f} s",
    ]  # fmt: skip
