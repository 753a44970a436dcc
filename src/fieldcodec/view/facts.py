"""What the page must know of a grid before it draws it, and the report beside the picture."""

from typing import Any

import numpy as np

from fieldcodec.grid.iso_surface import default_iso
from fieldcodec.grid.lookup import TILE_LOG2, blocks_at, tiles_of
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.metrics.quality import compare_grids
from fieldcodec.metrics.rate import bits_per_active_voxel, compression_ratio, raw_vdb_bytes
from fieldcodec.view.cells import differences
from fieldcodec.view.layers import scalars
from fieldcodec.view.source import GridEntry, Pair

_LEAVES_AT_ONCE = 4096
_BAND_SHARE = 0.95  # of a level set's band can be walked through with the iso value
_SCALE_PERCENTILE = 99.5  # of the voxels have no larger error than the end of the colour scale
_SCALE_LEAVES = 4096  # are looked at for that


def describe(pair: Pair) -> dict[str, Any]:
    """Plain values: `box` (smallest and largest index, null where nothing is active), `matrix` (world = [i, j, k, 1] @
    matrix, rows after each other; the identity for frustum transforms), `range` (of active values), `scale` (ends of
    colours), `iso`, `modes` and `error` (ends of colours and the largest, null without an original)."""
    grid = pair.decoded
    low, high = _value_range(grid)
    is_surface = grid.is_level_set and grid.channels == 1 and grid.value_type.is_float
    start = default_iso(grid) if grid.channels == 1 else 0.0
    is_fog = grid.channels == 1 and not grid.is_level_set
    robust = min(high, 2 * start) if is_fog else high  # a few very bright voxels do not make all others dark
    linear = grid.transform.is_linear
    return {
        "box": [corner.tolist() for corner in pair.box] if pair.box is not None else None,
        "matrix": (grid.transform.matrix if linear else np.eye(4)).reshape(-1).tolist(),
        "voxel_size": grid.transform.voxel_size.tolist() if linear else None,
        "range": [low, high],
        "scale": [low, robust if robust > low else high],
        "iso": _iso_range(grid, start, low, high),
        "modes": _modes(grid, is_surface),
        "is_level_set": grid.is_level_set,
        "error": _error_scale(pair),
        "nodes": {
            "leaves": grid.topology.num_leaves,
            "active_voxels": grid.topology.num_active_voxels,
        },
    }


def report(pair: Pair, entry: GridEntry) -> dict[str, Any]:
    """Sizes and, where there is an original, every measure of `fieldcodec compare`."""
    grid = pair.original or pair.decoded
    raw, voxels = raw_vdb_bytes(grid), grid.topology.num_active_voxels
    bits = bits_per_active_voxel(entry.num_bytes, voxels) if entry.num_bytes is not None and voxels else None
    quality = compare_grids(pair.original, pair.decoded).to_json() if pair.original is not None else None
    return {
        "bytes_raw": raw,
        "bytes": entry.num_bytes,
        "ratio_raw": compression_ratio(raw, entry.num_bytes),
        "bits_per_active_voxel": bits,
        "quality": quality,
    }


def _modes(grid: SparseGrid, is_surface: bool) -> list[str]:
    if is_surface:
        return ["surface"]
    return ["fog", "maximum", "surface"] if grid.channels == 1 else ["fog", "maximum"]


def _iso_range(grid: SparseGrid, start: float, low: float, high: float) -> dict[str, float] | None:
    """Where the iso value can be moved, and where it begins; None where there is no surface."""
    if grid.channels > 1:
        return None
    if grid.is_level_set:
        band = abs(float(grid.background[0])) * _BAND_SHARE
        return {"low": max(low, -band), "high": min(high, band), "start": start}
    return {"low": low, "high": high, "start": min(max(start, low), high)}


def _value_range(grid: SparseGrid) -> tuple[float, float]:
    """Of active values, for fog with 0."""
    ends = [] if grid.is_level_set else [0.0]
    active = grid.topology.leaf_active_bits
    for first in range(0, len(grid.leaf_values), _LEAVES_AT_ONCE):
        part = slice(first, first + _LEAVES_AT_ONCE)
        values = scalars(grid.leaf_values[part])[active[part]]
        ends += [float(values.min()), float(values.max())] if values.size else []
    for log2 in TILE_LOG2:
        tiles = tiles_of(grid, log2)
        values = scalars(tiles.values[tiles.active])
        ends += [float(values.min()), float(values.max())] if values.size else []
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _error_scale(pair: Pair) -> dict[str, float] | None:
    """Of the active voxels of leaves: the end of the colour scale, from some of the leaves, and the largest of all."""
    if pair.original is None:
        return None
    original, decoded = pair.grids
    origins = decoded.topology.leaf_origins
    active, blocks = decoded.topology.leaf_active_bits, blocks_at(original, origins)
    every = -(-len(origins) // _SCALE_LEAVES) or 1
    some, largest = [np.zeros(0, np.float32)], 0.0
    for first in range(0, len(origins), _LEAVES_AT_ONCE):
        part = slice(first, min(first + _LEAVES_AT_ONCE, len(origins)))
        errors = np.where(active[part], differences(blocks.values(part), decoded.leaf_values[part]), 0)
        largest = max(largest, float(errors.max(initial=0.0)))
        taken = slice(-first % every, None, every)
        some.append(errors[taken][active[part][taken]])
    seen = np.concatenate(some)
    return {"scale": float(np.percentile(seen, _SCALE_PERCENTILE)) if len(seen) else 0.0, "largest": largest}
