"""Pictures drawn on this side, for a browser without WebGL."""

from dataclasses import replace

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.sparse_grid import FOG_VOLUME, SparseGrid
from fieldcodec.grid.value_type import VALUE_TYPES
from fieldcodec.render.camera import Camera
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.picture import render, resolved
from fieldcodec.render.ray_tree import outline
from fieldcodec.view.cells import differences
from fieldcodec.view.source import Pair, Which

_MOST_TILT = 89.0
_LEAVES_AT_ONCE = 4096


def picture(
    pair: Pair, which: Which, turn: float, tilt: float, size: tuple[int, int], *, is_maximum: bool = False
) -> np.ndarray:
    """[H, W, 3] uint8, fog or surface; original and decoded grid are drawn alike, errors as the largest on each ray.

    Args:
        turn, tilt: degrees around the world's y axis, and upwards.
        size: width and height in pixels.
        is_maximum: the largest value along each ray instead.

    Raises:
        UsageError: the original or errors are asked for, and there is no original.
    """
    if which is Which.ERROR:
        shown = _error_grid(pair)
        options = resolved(RenderOptions(look=Look.MAXIMUM, colormap="heat"), shown)
    else:
        shown = pair.grid(which)
        look = Look.MAXIMUM if is_maximum else Look.AUTO
        options = resolved(RenderOptions(look=look), pair.original or pair.decoded)
    a, b = np.radians(turn), np.radians(min(max(tilt, -_MOST_TILT), _MOST_TILT))
    direction = (float(-np.sin(a) * np.cos(b)), float(-np.sin(b)), float(-np.cos(a) * np.cos(b)))
    grids = (pair.decoded,) if pair.original is None else (pair.original, pair.decoded)
    camera = Camera.around(outline(grids), direction, width=size[0], height=size[1])
    return render(shown, camera, options)


def _error_grid(pair: Pair) -> SparseGrid:
    """The absolute differences in the leaves of the decoded grid, as fog."""
    original, decoded = pair.grids
    blocks, count = blocks_at(original, decoded.topology.leaf_origins), decoded.topology.num_leaves
    errors = np.empty((count, masks.LEAF_SLOTS, 1), np.float32)
    for first in range(0, count, _LEAVES_AT_ONCE):
        part = slice(first, min(first + _LEAVES_AT_ONCE, count))
        errors[part, :, 0] = differences(blocks.values(part), decoded.leaf_values[part])

    def none(values: np.ndarray) -> np.ndarray:
        return np.zeros((len(values), 1), np.float32)

    return replace(
        decoded, value_type=VALUE_TYPES["float"], leaf_values=errors, background=np.zeros(1, np.float32),
        lower_tile_values=none(decoded.lower_tile_values), upper_tile_values=none(decoded.upper_tile_values),
        root_tile_values=none(decoded.root_tile_values),
    ).with_class(FOG_VOLUME)  # fmt: skip
