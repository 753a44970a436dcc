"""From one lattice of a fit to the next, finer one."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.harmonics import COUNT
from fieldcodec.radiance.lattice import CornerLattice

EMPTY = -6.0  # thickness, before softplus, where nothing is known: 0.0025 of an edge's optical depth
_CORNERS_AT_ONCE = 1 << 17


def fine_lattice(kept: np.ndarray, low: np.ndarray, cell: float, finer: float) -> CornerLattice:
    """The lattice of cells of edge `finer` that meet a kept cell, around which the box is drawn in.

    Args:
        kept: [nx, ny, nz] bool, at least one.
        low, cell: of the box of these.
    """
    filled = np.argwhere(kept)
    first, last = filled.min(axis=0), filled.max(axis=0) + 1
    start = low + first * cell
    shape = np.maximum(np.ceil((last - first) * cell / finer - 1e-6).astype(int), 1)
    cut = kept[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    live = cut
    for axis, count in enumerate(shape):
        edges = np.arange(count + 1) * (finer / cell)
        below = np.clip(np.floor(edges[:-1] + 1e-6).astype(int), 0, cut.shape[axis] - 1)
        above = np.clip(np.ceil(edges[1:] - 1e-6).astype(int) - 1, 0, cut.shape[axis] - 1)
        parts = [np.take(live, np.minimum(below + n, above), axis=axis) for n in range(int((above - below).max()) + 1)]
        live = np.logical_or.reduce(parts)
    return CornerLattice.of_cells(start, finer, live)


def resampled(grid: RadianceGrid, lattice: CornerLattice) -> RadianceGrid:
    """The grid on another lattice, its density for each unit of length kept; nothing is where it had no corners."""
    thickness = torch.full((lattice.num_corners,), EMPTY)
    shades = torch.zeros(lattice.num_corners, COUNT, 3)
    scale = lattice.cell / grid.lattice.cell
    for start in range(0, lattice.num_corners, _CORNERS_AT_ONCE):
        part = slice(start, start + _CORNERS_AT_ONCE)
        world = lattice.low + lattice.places[part] * lattice.cell
        weights, rows = _held_around(grid.lattice, world)
        known = torch.from_numpy(weights.sum(1) > 0)
        shares = torch.from_numpy(weights / np.maximum(weights.sum(1, keepdims=True), 1e-6))
        taken = torch.from_numpy(rows)
        raw = (grid.thickness[taken] * shares).sum(1)
        thickness[part] = torch.where(known, inverse_softplus(F.softplus(raw) * scale), EMPTY)
        shades[part] = torch.einsum("nqbc,nq->nbc", grid.shades[taken], shares) * known[:, None, None]
    return RadianceGrid(lattice, thickness, shades, grid.up)


def inverse_softplus(values: Tensor) -> Tensor:
    """x with softplus(x) = values, which are positive."""
    return values + torch.log(-torch.expm1(-values.clamp(min=1e-30)))


def _held_around(lattice: CornerLattice, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [n, 8] float32 and rows [n, 8] of the corners around points [n, 3]; weight 0 where one is not held."""
    places = (world - lattice.low) / lattice.cell
    first = np.clip(np.floor(places + 1e-6).astype(np.int64), -1, np.array(lattice.held.shape) - 1)
    beside = np.clip(places - first, 0, 1)
    weights, rows = np.zeros((len(world), 8), np.float32), np.zeros((len(world), 8), np.int64)
    for q, corner in enumerate(np.ndindex(2, 2, 2)):
        at = first + corner
        inside = ((at >= 0) & (at < lattice.held.shape)).all(1)
        found = np.where(inside, lattice.rows[tuple(np.where(inside[:, None], at, 0).T)], -1)
        share = np.where(corner, beside, 1 - beside).prod(1)
        weights[:, q] = share * (found >= 0)
        rows[:, q] = np.maximum(found, 0)
    return weights, rows
