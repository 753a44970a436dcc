"""Fits of small scenes made by the renderer, and what is refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fieldcodec.errors import UsageError
from fieldcodec.fit.phases import FitEvent
from fieldcodec.io.posed import PosedScene, rays, read_posed
from fieldcodec.metrics.images import psnr
from fieldcodec.radiance import fit as fit_module
from fieldcodec.radiance.box import allowed_cells, scene_box, scene_up
from fieldcodec.radiance.fit import RadianceFit, _Clock, fit_scene
from fieldcodec.radiance.pixels import PixelTable
from fieldcodec.radiance.render import photograph
from fieldcodec.radiance.settings import PRESETS, RadianceSettings, Stage
from fieldcodec.testing.radiance import Toy, cameras_around, write_scene

QUICK = RadianceSettings(stages=(Stage(16, 40, 1), Stage(32, 90)), batch=1024)


def _written(folder: Path, background: float | None) -> PosedScene:
    size = {"width": 40, "height": 36}
    cameras = {
        "train": cameras_around([0, 0, 0], 4, 24, **size),
        "test": cameras_around([0, 0, 0], 4, 3, seed=1, **size),
    }
    folder.mkdir()
    write_scene(folder, Toy(), cameras, background=background)
    return read_posed(folder)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> PosedScene:
    return _written(tmp_path_factory.mktemp("toy") / "alpha", None)


@pytest.fixture(scope="module")
def fitted(scene: PosedScene) -> RadianceFit:
    return fit_scene(scene, QUICK)


def _held_out(scene: PosedScene, fit: RadianceFit, background: float) -> float:
    found = []
    for view in scene.of("test"):
        picture = view.picture()
        true = (
            picture[..., :3] * picture[..., 3:] + background * (1 - picture[..., 3:])
            if picture.shape[2] == 4
            else picture
        )
        found.append(psnr(true, photograph(fit.grid, view.camera).over(background)))
    return float(np.mean(found))


def test_a_scene_with_alpha(scene: PosedScene, fitted: RadianceFit) -> None:
    assert scene.background is None
    assert fitted.steps == 130
    assert fitted.background == 0.5
    for background in (0.0, 1.0):  # a fit to one background would fail over the other
        assert _held_out(scene, fitted, background) > 25
    assert fitted.grid.lattice.cell == pytest.approx(2 * _half(scene) / 32)
    assert fitted.grid.lattice.num_cells < 0.7 * 32**3  # empty space is pruned
    assert fitted.grid.up == (0.0, 0.0, 1.0)


def _half(scene: PosedScene) -> float:
    low, high = scene_box(scene)
    return float((high - low)[0] / 2)


@pytest.mark.parametrize("background", [0.0, 1.0])
def test_a_scene_on_a_plain_background(tmp_path: Path, background: float) -> None:
    scene = _written(tmp_path / "plain", background)
    fit = fit_scene(scene, QUICK)
    assert fit.background == background
    assert _held_out(scene, fit, background) > 22


def test_the_same_seed_gives_the_same_grid(scene: PosedScene, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(QUICK, stages=(Stage(16, 8, 1), Stage(24, 6)), batch=512)
    grids = []
    for threads, seed in ((1, 0), (3, 0), (1, 1)):
        monkeypatch.setenv("FIELDCODEC_THREADS", str(threads))
        grids.append(fit_scene(scene, replace(settings, seed=seed)).grid)
    assert torch.equal(grids[0].thickness, grids[1].thickness)
    assert torch.equal(grids[0].shades, grids[1].shades)
    assert grids[0].thickness.shape != grids[2].thickness.shape or not torch.equal(grids[0].shades, grids[2].shades)


def test_events_and_smaller_pictures(scene: PosedScene) -> None:
    events: list[FitEvent] = []
    fit = fit_scene(scene, replace(QUICK, stages=(Stage(8, 3, 1), Stage(12, 4))), factor=4, on_event=events.append)
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert {event.total for event in events} == {7}
    assert all(event.loss is not None and event.loss > 0 for event in events)
    assert events[-1].loss == fit.loss


def test_time_is_kept() -> None:
    """A stage that takes too long is cut; the next begins on time."""
    now = 100.0
    settings = RadianceSettings(stages=(Stage(8, 100, 1), Stage(16, 100, 9)), minutes=1.0)
    clock = _Clock(now, settings, lambda: now)
    assert clock.share_of(0) == 0
    now = 107.5
    assert clock.share_of(0) == pytest.approx(0.5)
    assert clock.share_of(1) < 0
    assert not clock.is_over
    now = 160.0
    assert clock.share_of(1) == pytest.approx(1)
    assert clock.is_over
    assert _Clock(now, QUICK).share_of(0) == 0
    assert not _Clock(now, QUICK).is_over


def test_time_limits_end_a_fit(scene: PosedScene) -> None:
    long = replace(QUICK, stages=(Stage(8, 10**6, 1), Stage(12, 10**6)), minutes=0.02)
    fit = fit_scene(scene, long)
    assert 2 <= fit.steps < 10**5
    assert fit.seconds < 30


def test_no_time_at_all_still_gives_something_pruned(scene: PosedScene) -> None:
    """One stage, as many steps as tell things from mist; cells that give no light are gone."""
    box = (np.full(3, -2.0), np.full(3, 2.0))  # most of it empty
    events: list[FitEvent] = []
    short = replace(QUICK, stages=(Stage(16, 10**6, 1), Stage(32, 10**6)), minutes=1e-9, prune=0.05)
    fit = fit_scene(scene, short, box=box, on_event=events.append)
    assert fit.steps == len(events) == 40
    assert fit.grid.lattice.cell == pytest.approx(4 / 16)  # no finer stage was begun
    possible = allowed_cells(scene, box[0], 4 / 16, (16, 16, 16)).sum()
    assert 0 < fit.grid.lattice.num_cells < 0.7 * possible
    assert _held_out(scene, fit, 1.0) > 13
    mist = fit_scene(scene, replace(short, prune=0.1), box=box)  # in which no cell gives so much
    assert fit.grid.lattice.num_cells < mist.grid.lattice.num_cells < 1.1 * possible
    few = replace(short, stages=(Stage(16, 7, 1), Stage(32, 9)))
    assert fit_scene(scene, few, box=box).steps == 7


def test_compiling_takes_no_time_of_a_fit(scene: PosedScene, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slow(_: str) -> None:
        now[0] += 1000

    monkeypatch.setattr(fit_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(fit_module, "_warm_up", slow)
    assert fit_scene(scene, replace(QUICK, stages=(Stage(8, 1, 1),))).seconds == 0
    assert now[0] == 1000


def test_what_cannot_be_fitted(scene: PosedScene) -> None:
    tests_only = PosedScene("tests", scene.of("test"), 0)
    with pytest.raises(UsageError, match="no pictures to train on"):
        fit_scene(tests_only, QUICK)
    alike = PosedScene("alike", scene.of("train")[:1], 0)
    with pytest.raises(UsageError, match="look the same way"):
        fit_scene(alike, QUICK)
    for box in ((np.zeros(3), np.zeros(3)), (np.zeros(2), np.ones(2)), (np.full(3, np.nan), np.ones(3))):
        with pytest.raises(UsageError, match="box"):
            fit_scene(scene, QUICK, box=box)
    with pytest.raises(UsageError, match="no part of the box"):
        fit_scene(scene, QUICK, box=(np.full(3, 1.2), np.full(3, 1.3)))


def test_empty_pictures(tmp_path: Path) -> None:
    """Pictures on which nothing is to be seen leave nothing to fit."""
    scene = _written(tmp_path / "empty", None)
    for view in scene.views:
        Image.new("RGBA", (view.camera.width, view.camera.height), (0, 0, 0, 0)).save(view.path)
    with pytest.raises(UsageError, match="no part of the box"):
        fit_scene(scene, QUICK)


def test_a_camera_inside_the_box(scene: PosedScene) -> None:
    """What lies behind a camera, or around it, is no trouble."""
    fit = fit_scene(scene, replace(QUICK, stages=(Stage(16, 5, 1),)), box=(np.full(3, -5.0), np.full(3, 5.0)))
    assert np.isfinite(fit.loss)


def test_the_box_and_the_hull(scene: PosedScene) -> None:
    low, high = scene_box(scene)
    assert np.abs(low + high).max() < 1e-6  # around the origin
    assert 1.3 < float(high[0]) < 1.5  # what 40 x 36 pixels show from 4 units away
    assert scene_up(scene) == (0.0, 0.0, 1.0)
    cells = allowed_cells(scene, low, float(high[0] - low[0]) / 32, (32, 32, 32))
    middles = low + (np.argwhere(np.ones((32, 32, 32))) + 0.5) * float(high[0] - low[0]) / 32
    density = Toy().evaluate(torch.from_numpy(middles).float(), torch.ones(len(middles), 3))[0].numpy()
    solid = density.reshape(32, 32, 32) > 1
    assert cells[solid].all()  # nothing of the object is left out
    assert solid.sum() < cells.sum() < 0.5 * cells.size


def test_pixels_are_those_of_the_pictures(scene: PosedScene) -> None:
    table = PixelTable.of(scene.of("train")[:3], 2)
    view = scene.of("train")[1]
    camera = view.camera.scaled(2)
    chosen = torch.arange(360, 720)  # 20 x 18 pixels
    origins, ways = table.rays(chosen)
    wanted = rays(camera, camera.pixels())
    np.testing.assert_allclose(origins.numpy(), wanted[0], atol=1e-12)
    np.testing.assert_allclose(ways.numpy(), wanted[1], atol=1e-12)
    picture = view.picture(2).reshape(-1, 4)
    premultiplied = np.concatenate([picture[:, :3] * picture[:, 3:], picture[:, 3:]], axis=1)
    np.testing.assert_allclose(table.targets(chosen).numpy(), premultiplied, atol=0.5 / 255 + 1e-6)
    with pytest.raises(UsageError, match="no pictures"):
        PixelTable.of((), 1)


def test_settings() -> None:
    assert set(PRESETS) == {"draft", "balanced", "fine"}
    assert RadianceSettings.preset("balanced") == RadianceSettings()
    smaller = RadianceSettings(stages=(Stage(64, 100, 1), Stage(128, 300))).scaled(cells=32, steps=40)
    assert smaller.stages == (Stage(16, 10, 1), Stage(32, 30))
    with pytest.raises(UsageError, match="known are draft"):
        RadianceSettings.preset("best")
    for stages in ((), (Stage(4, 10),), (Stage(64, 0),), (Stage(64, 10, 5),), (Stage(1024, 10),)):
        with pytest.raises(UsageError, match="stages"):
            RadianceSettings(stages=stages)
    with pytest.raises(UsageError, match="batch"):
        RadianceSettings(batch=1)
