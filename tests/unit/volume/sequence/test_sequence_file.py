"""The file of a sequence: what goes in comes back, and damaged or forged files are refused."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError, UnknownFrameError, UsageError
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.testing.samples import dense
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.sequence.compressed import CompressedSequence, open_sequence
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.sequence.group_encode import encode_frames

NUMBERS = (-1, 4, 5, 9)


def _grid(seed: int, name: str = "labels") -> SparseGrid:
    return replace(dense("int32", side=4, seed=seed), name=name)


@pytest.fixture(scope="module")
def volumes() -> list[VolumeFile]:
    """Four frames: one that stays, one that changes, one that comes and goes, and bytes."""
    still = _grid(0, "still")
    points = OpaqueGrid("points", "Tree_x", b"abc" * 5, 224)
    files = [VolumeFile((_grid(seed), still)) for seed in range(4)]
    files[1] = VolumeFile((still, _grid(1), points), Metadata((MetaEntry.of("creator", "me"),)))
    files[3] = VolumeFile((_grid(3), replace(_grid(3), leaf_values=files[3][0].leaf_values)))
    return files


@pytest.fixture(scope="module")
def groups(volumes: list[VolumeFile]) -> list[CompressedGroup]:
    frames = encode_frames(volumes, fc.VolumeSettings(), labels=["a", "b", "c", "d"], device="cpu")
    return [CompressedGroup(NUMBERS[:3], tuple(frames[:3])), CompressedGroup(NUMBERS[3:], tuple(frames[3:]))]


@pytest.fixture(scope="module")
def sequence(groups: list[CompressedGroup]) -> CompressedSequence:
    return CompressedSequence.of_groups(groups)


def test_every_frame_comes_back(
    tmp_path: Path, sequence: CompressedSequence, volumes: list[VolumeFile]
) -> None:  # fmt: skip
    path = tmp_path / "s.fcodec"
    sequence.save(path)
    opened = open_sequence(path)
    assert (list(opened), len(opened), opened.frames) == (list(NUMBERS), 4, NUMBERS)
    assert 4 in opened
    assert 6 not in opened
    assert opened.num_bytes == path.stat().st_size
    assert opened.to_bytes() == path.read_bytes() == sequence.to_bytes()
    for number, original in zip((9, 4, -1, 5), (volumes[3], volumes[1], volumes[0], volumes[2]), strict=True):
        back = opened.frame(number).to_grids()
        assert [grid.name for grid in back] == [grid.name for grid in original]
        assert back.metadata == original.metadata
        for grid, other in zip(back, original, strict=True):
            if isinstance(grid, SparseGrid):
                assert isinstance(other, SparseGrid)
                assert np.array_equal(grid.leaf_values, other.leaf_values)
                assert grid.topology.differs_from(other.topology) == 0
            else:
                assert grid == other
    assert opened.name(4) == "frame_0004.vdb"


def test_a_frame_is_a_volume_like_any_other(sequence: CompressedSequence, volumes: list[VolumeFile]) -> None:
    frame = sequence.frame(4)
    index = volumes[1][0].topology.active_voxels()[3]  # type: ignore[union-attr]
    point = index[None].astype(float)
    sampled = frame.access("labels").sample(point, space="index", interpolation="nearest")
    assert sampled == volumes[1]["labels"].sample(point, space="index", interpolation="nearest")  # type: ignore[union-attr]
    assert CompressedVolume.from_bytes(frame.to_bytes()).to_grids()[1].name == "labels"


def test_equal_grids_of_a_group_are_stored_once(groups: list[CompressedGroup]) -> None:
    meta = Container.from_bytes(groups[0].to_bytes()).meta()
    names = [grid["name"] for grid in meta["grids"]]
    assert sorted(names) == ["labels", "labels", "labels", "points", "still"]
    assert [frame["grids"].index(names.index("still")) for frame in meta["frames"]] == [1, 0, 1]


def test_the_description_adds_up(sequence: CompressedSequence) -> None:
    for row, group in enumerate(sequence.layout.groups):
        assert sum(group.sizes) == len(sequence.group_bytes(row))
    presence = {grid.name: grid.frames for grid in sequence.layout.grids}
    assert presence == {"labels": NUMBERS, "still": NUMBERS[:3], "points": (4,)}


def test_only_the_group_of_a_frame_is_read(sequence: CompressedSequence) -> None:
    data = bytearray(sequence.to_bytes())
    data[-1] ^= 1  # in the last group
    opened = CompressedSequence.from_bytes(bytes(data))
    for number in NUMBERS[:3]:
        opened.frame(number).to_grids()
    with pytest.raises(FormatError, match="GROUP of grid 1 is damaged"):
        opened.frame(9)


def test_unknown_frames_are_named(sequence: CompressedSequence) -> None:
    with pytest.raises(UnknownFrameError, match=r"no frame 6; the sequence has 4 frames: -1, 4-5, 9"):
        sequence.frame(6)


def test_volumes_and_sequences_are_not_taken_for_one_another(tmp_path: Path, sequence: CompressedSequence) -> None:
    sequence.save(tmp_path / "s.fcodec")
    with pytest.raises(FormatError, match=r"fieldcodec\.open_sequence"):
        fc.open(tmp_path / "s.fcodec")
    sequence.frame(4).save(tmp_path / "v.fcodec")
    with pytest.raises(FormatError, match=r"fieldcodec\.open opens it"):
        open_sequence(tmp_path / "v.fcodec")


# ---- grids that refer to others


@pytest.fixture
def predicted(groups: list[CompressedGroup]) -> CompressedGroup:
    """The first group, with the changing grid of each frame said to be a difference to that of the frame before."""
    volumes: list[CompressedVolume] = []
    for volume in groups[0].volumes:
        grids = []
        for grid in volume.grids:
            before = volumes[-1]["labels"] if volumes and grid.name == "labels" else None
            grids.append(CompressedGrid(grid.meta, grid.sections, reference=before))
        volumes.append(replace(volume, grids=tuple(grids)))
    return CompressedGroup(groups[0].numbers, tuple(volumes))


def test_references_come_back(predicted: CompressedGroup) -> None:
    back = CompressedGroup.from_bytes(predicted.to_bytes())
    grids = [volume["labels"] for volume in back.volumes]
    assert [grid.reference for grid in grids] == [None, *grids[:-1]]
    assert back.volumes[1]["still"].reference is None
    assert back.to_bytes() == predicted.to_bytes()


def test_a_frame_that_depends_on_another_is_no_file(predicted: CompressedGroup) -> None:
    predicted.volumes[0].to_bytes()
    with pytest.raises(UsageError, match="difference to another frame"):
        predicted.volumes[1].to_bytes()


def test_a_reference_to_a_grid_outside_the_group_is_refused(predicted: CompressedGroup) -> None:
    with pytest.raises(ValueError, match="not earlier in its group"):
        CompressedGroup(predicted.numbers[1:], predicted.volumes[1:]).to_bytes()


def test_a_volume_has_no_references(groups: list[CompressedGroup]) -> None:
    opened = Container.from_bytes(groups[1].volumes[0].to_bytes())
    meta = opened.meta()
    meta["grids"][1]["reference"] = 0
    with pytest.raises(FormatError, match="refers to another frame"):
        CompressedVolume.from_bytes(_rebuilt(opened, meta))


# ---- damaged and forged files


def test_flipped_bytes_and_cut_files_are_noticed(sequence: CompressedSequence) -> None:
    data = sequence.to_bytes()
    _decode(data)
    for position in range(0, len(data), 43):
        damaged = bytearray(data)
        damaged[position] ^= 0x41
        with pytest.raises(FormatError):
            _decode(bytes(damaged))
    for length in range(0, len(data), 101):
        with pytest.raises(FormatError):
            _decode(data[:length])


HOSTILE = [None, True, -1, 0, 3, 2**31, 10**30, 0.5, "", "a/b", "%d", "../x_%04d.vdb", [], [1], [[]], {}, {"a": 1}]


def _decode(data: bytes) -> None:
    opened = CompressedSequence.from_bytes(data)
    for number in opened:
        opened.name(number)
        opened.frame(number).to_grids(device="cpu")


def _rebuilt(opened: Container, meta: Any, *more: Section) -> bytes:
    sections = [
        Section(key.id, opened.read(*key), key.grid) for key in opened if (key.id, key.grid) not in
        {(section.id, section.grid) for section in more} and key.id != SectionId.META
    ]  # fmt: skip
    return Container([Section.meta(meta), *sections, *more]).to_bytes()


def _forged(value: Any) -> Iterator[Any]:
    """The same tree with one entry after another replaced by something hostile, or left out."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, item in items:
        for bad in HOSTILE:
            if type(bad) is not type(item) or bad != item:
                yield _with(value, key, bad)
        without = copy.copy(value)
        del without[key]
        yield without
        if isinstance(item, dict | list):
            for inner in _forged(item):
                yield _with(value, key, inner)


def _with(value: Any, key: Any, item: Any) -> Any:
    changed = copy.copy(value)
    changed[key] = item
    return changed


def _holds(opened: CompressedSequence) -> tuple[object, ...]:
    return opened.frames, [[grid.name for grid in opened.frame(number).grids] for number in opened]


def test_forged_descriptions_of_a_sequence_raise_nothing_but_format_errors(sequence: CompressedSequence) -> None:
    opened = Container.from_bytes(sequence.to_bytes())
    meta = opened.meta()
    del meta["settings"]
    expected, refused = _holds(sequence), 0
    for forged in _forged(meta):
        try:
            found = CompressedSequence.from_bytes(_rebuilt(opened, forged))
            assert all(found.name(number) for number in found)
            assert found.layout.grids is not None
            holds = _holds(found)
        except FormatError:
            refused += 1
        else:  # what is for reports only may be wrong; frames may not
            assert holds == expected
    assert refused > 100


def test_forged_descriptions_of_a_group_raise_nothing_but_format_errors(
    sequence: CompressedSequence, predicted: CompressedGroup
) -> None:
    outer = Container.from_bytes(CompressedSequence.of_groups([predicted]).to_bytes())
    group = Container.from_bytes(predicted.to_bytes())
    meta = group.meta()
    rows = [row for row, grid in enumerate(meta["grids"]) if "reference" in grid]
    assert len(rows) == 2
    for row in rows:  # of grids, only what the group itself looks at is forged
        for forged in _forged({"reference": meta["grids"][row]["reference"], "name": meta["grids"][row]["name"]}):
            grids = _with(meta["grids"], row, meta["grids"][row] | forged)
            _expect_sound_or_refused(outer, group, _with(meta, "grids", grids))
    for forged in _forged({"kind": meta["kind"], "frames": meta["frames"]}):
        _expect_sound_or_refused(outer, group, forged | {"grids": group.meta()["grids"]})


def _expect_sound_or_refused(outer: Container, group: Container, meta: Any) -> None:
    data = _rebuilt(outer, outer.meta(), Section(SectionId.GROUP, _rebuilt(group, meta), 0))
    try:
        opened = CompressedSequence.from_bytes(data)
        for number in opened:
            for grid in opened.frame(number).grids:
                while grid.reference is not None:
                    grid = grid.reference
    except FormatError:
        return
    assert opened.frames == NUMBERS[:3]


def _no_section(meta: Any) -> list[Section]:
    meta["groups"].append(dict(meta["groups"][0], frames=[20, 21, 22]))
    return []


def _twice(meta: Any) -> list[Section]:
    meta["groups"][1]["frames"] = [4]
    return []


def _other_frames(meta: Any) -> list[Section]:
    meta["groups"][0]["frames"] = [0, 4, 5]
    return []


def _no_rise(meta: Any) -> list[Section]:
    meta["groups"][0]["frames"] = [4, -1, 5]
    return []


def _climbing_name(meta: Any) -> list[Section]:
    meta["pattern"] = "../../etc/%04d.vdb"
    return []


def _too_wide(meta: Any) -> list[Section]:
    meta["pattern"] = "a%099999999d.vdb"
    return []


def _group_in_a_group(meta: Any) -> list[Section]:
    inner = Container([Section.meta({"kind": "group"})]).to_bytes()
    forged = {"kind": "group", "frames": [{"number": 9, "grids": [], "metadata": []}], "grids": []}
    return [
        Section(
            SectionId.GROUP, Container([Section.meta(forged), Section(SectionId.GROUP, inner, 0)]).to_bytes(), 1
        )
    ]  # fmt: skip


def _sequence_in_a_sequence(meta: Any) -> list[Section]:
    return [Section(SectionId.GROUP, Container([Section.meta(meta)]).to_bytes(), 1)]


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (_no_section, "describes 3 groups"),
        (_twice, "occurs in two groups"),
        (_other_frames, r"holds the frames \(-1, 4, 5\), where the file says \(0, 4, 5\)"),
        (_no_rise, "do not rise"),
        (_climbing_name, "pattern of names"),
        (_too_wide, "pattern of names"),
        (_group_in_a_group, "does not belong there"),
        (_sequence_in_a_sequence, "'sequence'; a group of frames is needed"),
    ],
)
def test_crafted_files_are_refused(
    sequence: CompressedSequence, forge: Callable[[Any], list[Section]], message: str
) -> None:
    opened = Container.from_bytes(sequence.to_bytes())
    meta = opened.meta()
    more = forge(meta)
    with pytest.raises(FormatError, match=message):
        _decode(_rebuilt(opened, meta, *more))


def test_a_chain_of_references_is_not_longer_than_a_group(groups: list[CompressedGroup]) -> None:
    group = Container.from_bytes(groups[1].to_bytes())
    meta = group.meta()
    first = meta["grids"][0]
    meta["grids"] = [first, *(first | {"reference": row} for row in range(3000))]
    with pytest.raises(FormatError, match="refer to one another"):
        CompressedGroup.from_bytes(_rebuilt(group, meta))
