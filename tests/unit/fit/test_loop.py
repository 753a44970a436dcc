"""The fit: it learns, stops when told to, walks its phases, and repeats itself from a seed."""

import math

import numpy as np
import pytest
import torch

from fieldcodec.fit import steps
from fieldcodec.fit.loop import fit_network
from fieldcodec.fit.losses import binary_cross_entropy, cross_entropy, mean_squared_error
from fieldcodec.fit.phases import FitEvent, Phase
from fieldcodec.fit.samplers import PointSampler
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.frozen import FrozenNetwork
from fieldcodec.nets.spec import NetworkSpec


def _network(outputs: int = 1) -> ExpertNetwork:
    spec = NetworkSpec(experts=2, extent=32, outputs=outputs, width=16, depth=2, fourier_size=8, fourier_scale=1.0)
    return ExpertNetwork(spec)


def _sampler(kind: str = "value") -> PointSampler:
    points = [np.random.default_rng(k).integers(0, 32, (400, 3)) for k in range(2)]
    waves = [np.sin(p[:, :1] / 8) * (k + 1) for k, p in enumerate(points)]
    if kind == "classes":
        waves = [np.digitize(w, [-0.3, 0.3]).astype(float) for w in waves]
    elif kind == "states":
        waves = [(w > 0).astype(float) for w in waves]
    return PointSampler(points, waves)


def _fit(network: ExpertNetwork, phases: list[Phase], loss=mean_squared_error, kind: str = "value", seed: int = 0):
    events: list[FitEvent] = []
    result = fit_network(network, _sampler(kind), phases, loss, seed=seed, stage="test", on_event=events.append)
    return result, events


PHASE = Phase("fit", 300, 0.01, batch_size=128)


@pytest.mark.parametrize(
    ("loss", "kind", "outputs", "reached"),
    [
        (mean_squared_error, "value", 1, 0.02),
        (binary_cross_entropy, "states", 1, 0.2),
        (cross_entropy, "classes", 3, 0.4),
    ],
)
def test_every_loss_is_learnt_by_all_experts(loss, kind: str, outputs: int, reached: float) -> None:
    network = _network(outputs)
    result, events = _fit(network, [PHASE], loss, kind)
    assert result.loss < reached
    assert (result.steps, result.samples) == (300, 300 * 128 * 2)
    assert events[-1].step == events[-1].total == 300
    local, target = (torch.from_numpy(a) for a in _sampler(kind).draw(np.random.default_rng(9), 400))
    for expert in range(2):
        one = network.expert(expert)(local[expert : expert + 1])
        assert loss(one, target[expert : expert + 1]).item() < 3 * reached


def test_a_target_or_a_plateau_ends_a_phase() -> None:
    easy, _ = _fit(_network(), [Phase("fit", 2000, 0.01, batch_size=64, target_loss=0.2)])
    assert easy.steps < 500
    assert easy.loss <= 0.2
    stuck, _ = _fit(_network(), [Phase("fit", 2000, 1e-7, batch_size=64, plateau_steps=50)])
    assert stuck.steps < 400


def test_the_last_phase_trains_with_rounded_parameters() -> None:
    network = _network()
    phases = [Phase("fit", 200, 0.01, batch_size=64), Phase("settle", 50, 1e-3, batch_size=64, weight_bits=4)]
    result, _ = _fit(network, phases)
    assert network.steps is not None
    frozen = FrozenNetwork.of(network, 4)
    assert max(np.abs(tensor.values).max() for tensor in frozen.tensors[::2]) == 7  # all of 4 bits
    local, target = (torch.from_numpy(a) for a in _sampler().draw(np.random.default_rng(9), 400))
    with torch.no_grad():
        assert torch.allclose(network(local), frozen.module()(local), atol=1e-5)
        assert mean_squared_error(network(local), target).mean() == pytest.approx(result.loss, rel=0.5)
    assert result.free_loss / 2 < result.loss


def test_phases_are_cut_to_a_share_of_the_steps_made() -> None:
    phases = [
        Phase("fit", 500, 0.01, batch_size=64, target_loss=0.2),
        Phase("fade", 400, 0.01, fade=0.9, share=0.5, batch_size=64),
        Phase("settle", 100, 1e-3, share=0.1, batch_size=64, weight_bits=6),
    ]
    result, events = _fit(_network(), phases)
    fitted = next(
        made for made in range(500) if made + math.ceil(made / 2) + math.ceil(1.5 * made / 10) >= result.steps
    )
    assert 30 <= fitted < 400
    assert events[0].total == 500 + 250 + 75
    assert events[-1].step == events[-1].total == result.steps
    assert Phase("fit", 7, 0.01, share=0.5).after(3).steps == 2
    assert Phase("fit", 7, 0.01).after(3).steps == 7


def test_learning_rates() -> None:
    assert Phase("fit", 200, 0.01, decay=0.5, decay_interval=100).rate(150) == pytest.approx(0.01 * 0.5**1.5)
    fading = Phase("fade", 200, 0.01, fade=0.9)
    assert [fading.rate(step) for step in (0, 100, 200)] == pytest.approx([0.01, 0.0055, 0.001])


def test_a_seed_repeats_and_small_parts_give_the_gradient_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(part: int) -> torch.Tensor:
        monkeypatch.setattr(steps, "_CPU_PART", part)
        network = _network()
        _fit(network, [Phase("fit", 20, 0.01, batch_size=128, sample_interval=3)])
        return network.weights[0].detach().clone()

    assert torch.equal(weights(8192), weights(8192))
    assert torch.allclose(weights(8192), weights(50), atol=1e-3)


def test_matmul_precision_is_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    _fit(_network(), [Phase("fit", 2, 0.01, batch_size=8)])
    assert torch.get_float32_matmul_precision() == before
