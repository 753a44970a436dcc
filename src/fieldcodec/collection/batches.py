"""What one training step sees of objects: their octrees, and samples of their fields."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.collection.asset import Asset, DistanceSamples
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.interpolation import Stencil


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of some objects. Lists have an entry for each level from 1 on."""

    kept: list[Tensor]  # [cells] int64, see `Octree.kept`
    asked: list[Tensor]  # [children] int64: the children whose occupancy is looked at, among all of the level
    occupied: list[Tensor]  # [children] int64, 0 or 1: the truth
    children: list[int]  # of each level, looked at or not
    stencil: Stencil  # of the points of known distance
    distances: Tensor  # [points] float32
    colour_stencil: Stencil | None
    colours: Tensor | None  # [points, 3] float32, 0 .. 1


@final
@dataclass(frozen=True)
class BatchOptions:
    """How much of an object a batch holds."""

    points: int  # samples of each object; with colours, half of them of colour
    occupancy: int = 2048  # children of a level of each object whose occupancy is looked at, at most
    colours: bool = False
    level_dropout: float = 0.0  # share of the points that see only the levels down to a random one


def make_batch(
    assets: Sequence[Asset],
    trees: Sequence[Octree],
    options: BatchOptions,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Batch:
    """Random samples of all of the given objects, whose octrees have the levels that are trained."""
    tree = trees[0] if len(trees) == 1 else Octree.joined(trees)
    points = options.points // 2 if options.colours else options.points
    drawn = [_draw(asset.near, points, rng) for asset in assets]
    stencil = _stencil(tree, [near.points for near in drawn], options, rng, device)
    asked = [_some(len(mask) * 8, options.occupancy * len(assets), rng) for mask in tree.child_masks]
    truth = [mask.ravel()[rows].astype(np.int64) for mask, rows in zip(tree.child_masks, asked, strict=True)]
    colour_stencil, colours = None, None
    if options.colours:
        colour_points, colour_values = zip(*[_draw_colours(asset, points, rng) for asset in assets], strict=True)
        colour_stencil = _stencil(tree, list(colour_points), options, rng, device)
        colours = torch.from_numpy(np.concatenate(colour_values)).to(device)
    return Batch(
        [torch.from_numpy(rows).to(device) for rows in tree.kept],
        [torch.from_numpy(rows).to(device) for rows in asked],
        [torch.from_numpy(rows).to(device) for rows in truth],
        [len(mask) * 8 for mask in tree.child_masks],
        stencil,
        torch.from_numpy(np.concatenate([near.distances for near in drawn])).to(device),
        colour_stencil,
        colours,
    )


def _draw(samples: DistanceSamples, count: int, rng: np.random.Generator) -> DistanceSamples:
    rows = rng.integers(0, len(samples.points), count)
    return DistanceSamples(samples.points[rows], samples.distances[rows])


def _draw_colours(asset: Asset, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points of the surface [count, 3] and their colours [count, 3] float32 in 0 .. 1."""
    surface = asset.surface
    assert surface.colours is not None
    rows = rng.integers(0, len(surface.points), count)
    return surface.points[rows], surface.colours[rows].astype(np.float32) / np.float32(255)


def _some(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """All row numbers below `count`, or `most` of them, drawn with replacement."""
    return np.arange(count) if count <= most else rng.integers(0, count, most)


def _stencil(
    tree: Octree, points: list[np.ndarray], options: BatchOptions, rng: np.random.Generator, device: torch.device | str
) -> Stencil:
    roots = np.repeat(np.arange(len(points)), [len(some) for some in points])
    stencil = Stencil.of(tree, roots, np.concatenate(points))
    if options.level_dropout:
        hit = np.flatnonzero(rng.random(len(roots)) < options.level_dropout)
        last = np.full(len(roots), tree.lods)
        last[hit] = rng.integers(1, tree.lods + 1, len(hit))
        stencil.rows[torch.from_numpy(np.arange(tree.lods) >= last[:, None])] = -1
    return Stencil(stencil.rows.to(device), stencil.places.to(device))
