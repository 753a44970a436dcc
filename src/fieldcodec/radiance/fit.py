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
from functools import lru_cache
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
from fieldcodec.radiance.lattice import CornerLattice, dilated
from fieldcodec.radiance.march import RayMarcher
from fieldcodec.radiance.pixels import PixelTable
from fieldcodec.radiance.refine import fine_lattice, resampled
from fieldcodec.radiance.settings import RadianceSettings, Stage
from fieldcodec.radiance.steps import GridSteps, Rates, StepCase
from fieldcodec.radiance.torch_steps import TorchSteps

_FIRST_DEPTH = 0.5  # optical depth of the whole box, or less where pictures leave little of it, before the first step
_SMOOTH = 0.95  # of the loss that is reported
_FEWEST_STEPS = 40  # of a stage that is begun, whatever the time: before, all is mist, of which nothing can be pruned
_FEWEST_RAYS_TO_PRUNE, _MOST_RAYS_TO_PRUNE = 1 << 16, 1 << 20
_LOOKS = 4  # rays to prune by, at most, for each that was fitted to: looking through what is hardly fitted takes long
_WEAKER = 8
_PIXELS_AT_ONCE = 1 << 17


@final
@dataclass(frozen=True, eq=False)
class RadianceFit:
    """A fitted grid and what the fit was like."""

    grid: RadianceGrid
    background: float  # brightness behind the scene that was fitted with: 0 black, 1 white, 0.5 where alpha tells
    seconds: float  # without those that compiling takes, once on a machine
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
    settings = settings or RadianceSettings()
    device = device or torch.device("cpu")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"radiance fields are fitted on cpu or cuda, not on {device}, which has no float64")
    views = scene.of("train")
    if not views:
        raise UsageError(f"{scene.name} has no pictures to train on; its views are all for validation or tests")
    _warm_up(device.type)
    start = time.perf_counter()
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
        steps = _new_steps(grid, case, device)
        useful, before = _useful_pixels(pixels, grid), clock.steps
        loss = _run_stage(steps, case, useful, generator, clock, number, on_event)
        grid = steps.grid()
        last = number + 1 == len(settings.stages) or clock.is_over
        seen = _seen_cells(steps, useful, settings, clock.steps - before)
        kept = seen if last else dilated(seen)  # into the cells around things may still grow
        finer = grid.lattice.cell if last else float((high - low).max()) / settings.stages[number + 1].cells
        grid = resampled(grid, fine_lattice(kept, grid.lattice.low, grid.lattice.cell, finer))
        if last:
            break
    return RadianceFit(grid, brightness, time.perf_counter() - start, clock.steps, loss)


def _new_steps(grid: RadianceGrid, case: StepCase, device: torch.device) -> GridSteps:
    return CompiledSteps(grid, case) if device.type == "cpu" else TorchSteps(grid, case)


@lru_cache
def _warm_up(device_type: str) -> None:
    """A step with eight cells and one pixel: what is compiled at its first use takes no time of a fit."""
    device = torch.device(device_type)
    lattice = CornerLattice.of_cells(np.zeros(3), 1.0, np.ones((2, 2, 2), bool))
    corners = lattice.num_corners
    grid = RadianceGrid(lattice, torch.zeros(corners), torch.zeros(corners, COUNT, 3))
    pose = torch.tensor([[[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 4]]], dtype=torch.float64)  # looks along -z
    lens = torch.tensor([[1.0, 1.0, 0.5, 0.5]], dtype=torch.float64)
    colours = torch.zeros(1, 4, dtype=torch.uint8)
    pixels = PixelTable(colours, torch.tensor([0, 1]), torch.tensor([1]), lens, pose).to(device)
    steps = _new_steps(grid, StepCase(pixels, 0.5, 1 / 12, RadianceSettings(), 1), device)
    useful = _useful_pixels(pixels, grid)
    steps.step(useful, torch.full((1,), 0.5, dtype=torch.float64, device=device), Rates(0.1, 0.1, 0.1))
    steps.seen_cells(useful, 0.01)


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
    made, share, fewest = 0, 0.0, min(stage.steps, _FEWEST_STEPS)
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
        share = max(made / stage.steps, min(clock.share_of(number), made / fewest))
        on_event(FitEvent("radiance", min(before + round(share * stage.steps), total), total, smoothed / weight))
    return smoothed / weight


def _seen_cells(steps: GridSteps, useful: Tensor, settings: RadianceSettings, made: int) -> np.ndarray:
    """Cells that give rays of some useful pixels light: `settings.prune` of it, or less where no cell gives so much, as
    in mist.

    Args:
        made: steps of the stage.
    """
    rays = min(_MOST_RAYS_TO_PRUNE, max(_FEWEST_RAYS_TO_PRUNE, _LOOKS * settings.batch * made))
    chosen = useful[:: max(1, len(useful) // rays)]
    for weaker in (1, _WEAKER, _WEAKER**2):
        seen = steps.seen_cells(chosen, settings.prune / weaker)
        if seen.any():
            return seen
    return steps.grid().lattice.live


class _Clock:
    """How far a stage is by the time that it may take."""

    def __init__(self, start: float, settings: RadianceSettings, now: Callable[[], float] = time.perf_counter) -> None:
        self.steps = 0
        self._start, self._now = start, now
        self._limit = settings.minutes * 60
        costs = [stage.steps * stage.harmonics**0.5 for stage in settings.stages]
        self._ends = np.cumsum(costs) / np.sum(costs)

    @property
    def is_over(self) -> bool:
        """Whether there is no time for another stage."""
        return self._passed >= 1

    @property
    def _passed(self) -> float:
        """Share of all time; 0 where it is not limited."""
        return (self._now() - self._start) / self._limit if self._limit else 0.0

    def share_of(self, stage: int) -> float:
        """0 to 1, and more when its time is over; 0 where time is not limited."""
        if not self._limit:
            return 0.0
        first = 0.0 if stage == 0 else float(self._ends[stage - 1])
        return (self._passed - first) / (float(self._ends[stage]) - first)
