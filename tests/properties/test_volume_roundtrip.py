"""Whatever the grid, what the codec promises to keep exactly comes back exactly; small grids come back whole."""

from dataclasses import fields

import numpy as np
from hypothesis import HealthCheck, given, settings

import fieldcodec as fc
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing.strategies import sparse_grids


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
