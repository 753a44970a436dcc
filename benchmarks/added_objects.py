"""How good objects get that are added to a finished collection, by the level of their details; one JSON file.

    python benchmarks/added_objects.py --data FOLDER [--minutes 5] [--steps 400]

Networks are trained on the eight solid objects of `asset_collections.py`; four others, which they never saw, are added
one by one with frozen networks: by a single latent, and with latents of their own in the cells of a level.
"""

import argparse
import datetime
import os
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from asset_collections import SOLID

from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.collection.asset import Asset
from fieldcodec.collection.encode import add_to_collection, encode_collection
from fieldcodec.collection.inputs import find_inputs
from fieldcodec.collection.measure import measure_item
from fieldcodec.collection.prepare import prepare
from fieldcodec.collection.settings import CollectionSettings

RESULT = Path(__file__).parent / "results" / "added" / "everyday.json"
STRANGERS = ("airplane", "cup", "hammer", "teapot")
LEVELS = (0, 2, 3, 4)


def measure(data: Path, settings: CollectionSettings, steps: int, threads: int | None) -> dict[str, Any]:
    """The whole result."""
    inputs = find_inputs([data / "collection_everyday"])

    def assets(names: tuple[str, ...]) -> list[Asset]:
        found = prepare([inputs[name].path for name in names], settings)
        return [asset for asset in found if isinstance(asset, Asset)]

    known, strangers = assets(SOLID), assets(STRANGERS)
    collection = encode_collection(known, settings, threads=threads)
    own = [measure_item(collection.surface(asset.name), asset) for asset in known]
    print("trained:", mean(each.iou or 0.0 for each in own), flush=True)
    added = []
    for level in LEVELS:
        fit = replace(settings, steps=steps, minutes=0.0, latent_rate=0.02, detail_level=level)
        larger = add_to_collection(collection, strangers, fit, threads=threads)
        share = larger.num_bytes["latents"] / len(larger)
        for asset in strangers:
            quality = measure_item(larger.surface(asset.name), asset).to_json()
            added.append({"level": level, "bytes": round(share + larger.own_bytes[asset.name]), **quality})
            print(level, asset.name, added[-1]["bytes"], quality["iou"], flush=True)
    return {
        "name": "everyday",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine("cpu") | {"threads": threads or os.cpu_count()},
        "settings": settings.to_json(),
        "steps": steps,
        "trained_on": {"objects": list(SOLID), "iou": mean(each.iou or 0.0 for each in own)},
        "bytes_before": len(collection.to_bytes()),
        "added": added,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FIELDCODEC_DATA"), help="folder of real meshes")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training of the networks")
    parser.add_argument("--steps", type=int, default=400, help="of fitting the objects that are added")
    parser.add_argument("--threads", type=int, help="of the processor; all unless given")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON file")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("--data names no folder of real meshes")
    result = measure(chosen.data, CollectionSettings(minutes=chosen.minutes), chosen.steps, chosen.threads)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(to_json_text(result) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
