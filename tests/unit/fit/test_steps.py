"""Steps of both kinds do the same; recording is tried on the CPU with a stand-in for CUDA graphs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fieldcodec.fit.batches import batches
from fieldcodec.fit.losses import Loss, binary_cross_entropy, cross_entropy, mean_squared_error
from fieldcodec.fit.phases import Phase
from fieldcodec.fit.samplers import PointSampler
from fieldcodec.fit.steps import EagerStep, GraphedStep, Step
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.rounding import finest_steps
from fieldcodec.nets.spec import NetworkSpec

CPU = torch.device("cpu")
PHASE = Phase("fit", 40, 0.01, decay=0.5, decay_interval=10, batch_size=64, sample_interval=3)


class Replayer:
    """Keeps the work as a graph does: recording does nothing to any tensor, replaying does it all."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def rehearse(self, work: Callable[[], None]) -> None:
        self.calls.append("rehearse")
        work()

    def record(self, work: Callable[[], None]) -> None:
        self.calls.append("record")
        self._work = work

    def replay(self) -> None:
        self.calls.append("replay")
        self._work()


class Refuser(Replayer):
    """A device on which nothing can be recorded."""

    def record(self, work: Callable[[], None]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def network(outputs: int = 1, feature_map: str = "fourier") -> ExpertNetwork:
    torch.manual_seed(0)  # for the table of a hash grid
    return ExpertNetwork(
        NetworkSpec(
            experts=2, extent=32, outputs=outputs, width=16, depth=2, feature_map=feature_map, fourier_size=8,
            fourier_scale=1.0, hash_levels=3, hash_log2_table=6,
        )
    )  # fmt: skip


def sampler(classes: int = 0) -> PointSampler:
    points = [np.random.default_rng(k).integers(0, 32, (400, 3)) for k in range(2)]
    waves = [np.sin(p[:, :1] / 8) for p in points]
    return PointSampler(points, [np.digitize(w, [-0.3, 0.3][: classes - 1]) if classes else w for w in waves])


def walk(step: Step, classes: int = 0, phase: Phase = PHASE) -> list[float]:
    losses = []
    for index, batch in enumerate(batches(sampler(classes), phase, np.random.default_rng(0), CPU)):
        step.make(*batch, phase.learning_rate * phase.decay ** (index / phase.decay_interval))
        losses.append(step.loss())
    return losses


@pytest.mark.parametrize(
    ("loss", "classes", "outputs"),
    [(mean_squared_error, 0, 1), (binary_cross_entropy, 2, 1), (cross_entropy, 3, 3)],
)
@pytest.mark.parametrize("feature_map", ["fourier", "hash"])
@pytest.mark.parametrize("rounded", [False, True])
def test_recorded_steps_fit_as_eager_ones(
    loss: Loss, classes: int, outputs: int, feature_map: str, rounded: bool
) -> None:
    one, other = network(outputs, feature_map), network(outputs, feature_map)
    if rounded:
        one.steps = [finest_steps(tensor, 6) for tensor in one.stored]
        other.steps = [finest_steps(tensor, 6) for tensor in other.stored]
    recorder = Replayer()
    expected = walk(EagerStep(one, loss), classes)
    assert walk(GraphedStep(other, loss, recorder), classes) == pytest.approx(expected, rel=1e-5)
    assert recorder.calls == ["rehearse"] * 3 + ["record"] + ["replay"] * 37
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_short_phases(steps: int) -> None:
    recorder = Replayer()
    phase = Phase("fit", steps, 0.01, batch_size=16)
    assert len(walk(GraphedStep(network(), mean_squared_error, recorder), phase=phase)) == steps
    assert ("record" in recorder.calls) == (steps > 3)


def test_what_cannot_be_recorded_is_done_step_by_step() -> None:
    one, other = network(), network()
    expected = walk(EagerStep(one, mean_squared_error))
    with pytest.warns(UserWarning, match=r"no CUDA graph \(operation not permitted when stream is capturing\)"):
        losses = walk(GraphedStep(other, mean_squared_error, Refuser()))
    assert losses == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(one.weights[0], other.weights[0], atol=1e-5)


def test_the_samples_are_copied() -> None:
    """A recorded step reads buffers of its own: the batch may be overwritten as soon as `make` returns."""
    seen: list[torch.Tensor] = []

    def spy(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(target.clone())
        return mean_squared_error(predicted, target)

    step = GraphedStep(network(), spy, Replayer())
    local, target = torch.zeros(2, 4, 3), torch.zeros(2, 4, 1)
    for value in range(6):
        target.fill_(value)
        step.make(local, target, 0.01)
        target.fill_(-1)
    assert [int(t.mean()) for t in seen] == [0, 1, 2, 3, 4, 5]


def test_no_step_no_loss() -> None:
    assert EagerStep(network(), mean_squared_error).loss() == float("inf")
