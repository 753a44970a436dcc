"""Rounding of parameters to multiples of a step, one step for each tensor and expert."""

from jaxtyping import Float
from torch import Tensor

BIAS_BITS = 12
LARGEST = 2047  # magnitude of a stored integer, see `coding.weights`


def round_to_steps(
    parameter: Float[Tensor, "experts *rest"], steps: Float[Tensor, "experts"]
) -> Float[Tensor, "experts *rest"]:
    """Parameters [K, ...] rounded to multiples of `steps` [K], passing gradients straight through."""
    shaped = steps.reshape(-1, *[1] * (parameter.dim() - 1))
    return parameter + ((parameter / shaped).round().clamp(-LARGEST, LARGEST) * shaped - parameter).detach()


def finest_steps(parameter: Float[Tensor, "experts *rest"], bits: int) -> Float[Tensor, "experts"]:
    """[K]: the steps with which every integer fits in `bits` bits."""
    peak = parameter.detach().flatten(1).abs().amax(dim=1).clamp_min(1e-12)
    return peak / (2 ** (bits - 1) - 1)
