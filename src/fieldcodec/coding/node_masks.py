"""Lossless coding of the child and active masks of internal nodes (NeuralVDB, sections 3.1 and 3.3).

A slot is in one of three states: inactive tile, active tile, child. Its state is coded as two
yes-or-no questions (a child? an active tile?) with contexts of the slots before it, in its own node
and in neighbouring nodes, and of a classifier's hint where there is one.

A hint is `8 * class + confidence`: class 0 inactive tile, 1 active tile, 2 child; confidence 0..7,
about the logit in nats. Active bits of slots that have a child are restored too: one flag says that
all are 0, as OpenVDB leaves them, else they are coded.
"""

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import node_kernels as kernels
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.groups import Group, GroupCoder, decode_groups, encode_groups
from fieldcodec.coding.neighbours import cells_and_table

GROUP_SLOTS = 1 << 20  # slots in an independent group of nodes
_HINTED, _CHILD_ACTIVE = 1, 2
_HINT_LEVELS = 24
_WHAT = "child and active masks"


def encode_node_masks(
    child: np.ndarray,
    active: np.ndarray,
    log2: int,
    origins: np.ndarray,
    hints: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> bytes:
    """Code the masks of internal nodes.

    Args:
        child: [n, slots / 8] uint8, packed; slots = 8^log2.
        active: [n, slots / 8] uint8, packed.
        log2: 4 for lower nodes, 5 for upper nodes.
        origins: [n, 3] int32, distinct; the decoder needs the same in the same order.
        hints: [n, slots] uint8, or None.
        threads: how many to use; None for one per processor. The bytes do not depend on it.
    """
    child_bits, active_bits = (np.unpackbits(mask, axis=-1, bitorder="little") for mask in (child, active))
    states = np.where(child_bits, np.uint8(kernels.CHILD), active_bits)
    child_active = bool((active & child).any())
    code = _group_coder(states, log2, origins, hints)

    def encode(coder: np.ndarray, buffer: np.ndarray, group: Group) -> np.ndarray:
        buffer, rows = code(coder, buffer, group), slice(*group)
        if child_active:
            buffer = kernels.code_flags(coder, buffer, active_bits[rows][child_bits[rows] > 0])
        return buffer

    writer = ByteWriter()
    writer.byte((0 if hints is None else _HINTED) | (_CHILD_ACTIVE if child_active else 0))
    writer.varint(len(states))
    writer.streams(encode_groups(encode, _groups(len(states), log2), threads))
    return writer.getvalue()


def decode_node_masks(
    data: bytes, log2: int, origins: np.ndarray, hints: np.ndarray | None = None, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Child and active masks, each [n, slots / 8] uint8, as `encode_node_masks` was given them.

    Raises:
        FormatError: the bytes are damaged, or are of other nodes.
    """
    reader = ByteReader(data, _WHAT)
    flags, count = reader.byte(), reader.varint()
    if flags & ~(_HINTED | _CHILD_ACTIVE):
        raise reader.error(f"flags {flags} are unknown")
    if count != len(origins):
        raise reader.error(f"they are of {count} nodes, but the tree has {len(origins)}")
    if flags & _HINTED and hints is None:
        raise reader.error("they need a classifier's hints, but there are none")
    groups = _groups(count, log2)
    states = np.zeros((count, 1 << 3 * log2), np.uint8)
    active = np.zeros(states.shape, bool)
    code = _group_coder(states, log2, origins, hints if flags & _HINTED else None)

    def decode(coder: np.ndarray, stream: np.ndarray, group: Group) -> np.ndarray:
        stream, rows = code(coder, stream, group), slice(*group)
        active[rows] = states[rows] == kernels.ACTIVE
        if flags & _CHILD_ACTIVE:
            has_child = states[rows] == kernels.CHILD
            bits = np.zeros(int(has_child.sum()), np.uint8)
            stream = kernels.code_flags(coder, stream, bits)
            active[rows][has_child] = bits
        return stream

    decode_groups(decode, groups, reader, threads)
    child = np.packbits(states == kernels.CHILD, axis=-1, bitorder="little")
    return child, np.packbits(active, axis=-1, bitorder="little")


def _group_coder(states: np.ndarray, log2: int, origins: np.ndarray, hints: np.ndarray | None) -> GroupCoder:
    """The kernel with all it needs besides coder, buffer and range of nodes."""
    slots = 1 << (3 * log2)
    if states.shape != (len(origins), slots):
        raise ValueError(f"{len(origins)} nodes of {slots} slots need {slots // 8} bytes of mask each")
    if hints is not None and hints.shape != states.shape:
        raise ValueError(f"hints must have shape {states.shape}, got {hints.shape}")
    own = np.zeros((0, slots), np.uint8) if hints is None else np.array(hints, np.uint8, order="C")
    if own.size and own.max() >= _HINT_LEVELS:
        raise ValueError(f"hints must be in 0..{_HINT_LEVELS - 1}, found {own.max()}")
    cells, table = cells_and_table(origins, 7 if log2 == 4 else 12)
    logistic = mixing.tables()

    def code(coder: np.ndarray, buffer: np.ndarray, group: Group) -> np.ndarray:
        result: np.ndarray = kernels.code_nodes(coder, buffer, states, log2, cells, table, *group, own, logistic)
        return result

    return code


def _groups(count: int, log2: int) -> list[tuple[int, int]]:
    size = GROUP_SLOTS >> (3 * log2)
    return [(first, min(first + size, count)) for first in range(0, count, size)]
