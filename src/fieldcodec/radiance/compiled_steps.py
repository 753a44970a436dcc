"""Steps of a fit on the CPU."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.radiance import step_kernels
from fieldcodec.radiance.grid import RadianceGrid, aligned_rows, row_width
from fieldcodec.radiance.harmonics import COUNT, harmonics
from fieldcodec.radiance.march import RayMarcher, Samples
from fieldcodec.radiance.steps import FAINT, IGNORED, SHADE_LIMITS, THICKNESS_LIMITS, GridSteps, Rates, StepCase
from fieldcodec.threads import available_threads, map_threads

_RAYS_AT_ONCE = 256  # of one job; the same for any number of threads
_SECOND = 0.99
_FIRST = 0.9


@final
class CompiledSteps(GridSteps):
    """Steps by kernels of `step_kernels`; the result does not depend on the number of threads."""

    def __init__(self, grid: RadianceGrid, case: StepCase) -> None:
        self._lattice = lattice = grid.lattice
        self._case, self._up = case, grid.up
        self._marcher = RayMarcher(lattice.occupancy, torch.device("cpu"), step=case.settings.step)
        self._thickness = _Table(grid.thickness.numpy()[:, None], 1, 1)
        shades = grid.shades[:, : case.harmonics].numpy().reshape(-1, 3 * case.harmonics)
        self._shades = _Table(shades, row_width(shades.shape[1]), 3)
        self._box = (lattice.low, lattice.cell, lattice.rows, lattice.live)
        self._behind = _pair((case.background, case.alpha_weight))
        self._touched = np.zeros(lattice.num_corners, bool)
        self._slabs = _slabs_of(lattice.places[:, 0], lattice.held.shape[0], available_threads())
        self._records = _Records(0)
        self._steps = 0

    def step(self, chosen: Tensor, shifts: Tensor, rates: Rates) -> float:
        origins, ways = self._case.pixels.rays(chosen)
        samples = self._marcher.march(origins, ways, shifts)
        basis = harmonics(ways)[:, : self._case.harmonics].float()
        targets = self._case.pixels.targets(chosen)
        rays = _Rays(*(np.ascontiguousarray(array.numpy()) for array in (origins, ways, basis, targets)))
        if len(self._records) < len(samples):
            self._records = _Records(len(samples) * 5 // 4)
        losses = np.empty(len(chosen), np.float32)
        self._steps += 1
        parts = [slice(a, min(a + _RAYS_AT_ONCE, len(chosen))) for a in range(0, len(chosen), _RAYS_AT_ONCE)]
        records = map_threads(partial(self._look, rays=rays, samples=samples, losses=losses), parts, None)
        jobs = [(part, found) for part, found in zip(parts, records, strict=True) if found.stop > found.start]
        map_threads(partial(self._gather, jobs=jobs, basis=rays.basis), self._slabs, None)
        map_threads(partial(self._move, rates=rates), self._slabs, None)
        return float(losses.mean(dtype=np.float64)) if len(losses) else 0.0

    def _look(self, part: slice, rays: "_Rays", samples: Samples, losses: np.ndarray) -> slice:
        """Forward and backward along some rays; returns where their records are."""
        offsets = samples.offsets.numpy()[part.start : part.stop + 1]
        room = slice(offsets[0], offsets[-1])
        lattice, kept = self._lattice, self._records
        count = step_kernels.rays_backward(
            (rays.origins[part], rays.directions[part]), rays.basis[part], rays.targets[part], offsets - offsets[0],
            samples.distances.numpy()[room], np.float32(samples.step / lattice.cell),
            _pair((IGNORED, FAINT)), self._behind, self._box, self._thickness.values[:, 0],
            self._shades.values, kept.cut(room), losses[part],
        )  # fmt: skip
        return slice(room.start, room.start + count)

    def _gather(self, slab: "_Slab", jobs: list[tuple[slice, slice]], basis: np.ndarray) -> None:
        """The gradients of the corners of a slab, those of the smoothing included."""
        kept, settings = self._records, self._case.settings
        for part, found in jobs:
            step_kernels.spread_gradients(
                *kept.cut(found), basis[part], self._lattice.rows,
                slab.from_x, slab.to_x, self._thickness.gradients[:, 0], self._shades.gradients,
                self._touched,
            )  # fmt: skip
        step_kernels.add_smoothing(
            self._lattice.places, self._lattice.rows, slab.from_row, slab.to_row, self._touched,
            self._thickness.values[:, 0], self._shades.values, np.float32(settings.thickness_smoothing),
            np.float32(settings.shade_smoothing), self._thickness.gradients[:, 0], self._shades.gradients,
        )  # fmt: skip

    def _move(self, slab: "_Slab", rates: Rates) -> None:
        warm = _pair((1 - _FIRST**self._steps, 1 - _SECOND**self._steps))
        rows = (self._touched, slab.from_row, slab.to_row)
        for table, wanted, limits in (
            (self._thickness, (rates.thickness, rates.thickness), THICKNESS_LIMITS),
            (self._shades, (rates.shade, rates.direction), SHADE_LIMITS),
        ):
            step_kernels.move_rows(
                table.values, table.gradients, table.means, table.squares, *rows, _pair(wanted), table.head,
                _pair(limits), *warm,
            )  # fmt: skip
        self._touched[slab.from_row : slab.to_row] = False

    def seen_cells(self, chosen: Tensor, least: float) -> np.ndarray:
        lattice = self._lattice
        seen = np.zeros_like(lattice.live)

        def mark(part: Tensor) -> None:
            origins, ways = self._case.pixels.rays(part)
            samples = self._marcher.march(origins, ways)
            step_kernels.mark_seen(
                np.ascontiguousarray(origins.numpy()), ways.numpy(), samples.offsets.numpy(), samples.distances.numpy(),
                np.float32(samples.step / lattice.cell), np.float32(least), *self._box,
                self._thickness.values[:, 0], seen,
            )  # fmt: skip

        for part in torch.split(chosen, 1 << 16):
            map_threads(mark, torch.split(part, 1 << 13), None)
        return seen

    def grid(self) -> RadianceGrid:
        shades = torch.zeros(self._lattice.num_corners, COUNT, 3)
        fitted = torch.from_numpy(self._shades.values[:, : 3 * self._case.harmonics])
        shades[:, : self._case.harmonics] = fitted.reshape(-1, self._case.harmonics, 3)
        return RadianceGrid(self._lattice, torch.from_numpy(self._thickness.values[:, 0].copy()), shades, self._up)


class _Rays(NamedTuple):
    """Rays of one step and what they should see."""

    origins: np.ndarray  # [m, 3] float64
    directions: np.ndarray  # [m, 3] float64
    basis: np.ndarray  # [m, K] float32
    targets: np.ndarray  # [m, 4] float32


class _Table:
    """Values of corners with what Adam keeps of them, [n, W] each, and how many of the columns have the first rate."""

    def __init__(self, values: np.ndarray, width: int, head: int) -> None:
        self.values, self.gradients, self.means, self.squares = (aligned_rows(len(values), width) for _ in range(4))
        self.values[:, : values.shape[1]] = values
        self.head = head


class _Records:
    """Room for the samples of one step that get gradients."""

    def __init__(self, count: int) -> None:
        self.cells, self.places = np.empty((count, 3), np.int16), np.empty((count, 3), np.float32)
        self.gradients, self.of_ray = np.empty((count, 4), np.float32), np.empty(count, np.int32)

    def __len__(self) -> int:
        return len(self.of_ray)

    def cut(self, part: slice) -> tuple[np.ndarray, ...]:
        return self.cells[part], self.places[part], self.gradients[part], self.of_ray[part]


class _Slab:
    """Corners of some x, which are consecutive rows."""

    def __init__(self, from_x: int, to_x: int, from_row: int, to_row: int) -> None:
        self.from_x, self.to_x, self.from_row, self.to_row = from_x, to_x, from_row, to_row


def _pair(numbers: tuple[float, float]) -> tuple[np.float32, np.float32]:
    return np.float32(numbers[0]), np.float32(numbers[1])


def _slabs_of(x_of_rows: np.ndarray, num_x: int, count: int) -> list[_Slab]:
    """At most `count` slabs of nearly as many rows each."""
    ends = np.searchsorted(x_of_rows, np.arange(num_x + 1))  # rows before each x
    cuts = np.searchsorted(ends, np.linspace(0, len(x_of_rows), count + 1)[1:-1])
    borders = np.unique([0, *cuts.tolist(), num_x])
    return [_Slab(int(a), int(b), int(ends[a]), int(ends[b])) for a, b in pairwise(borders)]
