"""How far what a recursive network says is from what objects are (refine, losses)."""

import math
from dataclasses import astuple, dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldcodec.collection.batches import Batch, Samples
from fieldcodec.collection.picture_rays import PictureRays
from fieldcodec.nets.recursive import RecursiveField, Unfolded
from fieldcodec.radiance.composite import composite

_CLEAR, _SOLID = 1e-3, 0.99  # opacities below and above count as none and all of the light


@final
@dataclass(frozen=True)
class Losses:
    """Parts of the loss of a step, before they are weighted."""

    occupancy: float  # cross entropy of a child, in nats
    distance: float  # mean absolute error, in units of the cube [-1, 1]^3
    colour: float  # of surfaces: mean Euclidean error, of 0 .. 1 a channel
    opacity: float  # mean absolute error, see `nets.opacity`
    radiance: float  # as colour, by direction
    picture: float  # mean squared error of a channel of what pixels see

    @property
    def are_finite(self) -> bool:
        return all(math.isfinite(part) for part in astuple(self))


def losses_of(
    network: RecursiveField, latents: Tensor, batch: Batch, added: tuple[int, Tensor] | None = None
) -> Tensor:
    """The parts of `Losses` of a batch [6], means over its objects; 0 where there are no samples.

    The cross entropy is a plain mean over all children of all levels, of which some stand for all of a level.

    Args:
        added: a level, and what is added to the latents of its cells, of all objects.
    """
    unfolded = network(latents, batch.kept, batch.asked, added)
    everything = sum(batch.children)
    occupancy = torch.stack(
        [
            F.cross_entropy(logits.float(), truth) * (children / everything)
            for logits, truth, children in zip(unfolded.occupancy, batch.occupied, batch.children, strict=True)
        ]
    ).sum()
    distance = colour = opacity = radiance = occupancy.new_zeros(())
    if batch.distances is not None:
        predicted = network.distance(network.fused(unfolded.latents, batch.distances.stencil)).float()
        distance = batch.distances.share * (predicted - batch.distances.wanted).abs().mean()
    if batch.colours is not None:
        fused = network.fused(unfolded.latents, batch.colours.stencil)
        colour = _colour_loss(network.colour(fused), fused, batch.colours)
    if batch.opacities is not None:
        predicted = network.opacity(network.fused(unfolded.latents, batch.opacities.stencil)).float()
        opacity = batch.opacities.share * opacity_errors(predicted, batch.opacities.wanted).mean()
    if batch.radiance is not None:
        radiance = _colour_loss(*radiance_at(network, unfolded, batch.radiance), batch.radiance)
    pictures = [rays.share * picture_loss(network, unfolded, rays) for rays in batch.pictures]
    picture = torch.stack(pictures).sum() if pictures else occupancy.new_zeros(())
    return torch.stack([occupancy, distance, colour, opacity, radiance, picture])


def opacity_errors(predicted: Tensor, wanted: Tensor) -> Tensor:
    """[n] absolute errors; where no light or all of it is taken away, what goes beyond is no error.

    Networks put out any number, of which a decoder takes what lies in 0 .. 1: pulled on one side alone, they come away
    from a wrong 0, which has no slope in the decoder, and are free of following the steps between air and solid.
    """
    error = predicted - wanted
    error = torch.where(wanted < _CLEAR, error.clamp(min=0), error)
    return torch.where(wanted > _SOLID, error.clamp(max=0), error).abs()


def radiance_at(network: RecursiveField, unfolded: Unfolded, samples: Samples) -> tuple[Tensor, Tensor]:
    """Colours [n, 3] by direction, and the fused latents."""
    assert samples.directions is not None
    fused = network.fused(unfolded.latents, samples.stencil)
    return network.radiance(fused, samples.directions), fused


def picture_loss(network: RecursiveField, unfolded: Unfolded, rays: PictureRays) -> Tensor:
    """Of rays through the cells of one object, over what is behind it."""
    fused = network.fused(unfolded.latents, rays.stencil)
    density, colours = network.density(fused).float(), network.radiance(fused, rays.directions).float()
    seen = composite(density, rays.step, colours, rays.distances, rays.offsets)
    wanted = rays.wanted[:, :3] + (1 - rays.wanted[:, 3:]) * rays.behind
    return (seen.colours + (1 - seen.alpha[:, None]) * rays.behind - wanted).square().mean()


def _colour_loss(predicted: Tensor, fused: Tensor, samples: Samples) -> Tensor:
    """Over the points that see any cell."""
    seen = fused.detach().abs().sum(dim=1) != 0
    error = torch.linalg.vector_norm(predicted.float() - samples.wanted, dim=1)
    return samples.share * (error * seen).sum() / seen.sum().clamp_min(1)
