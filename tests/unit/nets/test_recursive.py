"""The recursive field network: sizes, start, unfolding, and interpolation as a dense grid does it."""

import math
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import FormatError, UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.interpolation import Stencil, mix
from fieldcodec.nets.opacity import density_of, opacity_of
from fieldcodec.nets.recursive import RecursiveField, new_latents
from fieldcodec.nets.recursive_spec import Colour, RecursiveSpec

SMALL = RecursiveSpec(latent=6, lods=3, base_width=16, base_layers=1, width=8, layers=2, fusion="cat", colour="rgb")


def _octree(seed: int, lods: int, cells: int = 120) -> Octree:
    return Octree.of_cells(np.random.default_rng(seed).integers(0, 1 << lods, (cells, 3)), lods)


def test_parameter_counts_of_the_published_models() -> None:
    """Section 1.5: the sizes of published models fix these."""
    assert RecursiveSpec().num_parameters == 838_915  # Thingi32
    assert RecursiveSpec(colour="rgb").num_parameters == 1_004_038  # HomebrewedDB
    for latent in (32, 64, 128, 256):  # RTMV, 3 numbers of the direction included
        spec = RecursiveSpec(latent, 6, 4096, 1, 512, 2, "cat", "radiance")
        assert spec.num_parameters == 43_528 * latent + 798_214
    assert RecursiveSpec(512, 6, 4096, 1, 512, 2, "cat", "rgb").num_parameters == 23_083_014  # BOP, GSO
    assert CollectionSettings.preset("paper").spec("none") == RecursiveSpec()


@pytest.mark.parametrize("colour", ["none", "rgb", "radiance", "none+radiance", "rgb+radiance"])
@pytest.mark.parametrize("fusion", ["cat", "sum"])
def test_a_module_has_the_parameters_that_its_spec_counts(colour: Any, fusion: Any) -> None:
    spec = replace(SMALL, colour=colour, fusion=fusion)
    assert sum(each.numel() for each in RecursiveField(spec).parameters()) == spec.num_parameters
    assert RecursiveSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent", 0), ("lods", 10), ("lods", True), ("width", 2.0), ("fusion", "mean"), ("colour", "cmyk"),
        ("base_width", 1 << 20), ("layers", -1),
    ],
)  # fmt: skip
def test_descriptions_outside_the_limits_are_refused(field: str, value: Any) -> None:
    with pytest.raises(FormatError, match="recursive network"):
        RecursiveSpec.from_json(SMALL.to_json() | {field: value})


def test_descriptions_of_other_versions_are_refused() -> None:
    with pytest.raises(FormatError):
        RecursiveSpec.from_json(SMALL.to_json() | {"more": 1})
    with pytest.raises(FormatError):
        RecursiveSpec.from_json(["latent"])
    with pytest.raises(FormatError, match="parameters"):
        RecursiveSpec.from_json(SMALL.to_json() | {"latent": 4096, "base_width": 1 << 14})


def test_weights_and_biases_start_in_the_range_of_sine_networks() -> None:
    module = RecursiveField(RecursiveSpec(latent=32, base_width=512, width=128))
    for siren in (module.phi, module.omega, module.psi):
        for depth, layer in enumerate(siren.layers):
            inputs = layer.weight.shape[1]
            bound = 1 / inputs if depth == 0 else math.sqrt(6 / inputs) / 30
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert 0.5 * bound < layer.bias.abs().max() <= bound or layer.bias.numel() < 5
    assert new_latents(2000, 64, 0).std() == pytest.approx(math.sqrt(2 / 64), rel=0.02)
    assert torch.equal(new_latents(3, 4, 7), new_latents(3, 4, 7))


def test_unfolding_is_phi_of_phi_and_every_child_is_judged_for_itself() -> None:
    module, tree = RecursiveField(SMALL), Octree.joined([_octree(0, 3), _octree(1, 3)])
    roots = new_latents(2, 6, 0)
    unfolded = module(roots, [torch.from_numpy(rows) for rows in tree.kept])

    def net(siren: Any, x: torch.Tensor) -> torch.Tensor:
        for layer in siren.layers[:-1]:
            x = torch.sin(30 * (x @ layer.weight.T + layer.bias))
        return x @ siren.layers[-1].weight.T + siren.layers[-1].bias

    above = {int(number): roots[row] for row, number in enumerate(tree.numbers[0])}
    for level in range(1, 4):
        below = {}
        for number, row in zip(tree.numbers[level].tolist(), range(10**6), strict=False):
            below[number] = net(module.phi, above[number >> 3]).reshape(8, 6)[number & 7]
            torch.testing.assert_close(unfolded.latents[level - 1][row], below[number], atol=1e-4, rtol=1e-4)
        parents = tree.numbers[level - 1].tolist()
        children = torch.cat([net(module.phi, above[parent]).reshape(8, 6) for parent in parents])
        torch.testing.assert_close(unfolded.occupancy[level - 1], net(module.omega, children), atol=1e-3, rtol=1e-3)
        above = below
    asked = [torch.tensor([3, 1]), torch.tensor([0]), torch.tensor([5, 5, 2])]
    some = module(roots, [torch.from_numpy(rows) for rows in tree.kept], asked)
    for all_logits, logits, rows in zip(unfolded.occupancy, some.occupancy, asked, strict=True):
        torch.testing.assert_close(logits, all_logits[rows])


@pytest.mark.parametrize("lods", [1, 3, 5])
def test_interpolation_equals_that_of_a_dense_grid_with_zeros(lods: int) -> None:
    tree = Octree.joined([_octree(0, lods), _octree(1, lods)])
    rng = np.random.default_rng(0)
    roots, points = rng.integers(0, 2, 500), rng.uniform(-1.1, 1.1, (500, 3)).astype(np.float32)
    stencil = Stencil.of(tree, roots, points)
    for level in range(1, lods + 1):
        owners, cells = tree.cells(level)
        values = torch.randn((len(owners), 5), generator=torch.Generator().manual_seed(level), requires_grad=True)
        dense = torch.zeros(2, 5, *[1 << level] * 3)
        dense[owners, :, cells[:, 0], cells[:, 1], cells[:, 2]] = values
        expected = torch.empty(500, 5)
        for root in range(2):
            mine = torch.from_numpy(roots == root)
            backwards = torch.from_numpy(points[roots == root][:, ::-1].copy())[None, None, None]
            sampled = torch.nn.functional.grid_sample(dense[root : root + 1], backwards, align_corners=False)
            expected[mine] = sampled[0, :, 0, 0].T
        rows, places = stencil.rows[:, level - 1], stencil.places[:, level - 1]
        found = mix(values, rows, places)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        weights = torch.randn(500, 5)
        (mine,) = torch.autograd.grad((found * weights).sum(), values)
        (theirs,) = torch.autograd.grad((expected * weights).sum(), values)
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
        # the path of other devices, which can also say how values change with places
        elsewhere = mix(values.double(), rows, places.double())
        torch.testing.assert_close(elsewhere.float(), found, atol=1e-6, rtol=0)


def test_gradients_reach_places() -> None:
    tree = _octree(0, 2)
    stencil = Stencil.of(tree, np.zeros(20, np.int64), np.random.default_rng(0).uniform(-1, 1, (20, 3)))
    values = torch.randn((tree.num_cells[2], 3), dtype=torch.float64)
    places = stencil.places[:, 1].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: mix(values, stencil.rows[:, 1], p), places)


@pytest.mark.parametrize("fusion", ["cat", "sum"])
def test_fusion_leaves_the_root_out_and_counts_missing_levels_as_zero(fusion: Any) -> None:
    module, tree = RecursiveField(replace(SMALL, fusion=fusion)), _octree(0, 3)
    unfolded = module(new_latents(1, 6, 0), [torch.from_numpy(rows) for rows in tree.kept])
    stencil = Stencil.of(tree, np.zeros(30, np.int64), np.random.default_rng(0).uniform(-1, 1, (30, 3)))
    mixed = [mix(z, stencil.rows[:, m], stencil.places[:, m]) for m, z in enumerate(unfolded.latents)]
    whole = module.fused(unfolded.latents, stencil)
    torch.testing.assert_close(whole, torch.cat(mixed, dim=1) if fusion == "cat" else sum(mixed))
    coarse = module.fused(unfolded.latents[:2], stencil)
    zero = torch.zeros_like(mixed[2])
    torch.testing.assert_close(coarse, torch.cat([*mixed[:2], zero], dim=1) if fusion == "cat" else sum(mixed[:2]))


def test_heads() -> None:
    fused = torch.randn(7, SMALL.fused)
    module = RecursiveField(SMALL)
    assert module.distance(fused).shape == (7,)
    colour = module.colour(fused)
    assert colour.shape == (7, 3)
    assert ((colour > 0) & (colour < 1)).all()
    radiance = RecursiveField(replace(SMALL, colour="radiance"))
    ahead, behind = torch.eye(3)[0].expand(7, 3), -torch.eye(3)[0].expand(7, 3)
    assert not torch.allclose(radiance.radiance(fused, ahead), radiance.radiance(fused, behind))
    assert (radiance.density(fused) >= 0).all()
    for colour in get_args(Colour):
        if colour.startswith("rgb"):
            continue
        with pytest.raises(UsageError, match="no surfaces with colours"):
            RecursiveField(replace(SMALL, colour=colour)).colour(fused)
    with pytest.raises(UsageError, match="no radiance fields"):
        module.radiance(fused, ahead)


def test_shapes_and_radiance_share_all_but_their_heads() -> None:
    """The heads' own parameters come on top of those of the published models, whose counts stay."""
    shapes, both = replace(SMALL, colour="rgb"), replace(SMALL, colour="rgb+radiance")
    alone = replace(SMALL, colour="radiance")
    assert [*both.networks] == ["phi", "omega", "psi", "xi", "rho", "chi"]
    shared = sum(i * o + o for name in ("phi", "omega") for i, o in SMALL.networks[name])
    assert both.num_parameters == shapes.num_parameters + alone.num_parameters - shared
    fused, module = torch.randn(7, SMALL.fused), RecursiveField(both)
    directions = torch.nn.functional.normalize(torch.randn(7, 3), dim=1)
    torch.testing.assert_close(module.distance(fused), RecursiveField(shapes).distance(fused))
    assert not torch.allclose(module.opacity(fused), module.distance(fused))
    assert not torch.allclose(module.radiance(fused, directions), module.colour(fused))


def test_densities_and_opacities_are_inverse() -> None:
    densities = np.array([0.0, 0.5, 20.0, 1e9])
    opacities = opacity_of(densities, 5)
    assert opacities.tolist() == pytest.approx([0, 1 - math.exp(-0.5 / 16), 1 - math.exp(-20 / 16), 1])
    back = density_of(torch.from_numpy(np.append(opacities, -0.3)).double(), 5)
    assert back.tolist() == pytest.approx([0, 0.5, 20, 16 * 10 * math.log(2), 0], rel=1e-4)
