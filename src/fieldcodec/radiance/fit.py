"""Fits a radiance grid to the pictures of a scene.

pictures -> PixelTable --------------------------------------+
cameras  -> scene_box -> allowed_cells -> CornerLattice -+   |
                                                         v   v
stage:   rays that meet live cells -> steps (samples, loss, Adam) -> values
                                                         |
         seen cells, pruned -> finer lattice <- resampled+          .. -> RadianceGrid
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.errors import UsageError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.io.posed import PosedScene
from fieldcodec.radiance.box import Box, allowed_cells, scene_box, scene_up
from fieldcodec.radiance.compiled_steps import CompiledSteps
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.harmonics import COUNT
from fieldcodec.radiance.march import RayMarcher
from fieldcodec.radiance.pixels import PixelTable
from fieldcodec.radiance.refine import fine_lattice, pruned_cells, resampled
from fieldcodec.radiance.settings import RadianceSettings, Stage
from fieldcodec.radiance.steps import GridSteps, Rates, StepCase
from fieldcodec.radiance.torch_steps import TorchSteps

_FIRST_DEPTH = 0.5  # optical depth of the whole box, or less where pictures leave little of it, before the first step
_SMOOTH = 0.95  # of the loss that is reported
_RAYS_TO_PRUNE = 1 << 20
_PIXELS_AT_ONCE = 1 << 17


@final
@dataclass(frozen=True, eq=False)
class RadianceFit:
    """A fitted grid and what the fit was like."""

    grid: RadianceGrid
    background: float  # brightness behind the scene that was fitted with: 0 black, 1 white, 0.5 where alpha tells
    seconds: float
    steps: int
    loss: float  # smoothed mean squared error of rays at the end, its part for alpha included


def fit_scene(
    scene: PosedScene,
    settings: RadianceSettings | None = None,
    *,
    factor: int = 1,
    box: Box | None = None,
    device: torch.device | None = None,
    on_event: OnEvent = ignore_event,
) -> RadianceFit:
    """A radiance grid of a scene, fitted to its training pictures.

    Args:
        factor: how many times smaller the pictures are made, a whole number.
        box: least and largest corner [3] of where things are, world space; by default `box.scene_box`'s.
        on_event: told of every step; the loss is the smoothed mean squared error.

    Raises:
        UsageError: the scene has no training pictures, a factor or box is not possible, or the box is not known.
        InputError: a picture cannot be read.
    """
    start = time.perf_counter()
    settings = settings or RadianceSettings()
    device = device or torch.device("cpu")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"radiance fields are fitted on cpu or cuda, not on {device}, which has no float64")
    views = scene.of("train")
    if not views:
        raise UsageError(f"{scene.name} has no pictures to train on; its views are all for validation or tests")
    low, high = _checked(box) if box is not None else scene_box(scene)
    pixels = PixelTable.of(views, factor).to(device)
    brightness = 0.5 if scene.brightness is None else scene.brightness
    alpha_weight = 1 / 12 if scene.background is None else 0.0
    case = StepCase(pixels, brightness, alpha_weight, settings, settings.stages[0].harmonics)
    grid = _first_grid(scene, low, high, settings.stages[0])
    clock = _Clock(start, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    loss = 0.0
    for number, stage in enumerate(settings.stages):
        case = replace(case, harmonics=stage.harmonics)
        steps = CompiledSteps(grid, case) if device.type == "cpu" else TorchSteps(grid, case)
        useful = _useful_pixels(pixels, grid)
        loss = _run_stage(steps, case, useful, generator, clock, number, on_event)
        grid = steps.grid()
        seen = steps.seen_cells(useful[:: max(1, len(useful) // _RAYS_TO_PRUNE)], settings.prune)
        kept, finer = pruned_cells(seen, last=number + 1 == len(settings.stages)), grid.lattice.cell
        if number + 1 < len(settings.stages):
            finer = float((high - low).max()) / settings.stages[number + 1].cells
        grid = resampled(grid, fine_lattice(kept, grid.lattice.low, grid.lattice.cell, finer))
    return RadianceFit(grid, brightness, time.perf_counter() - start, clock.steps, loss)


def _checked(box: Box) -> Box:
    low, high = (np.asarray(corner, np.float64) for corner in box)
    if low.shape != (3,) or high.shape != (3,) or not np.isfinite([low, high]).all() or not (low < high).all():
        raise UsageError(f"a box from {low} to {high} is not possible; give the least and the largest x, y, z")
    return low, high


def _first_grid(scene: PosedScene, low: np.ndarray, high: np.ndarray, stage: Stage) -> RadianceGrid:
    """A thin grey mist wherever the pictures allow anything."""
    cell = float((high - low).max()) / stage.cells
    shape = np.maximum(np.ceil((high - low) / cell - 1e-6).astype(int), 1)
    cells = allowed_cells(scene, low, cell, shape.tolist())
    if not cells.any():
        raise UsageError(f"{scene.name}: no part of the box can hold anything by what the pictures show; state another")
    lattice = fine_lattice(cells, low, cell, cell)
    mist = float(np.log(np.expm1(_FIRST_DEPTH / stage.cells)))
    thickness = torch.full((lattice.num_corners,), mist)
    return RadianceGrid(lattice, thickness, torch.zeros(lattice.num_corners, COUNT, 3), scene_up(scene))


def _useful_pixels(pixels: PixelTable, grid: RadianceGrid) -> Tensor:
    """[m] int64: the pixels whose rays meet live cells; the others teach nothing."""
    device = pixels.colours.device
    marcher = RayMarcher(grid.occupancy, device)
    found = []
    for part in torch.split(torch.arange(len(pixels), device=device), _PIXELS_AT_ONCE):
        found.append(part[marcher.meets(*pixels.rays(part))])
    useful = torch.cat(found)
    if not len(useful):
        raise UsageError("no ray of the training pictures meets the box; state another")
    return useful


def _run_stage(
    steps: GridSteps,
    case: StepCase,
    useful: Tensor,
    generator: torch.Generator,
    clock: "_Clock",
    number: int,
    on_event: OnEvent,
) -> float:
    """All steps of a stage, or as many as there is time for; returns the smoothed loss."""
    settings = case.settings
    stage = settings.stages[number]
    total = sum(each.steps for each in settings.stages)
    before = sum(each.steps for each in settings.stages[:number])
    smoothed, weight = 0.0, 0.0
    made, share = 0, 0.0
    while share < 1:
        chosen = useful[torch.randint(len(useful), (settings.batch,), generator=generator).to(useful.device)]
        shifts = torch.rand(settings.batch, generator=generator, dtype=torch.float64).to(useful.device)
        fade = settings.final_rate**share
        shade = settings.shade_rate * fade
        loss = steps.step(
            chosen, shifts, Rates(settings.thickness_rate * fade, shade, shade * settings.direction_share)
        )
        smoothed, weight = _SMOOTH * smoothed + (1 - _SMOOTH) * loss, _SMOOTH * weight + 1 - _SMOOTH
        made, clock.steps = made + 1, clock.steps + 1
        share = max(made / stage.steps, clock.share_of(number))
        on_event(FitEvent("radiance", min(before + round(share * stage.steps), total), total, smoothed / weight))
    return smoothed / weight


class _Clock:
    """How far a stage is by the time that it may take."""

    def __init__(self, start: float, settings: RadianceSettings, now: Callable[[], float] = time.perf_counter) -> None:
        self.steps = 0
        self._start, self._now = start, now
        self._limit = settings.minutes * 60
        costs = [stage.steps * stage.harmonics**0.5 for stage in settings.stages]
        self._ends = np.cumsum(costs) / np.sum(costs)

    def share_of(self, stage: int) -> float:
        """0 to 1, and more when its time is over; 0 where time is not limited."""
        if not self._limit:
            return 0.0
        first = 0.0 if stage == 0 else float(self._ends[stage - 1])
        passed = (self._now() - self._start) / self._limit
        return (passed - first) / (float(self._ends[stage]) - first)
