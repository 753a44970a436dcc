"""Recursive networks as integers: rounding, rounding in the loop, limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcodec.errors import FormatError, UsageError
from fieldcodec.nets.frozen_recursive import (
    LATENT_LIMIT,
    LATENT_UNIT,
    FrozenRecursive,
    frozen_latents,
    latent_step_for,
    parameters_of,
    round_latents,
    rounded,
    steps_for,
    tensor_shapes,
)
from fieldcodec.nets.recursive import RecursiveField, new_latents
from fieldcodec.testing.collections import TINY, random_network


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_parameters_are_kept_within_half_a_step(bits: int) -> None:
    module = random_network(seed=3)
    frozen = FrozenRecursive.of(module, bits)
    back = frozen.module()
    for before, after, step in zip(parameters_of(module), parameters_of(back), frozen.steps, strict=True):
        assert (before - after).abs().max() <= step / 2 * (1 + 1e-5)
        assert not after.requires_grad
    weights = [np.abs(tensor).max() for tensor in frozen.tensors if tensor.ndim == 2]
    assert max(weights) == 2 ** (bits - 1) - 1


def test_order_and_shapes_are_those_of_the_file() -> None:
    module = RecursiveField(replace(TINY, base_layers=2, colour="radiance"))
    assert [tuple(each.shape) for each in parameters_of(module)] == tensor_shapes(module.spec)
    assert len(parameters_of(module)) == len(list(module.parameters()))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    order = [names[id(parameter)] for parameter in parameters_of(module)]
    assert order[:4] == ["phi.layers.0.weight", "phi.layers.0.bias", "phi.layers.1.weight", "phi.layers.1.bias"]
    assert order[-1] == "xi.layers.2.bias"


def test_layers_of_a_network_are_found() -> None:
    frozen = FrozenRecursive.of(random_network())
    layers = frozen.network("omega")
    assert [layer[0].shape for layer in layers] == [(5, 6), (5, 5), (2, 5)]
    assert layers[0][0] is frozen.tensors[4]
    assert layers[2][3] == float(frozen.steps[9])
    with pytest.raises(KeyError):
        FrozenRecursive.of(random_network(replace(TINY, colour="none"))).network("xi")


def test_outliers_take_larger_integers_instead_of_coarser_steps() -> None:
    module = random_network()
    plain = steps_for(module, 6)
    weight = module.phi.layers[1].weight
    with torch.no_grad():
        weight[0, 0] = 30 * weight.abs().max()
    frozen = FrozenRecursive.of(module, 6)
    peak = np.abs(frozen.tensors[2]).max()
    assert 31 < peak <= 2047
    assert float(frozen.steps[2]) < 8 * float(plain[2])  # 30 by its peak alone


def test_rounding_in_the_loop_trains_the_parameters_behind_it() -> None:
    module = random_network(seed=1)
    steps = steps_for(module, 5)
    before = [parameter.detach().clone() for parameter in parameters_of(module)]
    frozen = FrozenRecursive.of(module, steps=steps)
    x = new_latents(4, TINY.latent, 0)
    with rounded(module, steps):
        out = module.split(x)
        out.square().sum().backward()
    assert torch.equal(out, frozen.module().split(x))  # what is trained is what a file holds
    for parameter, kept in zip(parameters_of(module), before, strict=True):
        assert torch.equal(parameter, kept)
    twin = frozen.module().requires_grad_(True)
    twin.split(x).square().sum().backward()
    assert module.phi.layers[0].weight.grad is not None
    assert torch.equal(module.phi.layers[0].weight.grad, twin.phi.layers[0].weight.grad)


def test_parameters_come_back_when_a_step_fails() -> None:
    module = random_network(seed=1)
    before = [parameter.detach().clone() for parameter in parameters_of(module)]
    with pytest.raises(KeyboardInterrupt), rounded(module, steps_for(module, 3)):
        raise KeyboardInterrupt
    assert all(torch.equal(*pair) for pair in zip(parameters_of(module), before, strict=True))


def test_latents_are_rounded_alike_in_the_loop_and_in_the_file() -> None:
    latents = new_latents(5, 16, 2).requires_grad_()
    step = latent_step_for(latents, 8)
    soft = round_latents(latents, step)
    integers = frozen_latents(latents, step)
    assert np.allclose(soft.detach().numpy(), integers * step / LATENT_UNIT, atol=1e-7)
    assert np.abs(integers).max() <= 2047
    assert (soft - latents).abs().max() <= step / LATENT_UNIT / 2 * (1 + 1e-4)
    soft.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))


def test_large_latents_stay_within_what_a_file_can_hold() -> None:
    latents = torch.tensor([[1000.0, -1000.0, 0.5]])
    step = latent_step_for(latents, 8)
    assert np.abs(frozen_latents(latents, step).astype(np.int64)).max() * step <= LATENT_LIMIT
    assert latent_step_for(torch.zeros(2, 3), 8) >= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_diverged_is_refused(value: float) -> None:
    module = random_network()
    with torch.no_grad():
        module.psi.layers[0].bias[1] = value
    with pytest.raises(UsageError, match="diverged"):
        FrozenRecursive.of(module)
    with pytest.raises(UsageError, match="diverged"):
        frozen_latents(torch.tensor([[value]]), 1)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf"), 2.0**-61, 2.0**11])
def test_steps_beyond_exact_evaluation_are_refused(step: float) -> None:
    frozen = FrozenRecursive.of(random_network())
    steps = frozen.steps.copy()
    steps[3] = step
    with pytest.raises(FormatError, match="exact evaluation"):
        FrozenRecursive(TINY, frozen.tensors, steps)


def test_foreign_tensors_are_refused() -> None:
    frozen = FrozenRecursive.of(random_network())
    with pytest.raises(FormatError, match="shapes"):
        FrozenRecursive(replace(TINY, fusion="sum"), frozen.tensors, frozen.steps)
    large = tuple(np.where(tensor == tensor.max(), 2048, tensor) for tensor in frozen.tensors)
    with pytest.raises(FormatError, match="2048"):
        FrozenRecursive(TINY, large, frozen.steps)
