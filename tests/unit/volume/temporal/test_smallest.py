"""The smaller of lattice and network in a sequence: lattices are predicted from the frame before."""

from types import ModuleType

import pytest

import fieldcodec as fc
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.metrics.values import value_errors
from fieldcodec.volume.codec import Place, encode_frame
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.sequence.group import CompressedGroup

SMALLEST = fc.VolumeSettings(
    method="smallest", quality=Quality(rmse="2%"), tree="explicit", value_depth=2, epochs=10, batch_size=512
)


@pytest.fixture
def frames(sequences: ModuleType) -> list[VolumeFile]:
    return [VolumeFile((sequences.fog(frame),)) for frame in range(3)]


def test_lattices_are_predicted_and_files_smaller(frames: list[VolumeFile], sequences: ModuleType) -> None:
    with sequences.small_grids():
        together = sequences.group(frames, SMALLEST)
        alone = [fc.encode_volume(frame, SMALLEST, device="cpu") for frame in frames]
    assert [grid.reference is not None for (grid,) in (volume.grids for volume in together.volumes)] == [
        False, True, True
    ]  # fmt: skip
    for volume, before in zip(together.volumes[1:], together.volumes, strict=False):
        assert volume.grids[0].reference is before.grids[0]
        assert [trial.method for trial in volume.grids[0].trials] == ["lattice", "network"]
    data = together.to_bytes()
    assert len(data) < 0.9 * len(CompressedGroup(together.numbers, tuple(alone)).to_bytes())
    for volume, frame in zip(CompressedGroup.from_bytes(data).volumes, frames, strict=True):
        (decoded,) = volume.to_grids(device="cpu")
        assert decoded.topology.equals(frame[0].topology)  # type: ignore[union-attr]
        error = value_errors(frame[0], decoded).rmse  # type: ignore[arg-type]
        values = frame[0].active_values()  # type: ignore[union-attr]
        assert error is not None
        assert error <= 0.02 * (values.max() - values.min())


def test_a_lattice_after_a_network_stands_alone(frames: list[VolumeFile], sequences: ModuleType) -> None:
    network = fc.VolumeSettings(method="network", tree="explicit", value_depth=2, value_width=8, epochs=2)
    with sequences.small_grids():
        before = encode_frame(frames[0], network, Place(leads=True), device="cpu")
        after = encode_frame(frames[1], SMALLEST, Place(before), device="cpu")
    assert before.grids[0].method == "network"
    assert (after.grids[0].method, after.grids[0].reference) == ("lattice", None)
