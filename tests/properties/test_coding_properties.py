"""Every coder gives back what it was given; foreign bytes raise FormatError or end."""

import contextlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.coding.arrays import pack_array, unpack_array
from fieldcodec.coding.integers import decode_integers, encode_integers
from fieldcodec.coding.masks import decode_leaf_masks, encode_leaf_masks
from fieldcodec.coding.node_masks import decode_node_masks, encode_node_masks
from fieldcodec.coding.palette import decode_slot_values, encode_slot_values
from fieldcodec.coding.weights import decode_weights, encode_weights
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks

SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0])


def leaves(random: np.random.Generator, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Origins of some leaves of a small box, in any order, and masks of bits, whole rows or whole leaves."""
    cells = random.permutation(4 * 4 * 20)[: random.integers(0, 30)]
    origins = np.stack(np.unravel_index(cells, (4, 4, 20)), axis=1).astype(np.int32) * 8 - 64
    bits = random.random((len(cells), 512)) < share
    repeat = (1, 8, 512)[random.integers(0, 3)]
    return origins, masks.pack(np.repeat(bits[:, ::repeat], repeat, axis=1))


@settings(max_examples=40, deadline=None)
@given(SEEDS, SHARES, st.booleans(), st.integers(1, 40))
def test_leaf_masks(seed: int, share: float, hinted: bool, group_leaves: int) -> None:
    random = np.random.default_rng(seed)
    origins, active = leaves(random, share)
    hints = random.integers(0, 32, (len(origins), 512)).astype(np.uint8) if hinted else None
    data = encode_leaf_masks(active, origins, hints, group_leaves=group_leaves)
    assert np.array_equal(decode_leaf_masks(data, origins, hints), active)


@settings(max_examples=15, deadline=None)
@given(SEEDS, SHARES, SHARES, st.booleans())
def test_node_masks(seed: int, share: float, active_share: float, hinted: bool) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(0, 4))
    origins = np.stack([np.arange(count) * 128] * 3, axis=1).astype(np.int32)
    child = masks.pack(random.random((count, 4096)) < share)
    active = masks.pack(random.random((count, 4096)) < active_share)
    hints = random.integers(0, 24, (count, 4096)).astype(np.uint8) if hinted else None
    again = decode_node_masks(encode_node_masks(child, active, 4, origins, hints), 4, origins, hints)
    assert np.array_equal(again[0], child)
    assert np.array_equal(again[1], active)


@settings(max_examples=40, deadline=None)
@given(SEEDS, SHARES, st.integers(1, 20), st.sampled_from(["<f4", "<f8", "<i8", "?", "<f2"]), st.integers(1, 3))
def test_slot_values(seed: int, share: float, different: int, dtype: str, channels: int) -> None:
    random = np.random.default_rng(seed)
    origins, coded = leaves(random, share)
    kind = np.dtype(dtype)
    pool = random.bytes(different * channels * kind.itemsize)
    palette = np.frombuffer(pool, np.uint8).reshape(different, -1)
    palette = (palette & 1).view(kind) if kind.kind == "b" else palette.view(kind)
    values = palette[random.integers(0, different, masks.count(coded))]
    data = encode_slot_values(values, coded, 3, origins)
    assert decode_slot_values(data, coded, 3, origins, dtype, channels).tobytes() == values.tobytes()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(-5, 5), st.integers(-(2**61), 2**61 - 1)), max_size=50))
def test_integers(values: list[int]) -> None:
    assert decode_integers(encode_integers(np.array(values, np.int64)), len(values)).tolist() == values


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(0, 2047), st.lists(st.sampled_from([0, 1, 5, 47, 48, 300]), max_size=5))
def test_weights(seed: int, largest: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    tensors = [random.integers(-largest, largest + 1, size) for size in sizes]
    again = decode_weights(encode_weights(tensors), [(size,) for size in sizes])
    assert all(np.array_equal(a, b) for a, b in zip(again, tensors, strict=True))


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from(["<f4", "<f8", "<i8", "<u1", "<f2"]), st.integers(0, 300), st.integers(0, 8))
def test_arrays(seed: int, dtype: str, count: int, zero_bits: int) -> None:
    data = np.frombuffer(np.random.default_rng(seed).bytes(count * np.dtype(dtype).itemsize), np.uint8)
    array = ((data >> zero_bits) << zero_bits).view(dtype) if count else np.zeros(0, dtype)
    assert unpack_array(pack_array(array), dtype, (count,)).tobytes() == array.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_foreign_bytes(data: bytes) -> None:
    origins = np.array([[0, 0, 0], [0, 0, 8]], np.int32)
    coded = np.full((2, 64), 255, np.uint8)
    for decode in (
        lambda: decode_leaf_masks(data, origins),
        lambda: decode_leaf_masks(b"\x00\x02\x01" + bytes([len(data)]) + data, origins),
        lambda: decode_node_masks(b"\x02\x01" + bytes([len(data)]) + data, 4, origins[:1]),
        lambda: decode_slot_values(data, coded, 3, origins, "<f4", 1),
        lambda: decode_slot_values(b"\x01\x02aaaabbbb" + bytes([len(data)]) + data, coded, 3, origins, "<f4", 1),
        lambda: decode_weights(data, [(100,), (3,)]),
        lambda: decode_integers(data, 20),
        lambda: unpack_array(data, "<f4", (7,)),
    ):
        with contextlib.suppress(FormatError):
            decode()
