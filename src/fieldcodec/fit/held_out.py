"""Samples that are not trained on, to compare networks by."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcodec.fit.losses import Loss
from fieldcodec.fit.samplers import Sampler
from fieldcodec.nets.experts import ExpertNetwork

_SAMPLES = 1 << 14  # of all experts together,
_FEWEST = 1 << 10  # but of each expert at least these
_AT_ONCE = 1 << 14  # of all experts together


@dataclass(frozen=True)
class HeldOut:
    """Local coordinates [K, n, 3] and targets [K, n, C]."""

    local: Tensor
    target: Tensor

    @staticmethod
    def of(sampler: Sampler, experts: int, seed: int, device: torch.device | str = "cpu") -> "HeldOut":
        """Samples for the fits of a seed; always the same ones, and other ones than a fit draws."""
        count = max(_SAMPLES // experts, _FEWEST)
        local, target = sampler.draw(np.random.default_rng([seed, 1]), count)
        return HeldOut(torch.from_numpy(local).to(device), torch.from_numpy(target).to(device))

    @torch.no_grad()
    def losses(self, network: ExpertNetwork, loss: Loss) -> Float[Tensor, "experts"]:
        """[K] float64 on the CPU: the loss of each expert."""
        experts, count = self.local.shape[:2]
        total = torch.zeros(experts, dtype=torch.float64)
        part = max(_AT_ONCE // experts, 1)
        for start in range(0, count, part):
            local, target = self.local[:, start : start + part], self.target[:, start : start + part]
            total += loss(network(local), target).cpu().double() * (local.shape[1] / count)
        return total
