"""A fitted network as the numbers a file holds: integers with scales, or 16-bit floats.

Whatever is decoded is computed from these numbers alone, by the encoder too.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.rounding import BIAS_BITS, LARGEST
from fieldcodec.nets.spec import NetworkSpec

_HALF_CLASSIFIER_BITS = 9  # integers made of 16-bit weights for exact evaluation


@dataclass(frozen=True)
class IntegerTensor:
    """values * scales[expert] are the real numbers; `values` [K, ...] int32, `scales` [K] float32."""

    values: np.ndarray
    scales: np.ndarray

    @staticmethod
    def of(real: np.ndarray, bits: int) -> "IntegerTensor":
        """Rounds [K, ...] reals to `bits` bits per expert; IEEE double operations only, so repeatable anywhere."""
        flat = real.reshape(len(real), -1).astype(np.float64)
        peak = np.abs(flat).max(axis=1, initial=0.0)
        scales = (peak / (2 ** (bits - 1) - 1)).astype(np.float32)
        safe = np.where(scales > 0, scales, 1).astype(np.float64)
        return IntegerTensor(np.rint(flat / safe[:, None]).astype(np.int32).reshape(real.shape), scales)

    @staticmethod
    def multiples(real: np.ndarray, scales: np.ndarray) -> "IntegerTensor":
        """Rounds [K, ...] reals to multiples of `scales` [K] float32."""
        shaped = scales.astype(np.float64).reshape(-1, *[1] * (real.ndim - 1))
        values = np.clip(np.rint(real.astype(np.float64) / shaped), -LARGEST, LARGEST)
        return IntegerTensor(values.astype(np.int32), scales)

    def real(self) -> np.ndarray:
        """[K, ...] float64."""
        return self.values * self.scales.astype(np.float64).reshape(-1, *[1] * (self.values.ndim - 1))


@dataclass(frozen=True)
class FrozenNetwork:
    """`tensors`: weight and bias of each layer in turn, then the hash table if there is one.

    Weights are [K, inputs, outputs], biases [K, outputs], the table [K, rows, features];
    each an IntegerTensor, or a float16 array where the file stores halves.
    """

    spec: NetworkSpec
    tensors: tuple[IntegerTensor | np.ndarray, ...]

    @staticmethod
    def of(network: ExpertNetwork, weight_bits: int | None) -> "FrozenNetwork":
        """Freezes a module: multiples of its steps; without steps `weight_bits` bits a weight; halves for None."""
        tensors: list[IntegerTensor | np.ndarray] = []
        shapes = FrozenNetwork.shapes(network.spec)
        for index, (parameter, shape) in enumerate(zip(network.stored, shapes, strict=True)):
            array = parameter.detach().float().cpu().numpy().reshape(shape)
            if weight_bits is None:
                tensors.append(array.astype(np.float16))
            elif network.steps is None:
                tensors.append(IntegerTensor.of(array, network.stored_bits(weight_bits)[index]))
            else:
                tensors.append(IntegerTensor.multiples(array, network.steps[index].float().cpu().numpy()))
        return FrozenNetwork(network.spec, tuple(tensors))

    @staticmethod
    def shapes(spec: NetworkSpec) -> list[tuple[int, ...]]:
        """Shape of every tensor, in the order of `tensors`."""
        shapes: list[tuple[int, ...]] = []
        for inputs, outputs in spec.layer_sizes:
            shapes += [(spec.experts, inputs, outputs), (spec.experts, outputs)]
        if spec.table_shape:
            shapes.append((spec.experts, *spec.table_shape))
        return shapes

    def real(self, index: int) -> np.ndarray:
        """[K, ...] float64: a tensor as real numbers."""
        tensor = self.tensors[index]
        return tensor.real() if isinstance(tensor, IntegerTensor) else tensor.astype(np.float64)

    def integer(self, index: int) -> IntegerTensor:
        """A tensor as integers; halves are rounded by a fixed rule first."""
        tensor = self.tensors[index]
        if isinstance(tensor, IntegerTensor):
            return tensor
        is_bias = tensor.ndim == 2
        return IntegerTensor.of(tensor, BIAS_BITS if is_bias else _HALF_CLASSIFIER_BITS)

    def module(self, device: torch.device | str = "cpu") -> ExpertNetwork:
        """The network for float evaluation, without gradients."""
        network = ExpertNetwork(self.spec)
        layers = len(network.weights)
        for layer in range(layers):
            network.weights[layer].data = torch.from_numpy(self.real(2 * layer)).float()
            network.biases[layer].data = torch.from_numpy(self.real(2 * layer + 1)).float()[:, None]
        if self.spec.table_shape:
            network.features.table.data = torch.from_numpy(self.real(2 * layers)).float()
        return network.requires_grad_(False).eval().to(device)
