"""A coarse level that the file keeps beside a grid."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import SectionFlag, SectionId
from fieldcodec.errors import FormatError, UnsupportedGridError, UsageError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.metadata import MetaEntry
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import FRUSTUM, GridTransform
from fieldcodec.testing.forged import places_of, replaced
from fieldcodec.testing.modules import load_module
from fieldcodec.testing.samples import dense
from fieldcodec.volume import level_encode, values_codec
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.sections import STORED_LEVEL
from fieldcodec.volume.sequence.compressed import CompressedSequence
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.sequence.group_encode import encode_frames
from fieldcodec.volume.stored_level import level_kept

sequences = load_module(Path(__file__).parents[2] / "conformance" / "oracle_sequences.py")
EXACT = Quality(lossless=True)


def _settings(level: int = 1, quality: Quality = EXACT, **other: Any) -> fc.VolumeSettings:
    return fc.VolumeSettings(stored_level=level, quality=quality, **other)


def _decoded(compressed: CompressedVolume, level: int = 0, grid: int = 0) -> SparseGrid:
    found = compressed.to_grids([grid], level=level, device="cpu")[0]
    assert isinstance(found, SparseGrid)
    return found


def _assert_equal(found: SparseGrid, expected: SparseGrid) -> None:
    assert found.topology.equals(expected.topology)
    for name in ("name", "value_type", "transform", "metadata", "save_as_half"):
        assert getattr(found, name) == getattr(expected, name)
    active = found.topology.leaf_active_bits
    assert found.leaf_values[active].tobytes() == expected.leaf_values[active].tobytes()
    for name in ("background", "lower_tile_values", "upper_tile_values", "root_tile_values"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()


@pytest.fixture(scope="module")
def source() -> SparseGrid:
    grid = dense("int32", side=17)
    with_statistics = grid.metadata.with_entry(MetaEntry.of("file_voxel_count", grid.topology.num_active_voxels))
    return replace(grid, metadata=with_statistics)


@pytest.fixture(scope="module")
def compressed(source: SparseGrid) -> CompressedVolume:
    return fc.encode_volume(source, _settings(), device="cpu")


@pytest.mark.parametrize("kind", ["float", "double", "half", "int64", "bool", "vec3s", "vec2i"])
def test_levels_of_exact_grids_are_those_of_the_grid(kind: str) -> None:
    grid = dense(kind, side=15)
    grid = replace(grid, save_as_half=kind == "float")
    for stored in (1, 2):
        opened = CompressedVolume.from_bytes(fc.encode_volume(grid, _settings(stored), device="cpu").to_bytes())
        whole = _decoded(opened)
        for level in (1, 2, 3, 4):
            _assert_equal(_decoded(opened, level), coarsened(whole, level))


def test_only_the_stored_level_is_decoded(source: SparseGrid, compressed: CompressedVolume) -> None:
    own = compressed.grids[0]
    alone = CompressedVolume((CompressedGrid(own.meta, {STORED_LEVEL: own.sections[STORED_LEVEL]}),))
    for level in (1, 2, 3, 4):
        _assert_equal(_decoded(alone, level), coarsened(source, level))
    with pytest.raises(FormatError):
        alone.to_grids()
    finer = fc.encode_volume(source, _settings(2), device="cpu")
    own = finer.grids[0]
    without = CompressedVolume((CompressedGrid(own.meta, {STORED_LEVEL: own.sections[STORED_LEVEL]}),))
    with pytest.raises(FormatError):
        without.to_grids(level=1)  # finer than what is stored: from full resolution, as ever
    _assert_equal(_decoded(finer, 1), coarsened(source, 1))


def test_all_else_of_the_file_is_the_same(source: SparseGrid, compressed: CompressedVolume) -> None:
    plain = fc.encode_volume(source, _settings(0), device="cpu").grids[0]
    own = compressed.grids[0]
    assert {name: data for name, data in own.sections.items() if name != STORED_LEVEL} == plain.sections
    assert own.meta == plain.meta | {"stored_level": 1}
    assert (level_kept(own), level_kept(plain)) == (1, 0)
    assert own.num_bytes > plain.num_bytes + len(own.sections[STORED_LEVEL])


def _with_level(data: bytes, level: bytes, flags: int = 0, id: int = SectionId.STORED_LEVEL) -> bytes:
    """The same file with another stored level, and right checksums."""
    opened = Container.from_bytes(data)
    sections = [Section(key.id, opened.read(*key), key.grid) for key in opened if key.id != SectionId.STORED_LEVEL]
    return Container([*sections, Section(id, level, 0, must_understand=bool(flags))]).to_bytes()


def test_readers_that_do_not_know_it_skip_it(source: SparseGrid, compressed: CompressedVolume) -> None:
    data = compressed.to_bytes()
    level = bytes(compressed.grids[0].sections[STORED_LEVEL])
    unknown = CompressedVolume.from_bytes(_with_level(data, level, id=60_000))  # what 28 is to an older release
    _assert_equal(_decoded(unknown), source)
    _assert_equal(_decoded(unknown, 1), coarsened(source, 1))
    assert data == _with_level(data, level, flags=0)
    assert data != _with_level(data, level, flags=SectionFlag.MUST_UNDERSTAND)


def test_damage_in_it_is_seen_by_those_only_who_need_it(source: SparseGrid, compressed: CompressedVolume) -> None:
    data = bytearray(compressed.to_bytes())
    data[-1] ^= 1  # sections are in the order of their ids
    opened = CompressedVolume.from_bytes(bytes(data))
    _assert_equal(_decoded(opened), source)
    box = opened.to_grids(bbox=(-9, 5, 120, -5, 9, 125))
    assert isinstance(box[0], SparseGrid)
    point = source.topology.active_voxels()[:1].astype(float)
    opened.sample(point, space="index", interpolation="nearest")
    for level in (1, 2):
        with pytest.raises(FormatError, match=r"STORED_LEVEL of grid 0 is damaged"):
            opened.to_grids(level=level)
        with pytest.raises(FormatError, match=r"STORED_LEVEL of grid 0 is damaged"):
            opened.to_grids(bbox=(-9, 5, 120, -5, 9, 125), level=level)


# ---- forged levels


def _inner(compressed: CompressedVolume) -> bytes:
    return bytes(compressed.grids[0].sections[STORED_LEVEL])


def _with_meta(data: bytes, meta: Any) -> bytes:
    opened = Container.from_bytes(data)
    rest = [Section(key.id, opened.read(*key), key.grid) for key in opened if key.id != SectionId.META]
    return Container([Section.meta(meta), *rest]).to_bytes()


def test_levels_in_levels_and_other_files_are_refused(source: SparseGrid, compressed: CompressedVolume) -> None:
    data, level = compressed.to_bytes(), _inner(compressed)
    inner, meta = Container.from_bytes(level), Container.from_bytes(level).meta()
    sections = [Section(key.id, inner.read(*key), key.grid) for key in inner]
    description = meta["grids"][0]
    labels = fc.encode_volume(source, _settings(0), device="cpu")
    forged = {
        "a level in it": Container([*sections, Section(SectionId.STORED_LEVEL, level, 0)]).to_bytes(),
        "said to have one": _with_meta(level, replaced(meta, ("grids", 0, "stored_level"), 1)),
        "two grids": _with_meta(level, meta | {"grids": [description, description]}),
        "no grid": _with_meta(level, meta | {"grids": []}),
        "a sequence": _with_meta(level, meta | {"kind": "sequence"}),
        "an instance": _with_meta(level, replaced(meta, ("grids", 0, "instance_of"), 0)),
        "a difference": _with_meta(level, replaced(meta, ("grids", 0, "reference"), 0)),
        "opaque": fc.encode_volume(VolumeFile((OpaqueGrid("p", "Tree_x", b"abc", 224),)), device="cpu").to_bytes(),
        "another type": fc.encode_volume(dense("float", side=4), device="cpu").to_bytes(),
        "a bomb of leaves": _with_meta(level, replaced(meta, ("grids", 0, "nodes", "leaves"), 1 << 40)),
        "more leaves than masks": _with_meta(level, replaced(meta, ("grids", 0, "nodes", "leaves"), 1 << 24)),
        "nothing": b"",
        "cut": level[:-1],
    }  # fmt: skip
    for bad in forged.values():
        opened = CompressedVolume.from_bytes(_with_level(data, bad))
        with pytest.raises(FormatError, match=f"grid '{source.name}': its stored level is not understood"):
            opened.to_grids(level=2)
        _assert_equal(_decoded(opened), source)
    itself = CompressedVolume.from_bytes(_with_level(data, labels.to_bytes()))  # a level of the wrong resolution
    assert _decoded(itself, 1).transform == coarsened(source, 1).transform


@pytest.mark.parametrize("value", [-1, 5, 10**30, True, 1.0, None, "1", [1]])
def test_levels_that_do_not_exist_are_refused(compressed: CompressedVolume, value: Any) -> None:
    data = compressed.to_bytes()
    meta = Container.from_bytes(data).meta()
    forged = CompressedVolume.from_bytes(_with_meta(data, replaced(meta, ("grids", 0, "stored_level"), value)))
    with pytest.raises(FormatError, match="stored_level is"):
        forged.to_grids(level=1)


def test_forged_descriptions_of_levels_raise_format_errors(compressed: CompressedVolume) -> None:
    data, level = compressed.to_bytes(), _inner(compressed)
    meta = Container.from_bytes(level).meta()
    paths = [path for path in places_of(meta, most_of_list=3) if path[:1] != ("settings",)]
    refused = 0
    for path in paths:
        for value in (None, 2**63, [1]):
            forged = CompressedVolume.from_bytes(_with_level(data, _with_meta(level, replaced(meta, path, value))))
            try:
                forged.to_grids(level=1)
            except FormatError:
                refused += 1
    assert refused > len(paths)


def test_a_key_without_a_section_and_a_section_without_a_key_mean_nothing(
    source: SparseGrid, compressed: CompressedVolume
) -> None:
    own = compressed.grids[0]
    sections = {name: data for name, data in own.sections.items() if name != STORED_LEVEL}
    meta = {key: value for key, value in own.meta.items() if key != "stored_level"}
    for grid in (CompressedGrid(own.meta, sections), CompressedGrid(meta, {**own.sections, STORED_LEVEL: b"?"})):
        assert level_kept(grid) == 0
        _assert_equal(_decoded(CompressedVolume((grid,)), 1), coarsened(source, 1))


# ---- what is stored, and what is not


def test_the_level_counts_within_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values_codec, "SMALL_GRID", 16)
    compressed = fc.encode_volume(dense("float", side=20), _settings(1, Quality(size=5000)), device="cpu")
    grid = compressed.grids[0]
    assert grid.goal_met
    assert 0 < len(grid.sections[STORED_LEVEL]) <= 1000
    assert len(compressed.to_bytes()) <= 5000
    assert grid.num_bytes <= 5000 - 32


def test_what_takes_more_than_its_share_of_a_size_is_left_out() -> None:
    compressed = fc.encode_volume(dense("float", side=20), _settings(1, Quality(size=2500)), device="cpu")
    assert STORED_LEVEL not in compressed.grids[0].sections
    assert "its share of the size asked for is 500" in compressed.grids[0].no_level
    assert len(compressed.to_bytes()) <= 2500


def test_what_no_level_is_stored_of() -> None:
    points = OpaqueGrid("points", "Tree_x", b"abc" * 5, 224)
    few = replace(dense("int32", side=4), name="few")
    bent = replace(dense("int32", side=12), name="bent", transform=GridTransform(FRUSTUM, bytes(300)))
    background = np.array([np.nan], np.float32)
    unknown = replace(dense("float", side=12), name="unknown", background=background)
    file = VolumeFile((points, few, bent, unknown))
    compressed = fc.encode_volume(file, _settings(), device="cpu")
    reasons = [grid.no_level for grid in compressed.grids]
    assert reasons[0] == ""
    assert "the whole grid only" in reasons[1]
    assert "has no coarser form" in reasons[2]
    assert "background is not finite" in reasons[3]
    assert all(level_kept(grid) == 0 for grid in compressed.grids[1:])
    with pytest.raises(UnsupportedGridError):
        compressed.to_grids(["bent"], level=1)


@pytest.mark.parametrize("quality", [EXACT, Quality(size=9000)])
@pytest.mark.parametrize("non_finite", ["refuse", "replace"])
def test_means_that_no_number_can_hold_are_not_stored(quality: Quality, non_finite: str) -> None:
    grid = dense("double", side=12)
    huge = replace(grid, leaf_values=np.where(grid.topology.leaf_active_bits[..., None], 1.7e308, 0.0))
    found = fc.encode_volume(huge, _settings(1, quality, non_finite=non_finite), device="cpu")
    assert "means of its values are larger" in found.grids[0].no_level
    _assert_equal(_decoded(CompressedVolume.from_bytes(found.to_bytes())), huge)


def test_small_levels_of_large_grids_are_as_lossy_as_these(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, settings = dense("float", side=16), _settings(1, Quality(psnr=50))
    assert grid.topology.num_active_voxels > 1500 > coarsened(grid, 1).topology.num_active_voxels > 64
    exact = fc.encode_volume(grid, settings, device="cpu")
    _assert_equal(_decoded(exact, 1), coarsened(grid, 1))  # 4096 voxels and fewer are exact, and so is their level
    monkeypatch.setattr(values_codec, "SMALL_GRID", 1500)
    lossy = fc.encode_volume(grid, settings, device="cpu")
    assert len(lossy.grids[0].sections[STORED_LEVEL]) < len(exact.grids[0].sections[STORED_LEVEL]) / 2
    assert _decoded(lossy, 1).topology.equals(coarsened(grid, 1).topology)


def test_empty_grids() -> None:
    grid = grid_of_dense("empty", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool))
    compressed = fc.encode_volume(grid, _settings(), device="cpu")
    assert "the whole grid only" in compressed.grids[0].no_level
    assert _decoded(compressed, 1).topology.num_active_voxels == 0


def test_an_instance_has_the_level_in_its_own_place(source: SparseGrid) -> None:
    moved = replace(source, name="moved", transform=GridTransform.uniform(0.3, (4.0, 5.0, 6.0)))
    bent = replace(source, name="bent", transform=GridTransform(FRUSTUM, bytes(300)))
    compressed = fc.encode_volume(VolumeFile((source, moved, bent)), _settings(), device="cpu")
    assert [grid.instance_of for grid in compressed.grids] == [None, 0, 0]
    opened = CompressedVolume.from_bytes(compressed.to_bytes())
    _assert_equal(_decoded(opened, 2, grid=1), coarsened(moved, 2))
    with pytest.raises(UnsupportedGridError):
        opened.to_grids([2], level=1)


def test_surfaces_thinner_than_a_coarse_voxel() -> None:
    ball = sphere_level_set(7.0)
    quality = Quality(mcd=0.1, max_error="0.1vx")
    compressed = fc.encode_volume(ball, _settings(4, quality), device="cpu")
    assert compressed.grids[0].goal_met
    assert level_kept(compressed.grids[0]) == 4
    assert _decoded(compressed, 4).is_level_set


def test_levels_that_cost_little_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    ball, surface = sphere_level_set(10.0), Quality(mcd=0.1)
    _assert_not_stored(ball, surface)
    monkeypatch.setattr(values_codec, "SMALL_GRID", 16)
    monkeypatch.setattr(level_encode, "has_own_distance", lambda _: True)  # whatever a size leaves of a ball
    _assert_not_stored(dense("float", side=12), Quality(size=5000))


def _assert_not_stored(grid: SparseGrid, quality: Quality) -> None:
    found = fc.encode_volume(grid, _settings(1, quality), device="cpu").grids[0]
    assert "follow from its lattices" in found.no_level
    plain = fc.encode_volume(grid, _settings(0, quality), device="cpu").grids[0]
    assert (found.meta, found.sections) == (plain.meta, plain.sections)


def test_values_that_were_replaced_are_replaced_in_the_level_too() -> None:
    grid = dense("float", side=16)
    values = grid.leaf_values.copy()
    rows, slots = np.nonzero(grid.topology.leaf_active_bits)
    values[rows[::50], slots[::50]] = np.nan
    compressed = fc.encode_volume(replace(grid, leaf_values=values), _settings(non_finite="replace"), device="cpu")
    assert level_kept(compressed.grids[0]) == 1
    _assert_equal(_decoded(compressed, 1), coarsened(_decoded(compressed), 1))


def test_levels_of_networks_are_lattices() -> None:
    tiny = {f"{network}_{size}": 8 if size == "width" else 1
            for network in ("level1", "level0", "value") for size in ("width", "depth")}  # fmt: skip
    network = {"method": "network", "tree": "neural", "epochs": 2, "fourier_size": 4, "batch_size": 64}
    settings = _settings(1, Quality(), **network, **tiny)
    compressed = fc.encode_volume(sphere_level_set(22.0), settings, device="cpu")
    assert compressed.grids[0].method == "network"
    inner = Container.from_bytes(_inner(compressed)).meta()["grids"][0]
    assert inner["values"]["method"] != "network"
    assert _decoded(compressed, 1).is_level_set
    explicit = compressed.with_explicit_tree()
    assert level_kept(explicit.grids[0]) == 1


def test_settings() -> None:
    assert fc.VolumeSettings().stored_level == 0
    assert fc.VolumeSettings.from_json(_settings(3).to_json()).stored_level == 3
    with pytest.raises(UsageError, match="stored_level is 5"):
        fc.VolumeSettings(stored_level=5)


# ---- sequences


def test_frames_keep_levels(source: SparseGrid) -> None:
    other = replace(dense("int32", side=17, seed=1), name=source.name)
    frames = [VolumeFile((source,)), VolumeFile((other,)), VolumeFile((other,))]
    volumes = encode_frames(frames, _settings(), labels=["a", "b", "c"], device="cpu")
    group = CompressedGroup((1, 2, 5), tuple(volumes))
    data = group.to_bytes()
    ids = [(key.id, key.grid) for key in Container.from_bytes(data)]
    assert ids[1:] == [(24, 0), (28, 0), (24, 1), (28, 1)]  # the third frame is the second once more
    assert sum(map(sum, group.grid_bytes(len(data)))) == len(data)
    sequence = CompressedSequence.from_bytes(CompressedSequence.of_groups([group]).to_bytes())
    for number, frame in zip((1, 2, 5), frames, strict=True):
        grid = frame[0]
        assert isinstance(grid, SparseGrid)
        opened = sequence.frame(number)
        _assert_equal(_decoded(opened), grid)
        for level in (1, 2):
            _assert_equal(_decoded(opened, level), coarsened(grid, level))
        assert level_kept(CompressedVolume.from_bytes(opened.to_bytes()).grids[0]) == 1
    again = CompressedGroup.from_bytes(data)
    assert again.to_bytes() == data


def test_levels_of_predicted_frames_need_no_other_frame() -> None:
    frames = [VolumeFile((sequences.fog(frame),)) for frame in range(3)]
    with sequences.small_grids():
        group = sequences.group(frames, _settings(1, Quality(rmse="2%")))
    last = CompressedGroup.from_bytes(group.to_bytes()).volumes[2].grids[0]
    assert last.reference is not None
    alone = CompressedVolume((CompressedGrid(last.meta, {STORED_LEVEL: last.sections[STORED_LEVEL]}),))
    assert _decoded(alone, 1).topology.equals(coarsened(sequences.fog(2), 1).topology)


def test_a_level_of_a_group_belongs_to_one_of_its_grids(source: SparseGrid) -> None:
    volumes = encode_frames([VolumeFile((source,))], _settings(), labels=["a"], device="cpu")
    opened = Container.from_bytes(CompressedGroup((1,), tuple(volumes)).to_bytes())
    sections = [Section(key.id, opened.read(*key), key.grid) for key in opened]
    forged = Container([*sections, Section(SectionId.STORED_LEVEL, b"", 1)]).to_bytes()
    with pytest.raises(FormatError, match="does not belong there"):
        CompressedGroup.from_bytes(forged)
