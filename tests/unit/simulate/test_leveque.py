"""LeVeque's test: the flow, the surface it carries, and the frames."""

import math

import numpy as np
import pytest

from fieldcodec.grid.build import dense_of_grid
from fieldcodec.simulate import SEQUENCES, SequenceOptions
from fieldcodec.simulate.half_edges import twins_of
from fieldcodec.simulate.leveque import (
    CENTRE,
    PERIOD,
    RADIUS,
    VOLUME,
    follow,
    leveque_surface,
    velocity,
)
from fieldcodec.simulate.refine import enclosed_volume, icosphere


def _places(count: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(0.05, 0.95, (count, 3))


def _runge_kutta(points: np.ndarray, until: float, steps: int) -> np.ndarray:
    """The flow as LeVeque writes it, with its cosine in time, by the classical method of order 4."""
    h = until / steps
    for number in range(steps):
        t = number * h
        now, half, then = (math.cos(math.pi * (t + share * h) / PERIOD) for share in (0, 0.5, 1))
        a = now * velocity(points)
        b = half * velocity(points + h / 2 * a)
        c = half * velocity(points + h / 2 * b)
        d = then * velocity(points + h * c)
        points = points + h / 6 * (a + 2 * b + 2 * c + d)
    return points


def test_the_flow_has_no_divergence() -> None:
    points, step = _places(200), 1e-4
    total = sum(
        (velocity(points + step * axis) - velocity(points - step * axis))[:, i] / (2 * step)
        for i, axis in enumerate(np.eye(3))
    )
    assert np.abs(velocity(points)).max() > 1
    assert np.abs(total).max() < 1e-5


def test_following_the_steady_flow_is_following_the_one_in_time() -> None:
    points, time = _places(50), 1.1
    span = PERIOD / math.pi * math.sin(math.pi * time / PERIOD)
    expected = _runge_kutta(points, time, 400)
    assert np.abs(expected - points).max() > 0.1
    np.testing.assert_allclose(follow(points, span / 64, 64), expected, atol=2e-6)
    np.testing.assert_allclose(_runge_kutta(points, PERIOD, 1200), points, atol=1e-6)


@pytest.mark.parametrize("time", [0.0, 0.6, 1.5, 2.4])
def test_the_surface_is_closed_and_keeps_its_volume(time: float) -> None:
    mesh = leveque_surface(time, 1 / 90)
    tails, heads = mesh.triangles.reshape(-1), np.roll(mesh.triangles, -1, axis=1).reshape(-1)
    twins = twins_of(mesh.triangles)
    assert np.array_equal(tails[twins], heads)
    assert np.array_equal(heads[twins], tails)
    assert len(np.unique(tails * len(mesh.vertices) + heads)) == len(tails)  # each edge once each way
    assert len(mesh.vertices) - len(tails) // 6 == 2  # Euler: still a sphere
    assert enclosed_volume(mesh) == pytest.approx(VOLUME, rel=4e-3)
    corners = mesh.vertices[mesh.triangles]
    assert np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max() <= 1 / 90
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    assert len(corners) / (area * 90**2) < 8  # few slivers: equilateral triangles would be 2.3


def test_vertices_are_on_the_carried_sphere() -> None:
    time = 1.0
    vertices = leveque_surface(time, 1 / 40).vertices[::50]
    span = PERIOD / math.pi * math.sin(math.pi * time / PERIOD)
    back = follow(vertices, -span / 64, 64)
    np.testing.assert_allclose(np.linalg.norm(back - CENTRE, axis=1), RADIUS, atol=2e-6)


def test_frames_are_level_sets_on_one_lattice_and_the_sphere_returns() -> None:
    options = SequenceOptions(resolution=40, frames=3)
    frames = dict(SEQUENCES["leveque"](options))
    assert list(frames) == [0, 1, 2]
    first, middle, last = (frames[number][0] for number in range(3))
    assert (first.grid_class, first.name) == ("level set", "surface")
    assert first.transform == middle.transform == last.transform
    assert first.transform.voxel_size.tolist() == [1 / 40] * 3
    voxels = first.topology.active_voxels()
    exact = np.linalg.norm(voxels / 40 - CENTRE, axis=1) - RADIUS
    assert np.abs(first.active_values()[:, 0] - exact).max() < 0.02 / 40
    assert np.array_equal(voxels, last.topology.active_voxels())
    np.testing.assert_allclose(first.active_values(), last.active_values(), atol=1e-3 / 40)
    assert middle.topology.num_active_voxels > 1.3 * len(voxels)


def test_a_frame_is_the_same_in_any_range() -> None:
    whole = dict(SEQUENCES["leveque"](SequenceOptions(resolution=32, frames=4)))
    part = dict(SEQUENCES["leveque"](SequenceOptions(resolution=32, frames=4, first_frame=1, last_frame=1)))
    assert list(part) == [1]
    assert np.array_equal(part[1][0].leaf_values, whole[1][0].leaf_values)
    assert np.array_equal(part[1][0].topology.leaf_active, whole[1][0].topology.leaf_active)


def test_volume_inside_the_level_set() -> None:
    (_, volumes), = SEQUENCES["leveque"](SequenceOptions(resolution=48, frames=1, start=0.5, end=0.5))  # fmt: skip
    values = dense_of_grid(volumes[0], np.zeros(3), np.full(3, 48))[0][..., 0] * 48
    assert np.clip(0.5 - values, 0, 1).sum() / 48**3 == pytest.approx(VOLUME, rel=0.01)


def test_icosphere() -> None:
    for rounds in (0, 1, 3):
        vertices, triangles = icosphere(rounds)
        assert vertices.shape == (10 * 4**rounds + 2, 3)
        assert triangles.shape == (20 * 4**rounds, 3)
        np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1)
        a, b, c = (vertices[triangles[:, i]] for i in range(3))
        assert (np.einsum("qi,qi->q", np.cross(a, b), c) > 0).all()  # outwards
