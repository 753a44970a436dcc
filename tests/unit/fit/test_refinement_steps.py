"""The compiled fit of refinement networks against PyTorch's gradients, Adam and schedule."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fieldcodec.fit.refinement import _one_cycle
from fieldcodec.fit.refinement_steps import optimise
from fieldcodec.lattice.refinement import shapes_of
from fieldcodec.lattice.refinement_kernels import LEAK, ONE

WIDTHS, STEP = (5, 3), 1 / 128
_WORD = (1 << 64) - 1


@pytest.mark.parametrize("steps", [10, 300])
def test_rates_are_those_of_one_cycle(steps: int) -> None:
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.02, total_steps=steps)
    expected = []
    for _ in range(steps):
        group = optimiser.param_groups[0]
        expected.append((group["lr"], group["betas"][0]))
        optimiser.step()
        if len(expected) < steps:
            schedule.step()
    # the last rate is all but 0 in both
    np.testing.assert_allclose(np.stack(_one_cycle(steps, 0.02), axis=1), expected, rtol=1e-9, atol=1e-7)


def test_few_steps_have_rates() -> None:
    for steps in range(5):
        rates, decays = _one_cycle(steps, 0.02)
        assert rates.shape == decays.shape == (steps,)
        assert ((rates > 0) & (rates <= 0.02) & (decays >= 0.85) & (decays <= 0.95)).all()


def _rows(seed: int, count: int, rows: int) -> list[int]:
    """What xorshift64* draws."""
    state, drawn = seed, []
    for _ in range(count):
        state ^= state >> 12
        state = (state ^ (state << 25)) & _WORD
        state ^= state >> 27
        drawn.append((((state * 0x2545F4914F6CDD1D & _WORD) >> 32) * rows) >> 32)
    return drawn


def _output(inputs: Tensor, parameters: list[Tensor]) -> Tensor:
    """Weights rounded, gradients passing straight through."""
    values = inputs
    rounded = [parameter + ((parameter / STEP).round() * STEP - parameter).detach() for parameter in parameters]
    for weights, biases in zip(rounded[:-2:2], rounded[1:-2:2], strict=True):
        values = functional.leaky_relu(values @ weights + biases, 0.5**LEAK).clamp(-1, 1)
    return (values @ rounded[-2] + rounded[-1])[:, 0]


def test_steps_are_those_of_adam() -> None:
    """Of two blocks of 64 drawn from a hundred voxels, with outputs that are clamped or leak among them."""
    rng = np.random.default_rng(0)
    features = rng.integers(-127, 128, (100, 27)).astype(np.int8)
    errors, importance = rng.normal(size=100).astype(np.float32), rng.random(100).astype(np.float32)
    first = [rng.normal(size=shape).astype(np.float32) * 0.4 for shape in shapes_of(*WIDTHS)]
    rates, decays = np.array([0.02, 0.03, 0.01]), np.array([0.95, 0.85, 0.9])
    found = np.concatenate([tensor.ravel() for tensor in first])
    leak, one = np.float32(0.5**LEAK), np.float32(1 / STEP)
    optimise(found, WIDTHS, features, errors, importance, rates, decays, 128, one, leak, 7)

    parameters = [torch.from_numpy(tensor.copy()).requires_grad_() for tensor in first]
    rows = np.array(_rows(7, 3 * 128, 100)).reshape(3, 128)
    assert len(np.unique(rows)) > 90
    optimiser = torch.optim.Adam(parameters)
    for drawn, rate, decay in zip(rows, rates, decays, strict=True):
        optimiser.param_groups[0].update(lr=rate, betas=(decay, 0.999))
        optimiser.zero_grad()
        said = _output(torch.from_numpy(features[drawn]).float() / ONE, parameters)
        (torch.from_numpy(importance[drawn]) * (said - torch.from_numpy(errors[drawn])) ** 2).mean().backward()
        optimiser.step()
    expected = np.concatenate([parameter.detach().numpy().ravel() for parameter in parameters])
    assert np.abs(expected - np.concatenate([tensor.ravel() for tensor in first])).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)
