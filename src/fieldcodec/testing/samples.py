"""Small volumes of every kind for tests."""

import numpy as np

from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.value_type import VALUE_TYPES


def sphere() -> SparseGrid:
    """A narrow-band level set with about 9,000 active voxels."""
    return sphere_level_set(22.0, centre=(0.3, -0.2, 0.15))


def dense(kind: str, *, side: int = 24, seed: int = 0, origin: tuple[int, int, int] = (-9, 5, 120)) -> SparseGrid:
    """A smooth random grid of a value type, about two thirds active."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(0, 3, side)] * 3, indexing="ij")
    wave = np.sin(axes[0] + 0.5) * np.cos(axes[1]) + 0.3 * np.sin(2 * axes[2] + seed)
    channels = VALUE_TYPES[kind].channels
    values = np.stack([wave * (c + 1) + 0.01 * rng.normal(size=wave.shape) for c in range(channels)], axis=-1)
    active = wave > -0.3
    background = 0.0
    if VALUE_TYPES[kind].is_integer:
        values = np.rint((values + 2) * 1000)
        background = 7.0
    elif VALUE_TYPES[kind].is_bool:
        values = np.where(kind == "mask", active, wave > 0.2)[..., None].astype(np.float64)
    return grid_of_dense(
        kind, values, active, origin=origin, value_type=kind, background=background, grid_class="unknown"
    )
