"""Fitting the network of `lattice.refinement`: float weights that are rounded in every step, as they will be stored."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor
from torch.nn import functional

from fieldcodec.lattice.refinement import Refinement, Sight, rounded_weights, shapes_of
from fieldcodec.lattice.refinement_kernels import LEAK, ONE, WEIGHT_SHIFT
from fieldcodec.nets.modes import one_thread


@dataclass(frozen=True)
class RefinementOptions:
    """How it is fitted.

    Attributes:
        widths: neurons of the two layers.
        steps: of the optimiser, each of `batch` voxels.
        again: steps where the network was fitted to similar numbers before.
        rate: the highest learning rate, reached after a third of the steps.
    """

    widths: tuple[int, int] = (16, 16)
    steps: int = 1200
    again: int = 400
    batch: int = 4096
    rate: float = 3e-2


def fit_refinement(
    features: Int8[np.ndarray, "voxels 27"],
    errors: Float32[np.ndarray, "voxels"],
    importance: Float32[np.ndarray, "voxels"],
    sight: Sight,
    options: RefinementOptions,
    seed: int,
    start: Refinement | None = None,
) -> Refinement:
    """The network whose output comes nearest to `errors`, in the weighted mean square.

    Args:
        errors: what should be added to each voxel, in steps.
        importance: weights of their squares.
        start: a network fitted to similar numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = _started(options.widths, generator) if start is None else _stored(start)
    steps = options.steps if start is None else options.again
    with one_thread():
        _optimise(parameters, features, errors, importance, steps, options, generator)
    return Refinement(sight, rounded_weights([parameter.detach().numpy() for parameter in parameters]))


def _optimise(
    parameters: list[Tensor], features: np.ndarray, errors: np.ndarray, importance: np.ndarray,
    steps: int, options: RefinementOptions, generator: torch.Generator,
) -> None:  # fmt: skip
    """Adam with a rate that rises and falls, on voxels drawn at random."""
    inputs, wanted, weights = (torch.from_numpy(array) for array in (features, errors, importance))
    optimiser = torch.optim.Adam(parameters, options.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (min(options.batch, len(inputs)),), generator=generator)
        said = _output(inputs[rows].float() / ONE, [_rounded(parameter) for parameter in parameters])
        loss = (weights[rows] * (said - wanted[rows]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _started(widths: tuple[int, int], generator: torch.Generator) -> list[Tensor]:
    """Small weights; zeros in the last layer, so that at first nothing is changed."""
    parameters = []
    for shape in shapes_of(*widths):
        spread = shape[0] ** -0.5 if len(shape) == 2 and shape[1] > 1 else 0.0
        parameters.append((torch.randn(shape, generator=generator) * spread).requires_grad_())
    return parameters


def _stored(network: Refinement) -> list[Tensor]:
    one = float(1 << WEIGHT_SHIFT)
    return [torch.from_numpy(tensor.astype(np.float32) / one).requires_grad_() for tensor in network.tensors]


def _rounded(parameter: Tensor) -> Tensor:
    """To what can be stored, gradients passing straight through."""
    one = float(1 << WEIGHT_SHIFT)
    return parameter + ((parameter * one).round() / one - parameter).detach()


def _output(inputs: Float[Tensor, "batch 27"], parameters: list[Tensor]) -> Float[Tensor, "batch"]:
    """As `refinement_kernels.refine` computes it, but for the rounding of activations."""
    values = inputs
    for weights, biases in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        values = functional.leaky_relu(values @ weights + biases, 0.5**LEAK).clamp(-1, 1)
    return (values @ parameters[-2] + parameters[-1])[:, 0]
