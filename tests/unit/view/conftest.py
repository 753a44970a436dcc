"""Pairs of small grids, and how the page reads an answer."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.view.answers import Answer
from fieldcodec.view.source import Pair

Unpack = Callable[[Answer], tuple[dict[str, Any], dict[str, np.ndarray]]]


def changed(grid: SparseGrid, by: float = 0.01) -> SparseGrid:
    """The grid with noise on its active values."""
    noise = np.random.default_rng(7).normal(size=grid.leaf_values.shape) * by
    values = np.where(grid.topology.leaf_active_bits[..., None], grid.leaf_values + noise, grid.leaf_values)
    return replace(grid, leaf_values=values.astype(grid.value_type.dtype))


@pytest.fixture(scope="session")
def fog_pair(small_fog: SparseGrid) -> Pair:
    return Pair(changed(small_fog), small_fog)


@pytest.fixture(scope="session")
def ball_pair() -> Pair:
    ball = sphere_level_set(20.0, voxel_size=0.5, centre=(3.0, 1.0, -2.0), name="ball")
    return Pair(changed(ball), ball)


@pytest.fixture(scope="session")
def unpacked() -> Unpack:
    """Reads an answer of arrays as static/js/api.js does."""

    def unpack(answer: Answer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        data = b"".join(answer.parts)
        end = 4 + int.from_bytes(data[:4], "little")
        assert end % 8 == 0
        header = json.loads(data[4:end])
        arrays = {}
        for entry in header.pop("arrays"):
            assert entry["offset"] % 8 == 0
            count = int(np.prod(entry["shape"], dtype=np.int64))
            numbers = np.frombuffer(data, entry["type"], count, end + entry["offset"])
            arrays[entry["name"]] = numbers.reshape(entry["shape"])
        return header, arrays

    return unpack
