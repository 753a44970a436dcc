"""Losses of the four networks, [K]: one for each expert, averaged over its samples."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]  # predicted [K, n, outputs], target [K, n, C] -> [K]
_OUTER = 0.3  # weight of squared errors just beyond the band, which are about three times those inside


def mean_squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Equation 1 of NeuralVDB, averaged over channels too."""
    return (predicted - target).square().mean(dim=(1, 2))


def banded_squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """The same where the target lies in -1..1; beyond, relative errors, of which a part counts.

    For distances, which need be exact in their band only. The part is such that the loss is about that of the band.
    """
    distance = target.abs()
    weight = torch.where(distance > 1, _OUTER / distance.square(), 1.0)
    return ((predicted - target).square() * weight).mean(dim=(1, 2))


def binary_cross_entropy(predicted: Tensor, target: Tensor) -> Tensor:
    """Loss of the level-0 classifier; one logit."""
    loss = functional.binary_cross_entropy_with_logits(predicted, target, reduction="none")
    return loss.mean(dim=(1, 2))


def cross_entropy(predicted: Tensor, target: Tensor) -> Tensor:
    """Loss of the level-1 classifier; `target` [K, n, 1] holds class numbers."""
    loss = functional.cross_entropy(predicted.flatten(0, 1), target.flatten().long(), reduction="none")
    return loss.reshape(target.shape[:2]).mean(dim=1)
