"""Multi-layer perceptrons with sine activations (Sitzmann et al., "Implicit neural representations", 2020)."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

OMEGA_0 = 30.0  # frequency of every sine layer


class Siren(nn.Module):
    """Linear layers with sin(30 x) between them; the last one is linear.

    Weights and biases start uniform: within 1 / inputs in the first layer, within sqrt(6 / inputs) / 30 in the others.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], generator: torch.Generator) -> None:
        """Args: sizes are (inputs, outputs) of each layer."""
        super().__init__()
        linear = [nn.Linear(inputs, outputs) for inputs, outputs in sizes]
        self.layers = nn.ModuleList(linear)
        for depth, layer in enumerate(linear):
            bound = 1 / layer.in_features if depth == 0 else math.sqrt(6 / layer.in_features) / OMEGA_0
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        *hidden, last = cast(list[nn.Linear], list(self.layers))
        for layer in hidden:  # the frequency goes into the few weights rather than the many activations
            x = torch.sin(nn.functional.linear(x, OMEGA_0 * layer.weight, OMEGA_0 * layer.bias))
        return last(x)
