"""Rays of the pictures that a radiance field was taken from: what it is fitted to end to end."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.collection.asset import RadianceAsset
from fieldcodec.grid.octree import Octree, cell_edge
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.radiance.field import Occupancy
from fieldcodec.radiance.march import RayMarcher

STEP = 0.5  # of a finest cell, between two samples of a ray


@final
@dataclass(frozen=True, eq=False)
class PictureRays:
    """Rays of one object, in the cube [-1, 1]^3, and their samples in its finest cells, ray after ray."""

    stencil: Stencil  # of the samples
    directions: Tensor  # [samples, 3] float32
    distances: Tensor  # [samples] float32 from the rays' origins
    offsets: Tensor  # [rays + 1] int64: the samples of each ray
    step: float  # between two samples
    wanted: Tensor  # [rays, 4] float32: colours times alpha, and alpha, as the pictures have them
    behind: Tensor  # [rays, 1] float32: brightness of what is behind the object
    share: float  # of the objects of a batch

    def to(self, device: torch.device | str) -> "PictureRays":
        """The same on a device."""
        return PictureRays(
            self.stencil.to(device), self.directions.to(device), self.distances.to(device), self.offsets.to(device),
            self.step, self.wanted.to(device), self.behind.to(device), self.share,
        )  # fmt: skip


def draw_rays(
    asset: RadianceAsset, tree: Octree, row: int, joined: Octree, count: int, share: float, rng: np.random.Generator
) -> PictureRays:
    """Random pixels of an asset's pictures.

    Args:
        tree: of the object alone.
        row: of the object among the roots of `joined`, the octree of all objects of a step.
    """
    pictures = asset.pictures
    assert pictures is not None
    chosen = torch.from_numpy(rng.integers(0, len(pictures.pixels), count))
    origins, directions = pictures.pixels.rays(chosen)
    origins = (origins - torch.tensor(asset.placement.centre, dtype=torch.float64)) / asset.placement.scale
    samples = _marcher(asset, tree.lods).march(origins, directions, torch.from_numpy(rng.random(count)))
    points, along = samples.points(origins, directions)
    roots = np.full(len(points), row, np.int64)
    behind = rng.random((count, 1)) if pictures.brightness is None else np.full((count, 1), pictures.brightness)
    return PictureRays(
        Stencil.of(joined, roots, points.float().numpy()),
        along.float(),
        samples.distances,
        samples.offsets,
        samples.step,
        pictures.pixels.targets(chosen),
        torch.from_numpy(behind.astype(np.float32)),
        share,
    )


@lru_cache(maxsize=256)
def _marcher(asset: RadianceAsset, lods: int) -> RayMarcher:
    """Through the finest cells of the true octree, in the cube."""
    cells = np.zeros((1 << lods,) * 3, bool)
    cells[tuple(asset.octree(lods).cells(lods)[1].T)] = True
    return RayMarcher(Occupancy(np.full(3, -1.0), cell_edge(lods), cells), torch.device("cpu"), step=STEP)
