"""Steps of rounding: as coarse as the loss tolerates, finer where a tensor matters more."""

import numpy as np
import pytest
import torch

from fieldcodec.fit import held_out
from fieldcodec.fit.held_out import HeldOut
from fieldcodec.fit.loop import fit_network
from fieldcodec.fit.losses import mean_squared_error
from fieldcodec.fit.phases import Phase, ignore_event
from fieldcodec.fit.rounding import choose_steps
from fieldcodec.fit.samplers import PointSampler
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.rounding import finest_steps, round_to_steps
from fieldcodec.nets.spec import NetworkSpec


def _sampler(experts: int = 2) -> PointSampler:
    """The first expert's values are waves, those of the others have noise that no network can follow."""
    points = [np.random.default_rng(k).integers(0, 32, (4000, 3)) for k in range(experts)]
    noise = [np.random.default_rng(k).normal(0, 0.3 * min(k, 1), (4000, 1)) for k in range(experts)]
    return PointSampler(points, [np.sin(p[:, :1] / 8) + n for p, n in zip(points, noise, strict=True)])


@pytest.fixture(scope="module")
def fitted() -> ExpertNetwork:
    spec = NetworkSpec(experts=2, extent=32, outputs=1, width=16, depth=2, fourier_size=8, fourier_scale=1.0)
    network = ExpertNetwork(spec)
    phases = [Phase("fit", 400, 0.01, batch_size=256), Phase("fade", 100, 0.005, fade=0.98, batch_size=256)]
    fit_network(network, _sampler(), phases, mean_squared_error, seed=0, stage="", on_event=ignore_event)
    return network


def _phase(tolerance: float, bits: int = 10, limit: float = 0.0) -> Phase:
    return Phase("settle", 1, 1e-3, weight_bits=bits, rounding_tolerance=tolerance, rounding_limit=limit)


def _growth(network: ExpertNetwork, samples: HeldOut, phase: Phase) -> tuple[torch.Tensor, list[torch.Tensor]]:
    free = samples.losses(network, mean_squared_error)
    network.steps = choose_steps(network, samples, mean_squared_error, phase)
    rounded = samples.losses(network, mean_squared_error)
    steps, network.steps = network.steps, None
    return rounded / free - 1, steps


def test_the_tolerance_is_used_up_and_kept(fitted: ExpertNetwork) -> None:
    samples = HeldOut.of(_sampler(), 2, seed=0)
    before = [tensor.detach().clone() for tensor in fitted.stored]
    last: list[torch.Tensor] = []
    for tolerance in (0.1, 0.5, 3.0):
        growth, steps = _growth(fitted, samples, _phase(tolerance))
        assert (growth <= tolerance).all()
        assert (growth > 0.15 * tolerance).all()
        assert all(step.shape == (2,) for step in steps)
        if last:
            assert all((now >= then).all() for now, then in zip(steps, last, strict=True))
        last = steps
    # the expert that fits worse, for its values are noisy, is rounded more coarsely
    assert last[0][1] > last[0][0]
    # probing leaves nothing behind
    assert all(torch.equal(tensor, kept) for tensor, kept in zip(fitted.stored, before, strict=True))


def test_a_limit_takes_the_place_of_the_tolerance_where_it_can_be_kept(fitted: ExpertNetwork) -> None:
    samples = HeldOut.of(_sampler(), 2, seed=0)
    free = samples.losses(fitted, mean_squared_error)
    limit = float(free.min()) * 1.5  # only the first expert is below
    growth, _ = _growth(fitted, samples, _phase(0.1, limit=limit))
    assert 0.15 < growth[0] <= 1.0  # half of which training is expected to take back
    assert growth[1] <= 0.1
    growth, _ = _growth(fitted, samples, _phase(3.0, limit=float(free.max()) * 1.05))
    assert growth[1] <= 0.1  # a large tolerance does not break the limit


def test_steps_are_never_finer_than_the_bits_allow(fitted: ExpertNetwork) -> None:
    samples = HeldOut.of(_sampler(), 2, seed=0)
    finest = [finest_steps(*pair) for pair in zip(fitted.stored, fitted.stored_bits(5), strict=True)]
    exact = choose_steps(fitted, samples, mean_squared_error, _phase(0.0, bits=5))
    assert all(torch.equal(step, fine) for step, fine in zip(exact, finest, strict=True))
    chosen = choose_steps(fitted, samples, mean_squared_error, _phase(0.01, bits=5))
    assert all((step >= fine).all() for step, fine in zip(chosen, finest, strict=True))


def test_a_loss_of_nothing_does_no_harm(fitted: ExpertNetwork) -> None:
    def nothing(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (predicted - target).mean(dim=(1, 2)) * 0

    steps = choose_steps(fitted, HeldOut.of(_sampler(), 2, seed=0), nothing, _phase(0.3))
    assert all((torch.isfinite(step) & (step > 0)).all() for step in steps)


def test_many_experts_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch, fitted: ExpertNetwork) -> None:
    samples = HeldOut.of(_sampler(), 2, seed=0)
    whole = samples.losses(fitted, mean_squared_error)
    monkeypatch.setattr(held_out, "_AT_ONCE", 2 * 300)
    assert torch.allclose(samples.losses(fitted, mean_squared_error), whole)


def test_rounding_passes_gradients_and_stays_in_range() -> None:
    parameter = torch.tensor([[0.26, -0.9], [5000.0, 3.0]], requires_grad=True)
    rounded = round_to_steps(parameter, torch.tensor([0.5, 1.0]))
    assert rounded.tolist() == [[0.5, -1.0], [2047.0, 3.0]]
    rounded.sum().backward()
    assert parameter.grad is not None
    assert (parameter.grad == 1).all()


def test_samples_held_out_are_the_same_for_a_seed_and_others_than_trained_on() -> None:
    sampler = _sampler()
    one, again, other = (HeldOut.of(sampler, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(one.local, again.local)
    assert not torch.equal(one.local, other.local)
    trained, _ = sampler.draw(np.random.default_rng(0), one.local.shape[1])
    assert not torch.equal(one.local, torch.from_numpy(trained))
    assert HeldOut.of(_sampler(3), 100, 0).local.shape[1] == 1024
