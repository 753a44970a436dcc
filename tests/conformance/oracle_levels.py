"""Small volumes that keep a coarse level of their grids."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

import fieldcodec as fc
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.metadata import MetaEntry
from fieldcodec.grid.procedural import level_set_of_function
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.modules import load_module
from fieldcodec.volume.quality import Quality

_small_grids = load_module(Path(__file__).with_name("oracle_sequences.py")).small_grids


@cache
def fog() -> SparseGrid:
    """In 12 leaves, with statistics that a level cannot have."""
    axes = np.meshgrid(*[np.linspace(0, 3, n) for n in (16, 24, 15)], indexing="ij")
    noise = np.random.default_rng(0).normal(size=axes[0].shape)
    values = np.sin(axes[0]) * np.cos(axes[1] / 2) + 0.3 * np.sin(2 * axes[2]) + 0.05 * noise
    grid = grid_of_dense("fog", values, values > 0, origin=(-8, 8, 120), grid_class="fog volume")
    with_statistics = grid.metadata.with_entry(MetaEntry.of("file_voxel_count", grid.topology.num_active_voxels))
    return replace(grid, transform=GridTransform.uniform(0.1, (1.0, 0.3, -7.0)), metadata=with_statistics)


@cache
def ball() -> SparseGrid:
    middle = np.array([0.3, 0.2, 64.1])
    return level_set_of_function("ball", lambda p: np.linalg.norm(p - middle, axis=1) - 8.5, middle - 13, middle + 13)


@cache
def several() -> VolumeFile:
    """Fog, the same elsewhere and under another name, and a surface."""
    moved = GridTransform.of_matrix(np.diag([2.0, 3.0, 4.0, 1.0]) + np.array([[0.0] * 4] * 3 + [[5.0, 0.5, 0.1, 0.0]]))
    return VolumeFile((fog(), replace(fog(), name="moved", transform=moved, save_as_half=False), ball()))


@cache
def encoded(level: int = 1, quality: Quality = Quality(psnr=34.0)) -> bytes:  # noqa: B008 (frozen)
    with _small_grids():
        return fc.encode_volume(
            several(), fc.VolumeSettings(stored_level=level, quality=quality), device="cpu"
        ).to_bytes()
