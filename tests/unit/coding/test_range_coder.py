"""The range coder: literal bytes, rate near the ideal, growth, and damaged streams."""

import contextlib
import hashlib
import math

import numpy as np
import pytest

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.integers import decode_integers, encode_integers
from fieldcodec.errors import FormatError
from fieldcodec.jit import kernel


@kernel
def code_all(coder, buffer, bits):  # type: ignore[no-untyped-def]
    models = rc.new_models(1)
    for i in range(bits.size):
        buffer = rc.reserve(coder, buffer, 1)
        bits[i] = rc.code_adaptive(coder, buffer, models, 0, np.int64(bits[i]))
    return buffer


@kernel
def code_fixed(coder, buffer, bits, probabilities):  # type: ignore[no-untyped-def]
    for i in range(bits.size):
        buffer = rc.reserve(coder, buffer, 1)
        bits[i] = rc.code_bit(coder, buffer, np.int64(bits[i]), probabilities[i])
    return buffer


@kernel
def code_trees(coder, buffer, values, bits):  # type: ignore[no-untyped-def]
    models = rc.new_models(1 << bits)
    for i in range(values.size):
        buffer = rc.reserve(coder, buffer, 2 * bits)
        values[i] = rc.code_tree(coder, buffer, models, 0, bits, values[i])
        values[i] ^= rc.code_raw(coder, buffer, bits, values[i]) ^ values[i]
    return buffer


def encoded(bits: np.ndarray) -> bytes:
    coder = rc.encoder()
    return rc.finished(coder, code_all(coder, rc.empty_buffer(16), bits.copy()))


def decoded(data: bytes, count: int) -> np.ndarray:
    stream, bits = rc.input_buffer(data), np.zeros(count, np.uint8)
    coder = rc.decoder(stream)
    code_all(coder, stream, bits)
    rc.check_finished(coder, stream, "bits")
    return bits


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_adaptive_bits_come_back_near_the_entropy(share: float) -> None:
    bits = (np.random.default_rng(1).random(200_000) < share).astype(np.uint8)
    data = encoded(bits)
    assert np.array_equal(decoded(data, bits.size), bits)
    p = bits.mean()
    entropy = 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    assert len(data) * 8 <= bits.size * entropy * 1.01 + 150


def test_literal_bytes() -> None:
    assert encoded(np.zeros(0, np.uint8)) == b""
    assert encoded(np.array([1, 0, 0, 1, 0, 1, 1, 1], np.uint8)).hex() == "7740"
    assert (
        encode_integers(np.array([0, 1, -1, 1000, -(2**61), 2**61 - 1])).hex()
        == "8caad0617c80d0000000000bda2f5fffffffffd097428000000000bda2f600000000"
    )


def test_tables_of_the_logistic_domain() -> None:
    tables = mixing.tables()
    assert (
        hashlib.sha256(tables.astype("<i8").tobytes()).hexdigest()
        == "9108205cda0c14e87e24a86e5d15f5ac1a08775a1217b0bd2b292365c2d8270b"
    )
    stretch, squash = tables[:4096], tables[4096:]
    assert np.array_equal(stretch, -stretch[::-1])
    assert np.all(np.diff(stretch) >= 0)
    assert np.all(np.diff(squash) >= 0)
    assert squash.min() == 1
    assert squash.max() == rc.PROB_ONE - 1
    x = np.arange(-mixing.STRETCH_LIMIT, mixing.STRETCH_LIMIT + 1)
    assert np.abs(squash - 65536 / (1 + np.exp(-x / 256))).max() <= 0.5 + 1e-6


def test_extreme_probabilities_and_carries() -> None:
    """Unlikely bits, both ways, with a buffer that must grow; long runs of 0xFF bytes come with them."""
    random = np.random.default_rng(2)
    probabilities = random.choice([1, 2, 100, 32768, 65000, 65534, 65535], 50_000)
    bits = random.integers(0, 2, probabilities.size).astype(np.uint8)
    bits[:20_000] = probabilities[:20_000] < 32768  # the unlikely bit every time: two bytes each
    coder = rc.encoder()
    data = rc.finished(coder, code_fixed(coder, rc.empty_buffer(1), bits.copy(), probabilities))
    ideal = -np.log2(np.where(bits, probabilities, 65536 - probabilities) / 65536).sum() / 8
    assert len(data) <= ideal * 1.001 + 8
    stream, out = rc.input_buffer(data), np.zeros_like(bits)
    coder = rc.decoder(stream)
    code_fixed(coder, stream, out, probabilities)
    rc.check_finished(coder, stream, "bits")
    assert np.array_equal(out, bits)


def test_all_ones_in_low_digits_carry_through() -> None:
    """A stream whose value is just below a carry for thousands of bytes, then carries."""
    bits = np.zeros(4000, np.uint8)
    probabilities = np.full(bits.size, 1)
    for last in (0, 1):
        bits[-1] = last
        coder = rc.encoder()
        data = rc.finished(coder, code_fixed(coder, rc.empty_buffer(), bits.copy(), probabilities))
        stream, out = rc.input_buffer(data), np.zeros_like(bits)
        code_fixed(rc.decoder(stream), stream, out, probabilities)
        assert np.array_equal(out, bits)


def test_trees_and_raw_bits() -> None:
    values = np.random.default_rng(3).integers(0, 64, 1000)
    coder = rc.encoder()
    data = rc.finished(coder, code_trees(coder, rc.empty_buffer(), values.copy(), 6))
    stream, out = rc.input_buffer(data), np.zeros_like(values)
    coder = rc.decoder(stream)
    code_trees(coder, stream, out, 6)
    rc.check_finished(coder, stream, "trees")
    assert np.array_equal(out, values)


def test_cut_and_lengthened_streams_are_noticed() -> None:
    data = encoded(np.random.default_rng(4).integers(0, 2, 1000).astype(np.uint8))
    with pytest.raises(FormatError, match="damaged"):
        decoded(data[:-8], 1000)
    with pytest.raises(FormatError, match="damaged"):
        decoded(data + bytes(rc.TAIL_BYTES + 1), 1000)


@pytest.mark.parametrize("data", [b"", b"\xff" * 4, b"\xff" * 1000, bytes(1000)])
def test_hostile_streams_end(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert decode_integers(data, 50).shape == (50,)


def test_integers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2\^61"):
        encode_integers(np.array([2**61]))
