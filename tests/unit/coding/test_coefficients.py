"""Lattice coefficients: round trip, literal bytes, threads, rate, damage."""

import contextlib
from itertools import pairwise

import numpy as np
import pytest

from fieldcodec.coding import coefficients
from fieldcodec.coding.coefficients import (
    decode_coefficients,
    encode_coefficients,
    is_rough,
    residual_bits,
    simple_prediction,
)
from fieldcodec.errors import FormatError


def blocked(cells: np.ndarray, values: np.ndarray, side: int = 16):  # type: ignore[no-untyped-def]
    """Cells, values and block starts in the order of blocks of `side`^3 nodes."""
    blocks = cells // side
    order = np.lexsort((*cells.T[::-1], *blocks.T[::-1]))
    cells, values, blocks = cells[order], values[order], blocks[order]
    starts = np.flatnonzero(np.any(blocks[1:] != blocks[:-1], axis=1)) + 1
    return cells.astype(np.int64), values.astype(np.int32), np.concatenate([[0], starts, [len(cells)]])


def shell(radius: float = 20.0, thickness: float = 2.0, scale: float = 16.0):  # type: ignore[no-untyped-def]
    """Distances to a bumpy sphere on the nodes of a narrow band around it."""
    size = int(radius + thickness + 4)
    cells = np.stack(np.meshgrid(*[np.arange(-size, size)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(cells - [0.3, 0.1, -0.2], axis=1) - radius + np.sin(cells * 0.9).sum(axis=1) * 0.2
    near = np.abs(distance) < thickness
    return blocked(cells[near], np.rint(distance[near] * scale))


def sparse(count: int = 24, share: float = 0.01):  # type: ignore[no-untyped-def]
    """A full lattice of zeros with a few small values."""
    rng = np.random.default_rng(5)
    cells = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) - 5
    return blocked(cells, rng.integers(-3, 4, len(cells)) * (rng.random(len(cells)) < share))


def wild():  # type: ignore[no-untyped-def]
    """Values of all sizes on scattered nodes, as far apart as coordinates go."""
    rng = np.random.default_rng(6)
    cells = np.concatenate([rng.integers(-(2**31), 2**31, (300, 3)), rng.integers(0, 12, (600, 3))])
    cells = np.unique(cells, axis=0)
    values = rng.integers(-32767, 32768, len(cells)) >> rng.integers(0, 16, len(cells))
    return blocked(cells, values, 1 << 20)


def test_literal_bytes() -> None:
    cells = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [5, 5, 5]])
    values = np.array([3, -1, 0, 200], np.int32)
    data = encode_coefficients(values, cells, np.array([0, 3, 4]))
    assert data.hex() == "0204057facf9f59e"
    assert np.array_equal(decode_coefficients(data, cells, np.array([0, 3, 4])), values)


def test_no_nodes() -> None:
    cells = np.zeros((0, 3), np.int64)
    data = encode_coefficients(np.zeros(0, np.int32), cells, np.zeros(1, np.int64))
    assert len(decode_coefficients(data, cells, np.zeros(1, np.int64))) == 0
    assert data == b"\0\0"


@pytest.mark.parametrize("make", [shell, sparse, wild])
@pytest.mark.parametrize("with_parents", [False, True])
def test_values_come_back_whatever_the_threads(make, with_parents: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(coefficients, "GROUP_NODES", 1500)
    cells, values, starts = make()
    parents = np.where(np.arange(len(values)) % 3, values, -(2**31)).astype(np.int32) if with_parents else None
    data = encode_coefficients(values, cells, starts, parents, threads=1)
    assert data == encode_coefficients(values, cells, starts, parents, threads=3)
    for threads in (1, 3):
        assert np.array_equal(decode_coefficients(data, cells, starts, parents, threads=threads), values)


def test_large_smooth_values_cost_what_their_noise_costs() -> None:
    cells, values, starts = shell(scale=4000.0)
    noise = np.random.default_rng(1).integers(-100, 101, len(values))
    values = (values + noise).astype(np.int32)
    data = encode_coefficients(values, cells, starts)
    assert np.array_equal(decode_coefficients(data, cells, starts), values)
    assert len(data) * 8 / len(values) < 10.5


def test_smooth_fields_and_zeros_are_small() -> None:
    cells, values, starts = shell()
    assert len(encode_coefficients(values, cells, starts)) * 8 < 2.2 * len(values)
    cells, values, starts = sparse(share=0.0)
    assert len(encode_coefficients(values, cells, starts)) < 20
    cells, values, starts = sparse(share=0.01)
    assert len(encode_coefficients(values, cells, starts)) * 8 < 16 * np.count_nonzero(values)


def test_good_parents_pay() -> None:
    cells, values, starts = sparse(share=0.02)
    near = np.where(values != 0, 40, 0).astype(np.int32)
    assert len(encode_coefficients(values, cells, starts, near)) * 2 < len(encode_coefficients(values, cells, starts))


def test_simple_prediction_is_exact_where_a_field_is_linear_and_neighbours_span_space() -> None:
    cells = np.stack(np.meshgrid(*[np.arange(-6, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cells, values, starts = blocked(cells, cells @ [7, -3, 2] + 40)
    assert not is_rough(values, cells, starts)
    wrong = values != simple_prediction(values, cells, starts)
    inner = np.all(cells > -5, axis=1) & np.all(cells[:, 1:] < 8, axis=1)
    assert not wrong[inner].any()
    assert len(encode_coefficients(values, cells, starts)) * 8 < 0.2 * len(values)


def test_simple_prediction_looks_only_back_and_knows_rough_fields() -> None:
    cells, values, starts = shell(12)
    first = simple_prediction(values, cells, starts, rough=False)
    assert first[np.lexsort(cells.T[::-1])[0]] == 0  # no neighbour before it
    assert np.abs(values - first).mean() < np.abs(values - simple_prediction(values, cells, starts, rough=True)).mean()
    changed = values.copy()
    last = np.lexsort(cells.T[::-1])[-1]
    changed[last] += 9
    assert np.array_equal(simple_prediction(changed, cells, starts, rough=False), first)
    rough = (np.random.default_rng(3).integers(0, 8, len(values))).astype(np.int32)
    assert is_rough(rough, cells, starts)


def test_residual_bits_are_code_lengths() -> None:
    residuals = np.arange(-400, 401)
    for mean in (0.02, 0.5, 3.0, 20.0):
        lengths = residual_bits(residuals, mean)
        assert np.exp2(-lengths).sum() == pytest.approx(1.0, abs=1e-3)
        assert (np.abs(residuals) * np.exp2(-lengths)).sum() == pytest.approx(mean, rel=1e-3)


def test_groups_are_whole_blocks() -> None:
    starts = np.array([0, 10, 10, 25, 30, 31])
    groups = coefficients._groups(starts, 12)
    assert groups == [(0, 25), (25, 31)]
    assert all(a[1] == b[0] for a, b in pairwise(groups))


def test_damage_in_one_group_leaves_the_others_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coefficients, "GROUP_NODES", 1500)
    cells, values, starts = shell()
    data = encode_coefficients(values, cells, starts)
    damaged = bytearray(data)
    damaged[-5] ^= 0x55
    first, last = coefficients._groups(starts, 1500)[-1]
    with contextlib.suppress(FormatError):
        found = decode_coefficients(bytes(damaged), cells, starts)
        assert np.array_equal(found[:first], values[:first])
    assert last == len(values)


@pytest.mark.parametrize("make", [shell, sparse, wild])
def test_damaged_bytes_never_crash(make) -> None:  # type: ignore[no-untyped-def]
    cells, values, starts = make() if make is wild else make(12)
    data = encode_coefficients(values, cells, starts)
    for length in [*range(8), len(data) // 2, len(data) - 1]:
        with contextlib.suppress(FormatError):
            found = decode_coefficients(data[:length], cells, starts)
            assert np.abs(found).max() <= coefficients.VALUE_LIMIT
    rng = np.random.default_rng(2)
    for _ in range(30):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            damaged[at] = rng.integers(0, 256)
        with contextlib.suppress(FormatError):
            assert decode_coefficients(bytes(damaged), cells, starts).shape == values.shape
    with contextlib.suppress(FormatError):
        decode_coefficients(data[:3] + bytes([255] * (len(data) - 3)), cells, starts)


def test_foreign_bytes_are_refused() -> None:
    cells, values, starts = sparse(6)
    data = encode_coefficients(values, cells, starts)
    with pytest.raises(FormatError, match="flags 9 are unknown"):
        decode_coefficients(b"\x09" + data[1:], cells, starts)
    with pytest.raises(FormatError, match="of 216 nodes, but the lattice has 0"):
        decode_coefficients(data, cells[:0], np.zeros(1, np.int64))
    with pytest.raises(FormatError, match="without a coarser lattice"):
        decode_coefficients(data, cells, starts, values)
    with pytest.raises(FormatError, match="left over"):
        decode_coefficients(data + b"x", cells, starts)
    with pytest.raises(FormatError):
        decode_coefficients(b"", cells, starts)


def test_wrong_arguments_are_named() -> None:
    cells, values, starts = sparse(6)
    with pytest.raises(ValueError, match=r"must be in -32767\.\.32767"):
        encode_coefficients(np.full(len(cells), 32768), cells, starts)
    with pytest.raises(ValueError, match="need cells of shape"):
        encode_coefficients(values[1:], cells, starts)
    with pytest.raises(ValueError, match="block_starts must rise"):
        encode_coefficients(values, cells, starts[:-1])
    with pytest.raises(ValueError, match="need parents of shape"):
        encode_coefficients(values, cells, starts, values[1:])
    with pytest.raises(ValueError, match="must be distinct"):
        encode_coefficients(values[:2], cells[[0, 0]], np.array([0, 2]))
