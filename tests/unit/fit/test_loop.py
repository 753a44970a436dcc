"""The fit: it learns, stops when told to, walks its phases, and repeats itself from a seed."""

import numpy as np
import pytest
import torch

from fieldcodec.fit import loop
from fieldcodec.fit.loop import binary_cross_entropy, cross_entropy, fit_network, mean_squared_error
from fieldcodec.fit.phases import FitEvent, Phase
from fieldcodec.fit.samplers import PointSampler
from fieldcodec.nets.experts import ExpertNetwork
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


def test_settling_trains_with_rounded_weights() -> None:
    network = _network()
    seen = set()
    original = ExpertNetwork.forward

    def spy(self: ExpertNetwork, local: torch.Tensor) -> torch.Tensor:
        seen.add(self.weight_bits)
        return original(self, local)

    ExpertNetwork.forward = spy  # type: ignore[method-assign]
    try:
        _fit(network, [Phase("fit", 5, 0.01, batch_size=8), Phase("settle", 5, 0.01, batch_size=8, weight_bits=4)])
    finally:
        ExpertNetwork.forward = original  # type: ignore[method-assign]
    assert seen == {0, 4}
    assert network.weight_bits == 0


def test_a_seed_repeats_and_small_parts_give_the_gradient_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(part: int) -> torch.Tensor:
        monkeypatch.setattr(loop, "_CPU_PART", part)
        network = _network()
        _fit(network, [Phase("fit", 20, 0.01, batch_size=128, sample_interval=3)])
        return network.weights[0].detach().clone()

    assert torch.equal(weights(8192), weights(8192))
    assert torch.allclose(weights(8192), weights(50), atol=1e-3)


def test_matmul_precision_is_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    _fit(_network(), [Phase("fit", 2, 0.01, batch_size=8)])
    assert torch.get_float32_matmul_precision() == before
