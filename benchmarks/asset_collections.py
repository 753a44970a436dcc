"""Measure the codec on collections of objects; one JSON file per row in results/collections.

    python benchmarks/asset_collections.py --data FOLDER [--only solid,kitchen] [--minutes 15] [--device cuda]

Every row prepares its objects, trains, writes the file, opens it and compares each object of it with its mesh: gIoU, CD
beside what two samples of the true surface have (the floor), normal consistency, 3D PSNR of colours. Beside it: the
bytes of the meshes, of the same networks as 32-bit floats, and of Draco's file of each mesh at the fewest bits where
its CD is no larger than ours (14 bits where it always is). Rows `study-...` say what each choice gives or costs.
"""

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rows import chosen_rows

from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.collection.asset import Asset
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.encode import encode_collection
from fieldcodec.collection.inputs import find_inputs
from fieldcodec.collection.measure import ItemQuality, mean_of, measure_item
from fieldcodec.collection.prepare import prepare
from fieldcodec.collection.settings import PRESETS, CollectionSettings
from fieldcodec.io.mesh.read import Mesh, read_mesh
from fieldcodec.io.mesh.sample import surface_points
from fieldcodec.metrics.shapes import match_surfaces, overlap

RESULTS = Path(__file__).parent / "results" / "collections"
SOLID = ("apple", "banana", "doorknob", "elephant", "hand", "lightbulb", "mouse", "piggybank")
_DRACO_BITS = (6, 7, 8, 9, 10, 11, 12, 14)
_POINTS = 131_072


@dataclass(frozen=True)
class Row:
    """A collection to measure."""

    folder: str
    names: tuple[str, ...] = ()  # all where none
    settings: CollectionSettings = field(default_factory=CollectionSettings)
    study: str = ""  # what is other than in the first of the studies
    draco: bool = True


_BASE = CollectionSettings(minutes=15)
_LARGER = replace(_BASE, lods=6, latent=64, base_width=512, width=128)
_FLOAT = {"weight_bits": 12, "latent_bits": 12, "settle": 0.0}  # as good as 32-bit floats
_STUDY = replace(_BASE, steps=600, minutes=0.0)
_STUDIES: dict[str, dict[str, Any]] = {
    "as it is": {},
    **{f"{fusion}, LoD {lods}": {"fusion": fusion, "lods": lods} for fusion in ("cat", "sum") for lods in (3, 4, 5, 6)},
    "w_g 10": {"geometry_weight": 10.0},
    "w_g 1": {"geometry_weight": 1.0},
    "Adam, w_g 10": {"optimiser": "adam", "geometry_weight": 10.0},
    "AdamW at the source's rates, w_g 10": {
        "optimiser": "adamw", "schedule": "constant", "geometry_weight": 10.0, "learning_rate": 2e-5,
        "latent_rate": 1e-4, "warm_up": 0.0, "weight_decay": 0.01, "clip": 0.0,
    },
    "coarse to fine": {"unfolding": "coarse-to-fine"},
    "all levels always": {"level_dropout": 0.0},
    "unrounded": _FLOAT,
    "8 bits": {"weight_bits": 8},
    "5 bits": {"weight_bits": 5},
    "D 64": {"latent": 64},
    "H 128": {"base_width": 128},
}  # fmt: skip
ROWS = {
    "solid": Row("collection_everyday", SOLID, _BASE),
    "solid-unrounded": Row("collection_everyday", SOLID, replace(_BASE, **_FLOAT), draco=False),
    "solid-small": Row("collection_everyday", SOLID, replace(PRESETS["small"], minutes=15)),
    "solid-fine": Row("collection_everyday", SOLID, replace(PRESETS["fine"], minutes=15)),
    "everyday": Row("collection_everyday", (), _BASE),
    "varied": Row("collection_varied", (), _BASE),
    "thingi10k": Row("collection_thingi10k", (), _BASE),
    "kitchen": Row("coloured_kitchen", (), _BASE),
    "thingi10k-larger": Row("collection_thingi10k", (), _LARGER),
    "thingi10k-paper-size": Row("collection_thingi10k", (), replace(_LARGER, base_width=1024, width=256)),
    **{
        f"study-{number:02d}": Row("collection_everyday", SOLID, replace(_STUDY, **changed), name, draco=False)
        for number, (name, changed) in enumerate(_STUDIES.items())
    },
}


def draco(mesh: Mesh, asset: Asset, chamfer: float) -> dict[str, Any]:
    """The smallest of Draco's files of a mesh whose CD is no larger; compared as our own meshes are."""
    import DracoPy

    surface = asset.surface
    count = min(_POINTS, len(surface.points) // 2)
    result: dict[str, Any] = {}
    for bits in _DRACO_BITS:
        data = DracoPy.encode(
            mesh.vertices.astype(np.float32), mesh.triangles.astype(np.uint32), quantization_bits=bits,
            compression_level=10,
        )  # fmt: skip
        decoded = DracoPy.decode(data)
        vertices = asset.placement.to_model(np.asarray(decoded.points, np.float64))
        drawn = surface_points(Mesh(vertices, np.asarray(decoded.faces, np.int64)), count, np.random.default_rng(0))
        match = match_surfaces(surface.points[:count], drawn.points, surface.normals[:count], drawn.normals)
        result = {"bits": bits, "bytes": len(data), "chamfer": match.chamfer}
        if match.chamfer <= chamfer:
            break
    return result


def seconds_per_million(collection: CompressedCollection) -> float:
    """To evaluate distances at random points of the objects' boxes, unfolded before; one thread, median object."""
    seconds = []
    for item in map(collection.surface, collection.names):
        points = np.random.default_rng(0).uniform(-0.9, 0.9, (200_000, 3)).astype(np.float32)
        item.distance(points[:1000], space="model")
        start = time.perf_counter()
        item.distance(points, space="model")
        seconds.append(5 * (time.perf_counter() - start))
    return median(seconds)


def levels_of_detail(collection: CompressedCollection, assets: Sequence[Asset]) -> dict[str, float]:
    """Mean gIoU where only the levels down to each are evaluated."""
    found = {}
    for lod in range(2, collection.spec.lods + 1):
        overlaps = []
        for item, asset in zip(map(collection.surface, collection.names), assets, strict=True):
            points, inside = asset.volume.points[:30_000], asset.volume.distances[:30_000] < 0
            guess = item.distance(points, space="model", lod=lod) < 0
            overlaps.append(overlap(inside, guess) or 0.0)
        found[str(lod)] = mean(overlaps)
    return found


def measure(name: str, row: Row, data: Path, device: str, threads: int | None) -> dict[str, Any]:
    """One row."""
    inputs = find_inputs([data / row.folder])
    paths = [source.path for stem, source in inputs.items() if not row.names or stem in row.names]
    start = time.perf_counter()
    assets = [asset for asset in prepare(paths, row.settings) if isinstance(asset, Asset)]
    prepared = time.perf_counter() - start
    start = time.perf_counter()
    made = encode_collection(assets, row.settings, device=device, threads=threads)
    seconds = time.perf_counter() - start
    with TemporaryDirectory() as folder:
        path = Path(folder) / "things.fcodec"
        made.save(path)
        collection, size = open_collection(path), path.stat().st_size
        items_of_file = [collection.surface(name) for name in collection.names]
        qualities = [measure_item(item, asset) for item, asset in zip(items_of_file, assets, strict=True)]
        others = {
            "sections": collection.num_bytes,
            "seconds_per_million_distances": seconds_per_million(collection),
            "iou_of_levels": levels_of_detail(collection, assets),
        }
    spec = made.spec
    return {
        "name": name,
        "study": row.study,
        "folder": row.folder,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(device) | {"threads": threads or os.cpu_count()},
        "load": os.getloadavg()[0],
        "settings": row.settings.to_json(),
        "spec": spec.to_json(),
        "parameters": spec.num_parameters,
        "objects": len(assets),
        "steps": made.listing.settings["trained_steps"],
        "seconds_to_prepare": prepared,
        "seconds_to_encode": seconds,
        "bytes": size,
        "source_bytes": sum(asset.source_bytes for asset in assets),
        "bytes_as_floats": 4 * (spec.num_parameters + len(assets) * spec.latent),
        "mean": means(qualities),
        **others,
        "items": items_of(row, paths, assets, qualities),
    }


def items_of(
    row: Row, paths: Sequence[Path], assets: Sequence[Asset], qualities: Sequence[ItemQuality]
) -> list[dict[str, Any]]:
    """What is said of each object; where the row asks for it, with what Draco takes for it."""
    items = [
        quality.to_json() | {"source_bytes": asset.source_bytes, "thickness": thickness(asset, quality.area)}
        for quality, asset in zip(qualities, assets, strict=True)
    ]
    if row.draco:
        for item, path, asset, quality in zip(items, paths, assets, qualities, strict=True):
            if quality.chamfer is not None:
                item["draco"] = draco(read_mesh(path), asset, quality.chamfer)
    return items


def thickness(asset: Asset, area: float) -> float:
    """Twice the volume over the area: of a plate what is between its sides, in units of the cube."""
    low, high = asset.volume.points.min(axis=0), asset.volume.points.max(axis=0)
    return 2 * float((asset.volume.distances < 0).mean() * np.prod(high - low)) / max(area, 1e-9)


def means(qualities: Sequence[ItemQuality]) -> dict[str, float | None]:
    """Over the objects that have a number."""
    names = ("iou", "chamfer", "chamfer_floor", "mean_distance", "normal_consistency", "psnr", "distance_error")
    return {name: mean_of(qualities, name) for name in names}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", help=f"rows, of {', '.join(ROWS)}; all unless given")
    parser.add_argument("--minutes", type=float, help="of training, instead of the row's own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="that train on a CPU; one per processor where not given")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.only = chosen_rows(parser, options.only, ROWS)
    return options


def main() -> int:
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        row = ROWS[name]
        if options.minutes is not None and not row.settings.steps:
            row = replace(row, settings=replace(row.settings, minutes=options.minutes))
        result = measure(name, row, options.data, options.device, options.threads)
        suffix = "" if options.device == "cpu" else f"-{options.device}"
        (options.output / f"{name}{suffix}.json").write_text(to_json_text(result) + "\n", encoding="utf-8")
        shown = {key: None if value is None else round(value, 4) for key, value in result["mean"].items()}
        print(name, result["bytes"], "bytes", result["steps"], "steps", round(result["seconds_to_encode"]), "s", shown)
        print("  ", {item["name"]: item["iou"] and round(item["iou"], 1) for item in result["items"]}, flush=True)
        print("  ", json.dumps(result["iou_of_levels"]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
