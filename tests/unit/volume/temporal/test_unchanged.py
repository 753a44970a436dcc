"""Grids that are in the frame before bit for bit: neither coded nor stored again, whatever they are stored by."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.commands import json_of
from fieldcodec.testing.oracle.sequence import decode_group
from fieldcodec.testing.samples import dense
from fieldcodec.volume import codec
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.sequence.compressed import CompressedSequence
from fieldcodec.volume.sequence.group import CompressedGroup

SETTINGS = fc.VolumeSettings(quality=Quality(rmse="2%"))
A_FRAME = 20  # bytes at most that a frame takes in which nothing changed
A_DESCRIPTION = 200  # bytes at most of a grid whose sections are another's


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
        (_one(), replace(_one(), name="other"), False),
        (_one(), replace(_one(), save_as_half=True), True),
        (_one(), replace(_one(), transform=GridTransform.uniform(0.125)), True),
        (_one(), replace(_one(), metadata=Metadata((MetaEntry.of("frame", 2),))), False),
        (_one(), replace(_one(), name="other", metadata=Metadata((MetaEntry.of("class", "level set"),))), True),
        (_one(), replace(dense("float", side=4, origin=(8, 0, 0)), name="some"), True),
        (_one(), replace(dense("double", side=4), name="some"), True),
    ],
    ids=["nothing", "nan", "zero", "background", "name", "half", "transform", "metadata", "class", "tree", "type"],
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


def test_the_state_before_costs_a_description(
    sequences: ModuleType, encoded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As solvers write it beside each frame: by another name, with metadata of its own, and predicted itself."""
    states = [sequences.fog(frame) for frame in range(4)]
    frames = [VolumeFile((states[frame + 1], _before(states[frame], frame))) for frame in range(3)]
    with sequences.small_grids():
        alone = sequences.group([VolumeFile((state,)) for state in states[1:]], SETTINGS)
        first = sequences.group([VolumeFile((_before(states[0], 0),))], SETTINGS)
        encoded.clear()
        group = sequences.group(frames, SETTINGS)
    assert encoded.count("before") == 1
    data = group.to_bytes()
    assert len(data) < len(alone.to_bytes()) + len(first.to_bytes()) + 2 * A_DESCRIPTION
    own, *others = (size[1] for size in group.grid_bytes(len(data)))
    assert max(others) < own / 2
    read, theirs = CompressedGroup.from_bytes(data), decode_group(data)
    assert read.to_bytes() == data
    for volume, number, frame in zip(read.volumes, read.numbers, frames, strict=True):
        _, before = volume.to_grids(device="cpu")
        assert isinstance(before, SparseGrid)
        assert (before.name, before.metadata) == ("before", frame[1].metadata)
        assert before.topology.equals(frame[1].topology)
        assert before.leaf_values.tobytes() == theirs[number][1].leaf_values.tobytes()
        assert "sections_of" not in volume.grids[1].meta
    (tmp_path / "x.fcodec").write_bytes(CompressedSequence.of_groups([read]).to_bytes())
    told = json_of(capsys, "info", tmp_path / "x.fcodec", "--frame", read.numbers[1])["grids"][1]
    assert told["bytes"] == sum(len(data) for data in read.volumes[0].grids[0].sections.values())


def _before(grid: SparseGrid, frame: int) -> SparseGrid:
    return replace(_copy(grid), name="before", metadata=grid.metadata.with_entry(MetaEntry.of("frame", frame)))


def test_other_demands_are_met_by_other_sections(sequences: ModuleType, encoded: list[str]) -> None:
    states = [sequences.fog(frame) for frame in range(3)]
    frames = [VolumeFile((states[frame + 1], _before(states[frame], frame))) for frame in range(2)]
    with sequences.small_grids():
        group = sequences.group(frames, replace(SETTINGS, grid_quality=("before:lossless",)))
    assert encoded.count("before") == 2
    decoded = group.volumes[1].to_grids(device="cpu")[1]
    assert isinstance(decoded, SparseGrid)
    assert decoded.active_values().tobytes() == states[1].active_values().tobytes()


@pytest.mark.parametrize("place", [1, 2, 7, -1, "0", None, True])
def test_forged_owners_of_sections_are_refused(place: object, sequences: ModuleType) -> None:
    names = ("some", "other", "third")
    group = sequences.group([VolumeFile((replace(_one(), name=name),)) for name in names], SETTINGS)
    opened = Container.from_bytes(group.to_bytes())
    meta = opened.meta()
    assert [grid.get("sections_of") for grid in meta["grids"]] == [None, 0, 0]
    meta["grids"][2]["sections_of"] = place
    sections = [Section(key.id, opened.read(*key), key.grid) for key in opened if key.id != SectionId.META]
    forged = Container([Section.meta(meta), *sections]).to_bytes()
    for decode in (CompressedGroup.from_bytes, decode_group):
        with pytest.raises(FormatError):
            decode(forged)
