"""Bit masks: the bit order of OpenVDB, and round trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.grid import masks


def test_bit_order_is_that_of_openvdb() -> None:
    bits = np.zeros(512, bool)
    bits[[0, 9, 511]] = True
    packed = masks.pack(bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (64,)
    assert (packed[0], packed[1], packed[63]) == (1, 2, 128)


@pytest.mark.parametrize(("log2", "slots"), [(3, 512), (4, 4096), (5, 32768)])
def test_slot_offsets_invert_the_slot_formula(log2: int, slots: int) -> None:
    x, y, z = masks.slot_offsets(log2).T.astype(np.int64)
    np.testing.assert_array_equal((x << 2 * log2) | (y << log2) | z, np.arange(slots))
    assert x.max() == y.max() == z.max() == (1 << log2) - 1


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(0, 5), seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_pack_count_and_set_slots_agree(rows: int, seed: int, share: float) -> None:
    bits = np.random.default_rng(seed).random((rows, 512)) < share
    packed = masks.pack(bits)
    np.testing.assert_array_equal(masks.unpack(packed), bits)
    assert masks.count(packed) == bits.sum()
    found, expected = masks.set_slots(packed), np.nonzero(bits)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_no_rows_at_all() -> None:
    packed = masks.pack(np.zeros((0, 32768), bool))
    assert packed.shape == (0, 4096)
    assert masks.count(packed) == 0
    assert [len(part) for part in masks.set_slots(packed)] == [0, 0]


def test_count_of_more_bits_than_32_bits_of_bytes_hold() -> None:
    assert masks.count(np.full((3, 1000), 255, np.uint8)) == 24000
