"""Inactive and tile values: bit by bit, next to nothing for level sets, any values at all."""

import contextlib

import numpy as np
import pytest

from fieldcodec.coding.palette import (
    decode_inactive,
    decode_slot_values,
    decode_values,
    encode_inactive,
    encode_slot_values,
    encode_values,
)
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense

ORIGINS = np.array([[0, 0, 0], [0, 0, 8], [0, 8, 0], [8, 0, 0]], np.int32)
NAN_PAYLOAD = np.frombuffer(np.array([0x7FC00000, 0x7FC00001, 0xFFC00000, 0x80000000, 0], "<u4").tobytes(), "<f4")


def ball():  # type: ignore[no-untyped-def]
    axes = np.ogrid[:64, :64, :64]
    distance = np.sqrt(sum((axis - 31.7) ** 2 for axis in axes)) - 25
    values = np.clip(distance, -3, 3).astype(np.float32)
    grid = grid_of_dense("ball", values, np.abs(distance) < 3, background=3.0, inactive_values=values[..., None])
    return grid


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_literal_bytes() -> None:
    coded = np.full((1, 64), 255, np.uint8)
    values = np.full((512, 1), 3.0, "<f4")
    assert encode_slot_values(values, coded, 3, ORIGINS[:1]).hex() == "010100004040"
    values[:64] = -3.0
    assert encode_slot_values(values, coded, 3, ORIGINS[:1]).hex() == "0102000040c00000404002a290"


def test_level_set_costs_next_to_nothing() -> None:
    grid = ball()
    leaves = grid.topology.leaf_active
    assert set(np.unique(grid.leaf_values[~grid.topology.leaf_active_bits])) == {-3.0, 3.0}
    data = encode_inactive(grid.leaf_values, leaves, grid.topology.leaf_origins)
    assert len(data) < 20
    again = grid.leaf_values.copy()
    again[~grid.topology.leaf_active_bits] = 7
    decode_inactive(data, leaves, grid.topology.leaf_origins, again)
    assert same_bits(again, grid.leaf_values)


@pytest.mark.parametrize(
    "pool",
    [
        NAN_PAYLOAD,
        np.array([-0.0, 0.0], "<f8"),
        np.array([False, True]),
        np.array([-(2**63), 2**63 - 1, 0], "<i8"),
        np.array([1, 2**32 - 1], "<u4"),
        np.arange(16).astype("<f2"),
        np.arange(17).astype("<i4"),  # too many for a palette
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3])
def test_nasty_values(pool: np.ndarray, channels: int) -> None:
    random = np.random.default_rng(0)
    coded = random.integers(0, 256, (4, 64)).astype(np.uint8)
    count = masks.count(coded)
    values = (
        pool[random.integers(0, len(pool), (count, 1))]
        if channels == 1
        else np.repeat(pool[random.integers(0, len(pool), (count, 1))], channels, axis=1)
    )
    data = encode_slot_values(values, coded, 3, ORIGINS)
    assert same_bits(decode_slot_values(data, coded, 3, ORIGINS, pool.dtype, channels), values)


def test_nothing_to_code() -> None:
    for coded in (np.zeros((4, 64), np.uint8), np.zeros((0, 64), np.uint8)):
        origins = ORIGINS[: len(coded)]
        data = encode_slot_values(np.zeros((0, 3), "<f4"), coded, 3, origins)
        assert decode_slot_values(data, coded, 3, origins, "<f4", 3).shape == (0, 3)


@pytest.mark.parametrize("log2", [4, 5])
def test_tiles(log2: int) -> None:
    random = np.random.default_rng(0)
    coded = masks.pack(random.random((2, 1 << (3 * log2))) < 0.9)
    origins = np.array([[0, 0, 0], [0, 0, {4: 128, 5: 4096}[log2]]], np.int32)
    values = random.choice([-3.0, 3.0], (masks.count(coded), 1)).astype("<f4")
    data = encode_slot_values(values, coded, log2, origins)
    assert len(data) < len(values) / 8 * 1.05 + 16
    assert same_bits(decode_slot_values(data, coded, log2, origins, "<f4", 1), values)


@pytest.mark.parametrize(
    "values", [np.zeros((0, 2), "<f4"), np.full((9, 2), np.nan, "<f4"), np.arange(6.0).reshape(3, 2)]
)
def test_values_without_a_place(values: np.ndarray) -> None:
    assert same_bits(decode_values(encode_values(values), len(values), values.dtype, 2), values)


def test_damage_raises_or_ends() -> None:
    random = np.random.default_rng(0)
    coded = np.full((4, 64), 255, np.uint8)
    values = random.choice([1.0, 2.0, 3.0], (2048, 1)).astype("<f4")
    data = encode_slot_values(values, coded, 3, ORIGINS)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x81
        with contextlib.suppress(FormatError):
            assert decode_slot_values(bytes(damaged), coded, 3, ORIGINS, "<f4", 1).shape == (2048, 1)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_slot_values(data[:length], coded, 3, ORIGINS, "<f4", 1)
    with pytest.raises(FormatError):
        decode_slot_values(b"\x01\x01\x02", coded, 3, ORIGINS, "?", 1)  # a bool of 2
    with pytest.raises(FormatError):
        decode_values(b"\x09", 1, "<f4", 1)
