"""Batches: as many as there are steps, every sample used once, the same from a seed."""

from collections import Counter

import numpy as np
import pytest
import torch

from fieldcodec.fit import batches as batches_module
from fieldcodec.fit.batches import batches
from fieldcodec.fit.phases import Phase
from fieldcodec.fit.samplers import PointSampler


class Numbered:
    """Samples that count up, so that it shows which were used."""

    def __init__(self) -> None:
        self.drawn = 0

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.arange(self.drawn, self.drawn + count, dtype=np.float32)
        self.drawn += count
        return np.stack([np.repeat(numbers[:, None], 3, axis=1)] * 2), np.stack([numbers[:, None], -numbers[:, None]])


@pytest.mark.parametrize(("steps", "interval"), [(1, 1), (5, 1), (5, 3), (6, 3), (4, 10)])
def test_every_step_has_samples_of_its_own(steps: int, interval: int) -> None:
    phase = Phase("fit", steps, 0.01, batch_size=7, sample_interval=interval)
    made = list(batches(Numbered(), phase, np.random.default_rng(0), torch.device("cpu")))
    assert len(made) == steps
    counts: Counter[float] = Counter()
    for local, target in made:
        assert local.shape == (2, 7, 3)
        assert target.shape == (2, 7, 1)
        assert torch.equal(local[0, :, 0], target[0, :, 0])
        assert torch.equal(target[0], -target[1])
        counts.update(target[0, :, 0].tolist())
    assert max(counts.values()) == 1
    assert sorted(counts) == list(range(7 * steps))


def test_for_a_gpu_draws_made_at_once_repeat_from_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "_page_locked", torch.Tensor.contiguous)
    points = np.arange(300).reshape(100, 3)
    sampler = PointSampler([points, points], [points[:, :1] / 3] * 2)
    phase = Phase("fit", 20, 0.01, batch_size=7, sample_interval=3)

    def run() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(batches(sampler, phase, np.random.default_rng(5), torch.device("cuda")))

    made, again = run(), run()
    assert len(made) == 20
    for (local, target), (local_again, target_again) in zip(made, again, strict=True):
        assert local.is_contiguous()
        assert torch.equal(local[..., 0], target[..., 0] * 3)
        assert torch.equal(local, local_again)
        assert torch.equal(target, target_again)
    assert len({tuple(local.flatten().tolist()) for local, _ in made}) == 20
