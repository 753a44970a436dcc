"""Lossless coding of values that are few but must come back bit by bit: inactive voxels and tiles.

Such values are nearly always the background, or the background and its negative by side of the
surface. So a palette of the distinct values, told apart by their bits, is stored, and for each slot
an index into it. A level set's active band separates inside from outside: slots are first joined into
connected components, for each of which is stored whether all its values are equal, and which; only
components that are mixed have an index per slot. A palette of one entry needs no indices at all.
More than 16 distinct values are stored as they are, compressed.
"""

from enum import IntEnum

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import palette_kernels as kernels
from fieldcodec.coding.arrays import pack_array, unpack_array
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.groups import Group, GroupCoder, decode_groups, encode_groups
from fieldcodec.coding.neighbours import cells_and_table
from fieldcodec.errors import FormatError

GROUP_SLOTS = 1 << 22
_WHAT = "inactive and tile values"
_SIDE_LOG2 = {3: 3, 4: 7, 5: 12}  # log2 of a node's slots along a side -> log2 of its voxels along a side


class Kind(IntEnum):
    """How values are stored; append only."""

    RAW = 0
    PALETTE = 1


def encode_slot_values(
    values: np.ndarray, coded: np.ndarray, log2: int, origins: np.ndarray, *, threads: int | None = None
) -> bytes:
    """Code the values of some slots of nodes, bit by bit.

    Args:
        values: [K, C] of any number type, in the order of nodes and slots.
        coded: [n, slots / 8] uint8, packed: the K slots that have a value here; slots = 8^log2.
        log2: 3 for leaves, 4 for lower nodes, 5 for upper nodes.
        origins: [n, 3] int32, distinct.
        threads: how many to use; None for one per processor. The bytes do not depend on it.
    """
    mask = _unpacked(coded, log2, origins)
    if values.ndim != 2 or len(values) != int(mask.sum()):
        raise ValueError(f"{int(mask.sum())} slots need values of shape [slots, channels], got {values.shape}")
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    rows = little.view(np.uint8).reshape(len(values), -1) if values.size else np.zeros((0, 1), np.uint8)
    palette = np.zeros((kernels.MAX_PALETTE + 1, rows.shape[1]), np.uint8)
    indices = np.zeros(len(rows), np.uint8)
    size = int(kernels.index_values(np.array(rows), palette, indices))
    writer = ByteWriter()
    if size > kernels.MAX_PALETTE:
        writer.byte(Kind.RAW)
        writer.raw(pack_array(little))
        return writer.getvalue()
    writer.byte(Kind.PALETTE)
    writer.byte(size)
    writer.raw(palette[:size].tobytes())
    if size > 1:
        states = np.full(mask.shape, kernels.ABSENT, np.uint8)
        states[mask] = indices
        code = _group_coder(states, log2, origins, size)
        writer.streams(encode_groups(code, _groups(len(mask), log2), threads))
    return writer.getvalue()


def decode_slot_values(
    data: bytes,
    coded: np.ndarray,
    log2: int,
    origins: np.ndarray,
    dtype: np.dtype | str,
    channels: int,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """[K, channels]: the values that `encode_slot_values` was given with the same slots and origins.

    Raises:
        FormatError: the bytes are damaged, or are of other slots.
    """
    mask = _unpacked(coded, log2, origins)
    count = int(mask.sum())
    dtype = np.dtype(dtype).newbyteorder("<")
    reader = ByteReader(data, _WHAT)
    if reader.byte() == Kind.RAW:
        return unpack_array(data[1:], dtype, (count, channels))
    if data[0] != Kind.PALETTE:
        raise reader.error(f"kind {data[0]} is unknown")
    size = reader.byte()
    if size > kernels.MAX_PALETTE or (size == 0) != (count == 0):
        raise reader.error(f"{count} values cannot have {size} different ones (at most {kernels.MAX_PALETTE})")
    palette = np.frombuffer(reader.raw(size * channels * dtype.itemsize), np.uint8)
    if dtype.kind == "b" and size and palette.max() > 1:
        raise reader.error("a bool is neither 0 nor 1")
    palette = palette.reshape(size, channels, dtype.itemsize).view(dtype)[..., 0]
    if size < 2:
        reader.end()
        return np.repeat(palette, count, axis=0) if size else np.zeros((0, channels), dtype)
    groups = _groups(len(mask), log2)
    states = np.where(mask, np.uint8(0), np.uint8(kernels.ABSENT))
    code = _group_coder(states, log2, origins, size)

    decode_groups(code, groups, reader, threads)
    return palette[states[mask]]


def encode_inactive(
    leaf_values: np.ndarray, leaf_active: np.ndarray, leaf_origins: np.ndarray, *, threads: int | None = None
) -> bytes:
    """Code the inactive values of leaves: `leaf_values` [N, 512, C], `leaf_active` [N, 64] packed."""
    inactive = ~leaf_active
    values = leaf_values[np.unpackbits(inactive, axis=-1, bitorder="little").view(bool)]
    return encode_slot_values(values, inactive, 3, leaf_origins, threads=threads)


def decode_inactive(
    data: bytes,
    leaf_active: np.ndarray,
    leaf_origins: np.ndarray,
    leaf_values: np.ndarray,
    *,
    threads: int | None = None,
) -> None:
    """Write the inactive values into `leaf_values` [N, 512, C]; the active ones are left alone."""
    inactive = ~leaf_active
    kind, channels = leaf_values.dtype, leaf_values.shape[2]
    values = decode_slot_values(data, inactive, 3, leaf_origins, kind, channels, threads=threads)
    leaf_values[np.unpackbits(inactive, axis=-1, bitorder="little").view(bool)] = values


def encode_values(values: np.ndarray) -> bytes:
    """Code values [K, C] that have no place in a node, such as those of root tiles."""
    if len(values) and len(np.unique(_void_rows(values))) == 1:
        return bytes([Kind.PALETTE]) + pack_array(values[:1])
    return bytes([Kind.RAW]) + pack_array(values)


def decode_values(data: bytes, count: int, dtype: np.dtype | str, channels: int) -> np.ndarray:
    """[count, channels]: what `encode_values` was given."""
    if not data or data[0] not in (Kind.RAW, Kind.PALETTE):
        raise FormatError(f"{_WHAT}: kind {data[:1]!r} is unknown; the file is damaged, get it again from its source")
    if data[0] == Kind.RAW:
        return unpack_array(data[1:], dtype, (count, channels))
    return np.repeat(unpack_array(data[1:], dtype, (1, channels)), count, axis=0)


def _void_rows(values: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(values)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()


def _unpacked(coded: np.ndarray, log2: int, origins: np.ndarray) -> np.ndarray:
    """[n, slots] bool."""
    slots = 1 << (3 * log2)
    if coded.shape != (len(origins), slots // 8):
        raise ValueError(f"{len(origins)} nodes need a mask of {slots // 8} bytes each, got shape {coded.shape}")
    return np.unpackbits(coded, axis=-1, bitorder="little").view(bool)


def _groups(count: int, log2: int) -> list[tuple[int, int]]:
    size = GROUP_SLOTS >> (3 * log2)
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def _group_coder(states: np.ndarray, log2: int, origins: np.ndarray, size: int) -> GroupCoder:
    """The kernel with all it needs besides coder, buffer and range of nodes; works on rows of `states`."""
    cells, table = cells_and_table(origins, _SIDE_LOG2[log2])
    logistic = mixing.tables()

    def code(coder: np.ndarray, buffer: np.ndarray, group: Group) -> np.ndarray:
        before = kernels.neighbours_before(cells, table, *group)
        flat = states[slice(*group)].reshape(-1)
        result: np.ndarray = kernels.code_group(coder, buffer, flat, 1 << log2, before, size, logistic)
        return result

    return code
