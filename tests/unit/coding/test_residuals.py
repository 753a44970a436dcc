"""Residuals of voxels: exact bytes, bounds, every type without loss, groups and threads, damage, rate."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.coding import residual_kernels as kernels
from fieldcodec.coding.residual_passes import neighbours, passes
from fieldcodec.coding.residuals import decode_residuals, encode_residuals, ordered_integers, values_of_ordered
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks

FLOATS = ("<f2", "<f4", "<f8")
INTEGERS = ("|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8")
ROW = np.array([[0, 0, 0], [0, 0, 8]], np.int32)


def voxels(origins: np.ndarray) -> np.ndarray:
    """[N, 512, 3] coordinates."""
    return origins[:, None] + masks.slot_offsets(3)


def plume(cells: int = 4, scale: float = 1000.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A smooth field with some noise and a coarse prediction of it, on a cube of leaves: masks, origins and both."""
    random = np.random.default_rng(0)
    origins = np.stack(np.unravel_index(np.arange(cells**3), (cells,) * 3), axis=1).astype(np.int32) * 8 - 16
    at = voxels(origins)
    field = np.sin(at[..., 0] / 5) * np.cos(at[..., 1] / 7) + np.sin(at[..., 2] / 3 + at[..., 1] / 9)
    targets = np.rint(scale * (field + 0.02 * random.normal(size=field.shape))).astype(np.int64)
    predictions = np.rint(scale * 0.8 * field).astype(np.int64)
    active = masks.pack(np.linalg.norm(at, axis=-1) < 8 * cells * 0.55)
    return targets, predictions, active, origins


def bits(active: np.ndarray) -> np.ndarray:
    return masks.unpack(active).astype(bool)


def test_passes_visit_every_voxel_once_and_know_only_what_came_before() -> None:
    table = passes()
    assert sorted(table.voxels) == list(range(512))
    rank = np.empty(512, int)
    for number in range(len(table.shape)):
        rank[table.voxels[table.starts[number] : table.starts[number + 1]]] = number
    for number, (stride, side, halo, count) in enumerate(table.shape):
        offsets = neighbours(3 if number == 0 else 2 - (number - 1) % 3)
        assert len(offsets) == count
        for voxel in table.voxels[table.starts[number] : table.starts[number + 1]]:
            place = np.array([voxel >> 6, voxel >> 3 & 7, voxel & 7])
            for offset in offsets:
                other = (place + stride * np.array(offset)) % 8
                before = rank[other[0] * 64 + other[1] * 8 + other[2]]
                assert before < number or (before == number and offset < (0, 0, 0))
                assert max(abs(c) for c in offset) <= halo
        largest = table.places.max() + np.abs(table.taps).max()
        assert side**3 <= 12**3
        assert largest < 12**3


def test_literal_bytes() -> None:
    active = np.zeros((2, 64), np.uint8)
    active[0, :2] = 0xFF
    predictions = np.zeros((2, 512), np.int32)
    targets = np.zeros((2, 512), np.int32)
    assert encode_residuals(targets, predictions, active, ROW, 1)[0].hex() == "02801000006400010001c0"
    targets[0, :16] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]
    data, decoded = encode_residuals(targets, predictions, active, ROW, 1)
    assert data.hex() == "0280100000640001010a4a3eecdeb6b13ecf0e36"
    assert np.array_equal(decoded, targets)
    data, decoded = encode_residuals(targets, predictions, active, ROW, 4)
    assert data.hex() == "028010000064000101055e03eff4b0"
    assert decoded[0, :16].tolist() == [4, 2, 3, 3, 5, 10, 2, 5, 5, 2, 5, 6, 7, 8, 7, 3]
    targets[0, 3:16] = 7  # the values 7, 1, 3 and 4 are listed
    data, decoded = encode_residuals(targets, predictions, active, ROW, 3, economy=50, coarse=50)
    assert data.hex() == "028010000032040101010701010103010403757d08"
    assert np.array_equal(decoded, targets)


@pytest.mark.parametrize("step", [1, 2, 3, 10, 400, 100_000])
@pytest.mark.parametrize(("economy", "coarse"), [(0, 100), (0, 40), (60, 50), (250, 10)])
def test_errors_stay_within_the_bound(step: int, economy: int, coarse: int) -> None:
    targets, predictions, active, origins = plume(3)
    data, decoded = encode_residuals(targets, predictions, active, origins, step, economy=economy, coarse=coarse)
    assert np.array_equal(decode_residuals(data, predictions, active, origins, step), decoded)
    here = bits(active)
    assert np.array_equal(decoded[~here], predictions[~here])
    bound = 0 if step == 1 else (step if economy else step // 2)
    assert np.abs(decoded - targets)[here].max() <= bound


def test_coarser_steps_take_fewer_bytes() -> None:
    targets, predictions, active, origins = plume(4)
    sizes = [len(encode_residuals(targets, predictions, active, origins, step)[0]) for step in (1, 8, 64, 512)]
    assert sizes == sorted(sizes, reverse=True)


def test_economy_takes_fewer_bytes_at_equal_error() -> None:
    targets, predictions, active, origins = plume(4)
    here = bits(active)

    def rate_and_error(step: int, economy: int) -> tuple[int, float]:
        data, decoded = encode_residuals(targets, predictions, active, origins, step, economy=economy)
        return len(data), float(np.mean(np.square(decoded - targets)[here]))

    size, error = rate_and_error(200, 0)
    thrifty_size, thrifty_error = rate_and_error(130, 70)
    assert thrifty_size < size
    assert thrifty_error < error


def test_what_is_near_enough_costs_next_to_nothing() -> None:
    targets, _, active, origins = plume(4)
    assert len(encode_residuals(targets, targets + 3, active, origins, 6)[0]) < 24
    one = targets.copy()
    one[20, np.flatnonzero(bits(active)[20])[0]] += 50  # a single voxel is off
    data, decoded = encode_residuals(one, targets, active, origins, 6)
    assert len(data) < 64
    assert np.abs(decoded - one)[bits(active)].max() <= 3


def test_values_that_repeat_are_cheap_and_exact() -> None:
    random = np.random.default_rng(0)
    targets, predictions, active, origins = plume(3, 1e6)
    targets[random.random(targets.shape) < 0.4] = 123_456
    data, decoded = encode_residuals(targets, predictions, active, origins, 1000)
    assert np.array_equal(decode_residuals(data, predictions, active, origins, 1000), decoded)
    assert np.array_equal((decoded == 123_456) & bits(active), (targets == 123_456) & bits(active))


@pytest.mark.parametrize("group_leaves", [1, 20, 2048])
def test_any_grouping_and_thread_count(group_leaves: int) -> None:
    targets, predictions, active, origins = plume(4)
    origins = origins * 4  # leaves apart, in several lower nodes
    rows = np.lexsort((origins & ~127).T[::-1])
    targets, predictions, active, origins = targets[rows], predictions[rows], active[rows], origins[rows]
    several = encode_residuals(targets, predictions, active, origins, 20, group_leaves=group_leaves, threads=3)
    single = encode_residuals(targets, predictions, active, origins, 20, group_leaves=group_leaves, threads=1)
    assert several[0] == single[0]
    for threads in (1, 3):
        again = decode_residuals(single[0], predictions, active, origins, 20, threads=threads)
        assert np.array_equal(again, single[1])


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_order_of_values(dtype: str) -> None:
    random = np.random.default_rng(0)
    kind = np.dtype(dtype)
    values = np.frombuffer(random.bytes(4096 * kind.itemsize), kind)
    if kind.kind == "f":
        special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(kind).tiny, np.finfo(kind).max], kind)
        values = np.concatenate([values, special])
    numbers = ordered_integers(values)
    assert values_of_ordered(numbers, kind).tobytes() == values.tobytes()
    finite = values[np.isfinite(values)] if kind.kind == "f" else values
    ordered = np.sort(ordered_integers(finite))
    assert np.array_equal(values_of_ordered(ordered, kind), np.sort(finite))
    if kind.kind == "f":
        assert ordered_integers(np.array([-0.0, 0.0], kind)).tolist() == [-1, 0]
    with pytest.raises(ValueError, match="complex64"):
        ordered_integers(np.zeros(1, np.complex64))
    with pytest.raises(ValueError, match="complex64"):
        values_of_ordered(numbers, "complex64")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([*FLOATS, *INTEGERS]),
    st.sampled_from(["noise", "smooth", "few", "constant"]),
    st.sampled_from([0.0, 0.05, 0.7, 1.0]),
)
def test_nothing_is_lost_with_step_1(seed: int, dtype: str, look: str, share: float) -> None:
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    count = int(random.integers(0, 5))
    cells = random.permutation(64)[:count]
    origins = np.stack(np.unravel_index(cells, (4, 4, 4)), axis=1).astype(np.int32) * 8
    noise = np.frombuffer(random.bytes(count * 512 * kind.itemsize), kind).reshape(count, 512)
    if look == "smooth":
        values = (voxels(origins).sum(axis=-1) / 3).astype(kind)
    elif look == "few":
        values = noise[:, :3][np.arange(count)[:, None], random.integers(0, 3, (count, 512))]
    else:
        values = noise if look == "noise" else np.ones((count, 512), kind)
    targets = ordered_integers(np.ascontiguousarray(values))
    shifted = targets + random.integers(-100, 100, targets.shape)
    predictions = shifted if random.random() < 0.5 else random.permuted(targets, axis=1)
    active = masks.pack(random.random((count, 512)) < share)
    data, decoded = encode_residuals(targets, predictions, active, origins, 1)
    assert np.array_equal(decode_residuals(data, predictions, active, origins, 1), decoded)
    here = bits(active)
    assert values_of_ordered(decoded, kind)[here].tobytes() == values[here].tobytes()


def test_the_largest_differences_wrap_around() -> None:
    low, high = -(2**63), 2**63 - 1
    targets = np.full((2, 512), low)
    targets[:, ::3] = high
    targets[:, 1::5] = 0
    predictions = np.full((2, 512), high)
    predictions[1] = low
    predictions[:, ::7] = 0  # 0 against the lowest number: a difference without a positive counterpart
    active = np.full((2, 64), 255, np.uint8)
    data, decoded = encode_residuals(targets, predictions, active, ROW, 1)
    assert np.array_equal(decoded, targets)
    assert np.array_equal(decode_residuals(data, predictions, active, ROW, 1), targets)
    limit = 2**60 - 1
    targets, predictions = np.clip(targets, -limit, limit), np.clip(predictions, -limit, limit)
    for step in (2, 3, 2**40):
        data, decoded = encode_residuals(targets, predictions, active, ROW, step)
        assert int(np.abs(decoded - targets).max()) <= step // 2
        assert np.array_equal(decode_residuals(data, predictions, active, ROW, step), decoded)


def test_types_of_arrays_do_not_matter() -> None:
    targets, predictions, active, origins = plume(2)
    wide = encode_residuals(targets, predictions, active, origins, 5)
    narrow = encode_residuals(targets.astype(np.int16), predictions.astype(np.int32), active, origins, 5)
    assert wide[0] == narrow[0]
    assert narrow[1].dtype == np.int32
    again = decode_residuals(wide[0], predictions.astype(np.int32), active, origins, 5)
    assert again.dtype == np.int32
    assert np.array_equal(again, wide[1])


def test_wrong_arguments() -> None:
    targets, predictions, active, origins = plume(2)
    for step in (0, kernels.STEP_LIMIT + 1):
        with pytest.raises(ValueError, match="step must be"):
            encode_residuals(targets, predictions, active, origins, step)
    with pytest.raises(ValueError, match="economy must be"):
        encode_residuals(targets, predictions, active, origins, 2, economy=251)
    with pytest.raises(ValueError, match="coarse must be"):
        encode_residuals(targets, predictions, active, origins, 2, coarse=9)
    with pytest.raises(ValueError, match="group_leaves"):
        encode_residuals(targets, predictions, active, origins, 2, group_leaves=0)
    with pytest.raises(ValueError, match="targets must be signed integers"):
        encode_residuals(targets[:3], predictions, active, origins, 2)
    with pytest.raises(ValueError, match="predictions that are signed integers"):
        encode_residuals(targets, predictions.astype(float), active, origins, 2)
    with pytest.raises(ValueError, match="masks of shape"):
        encode_residuals(targets, predictions, active[:3], origins, 2)
    with pytest.raises(ValueError, match=r"within 2\^60"):
        encode_residuals(targets, predictions + 2**60, active, origins, 2)


def test_damage_raises_or_ends() -> None:
    targets, predictions, active, origins = plume(2)
    data, _ = encode_residuals(targets, predictions, active, origins, 100)
    with pytest.raises(FormatError, match="of 8 leaves"):
        decode_residuals(data, predictions[:7], active[:7], origins[:7], 100)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_residuals(data[:length], predictions, active, origins, 100, threads=1)
    for position in range(0, len(data), 1 + len(data) // 300):
        for mask in (0x55, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            with contextlib.suppress(FormatError):
                again = decode_residuals(bytes(damaged), predictions, active, origins, 100, threads=1)
                assert again.shape == predictions.shape


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 7), st.sampled_from([1, 7, 2**40]))
def test_foreign_bytes(data: bytes, specials: int, step: int) -> None:
    active = np.full((2, 64), 255, np.uint8)
    predictions = np.arange(1024).reshape(2, 512) << 50
    header = bytes([2, 1, 0, 24, 100, specials]) + b"\x01\x80" * (1 + specials) + bytes([len(data)])
    for bytes_ in (data, header + data):
        with contextlib.suppress(FormatError):
            assert decode_residuals(bytes_, predictions, active, ROW, step).shape == (2, 512)
