"""Trees that a network predicts from latents."""

import numpy as np
import pytest
import torch

from fieldcodec.collection.unfold import latents_of_root, unfold_predicted
from fieldcodec.errors import UsageError
from fieldcodec.nets.recursive import RecursiveField, new_latents
from fieldcodec.nets.recursive_spec import RecursiveSpec

SPEC = RecursiveSpec(latent=16, lods=4, base_width=32, width=16)


@pytest.fixture(scope="module")
def network() -> RecursiveField:
    """Random, with latents large enough for occupancies to differ."""
    network = RecursiveField(SPEC, seed=5)
    with torch.no_grad():
        network.phi.layers[-1].weight.mul_(10)
    return network


def test_the_predicted_tree_is_the_one_teacher_forcing_agrees_with(network: RecursiveField) -> None:
    roots = new_latents(3, SPEC.latent, seed=1)
    octree, latents = unfold_predicted(network, roots)
    assert octree.lods == SPEC.lods
    assert octree.num_cells[-1] > 10  # a random network keeps about half of the children
    forced = network(roots, [torch.from_numpy(rows) for rows in octree.kept])
    for level in range(SPEC.lods):
        torch.testing.assert_close(latents[level], forced.latents[level], rtol=1e-4, atol=1e-4)
        logits = forced.occupancy[level]
        said = (logits[:, 1] > logits[:, 0]).numpy()
        undecided = (logits[:, 1] - logits[:, 0]).abs().detach().numpy() < 1e-4
        assert np.array_equal(said[~undecided], octree.child_masks[level].ravel()[~undecided])


def test_one_object_of_several_is_the_object_alone(network: RecursiveField) -> None:
    roots = new_latents(3, SPEC.latent, seed=1)
    octree, latents = latents_of_root(*unfold_predicted(network, roots), root=1)
    alone, own = unfold_predicted(network, roots[1:2])
    for mask, expected in zip(octree.child_masks, alone.child_masks, strict=True):
        assert np.array_equal(mask, expected)
    for values, expected_values in zip(latents, own, strict=True):
        torch.testing.assert_close(values, expected_values, rtol=1e-4, atol=1e-4)


def test_a_network_that_keeps_nothing_gives_empty_levels(network: RecursiveField) -> None:
    closed = RecursiveField(SPEC, seed=5)
    with torch.no_grad():
        closed.omega.layers[-1].weight.zero_()
        closed.omega.layers[-1].bias.copy_(torch.tensor([1.0, 0.0]))
    octree, latents = unfold_predicted(closed, new_latents(2, SPEC.latent, seed=1))
    assert octree.num_cells == (2, 0, 0, 0, 0)
    assert [tuple(values.shape) for values in latents] == [(0, SPEC.latent)] * SPEC.lods


def test_too_many_cells_and_latents_of_another_size_are_refused(network: RecursiveField) -> None:
    with pytest.raises(UsageError, match="more than 3 cells"):
        unfold_predicted(network, new_latents(3, SPEC.latent, seed=1), max_cells=3)
    with pytest.raises(UsageError, match="do not fit"):
        unfold_predicted(network, new_latents(3, 7, seed=1))
