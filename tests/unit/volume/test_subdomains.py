"""Sparse domain decomposition: gates sum to one, empty cubes are dropped, no point is lost."""

import numpy as np
import pytest

from fieldcodec.errors import FormatError
from fieldcodec.volume.subdomains import GATE_ONE, HALO, Subdomains, decompose


def test_full_lattice_gates_sum_to_one() -> None:
    cells = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.int32)
    subdomains = Subdomains((0, 0, 0), 64, HALO, cells)
    # points of the middle cube and its surroundings: every neighbour that could cover them is there
    points = np.random.default_rng(0).integers(HALO, 3 * 64 - HALO, (4000, 3))
    total = np.zeros(len(points), np.int64)
    for expert, rows in enumerate(subdomains.members(points)):
        total[rows] += subdomains.gate(expert, points[rows])
    assert (total == GATE_ONE**3).all()


def test_gate_is_a_clamped_tent() -> None:
    subdomains = Subdomains((0, 0, 0), 64, HALO, np.array([[1, 1, 1]], np.int32))
    line = np.stack([np.arange(64 - HALO, 128 + HALO), np.full(80, 96), np.full(80, 96)], axis=1)
    gate = subdomains.gate(0, line) / GATE_ONE**3
    assert (gate > 0).all()
    assert (gate[2 * HALO : -2 * HALO] == 1).all()
    assert np.allclose(np.diff(gate[: 2 * HALO]), 1 / (2 * HALO))
    assert np.array_equal(gate, gate[::-1])


def test_every_active_block_has_an_expert_and_empty_cubes_have_none() -> None:
    rng = np.random.default_rng(1)
    blocks = np.unique(np.concatenate([rng.integers(-5, 5, (50, 3)), rng.integers(40, 60, (50, 3))]) * 8, axis=0)
    subdomains = decompose(blocks.min(axis=0), blocks.max(axis=0) + 7, blocks, 64)
    members = subdomains.members(blocks)
    assert set(np.concatenate(members)) == set(range(len(blocks)))
    assert all(len(rows) for rows in members)
    assert len(subdomains) < ((blocks.max(axis=0) - blocks.min(axis=0)) // 64 + 1).prod()
    for expert, rows in enumerate(members):
        assert (subdomains.gate(expert, blocks[rows]) > 0).all()


def test_a_small_volume_is_one_subdomain_without_halo() -> None:
    subdomains = decompose(np.array([-3, 5, 9]), np.array([30, 20, 20]), np.array([[0, 8, 16]]), 1024)
    assert (len(subdomains), subdomains.halo, subdomains.extent) == (1, 0, 40)
    assert subdomains.in_leaf_units().extent == 5


@pytest.mark.parametrize(
    "change",
    [
        {"size": 7}, {"size": 0}, {"halo": 4}, {"cells": [[1, 2]]}, {"cells": [[0, 0, 1]] * 2},
        {"cells": [[0.0, 0, 1]]}, {"origin": "abc"}, None,
    ],
)  # fmt: skip
def test_bad_descriptions_are_refused(change: dict | None) -> None:
    good = Subdomains((0, 8, 16), 64, 8, np.array([[0, 0, 1]], np.int32))
    assert Subdomains.from_json(good.to_json()).corners.tolist() == good.corners.tolist()
    with pytest.raises(FormatError):
        Subdomains.from_json(None if change is None else good.to_json() | change)
