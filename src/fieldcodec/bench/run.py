"""All codecs on one grid: a result for JSON."""

import dataclasses
import datetime
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fieldcodec.bench.curves import Point, sample
from fieldcodec.bench.demands import Demand
from fieldcodec.bench.machine import commit, machine
from fieldcodec.bench.peer import PREFIX, Peer, Result
from fieldcodec.bench.peers.openvdb import vdb_bytes
from fieldcodec.bench.reference import Reference
from fieldcodec.errors import InvalidValuesError, MissingPackageError, UnsupportedGridError, UsageError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.metrics.quality import effective_resolution
from fieldcodec.metrics.rate import raw_vdb_bytes

DEFINITIONS = {
    "bytes": "of a real file or bitstream; see mask_bytes_included",
    "mask_bytes_included": "whether the bytes hold the exact tree; codecs of dense arrays and meshes store none",
    "mask_bytes": "bytes of the tree by fieldcodec's mask coder, added for a codec that stores none",
    "rmse": "over active voxels of leaves, in the units of the values",
    "rmse_relative": "rmse / (largest - smallest active value)",
    "psnr": "-20 log10(rmse_relative), in dB",
    "iou, mcd": "level sets: overlap of the interiors, distance of the surfaces in voxels",
    "encode_s, decode_s": "seconds; reading of inputs, filling of dense boxes and coding of masks for others left out",
    "encode_stages, decode_stages": "seconds of each stage as the codec told; empty where it does not tell",
    "encode_peak_bytes, decode_peak_bytes": "largest resident memory of the process meanwhile, the input included",
    "encode_voxels_per_s, decode_voxels_per_s": "active voxels over encode_s and decode_s",
    "sections": "bytes of the parts of a .fcodec file; frame: the description of the grid, checksums",
    "score": "-20 log10 of the error that `measure` tells: rmse_relative, 1 - IoU, or mCD",
}

_BEYOND_DB = 0.25  # more than what a search misses its target by


def measurable(volumes: VolumeFile) -> SparseGrid:
    """The grid with the most active voxels among those with values to compare.

    Raises:
        UnsupportedGridError: there is none.
        InvalidValuesError: it holds NaN or infinite values.
    """
    grids = [grid for grid in volumes if isinstance(grid, SparseGrid) and not grid.value_type.is_bool]
    grids = [grid for grid in grids if grid.topology.num_active_leaf_voxels and Reference(grid).value_range]
    if not grids:
        raise UnsupportedGridError(
            "no grid can be measured: needed are active voxels whose values differ; masks and points have no error"
        )
    chosen = max(grids, key=lambda grid: grid.topology.num_active_leaf_voxels)
    if not np.isfinite(chosen.active_values()).all():
        raise InvalidValuesError(f"grid {chosen.name!r} holds NaN or infinite values, whose error cannot be measured")
    return chosen


def measure(
    reference: Reference,
    codecs: Sequence[Peer],
    demands: Sequence[Demand],
    *,
    sweep: int = 20,
    device: str = "cpu",
    on_event: OnEvent = ignore_event,
    on_codec: Callable[[str, str], None] = lambda name, what: None,
) -> Result:
    """The points of all codecs, one codec after the other, with all that one must know to judge them.

    The first of our methods should come first: the others are brought to the errors that it has reached.
    A codec that cannot hold the grid, or whose package is missing, is left out, and the result says why.

    Args:
        sweep: see `sample`.
        on_codec: hears of each codec when it is done, and in words what came of it.
    """
    points: list[Point] = []
    left_out: dict[str, str] = {}
    targets = [demand.score for demand in demands]
    for position, codec in enumerate(codecs):
        on_event(FitEvent("all codecs", position, len(codecs)))
        start = time.perf_counter()
        try:
            found = sample(
                codec, reference, demands[0].measure, targets, sweep=sweep,
                on_point=_counted(codec, len(demands), sweep, on_event),
            )  # fmt: skip
        except (UnsupportedGridError, MissingPackageError) as problem:
            left_out[codec.name] = str(problem)
            on_codec(codec.name, f"left out: {problem}")
        except UsageError as problem:  # one of our methods cannot promise what is asked for
            if not codec.name.startswith(PREFIX):
                raise
            left_out[codec.name] = str(problem)
            on_codec(codec.name, f"left out: {problem}")
        else:
            if not points and codec.name.startswith(PREFIX):
                targets = _equal_targets(found, demands)
            points += found
            on_codec(codec.name, f"{len(found)} points, {time.perf_counter() - start:.1f} s")
    on_event(FitEvent("all codecs", len(codecs), len(codecs)))
    return _result(reference, demands, points, left_out, device)


def _equal_targets(ours: Sequence[Point], demands: Sequence[Demand]) -> list[float]:
    """The scores of our files, and a little more than the largest, so that a curve that ends there holds them all."""
    scores = {point.setting: point.score(demands[0].measure) for point in ours}
    scores = {setting: score for setting, score in scores.items() if math.isfinite(score)}
    targets = [scores.get(str(demand), demand.score) for demand in demands]
    return [*targets, max(targets) + _BEYOND_DB]


def _counted(codec: Peer, num_demands: int, sweep: int, on_event: OnEvent) -> Callable[[Point], None]:
    """A listener for points that turns them into progress; how many a search needs is a guess."""
    total = len(codec.settings) or (20 if codec.how == "halve" else 3 * num_demands + sweep)
    total *= 1 if codec.stores_topology else 2
    made = 0

    def hear(point: Point) -> None:
        nonlocal made
        made += 1
        on_event(FitEvent("this codec", made, max(made, total)))

    return hear


def _result(
    reference: Reference, demands: Sequence[Demand], points: Sequence[Point], left_out: dict[str, str], device: str
) -> Result:
    active = reference.grid.topology.num_active_voxels
    return {
        "name": reference.grid.name or "unnamed",
        "what": reference.grid.name or "unnamed",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(device),
        "definitions": DEFINITIONS,
        "grid": describe(reference),
        "measure": demands[0].measure,
        "demands": [{"asked": str(demand), "score": demand.score} for demand in demands],
        "points": [_to_json(point, active) for point in points],
        "left_out": left_out,
    }


def describe(reference: Reference) -> dict[str, Any]:
    """What was compressed."""
    grid = reference.grid
    return {
        "name": grid.name,
        "grid_class": grid.grid_class,
        "value_type": grid.value_type.name,
        "value_range": reference.value_range,
        "active_voxels": grid.topology.num_active_voxels,
        "active_leaf_voxels": grid.topology.num_active_leaf_voxels,
        "leaves": grid.topology.num_leaves,
        "effective_resolution": list(effective_resolution(grid)),
        "bytes_raw": raw_vdb_bytes(grid),
        "bytes_vdb16_blosc": vdb_bytes(grid, half=True),
        "bytes_tree": reference.tree_bytes(),
    }


def _to_json(point: Point, active_voxels: int) -> dict[str, Any]:
    """Six digits of every float: hundreds of points make large files."""
    plain = dataclasses.asdict(point)
    for what in ("encode", "decode"):
        seconds = plain[f"{what}_s"]
        plain[f"{what}_voxels_per_s"] = active_voxels / seconds if seconds else None
    return {key: _rounded(value) for key, value in plain.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
