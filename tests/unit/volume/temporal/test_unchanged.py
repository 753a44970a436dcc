"""Grids that are in the frame before bit for bit: neither coded nor stored again, whatever they are stored by."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.oracle.sequence import decode_group
from fieldcodec.testing.samples import dense
from fieldcodec.volume import codec
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.sequence.group import CompressedGroup

SETTINGS = fc.VolumeSettings(quality=Quality(rmse="2%"))
A_FRAME = 20  # bytes at most that a frame takes in which nothing changed


def _copy(grid: SparseGrid) -> SparseGrid:
    """As it would be read from another file."""
    names = ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background")
    parts = {name: getattr(grid.topology, name).copy() for name in grid.topology.__dataclass_fields__}
    values = {name: getattr(grid, name).copy() for name in names}
    return replace(grid, topology=replace(grid.topology, **parts), **values)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the grids that were encoded."""
    names: list[str] = []
    encode_grid = codec.encode_grid

    def noting(grid: SparseGrid, *arguments: object, **named: object) -> object:
        names.append(grid.name)
        return encode_grid(grid, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(codec, "encode_grid", noting)
    return names


def _one(name: str = "some") -> SparseGrid:
    return replace(dense("float", side=4), name=name)


def test_a_predicted_grid_that_stays_costs_nothing(sequences: ModuleType, encoded: list[str]) -> None:
    """By lattices, for which equal content would still be a difference to the frame before."""
    moves, stays = sequences.fog, replace(sequences.fog(0), name="still")
    frames = [VolumeFile((moves(frame), _copy(stays))) for frame in range(3)]
    with sequences.small_grids():
        moving = sequences.group([VolumeFile((moves(frame),)) for frame in range(3)], SETTINGS)
        leading = sequences.group([VolumeFile((stays,))], SETTINGS)
        encoded.clear()
        both = sequences.group(frames, SETTINGS)
    assert encoded.count("still") == 1
    assert encoded.count(moves(0).name) == 3
    first, *later = (volume.grids[1] for volume in both.volumes)
    assert first.method == "lattice"
    assert all(grid is first for grid in later)
    data = both.to_bytes()
    assert len(data) < len(moving.to_bytes()) + len(leading.to_bytes()) + 2 * A_FRAME
    assert [size[1] for size in both.grid_bytes(len(data))][1] < first.num_bytes
    read, theirs = CompressedGroup.from_bytes(data), decode_group(data)
    decoded = [volume.to_grids(device="cpu")[1] for volume in read.volumes]
    for grid, number in zip(decoded, read.numbers, strict=True):
        other = theirs[number][1]
        assert isinstance(grid, SparseGrid)
        assert isinstance(other, SparseGrid)
        assert grid.topology.equals(stays.topology)
        assert grid.leaf_values.tobytes() == other.leaf_values.tobytes() == decoded[0].leaf_values.tobytes()  # type: ignore[union-attr]


def test_bytes_and_exact_values_that_stay_cost_nothing(sequences: ModuleType, encoded: list[str]) -> None:
    points = [OpaqueGrid("points", "Tree_x", bytes(range(256)) * 8, 224) for _ in range(4)]
    frames = [VolumeFile((_copy(_one()), points[frame])) for frame in range(3)]
    assert (group := sequences.group(frames, SETTINGS)).to_bytes()
    assert encoded == ["some"]
    assert len(group.to_bytes()) < len(sequences.group(frames[:1], SETTINGS).to_bytes()) + 2 * A_FRAME
    changed = replace(points[3], payload=b"x" + points[3].payload[1:])
    last = sequences.group([frames[0], VolumeFile((frames[1][0], changed))], SETTINGS).volumes[1]
    assert last.to_grids(device="cpu")[1] == changed


def _leaf(grid: SparseGrid, value: float) -> SparseGrid:
    values = grid.leaf_values.copy()
    values[0, 0] = value
    return replace(grid, leaf_values=values)


@pytest.mark.parametrize(
    ("before", "after", "is_new"),
    [
        (_one(), _copy(_one()), False),
        (_leaf(_one(), np.nan), _leaf(_copy(_one()), np.nan), False),
        (_leaf(_one(), 0.0), _leaf(_one(), -0.0), True),
        (_one(), replace(_one(), background=np.array([0.5], np.float32)), True),
        (_one(), replace(_one(), name="other"), True),
        (_one(), replace(_one(), save_as_half=True), True),
        (_one(), replace(_one(), transform=GridTransform.uniform(0.125)), True),
        (_one(), replace(_one(), metadata=Metadata((MetaEntry.of("frame", 2),))), True),
        (_one(), replace(dense("float", side=4, origin=(8, 0, 0)), name="some"), True),
        (_one(), replace(dense("double", side=4), name="some"), True),
    ],
    ids=["nothing", "nan", "zero", "background", "name", "half", "transform", "metadata", "tree", "type"],
)
def test_whatever_differs_is_coded(
    before: SparseGrid, after: SparseGrid, is_new: bool, sequences: ModuleType, encoded: list[str]
) -> None:
    settings = replace(SETTINGS, non_finite="replace")
    group = sequences.group([VolumeFile((before,)), VolumeFile((after,))], settings)
    assert len(encoded) == 1 + is_new
    (decoded,) = CompressedGroup.from_bytes(group.to_bytes()).volumes[1].to_grids(device="cpu")
    assert isinstance(decoded, SparseGrid)
    for name in ("name", "value_type", "save_as_half", "transform", "metadata"):
        assert getattr(decoded, name) == getattr(after, name)
    finite = np.isfinite(after.leaf_values)
    assert decoded.topology.equals(after.topology)
    assert decoded.background.tobytes() == after.background.tobytes()
    assert decoded.leaf_values[finite].tobytes() == after.leaf_values[finite].tobytes()


def test_grids_of_one_frame_stay_two(sequences: ModuleType, encoded: list[str]) -> None:
    """Equal grids and instances in a frame are as many in the next one."""
    one = _one()
    frames = [VolumeFile((grid := _copy(one), _copy(one), replace(grid, name="again"))) for _ in range(2)]
    group = sequences.group(frames, SETTINGS)
    assert encoded == ["some", "some"]
    for volume in CompressedGroup.from_bytes(group.to_bytes()).volumes:
        assert [grid.instance_of for grid in volume.grids] == [None, None, 0]
        decoded = volume.to_grids(device="cpu")
        assert [grid.name for grid in decoded] == ["some", "some", "again"]
        assert all(grid.leaf_values.tobytes() == one.leaf_values.tobytes() for grid in decoded)  # type: ignore[union-attr]
