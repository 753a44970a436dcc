"""Packed arrays and network weights: literal bytes, rates, damage."""

import contextlib
import math
import zlib

import blosc
import numpy as np
import pytest

from fieldcodec.coding import arrays
from fieldcodec.coding.arrays import Method, pack_array, unpack_array
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.weights import decode_half, decode_weights, encode_half, encode_weights
from fieldcodec.errors import FormatError


def entropy_bytes(values: np.ndarray) -> float:
    p = np.unique(values, return_counts=True)[1] / values.size
    return float(-(p * np.log2(p)).sum() * values.size / 8)


def test_literal_bytes() -> None:
    assert pack_array(np.array([1, 2], "<i2")).hex() == "000401000200"
    assert encode_weights([np.array([[0, 1], [-1, 3]])]).hex() == "00028cb800"
    ramp = np.arange(-50, 51)
    assert (
        encode_weights([ramp // 10]).hex()
        == "061812910364cc002c000000000df4d2003104e92d723f3cd8972493c5267ae29da6fefab910f1aacb79610a109131cf646c26745b"
    )


@pytest.mark.parametrize(
    ("array", "method"),
    [
        (np.random.default_rng(0).integers(0, 256, 1000).astype(np.uint8), Method.RAW),
        (np.zeros(50, np.uint8), Method.ZLIB),
        (np.arange(20_000, dtype="<i8").reshape(100, 200), Method.BLOSC),
    ],
)
def test_the_smallest_method_wins(array: np.ndarray, method: Method) -> None:
    data = pack_array(array)
    assert data[0] == method
    again = unpack_array(data, array.dtype, array.shape)
    assert np.array_equal(again, array)
    again[...] = 0  # writable


def test_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1000)
    array = np.arange(1111, dtype="<f4")
    assert np.array_equal(unpack_array(pack_array(array), "<f4", (1111,)), array)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "?", "<i8", "<f2"])
def test_types(dtype: str) -> None:
    array = np.array([[0, 1, 0], [1, 1, 0]], dtype)
    assert np.array_equal(unpack_array(pack_array(array), dtype, (2, 3)), array)
    assert unpack_array(pack_array(array[:0]), dtype, (0, 3)).shape == (0, 3)


def framed(method: int, packed: bytes) -> bytes:
    writer = ByteWriter()
    writer.byte(method)
    writer.blob(packed)
    return writer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        framed(9, b"abcd"),
        framed(Method.RAW, b"abc"),
        framed(Method.RAW, b"abcd") + b"x",
        framed(Method.ZLIB, zlib.compress(bytes(1 << 20))),  # a bomb
        framed(Method.ZLIB, zlib.compress(b"abcd")[:-1]),
        framed(Method.ZLIB, zlib.compress(b"abcd") + b"x"),
        framed(Method.BLOSC, b""),
        framed(Method.BLOSC, blosc.compress(bytes(1 << 20), typesize=1)),  # a bomb
        framed(Method.BLOSC, blosc.compress(bytes(4), typesize=1)[:-1]),
        b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7fab",  # a huge length
        b"\x00\x84\x00abcd",  # a length that is not in its shortest form
    ],
)
def test_damaged_arrays(data: bytes) -> None:
    with pytest.raises(FormatError):
        unpack_array(data, "<u1", (4,))


def test_flipped_bytes_of_a_blosc_chunk_raise_or_end() -> None:
    array = (np.arange(300) ** 2).astype("<i4")
    packed = blosc.compress(array.tobytes(), typesize=4, clevel=9, cname="zstd")
    data = framed(Method.BLOSC, packed)
    for position in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with contextlib.suppress(FormatError):
                assert unpack_array(bytes(damaged), "<i4", (300,)).shape == (300,)


def test_bools_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(FormatError, match="neither 0 nor 1"):
        unpack_array(framed(Method.RAW, b"\x02"), "?", (1,))


def test_varints() -> None:
    for value in (0, 127, 128, 300, 2**63 - 1):
        writer = ByteWriter()
        writer.varint(value)
        assert ByteReader(writer.getvalue(), "x").varint() == value
    with pytest.raises(FormatError, match="at most 5"):
        ByteReader(b"\x06", "x").varint(5)
    with pytest.raises(FormatError, match="longer than nine"):
        ByteReader(b"\xff" * 10, "x").varint()


@pytest.mark.parametrize("shape", ["laplace", "normal", "uniform"])
@pytest.mark.parametrize("scale", [0.5, 4.0, 40.0, 300.0])
def test_weights_cost_about_their_entropy(shape: str, scale: float) -> None:
    random = np.random.default_rng(0)
    low = -scale if shape == "uniform" else 0.0
    weights = np.clip(np.rint(getattr(random, shape)(low, scale, 40_000)), -2047, 2047).astype(np.int64)
    data = encode_weights([weights])
    assert np.array_equal(decode_weights(data, [weights.shape])[0], weights)
    assert len(data) < entropy_bytes(weights) * 1.02 + 30


def test_overhead_of_a_tensor_is_small() -> None:
    tensors = [np.full((100,), 5) * (-1) ** np.arange(100) for _ in range(10)]
    assert len(encode_weights(tensors)) < 10 * (30 + 100 / 8)


def test_weights_of_all_shapes() -> None:
    random = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(96, 3), (96,), (1,), (), (0, 5), (64, 64), (48,), (47,)]
    tensors = [random.integers(-9, 9, shape) for shape in shapes]
    tensors[5][:] = 0
    tensors[6][:] = 2047
    again = decode_weights(encode_weights(tensors), shapes)
    assert [a.shape for a in again] == shapes
    assert all(np.array_equal(a, b) for a, b in zip(again, tensors, strict=True))
    assert decode_weights(encode_weights([]), []) == []


@pytest.mark.parametrize("bad", [np.array([2048]), np.array([-2048]), np.array([0.5])])
def test_weights_out_of_range(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="weights must be"):
        encode_weights([bad])


def test_damaged_weights_raise_or_end() -> None:
    weights = np.random.default_rng(0).normal(0, 20, 200).astype(int)
    data = encode_weights([weights, weights[:5]])
    for position in range(len(data)):
        for flip in (1, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with contextlib.suppress(FormatError):
                assert decode_weights(bytes(damaged), [(200,), (5,)])[0].shape == (200,)
    for cut in range(1, len(data)):
        try:
            decode_weights(data[:-cut], [(200,), (5,)])
        except FormatError:
            continue
        raise AssertionError(f"{cut} missing bytes were not noticed")


def test_half() -> None:
    tensors = [np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), np.array([1.5])]
    again = decode_half(encode_half(tensors), [(30, 4), (1,)])
    assert all(np.array_equal(a, b.astype(np.float16)) for a, b in zip(again, tensors, strict=True))
    assert decode_half(encode_half([]), []) == []
    with pytest.raises(ValueError, match="finite"):
        encode_half([np.array([math.inf])])
    with pytest.raises(ValueError, match="finite"):
        encode_half([np.array([70000.0])])
