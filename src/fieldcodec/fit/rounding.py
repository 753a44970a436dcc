"""How coarsely the parameters of a network may be rounded.

Rounding to multiples of d makes a loss grow by s * d^2 for each parameter, s being the sensitivity of its
tensor, and a parameter costs log2(1 / d) bits. For a given growth the bits are fewest where every parameter
has the same part in it, that is with d = c / sqrt(s). The largest c is taken with which the loss grows by no
more than is tolerated.
"""

import torch
from torch import Tensor

from fieldcodec.fit.held_out import HeldOut
from fieldcodec.fit.losses import Loss
from fieldcodec.fit.phases import Phase
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.rounding import finest_steps

_REGAINED = 0.5  # of the growth, by training with rounded parameters; 0.6 to 0.7 were measured
_PROBE = 0.05  # standard deviation of the noise that probes a tensor, as a part of its root mean square
_PROBES = 2
_SEARCHED = (-10.0, 1.0)  # log2 of steps as parts of the root mean square of the parameters
_HALVINGS = 7


def choose_steps(network: ExpertNetwork, held_out: HeldOut, loss: Loss, phase: Phase) -> list[Tensor]:
    """[K] steps for each tensor of `network.stored`: those of `phase.weight_bits`, or coarser ones if tolerated."""
    bits = network.stored_bits(phase.weight_bits)
    finest = [finest_steps(*pair) for pair in zip(network.stored, bits, strict=True)]
    if phase.rounding_tolerance <= 0:
        return finest
    free = held_out.losses(network, loss)
    room = (phase.rounding_limit - free) / (1 - _REGAINED)
    allowed = free + torch.where(room > 0, room, free * phase.rounding_tolerance)
    coarsest = [finest_steps(tensor, 2) for tensor in network.stored]
    balanced = _balanced_steps(network, held_out, loss, free)

    def at(exponent: Tensor) -> list[Tensor]:
        return [
            (step * 2**exponent).to(low.device).clamp(low, high)
            for step, low, high in zip(balanced, finest, coarsest, strict=True)
        ]  # fmt: skip

    low, high = (torch.full_like(balanced[0], bound) for bound in _SEARCHED)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        network.steps = at(middle)
        fits = held_out.losses(network, loss) <= allowed
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    network.steps = None
    return at(low)


def _balanced_steps(network: ExpertNetwork, held_out: HeldOut, loss: Loss, free: Tensor) -> list[Tensor]:
    """[K] steps on the CPU for each tensor, in proportion; on average they are the parameters' root mean square."""
    generator = torch.Generator().manual_seed(0)
    spread, relative, counts = [], [], []
    for tensor in network.stored:
        size = tensor[0].numel()
        rms = tensor.detach().square().flatten(1).mean(dim=1).sqrt().clamp_min(1e-9)
        noise = torch.randn(_PROBES, *tensor.shape, generator=generator).to(tensor.device)
        noise *= _PROBE * rms.reshape(-1, *[1] * (tensor.dim() - 1))
        growth = _growth(network, tensor, torch.cat([noise, -noise]), held_out, loss) - free
        # what hardly matters is taken to matter a little, or chance would set its step
        relative.append((torch.maximum(growth, 1e-5 * free + 1e-20) / size).rsqrt().float())
        spread.append(rms.cpu())
        counts.append(size)
    logs = torch.stack([count * step.log() for count, step in zip(counts, relative, strict=True)])
    mean = logs.sum(dim=0) / sum(counts)
    return [rms * step / torch.exp(mean) for rms, step in zip(spread, relative, strict=True)]


@torch.no_grad()
def _growth(network: ExpertNetwork, tensor: Tensor, changes: Tensor, held_out: HeldOut, loss: Loss) -> Tensor:
    """[K]: mean of the experts' losses over changes [n, K, ...] of one tensor."""
    before = tensor.detach().clone()
    total = torch.zeros(len(before), dtype=torch.float64)
    for change in changes:
        tensor.copy_(before + change)
        total += held_out.losses(network, loss)
    tensor.copy_(before)
    return total / len(changes)
