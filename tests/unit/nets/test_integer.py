"""Exact evaluation: integers only, the same in any order and thread count, close to the float network."""

import math

import numpy as np
import pytest
import torch

from fieldcodec.nets import integer
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.fourier import integer_frequencies
from fieldcodec.nets.frozen import FrozenNetwork, IntegerTensor
from fieldcodec.nets.integer import LOGIT_UNIT, VALUE_UNIT, ExactNetwork
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.threads import VARIABLE


def _network(activation: str, mapping: str, outputs: int = 2) -> ExpertNetwork:
    spec = NetworkSpec(
        experts=2, extent=96, outputs=outputs, width=24, depth=2, activation=activation, frequency=2.0,
        feature_map=mapping, fourier_size=20, hash_levels=4, hash_log2_table=8, hash_base=4, hash_finest=32,
    )  # fmt: skip
    network = ExpertNetwork(spec)
    generator = torch.Generator().manual_seed(3)
    for bias in network.biases:
        bias.data.uniform_(-0.2, 0.2, generator=generator)
    if mapping == "hash":
        network.features.table.data.uniform_(-1, 1, generator=generator)
    return network


def _points(count: int = 600) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 96, (count, 3)).astype(np.int32)


@pytest.mark.parametrize("activation", ["sin", "relu", "tanh"])
@pytest.mark.parametrize("mapping", ["fourier", "hash"])
@pytest.mark.parametrize("bits", [8, None])
def test_exact_logits_follow_the_float_network(activation: str, mapping: str, bits: int | None) -> None:
    frozen = FrozenNetwork.of(_network(activation, mapping), bits)
    points = _points()
    with torch.inference_mode():
        local = torch.from_numpy(points).float()[None].expand(2, -1, -1)
        expected = frozen.module()(local).numpy()
    for expert in range(2):
        logits = ExactNetwork(frozen).logits(expert, points) / LOGIT_UNIT
        assert np.abs(logits - expected[expert]).max() < 1 / LOGIT_UNIT + 0.05
        assert logits.std() > 0.05  # the comparison would be empty otherwise


@pytest.mark.parametrize("activation", ["sin", "relu", "tanh"])
def test_outputs_of_regressors_are_finer_than_logits(activation: str) -> None:
    frozen = FrozenNetwork.of(_network(activation, "fourier"), 8)
    points = _points()
    with torch.inference_mode():
        expected = frozen.module()(torch.from_numpy(points).float()[None].expand(2, -1, -1))[0].numpy()
    errors = [
        np.sqrt(np.mean((ExactNetwork(frozen, unit).logits(0, points) / unit - expected) ** 2))
        for unit in (LOGIT_UNIT, VALUE_UNIT)
    ]
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.005


def test_the_result_is_the_one_of_plain_integers() -> None:
    """An independent evaluation in Python's unbounded integers gives the same logits, digit for digit."""
    frozen = FrozenNetwork.of(_network("sin", "fourier"), 8)
    points = _points(7)
    network = ExactNetwork(frozen)
    spec = frozen.spec
    frequencies = integer_frequencies(spec.fourier_size, spec.fourier_scale, spec.extent, spec.seed).tolist()
    amplitudes = [integer._amplitude(frozen.integer(2 * layer).values[0]) for layer in range(3)]

    def sine(index: int, amplitude: int) -> int:
        return round(amplitude * math.sin(2 * math.pi * (index % 4096) / 4096))

    expected = []
    for point in points.tolist():
        indices = [
            ((sum(a * b for a, b in zip(row, point, strict=True)) + (1 << 19)) % (1 << 32)) >> 20 for row in frequencies
        ]
        hidden = [sine(i, amplitudes[0]) for i in indices] + [sine(i + 1024, amplitudes[0]) for i in indices]
        unit = 1.0 / amplitudes[0]
        for layer in range(3):
            weight, bias = frozen.integer(2 * layer), frozen.integer(2 * layer + 1)
            scale = float(LOGIT_UNIT) if layer == 2 else spec.frequency * 4096 * 0.15915494309189535
            multiplier = round(float(weight.scales[0]) * unit * scale * 2**20)
            offsets = [
                round((value * float(bias.scales[0]) * scale + 0.5) * 2**20) for value in bias.values[0].tolist()
            ]
            sums = [sum(h * int(w) for h, w in zip(hidden, column, strict=True)) for column in weight.values[0].T]
            indices = [(total * multiplier + offset) >> 20 for total, offset in zip(sums, offsets, strict=True)]
            if layer < 2:
                hidden, unit = [sine(i, amplitudes[layer + 1]) for i in indices], 1.0 / amplitudes[layer + 1]
        expected.append(indices)
    assert network.logits(0, points).tolist() == expected


def test_thread_count_and_batch_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ExactNetwork(FrozenNetwork.of(_network("sin", "fourier"), 8))
    points = _points(10_000)  # pieces of work for several threads
    whole = network.logits(1, points)
    for threads in ("1", "3"):
        monkeypatch.setenv(VARIABLE, threads)
        assert np.array_equal(network.logits(1, points), whole)
    shuffled = np.random.default_rng(0).permutation(10_000)
    assert np.array_equal(network.logits(1, points[shuffled]), whole[shuffled])
    assert np.array_equal(network.logits(1, points[:1]), whole[:1])


def test_partial_sums_never_leave_the_exact_range() -> None:
    for weight in (np.full((500, 3), 127), np.eye(4, dtype=int), np.zeros((3, 2), int)):
        amplitude = integer._amplitude(weight)
        assert 1 <= amplitude < 4096
        assert np.abs(weight).sum(axis=0).max() * amplitude < 1 << 24


@pytest.mark.parametrize("amplitude", [1, 100, 257, 511, 1023, 2048, 4095])
def test_sine_tables_are_far_from_rounding_boundaries(amplitude: int) -> None:
    """A mathematics library that errs in the last bit still gives the same table."""
    values = amplitude * np.sin(np.pi / 2 * np.arange(1025) / 1024)
    distance = np.abs(values - np.floor(values) - 0.5)
    # sin(30 degrees) is exactly 1/2 nowhere in the table: 1024 / 3 is not whole
    assert distance.min() > 1e-9
    table = integer._sine_table(amplitude)
    assert table[0] == 0
    assert table[1024] == amplitude
    assert np.array_equal(table[:2048], -table[2048:])


def test_random_frequencies_are_fixed_for_ever() -> None:
    """Files hold a seed only: these numbers must never change."""
    assert integer_frequencies(2, 5.0, 640, 0).tolist() == EXPECTED_FREQUENCIES
    many = integer_frequencies(4000, 5.0, 640, 1) / 2**32 * 640 / 5.0
    assert abs(many.mean()) < 0.03
    assert abs(many.std() - 1) < 0.03


EXPECTED_FREQUENCIES = [[2219008, 3484672, -36374016], [-8705536, 7570432, -36544512]]


def test_rounding_to_integers_keeps_reals_within_half_a_step() -> None:
    real = np.random.default_rng(2).normal(size=(3, 10, 4))
    real[1] = 0
    tensor = IntegerTensor.of(real, 8)
    assert np.abs(tensor.values).max() == 127
    assert np.abs(tensor.real() - real).max() <= tensor.scales.max() / 2 * (1 + 1e-6)
    assert not tensor.values[1].any()
