"""LeVeque's deformation test, which Enright and others made the test of level sets, as exact narrow-band level sets.

A sphere of radius 0.15 at (0.35, 0.35, 0.35) is carried by a flow without divergence

    u =  2 sin^2(pi x) sin(2 pi y) sin(2 pi z) cos(pi t / T)
    v = -sin(2 pi x) sin^2(pi y) sin(2 pi z) cos(pi t / T)
    w = -sin(2 pi x) sin(2 pi y) sin^2(pi z) cos(pi t / T)        T = 3

which draws it out to a thin sheet until T / 2 and takes it back by T. With ds = cos(pi t / T) dt the flow is steady, so
points need to be followed to s = T / pi sin(pi t / T) only, and frames at t and T - t are equal.

R. J. LeVeque, "High-resolution conservative algorithms for advection in incompressible flow", 1996, section 9.4;
D. Enright et al., "A hybrid particle level set method for improved interface capturing", 2002, section 4.5.
"""

import math
from collections.abc import Iterator

import numpy as np

from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.io.mesh import Mesh, voxelize
from fieldcodec.jit import kernel
from fieldcodec.simulate.options import SequenceOptions
from fieldcodec.simulate.refine import MovingSurface
from fieldcodec.threads import map_threads

PERIOD = 3.0  # seconds
CENTRE, RADIUS = (0.35, 0.35, 0.35), 0.15
VOLUME = 4 / 3 * math.pi * RADIUS**3
HALF_WIDTH = 3.0  # of the narrow band, in voxels

_LONGEST_EDGE = 0.7  # voxels
_LONGEST_STAGE = 1 / 16  # of s; the surface is refined after each, before it is folded more
_STEPS = 4  # of RK4 in a stage; they err by 2.4e-6 at most, 0.003 voxels at a resolution of 1024
_POINTS_AT_ONCE = 1 << 14


def leveque(options: SequenceOptions) -> Iterator[tuple[int, VolumeFile]]:
    """Frames of the test, each with the level set `surface` in the unit cube; `times` default to one period."""
    times = options.times(0.0, PERIOD)
    voxel_size = 1 / options.resolution
    for number in options.numbers:
        mesh = leveque_surface(float(times[number]), _LONGEST_EDGE * voxel_size)
        grid = voxelize(mesh, voxel_size=voxel_size, half_width=HALF_WIDTH, name="surface")
        yield number, VolumeFile((grid,))


def leveque_surface(time: float, longest_edge: float) -> Mesh:
    """The surface at a time, as a closed mesh with all vertices on it and edges of this length at most."""
    span = PERIOD / math.pi * math.sin(math.pi * time / PERIOD)
    stages = max(1, math.ceil(abs(span) / _LONGEST_STAGE))
    step = span / stages / _STEPS
    surface = MovingSurface.unit_sphere()
    surface.move(_on_sphere, _on_sphere, longest_edge)
    for stage in range(1, stages + 1):

        def onward(points: np.ndarray) -> np.ndarray:
            return follow(points, step, _STEPS)

        def to_place(directions: np.ndarray, steps: int = stage * _STEPS) -> np.ndarray:
            return follow(_on_sphere(directions), step, steps)

        surface.move(onward, to_place, longest_edge)
    return surface.mesh


def _on_sphere(directions: np.ndarray) -> np.ndarray:
    return np.array(CENTRE) + RADIUS * directions


def velocity(points: np.ndarray) -> np.ndarray:
    """[n, 3] points -> [n, 3] velocity at t = 0, where it is largest."""
    x, y, z = np.asarray(points, np.float64).T * np.pi
    sin_x, sin_y, sin_z = np.sin(2 * x), np.sin(2 * y), np.sin(2 * z)
    return np.stack(
        [2 * np.sin(x) ** 2 * sin_y * sin_z, -sin_x * np.sin(y) ** 2 * sin_z, -sin_x * sin_y * np.sin(z) ** 2], axis=1
    )


def follow(points: np.ndarray, step: float, steps: int) -> np.ndarray:
    """Where the steady flow takes points [n, 3] in some steps, by Runge and Kutta's method of order 4."""
    parts = [points[first : first + _POINTS_AT_ONCE] for first in range(0, len(points), _POINTS_AT_ONCE)]
    return np.concatenate(map_threads(lambda part: _follow(np.ascontiguousarray(part), step, steps), parts, None))


# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def _velocity(x, y, z):  # type: ignore[no-untyped-def]
    sx, sy, sz = math.sin(math.pi * x), math.sin(math.pi * y), math.sin(math.pi * z)
    tx, ty, tz = 2 * sx * math.cos(math.pi * x), 2 * sy * math.cos(math.pi * y), 2 * sz * math.cos(math.pi * z)
    return 2 * sx * sx * ty * tz, -tx * sy * sy * tz, -tx * ty * sz * sz


@kernel
def _follow(points, step, steps):  # type: ignore[no-untyped-def]
    moved, half = np.empty_like(points), 0.5 * step
    for row in range(len(points)):
        x, y, z = points[row, 0], points[row, 1], points[row, 2]
        for _ in range(steps):
            a, b, c = _velocity(x, y, z)
            d, e, f = _velocity(x + half * a, y + half * b, z + half * c)
            g, h, i = _velocity(x + half * d, y + half * e, z + half * f)
            j, k, m = _velocity(x + step * g, y + step * h, z + step * i)
            x += step / 6 * (a + 2 * d + 2 * g + j)
            y += step / 6 * (b + 2 * e + 2 * h + k)
            z += step / 6 * (c + 2 * f + 2 * i + m)
        moved[row, 0], moved[row, 1], moved[row, 2] = x, y, z
    return moved
