"""Exact unfolding: integers only, the same in any order, close to the float network."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcodec.errors import FormatError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets import exact_unfolding
from fieldcodec.nets.exact_unfolding import SINE_UNIT, ExactUnfolding, sine_table
from fieldcodec.nets.frozen_recursive import LATENT_LIMIT, LATENT_UNIT, FrozenRecursive
from fieldcodec.nets.recursive import new_latents
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.testing.collections import TINY, random_network

SPEC = RecursiveSpec(latent=16, lods=5, base_width=64, width=16)
MANY = [1 << 20] * 9


def _root(seed: int, size: int = 16) -> np.ndarray:
    return np.rint(new_latents(1, size, seed)[0].double().numpy() * LATENT_UNIT).astype(np.int64)


@pytest.mark.parametrize(("spec", "seed"), [(SPEC, 0), (replace(SPEC, base_layers=2, layers=1, lods=4), 3)])
def test_latents_and_decisions_follow_the_float_network(spec: RecursiveSpec, seed: int) -> None:
    frozen = FrozenRecursive.of(random_network(spec, seed), 8)
    octree, latents = ExactUnfolding(frozen).unfold(_root(5), MANY)
    assert octree.num_cells[-1] > 1000
    module = frozen.module().double()
    with torch.inference_mode():
        real = module(torch.from_numpy(_root(5) / LATENT_UNIT)[None], [torch.from_numpy(rows) for rows in octree.kept])
    for exact, expected in zip(latents, real.latents, strict=True):
        assert exact.dtype == torch.float32
        assert (exact - expected).abs().max() < 1e-5
        assert expected.square().mean() > 1e-2  # the comparison would be empty otherwise
    for mask, logits in zip(octree.child_masks, real.occupancy, strict=True):
        margin = (logits[:, 1] - logits[:, 0]).numpy()
        sure = np.abs(margin) > 1e-4
        assert np.array_equal(mask.ravel()[sure], margin[sure] > 0)
        assert sure.mean() > 0.98


def test_the_size_of_chunks_changes_nothing() -> None:
    frozen = FrozenRecursive.of(random_network(SPEC), 8)
    whole, expected = ExactUnfolding(frozen).unfold(_root(5), MANY)
    for chunk in (1, 7, 64):
        unfolding = ExactUnfolding(frozen)
        unfolding.chunk = chunk
        octree, latents = unfolding.unfold(_root(5), MANY)
        assert all(np.array_equal(*pair) for pair in zip(octree.child_masks, whole.child_masks, strict=True))
        assert all(torch.equal(*pair) for pair in zip(latents, expected, strict=True))


def test_torch_computes_what_the_compiled_kernels_do() -> None:
    """So that a GPU, where there are none, gives the same."""
    unfolding = ExactUnfolding(FrozenRecursive.of(random_network(SPEC), 8))
    octree, latents = unfolding.unfold(_root(5), MANY)
    unfolding._compiled = False
    other, theirs = unfolding.unfold(_root(5), MANY)
    assert all(np.array_equal(*pair) for pair in zip(octree.child_masks, other.child_masks, strict=True))
    assert all(torch.equal(*pair) for pair in zip(latents, theirs, strict=True))
    sums = torch.from_numpy(np.random.default_rng(0).integers(-(2**49), 2**49, (50, 64)).astype(np.float64))
    layer = unfolding._phi[0]
    found = sums.numpy().copy()
    exact_unfolding._sine(found, layer.multiplier, layer.offsets.numpy(), sine_table())
    assert np.array_equal(found, exact_unfolding._sine_in_torch(sums, layer, unfolding._sines).numpy())


def test_the_number_of_threads_changes_nothing() -> None:
    unfolding = ExactUnfolding(FrozenRecursive.of(random_network(SPEC), 8))
    threads, octrees = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            octrees.append(unfolding.unfold(_root(5), MANY)[0])
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(*pair) for pair in zip(octrees[0].child_masks, octrees[1].child_masks, strict=True))


@pytest.mark.needs_gpu
def test_a_gpu_unfolds_to_the_same_integers() -> None:
    frozen = FrozenRecursive.of(random_network(SPEC), 8)
    octree, latents = ExactUnfolding(frozen).unfold(_root(5), MANY)
    other, theirs = ExactUnfolding(frozen, "cuda").unfold(_root(5), MANY)
    assert all(np.array_equal(*pair) for pair in zip(octree.child_masks, other.child_masks, strict=True))
    assert all(torch.equal(mine, their.cpu()) for mine, their in zip(latents, theirs, strict=True))


def test_no_sum_leaves_the_exact_range_of_float64() -> None:
    """At the limits of a description and of weights."""
    assert 4096 * LATENT_LIMIT * 2047 < 1 << 53
    assert (1 << 14) * SINE_UNIT * 2047 < 1 << 53


@pytest.mark.parametrize("step", [2.0**-60, 1.0, 2.0**10])
def test_the_largest_and_smallest_weights_do_not_overflow(step: float) -> None:
    frozen = FrozenRecursive.of(random_network(), 8)
    tensors = tuple(np.full_like(tensor, 2047) for tensor in frozen.tensors)
    extreme = FrozenRecursive(TINY, tensors, np.full(len(tensors), step, np.float32))
    unfolding = ExactUnfolding(extreme)
    children = unfolding._children(torch.full((1, 6), float(LATENT_LIMIT), dtype=torch.float64))
    assert children.abs().max() <= LATENT_LIMIT
    sums = np.full((1, 48), 8.0 * SINE_UNIT * 2047)
    layer = unfolding._output
    rescaled = sums.copy()
    exact_unfolding._rescale(rescaled, layer.cut, layer.multiplier, layer.shift, layer.biases.numpy(), LATENT_LIMIT)
    exact = 8 * 2047 * step / 4 * SINE_UNIT + 2047 * step * LATENT_UNIT
    assert rescaled[0, 0] == pytest.approx(min(exact, LATENT_LIMIT), rel=1e-6, abs=0.51)


def test_children_tell_the_network_where_it_errs() -> None:
    """`select` has the last word, and sees children in order, chunk by chunk."""
    frozen = FrozenRecursive.of(random_network(), 8)
    seen: list[tuple[int, int, int]] = []

    def select(level: int, first: int, predicted: np.ndarray) -> np.ndarray:
        seen.append((level, first, len(predicted)))
        return (np.arange(first, first + len(predicted)) % 8) < 3

    unfolding = ExactUnfolding(frozen)
    unfolding.chunk = 2
    octree, _ = unfolding.unfold(_root(1, 6), MANY, select)
    assert octree.num_cells == (1, 3, 9, 27)
    assert seen == [(1, 0, 8), (2, 0, 16), (2, 16, 8), *((3, 16 * i, 16) for i in range(4)), (3, 64, 8)]


def test_an_object_may_vanish_and_may_not_explode() -> None:
    unfolding = ExactUnfolding(FrozenRecursive.of(random_network(), 8))
    octree, latents = unfolding.unfold(_root(1, 6), MANY, lambda level, first, mask: mask & False)
    assert octree.num_cells == (1, 0, 0, 0)
    assert [tuple(values.shape) for values in latents] == [(0, 6)] * 3
    assert isinstance(octree, Octree)
    with pytest.raises(FormatError, match="more than 63 cells of level 2"):
        unfolding.unfold(_root(1, 6), [8, 63, 512], lambda level, first, mask: mask | True)


def test_the_sine_table_is_far_from_rounding_boundaries() -> None:
    """A mathematics library that errs in the last bits still gives the same table."""
    values = SINE_UNIT * np.sin(np.pi / 2 * np.arange(1025) / 1024)
    assert np.abs(values - np.floor(values) - 0.5).min() > 1e-5
    table = sine_table()
    assert (len(table), table[0], table[1024], table[2048], table[4096]) == (4097, 0, SINE_UNIT, 0, 0)
    assert np.array_equal(table[:2048], -table[2048:4096])
    places = np.arange(4096 * 16) / 16
    mixed = np.interp(places, np.arange(4097), table) / SINE_UNIT
    assert np.abs(mixed - np.sin(places * (2 * math.pi / 4096))).max() < 4e-7
