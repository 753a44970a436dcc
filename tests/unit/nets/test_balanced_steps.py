"""Steps balanced over the tensors of a recursive network."""

import pytest
import torch
from torch import Tensor

from fieldcodec.coding.weights import encode_weights
from fieldcodec.nets.balanced_steps import balanced_steps
from fieldcodec.nets.frozen_recursive import FrozenRecursive, parameters_of, steps_for
from fieldcodec.nets.recursive import RecursiveField, new_latents
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.testing.collections import random_network

SPEC = RecursiveSpec(latent=16, lods=3, base_width=64, width=32)


def _outputs(module: RecursiveField) -> Tensor:
    """Distances from latents of three levels, and occupancy that hardly matters."""
    levels = [new_latents(200, 16, 0)]
    for _ in range(2):
        levels.append(module.split(levels[-1])[::8])
    margins = module.omega(levels[-1]) @ torch.tensor([-1.0, 1.0])
    return torch.cat([module.distance(torch.cat(levels, dim=1)), 1e-3 * margins])


def _error(module: RecursiveField, frozen: FrozenRecursive) -> float:
    with torch.no_grad():
        return float((_outputs(frozen.module()) - _outputs(module)).square().mean())


@pytest.mark.parametrize("bits", [4, 5.5, 8])
def test_the_same_bits_do_less_harm(bits: float) -> None:
    module = random_network(SPEC, 2)
    with torch.no_grad():
        module.psi.layers[2].weight.mul_(20)  # a tensor that all hangs on
    before = [parameter.detach().clone() for parameter in parameters_of(module)]
    even = FrozenRecursive.of(
        module, steps=[step * 2 ** (round(bits) - bits) for step in steps_for(module, round(bits))]
    )
    balanced = FrozenRecursive.of(module, steps=balanced_steps(module, bits, lambda: _outputs(module)))
    assert all(torch.equal(*pair) for pair in zip(parameters_of(module), before, strict=True))
    sizes = [len(encode_weights(frozen.tensors)) for frozen in (even, balanced)]
    assert sizes[1] < sizes[0] * 1.02
    assert _error(module, balanced) < 0.7 * _error(module, even)


def test_no_tensor_is_rounded_away_or_finer_than_a_file_can_hold() -> None:
    module = random_network(SPEC, 2)
    steps = balanced_steps(module, 6, lambda: module.distance(new_latents(20, 48, 0)))  # phi and omega do not matter
    frozen = FrozenRecursive.of(module, steps=steps)
    for parameter, integers in zip(parameters_of(module), frozen.tensors, strict=True):
        assert (3 if parameter.any() else 0) <= abs(integers).max() <= 2047
