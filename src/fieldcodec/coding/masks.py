"""Lossless coding of the active masks of leaves (NeuralVDB, section 3.3.2, made exact).

Every voxel's bit is coded by a binary range coder. Its probability is mixed from several context
models (see `mask_kernels`): the voxels before it, in its own leaf and in neighbouring leaves, and,
where a classifier gives one, a hint per voxel. With hints the stream is the entropy-coded list of
the classifier's mistakes: where the hints are right almost nothing is written.

A hint is a quantised logit in 0..31, about `floor(2 * logit) + 16`: 16 and more means "active", and
one step is half a nat. Hints must be the same integers when decoding, on whatever machine.

Leaves are coded in groups that share nothing, so they are decoded by parallel threads and damage
stays inside a group.
"""

import numpy as np

from fieldcodec.coding import mask_kernels as kernels
from fieldcodec.coding import mixing
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.groups import Group, GroupCoder, decode_groups, encode_groups
from fieldcodec.coding.neighbours import cells_and_table

GROUP_LEAVES = 2048  # about one million voxels: 1 to 3 % larger than one stream, 0.2 s to decode
MAX_GROUP_LEAVES = 1 << 20
HINT_ACTIVE = 16  # the smallest hint that means active
_HINTED = 1
_WHAT = "active masks of leaves"


def hints_of_logits(logits: np.ndarray) -> np.ndarray:
    """Hints of logits that are integers in 1/256 nat: [...] int -> [...] uint8 in 0..31."""
    return np.clip((np.asarray(logits, np.int64) >> 7) + HINT_ACTIVE, 0, 31).astype(np.uint8)


def encode_leaf_masks(
    leaf_active: np.ndarray,
    leaf_origins: np.ndarray,
    hints: np.ndarray | None = None,
    *,
    group_leaves: int = GROUP_LEAVES,
    threads: int | None = None,
) -> bytes:
    """Code active masks of leaves.

    Args:
        leaf_active: [N, 64] uint8, packed masks.
        leaf_origins: [N, 3] int32, distinct multiples of 8; the decoder needs the same in the same order.
        hints: [N, 512] uint8 in 0..31, or None.
        group_leaves: the least number of leaves in an independent group; groups end at lower nodes.
        threads: how many to use; None for one per processor. The bytes do not depend on it.
    """
    if not 1 <= group_leaves <= MAX_GROUP_LEAVES:
        raise ValueError(f"group_leaves must be in 1..{MAX_GROUP_LEAVES}, got {group_leaves}")
    masks = np.array(leaf_active, np.uint8, order="C")
    code = _group_coder(masks, leaf_origins, hints)

    streams = encode_groups(code, leaf_groups(leaf_origins, group_leaves), threads)
    writer = ByteWriter()
    writer.byte(0 if hints is None else _HINTED)
    writer.varint(len(masks))
    writer.varint(group_leaves)
    writer.streams(streams)
    return writer.getvalue()


def decode_leaf_masks(
    data: bytes, leaf_origins: np.ndarray, hints: np.ndarray | None = None, *, threads: int | None = None
) -> np.ndarray:
    """[N, 64] uint8: the masks that `encode_leaf_masks` was given with the same origins and hints.

    Raises:
        FormatError: the bytes are damaged, or are of other leaves.
    """
    reader = ByteReader(data, _WHAT)
    flags, count = reader.byte(), reader.varint()
    if flags not in (0, _HINTED):
        raise reader.error(f"flags {flags} are unknown")
    if count != len(leaf_origins):
        raise reader.error(f"they are of {count} leaves, but the tree has {len(leaf_origins)}")
    if flags == _HINTED and hints is None:
        raise reader.error("they need a classifier's hints, but there are none")
    groups = leaf_groups(leaf_origins, max(1, reader.varint(MAX_GROUP_LEAVES)))
    masks = np.zeros((count, 64), np.uint8)
    code = _group_coder(masks, leaf_origins, hints if flags else None)

    decode_groups(code, groups, reader, threads)
    return masks


def _group_coder(masks: np.ndarray, leaf_origins: np.ndarray, hints: np.ndarray | None) -> GroupCoder:
    """The kernel with all it needs besides coder, buffer and range of leaves, in the one form it is compiled for."""
    if masks.shape != (len(leaf_origins), 64):
        raise ValueError(f"{len(leaf_origins)} leaves need masks of shape ({len(leaf_origins)}, 64), got {masks.shape}")
    if hints is not None and hints.shape != (len(masks), 512):
        raise ValueError(f"{len(masks)} leaves need hints of shape ({len(masks)}, 512), got {hints.shape}")
    cells, table = cells_and_table(leaf_origins, 3)
    own = np.zeros((0, 512), np.uint8) if hints is None else np.array(hints, np.uint8, order="C")
    if own.size and own.max() >= kernels.HINT_LEVELS:
        raise ValueError(f"hints must be in 0..{kernels.HINT_LEVELS - 1}, found {own.max()}")
    classes = np.packbits(own >= HINT_ACTIVE, axis=-1, bitorder="little")
    logistic = mixing.tables()

    def code(coder: np.ndarray, buffer: np.ndarray, group: Group) -> np.ndarray:
        result: np.ndarray = kernels.code_group(coder, buffer, masks, cells, table, *group, own, classes, logistic)
        return result

    return code


def leaf_groups(leaf_origins: np.ndarray, group_leaves: int) -> list[tuple[int, int]]:
    """Ranges of leaves: each ends where a lower node ends, the first time it has `group_leaves` leaves."""
    lower = np.asarray(leaf_origins) & ~127
    ends = np.append(np.flatnonzero(np.any(lower[1:] != lower[:-1], axis=1)) + 1, len(lower))
    groups, first = [], 0
    while first < len(lower):
        last = int(ends[np.searchsorted(ends, min(first + group_leaves, len(lower)))])
        groups.append((first, last))
        first = last
    return groups
