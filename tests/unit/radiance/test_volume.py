"""Radiance grids as volumes: there and back, through .vdb files, and through the volume codec."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fieldcodec as fc
from fieldcodec.errors import InputError
from fieldcodec.grid.metadata import MetaEntry
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.marks import is_radiance
from fieldcodec.radiance.volume import NAMES, demands, from_volumes, to_volumes
from fieldcodec.testing.radiance import random_grid


@pytest.fixture
def grid() -> RadianceGrid:
    made = random_grid(4, 13)
    return RadianceGrid(made.lattice, made.thickness, made.shades, (0.0, -1.0, 0.0))


def _assert_near(found: RadianceGrid, wanted: RadianceGrid, tolerance: float) -> None:
    """The lattice exactly, but for empty borders of its box; the values nearly."""
    shift = np.rint((found.lattice.low - wanted.lattice.low) / wanted.lattice.cell).astype(int)
    assert found.lattice.cell == wanted.lattice.cell
    assert np.array_equal(found.lattice.places + shift, wanted.lattice.places)
    np.testing.assert_allclose(found.lattice.low, wanted.lattice.low + shift * wanted.lattice.cell, atol=1e-12)
    assert found.lattice.num_cells == wanted.lattice.num_cells
    assert found.up == wanted.up
    torch.testing.assert_close(found.thickness, wanted.thickness, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.shades, wanted.shades, atol=tolerance, rtol=0)


def test_there_and_back_through_a_file(grid: RadianceGrid, tmp_path: Path) -> None:
    volumes = to_volumes(grid)
    assert [each.name for each in volumes] == list(NAMES)
    assert is_radiance(volumes)
    fc.write_volumes(tmp_path / "scene.vdb", volumes)
    back = fc.read_volumes(tmp_path / "scene.vdb")
    assert is_radiance(back)
    _assert_near(from_volumes(reversed(tuple(back))), grid, 1e-5)  # in any order


def test_what_others_see_of_it(grid: RadianceGrid) -> None:
    """Density in fog, and a colour, at the corners in world space."""
    density, colour = to_volumes(grid)[0], to_volumes(grid)[1]
    assert isinstance(density, SparseGrid)
    assert isinstance(colour, SparseGrid)
    assert density.grid_class == "fog volume"
    at = grid.lattice.low + grid.lattice.places[[5, 99]] * grid.lattice.cell
    np.testing.assert_allclose(density.sample(at)[:, 0], grid.thickness[[5, 99]] / grid.lattice.cell, rtol=1e-4)
    np.testing.assert_allclose(colour.sample(at), 0.5 + 0.28209479 * grid.shades[[5, 99], 0], rtol=1e-4, atol=1e-5)


def test_through_the_volume_codec() -> None:
    grid = random_grid(4, 6)
    settings = fc.VolumeSettings(grid_quality=demands(60))
    compressed = fc.encode_volume(to_volumes(grid), settings)
    assert is_radiance(compressed.grids)
    back = from_volumes(fc.CompressedVolume.from_bytes(compressed.to_bytes()).to_grids())
    _assert_near(back, grid, 0.1)
    assert not torch.equal(back.thickness, grid.thickness)


def _without(volumes: VolumeFile, name: str) -> list[SparseGrid]:
    return [grid for grid in volumes if isinstance(grid, SparseGrid) and grid.name != name]


def test_what_does_not_belong_together_is_refused(grid: RadianceGrid) -> None:
    volumes = to_volumes(grid)
    density, colour = volumes[0], volumes[1]
    assert isinstance(density, SparseGrid)
    assert isinstance(colour, SparseGrid)
    moved = replace(colour, transform=GridTransform.uniform(grid.lattice.cell, (1.0, 0.0, 0.0)))
    flat = replace(density, transform=GridTransform.of_matrix(np.diag([1.0, 2.0, 1.0, 1.0])))
    other = to_volumes(random_grid(1, 9))[1]
    broken = replace(density, leaf_values=np.full_like(density.leaf_values, np.nan))
    newer = replace(density, metadata=density.metadata.with_entry(MetaEntry.of("radiance_version", 2)))
    upless = replace(density, metadata=density.metadata.with_entry(MetaEntry.of("radiance_up", "0 0 0")))
    cases = [
        (_without(volumes, "harmonic_3"), "missing are the grids harmonic_3"),
        ([*_without(volumes, "colour"), moved], "elsewhere"),
        ([flat, *[replace(each, transform=flat.transform) for each in _without(volumes, "density")]], "equal voxels"),
        ([*_without(volumes, "colour"), other], "other active voxels"),
        ([*volumes, colour], "two grids"),
        ([broken, *_without(volumes, "density")], "not finite"),
        ([newer, *_without(volumes, "density")], "version 2"),
        ([upless, *_without(volumes, "density")], "no direction"),
    ]
    for grids, message in cases:
        with pytest.raises(InputError, match=message):
            from_volumes(grids)
    assert not is_radiance([colour])
