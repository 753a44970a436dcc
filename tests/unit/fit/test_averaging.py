"""Averaged weights: the mean they are, the network left as it was, and phases that end by them."""

import numpy as np
import torch

from fieldcodec.fit.averaging import AveragedWeights, copied_weights, set_weights
from fieldcodec.fit.loop import fit_network
from fieldcodec.fit.losses import mean_squared_error
from fieldcodec.fit.phases import Phase, ignore_event
from fieldcodec.fit.samplers import PointSampler
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.spec import NetworkSpec

HIGH_RATE = Phase("refine", 200, 0.03, batch_size=32, measure_every=20, average_steps=25)


def _network() -> ExpertNetwork:
    return ExpertNetwork(NetworkSpec(experts=1, extent=32, outputs=1, width=16, depth=2, fourier_size=8))


def _noisy() -> PointSampler:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 32, (2000, 3))
    return PointSampler([points], [np.sin(points[:, :1] / 8) + rng.normal(0, 0.3, (2000, 1))])


def _fitted(network: ExpertNetwork, *phases: Phase):
    return fit_network(
        network, _noisy(), list(phases), mean_squared_error, seed=0, stage="test", on_event=ignore_event
    )  # fmt: skip


def test_the_mean_forgets_what_is_older_than_its_horizon() -> None:
    network = _network()
    average = AveragedWeights(network, 10)
    for value in [5.0] * 100 + [1.0] * 100:
        set_weights(network, [torch.full_like(tensor, value) for tensor in network.stored])
        average.add()
    assert all(torch.allclose(tensor, torch.ones(()), atol=1e-3) for tensor in average.weights)


def test_the_first_steps_hardly_count() -> None:
    network = _network()
    average = AveragedWeights(network, 1000)
    for value in range(1, 91):
        set_weights(network, [torch.full_like(tensor, float(value)) for tensor in network.stored])
        average.add()
    assert all(60 < tensor.mean() < 75 for tensor in average.weights)


def test_in_place_gives_the_weights_back() -> None:
    network = _network()
    average, own = AveragedWeights(network, 4), copied_weights(network)
    set_weights(network, [tensor + 1 for tensor in own])
    with average.in_place():
        assert all(torch.equal(a, b) for a, b in zip(network.stored, own, strict=True))
    assert all(torch.equal(a, b + 1) for a, b in zip(network.stored, own, strict=True))


def test_a_phase_that_measures_ends_with_less_noise_than_its_last_step() -> None:
    measured, plain = _network(), _network()
    smooth = _fitted(measured, HIGH_RATE).free_loss
    noisy = _fitted(plain, Phase("fit", 200, 0.03, batch_size=32)).free_loss
    assert smooth < 0.95 * noisy


def test_a_phase_that_measures_never_leaves_a_network_worse() -> None:
    network = _network()
    good = _fitted(network, Phase("fit", 300, 0.01, batch_size=512, fade=0.98)).free_loss
    before = copied_weights(network)
    result = _fitted(network, Phase("refine", 30, 1.0, batch_size=32, measure_every=20, average_steps=25))
    assert (result.steps, result.free_loss) == (30, good)
    assert all(torch.equal(a, b) for a, b in zip(network.stored, before, strict=True))


def test_a_phase_that_measures_ends_at_its_goal() -> None:
    first = _fitted(_network(), HIGH_RATE)
    goal = 1.05 * first.free_loss
    again = _fitted(_network(), Phase(**(vars(HIGH_RATE) | {"target_loss": goal})))
    assert again.steps < first.steps
    assert again.steps % HIGH_RATE.measure_every == 0
    assert again.free_loss <= goal
