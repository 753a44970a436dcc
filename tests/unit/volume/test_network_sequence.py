"""Networks of a sequence: they start from the frame before, are stored as differences to it, and decode exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitResult, ignore_event
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.nets.frozen import IntegerTensor
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.decode import decode_grid
from fieldcodec.volume.encode import encode_grid
from fieldcodec.volume.network_chain import DIFFERENCES, earlier_experts, expert_field
from fieldcodec.volume.networks import decode_network, decode_network_differences, encode_network_differences
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.subdomains import Subdomains, continued
from fieldcodec.volume.training import refinement_phases, together

CPU = torch.device("cpu")
SETTINGS = VolumeSettings(
    method="network", tree="explicit", value_width=16, value_depth=2, fourier_size=24, fourier_scale=1.5,
    learning_rate=0.01, epochs=200, batch_size=512, target_rmse=0.0, level0_width=8, level1_width=8,
)  # fmt: skip
SECTION = "voxel regressor"


def _encode(
    grid: SparseGrid, settings: VolumeSettings = SETTINGS, reference: CompressedGrid | None = None,
    domain: tuple[np.ndarray, np.ndarray] | None = None, *, leads: bool = False,
) -> CompressedGrid:  # fmt: skip
    return encode_grid(grid, settings, CPU, ignore_event, reference=reference, leads=leads, domain=domain)


def _domain(grids: list[SparseGrid]) -> tuple[np.ndarray, np.ndarray]:
    bounds = [grid.topology.active_bounds for grid in grids]
    lows, highs = zip(*[pair for pair in bounds if pair is not None], strict=True)
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _chain(grids: list[SparseGrid], settings: VolumeSettings = SETTINGS) -> list[CompressedGrid]:
    domain, chain = _domain(grids), list[CompressedGrid]()
    for grid in grids:
        chain.append(_encode(grid, settings, chain[-1] if chain else None, domain, leads=not chain))
    return chain


def _integers(grid: CompressedGrid, role: str = "values") -> list[np.ndarray]:
    field = expert_field(grid, role)
    assert field is not None
    return [tensor.values for tensor in field.frozen.tensors if isinstance(tensor, IntegerTensor)]


def _error(grid: SparseGrid, compressed: CompressedGrid) -> float:
    decoded = decode_grid(compressed, CPU, ignore_event)
    assert decoded.topology.equals(grid.topology)
    active = grid.active_values()
    return float(np.sqrt(np.mean((decoded.active_values() - active) ** 2)) / np.ptp(active))


def _wave(shift: float, low: int = 0, high: int = 64, scale: float = 1.0) -> SparseGrid:
    """Smooth values in a bar of 8 x 8 voxels along x."""
    x, y, z = np.meshgrid(np.arange(low, high), np.arange(8), np.arange(8), indexing="ij")
    values = scale * (1 + 0.5 * np.sin((x + shift) / 9) * np.cos(y / 5 + z / 7))
    return grid_of_dense("wave", values[..., None], np.ones(x.shape, bool), origin=(low, 0, 0), value_type="float")


@pytest.fixture(scope="module")
def spheres() -> list[SparseGrid]:
    return [sphere_level_set(16.0, centre=(0.4 * k, 0.0, 0.0)) for k in range(3)]


@pytest.fixture(scope="module")
def chain(spheres: list[SparseGrid]) -> list[CompressedGrid]:
    return _chain(spheres)


def test_later_frames_take_fewer_steps_and_bytes(spheres: list[SparseGrid], chain: list[CompressedGrid]) -> None:
    first = chain[0]
    assert first.reference is None
    assert DIFFERENCES not in first.meta
    assert not first.fits["values"].from_earlier
    assert first.fits["values"].steps > SETTINGS.epochs  # processed again
    for number, frame in enumerate(chain[1:], 1):
        fit = frame.fits["values"]
        assert frame.reference is chain[number - 1]
        assert frame.meta[DIFFERENCES] == ["values"]
        assert fit.from_earlier
        assert fit.goal == first.fits["values"].goal > 0
        assert fit.free_loss <= fit.goal
        assert fit.steps < 0.7 * SETTINGS.epochs
        assert len(frame.sections[SECTION]) < 0.75 * len(first.sections[SECTION])
    errors = [_error(grid, frame) for grid, frame in zip(spheres, chain, strict=True)]
    assert max(errors) < 1.3 * errors[0]


def test_a_group_in_a_file_decodes_as_it_was_encoded(spheres: list[SparseGrid], chain: list[CompressedGrid]) -> None:
    group = CompressedGroup((4, 5, 6), tuple(CompressedVolume((grid,)) for grid in chain))
    read = CompressedGroup.from_bytes(group.to_bytes())
    for place in (2, 0, 1):
        grid = read.volumes[place].grids[0]
        assert all(np.array_equal(a, b) for a, b in zip(_integers(grid), _integers(chain[place]), strict=True))
        ours, theirs = (decode_grid(each, CPU, ignore_event) for each in (chain[place], grid))
        assert np.array_equal(ours.leaf_values, theirs.leaf_values)
        assert theirs.topology.equals(spheres[place].topology)


def test_a_frame_that_did_not_change_takes_no_step(spheres: list[SparseGrid], chain: list[CompressedGrid]) -> None:
    again = _encode(spheres[0], reference=chain[0])
    assert again.fits["values"].steps == 0
    assert math.isclose(again.fits["values"].loss, chain[0].fits["values"].goal)
    assert len(again.sections[SECTION]) < 0.1 * len(chain[0].sections[SECTION])
    assert all(np.array_equal(a, b) for a, b in zip(_integers(again), _integers(chain[0]), strict=True))


def test_domains_come_and_go() -> None:
    settings = replace(SETTINGS, subdomain_size=64, epochs=80)
    grids = [_wave(0, 0, 128), _wave(1, -64, 128), _wave(2, -64, 64)]
    chain = _chain(grids, settings)
    experts = [[tuple(cell) for cell in frame.subdomains.cells.tolist()] for frame in chain]
    assert [len(cells) for cells in experts] == [2, 3, 2]
    assert all(cell in experts[1] for cell in experts[0] + experts[2])
    assert [frame.meta.get(DIFFERENCES) for frame in chain] == [None, ["values"], ["values"]]
    # two experts of three begin with weights and steps of the frame before; the new one is fitted twice on its own
    assert chain[1].fits["values"].steps > settings.epochs
    assert chain[2].fits["values"].steps <= settings.epochs
    fields = [expert_field(frame, "values") for frame in chain]
    for number, place in ((1, 0), (2, 1)):
        now, before = fields[number], fields[place]
        assert now is not None
        assert before is not None
        rows = earlier_experts(now.subdomains, before.subdomains)
        assert rows is not None
        for a, b in zip(now.frozen.tensors, before.frozen.tensors, strict=True):
            assert isinstance(a, IntegerTensor)
            assert isinstance(b, IntegerTensor)
            assert np.array_equal(a.scales[rows >= 0], b.scales[rows[rows >= 0]])
    assert max(_error(grid, frame) for grid, frame in zip(grids, chain, strict=True)) < 0.1


def test_range_of_values_is_kept_while_it_is_about_the_same() -> None:
    settings = replace(SETTINGS, epochs=60)
    first = _encode(_wave(0), settings, domain=_domain([_wave(0)]))
    similar = _encode(_wave(0.5, scale=1.5), settings, first)
    other = _encode(_wave(0.5, scale=2.5), settings, first)
    assert similar.meta["values"]["scale"] == first.meta["values"]["scale"]
    assert similar.meta["values"]["high"][0] > 1.4 * first.meta["values"]["high"][0]
    assert similar.fits["values"].from_earlier
    assert other.meta["values"]["scale"][0] > 2 * first.meta["values"]["scale"][0]
    assert not other.fits["values"].from_earlier
    assert other.reference is None
    # a grid that outgrew its only domain, and one stored in another way, begin anew
    grown = _encode(_wave(0, 0, 96), settings, first)
    assert (grown.fits["values"].from_earlier, grown.reference) == (False, None)
    halves = _encode(_wave(0), replace(settings, weights="half"), first)
    assert (halves.fits["values"].from_earlier, halves.reference) == (False, None)


def test_halves_start_from_the_frame_before_and_stand_alone() -> None:
    chain = _chain([_wave(0), _wave(0.2)], replace(SETTINGS, weights="half", settle=0.0))
    assert chain[1].fits["values"].from_earlier
    assert chain[1].fits["values"].steps < SETTINGS.epochs
    assert chain[1].reference is None
    assert DIFFERENCES not in chain[1].meta
    assert _error(_wave(0.2), chain[1]) < 0.1


def test_classifiers_of_later_frames_are_differences_too(spheres: list[SparseGrid]) -> None:
    chain = _chain(spheres[:2], replace(SETTINGS, tree="neural", epochs=60))
    assert set(chain[1].meta[DIFFERENCES]) == {"level0", "level1", "values"}
    assert all(fit.from_earlier for fit in chain[1].fits.values())
    assert _error(spheres[1], chain[1]) < 0.2
    for section in ("level-0 classifier", "level-1 classifier", SECTION):
        assert len(chain[1].sections[section]) < len(chain[0].sections[section])


def test_a_target_is_enough_for_later_frames(spheres: list[SparseGrid]) -> None:
    settings = replace(SETTINGS, target_rmse=0.04, epochs=400)
    first, later = (frame.fits["values"] for frame in _chain(spheres[:2], settings))
    allowed = (settings.target_rmse * 2) ** 2  # the network's range is -1..1
    assert first.goal < allowed
    assert first.goal < later.free_loss <= 0.9 * allowed or later.free_loss <= first.goal
    assert later.steps < 0.5 * first.steps


def test_the_learning_rate_of_later_frames_can_be_chosen() -> None:
    chosen, asked = (refinement_phases(replace(SETTINGS, refine_learning_rate=rate), 0.1, 9)[0] for rate in (0, 0.003))
    assert chosen.rate(8) == SETTINGS.learning_rate
    assert asked.rate(8) == 0.003
    assert (asked.steps, asked.target_loss, asked.weight_bits) == (9, 0.1, SETTINGS.weight_bits)


def test_long_chains_are_decoded_one_by_one(chain: list[CompressedGrid]) -> None:
    field = expert_field(chain[0], "values")
    assert field is not None
    zeros = encode_network_differences(field.frozen, field.frozen, np.zeros(1, np.int64))
    assert zeros is not None
    grid = chain[0]
    for _ in range(2000):  # far deeper than Python's stack
        grid = CompressedGrid(chain[0].meta | {DIFFERENCES: ["values"]}, {SECTION: zeros}, reference=grid)
    assert all(np.array_equal(a, b) for a, b in zip(_integers(grid), _integers(chain[0]), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({DIFFERENCES: "values"}, "needed is a list"),
        ({DIFFERENCES: ["walls"]}, "needed is a list"),
        ({DIFFERENCES: [["values"]]}, "needed is a list"),
        ({"weights": "half"}, "cannot be differences"),
        ({"subdomains": {"origin": [-32, -32, -32], "size": 64, "halo": 0, "cells": [[0, 0, 0]]}}, "extent"),
    ],
)
def test_bad_descriptions_are_refused(chain: list[CompressedGrid], change: dict, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        expert_field(replace(chain[1], meta=chain[1].meta | change), "values")


def test_bad_references_are_refused(chain: list[CompressedGrid]) -> None:
    grid, meta = chain[1], chain[0].meta
    with pytest.raises(FormatError, match="no earlier frame"):
        expert_field(replace(grid, reference=None), "values")
    with pytest.raises(FormatError, match="no earlier frame"):
        expert_field(replace(grid, reference=replace(chain[0], meta=meta | {"networks": {}})), "values")
    moved = meta["subdomains"] | {"origin": [8 + x for x in meta["subdomains"]["origin"]]}
    with pytest.raises(FormatError, match="other subdomains"):
        expert_field(replace(grid, reference=replace(chain[0], meta=meta | {"subdomains": moved})), "values")
    wider = meta["networks"]["values"] | {"seed": 5}
    other = replace(chain[0], meta=meta | {"networks": {"values": wider}})
    with pytest.raises(FormatError, match="another shape"):
        expert_field(replace(grid, reference=other), "values")
    with pytest.raises(FormatError):
        expert_field(replace(grid, sections=dict(grid.sections) | {SECTION: b""}), "values")


def test_weights_of_no_expert_are_refused(chain: list[CompressedGrid]) -> None:
    field = expert_field(chain[0], "values")
    assert field is not None
    none = np.zeros(1, np.int64)
    data = encode_network_differences(field.frozen, field.frozen, none)
    assert data is not None
    assert data[-1] == 0  # the length of what new experts take
    with pytest.raises(FormatError, match="no expert is new"):
        decode_network_differences(data[:-1] + b"\1x", field.frozen.spec, field.frozen, none)
    halves = replace(field.frozen, tensors=tuple(field.frozen.real(k).astype(np.float16) for k in range(6)))
    assert encode_network_differences(halves, halves, none) is None
    with pytest.raises(FormatError, match="halves"):
        decode_network_differences(data, field.frozen.spec, halves, none)


def test_other_scales_cannot_be_differences(chain: list[CompressedGrid]) -> None:
    field = expert_field(chain[0], "values")
    assert field is not None
    first = field.frozen.tensors[0]
    assert isinstance(first, IntegerTensor)
    other = replace(field.frozen, tensors=(IntegerTensor(first.values, first.scales * 2), *field.frozen.tensors[1:]))
    assert encode_network_differences(other, field.frozen, np.zeros(1, np.int64)) is None
    far, near = (
        replace(
            field.frozen, tensors=(IntegerTensor(0 * first.values + number, first.scales), *field.frozen.tensors[1:])
        )
        for number in (-2047, 1)
    )
    assert encode_network_differences(far, near, np.zeros(1, np.int64)) is None
    data = chain[0].section(SECTION)
    assert decode_network(data, field.frozen.spec, "quantised").spec == field.frozen.spec


def test_a_lattice_of_domains_goes_on_in_all_directions() -> None:
    first = Subdomains((0, 0, 0), 64, 8, np.array([[0, 0, 0], [1, 0, 0]], np.int32))
    later = continued(first, np.array([[-8, 0, 0], [64, 0, 0], [72, 8, 0]]))
    assert later is not None
    assert later.cells.tolist() == [[-1, 0, 0], [1, 0, 0]]
    rows = earlier_experts(later, first)
    assert rows is not None
    assert rows.tolist() == [-1, 1]
    assert earlier_experts(later, replace(first, size=128)) is None
    single = replace(first, halo=0, cells=np.zeros((1, 3), np.int32))
    assert continued(single, np.array([[8, 8, 8]])) is not None
    assert continued(single, np.array([[8, 8, 8], [64, 0, 0]])) is None


def test_steps_of_two_fits_add_up() -> None:
    first, then = FitResult(3, 30, 0.5, 1.0, 0.4), FitResult(4, 40, 0.2, 2.0, 0.1)
    assert together(first, then) == FitResult(7, 70, 0.2, 3.0, 0.1)
