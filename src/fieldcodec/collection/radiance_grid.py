"""A radiance field of a collection as a grid, as other programs and the volume codec have them."""

import numpy as np
import torch

from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.errors import UsageError
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.harmonics import COUNT, harmonics
from fieldcodec.radiance.lattice import CornerLattice

MAX_RESOLUTION = 512
_DIRECTIONS = 32  # from which a corner is looked at; for nine harmonics
_THINNEST = 1e-4  # optical depth of a cell where there is nothing: what softplus can say
_CORNERS_AT_ONCE = 1 << 13


def default_resolution(item: RadianceItem) -> int:
    """Cells along the cube with which the grid looks about as the field itself."""
    return min(2 << item.lods, MAX_RESOLUTION)


def grid_of_item(item: RadianceItem, resolution: int | None = None) -> RadianceGrid:
    """Density and colours at the corners of small cells, colours as their nearest sums of harmonics.

    Args:
        resolution: cells along the cube [-1, 1]^3; `default_resolution(item)` unless given.

    Raises:
        UsageError: the resolution is not allowed, or the object has no cells.
    """
    resolution = default_resolution(item) if resolution is None else resolution
    if not 8 <= resolution <= MAX_RESOLUTION:
        raise UsageError(f"the resolution is {resolution}; allowed are 8 to {MAX_RESOLUTION} cells along the cube")
    cells = item.octree.cells(item.lods)[1]
    if not len(cells):
        raise UsageError(f"the object {item.name!r} has no cells, so there is nothing to write")
    lattice = _lattice(item, cells, resolution)
    points = lattice.low + lattice.places * lattice.cell
    thickness = np.empty(lattice.num_corners, np.float32)
    shades = np.zeros((lattice.num_corners, COUNT, 3), np.float32)
    ways = _spread_directions(_DIRECTIONS)
    towards = np.linalg.pinv(harmonics(torch.from_numpy(ways)).numpy())  # [harmonics, directions], least squares
    for start in range(0, lattice.num_corners, _CORNERS_AT_ONCE):
        rows = np.arange(start, min(start + _CORNERS_AT_ONCE, lattice.num_corners))
        depth = item.sample(points[rows], ways[0])[:, 0] * lattice.cell
        thickness[rows] = np.log(np.expm1(np.maximum(depth, _THINNEST)))
        seen = rows[depth > 0]
        every = item.sample(np.repeat(points[seen], _DIRECTIONS, axis=0), np.tile(ways, (len(seen), 1)))
        colours = every[:, 1:].reshape(len(seen), _DIRECTIONS, 3)
        shades[seen] = np.einsum("hd,ndc->nhc", towards, colours - 0.5)
    return RadianceGrid(lattice, torch.from_numpy(thickness), torch.from_numpy(shades), item.up)


def _lattice(item: RadianceItem, cells: np.ndarray, resolution: int) -> CornerLattice:
    """The cells of the cube at a resolution that lie in finest cells of an object, [n, 3], or touch them."""
    scale = resolution / (1 << item.lods)
    low, high = np.floor(cells * scale).astype(int), np.ceil((cells + 1) * scale).astype(int)
    live = np.zeros((resolution,) * 3, bool)
    for step in np.ndindex(*[int((high - low).max())] * 3):
        inside = low + np.array(step)
        inside = inside[(inside < high).all(axis=1)]
        live[tuple(inside.T)] = True
    first, last = low.min(axis=0), high.max(axis=0)
    live = live[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    edge = 2.0 / resolution
    return CornerLattice.of_cells(item.placement.to_world(first * edge - 1.0), item.placement.scale * edge, live)


def _spread_directions(count: int) -> np.ndarray:
    """[count, 3] unit vectors, about evenly spread over the sphere (a spiral of golden angles)."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - z * z)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)
