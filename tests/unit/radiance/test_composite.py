"""Compositing against a loop in float64."""

import math

import torch

from fieldcodec.radiance.composite import composite


def _case(seed: int, rays: int = 40) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 30, (rays,), generator=generator)
    counts[0] = counts[-1] = 0
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    m = int(offsets[-1])
    density = torch.rand(m, generator=generator, dtype=torch.float64) * 4
    colours = torch.rand(m, 3, generator=generator, dtype=torch.float64)
    distances = torch.rand(m, generator=generator, dtype=torch.float64).sort().values
    lengths = torch.rand(m, generator=generator, dtype=torch.float64)
    return density, lengths, colours, distances, offsets


def test_equal_to_a_loop() -> None:
    density, lengths, colours, distances, offsets = _case(0)
    found = composite(density, lengths, colours, distances, offsets)
    for ray in range(len(offsets) - 1):
        light, left, depth = [0.0, 0.0, 0.0], 1.0, 0.0
        for sample in range(int(offsets[ray]), int(offsets[ray + 1])):
            share = left * (1 - math.exp(-float(density[sample] * lengths[sample])))
            left *= math.exp(-float(density[sample] * lengths[sample]))
            light = [a + share * float(b) for a, b in zip(light, colours[sample], strict=True)]
            depth += share * float(distances[sample])
            assert math.isclose(float(found.weights[sample]), share, rel_tol=1e-9, abs_tol=1e-15)
        torch.testing.assert_close(found.colours[ray], torch.tensor(light, dtype=torch.float64))
        assert math.isclose(float(found.alpha[ray]), 1 - left, abs_tol=1e-12)
        assert math.isclose(float(found.depths[ray]), depth / (1 - left) if left < 1 else 0.0, rel_tol=1e-9)


def test_gradients_against_finite_differences() -> None:
    density, lengths, colours, distances, offsets = _case(1, rays=8)

    def seen(density: torch.Tensor, colours: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = composite(density, lengths, colours, distances, offsets)
        return found.colours, found.alpha, found.depths

    assert torch.autograd.gradcheck(seen, (density.requires_grad_(), colours.requires_grad_()))


def test_opaque_rays_leave_the_next_alone() -> None:
    """A ray behind walls of any density does not change what is summed after it."""
    density = torch.tensor([1e30, float("inf"), 0.5, 0.25])
    offsets = torch.tensor([0, 2, 4])
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], requires_grad=True)
    found = composite(density.requires_grad_(), 0.01, colours, torch.arange(4.0), offsets)
    torch.testing.assert_close(found.weights.detach()[:2], torch.tensor([1.0, 0.0]))
    alone = composite(density[2:], 0.01, colours[2:], torch.arange(2.0, 4.0), torch.tensor([0, 2]))
    torch.testing.assert_close(found.colours[1], alone.colours[0])
    torch.testing.assert_close(found.depths[1], alone.depths[0])
    found.colours.sum().backward()
    assert torch.isfinite(density.grad).all()


def test_rays_without_samples() -> None:
    found = composite(torch.zeros(0), 0.1, torch.zeros(0, 3), torch.zeros(0), torch.zeros(4, dtype=torch.int64))
    assert found.colours.tolist() == [[0, 0, 0]] * 3
    assert found.alpha.tolist() == found.depths.tolist() == [0, 0, 0]
