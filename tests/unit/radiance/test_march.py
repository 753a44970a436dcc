"""Samples along rays against a loop that looks at every place."""

import numpy as np
import pytest
import torch

from fieldcodec.errors import UsageError
from fieldcodec.radiance.field import Occupancy
from fieldcodec.radiance.march import RayMarcher, Samples

CPU = torch.device("cpu")


def _occupancy(seed: int = 0, shape: tuple[int, int, int] = (21, 9, 17)) -> Occupancy:
    """A few balls of cells, so that there are empty bricks, half-empty ones and full ones."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    cells = np.zeros(shape, bool)
    for _ in range(24):
        cells |= np.linalg.norm(places - rng.uniform(0, shape), axis=-1) < rng.uniform(1, 4)
    return Occupancy(np.array([-1.0, 0.3, 2.0]), 0.13, cells)


def _rays(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from inside the box and around it, some of them along an axis."""
    rng = np.random.default_rng(seed)
    origins = rng.uniform([-3, -2, 0], [4, 4, 6], (count, 3))
    aims = rng.uniform([-1, 0.3, 2], [1.7, 1.4, 4.2], (count, 3))
    ways = aims - origins
    ways[::7] = np.eye(3)[rng.integers(3, size=len(ways[::7]))] * rng.choice([-1, 1], (len(ways[::7]), 1))
    return torch.from_numpy(origins), torch.from_numpy(ways / np.linalg.norm(ways, axis=1, keepdims=True))


def _brute(occupancy: Occupancy, origin: np.ndarray, way: np.ndarray, shift: float, step: float) -> list[float]:
    """All places of one ray, one after the other, without leaps."""
    high = occupancy.low + np.array(occupancy.cells.shape) * occupancy.cell
    near, far = 0.0, np.inf
    for axis in range(3):
        if way[axis] == 0:
            if not occupancy.low[axis] <= origin[axis] <= high[axis]:
                return []
            continue
        ends = sorted([(occupancy.low[axis] - origin[axis]) / way[axis], (high[axis] - origin[axis]) / way[axis]])
        near, far = max(near, ends[0]), min(far, ends[1])
    found = []
    for k in range(10_000):
        t = near + (k + shift) * step
        if t >= far:
            return found
        index = np.floor((origin + t * way - occupancy.low) / occupancy.cell).astype(int)
        if (index >= 0).all() and (index < occupancy.cells.shape).all() and occupancy.cells[tuple(index)]:
            found.append(t)
    raise AssertionError("endless ray")


def test_equal_to_a_loop_over_all_places() -> None:
    occupancy = _occupancy()
    origins, ways = _rays(300)
    shifts = torch.from_numpy(np.random.default_rng(2).random(300))
    samples = RayMarcher(occupancy, CPU).march(origins, ways, shifts)
    assert len(samples) > 1000
    for ray in range(300):
        ours = samples.distances[samples.offsets[ray] : samples.offsets[ray + 1]].numpy()
        wanted = _brute(occupancy, origins[ray].numpy(), ways[ray].numpy(), float(shifts[ray]), samples.step)
        np.testing.assert_array_equal(ours, np.array(wanted, np.float32))


def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldcodec.radiance.march._PLACES_AT_ONCE", 500)  # several rounds
    marcher = RayMarcher(_occupancy(3), CPU, step=0.35)
    origins, ways = _rays(400, 5)
    shifts = torch.full((400,), 0.5, dtype=torch.float64)
    compiled, plain = marcher.march(origins, ways), marcher._march_torch(origins, ways, shifts)
    assert torch.equal(compiled.offsets, plain.offsets)
    assert torch.equal(compiled.distances, plain.distances)


def test_nothing_in_the_way() -> None:
    empty = Occupancy(np.zeros(3), 1.0, np.zeros((4, 4, 4), bool))
    for rays in (0, 3):
        origins, ways = _rays(rays)
        samples = RayMarcher(empty, CPU).march(origins, ways)
        assert samples.offsets.tolist() == [0] * (rays + 1)
        assert len(samples) == len(samples.rays) == 0
        assert samples.points(origins, ways)[0].shape == (0, 3)


def test_points_of_samples() -> None:
    samples = Samples(torch.tensor([0, 2, 2, 3]), torch.tensor([1.0, 2.0, 5.0]), 0.1)
    origins, ways = torch.zeros(3, 3), torch.eye(3)
    points, along = samples.points(origins, ways)
    assert samples.rays.tolist() == [0, 0, 2]
    assert points.tolist() == [[1, 0, 0], [2, 0, 0], [0, 0, 5]]
    assert torch.equal(along, ways[[0, 0, 2]])


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_absurd_steps_are_refused(step: float) -> None:
    with pytest.raises(UsageError, match="step"):
        RayMarcher(_occupancy(), CPU, step=step)
