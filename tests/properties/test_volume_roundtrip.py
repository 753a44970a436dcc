"""Whatever the grid, what the codec promises to keep exactly comes back exactly; small grids come back whole."""

from dataclasses import fields

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import integers, sampled_from, tuples

import fieldcodec as fc
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.value_type import VALUE_TYPES
from fieldcodec.testing.samples import dense
from fieldcodec.testing.strategies import sparse_grids
from fieldcodec.volume.quality import Quality


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sparse_grids())
def test_small_grids_come_back_bit_for_bit(grid: SparseGrid) -> None:
    data = fc.encode_volume(grid, device="cpu").to_bytes()
    decoded = fc.CompressedVolume.from_bytes(data).to_grids(device="cpu")[0]
    assert isinstance(decoded, SparseGrid)
    assert decoded.topology.equals(grid.topology)
    for item in fields(grid):
        mine, theirs = getattr(grid, item.name), getattr(decoded, item.name)
        if isinstance(mine, np.ndarray):
            assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
            assert mine.tobytes() == theirs.tobytes(), item.name
        elif item.name != "topology":
            assert mine == theirs
    assert fc.encode_volume(decoded, device="cpu").to_bytes() == data


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sampled_from(sorted(VALUE_TYPES)), integers(1, 13), integers(0, 99), tuples(*[integers(-20, 20)] * 3),
    integers(1, 4), integers(1, 4),
)  # fmt: skip
def test_levels_are_the_same_whether_they_are_stored_or_not(
    kind: str, side: int, seed: int, origin: tuple[int, int, int], stored: int, level: int
) -> None:
    grid = dense(kind, side=side, seed=seed, origin=origin)
    asked = fc.VolumeSettings(stored_level=stored, quality=Quality(lossless=True))
    opened = fc.CompressedVolume.from_bytes(fc.encode_volume(grid, asked, device="cpu").to_bytes())
    found, expected = opened.to_grids(level=level, device="cpu")[0], coarsened(grid, level)
    assert isinstance(found, SparseGrid)
    assert found.topology.equals(expected.topology)
    assert (found.transform, found.metadata) == (expected.transform, expected.metadata)
    active = found.topology.leaf_active_bits
    assert found.leaf_values[active].tobytes() == expected.leaf_values[active].tobytes()
