"""Weights coded as differences to known ones: exact, cheap where little changed, and safe against hostile bytes."""

import contextlib

import numpy as np
import pytest

from fieldcodec.coding.weights import decode_differences, encode_differences, encode_weights
from fieldcodec.errors import FormatError

SHAPES: list[tuple[int, ...]] = [(2, 30, 40), (2, 40), (2, 1), (0, 5)]


def _tensors(scale: float, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [np.rint(random.normal(0, scale, shape)).astype(np.int32) for shape in SHAPES]


def test_what_was_known_and_what_changed_give_the_weights_exactly() -> None:
    earlier = _tensors(300, 0)
    for now in (_tensors(300, 1), earlier):
        again = decode_differences(encode_differences(now, earlier), earlier)
        assert all(np.array_equal(a, b) and a.dtype == np.int32 for a, b in zip(again, now, strict=True))


def test_small_changes_take_fewer_bytes_than_the_weights() -> None:
    earlier = _tensors(60, 0)
    now = [old + change for old, change in zip(earlier, _tensors(1, 1), strict=True)]
    assert len(encode_differences(now, earlier)) < 0.45 * len(encode_weights(now))


def test_a_difference_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="2047"):
        encode_differences([np.array([1100])], [np.array([-1100])])


def test_a_sum_beyond_the_limit_is_refused() -> None:
    data = encode_differences([np.array([2047])], [np.array([1000])])
    assert decode_differences(data, [np.array([1000])])[0].tolist() == [2047]
    with pytest.raises(FormatError, match="beyond 2047"):
        decode_differences(data, [np.array([1001])])


def test_damaged_differences_raise_or_stay_within_limits() -> None:
    earlier = [np.full((10, 20), 2000, np.int32)]
    data = encode_differences([earlier[0] + np.arange(200).reshape(10, 20) % 7], earlier)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x15
        with contextlib.suppress(FormatError):
            assert np.abs(decode_differences(bytes(damaged), earlier)[0]).max() <= 2047
