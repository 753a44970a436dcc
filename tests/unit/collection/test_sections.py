"""Sections of a collection: what is written is read, in few bytes; damage is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.collection.sections import (
    Details,
    Flips,
    decode_corrections,
    decode_details,
    decode_latents,
    decode_networks,
    encode_corrections,
    encode_details,
    encode_latents,
    encode_networks,
)
from fieldcodec.errors import FormatError, UsageError

LIMITS = (1 << 24, 1 << 27)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(1, 20), st.integers(1, 1 << 16), st.integers(0, 2**32 - 1))
def test_latents_come_back(objects: int, size: int, step: int, seed: int) -> None:
    latents = np.random.default_rng(seed).integers(-2047, 2048, (objects, size)).astype(np.int32)
    found, found_step = decode_latents(encode_latents(latents, step), objects, size, *LIMITS)
    assert np.array_equal(found, latents)
    assert (found.dtype, found.shape, found_step) == (np.int32, (objects, size), step)


def test_latents_take_a_byte_a_number() -> None:
    latents = np.rint(np.random.default_rng(0).normal(size=(23, 32)) * 32).astype(np.int32)
    assert len(encode_latents(latents, 5000)) < 700  # their entropy is 650 bytes


@pytest.mark.parametrize(
    ("latents", "step", "problem"),
    [
        ([[1, 2], [3, 4]], 0, "step is 0"),
        ([[1, 2], [3, 4]], (1 << 24) + 1, "at most 16777216"),
        ([[1, 2], [3, 2048]], 1, "2048 steps"),
        ([[1, 2], [3, -9]], 1 << 24, "9 steps, at most 8"),
    ],
)
def test_latents_beyond_their_limits_are_refused(latents: list[list[int]], step: int, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        decode_latents(encode_latents(np.array(latents), step), 2, 2, *LIMITS)


def test_latents_without_end_are_refused_before_anything_is_read() -> None:
    with pytest.raises(FormatError, match="more than 67108864"):
        decode_latents(b"", 1 << 16, 1025, *LIMITS)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=5), st.integers(0, 2**32 - 1))
def test_details_come_back(cells: list[int | None], seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_ones = [
        None if count is None else Details(2, 1 + row, rng.integers(-99, 100, (count, 5)).astype(np.int32))
        for row, count in enumerate(cells)
    ]
    coded = encode_details(given_ones)
    sizes = [None if count is None else (2, count) for count in cells]
    assert bool(coded) == any(size is not None for size in sizes)
    for each, stored in zip(given_ones, decode_details(coded, sizes, 5), strict=True):
        assert (each is None) == (stored is None)
        if each is not None and stored is not None:
            found = stored.decode(*LIMITS)
            assert (found.level, found.step) == (each.level, each.step)
            assert np.array_equal(found.numbers, each.numbers)


def test_details_that_do_not_fit_their_objects_are_refused() -> None:
    coded = encode_details([Details(1, 7, np.ones((8, 5), np.int32)), None])
    for sizes in ([None, None], [(1, 8), (1, 8)], [None, (1, 8)], [(1, 8)], [(1, 8), None, None]):
        with pytest.raises(FormatError, match="latent details"):
            decode_details(coded, sizes, 5)
    stored = decode_details(coded, [(1, 1 << 24), None], 5)[0]
    assert stored is not None
    with pytest.raises(FormatError, match="more than 67108864"):
        stored.decode(*LIMITS)
    with pytest.raises(FormatError):
        decode_details(b"", [(1, 8)], 5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sets(st.integers(0, 7), max_size=8), min_size=3, max_size=3), max_size=5), st.data())
def test_corrections_come_back(places: list[list[set[int]]], data: st.DataObject) -> None:
    cells = [[8, 64, 100]] * len(places)
    spread = [1, 8, 64]
    flips: list[Flips] = [
        tuple(np.array(sorted(place * width for place in level)) for level, width in zip(each, spread, strict=True))
        for each in places
    ]
    coded = encode_corrections(flips)
    assert bool(coded) == any(any(each) for each in places)
    for stored, expected in zip(decode_corrections(coded, cells), flips, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(stored.decode(), expected, strict=True))
        assert bool(stored.num_bytes) == any(map(len, expected))


def test_few_corrections_take_few_bytes() -> None:
    rng = np.random.default_rng(0)
    flips = tuple(np.sort(rng.choice(8**level, min(level, 4), replace=False)) for level in range(1, 7))
    none = tuple(np.zeros(0, np.int64) for _ in flips)
    coded = encode_corrections([flips, none, none])
    assert len(coded) < 60  # 20 places of 3 to 18 bits are 28 bytes
    assert len(encode_corrections([flips, none])) == len(coded) - 1


@pytest.mark.parametrize(
    "flips",
    [
        ([8], [], []),
        ([], [64], []),
        ([], [], [0, 1, 5 * 8]),
        (list(range(9)), [], []),
    ],
)
def test_corrections_of_children_that_are_not_there_are_refused(flips: tuple[list[int], ...]) -> None:
    coded = encode_corrections([tuple(np.array(level, np.int64) for level in flips)])
    stored = decode_corrections(coded, [(8, 5, 40)])
    with pytest.raises(FormatError, match="tree corrections"):
        stored[0].decode()


def test_backward_and_endless_corrections_are_refused() -> None:
    turned = encode_corrections([(np.array([5, 2]), np.array([]), np.array([]))])
    with pytest.raises(FormatError, match="among 8 children"):
        decode_corrections(turned, [(8, 5, 40)])[0].decode()
    many = encode_corrections([(np.array([5, 6]), np.zeros(0, int), np.zeros(0, int))])
    stream = bytes.fromhex("07 00 00 80808009 00")  # its length, 0, 0 and 9 * 2^21 corrections, an empty blob
    with pytest.raises(FormatError, match="at most 16777216 are allowed"):
        decode_corrections(stream, [(8, 1 << 24, 1 << 24)])[0].decode()
    for cut in range(1, len(many)):
        with pytest.raises(FormatError):
            decode_corrections(many[:cut], [(8, 5, 40)])[0].decode()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 90), max_size=4), st.integers(0, 2**32 - 1))
def test_networks_come_back(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    tensors = [np.rint(rng.normal(size=size) * 40).astype(np.int32) for size in sizes]
    steps = rng.uniform(1e-6, 1, len(sizes)).astype(np.float32)
    found, found_steps = decode_networks(encode_networks(tensors, steps), [(size,) for size in sizes])
    assert all(np.array_equal(*pair) for pair in zip(found, tensors, strict=True))
    assert np.array_equal(found_steps, steps)


def test_a_cut_section_of_networks_is_refused() -> None:
    with pytest.raises(FormatError, match="steps alone need 8"):
        decode_networks(b"\0" * 7, [(3,), (4,)])


def test_small_files_ask_for_little_memory() -> None:
    """What would take seconds and gigabytes is refused from its size alone."""
    with pytest.raises(FormatError, match="more than 256 a byte"):
        decode_networks(bytes(80), [(1 << 14, 1 << 14), (1 << 14,)])
    with pytest.raises(FormatError, match="more than 256 a byte"):
        decode_latents(encode_latents(np.zeros((1, 4)), 1), 1 << 14, 1 << 12, *LIMITS)
    stream = bytes.fromhex("07 00 00 80808004 00")  # 2^23 corrections
    with pytest.raises(FormatError, match="more than 256 a byte"):
        decode_corrections(stream, [(8, 1 << 24, 1 << 24)])[0].decode()
    with pytest.raises(UsageError, match="almost all weights are equal"):
        encode_networks([np.zeros((1 << 11, 1 << 10), np.int32)], np.ones(1, np.float32))
