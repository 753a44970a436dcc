"""Histograms of values and errors."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.metrics.histograms import value_histograms


def test_counts_and_ranges(small_fog: SparseGrid) -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.1, 0.1, small_fog.leaf_values.shape).astype(np.float32)
    decoded = replace(small_fog, leaf_values=small_fog.leaf_values + noise)
    found = value_histograms(small_fog, decoded, bins=11)
    assert found is not None
    values = small_fog.active_values()
    assert (found.original.low, found.original.high) == (values.min(), values.max())
    expected, _ = np.histogram(values, bins=11, range=(values.min(), values.max()))
    np.testing.assert_allclose(found.original.counts, expected, atol=1)
    for histogram in (found.original, found.decoded, found.error):
        assert histogram.counts.sum() == len(values)
    assert -found.error.low == found.error.high == pytest.approx(0.1, abs=0.01)
    assert found.error.counts.min() > 0


def test_equal_grids_have_one_bin_of_errors(small_fog: SparseGrid) -> None:
    found = value_histograms(small_fog, small_fog)
    assert found is not None
    assert np.flatnonzero(found.error.counts).tolist() == [40]


def test_nothing_in_common_and_not_finite() -> None:
    mask = np.ones((2, 2, 2), bool)
    odd = grid_of_dense("odd", np.full((2, 2, 2), np.nan), mask)
    assert value_histograms(odd, odd) is None
    flat = grid_of_dense("flat", np.full((2, 2, 2), 3.0), mask)
    found = value_histograms(flat, flat)
    assert found is not None
    assert found.original.counts[0] == 8
    vectors = grid_of_dense("v", np.ones((2, 2, 2, 3)), mask, value_type="vec3s")
    with pytest.raises(UnsupportedGridError, match="vec3s"):
        value_histograms(flat, vectors)
