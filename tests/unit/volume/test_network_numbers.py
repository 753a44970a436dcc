"""Leaf masks guided by a network's integers: smaller, exact, the same in any order, and safe against hostile files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import fieldcodec as fc
from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import ignore_event
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing.samples import dense, sphere
from fieldcodec.volume import network_encode, network_numbers
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.decode import decode_grid, decode_topology
from fieldcodec.volume.fields import FieldEvaluator, active_points
from fieldcodec.volume.network_chain import expert_field
from fieldcodec.volume.network_numbers import NOWHERE, guide, guided_masks, sampled_leaves
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.outside import Outside, values_tell_masks
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.training import Trainer

SETTINGS = VolumeSettings(
    method="network", value_width=24, value_depth=2, fourier_size=24, fourier_scale=2.0, learning_rate=0.01,
    epochs=150, batch_size=1024, target_rmse=0.0, level0_width=8, level1_width=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def grid() -> SparseGrid:
    return sphere()


@pytest.fixture(scope="module")
def guided(grid: SparseGrid) -> CompressedVolume:
    return CompressedVolume.from_bytes(fc.encode_volume(grid, SETTINGS, device="cpu").to_bytes())


def test_masks_of_a_level_set_follow_from_its_values(grid: SparseGrid, guided: CompressedVolume) -> None:
    plain = fc.encode_volume(grid, replace(SETTINGS, weights="half"), device="cpu")
    info = guided[0]
    assert info.meta["values"]["guided"] is True
    assert info.meta["values"]["banded"] is True
    assert info.guiding_network is not None
    assert "guided" not in plain[0].meta["values"]
    assert plain[0].guiding_network is None
    assert set(info.network_specs) == {"values"}
    assert len(info.sections["leaf masks"]) < 0.8 * len(plain[0].sections["leaf masks"])
    decoded = guided.to_grids(device="cpu")[0]
    assert decoded.topology.equals(grid.topology)
    inactive = ~grid.topology.leaf_active_bits
    assert np.array_equal(decoded.leaf_values[inactive], grid.leaf_values[inactive])


def test_values_of_integers_are_those_of_the_network(grid: SparseGrid, guided: CompressedVolume) -> None:
    decoded = guided.to_grids(device="cpu")[0]
    field = expert_field(guided[0], "values")
    assert field is not None
    points = active_points(grid.topology.leaf_origins, grid.topology.leaf_active)
    normalisation = Normalisation.from_json(guided[0].meta["values"], 1)
    real = FieldEvaluator(field, torch.device("cpu")).values(points)
    expected = normalisation.invert(real, np.dtype(np.float32), False)
    error = decoded.active_values() - expected
    assert np.sqrt(np.mean(error**2)) < 0.003 * float(grid.background[0])


def test_numbers_do_not_depend_on_blocks_and_order(grid: SparseGrid, guided: CompressedVolume) -> None:
    field, spec = expert_field(guided[0], "values"), guided[0].guiding_network
    assert field is not None
    assert spec is not None
    origins = grid.topology.leaf_origins
    fixed, margins = guide(field, spec, origins, grid.background)
    turned = guide(field, spec, origins[::-1], grid.background)
    assert np.array_equal(fixed[:, ::-1], turned[0])
    assert np.array_equal(margins[::-1], turned[1])
    assert fixed.dtype == np.int32
    assert margins.dtype == np.int16


def test_voxels_without_an_expert_are_no_doubt_inactive(guided: CompressedVolume, grid: SparseGrid) -> None:
    field, spec = expert_field(guided[0], "values"), guided[0].guiding_network
    assert field is not None
    assert spec is not None
    fixed, margins = guide(field, spec, np.array([[1 << 20, 0, -8]], np.int32), grid.background)
    assert (fixed == 0).all()
    assert (margins == NOWHERE).all()


def test_several_experts_and_leaves_with_nothing_active() -> None:
    grid = sphere()
    active = grid.topology.leaf_active.copy()
    active[[0, 5, -1]] = 0
    grid = replace(grid, topology=replace(grid.topology, leaf_active=active))
    settings = replace(SETTINGS, subdomain_size=64, epochs=40)
    compressed = CompressedVolume.from_bytes(fc.encode_volume(grid, settings, device="cpu").to_bytes())
    assert compressed.to_grids(device="cpu")[0].topology.equals(grid.topology)


@pytest.mark.parametrize("kind", ["float", "half", "int32", "vec3s"])
def test_other_grids_are_guided_where_that_is_smaller(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = dense(kind)
    values = grid.leaf_values.astype(np.float64).mean(axis=-1)
    top = replace(grid.topology, leaf_active=masks.pack(grid.topology.leaf_active_bits & (values > np.median(values))))
    held = np.where(top.leaf_active_bits[..., None], grid.leaf_values, grid.background)
    grid = replace(grid, topology=top, leaf_values=held.astype(grid.leaf_values.dtype))
    for gain, expected in ((100.0, True), (0.0, False)):
        monkeypatch.setattr(network_encode, "_GAIN", gain)
        settings = replace(SETTINGS, epochs=20)
        compressed = CompressedVolume.from_bytes(fc.encode_volume(grid, settings, device="cpu").to_bytes())
        assert (compressed[0].guiding_network is not None) == expected
        decoded = compressed.to_grids(device="cpu")[0]
        assert decoded.topology.equals(grid.topology)
        error = decoded.active_values().astype(float) - grid.active_values().astype(float)
        assert np.abs(error).mean() < 0.3 * np.ptp(grid.active_values().astype(float))


def test_explicit_masks_of_classifiers_are_never_guided(grid: SparseGrid) -> None:
    compressed = fc.encode_volume(grid, replace(SETTINGS, tree="neural", epochs=10), device="cpu")
    assert "guided" not in compressed[0].meta["values"]
    assert compressed[0].tree == "neural"


def test_a_sample_that_is_not_smaller_ends_the_attempt(
    grid: SparseGrid, guided: CompressedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, spec = expert_field(guided[0], "values"), guided[0].guiding_network
    assert field is not None
    assert spec is not None
    monkeypatch.setattr(network_numbers, "sampled_leaves", lambda origins, count, seed: np.arange(20))
    assert guided_masks(field, spec, grid.topology, grid.background) == guided[0].sections["leaf masks"]
    monkeypatch.setattr(network_numbers, "_HOPEFUL", 0.0)
    assert guided_masks(field, spec, grid.topology, grid.background) is None


def test_samples_are_whole_lower_nodes() -> None:
    origins = np.stack(np.meshgrid(*[np.arange(-128, 256, 8)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    rows = sampled_leaves(origins, 5000, seed=0)
    node, counts = np.unique(origins[rows] >> 7, axis=0, return_counts=True)
    assert (counts == 4096).all()
    assert len(node) == 2
    assert len(sampled_leaves(origins, 10**9, seed=0)) == len(origins)


def test_weights_too_large_for_integers_leave_plain_masks(grid: SparseGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise FormatError("too large")

    monkeypatch.setattr(network_encode, "guided_masks", refuse)
    compressed = fc.encode_volume(grid, replace(SETTINGS, epochs=5), device="cpu")
    assert compressed[0].guiding_network is None
    assert compressed.to_grids(device="cpu")[0].topology.equals(grid.topology)


@pytest.mark.parametrize(
    "change",
    [
        {"guided": 1}, {"guided": "yes"}, {"banded": None}, {"banded": 0}, {"scale": [0.0]}, {"scale": [-1.0]},
        {"scale": [1e-320]}, {"banded": False}, {"guided": False}, {"method": "lattice"}, {"offset": [1e9]},
    ],
)  # fmt: skip
def test_hostile_descriptions_raise_format_errors(guided: CompressedVolume, change: dict) -> None:
    info = guided[0]
    meta = info.meta | {"values": info.meta["values"] | change}
    with pytest.raises(FormatError):
        decode_topology(replace(info, meta=meta))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"banded": None}, "banded None"), ({"guided": "yes"}, "guided is 'yes'"), ({"guided": 1}, "guided is 1"),
        ({"scale": [0.0]}, "above 0"), ({"scale": [1e-320]}, "above 0"), ({"scale": [True]}, "not understood"),
        ({"scale": 1.0}, "not understood"), ({"scale": [1.0, 1.0]}, "1 finite numbers"),
        ({"low": [10**400]}, "not understood"),
    ],
)  # fmt: skip
def test_hostile_descriptions_are_refused_for_what_they_say(
    guided: CompressedVolume, change: dict, reason: str
) -> None:
    info = guided[0]
    values = {key: value for key, value in (info.meta["values"] | change).items() if value is not None}
    forged = replace(info, meta=info.meta | {"values": values})
    with pytest.raises(FormatError, match=reason):
        decode_topology(forged)
    with pytest.raises(FormatError, match=reason):
        decode_grid(forged, torch.device("cpu"), ignore_event)


@pytest.mark.parametrize("name", ["leaf masks", "voxel regressor", "lower masks"])
def test_damaged_sections_raise_format_errors(guided: CompressedVolume, name: str) -> None:
    info, rng = guided[0], np.random.default_rng(0)
    data = info.sections[name]
    forged = [b"", data[: len(data) // 2], rng.bytes(len(data)), data + b"\0"]
    for place in rng.integers(0, len(data), 4).tolist():
        forged.append(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
    for bad in forged:
        with pytest.raises(FormatError):
            decode_topology(replace(info, sections={**info.sections, name: bad}))


def test_a_guided_grid_needs_its_network(guided: CompressedVolume) -> None:
    info = guided[0]
    with pytest.raises(FormatError, match="there is none"):
        decode_topology(replace(info, meta=info.meta | {"networks": {}}))


def test_what_is_taught_of_a_level_set_is_not_clamped_at_the_band(grid: SparseGrid) -> None:
    outside = Outside.of(grid)
    taught, band = masks.unpack(outside.taught), float(grid.background[0])
    assert not (taught & grid.topology.leaf_active_bits).any()
    distance = np.abs(outside.values[taught][:, 0])
    assert distance.min() >= band
    assert distance.max() > 1.5 * band
    assert outside.banded


def test_what_is_taught_of_fog_is_what_it_holds() -> None:
    grid = dense("vec3s")
    active = grid.topology.leaf_active_bits & (np.arange(512) % 3 > 0)
    grid = replace(grid, topology=replace(grid.topology, leaf_active=masks.pack(active)))
    outside = Outside.of(grid)
    taught = masks.unpack(outside.taught)
    assert 0 < taught.sum() < 0.2 * (~active).sum()
    assert np.array_equal(outside.values, grid.leaf_values.astype(np.float32))


def test_values_tell_masks_where_the_mask_is_a_threshold() -> None:
    grid = dense("float", side=40)
    values = grid.leaf_values[..., 0]
    threshold = np.median(values[grid.topology.leaf_active_bits])
    for active, tells in ((values > threshold, True), (np.random.default_rng(0).random(values.shape) > 0.5, False)):
        topology = replace(grid.topology, leaf_active=masks.pack(active))
        other = replace(grid, topology=topology)
        normalisation = Normalisation.of(other, other.active_values())
        other = replace(other, background=np.array([values.min()], np.float32))
        assert values_tell_masks(other, normalisation, 0.001, 0) == tells


def test_a_regressor_is_taught_what_lies_outside(grid: SparseGrid) -> None:
    settings = replace(SETTINGS, epochs=60).resolved(grid.topology.num_active_leaf_voxels)
    trainer = Trainer(grid, settings, torch.device("cpu"), ignore_event)
    subdomains = trainer.subdomains()
    normalisation = Normalisation.of(grid, grid.active_values())
    outside = Outside.of(grid)
    taught = masks.unpack(outside.taught)
    points = active_points(grid.topology.leaf_origins, outside.taught)
    error = []
    for lesson in (outside, None):
        field, _ = trainer.voxel_values(subdomains, normalisation, lesson)
        given = FieldEvaluator(field, torch.device("cpu")).values(points)[:, 0]
        error.append(np.abs(given - outside.values[taught][:, 0] / normalisation.scale[0]).mean())
    assert error[0] < 0.85 * error[1]
