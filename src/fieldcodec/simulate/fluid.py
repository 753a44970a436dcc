"""Hot smoke in a box of air: an incompressible fluid on a staggered grid.

    source -> advection (BFECC) -> cooling -> buoyancy, vorticity confinement -> projection -> again

Axes: y is up. Cell (i, j, k) is a cube of side `cell`; density and temperature are in the middle of cells, velocities
in the middle of the faces they go through. Lengths and times are those of the world, velocities world per second.

R. Fedkiw, J. Stam, H. W. Jensen, "Visual simulation of smoke", 2001 (forces, confinement);
T. Dupont, Y. Liu, "Back and forth error compensation and correction methods for removing errors induced by uneven
gradients of the level set function", 2003 (BFECC: what is lost on the way there and back is put back, by half);
A. Selle et al., "An unconditionally stable MacCormack method", 2008 (that values stay within those around).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldcodec.simulate import fluid_kernels
from fieldcodec.simulate.projection import Faces, close_walls, project
from fieldcodec.threads import map_threads

Source = Callable[[float], tuple[tuple[slice, slice, slice], np.ndarray]]
"""Seconds -> a box of cells, and how much [cells of the box] of them new smoke fills, 0 to 1."""

_ROWS = 8  # along x, that a thread does at once
_AT_CELLS = (0.5, 0.5, 0.5)
_AT_FACES = ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


@dataclass(frozen=True)
class FluidSettings:
    """What drives the fluid."""

    lift: float = 1.6
    """Acceleration of air of temperature 1 (above the surrounding 0), upwards."""
    weight: float = 0.15
    """Acceleration of air of smoke density 1, downwards."""
    confinement: float = 4.0
    """Keeps small vortices alive: the acceleration where speed differs by 1 from cell to cell; 0 turns it off."""
    cooling: float = 0.35
    """Share of the temperature lost each second, at first."""
    fading: float = 0.08
    """Share of the density lost each second, at first."""
    courant: float = 4.0
    """Most cells that anything may move in a step; steps are made shorter for it."""
    longest_step: float = 1 / 24
    """Seconds; steps are never longer, however slow the air."""
    open_top: bool = True
    """Air goes in and out at the top; otherwise the box is closed."""


class Fluid:
    """The state of the fluid: `velocity` at faces, and `smoke` [2, nx, ny, nz], density and temperature.

    Arrays are float32. The same calls give the same numbers on any number of threads.
    """

    def __init__(self, shape: tuple[int, int, int], cell: float, settings: FluidSettings) -> None:
        self.cell, self.settings, self.time = cell, settings, 0.0
        self.smoke = np.zeros((2, *shape), np.float32)
        nx, ny, nz = shape
        faces = ((nx + 1, ny, nz), (nx, ny + 1, nz), (nx, ny, nz + 1))
        self.velocity: Faces = tuple(np.zeros(size, np.float32) for size in faces)  # type: ignore[assignment]

    @property
    def density(self) -> np.ndarray:
        return np.asarray(self.smoke[0])

    @property
    def temperature(self) -> np.ndarray:
        return np.asarray(self.smoke[1])

    def advance(self, until: float, source: Source) -> None:
        """Goes on to a time, in steps as short as `FluidSettings.courant` wants; new smoke is of temperature 1."""
        while self.time < until:
            fastest = max(float(np.abs(part).max()) for part in self.velocity)
            left = until - self.time
            per_second = max(fastest / (self.settings.courant * self.cell), 1 / self.settings.longest_step)
            steps = max(1, math.ceil(left * per_second - 1e-6))
            self._step(left / steps, source)
            self.time = until if steps == 1 else self.time + left / steps

    def _step(self, seconds: float, source: Source) -> None:
        box, fill = source(self.time)
        for field in self.smoke:
            field[box] = np.maximum(field[box], fill)
        self._advect(seconds)
        self.smoke[0] *= math.exp(-self.settings.fading * seconds)
        self.smoke[1] *= math.exp(-self.settings.cooling * seconds)
        self._push(seconds)
        project(self.velocity, open_top=self.settings.open_top)

    def _advect(self, seconds: float) -> None:
        step = seconds / self.cell
        smoke = self._carried(self.smoke, _AT_CELLS, step)
        moved = [self._carried(part[None], at, step)[0] for part, at in zip(self.velocity, _AT_FACES, strict=True)]
        self.smoke, self.velocity = smoke, tuple(moved)
        close_walls(self.velocity, open_top=self.settings.open_top)

    def _carried(self, fields: np.ndarray, offset: tuple[float, float, float], step: float) -> np.ndarray:
        """Fields [c, ...] carried along by the flow, `step` seconds per cell's side long."""
        places = np.empty((3, *fields.shape[1:]), np.float32)
        carried, error, rows = np.empty_like(fields), np.empty_like(fields), fields.shape[1]
        flow = (fields, offset, *self.velocity, step)
        _by_rows(lambda a, b: fluid_kernels.carry(*flow, a, b, places, carried), rows)
        _by_rows(lambda a, b: fluid_kernels.lost(*flow, a, b, carried, error), rows)
        _by_rows(lambda a, b: fluid_kernels.correct(fields, offset, places, error, a, b, carried), rows)
        return carried

    def _push(self, seconds: float) -> None:
        """Buoyancy at the faces along y, and confinement."""
        settings = self.settings
        force = np.zeros((3, *self.density.shape), np.float32)
        if settings.confinement:
            vorticity = np.empty((4, *self.density.shape), np.float32)
            _by_rows(lambda a, b: fluid_kernels.curl(*self.velocity, a, b, vorticity), len(self.density))
            _by_rows(lambda a, b: fluid_kernels.confine(vorticity, a, b, force), len(self.density))
            force *= settings.confinement
        force[1] += settings.lift * self.temperature - settings.weight * self.density
        for axis, part in enumerate(self.velocity):
            faces, cells = np.moveaxis(part, axis, 0), np.moveaxis(force[axis], axis, 0)
            faces[1:-1] += np.float32(0.5 * seconds) * (cells[1:] + cells[:-1])


def _by_rows(work: Callable[[int, int], None], count: int) -> None:
    """Calls `work(first, last)` for parts of `count` rows, on all threads."""
    map_threads(lambda first: work(first, min(first + _ROWS, count)), range(0, count, _ROWS), None)
