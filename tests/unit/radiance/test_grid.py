"""The grid: interpolation by hand, both ways of evaluating it, its lattice, and the step to a finer one."""

import math

import numpy as np
import pytest
import torch

from fieldcodec.errors import UsageError
from fieldcodec.radiance.grid import RadianceGrid, clipped
from fieldcodec.radiance.harmonics import harmonics
from fieldcodec.radiance.lattice import CornerLattice, dilated
from fieldcodec.radiance.refine import EMPTY, fine_lattice, inverse_softplus, resampled
from fieldcodec.testing.radiance import random_grid


def _points(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=generator) * 2.4 + torch.tensor([-1.2, 0.1, 0.8])
    ways = torch.randn(count, 3, generator=generator)
    return points, ways / ways.norm(dim=1, keepdim=True)


def test_one_point_by_hand() -> None:
    grid = random_grid()
    place = np.argwhere(grid.lattice.live)[7]
    share = np.array([0.2, 0.7, 0.4])
    point = torch.tensor(grid.lattice.low + (place + share) * grid.lattice.cell)[None].float()
    way = torch.tensor([[0.48, -0.6, 0.64]])
    raw, shades = 0.0, np.zeros((9, 3))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, share, 1 - share))
        row = grid.lattice.rows[tuple(place + corner)]
        raw += weight * float(grid.thickness[row])
        shades += weight * grid.shades[row].numpy()
    x, y, z = way[0].tolist()
    basis = [1, -y, z, -x, x * y, -y * z, 2 * z * z - x * x - y * y, -x * z, x * x - y * y]
    norms = [
        1 / 2,
        *[math.sqrt(3) / 2] * 3,
        *[math.sqrt(15) / 2] * 2,
        math.sqrt(5) / 4,
        math.sqrt(15) / 2,
        math.sqrt(15) / 4,
    ]
    wanted = 0.5 + (np.array(basis) * norms / math.sqrt(math.pi)) @ shades
    density, colours = grid.evaluate(point, way)
    assert float(density) == pytest.approx(math.log1p(math.exp(raw)) / grid.lattice.cell, rel=1e-4)
    np.testing.assert_allclose(colours[0].numpy(), np.clip(wanted, 0, 1), atol=1e-5)


def test_harmonics_are_orthonormal() -> None:
    """Over the sphere, by a product of Gauss's rule and even angles, exact for their degree."""
    z, weights = np.polynomial.legendre.leggauss(6)
    turns = np.arange(12) * (2 * np.pi / 12)
    ways = np.stack(
        [
            np.outer(np.sqrt(1 - z * z), np.cos(turns)),
            np.outer(np.sqrt(1 - z * z), np.sin(turns)),
            np.outer(z, np.ones(12)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    basis = harmonics(torch.from_numpy(ways)).numpy()
    gram = np.einsum("n,ni,nj->ij", np.repeat(weights, 12) * 2 * np.pi / 12, basis, basis)
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-12)


def test_both_ways_of_evaluation_agree() -> None:
    grid = random_grid(2)
    points, ways = _points(3000)
    compiled = grid.evaluate(points, ways)
    learnt = RadianceGrid(grid.lattice, grid.thickness.clone().requires_grad_(), grid.shades)
    plain = learnt.evaluate(points, ways)
    inside = compiled[0] > 0
    assert 300 < int(inside.sum()) < 2900
    torch.testing.assert_close(compiled[0], plain[0].detach(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(compiled[1], plain[1].detach(), atol=1e-5, rtol=1e-4)
    assert (compiled[1][~inside] == 0.5).all()  # of no matter, but never beyond 0 to 1


def test_gradients_to_points_and_values() -> None:
    grid = random_grid(3)
    points, ways = _points(40, 1)
    points = points[grid.evaluate(points, ways)[0] > 0].double().requires_grad_()
    ways = ways[: len(points)].double()
    thickness, shades = grid.thickness.double().requires_grad_(), (grid.shades * 0.1).double()
    exact = RadianceGrid(grid.lattice, thickness, shades)
    assert torch.autograd.gradcheck(lambda p: exact.evaluate(p, ways), (points,), eps=1e-7, atol=1e-4)


def test_clipping_keeps_the_way_back() -> None:
    values = torch.tensor([-0.5, -0.5, 0.5, 1.5, 1.5], requires_grad=True)
    pulls = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    seen = clipped(values)
    (seen * pulls).sum().backward()
    assert seen.tolist() == [0, 0, 0.5, 1, 1]
    assert values.grad is not None
    assert values.grad.tolist() == [0, -1, 1, 0, 1]


def test_lattices() -> None:
    cells = np.zeros((3, 3, 3), bool)
    cells[[0, 2, 1, 1, 1, 1], [1, 1, 0, 2, 1, 1], [1, 1, 1, 1, 0, 2]] = True  # all six around the middle one
    lattice = CornerLattice.of_cells(np.zeros(3), 0.5, cells)
    assert lattice.live[1, 1, 1]  # all of its corners are held
    assert lattice.num_cells == 7
    assert lattice.num_corners == 32
    held = lattice.rows[lattice.held]
    assert held.tolist() == list(range(32))
    assert np.array_equal(lattice.places[lattice.rows[1, 2, 3]], [1, 2, 3])
    assert lattice.high.tolist() == [1.5, 1.5, 1.5]
    assert dilated(cells).sum() == 27


@pytest.mark.parametrize(
    ("cell", "shape"), [(0.0, (3, 3, 3)), (float("nan"), (3, 3, 3)), (1.0, (3, 3, 1)), (1.0, (3, 600, 3))]
)
def test_absurd_lattices_are_refused(cell: float, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="not possible"):
        CornerLattice(np.zeros(3), cell, np.ones(shape, bool))


def test_wrong_tables_are_refused() -> None:
    grid = random_grid()
    with pytest.raises(UsageError, match="corners needs"):
        RadianceGrid(grid.lattice, grid.thickness[1:], grid.shades)


def test_finer_lattices_cover_what_is_kept() -> None:
    rng = np.random.default_rng(0)
    kept = rng.random((7, 6, 9)) < 0.2
    for finer in (0.3, 0.2, 0.11, 0.07):
        fine = fine_lattice(kept, np.array([1.0, -2.0, 0.5]), 0.3, finer)
        low = np.array([1.0, -2.0, 0.5])
        points = low + (np.argwhere(kept)[:, None] + rng.random((1, 30, 3))) * 0.3
        at = np.floor((points.reshape(-1, 3) - fine.low) / finer + 1e-9).astype(int)
        assert fine.live[tuple(at.T)].all()
        volume = fine.num_cells * finer**3
        assert volume < (kept.sum() * 0.3**3) * (1 + 2 * finer / 0.3) ** 3


def test_resampled_grids_keep_their_density() -> None:
    grid = random_grid(5)
    same = resampled(grid, grid.lattice)
    torch.testing.assert_close(same.thickness, grid.thickness, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(same.shades, grid.shades, atol=1e-5, rtol=1e-4)
    fine = resampled(grid, fine_lattice(grid.lattice.live, grid.lattice.low, grid.lattice.cell, grid.lattice.cell / 2))
    at = grid.lattice.low + np.argwhere(grid.lattice.held) * grid.lattice.cell + 1e-7
    at = at[grid.evaluate(torch.from_numpy(at).float(), torch.ones(len(at), 3))[0].numpy() > 0]
    points, ways = torch.from_numpy(at).float(), torch.ones(len(at), 3) / math.sqrt(3)
    torch.testing.assert_close(fine.evaluate(points, ways)[0], grid.evaluate(points, ways)[0], rtol=1e-3, atol=1e-3)
    larger = CornerLattice(grid.lattice.low - 10 * grid.lattice.cell, grid.lattice.cell, np.ones((6, 6, 6), bool))
    assert (resampled(grid, larger).thickness == EMPTY).all()


def test_inverse_softplus() -> None:
    raw = torch.linspace(-12, 20, 50, dtype=torch.float64)
    torch.testing.assert_close(inverse_softplus(torch.nn.functional.softplus(raw)), raw, atol=1e-6, rtol=1e-6)
