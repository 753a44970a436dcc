"""A recursive field network as the numbers a file holds: integers, one step for each tensor.

Whatever is decoded is computed from these numbers alone, by the encoder too.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.errors import FormatError, UsageError
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.nets.rounding import BIAS_BITS, LARGEST

LATENT_UNIT = 1 << 20  # latents in integers are multiples of 1 / LATENT_UNIT
LATENT_LIMIT = 1 << 27  # largest magnitude of such an integer: latents lie in -128..128
MAX_LATENT_STEP = 1 << 24
SMALLEST_STEP, LARGEST_STEP = 2.0**-60, 2.0**10
_STEP_OF_NONE = LATENT_UNIT >> 7  # where there are no latents to say
_TAIL = 4.0  # root mean squares; what lies beyond takes larger integers instead of coarser steps for all


@final
@dataclass(frozen=True, eq=False)
class FrozenRecursive:
    """Weight and bias of every layer in turn, network by network in the order of `spec.networks`.

    `tensors`: int32, weights [outputs, inputs] and biases [outputs], magnitudes up to 2047; `steps` [tensors] float32:
    a parameter is its integer times the step of its tensor.

    Raises:
        FormatError: shapes do not belong to `spec`, or a number is out of its limits.
    """

    spec: RecursiveSpec
    tensors: tuple[np.ndarray, ...]
    steps: np.ndarray

    def __post_init__(self) -> None:
        shapes = tensor_shapes(self.spec)
        if [tensor.shape for tensor in self.tensors] != shapes or self.steps.shape != (len(shapes),):
            raise FormatError("the tensors of a recursive network are of other shapes than its description says")
        if not ((self.steps >= SMALLEST_STEP) & (self.steps <= LARGEST_STEP)).all():  # false for NaN too
            raise FormatError(
                f"steps of a recursive network's weights lie in {self.steps.min()} to {self.steps.max()}; for exact "
                "evaluation 2^-60 to 2^10 are allowed; the file is damaged, or its encoder must scale the weights down"
            )
        largest = max(int(np.abs(tensor).max(initial=0)) for tensor in self.tensors)
        if largest > LARGEST:
            raise FormatError(f"a weight of a recursive network is {largest} steps, at most {LARGEST} are allowed")

    @staticmethod
    def of(module: RecursiveField, weight_bits: int = 8, steps: Sequence[Tensor] | None = None) -> "FrozenRecursive":
        """Rounds a module's parameters to multiples of `steps`, or of those of `steps_for(module, weight_bits)`.

        Raises:
            UsageError: a parameter is not finite.
        """
        parameters = parameters_of(module)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            raise UsageError("the network has weights that are not finite: training diverged; lower the learning rate")
        chosen = steps_for(module, weight_bits) if steps is None else steps
        stored = np.array([float(step) for step in chosen], np.float32)
        tensors = []
        for parameter, step in zip(parameters, stored.astype(np.float64), strict=True):
            real = parameter.detach().double().cpu().numpy()
            tensors.append(np.clip(np.rint(real / step), -LARGEST, LARGEST).astype(np.int32))
        return FrozenRecursive(module.spec, tuple(tensors), stored)

    def network(self, name: str) -> list[tuple[np.ndarray, float, np.ndarray, float]]:
        """Weight, its step, bias and its step of each layer of "phi", "omega" or another of `spec.networks`."""
        first = 0
        for each, layers in self.spec.networks.items():
            if each == name:
                return [
                    (self.tensors[i], float(self.steps[i]), self.tensors[i + 1], float(self.steps[i + 1]))
                    for i in range(first, first + 2 * len(layers), 2)
                ]
            first += 2 * len(layers)
        raise KeyError(name)

    def module(self, device: torch.device | str = "cpu") -> RecursiveField:
        """The network for float evaluation, without gradients."""
        module = RecursiveField(self.spec)
        with torch.no_grad():
            for parameter, tensor, step in zip(parameters_of(module), self.tensors, self.steps, strict=True):
                parameter.copy_(torch.from_numpy(tensor * float(step)))
        return module.requires_grad_(False).eval().to(device)


def tensor_shapes(spec: RecursiveSpec) -> list[tuple[int, ...]]:
    """Of all tensors of a network, in the order of `FrozenRecursive.tensors`."""
    shapes: list[tuple[int, ...]] = []
    for layers in spec.networks.values():
        for inputs, outputs in layers:
            shapes += [(outputs, inputs), (outputs,)]
    return shapes


def parameters_of(module: RecursiveField) -> list[torch.nn.Parameter]:
    """All parameters, in the order of `FrozenRecursive.tensors`."""
    named = dict(module.named_parameters())
    return [
        named[f"{name}.layers.{layer}.{kind}"]
        for name, layers in module.spec.networks.items()
        for layer in range(len(layers))
        for kind in ("weight", "bias")
    ]


def steps_for(module: RecursiveField, bits: int) -> list[Tensor]:
    """For each parameter the step, a scalar, with which all but a few of its integers fit in `bits` bits.

    Biases have 12 bits at least. A tensor with outliers, beyond four times its root mean square, is not made coarser
    for them: they take more bits, up to what a file can hold.
    """
    steps = []
    for parameter in parameters_of(module):
        real = parameter.detach()
        peak, tail = real.abs().max(), _TAIL * real.square().mean().sqrt()
        used = bits if real.dim() > 1 else max(bits, BIAS_BITS)
        step = torch.maximum(torch.minimum(peak, tail) / (2 ** (used - 1) - 1), peak / LARGEST)
        steps.append(step.clamp(1e-12, LARGEST_STEP))
    return steps


@contextmanager
def rounded(module: RecursiveField, steps: Sequence[Tensor]) -> Iterator[None]:
    """Inside, parameters are multiples of `steps`; behind it they are what they were, with the gradients of inside.

    For training with rounding in the loop: forward and backward pass inside, the optimiser's step behind (gradients go
    straight through the rounding).
    """
    parameters = parameters_of(module)
    with torch.no_grad():
        before = [parameter.clone() for parameter in parameters]
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.copy_((parameter / step).round_().clamp_(-LARGEST, LARGEST).mul_(step))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, kept in zip(parameters, before, strict=True):
                parameter.copy_(kept)


def latent_step_for(latents: Tensor, bits: int) -> int:
    """The step for latents [objects, D], in 1 / LATENT_UNIT, with which all but a few integers fit in `bits` bits."""
    if not latents.numel():
        return _STEP_OF_NONE
    real = latents.detach().double()
    peak = float(real.abs().max())
    used = min(peak, _TAIL * float(real.square().mean().sqrt()))
    least = max(1, math.ceil(LATENT_UNIT * peak / LARGEST))
    return min(max(round(LATENT_UNIT * used / (2 ** (bits - 1) - 1)), least), MAX_LATENT_STEP)


def round_latents(latents: Tensor, step: int) -> Tensor:
    """Latents as multiples of `step` / LATENT_UNIT; gradients go straight through."""
    size = step / LATENT_UNIT
    return latents + ((latents / size).round().clamp(-LARGEST, LARGEST) * size - latents).detach()


def frozen_latents(latents: Tensor, step: int) -> np.ndarray:
    """Latents [objects, D] as the integers that a file holds, int32.

    Raises:
        UsageError: a number is not finite.
    """
    real = latents.detach().double().cpu().numpy()
    if not np.isfinite(real).all():
        raise UsageError("latents are not finite: training diverged; lower the learning rate")
    most = min(LARGEST, LATENT_LIMIT // step)
    return np.clip(np.rint(real * (LATENT_UNIT / step)), -most, most).astype(np.int32)
