"""A coloured sphere as an asset, and a tiny network that is fitted to it in two seconds."""

from dataclasses import dataclass

import numpy as np
import torch

from fieldcodec.collection.asset import Asset, DistanceSamples, Placement, SurfaceSamples
from fieldcodec.collection.item import ItemField
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.nets.recursive import RecursiveField, new_latents
from fieldcodec.nets.recursive_spec import RecursiveSpec

RADIUS = 0.6
LODS = 4
PLACEMENT = Placement((1.0, -2.0, 0.5), 3.0)


def sphere_colours(points: np.ndarray) -> np.ndarray:
    """[n, 3] in 0 .. 1: a ramp along each axis."""
    return np.asarray(0.5 + 0.4 * points / RADIUS)


def sphere_asset(seed: int = 0, points: int = 20000) -> Asset:
    """Samples of a sphere around the middle of the cube, which is placed elsewhere in the world."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(points, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    surface = normals * np.float32(RADIUS)
    edge = 2 / 2**LODS
    near = np.concatenate([surface + rng.uniform(-1, 1, surface.shape) * reach for reach in (2 * edge, edge / 4)])
    volume = rng.uniform(-0.7, 0.7, (points, 3))

    def distances(where: np.ndarray) -> DistanceSamples:
        return DistanceSamples(where.astype(np.float32), (np.linalg.norm(where, axis=1) - RADIUS).astype(np.float32))

    colours = (sphere_colours(surface) * 255).round().astype(np.uint8)
    return Asset(
        "sphere", PLACEMENT, SurfaceSamples(surface, normals, colours), distances(near), distances(volume), 1000
    )


@dataclass(frozen=True)
class Fitted:
    """The parts of a collection of one object."""

    network: RecursiveField
    latents: torch.Tensor
    asset: Asset
    item: ItemField


def fit(asset: Asset, spec: RecursiveSpec, steps: int, seed: int) -> tuple[RecursiveField, torch.Tensor]:
    """Teacher forcing, Adam, warm-up, a cosine and gradients of norm 1 at most."""
    octree = asset.octree(spec.lods)
    kept = [torch.from_numpy(rows) for rows in octree.kept]
    wanted = torch.cat([torch.from_numpy(mask.reshape(-1)) for mask in octree.child_masks]).long()
    network, latents = RecursiveField(spec, seed=seed), new_latents(1, spec.latent, seed).requires_grad_()
    parameters = [*network.parameters(), latents]
    adam = torch.optim.Adam(parameters, lr=2e-3)
    rate = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: min((step + 1) / 20, 0.5 + 0.5 * np.cos(np.pi * step / steps))
    )
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        unfolded = network(latents, kept)
        rows, seen = rng.integers(0, len(asset.near.points), 1024), rng.integers(0, len(asset.surface.points), 512)
        points = np.concatenate([asset.near.points[rows], asset.surface.points[seen]])
        fused = network.fused(unfolded.latents, Stencil.of(octree, np.zeros(len(points), np.int64), points))
        assert asset.surface.colours is not None
        loss = (
            2 * torch.nn.functional.cross_entropy(torch.cat(unfolded.occupancy), wanted)
            + 10 * (network.distance(fused[:1024]) - torch.from_numpy(asset.near.distances[rows])).abs().mean()
            + (network.colour(fused[1024:]) - torch.from_numpy(asset.surface.colours[seen] / np.float32(255)))
            .norm(dim=1)
            .mean()
        )
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        rate.step()
    return network, latents.detach()


def fitted_sphere() -> Fitted:
    """Takes two seconds on one thread."""
    asset = sphere_asset()
    spec = RecursiveSpec(latent=16, lods=LODS, base_width=64, width=32, colour="rgb")
    network, latents = fit(asset, spec, steps=150, seed=0)
    octree = asset.octree(LODS)
    with torch.no_grad():
        values = network(latents, [torch.from_numpy(rows) for rows in octree.kept]).latents
    return Fitted(network, latents, asset, ItemField(network, octree, values, asset.placement, name="sphere"))
