"""On a GPU: the same steps and pictures as on the CPU, but for rounding."""

import numpy as np
import pytest
import torch

from fieldcodec.radiance import compiled_steps, torch_steps
from fieldcodec.radiance.compiled_steps import CompiledSteps
from fieldcodec.radiance.render import photograph
from fieldcodec.radiance.settings import RadianceSettings
from fieldcodec.radiance.steps import Rates, StepCase
from fieldcodec.radiance.torch_steps import TorchSteps
from fieldcodec.testing.radiance import cameras_around, pixel_table, random_grid

pytestmark = pytest.mark.needs_gpu
MIDDLE = (0.0, 1.3, 2.0)


def test_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (compiled_steps, torch_steps):
        monkeypatch.setattr(module, "IGNORED", 0.0)
        monkeypatch.setattr(module, "FAINT", 0.0)
    generator = torch.Generator().manual_seed(4)
    colours = torch.randint(0, 256, (3 * 320, 4), generator=generator, dtype=torch.uint8)
    pixels = pixel_table(cameras_around(MIDDLE, 4.0, 3, width=20, height=16), colours)
    chosen, shifts = torch.randint(960, (300,), generator=generator), torch.rand(300, generator=generator).double()
    settings = RadianceSettings(thickness_smoothing=0.02, shade_smoothing=0.05)
    here = CompiledSteps(random_grid(), StepCase(pixels, 0.5, 1 / 12, settings, 9))
    there = TorchSteps(random_grid(), StepCase(pixels.to(torch.device("cuda")), 0.5, 1 / 12, settings, 9))
    for _ in range(5):
        loss = here.step(chosen, shifts, Rates(0.03, 0.02, 0.01))
        assert there.step(chosen.cuda(), shifts.cuda(), Rates(0.03, 0.02, 0.01)) == pytest.approx(loss, rel=1e-3)
    torch.testing.assert_close(here.grid().thickness, there.grid().thickness, atol=5e-3, rtol=1e-2)
    torch.testing.assert_close(here.grid().shades, there.grid().shades, atol=5e-3, rtol=1e-2)


def test_pictures() -> None:
    grid, camera = random_grid(1), cameras_around(MIDDLE, 4.0, 3)[0]
    here = photograph(grid, camera, normals=True)
    there = photograph(grid.to(torch.device("cuda")), camera, normals=True, device=torch.device("cuda"))
    for one, other in ((here.colours, there.colours), (here.alpha, there.alpha), (here.depths, there.depths)):
        assert np.abs(one - other).max() < 2e-3
