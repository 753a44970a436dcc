"""The mean of a network's weights over its last steps: what a fading learning rate ends with, at every step.

Weights that are trained at a constant rate wander around a minimum; their mean lies nearer to it than they do (Polyak
and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging").
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fieldcodec.nets.experts import ExpertNetwork

_RECENT = 3  # the mean reaches back over a third of the steps made, as the first are far from where the last are


class AveragedWeights:
    """The running mean of what a file holds of a network.

    Args:
        horizon: over how many steps it reaches back at most.
    """

    def __init__(self, network: ExpertNetwork, horizon: int) -> None:
        self.weights = copied_weights(network)
        self._network = network
        self._horizon = horizon
        self._made = 0

    def add(self) -> None:
        """Takes in the weights after a step."""
        self._made += 1
        share = max(1 / self._horizon, _RECENT / (self._made + _RECENT - 1))
        with torch.no_grad():
            torch._foreach_lerp_(self.weights, [tensor.detach() for tensor in self._network.stored], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network with the mean for its weights, and with its own again afterwards."""
        own = copied_weights(self._network)
        set_weights(self._network, self.weights)
        try:
            yield
        finally:
            set_weights(self._network, own)


def copied_weights(network: ExpertNetwork) -> list[Tensor]:
    """Copies of the parameters that a file holds."""
    return [tensor.detach().clone() for tensor in network.stored]


def set_weights(network: ExpertNetwork, weights: list[Tensor]) -> None:
    """Overwrites the parameters that a file holds, where they are, so that recorded steps see the new ones."""
    with torch.no_grad():
        for tensor, values in zip(network.stored, weights, strict=True):
            tensor.copy_(values)
