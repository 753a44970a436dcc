"""The codec against the oracle: a second decoder, written from docs/format.md, that shares no code with it.

Topology and everything stored exactly must agree bit for bit; what networks give, within float32's rounding.
"""

import subprocess
import sys
import zlib
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.coding.integers import encode_integers
from fieldcodec.coding.masks import encode_leaf_masks
from fieldcodec.coding.node_masks import encode_node_masks
from fieldcodec.coding.palette import encode_slot_values
from fieldcodec.coding.weights import encode_weights
from fieldcodec.container import packed_json
from fieldcodec.container.canonical_json import dump_json
from fieldcodec.container.format import MAX_META_BYTES
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.value_type import VALUE_TYPES
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.frozen import FrozenNetwork
from fieldcodec.nets.integer import LOGIT_UNIT, VALUE_UNIT, ExactNetwork
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.testing.modules import load_module
from fieldcodec.testing.oracle import networks as oracle_networks
from fieldcodec.testing.oracle.bits import decode_integers
from fieldcodec.testing.oracle.container import meta_json
from fieldcodec.testing.oracle.leaf_masks import decode_leaf_masks
from fieldcodec.testing.oracle.meta_words import WORDS
from fieldcodec.testing.oracle.node_masks import decode_node_masks
from fieldcodec.testing.oracle.slot_values import decode_slot_values
from fieldcodec.testing.oracle.volume import decode_volume
from fieldcodec.testing.oracle.weights import decode_weights
from fieldcodec.volume import network_encode, values_codec
from fieldcodec.volume.networks import encode_network

volumes = load_module(Path(__file__).with_name("oracle_volumes.py"))
_TOLERANCE = 1e-4  # of the value range


def test_the_oracle_shares_no_code_with_the_codec() -> None:
    """It may use the data model of `fieldcodec.grid` and named errors, nothing else of the package."""
    script = "import fieldcodec.testing.oracle.volume, sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert not {"torch", "numba"} & set(loaded)
    parts = {name.split(".")[1] for name in loaded if name.startswith("fieldcodec.")}
    assert parts <= {"errors", "grid", "testing", "shapes"}


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets grids of a few leaves have networks."""
    monkeypatch.setattr(values_codec, "SMALL_GRID", 16)
    monkeypatch.setattr(network_encode, "_FEW_TILES", 16)


def _both(source: SparseGrid | VolumeFile, settings: fc.VolumeSettings) -> tuple[fc.CompressedVolume, VolumeFile]:
    """Encodes, decodes with both decoders and compares; returns the compressed volume and the oracle's grids."""
    data = fc.encode_volume(source, settings, device="cpu").to_bytes()
    compressed = fc.CompressedVolume.from_bytes(data)
    ours, theirs = compressed.to_grids(device="cpu"), decode_volume(data)
    assert len(ours) == len(theirs)
    assert ours.metadata == theirs.metadata
    for stored, mine, other in zip(compressed.grids, ours, theirs, strict=True):
        if isinstance(mine, SparseGrid) and isinstance(other, SparseGrid):
            regressed = stored.method == "network" and stored.guiding_network is None  # a guide's values are exact
            _assert_same(mine, other, regressed, "tiles" in stored.meta.get("networks", {}))
        else:
            assert mine == other
    return compressed, theirs


def _assert_same(mine: SparseGrid, other: SparseGrid, regressed: bool, regressed_tiles: bool) -> None:
    assert mine.topology.equals(other.topology)
    for name in ("name", "value_type", "transform", "metadata", "save_as_half"):
        assert getattr(mine, name) == getattr(other, name)
    active = mine.topology.leaf_active_bits if regressed else np.zeros(mine.leaf_values.shape[:2], bool)
    tiles = mine.lower_tile_mask() & regressed_tiles
    for a, b in (
        (mine.background, other.background),
        (mine.leaf_values[~active], other.leaf_values[~active]),
        (mine.lower_tile_values[~tiles], other.lower_tile_values[~tiles]),
        (mine.upper_tile_values, other.upper_tile_values),
        (mine.root_tile_values, other.root_tile_values),
    ):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    _assert_close(mine.leaf_values[active], other.leaf_values[active], mine.save_as_half)
    _assert_close(mine.lower_tile_values[tiles], other.lower_tile_values[tiles], mine.save_as_half)


def _assert_close(mine: np.ndarray, other: np.ndarray, as_half: bool) -> None:
    """Closer than the tolerance, or rounded the other way."""
    if not len(mine):
        return
    a, b = mine.astype(np.float64), other.astype(np.float64)
    step = 1.0
    if mine.dtype.kind == "f":
        step = float(np.finfo(np.float16 if as_half else mine.dtype).eps * np.abs(a).max())
    assert np.abs(a - b).max() <= max(_TOLERANCE * np.ptp(a), step)


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize(
    ("grid", "settings"),
    [
        (volumes.level_set(), volumes.TINY),
        (volumes.level_set(), replace(volumes.TINY, weights="half", activation="tanh", weight_bits=12)),
        (volumes.box("vec3s", side=9), replace(volumes.HASH, activation="relu")),
        (volumes.box("double", side=9), replace(volumes.HASH, weights="half", weight_bits=12)),
        (volumes.long_fog(), replace(volumes.TINY, subdomain_size=64)),
        (volumes.long_fog(), replace(volumes.HASH, subdomain_size=64, activation="tanh", weight_bits=12)),
    ],
    ids=["fourier sin", "half weights tanh", "hash relu", "hash half sin", "two experts", "two experts hash"],
)
def test_neural_trees(grid: SparseGrid, settings: fc.VolumeSettings) -> None:
    compressed, theirs = _both(grid, settings)
    assert set(compressed.grids[0].network_specs) == {"level1", "level0", "values"}
    assert theirs[0].topology.equals(grid.topology)
    if settings.subdomain_size == 64:
        assert len(compressed.grids[0].subdomains) == 2
        assert compressed.grids[0].subdomains.halo == 8


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize(
    ("grid", "settings", "experts", "helpful"),
    [
        (volumes.level_set(), volumes.GUIDING, 1, True),
        (volumes.rod(), replace(volumes.GUIDING, subdomain_size=64), 2, True),
        (volumes.rod(), replace(volumes.HASH, tree="explicit", subdomain_size=64, activation="relu"), 2, False),
        (volumes.long_fog(), replace(volumes.GUIDING, epochs=500, learning_rate=0.01, subdomain_size=64), 2, True),
        (replace(volumes.long_fog(), save_as_half=True), replace(volumes.GUIDING, activation="tanh"), 1, False),
        (volumes.box("vec3s", side=9), volumes.GUIDING, 1, False),
        (volumes.box("half", side=9), volumes.GUIDING, 1, False),
        (volumes.box("int32", side=9), volumes.GUIDING, 1, False),
    ],
    ids=["level set", "two experts", "hash relu", "fog", "halves tanh", "vectors", "half", "integers"],
)
def test_networks_that_guide_masks(
    grid: SparseGrid, settings: fc.VolumeSettings, experts: int, helpful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks and values must agree bit for bit; `helpful` margins are not left out by the mask coder."""
    monkeypatch.setattr(network_encode, "_GAIN", 100.0)
    compressed, theirs = _both(grid, settings)
    stored = compressed.grids[0]
    assert stored.meta["values"]["guided"] is True
    assert stored.meta["values"]["banded"] == grid.is_level_set
    assert set(stored.network_specs) == {"values"}
    assert len(stored.subdomains) == experts
    assert stored.section("leaf masks")[0] == 1 or not helpful
    assert theirs[0].topology.equals(grid.topology)


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize(
    "change",
    [
        {"guided": 1}, {"guided": None}, {"guided": "yes"}, {"banded": 0}, {"banded": None}, {"scale": [0.0]},
        {"scale": [-1.0]}, {"scale": [1e-320]}, {"scale": [True]}, {"scale": [1.0, 1.0]}, {"low": 1.0},
        {"high": [10**400]}, {"method": "raw"},
    ],
)  # fmt: skip
def test_hostile_descriptions_of_guides_are_refused(change: dict[str, Any]) -> None:
    compressed = fc.encode_volume(volumes.level_set(), volumes.GUIDING, device="cpu")
    meta = compressed.grids[0].meta
    forged = replace(compressed.grids[0], meta=meta | {"values": meta["values"] | change})
    with pytest.raises(FormatError):
        decode_volume(replace(compressed, grids=(forged,)).to_bytes())


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("tree", ["neural", "explicit"])
def test_tiles_of_all_levels(tree: str) -> None:
    grid = volumes.with_tiles()
    compressed, theirs = _both(grid, replace(volumes.TINY, tree=tree))
    assert ("tiles" in compressed.grids[0].network_specs) == (tree == "neural")
    assert theirs[0].topology.equals(grid.topology)
    assert theirs[0].root_tile_values.tobytes() == grid.root_tile_values.tobytes()
    assert theirs[0].upper_tile_values.tobytes() == grid.upper_tile_values.tobytes()


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("kind", sorted(VALUE_TYPES))
def test_every_value_type(kind: str) -> None:
    grid = volumes.box(kind, side=9)
    compressed, theirs = _both(replace(grid, save_as_half=kind == "float"), replace(volumes.TINY, tree="explicit"))
    assert (compressed.grids[0].method == "network") == (not grid.value_type.is_bool)
    assert theirs[0].topology.equals(grid.topology)


@pytest.mark.parametrize("kind", ["float", "vec2i", "bool", "uint32"])
def test_values_stored_exactly(kind: str) -> None:
    """Small grids: palettes of one and of several entries, raw values."""
    grid = volumes.box(kind, side=9)
    raw, _ = _both(grid, volumes.TINY)
    few = replace(grid, leaf_values=np.resize(grid.leaf_values[0, :3], grid.leaf_values.shape))
    several, theirs = _both(few, volumes.TINY)
    assert theirs[0].leaf_values.tobytes() == few.leaf_values.tobytes()
    one, theirs = _both(replace(few, leaf_values=np.ones_like(few.leaf_values)), volumes.TINY)
    assert theirs[0].leaf_values.all()
    assert raw.grids[0].method == ("palette" if kind == "bool" else "raw")
    assert several.grids[0].method == one.grids[0].method == "palette"
    assert one.grids[0].meta["values"]["entries"] == 1


def test_instances_and_opaque_grids() -> None:
    source = volumes.several_grids()
    compressed, theirs = _both(source, volumes.TINY)
    assert [grid.instance_of for grid in compressed.grids] == [None, None, 1, 0]
    assert isinstance(theirs[3], OpaqueGrid)
    assert theirs[3] == source[3]
    assert theirs[2].topology is theirs[1].topology
    assert theirs.metadata == source.metadata


def test_empty_grid_and_damage() -> None:
    grid = volumes.box("float", side=7)
    kept = {name: getattr(grid.topology, name)[:0] for name in grid.topology.__dataclass_fields__}
    empty = replace(
        grid, topology=replace(grid.topology, **kept), leaf_values=grid.leaf_values[:0],
        lower_tile_values=grid.lower_tile_values[:0], upper_tile_values=grid.upper_tile_values[:0],
    )  # fmt: skip
    _both(empty, volumes.TINY)
    data = fc.encode_volume(empty, volumes.TINY, device="cpu").to_bytes()
    for position in range(0, len(data), 37):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(FormatError):
            decode_volume(bytes(damaged))


def test_plain_and_packed_meta() -> None:
    value = {"kind": "volume", "grids": [{"name": "größer", "levels": [[8, 3, 64]], "tree": "explicit"}] * 3}
    plain, packed = dump_json(value), packed_json.pack_json(value)
    assert len(packed) < len(plain)
    assert meta_json(plain) == meta_json(packed) == plain


def test_the_words_of_meta_are_those_of_the_specification() -> None:
    text = (Path(__file__).parents[2] / "docs/format.md").read_text(encoding="utf-8")
    block = text.partition("## Words of META")[2].split("```")[1]
    assert block.replace("\n", "").encode() == WORDS == packed_json.WORDS


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"\0" + packer.compress(data) + packer.flush()


def test_damaged_meta_is_refused() -> None:
    packed = packed_json.pack_json({"kind": "volume", "grids": []})
    too_large = _deflated(b'{"kind":"' + bytes(MAX_META_BYTES) + b'"}')
    for damaged in (b"", b"\0", packed[:-1], packed + b"\0", zlib.compress(b"{}"), b"\0\xff\xff", too_large):
        with pytest.raises(FormatError):
            meta_json(damaged)
        with pytest.raises(FormatError):
            packed_json.unpack_json(damaged)
    assert len(meta_json(_deflated(b" " * MAX_META_BYTES))) == MAX_META_BYTES


# --- parts, with more variety than whole volumes of a few leaves can have -----------------------


def _wavy(points: np.ndarray) -> np.ndarray:
    return np.sin(points[..., 0] / 5) + np.cos(points[..., 1] / 4) * np.sin(points[..., 2] / 6)


@pytest.mark.parametrize("hinted", [False, True])
@pytest.mark.parametrize("least", [1, 2048])
def test_leaf_masks(hinted: bool, least: int) -> None:
    rng = np.random.default_rng(0)
    cells = np.array([(x, y, z) for x in range(-1, 2) for y in range(2) for z in range(3)])[rng.permutation(18)[:14]]
    origins = (cells * 8).astype(np.int32)
    origins = origins[np.lexsort((*origins.T[::-1], *(origins & ~127).T[::-1]))]
    field = _wavy(origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2))
    active = field > 0.2
    active[3], active[5] = True, False
    noisy = np.floor(field * 6 + rng.normal(size=field.shape) * 3)
    hints = np.clip(noisy + 16, 0, 31).astype(np.uint8) if hinted else None
    data = encode_leaf_masks(masks.pack(active), origins, hints, group_leaves=least, threads=1)
    found = decode_leaf_masks(data, [(x, y, z) for x, y, z in origins.tolist()], hints.tolist() if hinted else None)
    assert np.array_equal(np.array(found, bool), active)


@pytest.mark.parametrize(("hinted", "child_bits"), [(False, True), (True, False), (True, True)])
def test_node_masks(hinted: bool, child_bits: bool) -> None:
    rng = np.random.default_rng(1)
    origins = np.array([(0, 0, 0), (0, 0, 128), (0, 128, 0)], np.int32)
    field = _wavy(origins[:, None] / 4 + masks.slot_offsets(masks.LOWER_LOG2) * 2)
    states = np.where(field > 0.8, 2, np.where(field > 0.5, 1, 0))
    child = states == 2
    active = (states == 1) | (child & (rng.random(states.shape) < 0.3) & child_bits)
    said = np.clip(states + rng.integers(-1, 2, states.shape) * (rng.random(states.shape) < 0.1), 0, 2)
    hints = (8 * said + rng.integers(0, 8, states.shape)).astype(np.uint8) if hinted else None
    data = encode_node_masks(masks.pack(child), masks.pack(active), masks.LOWER_LOG2, origins, hints, threads=1)
    places = [(x, y, z) for x, y, z in origins.tolist()]
    found = decode_node_masks(data, masks.LOWER_LOG2, places, hints.tolist() if hinted else None)
    assert np.array_equal(np.array(found[0], bool), child)
    assert np.array_equal(np.array(found[1], bool), active)


@pytest.mark.parametrize(("values", "share"), [(2, 0.9), (5, 0.6), (16, 0.5), (17, 0.5)])
def test_slot_values(values: int, share: float) -> None:
    rng = np.random.default_rng(values)
    origins = np.array([(x, y, 0) for x in (-8, 0) for y in (0, 8)], np.int32)
    coded = rng.random((4, masks.LEAF_SLOTS)) < share
    where = _wavy(origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2))
    smooth = np.floor((where + 2) / 4 * values)
    noisy = np.where(rng.random(coded.shape) < 0.2, rng.integers(0, values, coded.shape), smooth)
    content = np.stack([noisy, -noisy], axis=-1).astype("<f4")[coded]
    data = encode_slot_values(content, masks.pack(coded), masks.LEAF_LOG2, origins, threads=1)
    places = [(x, y, z) for x, y, z in origins.tolist()]
    found = decode_slot_values(data, coded.astype(int).tolist(), masks.LEAF_LOG2, places, content.dtype, 2)
    assert data[0] == (values <= 16)
    assert found.tobytes() == content.tobytes()


def test_integers_and_weights() -> None:
    rng = np.random.default_rng(3)
    numbers = (rng.normal(size=400) * 10.0 ** rng.integers(0, 17, 400)).astype(np.int64)
    numbers[:2] = -(1 << 61), (1 << 61) - 1
    assert decode_integers(encode_integers(numbers), 400) == numbers.tolist()
    for _ in range(8):
        sizes = rng.integers(0, 250, 4)
        tensors = [np.clip(np.rint(rng.standard_cauchy(n) * 10 ** rng.uniform(-1, 3)), -2047, 2047) for n in sizes]
        tensors += [np.zeros(60), np.full(50, 2047)]
        integers = [tensor.astype(int) for tensor in tensors]
        found = decode_weights(encode_weights(integers), [len(tensor) for tensor in integers])
        assert found == [tensor.tolist() for tensor in integers]


@pytest.mark.parametrize("bits", [8, 12, None])
@pytest.mark.parametrize(("activation", "mapping"), [("sin", "fourier"), ("relu", "hash"), ("tanh", "hash")])
def test_networks_in_integers(activation: str, mapping: str, bits: int | None) -> None:
    """Classifiers and regressors; among them 12-bit weights on 12-bit hash tables, whose sums float32 would round."""
    spec = NetworkSpec(
        experts=2, extent=80, outputs=3, width=20, depth=2, activation=activation, frequency=2.0, feature_map=mapping,
        fourier_size=9, hash_levels=6, hash_features=8, hash_log2_table=7, hash_base=3, hash_finest=70, seed=5,
    )  # fmt: skip
    network = ExpertNetwork(spec)
    if mapping == "hash":
        network.features.table.data.uniform_(-1, 1)
        network.weights[0].data.clamp_(min=0.2)
    frozen = FrozenNetwork.of(network, bits)
    stored = oracle_networks.decode_network(
        encode_network(frozen), oracle_networks.check_spec(spec.to_json()), "half" if bits is None else "quantised"
    )
    points = np.random.default_rng(0).integers(0, 80, (12, 3)).astype(np.int32)
    for expert, unit in product(range(2), (LOGIT_UNIT, VALUE_UNIT)):
        exact = oracle_networks.ExactExpert(stored, expert, unit)
        expected = [exact.logits(point) for point in points.tolist()]
        assert ExactNetwork(frozen, unit).logits(expert, points).tolist() == expected


def test_weights_too_large_for_exact_evaluation_are_refused() -> None:
    spec = NetworkSpec(experts=1, extent=8, outputs=1, width=4, depth=1, fourier_size=2, frequency=9e5)
    network = ExpertNetwork(spec)
    network.weights[0].data[:] = 1e6
    frozen = FrozenNetwork.of(network, 8)
    with pytest.raises(FormatError, match="too large"):
        ExactNetwork(frozen).logits(0, np.zeros((1, 3), np.int32))
    stored = oracle_networks.decode_network(
        encode_network(frozen), oracle_networks.check_spec(spec.to_json()), "quantised"
    )
    with pytest.raises(FormatError, match="too large"):
        oracle_networks.ExactExpert(stored, 0)
