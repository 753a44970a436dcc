"""Measure collections of radiance fields, alone and among shapes; one JSON file per row.

    python benchmarks/radiance_collections.py --data FOLDER --grids FOLDER [--only four,shared] [--steps 1000]

Scenes are those of benchmarks/radiance.py. FOLDER of grids: NAME.vdb of each scene as `fieldcodec radiance` writes it;
one that is missing is fitted, and kept there. Every row takes samples of the grids, trains, writes the file, opens it,
and compares views of each object with held-out pictures, the grid's own views beside them; a PNG for each object has
truth, view and four times the error. Row `shared` puts shapes and
scenes in one file, rows `apart-...` in two that are together as large.
"""

import argparse
import datetime
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from radiance import ROWS as SCENE_ROWS
from radiance import read_scene
from rows import chosen_rows

import fieldcodec as fc
from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.cli.radiance_views import save_beside
from fieldcodec.collection.asset import AnyAsset, Asset
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.encode import encode_collection
from fieldcodec.collection.inputs import find_inputs
from fieldcodec.collection.measure import measure_item
from fieldcodec.collection.prepare import prepare
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.radiance_truth import asset_of_radiance
from fieldcodec.collection.scene_asset import rays_of_views, with_pictures
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.io.posed import PosedScene
from fieldcodec.io.volumes import write_volumes
from fieldcodec.metrics.images import mean_of
from fieldcodec.radiance.field import RadianceField
from fieldcodec.radiance.fit import fit_scene
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.measure import measure_views
from fieldcodec.radiance.volume import from_volumes, to_volumes

RESULTS = Path(__file__).parent / "results" / "radiance-collections"
SCENES = ("lego", "duck", "horse", "rose")
SHAPES = ("elephant", "piggybank", "hammer")


@dataclass(frozen=True)
class Row:
    """A collection to measure."""

    scenes: tuple[str, ...] = SCENES
    shapes: tuple[str, ...] = ()
    settings: CollectionSettings = field(default_factory=CollectionSettings)


_BASE = CollectionSettings(
    lods=6, latent=32, base_width=256, width=64, minutes=10, points_per_object=8192, objects_per_step=1,
    surface_points=100_000,
)  # fmt: skip
_SMALL = replace(_BASE, base_width=128, width=48)
ROWS = {
    "four-small": Row(settings=_SMALL),
    "four": Row(settings=_BASE),
    "four-large": Row(settings=replace(_BASE, latent=64, base_width=768, width=128)),
    "four-details-5": Row(settings=replace(_BASE, detail_level=5)),
    "four-longer": Row(settings=replace(_BASE, detail_level=5, minutes=12)),
    "four-details": Row(settings=replace(_BASE, detail_level=6)),
    "four-huge": Row(settings=replace(_BASE, latent=64, base_width=512, width=96, detail_level=6)),
    "lego": Row(("lego",), settings=_BASE),
    "lego-pictures": Row(("lego",), settings=replace(_BASE, picture_share=0.5, points_per_object=4096)),
    "shared": Row(("lego", "rose"), SHAPES, _BASE),
    "apart-scenes": Row(("lego", "rose"), settings=replace(_BASE, base_width=160, width=56)),
    "apart-shapes": Row((), SHAPES, replace(_BASE, base_width=128, width=40)),
}


def factor_of(scene: str, factor: int) -> int:
    """How many times smaller pictures of a scene are made."""
    return SCENE_ROWS[scene].factor * factor


def grid_of(scene: PosedScene, path: Path, factor: int) -> RadianceGrid:
    """The grid of a scene, fitted where there is no such file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volumes(path, to_volumes(fit_scene(scene, factor=factor).grid))
    return from_volumes(fc.read_volumes(path))


def views_of(
    field: RadianceField, scene: PosedScene, factor: int, most: int, picture: Path | None = None
) -> dict[str, Any]:
    """Means over held-out views, some of which are drawn beside the truth."""
    start = time.perf_counter()
    found = list(measure_views(field, scene, factor=factor, most=most))
    seconds = (time.perf_counter() - start) / len(found)
    if picture is not None:
        save_beside(picture, found)
    return {**vars(mean_of([view.quality for view in found])), "views": len(found), "seconds_per_view": seconds}


def assets_of(
    row: Row, scenes: dict[str, PosedScene], grids: dict[str, RadianceGrid], options: argparse.Namespace
) -> list[AnyAsset]:
    """Shapes, then scenes."""
    shapes = find_inputs([options.data / "collection_everyday"]) if row.shapes else {}
    assets = prepare([shapes[name].path for name in row.shapes], row.settings) if row.shapes else []
    for name in row.scenes:
        settings = replace(row.settings, scene_factor=factor_of(name, options.factor))
        rays = rays_of_views(scenes[name].of("train"))
        asset = asset_of_radiance(grids[name], name, settings, rays=rays, source_bytes=scenes[name].source_bytes)
        assets.append(with_pictures(asset, scenes[name], settings) if settings.picture_share else asset)
    return assets


def measure(name: str, row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    scenes = {scene: read_scene(options.data / SCENE_ROWS[scene].folder, SCENE_ROWS[scene]) for scene in row.scenes}
    grids = {scene: grid_of(scenes[scene], options.grids / f"{scene}.vdb", factor_of(scene, 1)) for scene in row.scenes}
    assets = assets_of(row, scenes, grids, options)
    start = time.perf_counter()
    made = encode_collection(assets, row.settings, device=options.device, threads=options.threads)
    seconds = time.perf_counter() - start
    collection = CompressedCollection.from_bytes(made.to_bytes())
    items = [_compared(name, collection, asset, scenes, grids, options) for asset in assets]
    return {
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(options.device) | {"threads": options.threads or os.cpu_count()},
        "load": os.getloadavg()[0],
        "settings": row.settings.to_json(),
        "spec": made.spec.to_json(),
        "parameters": made.spec.num_parameters,
        "steps": made.listing.settings["trained_steps"],
        "seconds_to_encode": seconds,
        "bytes": len(made.to_bytes()),
        "sections": made.num_bytes,
        "items": items,
    }


def _compared(
    name: str, collection: CompressedCollection, asset: AnyAsset, scenes: dict[str, PosedScene],
    grids: dict[str, RadianceGrid], options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    item = collection[asset.name]
    facts = {"name": asset.name, "kind": asset.kind, "cells": item.octree.num_cells[-1]}
    if isinstance(item, RadianceItem):
        scene, factor = scenes[asset.name], factor_of(asset.name, options.factor)
        grid = views_of(grids[asset.name], scene, factor, options.views)
        picture = options.output / f"{name}-{asset.name}.png"
        return facts | {"factor": factor, "views": views_of(item, scene, factor, options.views, picture), "grid": grid}
    assert isinstance(asset, Asset)
    return facts | {"quality": measure_item(item, asset).to_json()}


def _shown(items: Sequence[dict[str, Any]]) -> str:
    parts = []
    for item in items:
        if "views" in item:
            parts.append(f"{item['name']} {item['views']['psnr']:.2f} dB (grid {item['grid']['psnr']:.2f})")
        else:
            parts.append(f"{item['name']} gIoU {item['quality']['iou'] or np.nan:.1f} %")
    return ", ".join(parts)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--grids", type=Path, required=True)
    parser.add_argument("--only", help=f"rows, of {', '.join(ROWS)}; all unless given")
    parser.add_argument("--minutes", type=float, help="of training, instead of the row's own")
    parser.add_argument("--steps", type=int, help="of training for each object, instead of minutes")
    parser.add_argument("--factor", type=int, default=2, help="how many times smaller still pictures are made")
    parser.add_argument("--views", type=int, default=8, help="held-out views of each scene that are compared")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="that train on a CPU; one per processor where not given")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.only = chosen_rows(parser, options.only, ROWS)
    return options


def main() -> int:
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    for name in options.only:
        row = ROWS[name]
        if options.minutes is not None:
            row = replace(row, settings=replace(row.settings, minutes=options.minutes))
        if options.steps is not None:
            total = options.steps * (len(row.scenes) + len(row.shapes))
            row = replace(row, settings=replace(row.settings, steps=total, minutes=0.0))
        result = measure(name, row, options)
        suffix = "" if options.device == "cpu" else f"-{options.device}"
        (options.output / f"{name}{suffix}.json").write_text(to_json_text(result) + "\n", encoding="utf-8")
        seconds = round(result["seconds_to_encode"])
        print(
            name, result["bytes"], "bytes", result["steps"], "steps", seconds, "s", _shown(result["items"]), flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
