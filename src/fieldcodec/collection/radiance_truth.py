"""Ground truth of one object from a radiance field: what cameras see of it, as samples.

    field -> rays of cameras -> where light comes from, and where light gets -> into the cube [-1, 1]^3

refine supervises points with density, colour and direction; where the points are it does not say. Here they lie on rays
of cameras: colours where light comes from, along the ray that sees it, as often as light comes from there; densities
wherever light still gets, since what lies behind a surface changes no picture and means nothing in a fitted field.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fieldcodec.collection.asset import DensitySamples, Placement, RadianceAsset, SeenSamples, dilated_octree
from fieldcodec.collection.finest_cells import FinestCells
from fieldcodec.collection.ground_truth import EXTENT, rounded_placement
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import InputError
from fieldcodec.radiance.composite import transmittances
from fieldcodec.radiance.field import Occupancy, RadianceField
from fieldcodec.radiance.march import STEP, RayMarcher

Rays = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(n, random numbers) -> origins and unit directions, [n, 3] float64 each, world space, drawn at random."""

_RAYS_AT_ONCE = 1 << 14
_STEPS_OF_A_CELL = 8  # of the finest cells, if these filled the field's box
_DRAWS = 2  # places that light comes from, of each ray
_ANYWHERE = 8  # places along a ray that light may get to; most are not near the object
_LIGHT = 0.02  # of a ray's light: where less is left, nothing is looked at
_BEFORE, _BEHIND = 2.0, 1.0  # finest cells to both sides of where light comes from
_OUTER = 5e-4  # share of the places to each side that do not count for the box of an object
_FEWEST_SEEN = 1e-3  # of the rays that must meet something
_SPHERE = 3.0  # radius of the sphere of cameras where none are given, in half diagonals of the box
_POINTS_AT_ONCE = 1 << 18


class _Seen(NamedTuple):
    """Of some rays, in world space, float32."""

    points: np.ndarray  # [n, 3] where light comes from
    directions: np.ndarray  # [n, 3]
    colours: np.ndarray  # [n, 3]
    lit: np.ndarray  # [m, 3] where light gets


def asset_of_radiance(
    radiance: RadianceField, name: str, settings: CollectionSettings, *, rays: Rays | None = None, source_bytes: int = 0
) -> RadianceAsset:
    """Samples of a radiance field as cameras see it; the same for the same seed.

    Args:
        rays: of the cameras, such as those that took the pictures the field was fitted to; from all around unless
            given.

    Raises:
        InputError: there is nothing to be seen.
    """
    rng = np.random.default_rng(settings.seed)
    draw = rays_around(radiance.occupancy) if rays is None else rays
    parts = list(_looked(radiance, draw, settings, name, rng))
    points, directions, colours, lit = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    chosen = rng.permutation(len(points))[: settings.surface_points]
    placement = _placement(points[chosen])
    inside = placement.to_model(points[chosen]).astype(np.float32)
    chosen, inside = chosen[(np.abs(inside) <= 1).all(axis=1)], inside[(np.abs(inside) <= 1).all(axis=1)]
    places = placement.to_model(lit).astype(np.float32)
    near = np.flatnonzero(FinestCells(dilated_octree(inside, settings.lods)).hold(places))
    near = near[rng.permutation(len(near))[: 2 * settings.surface_points]]
    densities = placement.scale * _densities(radiance, lit[near])
    return RadianceAsset(
        name=name,
        placement=placement,
        seen=SeenSamples(inside, directions[chosen], (colours[chosen] * 255).round().astype(np.uint8)),
        density=DensitySamples(places[near], densities.astype(np.float32)),
        source_bytes=source_bytes,
        up=radiance.up,
    )


def rays_around(occupancy: Occupancy) -> Rays:
    """Rays from a sphere around a field to points in its occupied cubes."""
    cells = np.argwhere(occupancy.cells)
    middle = occupancy.low + 0.5 * occupancy.cell * np.array(occupancy.cells.shape)
    reach = _SPHERE * 0.5 * occupancy.cell * float(np.linalg.norm(occupancy.cells.shape))

    def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if not len(cells):
            raise InputError("the radiance field is empty: none of its cubes is occupied")
        away = rng.normal(size=(count, 3))
        origins = middle + reach * away / np.linalg.norm(away, axis=1, keepdims=True)
        targets = occupancy.low + occupancy.cell * (cells[rng.integers(0, len(cells), count)] + rng.random((count, 3)))
        directions = targets - origins
        return origins, directions / np.linalg.norm(directions, axis=1, keepdims=True)

    return draw


def _looked(
    radiance: RadianceField, draw: Rays, settings: CollectionSettings, name: str, rng: np.random.Generator
) -> Iterator[_Seen]:
    """Samples of enough rays."""
    grid = radiance.occupancy
    edge = grid.cell * max(grid.cells.shape) / (1 << settings.lods)  # of a finest cell, about
    marcher = RayMarcher(grid, torch.device("cpu"), step=min(STEP, edge / _STEPS_OF_A_CELL / grid.cell))
    found = looked = 0
    while found < settings.surface_points:
        origins, directions = draw(_RAYS_AT_ONCE, rng)
        part = _look(radiance, marcher, origins, directions, edge, rng)
        found, looked = found + len(part.points), looked + len(origins)
        if found < _FEWEST_SEEN * looked:
            raise InputError(f"the radiance field {name!r} is empty: rays of cameras meet nothing in it")
        yield part


@torch.no_grad()
def _look(
    radiance: RadianceField, marcher: RayMarcher, origins: np.ndarray, directions: np.ndarray, edge: float,
    rng: np.random.Generator,
) -> _Seen:  # fmt: skip
    count, starts, ways = len(origins), torch.tensor(origins), torch.tensor(directions)
    samples = marcher.march(starts, ways, torch.from_numpy(rng.random(count)))
    density, colours = radiance.evaluate(*samples.points(starts, ways))
    depths = density * samples.step
    left = (transmittances(depths, samples.offsets) * torch.exp(-depths.double())).numpy()  # behind each sample
    offsets, distances = samples.offsets.numpy(), samples.distances.numpy().astype(np.float64)
    dark = _first_dark(left, offsets, distances)
    ray, place = _places_of_light(left, offsets, rng)
    along = distances[place]
    points = origins[ray] + along[:, None] * directions[ray]
    beside = along + edge * rng.uniform(-_BEFORE, _BEHIND, len(along))
    size = _size_of(radiance.occupancy)
    rays = np.tile(np.arange(count), _ANYWHERE)
    middle = ((radiance.occupancy.low + size / 2 - origins) * directions).sum(axis=1)
    anywhere = middle[rays] + 0.5 * float(np.linalg.norm(size)) * rng.uniform(-1, 1, len(rays))
    rays, reached = np.concatenate([ray, rays]), np.concatenate([beside, anywhere])
    lit = (reached > 0) & (reached < dark[rays])
    rays, reached = rays[lit], reached[lit]
    return _Seen(
        points.astype(np.float32),
        directions[ray].astype(np.float32),
        colours.numpy()[place],
        (origins[rays] + reached[:, None] * directions[rays]).astype(np.float32),
    )


def _size_of(occupancy: Occupancy) -> np.ndarray:
    """[3] float64: sides of the box, world units."""
    return occupancy.cell * np.array(occupancy.cells.shape, np.float64)


def _first_dark(left: np.ndarray, offsets: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """[rays] the distance at which nearly all light is gone; infinite where some goes through."""
    dark = np.full(len(offsets) - 1, np.inf)
    rows = np.flatnonzero(left < _LIGHT)[::-1]  # the nearest one is written last
    dark[np.searchsorted(offsets, rows, side="right") - 1] = distances[rows]
    return dark


def _places_of_light(left: np.ndarray, offsets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rays [n] and samples [n]: where light of a ray ends, drawn as often as it ends there; none where it goes on."""
    count = len(offsets) - 1
    ray_of = np.repeat(np.arange(count), np.diff(offsets))
    rising = 2.0 * ray_of + (1 - left)  # one rising line of all rays
    rays = np.tile(np.arange(count), _DRAWS)
    places = np.searchsorted(rising, 2.0 * rays + rng.random(len(rays)), side="right")
    ends = places < offsets[rays + 1]
    return rays[ends], places[ends]


@torch.no_grad()
def _densities(radiance: RadianceField, points: np.ndarray) -> np.ndarray:
    """[n] float32 in world space; they do not depend on directions."""
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(points), _POINTS_AT_ONCE):
        some: Tensor = torch.from_numpy(points[start : start + _POINTS_AT_ONCE].astype(np.float64))
        ways = torch.zeros_like(some)
        ways[:, 2] = 1
        found.append(radiance.evaluate(some, ways)[0].numpy())
    return np.concatenate(found)


def _placement(points: np.ndarray) -> Placement:
    """Such that the box of the points, but for the outermost, reaches to EXTENT."""
    low, high = np.quantile(points.astype(np.float64), [_OUTER, 1 - _OUTER], axis=0)
    reach = float((high - low).max()) / 2
    if not reach > 0 or not math.isfinite(reach):
        raise InputError("all that is to be seen of the radiance field is at one point")
    return rounded_placement((low + high) / 2, reach / EXTENT)
