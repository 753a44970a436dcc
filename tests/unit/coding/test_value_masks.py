"""Leaf masks given decoded values: literal bytes, groups, strange margins, damage, rate on made and real data."""

import numpy as np
import pytest

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.masks import encode_leaf_masks
from fieldcodec.coding.value_calibration import CERTAIN, Calibration, calibrate, read_calibration
from fieldcodec.coding.value_masks import decode_masks_given_values, encode_masks_given_values
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense


def ball(radius: float = 30.0, error: float = 6.0, smooth: int = 3):  # type: ignore[no-untyped-def]
    """Masks and origins of a narrow-band sphere, and margins that are wrong by a smooth random `error` (1/64 voxel)."""
    size = int(2 * radius + 12)
    axes = np.ogrid[:size, :size, :size]
    distance = np.sqrt(sum((axis - size / 2 + 0.3) ** 2 for axis in axes)) - radius
    grid = grid_of_dense("ball", distance.astype(np.float32), np.abs(distance) < 3.0, origin=(-5, 100, -200))
    topology = grid.topology
    noise = np.random.default_rng(1).normal(0, 1, (size, size, size))
    for axis in (0, 1, 2):
        noise = sum(np.roll(noise, k, axis) for k in range(-smooth, smooth + 1))
    decoded = 64 * (3.0 - np.abs(distance)) + noise * (error / noise.std())
    index = topology.leaf_origins[:, None] + masks.slot_offsets(3) - np.array([-5, 100, -200])
    inside = ((index >= 0) & (index < size)).all(axis=-1)
    index = np.where(inside[..., None], index, 0)
    margins = np.where(inside, decoded[tuple(np.moveaxis(index, -1, 0))], -3000)
    return topology.leaf_active, topology.leaf_origins, np.rint(margins).clip(-32768, 32767).astype(np.int16)


def random_leaves(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Masks of noise on leaves that touch, in the order of a tree."""
    side = int(np.ceil(count ** (1 / 3)))
    origins = np.stack(np.unravel_index(np.arange(count), (side, side, side)), axis=1) * 8 - 16
    return np.random.default_rng(seed).integers(0, 256, (count, 64)).astype(np.uint8), origins.astype(np.int32)


def test_literal_bytes() -> None:
    origins = np.array([[0, 0, 0], [0, 0, 8]], np.int32)
    leaves = np.zeros((2, 64), np.uint8)
    leaves[0, :8] = 0x3C
    leaves[1, :40] = 255
    margins = np.where(masks.unpack(leaves), 20, -20).astype(np.int16)
    assert encode_masks_given_values(leaves, origins, margins).hex() == "010294800200801000"
    margins[:, ::7] = 3
    assert encode_masks_given_values(leaves, origins, margins).hex() == "0102838002017b801006a0338666dd64"


@pytest.mark.parametrize("group_leaves", [1, 40, 2048])
def test_any_grouping_and_thread_count(group_leaves: int) -> None:
    leaves, origins, margins = ball(60.0)
    data = encode_masks_given_values(leaves, origins, margins, group_leaves=group_leaves, threads=1)
    assert data == encode_masks_given_values(leaves, origins, margins, group_leaves=group_leaves, threads=3)
    for threads in (1, 3):
        assert np.array_equal(decode_masks_given_values(data, origins, margins, threads=threads), leaves)


def test_the_better_the_values_the_fewer_the_bytes() -> None:
    sizes = []
    for error in (0.0, 1.0, 4.0, 16.0):
        leaves, origins, margins = ball(error=error)
        data = encode_masks_given_values(leaves, origins, margins)
        assert np.array_equal(decode_masks_given_values(data, origins, margins), leaves)
        sizes.append(len(data))
    assert sizes[0] < 80
    assert sizes == sorted(sizes)
    assert sizes[-1] < len(encode_leaf_masks(leaves, origins))


def test_smooth_errors_are_learned() -> None:
    rough, smooth = (len(encode_masks_given_values(*ball(error=8.0, smooth=smooth))) for smooth in (0, 4))
    assert smooth < 0.9 * rough


@pytest.mark.parametrize("kind", ["useless", "inverted", "one value", "extremes", "outlier"])
def test_adversarial_margins_come_back_and_cost_little(kind: str) -> None:
    leaves, origins, _ = ball()
    active = masks.unpack(leaves)
    random = np.random.default_rng(0)
    margins = {
        "useless": random.integers(-32768, 32768, active.shape),
        "inverted": np.where(active, -50, 50),
        "one value": np.full(active.shape, 7),
        "extremes": np.where(random.random(active.shape) < 0.9, active, ~active) * 65535 - 32768,
        "outlier": np.where(random.random(active.shape) < 0.0005, ~active, active) * 2 - 1,
    }[kind].astype(np.int16)
    data = encode_masks_given_values(leaves, origins, margins)
    assert np.array_equal(decode_masks_given_values(data, origins, margins), leaves)
    assert len(data) <= len(encode_leaf_masks(leaves, origins)) + 64


def test_noise_on_touching_leaves() -> None:
    leaves, origins = random_leaves(64)
    margins = np.random.default_rng(1).integers(-300, 300, (64, 512)).astype(np.int16)
    data = encode_masks_given_values(leaves, origins, margins, group_leaves=16)
    assert np.array_equal(decode_masks_given_values(data, origins, margins), leaves)
    assert len(data) < 64 * 64 * 1.05


def test_no_leaves_all_active_none_active_and_extreme_origins() -> None:
    low, high = -(2**31), 2**31 - 8
    for origins in (
        np.zeros((0, 3), np.int32),
        np.array([[low, low, low], [low, high, 0], [high, high, high]], np.int32),
    ):
        margins = np.random.default_rng(0).integers(-32768, 32768, (len(origins), 512)).astype(np.int16)
        for leaves in (np.zeros((len(origins), 64), np.uint8), np.full((len(origins), 64), 255, np.uint8)):
            leaves.setflags(write=False)
            data = encode_masks_given_values(leaves, origins, margins)
            assert np.array_equal(decode_masks_given_values(data, origins, margins), leaves)
            assert len(data) < 12


def test_wrong_arguments() -> None:
    origin, leaf, margin = np.zeros((1, 3), np.int32), np.zeros((1, 64), np.uint8), np.zeros((1, 512), np.int16)
    with pytest.raises(ValueError, match="masks of shape"):
        encode_masks_given_values(leaf[:, :8], origin, margin)
    with pytest.raises(ValueError, match="int16 margins"):
        encode_masks_given_values(leaf, origin, margin.astype(np.int32))
    with pytest.raises(ValueError, match="int16 margins"):
        encode_masks_given_values(leaf, origin, margin[:, :64])
    with pytest.raises(ValueError, match="group_leaves"):
        encode_masks_given_values(leaf, origin, margin, group_leaves=0)
    data = encode_masks_given_values(leaf, origin, margin)
    with pytest.raises(ValueError, match="int16 margins"):
        decode_masks_given_values(data, origin, margin.astype(np.int64))
    with pytest.raises(FormatError, match="of 1 leaves"):
        decode_masks_given_values(data, np.zeros((2, 3), np.int32), np.zeros((2, 512), np.int16))
    with pytest.raises(FormatError, match="kind 9"):
        decode_masks_given_values(b"\x09" + data[1:], origin, margin)


def test_damaged_streams_raise_or_end() -> None:
    leaves, origins, margins = ball(14.0)
    data = encode_masks_given_values(leaves, origins, margins, group_leaves=16)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_masks_given_values(data[:length], origins, margins, threads=1)
    random = np.random.default_rng(0)
    for position in [*range(min(len(data), 60)), *range(60, len(data), 1 + len(data) // 200)]:
        damaged = bytearray(data)
        damaged[position] ^= int(random.integers(1, 256))
        try:
            again = decode_masks_given_values(bytes(damaged), origins, margins, threads=1)
        except FormatError:
            continue
        assert again.shape == leaves.shape
    with pytest.raises(FormatError):
        decode_masks_given_values(data, origins, (margins // 2 - 5000).astype(np.int16))


def test_calibrations_are_monotone_certain_at_the_ends_and_come_back() -> None:
    random = np.random.default_rng(0)
    margins = random.integers(-500, 500, 100_000).astype(np.int16)
    active = random.random(margins.size) < 1 / (1 + np.exp(-margins / 40.0))
    fitted = calibrate(margins, active)
    logits = fitted.logits_of(np.arange(-500, 500, dtype=np.int16))
    assert np.all(np.diff(logits) >= 0)
    assert np.abs(logits[440:560] - np.arange(-60, 60) * 6.4).max() < 100
    assert not active[fitted.logits_of(margins) == -CERTAIN].any()
    assert active[fitted.logits_of(margins) == CERTAIN].all()
    writer = ByteWriter()
    fitted.write(writer)
    again = read_calibration(ByteReader(writer.getvalue(), "test"))
    assert np.array_equal(again.knots, fitted.knots)
    assert np.array_equal(again.logits_of(margins), fitted.logits_of(margins))
    assert again.low == fitted.low


def test_calibrations_outside_of_16_bits_are_refused() -> None:
    writer = ByteWriter()
    Calibration(32000, np.array([32000, 40000]), np.array([0, 1])).write(writer)
    with pytest.raises(FormatError, match="ends at 40000"):
        read_calibration(ByteReader(writer.getvalue(), "test"))
    with pytest.raises(FormatError, match="65 knots"):
        read_calibration(ByteReader(b"\x00\x41" + bytes(300), "test"))
