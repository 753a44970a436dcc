"""A plume of hot smoke that rises from the floor of a box, by solving the equations of its flow.

The box is `resolution` x 2 `resolution` x `resolution` cells (y is up), 1 x 2 x 1 in world space with a corner at the
origin. Each frame has the fog volumes `density` and `temperature` and the staggered `velocity`. As nothing can be
known of a frame without those before it, the fluid is followed from second 0 whichever frames are asked for.
"""

from collections.abc import Iterator

import numpy as np

from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.noise import FractalNoise
from fieldcodec.grid.sparse_grid import FOG_VOLUME, STAGGERED, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.simulate.fluid import Fluid, FluidSettings, Source
from fieldcodec.simulate.options import SequenceOptions

FRAMES_PER_SECOND = 24.0
THRESHOLD = 0.005  # of the density: cells with more are active

_RADIUS, _HEIGHT = 0.09, 0.08  # of the source, a ball above the floor
_GRAIN, _DRIFT, _BOIL = 18.0, 0.8, 1.5  # of the source's noise: cells to the unit; up and through it, a second


def plume(options: SequenceOptions, settings: FluidSettings | None = None) -> Iterator[tuple[int, VolumeFile]]:
    """Frames of the plume, 24 to the second and the first one of them after second 0, unless `options` say otherwise.

    Args:
        settings: None takes the default, with the top as `options` want it; the plume is there after some five seconds.
    """
    times = options.times(1 / FRAMES_PER_SECOND, options.frames / FRAMES_PER_SECOND)
    n = options.resolution
    fluid = Fluid((n, 2 * n, n), 1 / n, settings or FluidSettings(open_top=not options.closed_box))
    source = plume_source(n, options.seed)
    for number in range(options.numbers.stop):
        fluid.advance(float(times[number]), source)
        if number in options.numbers:
            yield number, fluid_grids(fluid)


def plume_source(resolution: int, seed: int) -> Source:
    """A ball of smoke above the middle of the floor, uneven and changing, so that the plume is not round."""
    noise = FractalNoise(seed, octaves=2)
    middle = np.array([0.5, _HEIGHT, 0.5])
    low = np.maximum(np.floor((middle - 1.3 * _RADIUS) * resolution), 0).astype(int)
    high = np.ceil((middle + 1.3 * _RADIUS) * resolution).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    axes = [(np.arange(part.start, part.stop) + 0.5) / resolution for part in box]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    distance = np.linalg.norm(places - middle, axis=-1) / _RADIUS

    def source(time: float) -> tuple[tuple[slice, slice, slice], np.ndarray]:
        through = places * _GRAIN + np.array([0.0, -_DRIFT * _GRAIN * time, _BOIL * time])
        uneven = noise(through.reshape(-1, 3)).reshape(distance.shape)
        fill = np.clip((1.0 - distance + 0.5 * uneven) * 4.0, 0.0, 1.0)
        return box, fill.astype(np.float32)  # type: ignore[return-value]

    return source


def fluid_grids(fluid: Fluid) -> VolumeFile:
    """The state as sparse grids: active where the density is over `THRESHOLD`, for velocities one cell beyond too.

    Voxel (i, j, k) is cell (i, j, k), its place the cell's middle; component i of a velocity is that at the lower face
    along axis i. The background is 0.
    """
    transform = GridTransform.uniform(fluid.cell, (fluid.cell / 2,) * 3)
    active = fluid.density > THRESHOLD

    def fog(name: str, values: np.ndarray) -> SparseGrid:
        return grid_of_dense(name, values, active, transform=transform, grid_class=FOG_VOLUME)

    x, y, z = fluid.velocity
    speed = np.stack([x[:-1], y[:, :-1], z[:, :, :-1]], axis=-1)
    velocity = grid_of_dense(
        "velocity", speed, _dilated(active), value_type="vec3s", background=(0.0, 0.0, 0.0),
        transform=transform, grid_class=STAGGERED,
    )  # fmt: skip
    return VolumeFile((fog("density", fluid.density), fog("temperature", fluid.temperature), velocity))


def _dilated(mask: np.ndarray) -> np.ndarray:
    """A box of voxels with the six neighbours of each set one, where they are in the box."""
    grown = mask.copy()
    for axis in range(3):
        to, own = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        to[1:] |= own[:-1]
        to[:-1] |= own[1:]
    return grown
