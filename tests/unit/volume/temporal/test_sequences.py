"""Chains of predicted frames: bit by bit the same in any order, as good as was asked for, and safe against forgery."""

import dataclasses
import gc
from itertools import permutations
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.errors import FormatError
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.nets.device import CPU
from fieldcodec.testing import samples
from fieldcodec.volume import decode, encode
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.decode import decode_topology
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.sections import STORED_LEVEL
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.sequence.group_encode import encode_frames
from fieldcodec.volume.sequence.layout import MAX_GROUP_FRAMES
from fieldcodec.volume.temporal.kept import Kept

CASES = [
    "surface", "surface_residual", "surface_exact", "signs", "fog", "fog_half", "fog_exact", "vectors", "integers",
    "integers_exact", "doubles",
]  # fmt: skip


def decoded(grid: CompressedGrid) -> SparseGrid:
    return decode.decode_grid(grid, CPU, lambda event: None)


def changed(grid: CompressedGrid, **values: Any) -> CompressedGrid:
    """With other entries in the description of the values."""
    return dataclasses.replace(grid, meta=grid.meta | {"values": grid.meta["values"] | values})


# --- every kind of grid ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_every_frame_is_what_was_asked_for(name: str, sequences: ModuleType, nothing_kept: Kept) -> None:
    """Also from bytes, last frame first: what a decoder has is what the encoder had."""
    case, group = sequences.CASES[name], sequences.encoded(name)
    opened = CompressedGroup.from_bytes(group.to_bytes())
    for frame in reversed(range(case.frames)):
        original, grid = case.make(frame), opened.volumes[frame].grids[0]
        back, same = decoded(grid), decoded(group.volumes[frame].grids[0])
        assert back.leaf_values.tobytes() == same.leaf_values.tobytes()
        assert back.topology.equals(original.topology)
        assert decode_topology(grid).equals(original.topology)
        inactive = ~original.topology.leaf_active_bits
        assert back.leaf_values[inactive].tobytes() == original.leaf_values[inactive].tobytes()
        quality = fc.compare_grids(original, back)
        span = float(np.ptp(original.active_values().astype(np.float64)))
        if case.quality.lossless:
            assert back.leaf_values.tobytes() == original.leaf_values.tobytes()
        elif case.quality.rmse:
            assert (quality.rmse or 0) <= 0.03 * span
        elif case.quality.max_error:
            assert (quality.max_error or 0) <= 60
        elif case.quality.iou:
            assert (quality.iou or 0) >= case.quality.iou
        else:
            assert (quality.mcd or 0) <= case.quality.mcd
    assert all(nothing_kept.get(volume.grids[0]) is not None for volume in opened.volumes[:-1])


def test_random_access_gives_the_same_values(sequences: ModuleType, nothing_kept: Kept) -> None:
    for name in ("surface", "fog"):
        volume = sequences.encoded(name).volumes[2]
        grid = decoded(volume.grids[0])
        access = volume.access(0)
        points = grid.topology.active_voxels()[::17]
        sampled = access.sample(points.astype(float), space="index", interpolation="nearest")
        assert np.array_equal(sampled, grid.sample(points.astype(float), space="index", interpolation="nearest"))


def test_levels_of_predicted_grids_are_those_of_decoded_ones(sequences: ModuleType) -> None:
    for name in ("surface", "fog"):
        volume = sequences.encoded(name).volumes[2]
        (coarse,) = volume.to_grids(device="cpu", level=1)
        expected = coarsened(decoded(volume.grids[0]), 1)
        assert isinstance(coarse, SparseGrid)
        assert coarse.topology.equals(expected.topology)
        assert coarse.leaf_values.tobytes() == expected.leaf_values.tobytes()


def test_a_predicted_grid_is_not_its_splines_alone(sequences: ModuleType) -> None:
    """So its continuous field would be wrong, and there is none."""
    first, second = (volume.grids[0] for volume in sequences.encoded("surface").volumes[:2])
    assert decode.open_grid(first, CPU).continuous(CPU) is not None
    assert decode.open_grid(second, CPU).continuous(CPU) is None


# --- chains ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(sequences: ModuleType) -> list[VolumeFile]:
    """Five frames of a level set and fog; vectors that are there only now and then; another type in the last one."""
    files = []
    for frame in range(5):
        grids = [sequences.ball(frame), sequences.fog(frame, "double" if frame == 4 else "float")]
        grids[1] = dataclasses.replace(grids[1], name="fog")
        if frame in (1, 2, 4):
            grids.append(sequences.fog(frame, "vec3s"))
        files.append(VolumeFile(tuple(grids)))
    return files


@pytest.fixture(scope="module")
def chain(files: list[VolumeFile], sequences: ModuleType) -> CompressedGroup:
    settings = fc.VolumeSettings(quality=Quality(rmse="2%"))
    with sequences.small_grids():
        volumes = encode_frames(files, settings, labels=list("abcde"), device="cpu")
    return CompressedGroup.from_bytes(CompressedGroup(tuple(range(5)), tuple(volumes)).to_bytes())


def test_grids_that_come_and_go_refer_to_the_frame_before_only(chain: CompressedGroup) -> None:
    for frame, volume in enumerate(chain.volumes):
        before = {} if frame == 0 else {(g.name, g.value_type.name): g for g in chain.volumes[frame - 1].grids}
        for grid in volume.grids:
            assert grid.reference in (None, before.get((grid.name, grid.value_type.name)))
            assert (grid.reference is None) == (grid.lattice is None or grid.lattice.motion is None)
    surfaces, fogs = ([volume.grids[row] for volume in chain.volumes] for row in (0, 1))
    assert [grid.reference is not None for grid in surfaces] == [False, True, True, True, True]
    assert fogs[4].reference is None  # another type
    vectors = [volume.grids[2] for volume in chain.volumes if len(volume.grids) > 2]
    assert [vectors[0].reference, vectors[2].reference] == [None, None]


def test_frames_are_the_same_in_any_order(
    chain: CompressedGroup, files: list[VolumeFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: dict[tuple[int, int], bytes] = {}
    orders = [range(5), *list(permutations(range(5)))[7::37]]
    for turn, order in enumerate(orders):
        monkeypatch.setattr(decode, "references", Kept(1 << 30 if turn % 2 else 0))
        for frame in order:
            for row, grid in enumerate(chain.volumes[frame].grids):
                back = decoded(grid)
                assert back.topology.equals(files[frame][row].topology)  # type: ignore[union-attr]
                values = back.leaf_values.tobytes()
                assert expected.setdefault((frame, row), values) == values


def test_quality_is_met_in_every_frame(chain: CompressedGroup, files: list[VolumeFile]) -> None:
    for volume, file in zip(chain.volumes, files, strict=True):
        for grid, original in zip(volume.grids, file, strict=True):
            assert isinstance(original, SparseGrid)
            active = original.active_values().astype(np.float64)
            assert (fc.compare_grids(original, decoded(grid)).rmse or 0) <= 0.02 * (active.max() - active.min())


def test_a_frame_needs_its_references_and_no_more(chain: CompressedGroup, nothing_kept: Kept) -> None:
    surfaces = [volume.grids[0] for volume in chain.volumes]
    decoded(surfaces[2])
    before = [nothing_kept.get(grid) for grid in surfaces]
    assert [known is not None for known in before[:2]] == [True, True]
    assert before[3:] == [None, None]
    decoded(surfaces[3])
    assert all(nothing_kept.get(grid) is known for grid, known in zip(surfaces[:2], before[:2], strict=True))
    assert nothing_kept.get(surfaces[4]) is None


def test_references_go_with_their_group(chain: CompressedGroup, nothing_kept: Kept) -> None:
    opened = CompressedGroup.from_bytes(chain.to_bytes())
    decoded(opened.volumes[2].grids[0])
    assert all(entry[0]() is not None for entry in nothing_kept._entries.values())
    del opened
    gc.collect()
    assert all(entry[0]() is None for entry in nothing_kept._entries.values())


def test_exact_frames_keep_to_the_step_of_the_frame_before(sequences: ModuleType) -> None:
    with sequences.only(dataclasses.replace(sequences.MOTION, levels=((8, 3, 4.0),))):
        frames = [VolumeFile((sequences.fog(frame),)) for frame in range(3)]
        group = sequences.group(frames, fc.VolumeSettings(quality=Quality(lossless=True)))
    later = [volume.grids[0].choices[0] for volume in group.volumes[1:]]
    assert {choice.step for choice in later} == {later[0].step}


def test_a_stored_level_has_no_part_in_what_the_next_frame_may_take(sequences: ModuleType) -> None:
    grid = sequences.encoded("fog").volumes[2].grids[0]
    with_level = dataclasses.replace(grid, sections={**grid.sections, STORED_LEVEL: bytes(1000)})
    usual = encode._habit(sequences.fog(3), grid)
    assert usual is not None
    assert encode._habit(sequences.fog(3), with_level) == usual


def test_values_that_are_no_lattices_are_no_reference(sequences: ModuleType) -> None:
    """Labels are stored as a palette, so the fog of the next frame stands alone; and the other way around."""
    fog = sequences.fog(0, "int32")
    labels = dataclasses.replace(fog, leaf_values=(fog.leaf_values > 2000).astype(np.int32))
    with sequences.small_grids():
        files = [VolumeFile((grid,)) for grid in (labels, fog, labels, fog)]
        volumes = encode_frames(files, fc.VolumeSettings(), labels=list("abcd"), device="cpu")
    grids = [volume.grids[0] for volume in volumes]
    assert [grid.method for grid in grids] == ["palette", "lattice", "palette", "lattice"]
    assert [grid.reference for grid in grids] == [None] * 4
    assert decoded(grids[2]).leaf_values.tobytes() == labels.leaf_values.tobytes()


def test_the_longest_chain(sequences: ModuleType, nothing_kept: Kept) -> None:
    """Of frames in which nothing moves but the transform, each from the one before."""
    still = samples.dense("int32", side=8, origin=(0, 0, 0))
    moved = [GridTransform.uniform(1.0, (number, 0, 0)) for number in range(3)]
    with sequences.only(sequences.MOTION):
        files = [VolumeFile((dataclasses.replace(still, transform=transform),)) for transform in moved]
        settings = fc.VolumeSettings(quality=Quality(lossless=True))
        volumes = encode_frames(files, settings, labels=list("abc"), device="cpu")
    while len(volumes) < MAX_GROUP_FRAMES:
        last = volumes[-1].grids[0]
        volumes.append(dataclasses.replace(volumes[-1], grids=(dataclasses.replace(last, reference=last),)))
    group = CompressedGroup(tuple(range(MAX_GROUP_FRAMES)), tuple(volumes))
    opened = CompressedGroup.from_bytes(group.to_bytes())
    assert decoded(opened.volumes[-1].grids[0]).leaf_values.tobytes() == still.leaf_values.tobytes()
    assert all(nothing_kept.get(volume.grids[0]) is not None for volume in opened.volumes[:-1])


# --- forged files ---------------------------------------------------------------------------------


@pytest.fixture
def pair(sequences: ModuleType, nothing_kept: Kept) -> tuple[CompressedGrid, CompressedGrid]:
    """A grid and the one that is predicted from it."""
    first, second = (volume.grids[0] for volume in sequences.encoded("fog").volumes[:2])
    decoded(second)
    return first, second


def refused(grid: CompressedGrid, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        decoded(grid)


def test_motion_needs_a_reference_of_its_kind(
    pair: tuple[CompressedGrid, CompressedGrid], sequences: ModuleType
) -> None:
    first, second = pair
    palette = dataclasses.replace(first, meta=first.meta | {"values": {"method": "palette", "entries": 1}})
    network = dataclasses.replace(first, meta=first.meta | {"values": {"method": "network"}})
    other = sequences.encoded("doubles").volumes[0].grids[0]
    for reference in (None, palette, network, other):
        refused(dataclasses.replace(second, reference=reference), "refers to no grid of its type")
    forged = dataclasses.replace(sequences.encoded("surface").volumes[1].grids[0], reference=None)
    with pytest.raises(FormatError, match="refers to no grid of its type"):
        CompressedVolume((forged,)).to_grids(device="cpu", level=1)
    beyond = dataclasses.replace(second, reference=changed(first, motion=[16, 64]))  # whose own reference is missing
    refused(beyond, "refers to no grid of its type")


@pytest.mark.parametrize("motion", [[8, 64], [16, 0], [16, 4097], [16], [16, 64, 1], ["16", 64], [16, 64.0], None, 7])
def test_strange_motion_is_refused(pair: tuple[CompressedGrid, CompressedGrid], motion: object) -> None:
    refused(changed(pair[1], motion=motion), "the description of a lattice")


def test_motion_and_a_mesh_exclude_one_another(pair: tuple[CompressedGrid, CompressedGrid]) -> None:
    refused(changed(pair[1], mesh=1.0, levels=[], residual=0), "numbers that are not allowed")


def test_damaged_motion_is_refused(pair: tuple[CompressedGrid, CompressedGrid]) -> None:
    second = pair[1]
    stored = dict(second.sections)
    motion = stored["motion"]
    for data in (b"", motion[:-1], motion[:3], b"\2" + motion[1:], motion + b"\0"):
        refused(dataclasses.replace(second, sections=stored | {"motion": data}), "motion")
    stride, step = second.meta["values"]["motion"]
    refused(changed(second, motion=[48 - stride if stride < 64 else 16, step]), "coefficients")


def test_another_prediction_is_noticed(pair: tuple[CompressedGrid, CompressedGrid], sequences: ModuleType) -> None:
    """By the fingerprint, or before that by masks that do not come out."""
    second = pair[1]
    stranger = sequences.encoded("fog_half").volumes[-1].grids[0]  # other states of voxels, too
    assert stranger.value_type == second.value_type
    stride, step = second.meta["values"]["motion"]
    for forged in (
        dataclasses.replace(second, reference=stranger),
        dataclasses.replace(second, reference=changed(pair[0], unit=[1e-300], offset=[1e300])),
        changed(second, motion=[stride, step * 8]),
    ):
        with pytest.raises(FormatError):
            decoded(forged)


def test_a_group_refuses_references_that_lead_nowhere(sequences: ModuleType) -> None:
    group = sequences.encoded("fog")
    volumes = list(group.volumes)
    last = volumes[2].grids[0]
    stranger = dataclasses.replace(volumes[0].grids[0], meta=dict(volumes[0].grids[0].meta))
    volumes[2] = dataclasses.replace(volumes[2], grids=(dataclasses.replace(last, reference=stranger),))
    with pytest.raises(ValueError, match="not earlier in its group"):
        CompressedGroup(group.numbers, tuple(volumes)).to_bytes()
