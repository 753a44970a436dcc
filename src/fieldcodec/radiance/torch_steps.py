"""Steps of a fit by PyTorch, for GPUs; on the CPU `compiled_steps` is many times faster."""

from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.radiance.composite import composite, transmittances
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.march import RayMarcher, Samples
from fieldcodec.radiance.steps import FAINT, IGNORED, SHADE_LIMITS, THICKNESS_LIMITS, GridSteps, Rates, StepCase

_FIRST, _SECOND, _TINY = 0.9, 0.99, 1e-10
_RAYS_AT_ONCE = 1 << 14


@final
class TorchSteps(GridSteps):
    """Steps on the device of the pixels."""

    def __init__(self, grid: RadianceGrid, case: StepCase) -> None:
        device = case.pixels.colours.device
        self._case, self._device = case, device
        self._lattice = grid.lattice
        self._marcher = RayMarcher(grid.occupancy, device, step=case.settings.step)
        thickness, shades = grid.thickness.to(device), grid.shades.clone().to(device)
        shades[:, case.harmonics :] = 0
        self._grid = RadianceGrid(grid.lattice, thickness.clone().requires_grad_(), shades.requires_grad_(), grid.up)
        self._moments = [torch.zeros_like(value) for value in self._values for _ in range(2)]
        self._neighbours = _neighbours_of(grid, device)
        self._steps = 0

    @property
    def _values(self) -> tuple[Tensor, Tensor]:
        return self._grid.thickness, self._grid.shades

    def step(self, chosen: Tensor, shifts: Tensor, rates: Rates) -> float:
        origins, ways = self._case.pixels.rays(chosen)
        samples = self._marcher.march(origins, ways, shifts)
        points, along = samples.points(origins, ways)
        density, kept = self._looked(samples, points)
        points = points[kept]
        own, shades = self._grid.evaluate(points, along[kept].float())
        density = density.index_put((kept,), own)
        colours = torch.zeros(len(samples), 3, device=self._device).index_put((kept,), shades)
        seen = composite(density, samples.step, colours, samples.distances, samples.offsets)
        target = self._case.pixels.targets(chosen)
        off_alpha = seen.alpha - target[:, 3]
        off = seen.colours - target[:, :3] - self._case.background * off_alpha[:, None]
        losses = off.square().mean(1) + self._case.alpha_weight * off_alpha.square()
        for value in self._values:
            value.grad = None
        losses.sum().backward()
        self._steps += 1
        self._move(points, rates)
        return float(losses.mean().item()) if len(losses) else 0.0

    @torch.no_grad()
    def _looked(self, samples: Samples, points: Tensor) -> tuple[Tensor, Tensor]:
        """Densities of samples, 0 where light does not reach; and which get gradients, as numbers.

        The others give their ray next to nothing, and only darken what is behind them, as on the CPU.
        """
        density = self._grid.density(points)
        depths = density * samples.step
        before = transmittances(depths, samples.offsets)
        weights = before * -torch.expm1(-depths.double())
        reached = before >= FAINT
        return density * reached, torch.nonzero(reached & (weights >= IGNORED)).squeeze(1)

    @torch.no_grad()
    def _move(self, points: Tensor, rates: Rates) -> None:
        """Smoothing, then Adam, both on the corners around samples only."""
        rows, weights = self._grid.corners_of(points)
        touched = torch.unique(rows[weights.sum(1) > 0])
        settings, harmonics = self._case.settings, self._case.harmonics
        tail = torch.full((self._grid.shades.shape[1], 1), rates.direction, device=self._device)
        tail[0], tail[harmonics:] = rates.shade, 0
        near = self._neighbours[touched]  # [t, 6]
        known, near = (near >= 0), near.clamp(min=0)
        knobs: tuple[tuple[float, float, float | Tensor, tuple[float, float]], ...] = (
            (settings.thickness_smoothing, 1.0, rates.thickness, THICKNESS_LIMITS),
            (settings.shade_smoothing, float("inf"), tail, SHADE_LIMITS),
        )  # fmt: skip
        for number, (value, (weight, limit, rate, allowed)) in enumerate(zip(self._values, knobs, strict=True)):
            assert value.grad is not None
            pull = value.grad[touched]
            for side in range(6):
                step = (value[touched] - value[near[:, side]]).clamp(-limit, limit)
                pull += weight * step * known[:, side].view(-1, *[1] * (step.dim() - 1))
            mean, square = self._moments[2 * number : 2 * number + 2]
            mean[touched] = _FIRST * mean[touched] + (1 - _FIRST) * pull
            square[touched] = _SECOND * square[touched] + (1 - _SECOND) * pull.square()
            warm_first, warm_second = 1 - _FIRST**self._steps, 1 - _SECOND**self._steps
            value[touched] -= rate * (mean[touched] / warm_first) / ((square[touched] / warm_second).sqrt() + _TINY)
            value[touched] = value[touched].clamp(*allowed)

    @torch.no_grad()
    def seen_cells(self, chosen: Tensor, least: float) -> np.ndarray:
        seen = torch.zeros(self._lattice.live.shape, dtype=torch.bool, device=self._device)
        low = torch.from_numpy(self._lattice.low).to(self._device)
        for part in torch.split(chosen, _RAYS_AT_ONCE):
            origins, ways = self._case.pixels.rays(part)
            samples = self._marcher.march(origins, ways)
            points = samples.points(origins, ways)[0]
            depths = self._grid.density(points) * samples.step
            weights = transmittances(depths, samples.offsets) * -torch.expm1(-depths.double())
            cells = ((points[weights >= least] - low) / self._lattice.cell).floor().long()
            limits = torch.tensor(seen.shape, device=self._device)
            seen[torch.minimum(cells.clamp(min=0), limits - 1).unbind(-1)] = True
        return np.asarray(seen.cpu().numpy() & self._lattice.live)

    def grid(self) -> RadianceGrid:
        thickness, shades = (value.detach().cpu().clone() for value in self._values)
        return RadianceGrid(self._lattice, thickness, shades, self._grid.up)


def _neighbours_of(grid: RadianceGrid, device: torch.device) -> Tensor:
    """[n, 6] int64: rows of the corners on both sides along each axis, -1 where none is held."""
    rows = np.pad(grid.lattice.rows, 1, constant_values=-1)
    places = grid.lattice.places + 1
    found = []
    for axis in range(3):
        for side in (-1, 1):
            at = places.copy()
            at[:, axis] += side
            found.append(rows[tuple(at.T)])
    return torch.from_numpy(np.stack(found, axis=1).astype(np.int64)).to(device)
