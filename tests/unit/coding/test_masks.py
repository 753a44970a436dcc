"""Leaf and node masks: literal bytes, groups, hints, damage, rate on real data."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.coding.masks import decode_leaf_masks, encode_leaf_masks, hints_of_logits
from fieldcodec.coding.node_masks import decode_node_masks, encode_node_masks
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense


def ball(radius: float = 20.0, thickness: float = 3.0):  # type: ignore[no-untyped-def]
    """A narrow-band sphere whose centre is no grid point: its topology, and logits of "active" in 1/256."""
    size = int(2 * radius + 12)
    axes = np.ogrid[:size, :size, :size]
    distance = np.sqrt(sum((axis - size / 2 + 0.3) ** 2 for axis in axes)) - radius
    grid = grid_of_dense("ball", distance.astype(np.float32), np.abs(distance) < thickness, origin=(-5, 100, -200))
    topology = grid.topology
    centre = topology.leaf_origins[:, None] + masks.slot_offsets(3) - (np.array([-5, 100, -200]) + size / 2 - 0.3)
    logits = np.floor((thickness - np.abs(np.linalg.norm(centre, axis=-1) - radius)) * 512).astype(np.int64)
    return topology, logits


def test_literal_bytes() -> None:
    origins = np.array([[0, 0, 0], [0, 0, 8]], np.int32)
    leaves = np.zeros((2, 64), np.uint8)
    leaves[0, :8] = 0x3C
    leaves[1] = 255
    assert encode_leaf_masks(leaves, origins).hex() == "000280100545a9cfeb2c"
    hints = np.where(masks.unpack(leaves), 28, 3).astype(np.uint8)
    assert encode_leaf_masks(leaves, origins, hints).hex() == "010280100150"
    child = np.zeros((1, 512), np.uint8)
    child[0, :2] = 0x81
    active = np.zeros((1, 512), np.uint8)
    active[0, 100] = 0xFF
    assert encode_node_masks(child, active, 4, origins[:1]).hex() == "00010a7f8a34798fdb5eac8ec0"


@pytest.mark.parametrize("group_leaves", [1, 40, 2048])
def test_leaves_come_back_from_any_grouping_and_thread_count(group_leaves: int) -> None:
    topology, _ = ball(40.0)
    data = encode_leaf_masks(topology.leaf_active, topology.leaf_origins, group_leaves=group_leaves, threads=1)
    assert data == encode_leaf_masks(topology.leaf_active, topology.leaf_origins, group_leaves=group_leaves, threads=3)
    for threads in (1, 3):
        again = decode_leaf_masks(data, topology.leaf_origins, threads=threads)
        assert np.array_equal(again, topology.leaf_active)


def test_good_hints_leave_next_to_nothing_and_bad_ones_do_no_harm() -> None:
    topology, logits = ball(40.0)
    plain = len(encode_leaf_masks(topology.leaf_active, topology.leaf_origins))
    exact = hints_of_logits(logits)
    assert np.array_equal(exact >= 16, topology.leaf_active_bits)
    data = encode_leaf_masks(topology.leaf_active, topology.leaf_origins, exact)
    assert np.array_equal(decode_leaf_masks(data, topology.leaf_origins, exact), topology.leaf_active)
    assert len(data) < 64
    random = np.random.default_rng(0)
    near = hints_of_logits(logits + random.normal(0, 200, logits.shape).astype(int))
    data = encode_leaf_masks(topology.leaf_active, topology.leaf_origins, near)
    assert np.array_equal(decode_leaf_masks(data, topology.leaf_origins, near), topology.leaf_active)
    assert len(data) < plain * 0.8
    useless = random.integers(0, 32, logits.shape).astype(np.uint8)
    data = encode_leaf_masks(topology.leaf_active, topology.leaf_origins, useless)
    assert np.array_equal(decode_leaf_masks(data, topology.leaf_origins, useless), topology.leaf_active)
    assert len(data) < plain * 2


def test_extreme_origins() -> None:
    low, high = -(2**31), 2**31 - 8
    origins = np.array([[low, low, low], [low, high, 0], [high, high, high]], np.int32)
    leaves = np.random.default_rng(0).integers(0, 256, (3, 64)).astype(np.uint8)
    assert np.array_equal(decode_leaf_masks(encode_leaf_masks(leaves, origins), origins), leaves)


def test_no_leaves_and_read_only_input() -> None:
    none = np.zeros((0, 64), np.uint8)
    assert decode_leaf_masks(encode_leaf_masks(none, np.zeros((0, 3), np.int32)), np.zeros((0, 3), np.int32)).size == 0
    leaves = np.full((1, 64), 7, np.uint8)
    leaves.setflags(write=False)
    origin = np.zeros((1, 3), np.int32)
    assert np.array_equal(decode_leaf_masks(encode_leaf_masks(leaves, origin), origin), leaves)


def test_wrong_arguments() -> None:
    origin, leaf = np.zeros((1, 3), np.int32), np.zeros((1, 64), np.uint8)
    with pytest.raises(ValueError, match="shape"):
        encode_leaf_masks(leaf[:, :8], origin)
    with pytest.raises(ValueError, match=r"0\.\.31"):
        encode_leaf_masks(leaf, origin, np.full((1, 512), 32, np.uint8))
    with pytest.raises(ValueError, match="group_leaves"):
        encode_leaf_masks(leaf, origin, group_leaves=0)
    with pytest.raises(FormatError, match="of 1 leaves"):
        decode_leaf_masks(encode_leaf_masks(leaf, origin), np.zeros((2, 3), np.int32))
    hinted = encode_leaf_masks(leaf, origin, np.zeros((1, 512), np.uint8))
    with pytest.raises(FormatError, match="need a classifier's hints"):
        decode_leaf_masks(hinted, origin)


def test_damaged_leaf_streams_raise_or_end() -> None:
    topology, _ = ball(12.0)
    data = encode_leaf_masks(topology.leaf_active, topology.leaf_origins, group_leaves=8)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_leaf_masks(data[:length], topology.leaf_origins, threads=1)
    for position in range(0, len(data), 1 + len(data) // 300):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        try:
            again = decode_leaf_masks(bytes(damaged), topology.leaf_origins, threads=1)
        except FormatError:
            continue
        assert again.shape == topology.leaf_active.shape


@pytest.mark.parametrize("log2", [4, 5])
@pytest.mark.parametrize("hinted", [False, True])
def test_nodes_come_back(log2: int, hinted: bool) -> None:
    random = np.random.default_rng(log2)
    slots = 1 << (3 * log2)
    child = masks.pack(random.random((3, slots)) < 0.02)
    active = masks.pack(random.random((3, slots)) < 0.1)  # some of them on slots with a child
    side = {4: 128, 5: 4096}[log2]
    origins = np.array([[0, 0, 0], [0, 0, side], [-side, 0, 0]], np.int32)
    states = np.where(masks.unpack(child), 2, masks.unpack(active))
    hints = (8 * np.where(random.random(states.shape) < 0.99, states, 0) + 5).astype(np.uint8) if hinted else None
    data = encode_node_masks(child, active, log2, origins, hints)
    again = decode_node_masks(data, log2, origins, hints)
    assert np.array_equal(again[0], child)
    assert np.array_equal(again[1], active)
    for position in range(0, len(data), 1 + len(data) // 20):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        with contextlib.suppress(FormatError):
            decode_node_masks(bytes(damaged), log2, origins, hints)
    for length in range(0, len(data), 1 + len(data) // 20):
        with pytest.raises(FormatError):
            decode_node_masks(data[:length], log2, origins, hints)


def test_many_nodes_make_groups() -> None:
    random = np.random.default_rng(0)
    count = 33  # one more than a group of upper nodes
    child = masks.pack(random.random((count, 32768)) < 0.001)
    active = np.zeros_like(child)
    origins = np.stack([np.arange(count) * 4096, np.zeros(count), np.zeros(count)], axis=1).astype(np.int32)
    data = encode_node_masks(child, active, 5, origins, threads=2)
    assert data == encode_node_masks(child, active, 5, origins, threads=1)
    assert np.array_equal(decode_node_masks(data, 5, origins)[0], child)


@pytest.mark.parametrize(("name", "limit"), [("sphere", 0.17), ("smoke", 0.25), ("wdas_cloud_sixteenth", 0.20)])
def test_rate_on_real_volumes(name: str, limit: float) -> None:
    folder = os.environ.get("FIELDCODEC_DATA")
    if folder is None:
        pytest.skip("set FIELDCODEC_DATA to the folder with the real data")
    vdb = pytest.importorskip("fieldcodec.io.vdb")
    topology = vdb.read_vdb(Path(folder) / "vdb" / f"{name}.vdb")[0].topology
    data = encode_leaf_masks(topology.leaf_active, topology.leaf_origins)
    assert np.array_equal(decode_leaf_masks(data, topology.leaf_origins), topology.leaf_active)
    assert len(data) * 8 / topology.num_active_leaf_voxels < limit
