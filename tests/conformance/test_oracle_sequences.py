"""The codec against the oracle: grids predicted from earlier frames, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldcodec.errors import FormatError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.nets.frozen import FrozenNetwork, IntegerTensor
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.testing.modules import load_module
from fieldcodec.testing.oracle import networks as oracle_networks
from fieldcodec.testing.oracle.sequence import decode_group, decode_sequence
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.networks import encode_network, encode_network_differences
from fieldcodec.volume.sequence.compressed import CompressedSequence
from fieldcodec.volume.sequence.group import CompressedGroup

sequences = load_module(Path(__file__).with_name("oracle_sequences.py"))


def _assert_same(ours: VolumeFile, theirs: VolumeFile) -> None:
    assert [grid.name for grid in ours] == [grid.name for grid in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert isinstance(mine, SparseGrid)
        assert isinstance(other, SparseGrid)
        assert mine.topology.equals(other.topology)
        for values in ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background"):
            assert getattr(mine, values).dtype == getattr(other, values).dtype
            assert getattr(mine, values).tobytes() == getattr(other, values).tobytes()


@pytest.mark.parametrize("name", ["surface", "surface_exact", "signs", "fog", "fog_half", "vectors", "integers_exact"])
def test_groups_of_predicted_grids(name: str) -> None:
    case, group = sequences.CASES[name], sequences.encoded(name)
    data = CompressedSequence.of_groups([group]).to_bytes()
    ours, theirs = CompressedSequence.from_bytes(data), decode_sequence(data)
    assert tuple(ours) == tuple(theirs) == sequences.NUMBERS[: case.frames]
    for frame, number in enumerate(ours):
        volume = ours.frame(number)
        values = volume.grids[0].meta["values"]
        assert (volume.grids[0].reference is not None, "motion" in values) == (frame > 0, frame > 0)
        if frame > 0:
            assert case.expected.items() <= values.items()
            assert {"motion", *case.sections} <= set(volume.grids[0].sections)
        _assert_same(volume.to_grids(device="cpu"), theirs[number])


def test_both_kinds_of_masks_are_there() -> None:
    """With margins of predicted values, and with hints of the earlier frame's states."""
    guided = [
        volume.grids[0].meta["values"]["guided"]
        for name in ("fog", "integers", "vectors")
        for volume in sequences.encoded(name).volumes[1:]
    ]
    assert set(guided) == {True, False}


def test_damage_is_refused() -> None:
    data = sequences.encoded("surface").to_bytes()
    for position in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(FormatError):
            decode_group(bytes(damaged))


def test_networks_stored_as_differences() -> None:
    """Trees and values that guide masks bit for bit, other values within float32's rounding."""
    data = sequences.networks()
    ours, theirs = CompressedSequence.from_bytes(data), decode_sequence(data)
    experts = []
    for place, number in enumerate(ours):
        smoke, drop = ours.frame(number).grids
        experts.append(smoke.subdomains.cells[:, 0].tolist())
        assert set(smoke.meta.get("differences", [])) == (set(smoke.network_specs) if place else set())
        assert drop.meta.get("differences", []) == (["values"] if place else [])
        assert drop.meta["values"]["guided"]
        mine, other = ours.frame(number).to_grids(device="cpu"), theirs[number]
        _assert_same(VolumeFile(mine.grids[1:]), VolumeFile(other.grids[1:]))
        assert isinstance(mine[0], SparseGrid)
        assert isinstance(other[0], SparseGrid)
        assert mine[0].topology.equals(other[0].topology)
        assert mine[0].topology.equals(sequences.smoke(place).topology)
        assert np.abs(mine[0].leaf_values - other[0].leaf_values).max() <= 1e-5
    assert experts == [[1], [0, 1], [0]]  # kept behind a new one, and left out


_SPEC = NetworkSpec(experts=3, extent=16, outputs=2, width=5, depth=1, feature_map="hash", hash_levels=1,
                    hash_log2_table=5, hash_base=2, hash_finest=2)  # fmt: skip


def _network(experts: int, seed: int) -> FrozenNetwork:
    rng, spec = np.random.default_rng(seed), replace(_SPEC, experts=experts)
    return FrozenNetwork(
        spec,
        tuple(
            IntegerTensor(rng.integers(-900, 901, shape, np.int32), rng.random(experts, np.float32) + 1)
            for shape in FrozenNetwork.shapes(spec)
        ),
    )


def _stored(network: FrozenNetwork) -> oracle_networks.Network:
    return oracle_networks.decode_network(
        encode_network(network), oracle_networks.check_spec(network.spec.to_json()), "quantised"
    )


def _with_scales_of(later: FrozenNetwork, earlier: FrozenNetwork, rows: list[int]) -> FrozenNetwork:
    """Kept experts have the scales that they had."""
    tensors = []
    for now, before in zip(later.tensors, earlier.tensors, strict=True):
        assert isinstance(now, IntegerTensor)
        assert isinstance(before, IntegerTensor)
        old = np.where(np.array(rows) >= 0, before.scales[rows], now.scales)
        tensors.append(IntegerTensor(now.values, old))
    return replace(later, tensors=tuple(tensors))


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0], [-1, 2, -1, 0], [1, -1], [-1, -1]])
def test_weights_of_differences(rows: list[int]) -> None:
    """Bit for bit, whichever experts are kept, new or gone."""
    earlier = _network(3, 1)
    later = _with_scales_of(_network(len(rows), 2), earlier, rows)
    data = encode_network_differences(later, earlier, np.array(rows))
    assert data is not None
    spec = oracle_networks.check_spec(later.spec.to_json())
    places = [None if row < 0 else row for row in rows]
    found = oracle_networks.decode_differences(data, spec, _stored(earlier), places)
    assert found.scales is not None
    for expected, tensor, scales in zip(later.tensors, found.tensors, found.scales, strict=True):
        assert isinstance(expected, IntegerTensor)
        assert np.array_equal(expected.values, tensor)
        assert expected.scales.astype(float).tolist() == scales
    wrong = [
        (data[:-1], spec, places), (data + b"\0", spec, places), (data, spec | {"seed": 3}, places),
        (data, spec | {"experts": len(rows) + 1}, [*places, None]),
    ]  # fmt: skip
    for bad, described, of_rows in wrong:
        with pytest.raises(FormatError):
            oracle_networks.decode_differences(bad, described, _stored(earlier), of_rows)


@pytest.mark.parametrize(
    "change",
    [
        {"differences": "values"}, {"differences": ["walls"]}, {"differences": [["values"]]}, {"differences": {}},
        {"weights": "half"},
        {"subdomains": {"origin": [0, 0, 8], "size": 64, "halo": 8, "cells": [[0, 0, 0], [1, 0, 0]]}},
        {"subdomains": {"origin": [0, 0, 0], "size": 64, "halo": 8, "cells": [[0, 0, 0], [0, 0, 0]]}},
    ],
)  # fmt: skip
def test_hostile_descriptions_of_differences_are_refused(change: dict[str, Any]) -> None:
    """By the decoder and by the oracle; a volume, in which nothing is earlier, has no differences at all."""
    group = CompressedSequence.from_bytes(sequences.networks()).group(0)
    first, grid = group.volumes[0].grids[0], group.volumes[1].grids[0]
    forged = replace(grid, meta=grid.meta | change, reference=first)
    files = CompressedGroup(group.numbers[:2], tuple(CompressedVolume((each,)) for each in (first, forged))).to_bytes()
    with pytest.raises(FormatError):
        decode_group(files)
    with pytest.raises(FormatError):
        CompressedGroup.from_bytes(files).volumes[1].to_grids(device="cpu")
