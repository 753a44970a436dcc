"""Lattice or network: the smaller one that is good enough is kept, few attempts are made, and the trials say so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import fieldcodec as fc
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing.samples import dense, sphere
from fieldcodec.volume import smallest
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.smallest import SmallestSearch
from fieldcodec.volume.trials import Trial

TINY = VolumeSettings(
    method="smallest", value_depth=2, fourier_scale=2.0, learning_rate=0.01, epochs=120, batch_size=1024,
    tree="explicit", level0_width=8, level1_width=8,
)  # fmt: skip
CPU = torch.device("cpu")


class Encoder:
    """Encodes as asked, but lattices without loss, so that they are large; counts what was asked for."""

    def __init__(self, grid: SparseGrid) -> None:
        self.grid = grid
        self.networks: list[VolumeSettings] = []
        self.lattice = fc.encode_volume(grid, VolumeSettings(quality=Quality(lossless=True)), device="cpu")[0]

    def __call__(self, settings: VolumeSettings) -> CompressedGrid:
        if settings.method == "lattice":
            return self.lattice
        self.networks.append(settings)
        return fc.encode_volume(self.grid, settings, device="cpu")[0]


def _search(grid: SparseGrid, quality: Quality, **changes: object) -> tuple[CompressedGrid, Encoder]:
    encoder = Encoder(grid)
    return SmallestSearch(grid, replace(TINY, quality=quality, **changes), encoder, CPU).run(), encoder


def test_a_lattice_far_smaller_than_any_network_ends_the_search() -> None:
    grid = sphere()
    compressed = fc.encode_volume(grid, TINY, device="cpu")
    assert compressed[0].method == "lattice"
    assert compressed[0].goal_met
    lattice, network = compressed[0].trials
    assert (lattice.method, network.method) == ("lattice", "network")
    assert lattice.verdict.startswith("taken: fewest bytes")
    assert lattice.bytes == compressed[0].num_bytes
    assert lattice.excess is not None
    assert lattice.excess <= 1
    assert network.bytes is None
    assert "not tried" in network.verdict
    assert CompressedVolume.from_bytes(compressed.to_bytes()).to_grids()[0].topology.equals(grid.topology)


def test_a_smaller_network_that_is_good_enough_is_taken() -> None:
    grid = dense("float")
    found, encoder = _search(grid, Quality(rmse="15%"))
    assert found.method == "network"
    assert found.goal_met
    met = [trial for trial in found.trials if trial.method == "network" and (trial.excess or 9) <= 1]
    assert found.trials[0].method == "network"
    assert found.num_bytes == found.trials[0].bytes == min(trial.bytes or 1 << 40 for trial in met)
    assert [trial.verdict for trial in found.trials if trial.method == "lattice"] == ["more bytes"]
    assert 1 < len(encoder.networks) <= 3
    widths = [settings.value_width for settings in encoder.networks]
    assert widths == sorted(widths, reverse=True)
    assert all(settings.method == "network" for settings in encoder.networks)


def test_a_goal_out_of_reach_of_networks_leaves_the_lattice() -> None:
    found, encoder = _search(dense("float"), Quality(rmse="0.01%"), epochs=20)
    assert found.method != "network"
    assert found.goal_met
    assert 1 <= len(encoder.networks) <= 3
    assert {trial.verdict for trial in found.trials[1:]} == {"misses the quality asked for"}


@pytest.mark.parametrize("quality", [Quality(lossless=True), Quality(max_error="1%")])
def test_networks_are_not_tried_for_promises_of_every_voxel(quality: Quality) -> None:
    found, encoder = _search(dense("float"), quality)
    assert not encoder.networks
    assert found.goal_met
    assert "every voxel" in found.trials[-1].verdict


def test_of_what_fits_a_size_the_least_error_is_taken() -> None:
    grid = dense("float")
    found, encoder = _search(grid, Quality(size=6000))
    assert found.num_bytes <= 6000
    assert found.method == "network"  # the lossless one does not fit
    assert found.trials[0].verdict == "taken: least error of those that fit"
    fitting = [trial for trial in found.trials if (trial.excess or 9) <= 1]
    assert found.trials[0].rmse == min(trial.rmse for trial in fitting if trial.rmse is not None)
    assert len(encoder.networks) <= 3


def test_nothing_that_fits_is_said() -> None:
    found, _ = _search(dense("float"), Quality(size=2600), epochs=10)
    if not found.goal_met:
        assert found.trials[0].verdict == "taken: none reached the goal"


def test_a_near_miss_is_tried_again_with_a_smaller_error(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = dense("float")
    encoder = Encoder(grid)
    search = SmallestSearch(grid, replace(TINY, quality=Quality(rmse="15%")), encoder, CPU)
    measured = iter([(0.5, 10_000), (1.1, 5000), (0.9, 5200), (0.9, 4000)])

    def fake(goal: object, settings: VolumeSettings) -> smallest._Found:
        excess, size = next(measured)
        encoder.networks.append(settings)
        compressed = replace(encoder.lattice, sections={"voxel regressor": bytes(size)})
        return smallest._Found(compressed, excess, 0.1, Trial(settings.method, "", size, 0.1, excess))

    monkeypatch.setattr(search, "_measured", fake)
    monkeypatch.setattr(search, "_widest", lambda *_: 64)
    found = search.run()
    _, first, second, third = encoder.networks
    assert second.value_width == first.value_width
    assert second.target_rmse == pytest.approx(first.target_rmse * 0.95 / 1.1)
    assert third.value_width < first.value_width
    assert found.trials[0].bytes == 4000


def test_grids_that_are_not_fitted_are_stored_as_ever() -> None:
    labels = dense("bool")
    compressed = fc.encode_volume(labels, TINY, device="cpu")
    assert compressed[0].method == "palette"
    assert compressed[0].trials == ()
    assert np.array_equal(compressed.to_grids()[0].leaf_values, labels.leaf_values)
