"""Measure radiance grids of posed pictures; one JSON file and one picture per scene in results/radiance.

    python benchmarks/radiance.py --data FOLDER [--only lego,rose] [--preset balanced] [--qualities 24,30,36,42]

Every scene is fitted on its training views and measured on its held-out ones: PSNR, SSIM and FLIP of (a) the grid as
it is, (b) the grid after the volume codec, at several qualities (`radiance.volume.demands`). Beside it: cells,
bytes of the .vdb file and of our files, seconds on the clock and of the processor, the load of the machine.

Nobody's numbers for these scenes at these sizes are known to us; the papers fit 800 x 800 pictures.
"""

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from rows import chosen_rows

import fieldcodec as fc
from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.cli.radiance_views import measured_facts
from fieldcodec.io.posed import PosedScene, read_posed
from fieldcodec.nets.device import choose_device
from fieldcodec.radiance.field import RadianceField
from fieldcodec.radiance.fit import fit_scene
from fieldcodec.radiance.measure import ViewQuality, measure_views
from fieldcodec.radiance.settings import PRESETS, RadianceSettings
from fieldcodec.radiance.volume import demands, from_volumes, to_volumes
from fieldcodec.threads import available_threads

RESULTS = Path(__file__).parent / "results" / "radiance"
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Row:
    """A scene to measure."""

    folder: str
    what: str
    factor: int = 1
    shifted: bool = False  # whether the matrices in its files are off by one frame


ROWS = {
    "lego": Row("posed/lego", "a quarter of the original 800 x 800 along each side, alpha", factor=2),
    "duck": Row("posed/duck", "224 x 224 on black", shifted=True),
    "horse": Row("posed/horse", "224 x 224 on black", shifted=True),
    "rose": Row("posed/rose", "224 x 224 on black"),
}


def read_scene(folder: Path, row: Row) -> PosedScene:
    """The scene of a row, its cameras mended where they are known to be wrong."""
    if not row.shifted:
        return read_posed(folder)
    with TemporaryDirectory() as mended:
        write_mended(folder, Path(mended))
        return read_posed(mended, images=folder / "rgb")


def write_mended(folder: Path, target: Path) -> None:
    """Writes `transforms_*.json` with the matrix of each frame where it belongs.

    The files of `duck` and `horse` state in each frame, in the order of train, val and test, the matrix of the frame
    before; their own `position` fields prove it: all but the last match the next matrix to 1e-6. The matrices are
    moved by one, and the last camera, whose matrix is lost, is put at its `position` and turned to `object_position`,
    as all others are.
    """
    documents = {part: json.loads((folder / f"transforms_{part}.json").read_text()) for part in _PARTS}
    frames = [frame for document in documents.values() for frame in document["frames"]]
    matrices = [np.array(frame["transform_matrix"]) for frame in frames][1:]
    matrices.append(_look_at(np.array(frames[-1]["position"]), np.array(documents["train"]["object_position"])))
    for frame, matrix in zip(frames, matrices, strict=True):
        if np.abs(matrix[:3, 3] - frame["position"]).max() > 1e-4:
            raise ValueError(f"{folder}: moving the matrices by one frame does not mend {frame['file_path']}")
        frame["transform_matrix"] = matrix.tolist()
    for part, document in documents.items():
        (target / f"transforms_{part}.json").write_text(json.dumps(document))


def _look_at(place: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """[4, 4]: the camera at a place, z upwards."""
    back = (place - aim) / np.linalg.norm(place - aim)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, place], axis=1)
    return matrix


def measure_scene(name: str, scene: PosedScene, row: Row, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Everything about one scene: first of the grid, then with one more quality of the codec each time."""
    device = choose_device(options.device)
    settings = RadianceSettings.preset(options.preset)
    load, processor = os.getloadavg()[0], time.process_time()
    fit = fit_scene(scene, settings, factor=row.factor, device=device)
    processor = time.process_time() - processor
    print(f"  fitted in {fit.seconds:.0f} s ({processor:.0f} s of the processor), {fit.steps} steps", flush=True)
    volumes = to_volumes(fit.grid)
    views = list(measure_views(fit.grid.to(device), scene, factor=row.factor, most=options.views, device=device))
    lattice = fit.grid.lattice
    result: dict[str, Any] = {
        "preset": options.preset, "factor": row.factor, "mended_cameras": row.shifted, "pictures": str(scene),
        "pictures_bytes": scene.source_bytes, "threads": available_threads(), "load": load,
        "grid": {
            "seconds": fit.seconds, "processor_seconds": processor, "steps": fit.steps, "cells": lattice.num_cells,
            "corners": lattice.num_corners, "lattice": list(lattice.live.shape), "bytes": _vdb_bytes(volumes),
            **measured_facts(views),
        },
        "codec": [],
    }  # fmt: skip
    print(f"  grid: {_line(result['grid'])}", flush=True)
    shown = [views]
    yield result
    for coded, found in _coded(volumes, scene, row, options):
        result["codec"].append(coded)
        shown.append(found)
        print(f"  codec at {coded['asked_psnr']:g} dB: {_line(coded)}", flush=True)
        _save_picture(options.out / f"{name}.png", shown)
        yield result


def _coded(
    volumes: fc.VolumeFile, scene: PosedScene, row: Row, options: argparse.Namespace
) -> Iterator[tuple[dict[str, Any], list[ViewQuality]]]:
    """The grid through the volume codec, once for each quality."""
    device = choose_device(options.device)
    for quality in options.qualities:
        start = time.perf_counter()
        compressed = fc.encode_volume(volumes, fc.VolumeSettings(grid_quality=demands(quality)))
        seconds = time.perf_counter() - start
        data = compressed.to_bytes()
        field: RadianceField = from_volumes(fc.CompressedVolume.from_bytes(data).to_grids()).to(device)
        views = list(measure_views(field, scene, factor=row.factor, most=options.views, device=device))
        yield {"asked_psnr": quality, "bytes": len(data), "encode_seconds": seconds, **measured_facts(views)}, views


def _line(facts: dict[str, Any]) -> str:
    flip = "-" if facts["flip"] is None else f"{facts['flip']:.4f}"
    return f"{facts['bytes']:,} bytes, PSNR {facts['psnr']:.2f} dB, SSIM {facts['ssim']:.4f}, FLIP {flip}"


def _vdb_bytes(volumes: fc.VolumeFile) -> int:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "grid.vdb"
        fc.write_volumes(path, volumes)
        return path.stat().st_size


def _save_picture(path: Path, shown: list[list[ViewQuality]]) -> None:
    """Three views, a row each: the truth, the grid, the grid after the codec in the order of --qualities."""
    count = len(shown[0])
    rows = []
    for number in sorted({count // 6, count // 2, count * 5 // 6}):
        rows.append(np.concatenate([shown[0][number].true, *(views[number].seen for views in shown)], axis=1))
    Image.fromarray(np.rint(np.concatenate(rows) * 255).astype(np.uint8)).save(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FIELDCODEC_DATA"), help="folder of real data")
    parser.add_argument("--only", help=f"scenes, of {', '.join(ROWS)}; all unless given")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="balanced")
    parser.add_argument(
        "--qualities", default="24,30,36,42", help="for the volume codec, dB, see radiance.volume.demands"
    )
    parser.add_argument("--factor", type=int, help="how many times smaller pictures are made, instead of the row's own")
    parser.add_argument("--views", type=int, help="held-out views at most; all unless given")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to put the files")
    options = parser.parse_args()
    options.only = chosen_rows(parser, options.only, ROWS)
    options.qualities = [float(text) for text in options.qualities.split(",") if text]
    if options.data is None:
        parser.error("--data names no folder of real data")
    return options


def main() -> int:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        row = ROWS[name] if options.factor is None else replace(ROWS[name], factor=options.factor)
        file = name if options.device == "cpu" else f"{name}-cuda"
        print(f"{name} ...", flush=True)
        scene = read_scene(options.data / row.folder, row)
        about = {
            "name": name, "what": row.what, "source": row.folder, "date": datetime.date.today().isoformat(),
            "machine": machine(options.device), "commit": commit(),
        }  # fmt: skip
        for result in measure_scene(file, scene, row, options):
            (options.out / f"{file}.json").write_text(to_json_text(about | result) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
