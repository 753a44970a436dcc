"""What one training step sees of objects: their octrees, and samples of their fields."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.collection.asset import AnyAsset, Asset, RadianceAsset
from fieldcodec.collection.picture_rays import PictureRays, draw_rays
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.nets.opacity import opacity_of


@final
@dataclass(frozen=True, eq=False)
class Samples:
    """What one of the heads shall say at points of the objects that it is for."""

    stencil: Stencil
    wanted: Tensor  # [points] distances or opacities, or [points, 3] colours of 0 .. 1; float32
    share: float  # of the objects of a batch
    directions: Tensor | None = None  # [points, 3] float32, where colours depend on them

    def to(self, device: torch.device | str) -> "Samples":
        along = None if self.directions is None else self.directions.to(device)
        return Samples(self.stencil.to(device), self.wanted.to(device), self.share, along)


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of some objects, and the cells that these take their values from, with all ancestors: no others are made.

    Lists have an entry for each level from 1 on; None stands for no samples.
    """

    kept: list[Tensor]  # [cells] int64, see `Octree.kept`
    cells: list[Tensor]  # [cells] int64: the rows of the made cells in the whole octree
    asked: list[Tensor]  # [children] int64: the children whose occupancy is looked at, among those of all made cells
    occupied: list[Tensor]  # [children] int64, 0 or 1: the truth
    children: list[int]  # of each level, made or not
    distances: Samples | None
    colours: Samples | None  # of surfaces
    opacities: Samples | None
    radiance: Samples | None  # colours by direction
    pictures: tuple[PictureRays, ...] = ()


@final
@dataclass(frozen=True)
class BatchOptions:
    """How much of an object a batch holds."""

    points: int  # samples of each object; half of them of colour where it has any
    occupancy: int = 2048  # children of a level of each object whose occupancy is looked at, at most
    colours: bool = False  # of surfaces
    lods: int = 1  # of the network, whose finest cells opacities are of; octrees may be cut
    rays: int = 0  # of pictures, of each radiance field that has some
    level_dropout: float = 0.0  # share of the points that see only the levels down to a random one


@dataclass
class _Drawn:
    """Samples of one head, object by object; `rows` are the roots of the octree that the objects are."""

    rows: list[int]
    points: list[np.ndarray]
    wanted: list[np.ndarray]
    directions: list[np.ndarray]

    @staticmethod
    def none() -> "_Drawn":
        return _Drawn([], [], [], [])

    def add(self, row: int, points: np.ndarray, wanted: np.ndarray, directions: np.ndarray | None = None) -> None:
        self.rows.append(row)
        self.points.append(points)
        self.wanted.append(wanted)
        if directions is not None:
            self.directions.append(directions)


def make_batch(
    assets: Sequence[AnyAsset],
    trees: Sequence[Octree],
    options: BatchOptions,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Batch:
    """Random samples of all of the given objects, whose octrees have the levels that are trained."""
    tree = trees[0] if len(trees) == 1 else Octree.joined(trees)
    distances, colours, opacities, radiance = (_Drawn.none() for _ in range(4))
    for row, asset in enumerate(assets):
        if isinstance(asset, RadianceAsset):
            _draw_radiance(asset, row, options, rng, opacities, radiance)
        else:
            _draw_surface(asset, row, options, rng, distances, colours)

    share = 1 / len(assets)
    heads = [_sampled(drawn, tree, options, share, rng) for drawn in (distances, colours, opacities, radiance)]
    pictures = [
        draw_rays(asset, own, row, tree, options.rays, share, rng)
        for row, (asset, own) in enumerate(zip(assets, trees, strict=True))
        if options.rays and isinstance(asset, RadianceAsset) and asset.pictures is not None
    ]
    asked = [_some(mask.size, options.occupancy * len(assets), rng) for mask in tree.child_masks]
    truth = [mask.ravel()[children].astype(np.int64) for mask, children in zip(tree.child_masks, asked, strict=True)]
    needed = _needed(tree, [each.stencil for each in (*heads, *pictures) if each is not None], asked)
    places = [_places(rows, count) for rows, count in zip(needed, tree.num_cells, strict=True)]
    judged = [
        8 * where[rows >> 3].astype(np.int64) + (rows & 7) for where, rows in zip(places[:-1], asked, strict=True)
    ]

    def there(arrays: Iterable[np.ndarray]) -> list[Tensor]:
        return [torch.from_numpy(array).to(device) for array in arrays]

    def said(samples: Samples | None) -> Samples | None:
        return None if samples is None else replace(samples, stencil=_among(samples.stencil, places)).to(device)

    return Batch(
        kept=there(tree.of_needed(needed).kept),
        cells=there(needed[1:]),
        asked=there(judged),
        occupied=there(truth),
        children=[len(mask) * 8 for mask in tree.child_masks],
        distances=said(heads[0]),
        colours=said(heads[1]),
        opacities=said(heads[2]),
        radiance=said(heads[3]),
        pictures=tuple(replace(rays, stencil=_among(rays.stencil, places)).to(device) for rays in pictures),
    )


def _sampled(
    drawn: _Drawn, tree: Octree, options: BatchOptions, share: float, rng: np.random.Generator
) -> Samples | None:
    if not drawn.rows:
        return None
    roots = np.repeat(drawn.rows, [len(some) for some in drawn.points])
    stencil = _stencil(tree, roots, np.concatenate(drawn.points), options, rng)
    along = torch.from_numpy(np.concatenate(drawn.directions)) if drawn.directions else None
    return Samples(stencil, torch.from_numpy(np.concatenate(drawn.wanted)), len(drawn.rows) * share, along)


def _needed(tree: Octree, stencils: Sequence[Stencil], asked: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Of each level from 0 on, the cells that samples see, and those whose children's occupancy is looked at."""
    looked = [*(children >> 3 for children in asked), np.zeros(0, np.int64)]
    for stencil in stencils:
        rows = stencil.rows.numpy()
        looked[1:] = [np.concatenate([some, rows[:, level].ravel()]) for level, some in enumerate(looked[1:])]
    return tree.needed(looked)


def _places(rows: np.ndarray, count: int) -> np.ndarray:
    """[count + 1] int32: where each of all cells stands among `rows`, -1 for those that do not; the last one is -1."""
    found = np.full(count + 1, -1, np.int32)
    found[rows] = np.arange(len(rows), dtype=np.int32)
    return found


def _among(stencil: Stencil, places: Sequence[np.ndarray]) -> Stencil:
    """The same cells as rows among those that are needed; `places` are of all levels from 0 on."""
    rows = stencil.rows.numpy()
    found = [where[rows[:, level]] for level, where in enumerate(places[1:])]
    return Stencil(torch.from_numpy(np.stack(found, axis=1)), stencil.places)


def _draw_surface(
    asset: Asset, row: int, options: BatchOptions, rng: np.random.Generator, distances: _Drawn, colours: _Drawn
) -> None:
    has_colours = options.colours and asset.surface.colours is not None
    count = options.points // 2 if has_colours else options.points
    rows = rng.integers(0, len(asset.near.points), count)
    distances.add(row, asset.near.points[rows], asset.near.distances[rows])
    if options.colours and asset.surface.colours is not None:
        rows = rng.integers(0, len(asset.surface.points), count)
        colours.add(row, asset.surface.points[rows], _of_bytes(asset.surface.colours[rows]))


def _draw_radiance(
    asset: RadianceAsset, row: int, options: BatchOptions, rng: np.random.Generator, opacities: _Drawn, radiance: _Drawn
) -> None:
    count, density, seen = options.points // 2, asset.density, asset.seen
    rows = rng.integers(0, len(density.points), count)
    opacities.add(row, density.points[rows], opacity_of(density.densities[rows], options.lods))
    rows = rng.integers(0, len(seen.points), count)
    radiance.add(row, seen.points[rows], _of_bytes(seen.colours[rows]), seen.directions[rows])


def _of_bytes(colours: np.ndarray) -> np.ndarray:
    return np.asarray(colours.astype(np.float32) / np.float32(255))


def _some(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """All row numbers below `count`, or `most` of them, drawn with replacement."""
    return np.arange(count) if count <= most else rng.integers(0, count, most)


def _stencil(
    tree: Octree, roots: np.ndarray, points: np.ndarray, options: BatchOptions, rng: np.random.Generator
) -> Stencil:
    stencil = Stencil.of(tree, roots, points)
    if options.level_dropout:
        hit = np.flatnonzero(rng.random(len(roots)) < options.level_dropout)
        last = np.full(len(roots), tree.lods)
        last[hit] = rng.integers(1, tree.lods + 1, len(hit))
        stencil.rows[torch.from_numpy(np.arange(tree.lods) >= last[:, None])] = -1
    return stencil
