"""Sizes chosen from the volume, and the measure behind them."""

from dataclasses import replace

import numpy as np

import fieldcodec as fc
from fieldcodec.testing.samples import dense, sphere
from fieldcodec.volume.roughness import roughness
from fieldcodec.volume.settings import PRESETS


def test_sizes_grow_with_the_volume_and_with_roughness() -> None:
    settings = fc.VolumeSettings()
    widths = [settings.resolved(count).level0_width for count in (1, 10**4, 10**6, 25 * 10**6, 10**9)]
    assert widths == sorted(widths)
    assert widths[2] == 64
    smooth, rough = settings.resolved(10**6, 0.02), settings.resolved(10**6, 1.0)
    assert (smooth.value_width, rough.value_width) == (64, 128)
    assert rough.level0_width == smooth.level0_width
    for name in ("value_width", "level0_width", "level1_width", "fourier_size", "fourier_scale", "epochs"):
        assert getattr(smooth, name) > 0


def test_given_numbers_are_kept() -> None:
    for preset in PRESETS.values():
        resolved = preset.resolved(10**6, 0.5)
        for name, value in preset.to_json().items():
            if value != 0:
                assert getattr(resolved, name) == value


def test_roughness_tells_noise_from_waves_and_counts_level_sets_as_smooth() -> None:
    grid = dense("float")
    noise = np.random.default_rng(0).random(grid.leaf_values.shape).astype(np.float32)
    assert 0 < roughness(grid) < 0.06
    assert 0.2 < roughness(replace(grid, leaf_values=noise)) < 0.3  # 1 / sqrt(12), less one of eight degrees of freedom
    assert roughness(sphere()) == 0
    vector = dense("vec3s")
    assert 0 < roughness(vector) < 0.06
