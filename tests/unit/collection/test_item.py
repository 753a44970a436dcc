"""Objects of a collection as fields."""

import copy

import numpy as np
import pytest
import torch

from fieldcodec.collection.item import ItemField
from fieldcodec.errors import UsageError
from fieldcodec.field import Field
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.testing.spheres import PLACEMENT, RADIUS, Fitted, sphere_colours


def shell_points(fitted: Fitted, count: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(fitted.asset.surface.points), count)
    return fitted.asset.surface.points[rows] + rng.uniform(-0.08, 0.08, (count, 3)).astype(np.float32)


def directly(fitted: Fitted, points: np.ndarray, lod: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and colours through the network's own, slower way."""
    item = fitted.item
    stencil = Stencil.of(item.octree, np.zeros(len(points), np.int64), points)
    with torch.no_grad():
        fused = fitted.network.fused(item.latents[:lod], stencil)
        return fitted.network.distance(fused), fitted.network.colour(fused)


@pytest.mark.parametrize("lod", [None, 1, 3])
def test_samples_are_what_the_networks_say(fitted: Fitted, lod: int | None) -> None:
    points = shell_points(fitted)
    points = points[fitted.item.in_shell(points)]
    assert len(points) > 1000
    values = fitted.item.sample(points, space="model", lod=lod)
    distances, colours = directly(fitted, points, lod)
    np.testing.assert_allclose(values[:, 0], distances, atol=2e-6)
    np.testing.assert_allclose(values[:, 1:], colours, atol=2e-6)
    if lod is not None:
        assert np.abs(values[:, 0] - fitted.item.distance(points, space="model")).max() > 1e-3


def test_it_is_a_field_of_the_world(fitted: Fitted) -> None:
    item = fitted.item
    assert isinstance(item, Field)
    points = shell_points(fitted, 60).reshape(4, 5, 3, 3)
    world = PLACEMENT.to_world(points)
    there, here = item.sample(world), item.sample(points, space="model")
    assert there.shape == (4, 5, 3, 4)
    np.testing.assert_allclose(there[..., 0], here[..., 0] * PLACEMENT.scale, atol=1e-4)
    np.testing.assert_allclose(there[..., 1:], here[..., 1:], atol=1e-3)
    as_tensor = item.sample(torch.from_numpy(world))
    assert isinstance(as_tensor, torch.Tensor)
    np.testing.assert_array_equal(as_tensor.numpy(), there)
    assert item.bounds is not None
    surface = PLACEMENT.to_world(fitted.asset.surface.points)
    assert (item.bounds[0] <= surface.min(axis=0)).all()
    assert (item.bounds[1] >= surface.max(axis=0)).all()


def test_the_fitted_sphere_is_a_sphere(fitted: Fitted) -> None:
    surface = fitted.asset.surface.points[:2000]
    assert np.abs(fitted.item.distance(surface, space="model")).mean() < 0.02
    colours = fitted.item.colour(surface, space="model")
    assert np.abs(colours - sphere_colours(surface)).mean() < 0.06


def test_signs_are_right_and_distances_never_too_long_far_from_the_surface(fitted: Fitted) -> None:
    points = np.random.default_rng(2).uniform(-2, 2, (20000, 3)).astype(np.float32)
    points = points[~fitted.item.in_shell(points)]
    exact = np.linalg.norm(points, axis=1) - RADIUS
    distances = fitted.item.distance(points, space="model")
    np.testing.assert_array_equal(np.sign(distances), np.sign(exact))
    assert (np.abs(distances) <= np.abs(exact) + 1e-6).all()
    assert distances.min() < -0.2
    assert distances.max() > 1


def test_gradients_are_slopes(fitted: Fitted) -> None:
    points = shell_points(fitted, 500)
    points = points[fitted.item.in_shell(points)].astype(np.float64)
    gradients = fitted.item.gradient(points, space="model")
    step = 1e-3
    for axis in range(3):
        ahead, behind = points.copy(), points.copy()
        ahead[:, axis] += step
        behind[:, axis] -= step
        slopes = (fitted.item.distance(ahead, space="model") - fitted.item.distance(behind, space="model")) / (2 * step)
        errors = np.abs(slopes - gradients[:, axis])  # a step may cross a cell's middle, where there is an edge
        assert np.median(errors) < 2e-3
        assert np.quantile(errors, 0.8) < 0.02
    np.testing.assert_array_equal(fitted.item.gradient(np.zeros((2, 3)), space="model"), np.zeros((2, 3)))


def test_not_numbers_and_nowhere(fitted: Fitted) -> None:
    values = fitted.item.distance(np.array([[np.nan, 0, 0], [np.inf, 0, 0]]))
    assert np.isnan(values[0])
    assert values[1] == np.inf
    assert fitted.item.sample(np.zeros((0, 3))).shape == (0, 4)


def test_an_object_without_cells_is_empty_space(fitted: Fitted) -> None:
    none = np.zeros((0, 8), bool)
    octree = Octree(1, (np.zeros((1, 8), bool), none, none, none))
    empty = ItemField(fitted.network, octree, [torch.zeros(0, 16)] * 4)
    assert empty.bounds is None
    assert (empty.distance(np.random.default_rng(0).uniform(-1, 1, (50, 3))) > 0).all()


def test_the_predicted_object_is_the_taught_one(fitted: Fitted) -> None:
    item = ItemField.predicted(fitted.network, fitted.latents[0], PLACEMENT)
    same = sum(a.sum() for a in item.octree.child_masks) / sum(a.sum() for a in fitted.item.octree.child_masks)
    assert abs(same - 1) < 0.05
    points = PLACEMENT.to_world(fitted.asset.surface.points[:500])
    np.testing.assert_allclose(item.distance(points), fitted.item.distance(points), atol=0.3)


def test_what_is_refused(fitted: Fitted) -> None:
    item, point = fitted.item, np.zeros((1, 3))
    with pytest.raises(UsageError, match="space is 'index'"):
        item.sample(point, space="index")
    with pytest.raises(UsageError, match="interpolation is 'nearest'"):
        item.sample(point, interpolation="nearest")
    with pytest.raises(UsageError, match="level of detail is 9"):
        item.sample(np.array([[RADIUS, 0, 0]]), space="model", lod=9)
    with pytest.raises(UsageError, match="do not fit one object"):
        ItemField(fitted.network, item.octree, item.latents[:-1])
    shapes = RecursiveField(type(fitted.network.spec)(16, 4, 64, 1, 32), seed=0)
    assert ItemField(shapes, item.octree, item.latents).channels == 1
    with pytest.raises(UsageError, match="without colours"):
        ItemField(shapes, item.octree, item.latents).colour(point)


def test_threads_do_not_change_anything(fitted: Fitted) -> None:
    item = fitted.item
    points = shell_points(fitted, 100_000)
    alone = ItemField(fitted.network, item.octree, item.latents, threads=1).sample(points)
    np.testing.assert_array_equal(ItemField(fitted.network, item.octree, item.latents, threads=3).sample(points), alone)
    assert torch.is_grad_enabled()


@pytest.mark.needs_gpu
def test_a_gpu_says_the_same(fitted: Fitted) -> None:
    item = fitted.item
    network = copy.deepcopy(fitted.network).to("cuda")
    there = ItemField(network, item.octree, [values.to("cuda") for values in item.latents], item.placement)
    points = shell_points(fitted)
    np.testing.assert_allclose(there.sample(points, space="model"), item.sample(points, space="model"), atol=1e-3)
    gradients = there.gradient(points, space="model") - item.gradient(points, space="model")
    assert np.quantile(np.abs(gradients), 0.99) < 0.02
    assert there.sample(torch.from_numpy(points).to("cuda"), space="model").device.type == "cuda"
