"""From samples along rays to pictures: absorption and emission (Max, 1995), as NeRF computes them."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

_DEEPEST = 60.0  # optical depth of one sample: nothing is seen through it (exp(-60) = 9e-27)


@final
@dataclass(frozen=True, eq=False)
class Composite:
    """What n rays see."""

    colours: Tensor  # [n, 3], nothing behind them: over a background it is colours + (1 - alpha) background
    alpha: Tensor  # [n], 0 to 1
    depths: Tensor  # [n]: mean distance of what is seen, from the ray's origin; 0 where nothing is
    weights: Tensor  # [m]: the share of each sample in its ray


def transmittances(depths: Tensor, offsets: Tensor) -> Tensor:
    """[m] optical depths of samples -> [m] float64: the share of light that reaches each from its ray's origin.

    The sums run over all rays in float64 and begin anew at every ray, so that no ray disturbs another: of a million
    samples they are exact to 1e-9.
    """
    deep = depths.double()
    before = torch.cumsum(deep, 0) - deep
    counts = offsets.diff()
    first = before[offsets[:-1].clamp(max=max(len(depths) - 1, 0))] if len(depths) else before.new_zeros(len(counts))
    return torch.exp(torch.repeat_interleave(first, counts, output_size=len(depths)) - before)


def composite(
    density: Tensor, lengths: Tensor | float, colours: Tensor, distances: Tensor, offsets: Tensor
) -> Composite:
    """Colour, opacity and depth of rays, differentiable in density and colours.

        depth_i = density_i length_i    T_i = exp(-sum_{j < i} depth_j)    weight_i = T_i (1 - exp(-depth_i))

    Args:
        density: [m] for each unit of length, 0 or more.
        lengths: [m] or one for all: what part of its ray a sample stands for, world units.
        colours: [m, 3].
        distances: [m] from the ray's origin.
        offsets: [n + 1] int64: the samples of ray i are offsets[i] to offsets[i + 1], excluded, from near to far.
    """
    deep = (density * lengths).clamp(max=_DEEPEST)
    weights = (transmittances(deep, offsets) * -torch.expm1(-deep.double())).to(colours.dtype)
    num_rays = len(offsets) - 1
    rays = torch.repeat_interleave(offsets.diff(), output_size=len(density))
    seen = torch.cat([colours, torch.ones_like(colours[:, :1]), distances.to(colours.dtype)[:, None]], dim=1)
    sums = colours.new_zeros(num_rays, 5).index_add(0, rays, weights[:, None] * seen)
    alpha = sums[:, 3].clamp(max=1)  # sums of float32 may pass 1 by rounding
    depths = sums[:, 4] / alpha.clamp(min=torch.finfo(alpha.dtype).tiny)
    return Composite(sums[:, :3], alpha, torch.where(alpha > 0, depths, 0.0), weights)
