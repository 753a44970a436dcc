"""Pictures of fields whose look is known exactly."""

import numpy as np
import pytest
import torch

from fieldcodec.errors import UsageError
from fieldcodec.io.posed import PosedCamera, rays
from fieldcodec.radiance import render
from fieldcodec.radiance.composite import composite
from fieldcodec.radiance.field import Occupancy
from fieldcodec.radiance.march import RayMarcher
from fieldcodec.radiance.render import photograph, see
from fieldcodec.testing.radiance import Ball, cameras_around, random_grid

CENTRE, RADIUS, DENSITY = np.array([0.3, -0.2, 0.5]), 0.8, 1.7
COLOUR = (0.8, 0.5, 0.1)


@pytest.fixture
def ball() -> Ball:
    return Ball(CENTRE, RADIUS, DENSITY, COLOUR)


def _chords(origins: np.ndarray, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length of each ray in the ball, not before its origin, and how far away it enters."""
    middle = ((CENTRE - origins) * ways).sum(1)
    off = np.linalg.norm(origins + middle[:, None] * ways - CENTRE, axis=1)
    half = np.sqrt(np.maximum(RADIUS**2 - off**2, 0))
    near = np.maximum(middle - half, 0)
    return np.maximum(middle + half - near, 0), near


@pytest.mark.parametrize("away", [4.0, 0.3])  # from outside, and from within
def test_a_ball_of_constant_density(ball: Ball, away: float) -> None:
    camera = cameras_around(CENTRE.tolist(), away, 5, width=24, height=17)[2]
    seen = photograph(ball, camera, step=0.05)
    origins, ways = rays(camera, camera.pixels())
    length, near = _chords(origins, ways)
    alpha = (1 - np.exp(-DENSITY * length)).reshape(17, 24)
    bound = DENSITY * 0.05 * ball.occupancy.cell  # one sample more or less
    assert np.abs(seen.alpha - alpha).max() < bound
    assert np.abs(seen.colours - alpha[..., None] * COLOUR).max() < bound
    assert np.abs(seen.over(0.5) - (alpha[..., None] * COLOUR + 0.5 * (1 - alpha[..., None]))).max() < bound
    # mean of t under sigma exp(-sigma (t - near)) over the chord
    gone = np.exp(-DENSITY * length)
    deep = near + 1 / DENSITY - length * gone / np.maximum(1 - gone, 1e-12)
    firm = (length > 0.3).reshape(17, 24)
    assert np.abs(seen.depths.reshape(-1) - deep).reshape(17, 24)[firm].max() < 0.05 * ball.occupancy.cell
    assert (seen.depths[alpha == 0] == 0).all()


def test_normals_of_a_ball() -> None:
    ball = Ball(CENTRE, RADIUS, 200.0, COLOUR)
    camera = cameras_around(CENTRE.tolist(), 4.0, 3)[1]
    taken = photograph(ball, camera, normals=True, step=0.3)
    assert taken.normals is not None
    origins, ways = rays(camera, camera.pixels())
    there = taken.alpha.reshape(-1) > 0.99
    length, near = _chords(origins, ways)
    true = ((origins + near[:, None] * ways) - CENTRE)[there] / RADIUS
    steep = length[there] > 1.0  # not at the rim
    cosines = (taken.normals.reshape(-1, 3)[there] * true).sum(1)[steep]
    assert steep.sum() > 30
    assert cosines.mean() > 0.87  # densities of 0 and 200 know directions but roughly
    assert (taken.normals.reshape(-1, 3)[taken.alpha.reshape(-1) < 1e-4] == 0).all()


def test_blocks_and_early_ends_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All samples at once, to the end of their rays, and blocks of three of them, in three rounds."""
    grid = random_grid(1)
    camera = cameras_around([0.0, 1.3, 2.0], 4.0, 3)[0]
    origins, ways = (torch.from_numpy(np.array(array)) for array in rays(camera, camera.pixels()))
    samples = RayMarcher(grid.occupancy, torch.device("cpu")).march(origins, ways)
    points, along = samples.points(origins, ways)
    density, colours = grid.evaluate(points, along)
    whole = composite(density, samples.step, colours, samples.distances, samples.offsets)
    monkeypatch.setattr(render, "_BLOCK", 3)
    monkeypatch.setattr(render, "_RAYS_AT_ONCE", 400)
    shares: list[float] = []
    seen = see(grid, origins, ways, on_progress=shares.append)
    assert shares == [400 / 1024, 800 / 1024, 1.0]
    assert whole.alpha.max() > 0.5
    torch.testing.assert_close(seen.alpha, whole.alpha, atol=2e-3, rtol=0)
    torch.testing.assert_close(seen.colours, whole.colours, atol=2e-3, rtol=0)
    torch.testing.assert_close(seen.depths, whole.depths, atol=1e-2, rtol=0)


def test_hidden_samples_are_not_evaluated(ball: Ball) -> None:
    camera = cameras_around(CENTRE.tolist(), 4.0, 1)[0]
    thin, thick = Ball(CENTRE, RADIUS, 0.01, COLOUR), Ball(CENTRE, RADIUS, 1e4, COLOUR)
    for each in (thin, thick):
        photograph(each, camera, step=0.1)
    assert thick.evaluated < 0.7 * thin.evaluated


def test_an_empty_field_and_no_rays() -> None:
    empty = Ball(CENTRE, RADIUS, 1.0, COLOUR, Occupancy(np.zeros(3), 1.0, np.zeros((2, 2, 2), bool)))
    taken = photograph(empty, cameras_around(CENTRE.tolist(), 3.0, 1)[0], normals=True)
    assert not taken.alpha.any()
    assert (taken.over((0.2, 0.4, 0.6)) == np.array([0.2, 0.4, 0.6], np.float32)).all()
    assert see(empty, torch.zeros(0, 3), torch.zeros(0, 3)).colours.shape == (0, 3)


def test_absurd_rays_are_refused(ball: Ball) -> None:
    with pytest.raises(UsageError, match=r"\[n, 3\]"):
        see(ball, torch.zeros(3), torch.zeros(3))
    with pytest.raises(UsageError, match="finite"):
        see(ball, torch.full((1, 3), float("nan")), torch.ones(1, 3))


def test_a_single_pixel(ball: Ball) -> None:
    camera = cameras_around(CENTRE.tolist(), 4.0, 1, width=1, height=1)[0]
    assert isinstance(camera, PosedCamera)
    assert photograph(ball, camera).alpha.shape == (1, 1)
