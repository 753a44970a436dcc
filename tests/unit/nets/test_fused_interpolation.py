"""All levels mixed and added up at once, against level by level."""

import numpy as np
import pytest
import torch

from fieldcodec.grid.octree import Octree
from fieldcodec.nets.fused_interpolation import first_layer_table, mix_levels, with_slopes
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.nets.recursive_spec import Fusion, RecursiveSpec


def problem(fusion: Fusion) -> tuple[RecursiveField, list[torch.Tensor], Octree, np.ndarray]:
    rng = np.random.default_rng(0)
    octree = Octree.of_cells(rng.integers(0, 8, (60, 3)), 3)
    latents = [torch.from_numpy(rng.normal(size=(cells, 5)).astype(np.float32)) for cells in octree.num_cells[1:]]
    network = RecursiveField(RecursiveSpec(5, 3, 8, 1, 12, 2, fusion), seed=1)
    return network, latents, octree, rng.uniform(-1, 1, (400, 3)).astype(np.float32)


@pytest.mark.parametrize("fusion", ["cat", "sum"])
@pytest.mark.parametrize("lods", [1, 3])
def test_it_is_the_first_layer_of_the_fused_latents(fusion: Fusion, lods: int) -> None:
    network, latents, octree, points = problem(fusion)
    stencil = Stencil.of(octree, np.zeros(len(points), np.int64), points)
    weight = network.psi.layers[0].weight
    assert isinstance(weight, torch.Tensor)
    mixed = mix_levels(first_layer_table(network.spec, weight, latents).cut(lods), stencil)
    torch.testing.assert_close(mixed, network.fused(latents[:lods], stencil) @ weight.T, rtol=1e-5, atol=1e-6)


def test_slopes_by_the_kernel_are_those_of_torch_and_of_differences() -> None:
    network, latents, octree, points = problem("cat")
    weight = network.psi.layers[0].weight
    assert isinstance(weight, torch.Tensor)
    table = first_layer_table(network.spec, weight.detach(), latents)
    doubles = first_layer_table(network.spec, weight.detach().double(), [values.double() for values in latents])
    stencil = Stencil.of(octree, np.zeros(len(points), np.int64), points)
    gradients = []
    for values, kind in ((table, torch.float32), (doubles, torch.float64)):
        at = torch.from_numpy(points).to(kind).requires_grad_()
        (mix_levels(values, with_slopes(stencil, at)) ** 2).sum().backward()
        assert at.grad is not None
        gradients.append(at.grad)
    torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=1e-3, atol=1e-4)
    step, differences = 1e-5, []
    for axis in range(3):
        sums = []
        for side in (-step, step):
            moved = torch.from_numpy(points.astype(np.float64))
            moved[:, axis] += side
            sums.append((mix_levels(doubles, with_slopes(stencil, moved)) ** 2).sum(dim=1))
        differences.append((sums[1] - sums[0]) / (2 * step))
    near = torch.stack(differences, dim=1)
    smooth = ((stencil.places > 1e-3) & (stencil.places < 1 - 1e-3)).flatten(1).all(dim=1)
    torch.testing.assert_close(gradients[1][smooth], near[smooth], rtol=1e-4, atol=1e-4)


def test_places_are_those_of_the_stencil() -> None:
    _, _, octree, points = problem("sum")
    points = np.concatenate([points, np.array([[-1, 1, 0], [1.5, -3, 0.25]], np.float32)])
    stencil = Stencil.of(octree, np.zeros(len(points), np.int64), points)
    places = with_slopes(stencil, torch.from_numpy(points)).places
    torch.testing.assert_close(places, stencil.places, rtol=0, atol=1e-6)
