"""Losses: exact inside the band, relative and of less weight beyond it."""

import torch

from fieldcodec.fit.losses import banded_squared_error, mean_squared_error


def test_a_banded_error_is_the_mean_squared_one_inside_the_band() -> None:
    target = torch.linspace(-1, 1, 50).reshape(1, 50, 1)
    predicted = target + 0.1 * torch.randn(1, 50, 1, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(banded_squared_error(predicted, target), mean_squared_error(predicted, target))


def test_beyond_the_band_errors_count_less_the_farther_out() -> None:
    target = torch.tensor([1.0, 1.5, -3.0]).reshape(3, 1, 1)  # three experts
    loss = banded_squared_error(target + 0.1, target)
    assert loss[0] > 2 * loss[1] > 4 * loss[2] > 0
