"""Muon: steps are orthogonal matrices, whatever the gradient is."""

import pytest
import torch

from fieldcodec.fit.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(6, 6), (4, 20), (20, 4)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -1.5, min(shape))
    result = orthogonalised(left @ torch.diag(values) @ right)
    aligned = left.T @ result @ right.T
    assert ((aligned.diagonal() > 0.6) & (aligned.diagonal() < 1.3)).all()
    assert (aligned - torch.diag(aligned.diagonal())).abs().max() < 1e-4


def test_a_least_squares_problem_of_very_different_directions_is_solved() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn((200, 8), generator=generator) * torch.logspace(0, -1, 8)
    truth = torch.randn((8, 8), generator=generator)
    matrix = torch.nn.Parameter(torch.zeros(8, 8))
    optimiser = Muon([matrix], rate=0.05)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 300)
        optimiser.zero_grad()
        ((inputs @ (matrix - truth)) ** 2).mean().backward()
        optimiser.step()
    assert (matrix - truth).abs().mean() < 0.1
