"""Samples along rays, in occupied cells only: what a renderer evaluates.

rays + Occupancy -> RayMarcher -> Samples (ray after ray, from near to far) -> field -> composite

Ray i enters the box at a distance near_i; its samples lie at near_i + (k + shift_i) step, k = 0, 1, .., as long as they
are in the box, and those in empty cells are left out. Both ways here, compiled for the CPU and PyTorch's for all else,
decide in float64 by the same formulas.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.errors import UsageError
from fieldcodec.radiance import march_kernels
from fieldcodec.radiance.field import Occupancy
from fieldcodec.threads import map_threads

STEP = 0.6  # of a cell
_RAYS_AT_ONCE = 2048  # of one thread
_ALL = np.iinfo(np.int64).max
_PLACES_AT_ONCE = 1 << 22  # places that PyTorch's way looks at, live or not, in one go


@final
@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of n rays, ray after ray, from near to far; of m samples in all."""

    offsets: Tensor  # [n + 1] int64: those of ray i are offsets[i] to offsets[i + 1], excluded
    distances: Tensor  # [m] float32 from the ray's origin, world units
    step: float  # world units between samples: the length that each stands for

    def __len__(self) -> int:
        return len(self.distances)

    @property
    def rays(self) -> Tensor:
        """[m] int64: the ray of each sample."""
        counts = self.offsets.diff()
        return torch.repeat_interleave(counts, output_size=len(self))

    def points(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Where the samples of these rays are, and along what they are seen: [m, 3] each."""
        rays = self.rays
        along = directions[rays]
        return origins[rays] + self.distances.to(along.dtype)[:, None] * along, along


@final
class RayMarcher:
    """Finds the samples of rays in the occupied cells of one field."""

    def __init__(self, occupancy: Occupancy, device: torch.device, *, step: float = STEP) -> None:
        """
        Args:
            step: of a cell.

        Raises:
            UsageError: the step is not positive, or the cells are none.
        """
        if not (np.isfinite(step) and step > 0):
            raise UsageError(f"a step of {step} cells is not possible; use a positive number, such as {STEP}")
        if not (np.isfinite(occupancy.cell) and occupancy.cell > 0 and occupancy.cells.ndim == 3):
            raise UsageError(f"cells of edge {occupancy.cell} in an array of {occupancy.cells.ndim} axes are no box")
        self.device = device
        self.step = step * occupancy.cell  # world units
        self._low = np.array(occupancy.low, np.float64)
        self._cell = float(occupancy.cell)
        self._cells = np.ascontiguousarray(occupancy.cells, bool)
        self._bricks = _bricks_of(self._cells)
        self._box = (self._low, self._cell, self._cells, self._bricks, self.step)
        self._on_device = None if device.type == "cpu" else torch.from_numpy(self._cells).to(device)

    def march(self, origins: Tensor, directions: Tensor, shifts: Tensor | None = None) -> Samples:
        """The samples of rays.

        Args:
            origins: [n, 3] world space.
            directions: [n, 3] of length 1.
            shifts: [n] of 0 to 1: where samples lie in their steps; without, all in the middle.
        """
        if shifts is None:
            shifts = torch.full((len(origins),), 0.5, dtype=torch.float64, device=origins.device)
        if self.device.type == "cpu":
            return self._march_compiled(origins, directions, shifts)
        return self._march_torch(origins, directions, shifts)

    def meets(self, origins: Tensor, directions: Tensor) -> Tensor:
        """[n] bool: which rays have any sample, with samples in the middle of their steps."""
        shifts = torch.full((len(origins),), 0.5, dtype=torch.float64, device=origins.device)
        if self.device.type == "cpu":
            return torch.from_numpy(self._counts(_as_arrays(origins, directions, shifts), most=1) > 0)
        return self._march_torch(origins, directions, shifts).offsets.diff() > 0

    def _march_compiled(self, origins: Tensor, directions: Tensor, shifts: Tensor) -> Samples:
        rays = _as_arrays(origins, directions, shifts)
        offsets = np.zeros(len(rays[0]) + 1, np.int64)
        np.cumsum(self._counts(rays, most=_ALL), out=offsets[1:])
        distances = np.empty(offsets[-1], np.float32)

        def fill(part: slice) -> None:
            starts, ways, moved = (array[part] for array in rays)
            bounds = offsets[part.start : part.start + len(starts) + 1]
            march_kernels.fill_samples(starts, ways, *self._box, moved, bounds, distances)

        map_threads(fill, _parts(len(rays[0])), None)
        return Samples(torch.from_numpy(offsets), torch.from_numpy(distances), self.step)

    def _counts(self, rays: list[np.ndarray], most: int) -> np.ndarray:
        """[n] int64: how many samples rays have, counted up to `most`."""
        counts = np.zeros(len(rays[0]), np.int64)

        def count(part: slice) -> None:
            starts, ways, moved = (array[part] for array in rays)
            march_kernels.count_samples(starts, ways, *self._box, moved, counts[part], most)

        map_threads(count, _parts(len(counts)), None)
        return counts

    def _march_torch(self, origins: Tensor, directions: Tensor, shifts: Tensor) -> Samples:
        cells = torch.from_numpy(self._cells) if self._on_device is None else self._on_device
        low = torch.from_numpy(self._low).to(origins.device)
        high = low + torch.tensor(self._cells.shape, dtype=torch.float64, device=low.device) * self._cell
        starts, ways, moved = origins.double(), directions.double(), shifts.double()
        near, far = _crossings(starts, ways, low, high)
        places = int(torch.ceil((far - near).amax() / self.step).clamp(0).item()) + 1 if len(starts) else 1
        rays_at_once = max(1, _PLACES_AT_ONCE // places)
        counts, distances = [], []
        for a in range(0, len(starts), rays_at_once):
            part = slice(a, a + rays_at_once)
            along = (torch.arange(places, device=low.device) + moved[part, None]) * self.step + near[part, None]
            at = (starts[part, None] + along[..., None] * ways[part, None] - low) / self._cell
            index = at.floor().long()
            limits = torch.tensor(cells.shape, device=low.device)
            inside = ((index >= 0) & (index < limits)).all(-1) & (along < far[part, None])
            index = torch.minimum(index.clamp(min=0), limits - 1)
            inside &= cells[index[..., 0], index[..., 1], index[..., 2]]
            counts.append(inside.sum(1))
            distances.append(along[inside].float())
        empty = torch.zeros(1, dtype=torch.int64, device=low.device)
        offsets = torch.cumsum(torch.cat([empty, *counts]), 0)
        return Samples(offsets, torch.cat([empty[:0].float(), *distances]), self.step)


def _as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [np.ascontiguousarray(tensor.detach().numpy(), np.float64) for tensor in tensors]


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _RAYS_AT_ONCE) for start in range(0, count, _RAYS_AT_ONCE)]


def _bricks_of(cells: np.ndarray) -> np.ndarray:
    """[nx, ny, nz] -> which cubes of BRICK cells along each edge hold an occupied one."""
    edge = march_kernels.BRICK
    padded = np.pad(cells, [(0, -n % edge) for n in cells.shape])
    a, b, c = (n // edge for n in padded.shape)
    return np.ascontiguousarray(padded.reshape(a, edge, b, edge, c, edge).any(axis=(1, 3, 5)))


def _crossings(origins: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a box, not before their origins: [n] each, near >= far where they miss."""
    still = directions == 0
    across = torch.where(still, 1.0, directions)
    a, b = (low - origins) / across, (high - origins) / across
    endless = torch.full_like(a, torch.inf)
    first = torch.where(still, -endless, torch.minimum(a, b))
    last = torch.where(still, endless, torch.maximum(a, b))
    missed = (still & ((origins < low) | (origins > high))).any(1)
    near, far = first.amax(1).clamp(min=0), last.amin(1)
    return torch.where(missed, 0.0, near), torch.where(missed, 0.0, far)
