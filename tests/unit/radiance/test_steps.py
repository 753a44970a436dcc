"""Steps of a fit: gradients against finite differences, both ways against each other, any number of threads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcodec.radiance import compiled_steps, step_kernels, torch_steps
from fieldcodec.radiance.compiled_steps import CompiledSteps
from fieldcodec.radiance.grid import RadianceGrid, row_width
from fieldcodec.radiance.settings import RadianceSettings
from fieldcodec.radiance.steps import GridSteps, Rates, StepCase
from fieldcodec.radiance.torch_steps import TorchSteps
from fieldcodec.testing.radiance import cameras_around, pixel_table, random_grid

MIDDLE = (0.0, 1.3, 2.0)
SETTINGS = RadianceSettings(thickness_smoothing=0.02, shade_smoothing=0.05)
RATES = Rates(0.03, 0.02, 0.01)


@pytest.fixture
def case() -> StepCase:
    cameras = cameras_around(MIDDLE, 4.0, 3, width=20, height=16)
    generator = torch.Generator().manual_seed(4)
    colours = torch.randint(0, 256, (3 * 320, 4), generator=generator, dtype=torch.uint8)
    return StepCase(pixel_table(cameras, colours), 0.5, 1 / 12, SETTINGS, 9)


@pytest.fixture
def everything_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sample is left out."""
    for module in (compiled_steps, torch_steps):
        monkeypatch.setattr(module, "IGNORED", 0.0)
        monkeypatch.setattr(module, "FAINT", 0.0)


def _chosen(case: StepCase, count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(len(case.pixels), (count,), generator=generator), torch.rand(
        count, generator=generator
    ).double()


@pytest.mark.usefixtures("everything_counts")
def test_gradients_against_finite_differences(case: StepCase) -> None:
    """The gradients that Adam gets are those of the loss that `step` reports."""
    start = random_grid()
    grid = RadianceGrid(start.lattice, start.thickness, start.shades * 0.2)  # so that no colour is clipped
    chosen, shifts = _chosen(case)
    case = replace(case, settings=replace(SETTINGS, thickness_smoothing=0.0, shade_smoothing=0.0))

    def loss(thickness: torch.Tensor, shades: torch.Tensor) -> float:
        steps = CompiledSteps(RadianceGrid(grid.lattice, thickness, shades), case)
        return len(chosen) * steps.step(chosen, shifts, Rates(0.0, 0.0, 0.0))

    rng = np.random.default_rng(0)
    thickness, shades = _gradients(CompiledSteps(grid, case), chosen, shifts)
    for _ in range(4):
        way = 1e-2 * torch.from_numpy(rng.normal(size=grid.thickness.shape)).float()
        rise = loss(grid.thickness + way, grid.shades) - loss(grid.thickness - way, grid.shades)
        assert float((thickness * way).sum()) == pytest.approx(rise / 2, rel=2e-3)
        way = 1e-2 * torch.from_numpy(rng.normal(size=grid.shades.shape)).float()
        rise = loss(grid.thickness, grid.shades + way) - loss(grid.thickness, grid.shades - way)
        assert float((shades * way).sum()) == pytest.approx(rise / 2, rel=2e-3)


def _gradients(steps: CompiledSteps, chosen: torch.Tensor, shifts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of thickness and shades, as they are before Adam."""
    kept: list[np.ndarray] = []
    move = step_kernels.move_rows

    def spy(values: np.ndarray, gradients: np.ndarray, *others: object) -> None:
        kept.append(gradients.copy())
        move(values, gradients, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDCODEC_THREADS", "1")
        patch.setattr(step_kernels, "move_rows", spy)
        steps._slabs = compiled_steps._slabs_of(steps._lattice.places[:, 0], steps._lattice.held.shape[0], 1)
        steps.step(chosen, shifts, Rates(0.0, 0.0, 0.0))
    assert kept[1].shape[1] == row_width(27)
    return torch.from_numpy(kept[0][:, 0]), torch.from_numpy(kept[1][:, :27].reshape(-1, 9, 3))


@pytest.mark.parametrize(("harmonics", "ignored"), [(1, 0.0), (9, 0.0), (9, 0.02)])
def test_both_ways_agree(case: StepCase, harmonics: int, ignored: float, monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(case, harmonics=harmonics)
    for module in (compiled_steps, torch_steps):
        monkeypatch.setattr(module, "IGNORED", ignored)
        monkeypatch.setattr(module, "FAINT", ignored)
    ways: list[GridSteps] = [CompiledSteps(random_grid(), case), TorchSteps(random_grid(), case)]
    chosen, shifts = _chosen(case)
    for _ in range(5):
        losses = [way.step(chosen, shifts, RATES) for way in ways]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3 if ignored else 1e-4)
    compiled, plain = (way.grid() for way in ways)
    start = random_grid()
    assert (compiled.thickness - start.thickness).abs().max() > 0.1
    assert (compiled.shades[:, harmonics:] == 0).all()
    if ignored:  # float32 or float64 decide of single samples whether they are ignored
        assert (compiled.thickness - plain.thickness).abs().median() < 5e-4
        assert (compiled.shades - plain.shades).abs().median() < 5e-4
        return
    torch.testing.assert_close(compiled.thickness, plain.thickness, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(compiled.shades, plain.shades, atol=2e-3, rtol=1e-3)
    every = torch.arange(len(case.pixels))
    seen = [way.seen_cells(every, 0.05) for way in ways]
    assert 0 < np.count_nonzero(seen[0]) < np.count_nonzero(start.lattice.live)
    assert np.count_nonzero(seen[0] != seen[1]) <= 2  # float32 here, float64 there


def test_the_number_of_threads_does_not_matter(case: StepCase, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, shifts = _chosen(case, 900)
    grids = []
    for threads in (1, 3):
        monkeypatch.setenv("FIELDCODEC_THREADS", str(threads))
        steps = CompiledSteps(random_grid(), case)
        losses = [steps.step(chosen, shifts, RATES) for _ in range(3)]
        grids.append((steps.grid(), losses))
    assert grids[0][1] == grids[1][1]
    assert torch.equal(grids[0][0].thickness, grids[1][0].thickness)
    assert torch.equal(grids[0][0].shades, grids[1][0].shades)


def test_the_loss_is_that_over_random_backgrounds(case: StepCase) -> None:
    """Half grey and a twelfth for alpha give what backgrounds at random give on average."""
    chosen, shifts = _chosen(case, 200)
    ours = CompiledSteps(random_grid(), case).step(chosen, shifts, Rates(0, 0, 0))
    over = []
    for brightness in (0.0, 0.5, 1.0):  # Simpson's rule is exact for squares
        plain = replace(case, background=brightness, alpha_weight=0.0)
        over.append(CompiledSteps(random_grid(), plain).step(chosen, shifts, Rates(0, 0, 0)))
    assert ours == pytest.approx((over[0] + 4 * over[1] + over[2]) / 6, rel=1e-5)
