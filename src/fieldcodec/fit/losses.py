"""Losses of the four networks, [K]: one for each expert, averaged over its samples."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]  # predicted [K, n, outputs], target [K, n, C] -> [K]


def mean_squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Equation 1 of NeuralVDB, averaged over channels too."""
    return (predicted - target).square().mean(dim=(1, 2))


def binary_cross_entropy(predicted: Tensor, target: Tensor) -> Tensor:
    """Loss of the level-0 classifier; one logit."""
    loss = functional.binary_cross_entropy_with_logits(predicted, target, reduction="none")
    return loss.mean(dim=(1, 2))


def cross_entropy(predicted: Tensor, target: Tensor) -> Tensor:
    """Loss of the level-1 classifier; `target` [K, n, 1] holds class numbers."""
    loss = functional.cross_entropy(predicted.flatten(0, 1), target.flatten().long(), reduction="none")
    return loss.reshape(target.shape[:2]).mean(dim=1)
