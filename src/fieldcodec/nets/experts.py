"""Networks of all subdomains as one module: every layer is one batched matrix product (NeuralVDB 3.4).

                     +- Fourier features -+    +- linear, act -+  x depth   +- linear -+
    local [K, n, 3] -|                    |--> |               | ---------> |          |--> [K, n, outputs]
                     +- hash grid --------+    +---------------+            +----------+

K experts share the architecture, not the parameters.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fieldcodec.nets.fourier import FourierFeatures
from fieldcodec.nets.hash_grid import HashGrid, HashLevels
from fieldcodec.nets.spec import NetworkSpec


def feature_map(spec: NetworkSpec) -> FourierFeatures | HashGrid:
    if spec.feature_map == "fourier":
        return FourierFeatures(spec.fourier_size, spec.fourier_scale, spec.extent, spec.seed)
    return HashGrid(spec.experts, hash_levels(spec), spec.hash_features)


def hash_levels(spec: NetworkSpec) -> HashLevels:
    return HashLevels.of(spec.hash_levels, spec.hash_log2_table, spec.hash_base, spec.hash_finest, spec.extent)


def round_to_grid(weight: Float[Tensor, "experts *rest"], bits: int) -> Float[Tensor, "experts *rest"]:
    """Weights [experts, ...] rounded to `bits` bits per expert, passing gradients straight through."""
    peak = weight.detach().flatten(1).abs().amax(dim=1).clamp_min(1e-12)
    step = (peak / (2 ** (bits - 1) - 1)).reshape(-1, *[1] * (weight.dim() - 1))
    return weight + ((weight / step).round() * step - weight).detach()


class ExpertNetwork(nn.Module):
    """K networks of one architecture. `weight_bits` > 0 trains with rounded weights in the loop."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = feature_map(spec)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.weight_bits = 0
        for inputs, outputs in spec.layer_sizes:
            self.weights.append(nn.Parameter(torch.empty(spec.experts, inputs, outputs)))
            self.biases.append(nn.Parameter(torch.zeros(spec.experts, 1, outputs)))
        self._initialise()

    def _initialise(self) -> None:
        generator = torch.Generator().manual_seed(self.spec.seed + 1)
        for layer, weight in enumerate(self.weights):
            inputs = weight.shape[1]
            # SIREN (Sitzmann et al. 2020b), section 3.2: keeps the variance of sine layers; He for ReLU
            bound = math.sqrt(6 / inputs) / (self.spec.frequency if self.spec.activation == "sin" else 1.0)
            if layer == len(self.weights) - 1:
                bound = math.sqrt(1 / inputs)
            weight.data.uniform_(-bound, bound, generator=generator)

    def activate(self, z: Tensor) -> Tensor:
        if self.spec.activation == "sin":
            return torch.sin(self.spec.frequency * z)
        return torch.relu(z) if self.spec.activation == "relu" else torch.tanh(z)

    def forward(self, local: Float[Tensor, "experts points 3"]) -> Float[Tensor, "experts points outputs"]:
        """local: [K, n, 3] float voxel coordinates from each expert's corner -> [K, n, outputs]."""
        hidden = self.features(local)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if self.weight_bits:
                weight = round_to_grid(weight, self.weight_bits)
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = self.activate(hidden)
        return hidden

    def expert(self, index: int) -> "ExpertNetwork":
        """One expert as a network of its own, sharing nothing with this one; for evaluation."""
        single = ExpertNetwork(replace(self.spec, experts=1))
        for mine, theirs in zip(single.parameters(), self.parameters(), strict=True):
            mine.data = theirs.data[index : index + 1].clone()
        return single.requires_grad_(False).eval().to(self.weights[0].device)
