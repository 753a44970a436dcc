"""The continuous field goes through the decoded voxels, and its gradients are its slopes."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import fieldcodec as fc
from fieldcodec.errors import UsageError
from fieldcodec.volume.compressed import CompressedVolume, open_volume
from fieldcodec.volume.random_access import GridAccess

GOLDEN = Path(__file__).parents[2] / "golden"
SPLINES = ("lattice_surface", "lattice_two_levels", "lattice_stride_six", "lattice_linear")
NETWORKS = ("level_set_neural", "fog_two_experts", "vec3s", "level_set_guided")
VOXELS = ("lattice_residual", "lattice_refined_surface", "lattice_mesh", "lattice_signs", "lattice_refined_vectors")


@cache
def opened(name: str) -> tuple[CompressedVolume, GridAccess, fc.SparseGrid]:
    compressed = open_volume(GOLDEN / f"{name}.fcodec")
    return compressed, compressed.access(device="cpu"), compressed.to_grids(device="cpu")[0]


@pytest.mark.parametrize("name", SPLINES + NETWORKS)
def test_field_goes_through_voxels(name: str) -> None:
    """But for what decoders round to: units of F, and the activations of a network that guides masks."""
    compressed, access, decoded = opened(name)
    values = access.sample(decoded.topology.active_voxels(), space="index", interpolation="field")
    assert values.dtype == np.float32
    spec, span = compressed[0].lattice, np.ptp(decoded.active_values())
    rounding = 0.5 * len(spec.levels) * max(spec.unit) if spec else 0.01 * span * (name == "level_set_guided")
    np.testing.assert_allclose(values, decoded.active_values(), rtol=0, atol=rounding + 2e-3 * span)


@pytest.mark.parametrize("name", SPLINES + NETWORKS + VOXELS)
def test_gradients_are_slopes(name: str) -> None:
    """Away from the ends of the range, where values are cut off, and from cells of linear splines."""
    _, access, decoded = opened(name)
    rng, step = np.random.default_rng(0), 1e-2
    voxels = decoded.topology.active_voxels()
    points = rng.permutation(voxels)[:200] + rng.uniform(0.1, 0.9, (min(200, len(voxels)), 3))
    _, gradients = access.sample_with_gradient(points, space="index")
    slopes = [
        (access.sample(points + each, space="index", interpolation="field").astype(np.float64)
         - access.sample(points - each, space="index", interpolation="field")) / (2 * step)
        for each in np.eye(3) * step
    ]  # fmt: skip
    wrong = np.abs(np.stack(slopes, axis=-1) - gradients) > 0.03 * max(1e-6, float(np.abs(gradients).max()))
    assert wrong.mean() < 0.03
    assert np.abs(gradients).max() > 0


@pytest.mark.parametrize("name", ["lattice_surface", "level_set_neural", "lattice_residual"])
def test_world_space_and_autograd_agree(name: str) -> None:
    _, access, decoded = opened(name)
    indices = decoded.topology.active_voxels()[:60] + 0.25
    world = torch.from_numpy(decoded.transform.to_world(indices)).requires_grad_(True)
    values = access.sample(world, interpolation="field")
    values.sum().backward()
    _, gradients = access.sample_with_gradient(indices, space="index")
    inverse = np.linalg.inv(decoded.transform.matrix[:3, :3])
    np.testing.assert_allclose(world.grad.numpy(), gradients.sum(axis=1) @ inverse.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VOXELS)
def test_without_a_field_voxels_are_interpolated(name: str) -> None:
    _, access, decoded = opened(name)
    low, high = decoded.topology.active_bounds
    points = np.random.default_rng(1).uniform(low - 3, high + 3, (300, 3))
    found = access.sample(points, space="index", interpolation="field")
    assert np.array_equal(found, decoded.sample(points, space="index", interpolation="tricubic"))


def test_the_tree_answers_tiles_and_background() -> None:
    _, access, decoded = opened("fog_tiles")
    low, _ = decoded.topology.active_bounds
    points = np.random.default_rng(2).uniform(low - 60, low + 300, (2000, 3))
    floors = np.floor(points)
    leaves = access.topology.leaf_table.find(floors.astype(np.int64) // 8 * 8) >= 0
    values, gradients = access.sample_with_gradient(points[~leaves], space="index")
    assert np.array_equal(values, decoded.sample(floors[~leaves], space="index", interpolation="nearest"))
    assert len(np.unique(values)) > 2
    assert not gradients.any()
    assert access.pool.decoded == 0


def test_integers_have_no_field() -> None:
    _, access, _ = opened("int32")
    with pytest.raises(UsageError, match="nearest"):
        access.sample(np.zeros((1, 3)), interpolation="field")
