"""Steps of a recursive network's tensors, such that no tensor harms what the network says more than another does.

Rounding to multiples of d adds an error of s * d^2 for each parameter, s being the sensitivity of its tensor, and a
parameter costs log2(1 / d) bits. For given bits the error is smallest where every parameter has the same part in it,
that is with d = c / sqrt(s).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fieldcodec.nets.frozen_recursive import parameters_of, steps_for
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.nets.rounding import LARGEST

_COARSEST = 3  # steps that a tensor's largest magnitude is at least
_LEAST = 1e-6  # of the largest sensitivity; what hardly matters is taken to matter a little


@torch.no_grad()
def balanced_steps(module: RecursiveField, bits: float, outputs: Callable[[], Tensor]) -> list[Tensor]:
    """For each parameter the step, a scalar; all of them together take as many bits as with `steps_for(module, bits)`.

    Args:
        outputs: what the module says now and shall still say when it is rounded, numbers whose squared changes count
            alike: signed distances at points near the surfaces, and the differences of the logits of occupancy (with
            colours and opacities) scaled as they matter. Called once for each parameter and once more.
    """
    parameters = parameters_of(module)
    even = [float(step) for step in steps_for(module, max(round(bits), 2))]
    finer = 2.0 ** (max(round(bits), 2) - bits)
    generator = torch.Generator().manual_seed(0)
    expected = outputs().clone()
    harm = []
    for parameter, step in zip(parameters, even, strict=True):
        before = parameter.clone()
        signs = torch.randint(0, 2, parameter.shape, generator=generator).mul_(2).sub_(1).to(parameter)
        parameter.add_(signs, alpha=step / 12**0.5)  # as large as the errors of rounding
        harm.append(float((outputs() - expected).double().square().mean()) / (step * step * parameter.numel()))
        parameter.copy_(before)
    floor = max(max(harm) * _LEAST, 1e-30)
    relative = torch.tensor([max(value, floor) for value in harm], dtype=torch.float64).rsqrt()
    return _with_the_bits_of(relative, [step * finer for step in even], parameters)


def _with_the_bits_of(relative: Tensor, even: Sequence[float], parameters: Sequence[Tensor]) -> list[Tensor]:
    """`relative` scaled until weights take as many bits as with `even`; no step is finer or coarser than a file's."""
    peaks = torch.tensor([float(parameter.abs().max()) for parameter in parameters], dtype=torch.float64)
    low, high = (peaks / LARGEST).clamp_min(1e-12), (peaks / _COARSEST).clamp_min(1e-12)
    counts = torch.tensor([float(parameter.numel()) for parameter in parameters], dtype=torch.float64)
    wanted = (counts * torch.tensor(even, dtype=torch.float64).log()).sum()
    least, most = -100.0, 100.0  # log2 of the scale
    for _ in range(60):
        middle = (least + most) / 2
        steps = (relative * 2.0**middle).clamp(low, high)
        least, most = (middle, most) if (counts * steps.log()).sum() < wanted else (least, middle)
    chosen = (relative * 2.0**most).clamp(low, high)
    return [step.to(parameter.device, torch.float32) for step, parameter in zip(chosen, parameters, strict=True)]
