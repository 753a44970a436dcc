"""What rays and cameras see of any radiance field, without gradients.

rays -> RayMarcher -> samples, a block of each ray at a time from near to far -> field -> composite -> pictures

A ray that hardly lets any light through is not followed further, so that what is hidden costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.errors import UsageError
from fieldcodec.io.posed import PosedCamera, rays
from fieldcodec.nets.device import CPU
from fieldcodec.radiance.composite import composite
from fieldcodec.radiance.field import RadianceField
from fieldcodec.radiance.march import STEP, RayMarcher, Samples

FAINT = 1e-3  # transmittance at which a ray ends
_BLOCK = 16  # samples of a ray that are looked at before it is asked whether it goes on
_RAYS_AT_ONCE = 1 << 15
_STENCIL = 1.0  # cells between a point and those whose densities tell its normal

OnProgress = Callable[[float], None]
"""Called with the share of a picture that is done."""


@final
@dataclass(frozen=True, eq=False)
class Seen:
    """What n rays see, on the CPU."""

    colours: Tensor  # [n, 3] float32, times alpha: nothing is behind them
    alpha: Tensor  # [n] float32, 0 to 1
    depths: Tensor  # [n] float32: mean distance from the ray's origin; 0 where nothing is seen


@final
@dataclass(frozen=True, eq=False)
class RadiancePicture:
    """What a camera sees."""

    colours: np.ndarray  # [h, w, 3] float32, 0 to 1 (sRGB), times alpha
    alpha: np.ndarray  # [h, w] float32, 0 to 1
    depths: np.ndarray  # [h, w] float32: world units from the camera's place, along the ray; 0 where nothing is seen
    normals: np.ndarray | None  # [h, w, 3] float32, world space, towards the camera; 0 where nothing is seen

    def over(self, background: float | tuple[float, float, float]) -> np.ndarray:
        """[h, w, 3] float32 of 0 to 1: the picture over a plain colour."""
        behind = np.asarray(background, np.float32) * (1 - self.alpha[..., None])
        return np.asarray(np.clip(self.colours + behind, 0, 1))


@torch.no_grad()
def see(
    field: RadianceField,
    origins: Tensor,
    directions: Tensor,
    *,
    step: float = STEP,
    device: torch.device = CPU,
    on_progress: OnProgress | None = None,
) -> Seen:
    """What rays see of a field.

    Args:
        origins: [n, 3] world space.
        directions: [n, 3] of length 1.
        step: cells of the field's occupancy between two samples.
        device: where the field computes.

    Raises:
        UsageError: shapes do not fit, or numbers are not finite.
    """
    if origins.shape != directions.shape or origins.dim() != 2 or origins.shape[1] != 3:
        raise UsageError(
            f"rays of origins {list(origins.shape)} and directions {list(directions.shape)}: give [n, 3] each"
        )
    if not (torch.isfinite(origins).all() and torch.isfinite(directions).all()):
        raise UsageError("rays with numbers that are not finite cannot be followed")
    marcher = RayMarcher(field.occupancy, device, step=step)
    parts = []
    for start in range(0, len(origins), _RAYS_AT_ONCE):
        chunk = slice(start, start + _RAYS_AT_ONCE)
        parts.append(_see_some(field, marcher, origins[chunk].to(device), directions[chunk].to(device)).cpu())
        if on_progress is not None:
            on_progress(min(start + _RAYS_AT_ONCE, len(origins)) / len(origins))
    sums = torch.cat(parts) if parts else torch.zeros(0, 5)
    alpha = sums[:, 3].clamp(0, 1)
    depths = torch.where(alpha > 0, sums[:, 4] / sums[:, 3].clamp(min=1e-12), 0.0)
    return Seen(sums[:, :3], alpha, depths)


def _see_some(field: RadianceField, marcher: RayMarcher, origins: Tensor, directions: Tensor) -> Tensor:
    """[n, 5] sums of weight times colour, 1 and distance."""
    samples = marcher.march(origins, directions)
    counts, firsts = samples.offsets.diff(), samples.offsets[:-1]
    sums = torch.zeros(len(origins), 5, device=origins.device)
    left = torch.ones(len(origins), device=origins.device)
    done = 0
    while True:
        going = torch.nonzero((counts > done) & (left > FAINT)).squeeze(1)
        if not len(going):
            return sums
        block = _block_of(samples, firsts[going] + done, (counts[going] - done).clamp(max=_BLOCK))
        points, along = block.points(origins[going], directions[going])
        density, colours = field.evaluate(points.float(), along.float())
        seen = composite(density, block.step, colours, block.distances, block.offsets)
        share = left[going, None]
        sums[going, :3] += share * seen.colours
        sums[going, 3] += share[:, 0] * seen.alpha
        sums[going, 4] += share[:, 0] * seen.alpha * seen.depths
        left[going] *= 1 - seen.alpha
        done += _BLOCK


def _block_of(samples: Samples, firsts: Tensor, counts: Tensor) -> Samples:
    """Some consecutive samples of some rays."""
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    total = int(offsets[-1])
    shift = torch.repeat_interleave(firsts - offsets[:-1], counts, output_size=total)
    chosen = torch.arange(total, device=counts.device) + shift
    return Samples(offsets, samples.distances[chosen], samples.step)


def photograph(
    field: RadianceField,
    camera: PosedCamera,
    *,
    step: float = STEP,
    normals: bool = False,
    device: torch.device = CPU,
    on_progress: OnProgress | None = None,
) -> RadiancePicture:
    """The picture that a camera takes of a field; arguments as in `see`.

    Args:
        normals: also those of what is seen: against the gradient of density at its mean distance.
    """
    origins, directions = (torch.from_numpy(np.array(array)) for array in rays(camera, camera.pixels()))
    seen = see(field, origins, directions, step=step, device=device, on_progress=on_progress)
    shape = (camera.height, camera.width)
    facing = _normals(field, origins, directions, seen, device).reshape(*shape, 3) if normals else None
    return RadiancePicture(
        colours=seen.colours.reshape(*shape, 3).numpy(),
        alpha=seen.alpha.reshape(shape).numpy(),
        depths=seen.depths.reshape(shape).numpy(),
        normals=facing,
    )


@torch.no_grad()
def _normals(field: RadianceField, origins: Tensor, directions: Tensor, seen: Seen, device: torch.device) -> np.ndarray:
    """[n, 3] float32: against the gradient of density (central differences over a cell) where something is seen."""
    found = torch.zeros(len(origins), 3)
    there = torch.nonzero(seen.alpha > FAINT).squeeze(1)
    reach = _STENCIL * field.occupancy.cell
    for part in torch.split(there, _RAYS_AT_ONCE):
        ways = directions[part]
        points = origins[part] + seen.depths[part, None].to(ways.dtype) * ways
        slopes = []
        for axis in range(3):
            aside = torch.zeros(3, dtype=points.dtype)
            aside[axis] = reach
            ends = torch.cat([points + aside, points - aside]).float().to(device)
            density = field.evaluate(ends, torch.cat([ways, ways]).float().to(device))[0]
            slopes.append((density[: len(part)] - density[len(part) :]).cpu())
        normal = -torch.stack(slopes, dim=1)
        normal /= normal.norm(dim=1, keepdim=True).clamp(min=1e-20)
        away = (normal * ways.float()).sum(1, keepdim=True) > 0
        found[part] = torch.where(away, -normal, normal)
    return found.numpy()
