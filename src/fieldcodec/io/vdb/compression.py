"""Payloads of blocks: zlib and c-blosc 1 chunks, half precision, and the value tables made of them."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import blosc
import numpy as np
from blosc.blosc_extension import error as BloscError

from fieldcodec.grid.value_type import ValueType
from fieldcodec.io.vdb import kernels
from fieldcodec.io.vdb.layout import ACTIVE_MASK, BLOSC, ZIP, Cursor

_HALF = np.dtype("<f2")
_CHUNK_BYTES = 1 << 25  # value tables are made and taken apart in pieces of about this size
_BLOSC_HEADER = struct.Struct("<4B3i")
_BLOSC_TYPE_SIZE = 4  # what OpenVDB writes for every value type
_BLOSC_LEVEL = 9


@dataclass(frozen=True)
class Storage:
    """How the values of one grid are stored."""

    kind: ValueType
    flags: int
    save_as_half: bool

    @property
    def half(self) -> bool:
        """True where payloads are 16 bits per channel although the values are wider."""
        return self.save_as_half and self.kind.is_float and self.kind.dtype != _HALF

    @property
    def value_bytes(self) -> int:
        return self.kind.dtype.itemsize * self.kind.channels

    @property
    def stored_bytes(self) -> int:
        return (_HALF.itemsize if self.half else self.kind.dtype.itemsize) * self.kind.channels

    @property
    def compressed(self) -> bool:
        return bool(self.flags & (ZIP | BLOSC))

    @property
    def masked(self) -> bool:
        return bool(self.flags & ACTIVE_MASK)

    @property
    def sizes(self) -> kernels.Sizes:
        """What the scanning kernels need."""
        return self.value_bytes, self.stored_bytes, self.compressed, self.masked, self.half

    def chunks(self, count: int, slots: int) -> Iterator[slice]:
        """Slices of `count` value tables, small enough to be held twice in memory."""
        step = max(1, _CHUNK_BYTES // (slots * self.value_bytes))
        return (slice(start, min(start + step, count)) for start in range(0, count, step))

    def round(self, values: np.ndarray) -> np.ndarray:
        """The values a reader will see: rounded to half (by way of float) where they are stored so."""
        return to_half(values).astype(values.dtype) if self.half else values


def to_half(values: np.ndarray) -> np.ndarray:
    """Rounds as OpenVDB does: first to float, then to half; too large values become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype("<f4").astype(_HALF)


def negative(background: np.ndarray) -> np.ndarray:
    """OpenVDB's negative background: sign flipped (bit for bit), integers modulo 2^n, booleans inverted."""
    if background.dtype.kind == "b":
        return ~background
    with np.errstate(over="ignore"):
        return np.negative(background)


def as_bytes(values: np.ndarray) -> np.ndarray:
    """[..., C] of any type -> [..., value bytes] uint8, read only so that kernels are compiled once."""
    raw = np.ascontiguousarray(values).view(np.uint8)
    raw = raw.reshape(*values.shape[:-1], values.shape[-1] * values.dtype.itemsize)
    raw.flags.writeable = False
    return raw


def decompress(chunk: bytes, expected: int, flags: int) -> bytes:
    """One payload of `expected` bytes.

    Raises:
        ValueError: it does not decompress to exactly that size; nothing larger is ever allocated.
    """
    return _blosc_decompress(chunk, expected) if flags & BLOSC else _zip_decompress(chunk, expected)


def _blosc_decompress(chunk: bytes, expected: int) -> bytes:
    if len(chunk) < _BLOSC_HEADER.size:
        raise ValueError(f"a Blosc chunk of {len(chunk)} bytes is shorter than its header")
    *_, num_bytes, block_bytes, chunk_bytes = _BLOSC_HEADER.unpack_from(chunk)
    if num_bytes != expected or chunk_bytes != len(chunk) or not 0 < block_bytes <= max(expected, 1):
        raise ValueError(
            f"a Blosc chunk of {len(chunk)} bytes for {expected} says it has {chunk_bytes} bytes for {num_bytes} "
            f"in blocks of {block_bytes}"
        )
    try:
        values: bytes = blosc.decompress(chunk)
    except BloscError as problem:
        raise ValueError(f"Blosc: {problem}") from problem
    if len(values) != expected:
        raise ValueError(f"a Blosc chunk gives {len(values)} bytes instead of {expected}")
    return values


def _zip_decompress(chunk: bytes, expected: int) -> bytes:
    decoder = zlib.decompressobj()
    try:
        values = decoder.decompress(chunk, expected + 1)
    except zlib.error as problem:
        raise ValueError(f"zip: {problem}") from problem
    if len(values) != expected or not decoder.eof:
        raise ValueError(f"a zip chunk gives {len(values)} bytes or more instead of {expected}")
    return values


def compress(values: bytes | memoryview, flags: int) -> bytes:
    """A payload behind its length; stored as it is, with a negative length, where that is no longer."""
    if not len(values):
        return bytes(8)
    if flags & BLOSC:
        packed = blosc.compress(values, typesize=_BLOSC_TYPE_SIZE, clevel=_BLOSC_LEVEL, cname="lz4")
    else:
        packed = zlib.compress(values)
    if len(packed) < len(values):
        return len(packed).to_bytes(8, "little") + packed
    return (-len(values)).to_bytes(8, "little", signed=True) + bytes(values)


def read_tables(
    cursor: Cursor, blocks: np.ndarray, slots: int, storage: Storage, background: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Value tables of scanned blocks, piece by piece: a slice of the blocks and [m, slots, C] values."""
    data = cursor.array()
    backgrounds = as_bytes(background), as_bytes(negative(background))
    for piece in storage.chunks(len(blocks), slots):
        rows = blocks[piece]
        flat = _payloads(cursor, rows, storage, piece.start)
        starts = np.cumsum(rows[:, kernels.COUNT]) - rows[:, kernels.COUNT]
        out = np.empty((len(rows), slots, storage.value_bytes), np.uint8)
        kernels.scatter(out, data, rows, flat, starts * storage.value_bytes, *backgrounds)
        if storage.kind.is_bool:
            np.minimum(out, 1, out=out)  # any other byte than 0 means true
        yield piece, out.view(storage.kind.dtype)


def _payloads(cursor: Cursor, rows: np.ndarray, storage: Storage, first: int) -> np.ndarray:
    """[bytes] uint8: the payloads of the blocks one after the other, as full values."""
    view = memoryview(cursor.data)
    parts: list[bytes | memoryview] = []
    columns = rows[:, [kernels.PAYLOAD, kernels.LENGTH, kernels.PACKED, kernels.COUNT]].tolist()
    for index, (pos, length, packed, count) in enumerate(columns):
        if not packed:
            parts.append(view[pos : pos + length])
        elif count:
            try:
                parts.append(decompress(bytes(view[pos : pos + length]), count * storage.stored_bytes, storage.flags))
            except ValueError as problem:
                cursor.fail(f"values of node {first + index}: {problem}", pos)
    flat = b"".join(parts)
    if storage.half:
        return as_bytes(np.frombuffer(flat, _HALF).astype(storage.kind.dtype)[None])[0]
    return np.frombuffer(flat, np.uint8)


def write_tables(
    values: np.ndarray, active: np.ndarray, child: np.ndarray, prefix: np.ndarray,
    storage: Storage, background: np.ndarray,
) -> Iterator[bytes | memoryview]:  # fmt: skip
    """Blocks of a file from value tables, one after the other.

    Args:
        values: [n, slots, C].
        active: [n, slots / 8] packed mask of active slots.
        child: [n, slots / 8] packed mask of the slots without a value of their own.
        prefix: [n, p] uint8 written before each block.
        background: [C], rounded as the values are.
    """
    full = storage.round(values)
    stored = as_bytes(to_half(values)) if storage.half else as_bytes(full)
    raw, spans = kernels.pack_blocks(
        as_bytes(full), stored, as_bytes(active), as_bytes(child), as_bytes(background),
        as_bytes(negative(background)), storage.masked, as_bytes(prefix),
    )  # fmt: skip
    view = raw.data
    if not storage.compressed:
        for start, end in _block_bounds(spans, len(raw)):
            yield view[start:end]
        return
    for (start, end), (head, tail) in zip(_block_bounds(spans, len(raw)), spans.tolist(), strict=True):
        payload = b"" if storage.half and head == tail else compress(view[head:tail], storage.flags)
        yield bytes(view[start:head]) + payload
        assert tail == end


def _block_bounds(spans: np.ndarray, size: int) -> list[tuple[int, int]]:
    ends = spans[:, 1].tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
