"""Fog as light sees it: absorption, light from above and from the sky, no shadows from outside."""

from collections.abc import Iterator

import numpy as np

from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render.bricks import brick_origins, bricks_of, depth_order
from fieldcodec.render.projection import line_integral
from fieldcodec.render.view import Frame

_SUN = np.array([1.0, 0.94, 0.85]) * 0.95
_SKY = np.array([0.10, 0.135, 0.20])
_DEPTH = 7.0  # optical thickness of the thick parts of a volume
_OPAQUE = 100.0  # optical thickness of a voxel beyond which nothing changes
_LEAST_DEPTH = 1e-100  # densities of a volume that counts as empty
_SUN_REACH = 0.5  # scattered sunlight goes deeper than single scattering has it


def absorption(grid: SparseGrid, frame: Frame, factor: int) -> float:
    """Absorption per voxel and unit of density at which the thick parts of a volume look opaque."""
    depths = line_integral(grid, frame, factor)
    depths = depths[depths > 0]
    return float(_DEPTH / max(np.percentile(depths, 90), _LEAST_DEPTH)) if len(depths) else 1.0


def render_fog(grid: SparseGrid, frame: Frame, factor: int, absorption: float) -> tuple[np.ndarray, np.ndarray]:
    """March through a density volume, front to back.

    Returns:
        [H, W, 3] light in [0, ...) (linear, premultiplied) and [H, W] opacity in [0, 1].
    """
    shape = frame.image_shape(factor)
    light, through = np.zeros((*shape, 3)), np.ones(shape)
    for slab in _slabs(grid, frame, factor):
        thickness = np.clip(slab.astype(np.float64) * (absorption * factor), 0, _OPAQUE)
        # The sun stands straight above, so its light never leaves the slab on its way.
        above = np.cumsum(thickness, axis=0) - 0.5 * thickness
        sun = np.exp(-_SUN_REACH * above)
        opacity = 1 - np.exp(-thickness)
        for layer in range(slab.shape[2]):
            weight = through * opacity[..., layer]
            light += weight[..., None] * (_SUN * sun[..., layer, None] + _SKY)
            through = through * (1 - opacity[..., layer])
    return frame.cropped(light, factor), 1 - frame.cropped(through, factor)


def _slabs(grid: SparseGrid, frame: Frame, factor: int) -> Iterator[np.ndarray]:
    """[H, W, k] float32: mean densities of layers, near to far; k = 8 / factor, at least 1."""
    inner = min(factor, 8)
    cells, deep = 8 // inner, max(factor, 8)
    shape = frame.image_shape(factor)
    padded = [-(-size // cells) * cells for size in shape]
    slab, current = np.zeros((*padded, cells), np.float32), -1
    for bricks in bricks_of(grid, frame, depth_order(frame, brick_origins(grid))):
        means = bricks.values.reshape(-1, cells, inner, cells, inner, cells, inner).mean(axis=(2, 4, 6))
        means *= (inner / factor) ** 3
        layers = bricks.corners[:, 2] // deep
        for layer in np.unique(layers):
            if layer != current:
                if current >= 0:
                    yield slab[: shape[0], : shape[1]]
                slab, current = np.zeros((*padded, cells), np.float32), int(layer)
            chosen = layers == layer
            rows, columns = (bricks.corners[chosen, axis] // (factor * cells) for axis in (0, 1))
            tiles = slab.reshape(padded[0] // cells, cells, padded[1] // cells, cells, cells)
            np.add.at(tiles.transpose(0, 2, 1, 3, 4), (rows, columns), means[chosen])
    if current >= 0:
        yield slab[: shape[0], : shape[1]]
