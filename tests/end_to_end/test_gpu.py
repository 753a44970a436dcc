"""On a CUDA device: the same topology bit for bit, the same values closely, from files of either device."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import fieldcodec as fc
from fieldcodec.fit.batches import batches
from fieldcodec.fit.loop import fit_network
from fieldcodec.fit.losses import Loss, binary_cross_entropy, cross_entropy, mean_squared_error
from fieldcodec.fit.phases import FitEvent, Phase
from fieldcodec.fit.samplers import PointSampler
from fieldcodec.fit.steps import EagerStep, GraphedStep
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.rounding import finest_steps
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.testing.samples import dense, sphere

pytestmark = pytest.mark.needs_gpu
SETTINGS = fc.VolumeSettings(
    tree="neural", epochs=200, level1_width=16, level0_width=16, value_width=32, fourier_size=16, fourier_scale=2.0,
    batch_size=1024, target_rmse=0.0, method="network",
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


def _network(outputs: int = 1, feature_map: str = "fourier") -> ExpertNetwork:
    torch.manual_seed(0)
    spec = NetworkSpec(
        experts=2, extent=32, outputs=outputs, width=16, depth=2, feature_map=feature_map, fourier_size=8,
        fourier_scale=1.0, hash_levels=3, hash_log2_table=6,
    )  # fmt: skip
    return ExpertNetwork(spec).to("cuda")


def _sampler(classes: int = 0) -> PointSampler:
    points = [np.random.default_rng(k).integers(0, 32, (400, 3)) for k in range(2)]
    waves = [np.sin(p[:, :1] / 8) for p in points]
    return PointSampler(points, [np.digitize(w, [-0.3, 0.3][: classes - 1]) if classes else w for w in waves])


@pytest.mark.filterwarnings("error:.*no CUDA graph")
@pytest.mark.parametrize(
    ("loss", "classes", "outputs"),
    [(mean_squared_error, 0, 1), (binary_cross_entropy, 2, 1), (cross_entropy, 3, 3)],
)
@pytest.mark.parametrize("feature_map", ["fourier", "hash"])
@pytest.mark.parametrize("rounded", [False, True])
def test_a_graphed_fit_reaches_the_loss_of_an_eager_one(
    loss: Loss, classes: int, outputs: int, feature_map: str, rounded: bool
) -> None:
    phase = Phase("fit", 200, 0.01, decay=0.9, batch_size=256)
    ends, first = [], []
    for kind in (EagerStep, GraphedStep):
        network = _network(outputs, feature_map)
        if rounded:
            network.steps = [finest_steps(tensor, 6) for tensor in network.stored]
        step = kind(network, loss)
        rng = np.random.default_rng(0)
        for index, batch in enumerate(batches(_sampler(classes), phase, rng, torch.device("cuda"))):
            step.make(*batch, phase.learning_rate * phase.decay ** (index / phase.decay_interval))
            if index == 4:
                first.append(step.loss())
        ends.append(step.loss())
    assert first[1] == pytest.approx(first[0], rel=0.01)  # two replays: nothing has had time to drift apart
    assert ends[1] < 1.3 * ends[0]
    assert ends[1] < 0.7 * first[1]


@pytest.mark.filterwarnings("error:.*no CUDA graph")
@pytest.mark.filterwarnings("error:This instance was constructed")
def test_phases_of_a_fit_on_the_gpu() -> None:
    events: list[FitEvent] = []
    network = _network()
    phases = [
        Phase("fit", 2000, 0.01, batch_size=256, sample_interval=7, target_loss=0.01),
        Phase("fade", 500, 0.003, batch_size=256, fade=0.9, share=0.3),
        Phase("settle", 103, 0.003, batch_size=128, weight_bits=8, rounding_tolerance=0.3),
    ]
    result = fit_network(network, _sampler(), phases, mean_squared_error, seed=0, stage="test", on_event=events.append)
    assert 103 < result.steps < 2603  # the first phase ended at its target
    assert network.steps is not None
    assert result.loss < 0.03
    assert all(event.loss is not None and np.isfinite(event.loss) for event in events)
