"""Our samples are those of OpenVDB's and NanoVDB's own samplers.

FIELDCODEC_SAMPLERS names the program built from benchmarks/nanovdb_samplers.cc (see benchmarks/README.md).
"""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.grid import masks
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.vdb import write_vdb

COUNT = 20_000


def with_tiles(grid: SparseGrid) -> SparseGrid:
    """Values in tiles of lower nodes, some of them active."""
    topology, rng = grid.topology, np.random.default_rng(0)
    active = masks.pack(rng.random((len(topology.lower_child), masks.LOWER_SLOTS)) < 0.3) & ~topology.lower_child
    values = rng.normal(size=grid.lower_tile_values.shape).astype(np.float32)
    return replace(grid, topology=replace(topology, lower_active=active), lower_tile_values=values)


@pytest.mark.parametrize("kind", ["fog", "ball", "tiles"])
def test_samples_are_those_of_openvdb_and_nanovdb(
    kind: str, samplers: Path, tmp_path: Path, small_fog: SparseGrid
) -> None:
    grid = small_fog if kind == "fog" else sphere_level_set(30.0)
    grid = with_tiles(grid) if kind == "tiles" else grid
    low, high = grid.topology.active_bounds
    points = np.random.default_rng(1).uniform(low - 20, high + 20, (COUNT, 3))
    points[: COUNT // 10] = np.round(points[: COUNT // 10] * 4) / 4  # voxels, and halves between them
    write_vdb(tmp_path / "grid.vdb", VolumeFile((grid,)))
    points.tofile(tmp_path / "points")
    command = [samplers, tmp_path / "grid.vdb", tmp_path / "points", "1", tmp_path / "values"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[::2]
    theirs = dict(zip(names, np.fromfile(tmp_path / "values", np.float32).reshape(-1, COUNT), strict=True))
    ours = {
        interpolation: grid.sample(points, space="index", interpolation=interpolation)[:, 0]
        for interpolation in ("nearest", "trilinear", "tricubic")
    }
    assert np.array_equal(ours["nearest"], theirs["openvdb-nearest"])
    assert np.array_equal(ours["trilinear"], theirs["openvdb-trilinear"])
    for interpolation in ("trilinear", "tricubic"):
        np.testing.assert_allclose(ours[interpolation], theirs[f"nanovdb-{interpolation}"], rtol=0, atol=2e-5)
