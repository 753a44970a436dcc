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
from fieldcodec.nets.rounding import BIAS_BITS, round_to_steps
from fieldcodec.nets.spec import NetworkSpec


def feature_map(spec: NetworkSpec) -> FourierFeatures | HashGrid:
    if spec.feature_map == "fourier":
        return FourierFeatures(spec.fourier_size, spec.fourier_scale, spec.extent, spec.seed)
    return HashGrid(spec.experts, hash_levels(spec), spec.hash_features)


def hash_levels(spec: NetworkSpec) -> HashLevels:
    return HashLevels.of(spec.hash_levels, spec.hash_log2_table, spec.hash_base, spec.hash_finest, spec.extent)


class ExpertNetwork(nn.Module):
    """K networks of one architecture.

    With `steps`, [K] for each tensor of `stored`, all parameters are rounded to multiples of them wherever the
    network is evaluated, and gradients pass straight through.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = feature_map(spec)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.steps: list[Tensor] | None = None
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

    @property
    def stored(self) -> list[Tensor]:
        """The parameters that a file holds, in its order: weight and bias of each layer, then the hash table."""
        layers = [tensor for pair in zip(self.weights, self.biases, strict=True) for tensor in pair]
        return [*layers, self.features.table] if isinstance(self.features, HashGrid) else layers

    def stored_bits(self, weight_bits: int) -> list[int]:
        """Bits that each tensor of `stored` has where weights have `weight_bits`: biases are few and get more."""
        layers = [weight_bits, BIAS_BITS] * len(self.weights)
        return [*layers, weight_bits] if isinstance(self.features, HashGrid) else layers

    def activate(self, z: Tensor) -> Tensor:
        if self.spec.activation == "sin":
            return torch.sin(self.spec.frequency * z)
        return torch.relu(z) if self.spec.activation == "relu" else torch.tanh(z)

    def forward(self, local: Float[Tensor, "experts points 3"]) -> Float[Tensor, "experts points outputs"]:
        """local: [K, n, 3] float voxel coordinates from each expert's corner -> [K, n, outputs]."""
        parameters: list[Tensor] = self.stored
        if self.steps is not None:
            parameters = [round_to_steps(*pair) for pair in zip(parameters, self.steps, strict=True)]
        is_hash = isinstance(self.features, HashGrid)
        hidden = self.features(local, parameters[-1]) if is_hash else self.features(local)
        last = len(self.weights) - 1
        for layer in range(last + 1):
            weight, bias = parameters[2 * layer : 2 * layer + 2]
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = self.activate(hidden)
        return hidden

    def expert(self, index: int) -> "ExpertNetwork":
        """One expert as a network of its own, sharing nothing with this one; for evaluation."""
        single = ExpertNetwork(replace(self.spec, experts=1))
        for mine, theirs in zip(single.parameters(), self.parameters(), strict=True):
            mine.data = theirs.data[index : index + 1].clone()
        if self.steps is not None:
            single.steps = [steps[index : index + 1] for steps in self.steps]
        return single.requires_grad_(False).eval().to(self.weights[0].device)
