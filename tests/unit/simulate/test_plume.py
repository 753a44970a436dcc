"""The plume: projection, advection and what comes out of them."""

import numpy as np
import pytest

from fieldcodec.grid.build import dense_of_grid
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.simulate import SEQUENCES, SequenceOptions
from fieldcodec.simulate.fluid import Fluid, FluidSettings
from fieldcodec.simulate.plume import THRESHOLD, fluid_grids, plume, plume_source
from fieldcodec.simulate.projection import Faces, close_walls, divergence, project, solve_poisson


def _random_faces(shape: tuple[int, int, int]) -> Faces:
    rng, (nx, ny, nz) = np.random.default_rng(2), shape
    return rng.normal(size=(nx + 1, ny, nz)), rng.normal(size=(nx, ny + 1, nz)), rng.normal(size=(nx, ny, nz + 1))


@pytest.mark.parametrize("open_top", [False, True])
@pytest.mark.parametrize("shape", [(8, 12, 10), (5, 7, 3), (16, 32, 16)])
def test_projection_removes_divergence(shape: tuple[int, int, int], open_top: bool) -> None:
    velocity = _random_faces(shape)
    assert np.abs(divergence(velocity)).max() > 1
    project(velocity, open_top=open_top)
    assert np.abs(divergence(velocity)).max() < 1e-13 * max(shape)
    walls = velocity[0][[0, -1]], velocity[1][:, 0], velocity[2][:, :, [0, -1]]
    assert not any(wall.any() for wall in walls)
    assert bool(velocity[1][:, -1].any()) is open_top


@pytest.mark.parametrize("open_top", [False, True])
def test_projection_is_one(open_top: bool) -> None:
    """What has no divergence stays; and what is taken away is a gradient, at right angles to what stays."""
    velocity = _random_faces((6, 8, 6))
    close_walls(velocity, open_top=open_top)
    before = [part.copy() for part in velocity]
    project(velocity, open_top=open_top)
    once = [part.copy() for part in velocity]
    project(velocity, open_top=open_top)
    for a, b in zip(once, velocity, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    weights = [np.ones_like(part) for part in before]
    if open_top:
        weights[1][:, -1] = 0.5  # the last face belongs to half a step of pressure
    product = sum(float((w * (a - b) * b).sum()) for w, a, b in zip(weights, before, once, strict=True))
    assert abs(product) < 1e-10


def test_poisson_in_a_closed_box_against_a_dense_solution() -> None:
    shape = (3, 4, 5)
    right = np.random.default_rng(3).normal(size=shape)
    right -= right.mean()
    pressure = np.pad(solve_poisson(right, open_top=False), 1, mode="edge")  # walls reflect
    inner = pressure[1:-1, 1:-1, 1:-1]
    total = sum(np.roll(pressure, side, axis)[1:-1, 1:-1, 1:-1] - inner for axis in range(3) for side in (-1, 1))
    np.testing.assert_allclose(total, right, atol=1e-12)


def test_advection_carries_a_blob_in_uniform_flow() -> None:
    """A smooth blob moves by the flow and keeps its shape, which the plain method smears out."""
    fluid = Fluid((32, 16, 16), 1.0, FluidSettings())
    x, y, z = np.meshgrid(*(np.arange(n) + 0.5 for n in (32, 16, 16)), indexing="ij")

    def blob(middle: float) -> np.ndarray:
        return np.exp(-((x - middle) ** 2 + (y - 8) ** 2 + (z - 8) ** 2) / 8).astype(np.float32)

    fluid.smoke[0] = blob(8)
    fluid.velocity[0][:] = 1.3
    fields = fluid.smoke
    for _ in range(8):
        fields = fluid._carried(fields, (0.5, 0.5, 0.5), 1.0)
    error = np.abs(fields[0] - blob(8 + 8 * 1.3)).max()
    assert error < 0.08  # 0.15 without the correction
    assert fields.min() >= 0
    assert fields.max() <= 1


def _centre_of_mass(volumes: VolumeFile, resolution: int) -> float:
    high = np.array([resolution, 2 * resolution, resolution])
    density = dense_of_grid(volumes["density"], np.zeros(3), high)[0][..., 0]
    heights = (np.arange(2 * resolution) + 0.5) / resolution
    return float((density.sum(axis=(0, 2)) * heights).sum() / density.sum())


def test_smoke_rises_and_frames_are_the_same_every_time() -> None:
    options = SequenceOptions(resolution=16, frames=30)
    frames = dict(SEQUENCES["plume"](options))
    assert list(frames) == list(range(30))
    heights = [_centre_of_mass(frames[number], 16) for number in (0, 15, 29)]
    assert heights[0] + 0.02 < heights[1] < heights[2] - 0.02
    last = dict(plume(SequenceOptions(resolution=16, frames=30, first_frame=29)))
    assert list(last) == [29]
    for one, other in zip(last[29], frames[29], strict=True):
        assert np.array_equal(one.leaf_values, other.leaf_values)
    another = next(plume(SequenceOptions(resolution=16, frames=30, seed=1)))[1]
    assert not np.array_equal(another["density"].active_values(), frames[0]["density"].active_values())


def test_grids_of_a_frame() -> None:
    n = 16
    fluid = Fluid((n, 2 * n, n), 1 / n, FluidSettings(open_top=False))
    fluid.advance(0.5, plume_source(n, 0))
    assert fluid.time == 0.5
    assert np.abs(divergence(fluid.velocity)).max() < 1e-6
    density, temperature, velocity = fluid_grids(fluid)
    assert (density.grid_class, temperature.grid_class, velocity.grid_class) == (
        "fog volume", "fog volume", "staggered",
    )  # fmt: skip
    voxels = density.topology.active_voxels()
    assert np.array_equal(np.argwhere(fluid.density > THRESHOLD), voxels[np.lexsort(voxels.T[::-1])])
    assert np.array_equal(density.active_values()[:, 0], fluid.density[tuple(voxels.T)])
    assert np.array_equal(temperature.active_values()[:, 0], fluid.temperature[tuple(voxels.T)])
    voxels = velocity.topology.active_voxels()
    for axis, part in enumerate(fluid.velocity):
        assert np.array_equal(velocity.active_values()[:, axis], part[tuple(voxels.T)])
    assert velocity.topology.num_active_voxels > density.topology.num_active_voxels
    np.testing.assert_allclose(density.transform.to_world(np.zeros((1, 3))), 0.5 / n)
    assert not any(grid.background.any() for grid in (density, temperature, velocity))


def test_a_frame_before_any_smoke_is_empty() -> None:
    ((number, volumes),) = plume(SequenceOptions(resolution=16, frames=2, start=0, end=1, last_frame=0))
    assert number == 0
    assert [grid.topology.num_active_voxels for grid in volumes] == [0, 0, 0]


def test_a_closed_box_keeps_its_top_shut() -> None:
    fluid = Fluid((16, 16, 16), 1 / 16, FluidSettings(open_top=False))
    fluid.advance(0.4, plume_source(16, 0))
    assert not fluid.velocity[1][:, -1].any()
    fluid = Fluid((16, 16, 16), 1 / 16, FluidSettings(open_top=True))
    fluid.advance(0.4, plume_source(16, 0))
    assert fluid.velocity[1][:, -1].any()


def test_confinement_adds_swirl() -> None:
    enstrophy = []
    for strength in (0.0, 8.0):
        fluid = Fluid((16, 32, 16), 1 / 16, FluidSettings(confinement=strength))
        fluid.advance(0.8, plume_source(16, 0))
        swirl = np.gradient(fluid.velocity[1][:, :-1], axis=0)
        enstrophy.append(float((swirl**2).sum()))
    assert enstrophy[1] > 1.05 * enstrophy[0]
