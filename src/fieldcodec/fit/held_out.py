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
        predicted = network(self.local)
        each = [loss(one[None], target[None]) for one, target in zip(predicted, self.target, strict=True)]
        return torch.stack(each).cpu().double()
