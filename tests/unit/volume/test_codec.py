"""Encode and decode: topology, tiles, inactive values, transform and metadata come back exactly, values closely."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.errors import FormatError, InvalidValuesError, UnknownGridError, UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.samples import dense, sphere
from fieldcodec.volume import network_encode
from fieldcodec.volume.compressed import CompressedVolume

TINY = fc.VolumeSettings(
    tree="explicit", epochs=12, level1_width=8, level0_width=8, value_width=8, fourier_size=8, batch_size=256,
    level1_depth=1, level0_depth=2, value_depth=2, target_rmse=0.0, method="network",
)  # fmt: skip


def round_trip(
    source: SparseGrid | VolumeFile, settings: fc.VolumeSettings = TINY
) -> tuple[CompressedVolume, VolumeFile]:
    """Through the bytes of a file."""
    compressed = CompressedVolume.from_bytes(fc.encode_volume(source, settings, device="cpu").to_bytes())
    return compressed, compressed.to_grids(device="cpu")


def assert_same_but_active_values(original: SparseGrid, decoded: SparseGrid) -> None:
    assert original.topology.equals(decoded.topology)
    inactive = ~original.topology.leaf_active_bits
    pairs = [(original.leaf_values[inactive], decoded.leaf_values[inactive])]
    states = original.topology.tile_states()
    tiles = [
        np.concatenate([g.lower_tile_values, g.upper_tile_values, g.root_tile_values])[~states]
        for g in (original, decoded)
    ]
    pairs += [(tiles[0], tiles[1]), (original.background, decoded.background)]
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()
    assert (original.name, original.value_type, original.transform, original.metadata, original.save_as_half) == (
        decoded.name, decoded.value_type, decoded.transform, decoded.metadata, decoded.save_as_half
    )  # fmt: skip


@pytest.mark.parametrize("tree", ["explicit", "neural", "auto"])
def test_level_set_of_both_tree_forms(tree: str) -> None:
    grid = sphere()
    compressed, decoded = round_trip(grid, replace(TINY, tree=tree, epochs=40))
    assert_same_but_active_values(grid, decoded[0])
    assert compressed.grids[0].method == "network"
    error = np.abs(decoded[0].leaf_values - grid.leaf_values)[grid.topology.leaf_active_bits]
    assert error.mean() < 2.0
    assert (compressed.grids[0].tree == "neural") == ("level-0 classifier" in compressed.grids[0].sections)
    if tree == "neural":
        assert compressed.grids[0].corrections > 0


@pytest.mark.parametrize(
    "kind",
    [
        "float",
        "half",
        "double",
        "int32",
        "int64",
        "uint32",
        "bool",
        "mask",
        "vec2s",
        "vec3s",
        "vec3d",
        "vec3i",
        "vec2i",
    ],
)
def test_every_value_type(kind: str) -> None:
    grid = dense(kind)
    compressed, decoded = round_trip(grid)
    assert_same_but_active_values(grid, decoded[0])
    method = compressed.grids[0].method
    if grid.value_type.is_bool:
        assert method in ("palette", "none")
        assert np.array_equal(decoded[0].leaf_values, grid.leaf_values)
    else:
        assert method == "network"
        active = grid.active_values().astype(float)
        spread = active.max(axis=0) - active.min(axis=0)
        assert (np.abs(decoded[0].active_values().astype(float) - active).mean(axis=0) < 0.3 * spread).all()


def test_several_subdomains_are_blended_and_exact() -> None:
    grid = dense("float", side=80, origin=(-30, 7, 1000))
    settings = replace(TINY, tree="neural", subdomain_size=64, epochs=3)
    compressed, decoded = round_trip(grid, settings)
    assert_same_but_active_values(grid, decoded[0])
    assert compressed.grids[0].network_specs["values"].experts > 1


@pytest.mark.parametrize("change", [
    {"feature_map": "hash", "hash_levels": 3, "hash_log2_table": 6, "hash_base": 4, "hash_finest": 16},
    {"activation": "relu"}, {"activation": "tanh"}, {"weights": "half"}, {"weight_bits": 5}, {"settle": 0.0},
])  # fmt: skip
def test_every_kind_of_network(change: dict) -> None:
    grid = dense("float")
    _, decoded = round_trip(grid, replace(TINY, tree="neural", epochs=4, **change))
    assert_same_but_active_values(grid, decoded[0])


def test_active_tiles_of_all_levels_come_back() -> None:
    grid = dense("float")
    topology = grid.topology
    free = np.nonzero(~masks.unpack(topology.lower_child[0]))[0]
    active = masks.unpack(topology.lower_active).copy()
    active[0, free[:50]] = True
    upper_free = np.nonzero(~masks.unpack(topology.upper_child[0]))[0]
    upper_active = masks.unpack(topology.upper_active).copy()
    upper_active[0, upper_free[[3, 77]]] = True
    topology = replace(
        topology, lower_active=masks.pack(active), upper_active=masks.pack(upper_active),
        root_tile_origins=np.array([[-8192, 0, 0], [8192, 4096, 0]], np.int32),
        root_tile_active=np.array([True, False]),
    )  # fmt: skip
    rng = np.random.default_rng(5)
    grid = replace(
        grid,
        topology=topology,
        lower_tile_values=rng.normal(size=grid.lower_tile_values.shape).astype(np.float32),
        root_tile_values=np.array([[4.5], [-0.0]], np.float32),
    )
    for tree in ("explicit", "neural"):
        _, decoded = round_trip(grid, replace(TINY, tree=tree, epochs=3))
        assert_same_but_active_values(grid, decoded[0])
        assert np.array_equal(decoded[0].lower_tile_values, grid.lower_tile_values)
        assert np.array_equal(decoded[0].root_tile_values, grid.root_tile_values)


def test_many_active_tiles_get_a_regressor(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = dense("float", side=40, origin=(0, 0, 0))
    topology = grid.topology
    active = ~masks.unpack(topology.lower_child)
    topology = replace(topology, lower_active=masks.pack(active))
    rows, slots = np.nonzero(active)
    values = (slots % 4096 / 4096 + np.random.default_rng(0).random(len(slots)) * 0.01).astype(np.float32)
    grid = replace(grid, topology=topology, lower_tile_values=values[:, None])
    assert len(rows) > 3500
    monkeypatch.setattr(network_encode, "_FEW_TILES", 1000)
    compressed, decoded = round_trip(grid, replace(TINY, tree="neural", epochs=60, tile_width=8))
    assert "tiles" in compressed.grids[0].network_specs
    assert compressed.grids[0].network_specs["level1"].outputs == 3
    assert_same_but_active_values(grid, decoded[0])
    error = np.abs(decoded[0].lower_tile_values - grid.lower_tile_values).mean()
    assert 0 < error < 0.25


def test_small_constant_and_empty_grids_are_lossless() -> None:
    small = dense("float", side=8)
    constant = replace(dense("float"), leaf_values=np.full_like(dense("float").leaf_values, 3.5))
    empty = fc.SparseGrid(
        "empty", small.value_type, replace(
            small.topology, upper_origins=np.zeros((0, 3), np.int32), upper_child=np.zeros((0, 4096), np.uint8),
            upper_active=np.zeros((0, 4096), np.uint8), lower_child=np.zeros((0, 512), np.uint8),
            lower_active=np.zeros((0, 512), np.uint8), leaf_active=np.zeros((0, 64), np.uint8),
        ),
        np.zeros((0, 512, 1), np.float32), np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32),
        np.zeros((0, 1), np.float32), np.array([2.5], np.float32), GridTransform.uniform(0.5),
    )  # fmt: skip
    compressed, decoded = round_trip(VolumeFile((small, constant, empty)))
    assert [grid.method for grid in compressed.grids] == ["raw", "palette", "none"]
    for original, back in zip((small, constant, empty), decoded, strict=True):
        assert_same_but_active_values(original, back)
        assert np.array_equal(original.leaf_values, back.leaf_values)


def test_few_distinct_floats_are_regressed_but_labels_are_not() -> None:
    steps = np.rint(dense("float").leaf_values * 40)
    scan = replace(dense("float"), leaf_values=(steps / 40).astype(np.float32))
    labels = replace(dense("int32"), leaf_values=steps.astype(np.int32), background=np.zeros(1, np.int32))
    compressed, decoded = round_trip(VolumeFile((scan, labels)))
    assert 16 < len(np.unique(steps)) < 256
    assert [grid.method for grid in compressed.grids] == ["network", "palette"]
    assert np.array_equal(decoded[1].leaf_values, labels.leaf_values)


def test_tolerant_topology_says_what_it_gave_up() -> None:
    grid = sphere()
    settings = replace(
        TINY, tree="neural", topology="tolerant", tolerance=0.1, epochs=400, level0_width=24, value_width=24,
        fourier_size=24, fourier_scale=2.0, learning_rate=0.01,
    )  # fmt: skip
    compressed, decoded = round_trip(grid, settings)
    gave_up = compressed.grids[0].gave_up_voxels
    differs = int((decoded[0].topology.leaf_active_bits != grid.topology.leaf_active_bits).sum())
    assert gave_up == differs > 0
    exact, _ = round_trip(grid, replace(settings, topology="exact"))
    assert len(compressed.grids[0].section("leaf masks")) < len(exact.grids[0].section("leaf masks"))
    lost = grid.topology.leaf_active_bits & ~decoded[0].topology.leaf_active_bits
    band = float(grid.background[0])
    # what is no longer active was within the tolerance of the band's edge
    assert (np.abs(grid.leaf_values[lost]) >= band - 0.1 * 2 * band - 1e-5).all()
    assert set(np.unique(decoded[0].leaf_values[lost])) <= {-band, band}


def test_second_form_converts_to_the_first_without_refitting() -> None:
    grid = sphere()
    neural, decoded = round_trip(grid, replace(TINY, tree="neural"))
    explicit = CompressedVolume.from_bytes(neural.with_explicit_tree().to_bytes())
    assert explicit.grids[0].tree == "explicit"
    assert explicit.grids[0].section("voxel regressor") == neural.grids[0].section("voxel regressor")
    assert "level-0 classifier" not in explicit.grids[0].sections
    assert np.array_equal(explicit.to_grids(device="cpu")[0].leaf_values, decoded[0].leaf_values)


def test_files_keep_order_names_instances_opaque_grids_and_metadata(tmp_path: Path) -> None:
    first = dense("float", side=12)
    instance = replace(first, name="instance", transform=GridTransform.uniform(3.0))
    opaque = OpaqueGrid("points", "Tree_ptdataidx32_5_4_3", bytes(range(256)) * 40, 224, False, 100)
    unnamed = replace(dense("int32", side=10), name="")
    entry = MetaEntry("thing", "my_own_type", b"\x00\xffodd")
    volumes = VolumeFile((first, opaque, instance, unnamed, replace(unnamed)), Metadata((entry,)))
    path = tmp_path / "all.fcodec"
    fc.encode_volume(volumes, TINY).save(path)
    opened = fc.open(path)
    decoded = opened.to_grids()
    assert [grid.name for grid in decoded] == [grid.name for grid in volumes]
    assert decoded.metadata == volumes.metadata
    assert decoded[1] == opaque
    assert decoded[2].leaf_values is decoded[0].leaf_values
    assert decoded[2].transform == instance.transform
    assert len(opened.to_grids(["instance"])) == 1
    with pytest.raises(UnknownGridError, match="'points'"):
        opened.to_grids(["nothing"])


def test_a_seed_makes_encoding_repeatable() -> None:
    grid = sphere()
    settings = replace(TINY, tree="neural")
    first, again = (fc.encode_volume(grid, settings, device="cpu").to_bytes() for _ in range(2))
    assert first == again
    assert fc.encode_volume(grid, replace(settings, seed=1), device="cpu").to_bytes() != first


def test_values_that_are_not_finite_are_refused_or_replaced() -> None:
    grid = dense("float")
    values = grid.leaf_values.copy()
    leaf, slot = (int(x[5]) for x in np.nonzero(grid.topology.leaf_active_bits))
    values[leaf, slot] = np.nan
    broken = replace(grid, leaf_values=values)
    where = grid.topology.leaf_origins[leaf] + masks.slot_offsets(3)[slot]
    with pytest.raises(InvalidValuesError, match=rf"1 active values.*\({where[0]}, {where[1]}, {where[2]}\)"):
        fc.encode_volume(broken, TINY)
    _, decoded = round_trip(broken, replace(TINY, non_finite="replace"))
    assert np.isfinite(decoded[0].leaf_values).all()
    assert decoded[0].topology.equals(grid.topology)


def test_settings_are_checked() -> None:
    for wrong in ({"tree": "oak"}, {"weight_bits": 99}, {"subdomain_size": 100}, {"hash_base": 64, "hash_finest": 8}):
        with pytest.raises(UsageError, match=next(iter(wrong)).split("_")[0]):
            fc.VolumeSettings(**wrong)
    with pytest.raises(UsageError, match="known are"):
        fc.VolumeSettings.preset("huge")
    settings = fc.VolumeSettings.preset("paper-crawler")
    assert fc.VolumeSettings.from_json(settings.to_json()) == settings
    with pytest.raises(UsageError, match="device 'abacus'"):
        fc.encode_volume(sphere(), TINY, device="abacus")


def test_wrong_fingerprint_is_noticed() -> None:
    compressed = fc.encode_volume(dense("float", side=10), TINY)
    grid = compressed.grids[0]
    grid.meta["topology_hash"] = "0" * 32
    with pytest.raises(FormatError, match="fingerprint"):
        compressed.to_grids()


def test_grids_of_one_name_are_told_apart_by_their_positions() -> None:
    first = dense("int32")
    second = replace(first, leaf_values=first.leaf_values + 1)
    lossless = fc.VolumeSettings(quality=fc.Quality(lossless=True))
    opened = CompressedVolume.from_bytes(fc.encode_volume(VolumeFile((first, second)), lossless).to_bytes())
    assert len(opened.to_grids([first.name])) == 2
    for key in (1, -1):
        (only,) = opened.to_grids([key])
        assert only.leaf_values.tobytes() == second.leaf_values.tobytes()
    assert len(opened.to_grids([1, first.name])) == 2
    with pytest.raises(UnknownGridError, match="no grid number 2"):
        opened.to_grids([2])
