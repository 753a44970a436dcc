"""On a CUDA device: the same topology bit for bit, the same values closely, from files of either device."""

from dataclasses import replace

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.testing.samples import dense, sphere

pytestmark = pytest.mark.needs_gpu
SETTINGS = fc.VolumeSettings(
    tree="neural", epochs=200, level1_width=16, level0_width=16, value_width=32, fourier_size=16, fourier_scale=2.0,
    batch_size=1024, target_rmse=0.0,
)  # fmt: skip


@pytest.mark.parametrize("kind", ["sphere", "vec3s"])
@pytest.mark.parametrize("fitted_on", ["cuda", "cpu"])
def test_both_devices_decode_the_same(kind: str, fitted_on: str) -> None:
    grid = sphere() if kind == "sphere" else dense(kind)
    data = fc.encode_volume(grid, SETTINGS, device=fitted_on).to_bytes()
    on_gpu, on_cpu = (fc.CompressedVolume.from_bytes(data).to_grids(device=name)[0] for name in ("cuda", "cpu"))
    for decoded in (on_gpu, on_cpu):
        assert decoded.topology.equals(grid.topology)
    active = grid.topology.leaf_active_bits
    span = float(np.ptp(grid.leaf_values[active]))
    assert np.abs(on_gpu.leaf_values - on_cpu.leaf_values).max() < 1e-3 * span
    inactive = ~active
    assert on_gpu.leaf_values[inactive].tobytes() == grid.leaf_values[inactive].tobytes()
    error = np.sqrt(np.mean((on_gpu.leaf_values - grid.leaf_values)[active] ** 2))
    assert error < 0.1 * span


def test_several_experts_and_hash_features_on_the_gpu() -> None:
    grid = dense("float", side=80)
    settings = replace(SETTINGS, subdomain_size=64, feature_map="hash", hash_levels=4, epochs=20)
    decoded = fc.CompressedVolume.from_bytes(fc.encode_volume(grid, settings, device="cuda").to_bytes()).to_grids()[0]
    assert decoded.topology.equals(grid.topology)
