"""Lossless coding of the active masks of leaves whose decoded values are known (NeuralVDB, section 3.3.2, made exact).

A decoder that has the values first knows most of the mask: in a level set a voxel is active where the
distance is smaller than the half width, and only voxels near that limit are in doubt. The encoder fits
how a value's `margin` tells the state (see `value_calibration`), so distances and densities are handled
alike; voxels whose margin leaves no doubt cost nothing, the bits of the others are coded by a range
coder that learns from the coded bits how wrong the values are around a voxel (see `value_mask_kernels`).

Leaves are coded in groups that share nothing, so they are decoded by parallel threads and damage
stays inside a group. Where values tell next to nothing, masks are coded as `masks` does without hints.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import value_mask_kernels as kernels
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.groups import Group, GroupCoder, decode_groups, encode_groups
from fieldcodec.coding.masks import GROUP_LEAVES, decode_leaf_masks, encode_leaf_masks, leaf_groups
from fieldcodec.coding.neighbours import cells_and_table
from fieldcodec.coding.value_calibration import CERTAIN, calibrate, read_calibration

MAX_GROUP_LEAVES = 1 << 14  # a group takes 4 KiB of memory a leaf while it is coded
_WITHOUT_VALUES, _WITH_VALUES = 0, 1
_DOUBTFUL = 0.5  # the share of uncertain voxels from which on it is tried whether values help at all
_WIDE, _NEAR = 6, 3  # squared distance in voxels up to which evidence, and estimates and surprises, are used
_BLURS = {  # squared distance: 768 exp(-distance) and 1536 exp(-distance / 2)
    1: (283, 932),
    2: (187, 757),
    3: (136, 646),
    4: (104, 565),
    5: (82, 502),
    6: (66, 451),
}
_WHAT = "active masks of leaves with values"


def encode_masks_given_values(
    leaf_active: np.ndarray,
    leaf_origins: np.ndarray,
    margins: np.ndarray,
    *,
    group_leaves: int = GROUP_LEAVES,
    threads: int | None = None,
) -> bytes:
    """Code active masks of leaves whose decoded values the decoder knows.

    Args:
        leaf_active: [N, 64] uint8, packed masks.
        leaf_origins: [N, 3] int32, distinct multiples of 8; the decoder needs the same in the same order.
        margins: [N, 512] int16, greater where a voxel is more likely active: half width less distance of
            level sets, density of fog. The decoder needs the same integers, on whatever machine.
        group_leaves: the least number of leaves in an independent group; groups end at lower nodes.
        threads: how many to use; None for one per processor. The bytes do not depend on it.
    """
    if not 1 <= group_leaves <= MAX_GROUP_LEAVES:
        raise ValueError(f"group_leaves must be in 1..{MAX_GROUP_LEAVES}, got {group_leaves}")
    masks = np.array(leaf_active, np.uint8, order="C")
    if masks.shape != (len(leaf_origins), 64):
        raise ValueError(f"{len(leaf_origins)} leaves need masks of shape ({len(leaf_origins)}, 64), got {masks.shape}")
    _check_margins(margins, len(masks))
    active = np.unpackbits(masks, axis=-1, bitorder="little").astype(bool)
    calibration = calibrate(margins, active)
    logits = calibration.logits_of(margins)
    code = _group_coder(masks, leaf_origins, logits)

    writer = ByteWriter()
    writer.byte(_WITH_VALUES)
    writer.varint(len(masks))
    calibration.write(writer)
    writer.varint(group_leaves)
    writer.streams(encode_groups(code, leaf_groups(leaf_origins, group_leaves), threads))
    data = writer.getvalue()
    if np.count_nonzero(np.abs(logits) < CERTAIN) > _DOUBTFUL * logits.size:
        without = encode_leaf_masks(leaf_active, leaf_origins, group_leaves=group_leaves, threads=threads)
        if 1 + len(without) < len(data):
            return bytes([_WITHOUT_VALUES]) + without
    return data


def decode_masks_given_values(
    data: bytes, leaf_origins: np.ndarray, margins: np.ndarray, *, threads: int | None = None
) -> np.ndarray:
    """[N, 64] uint8: the masks that `encode_masks_given_values` was given with the same origins and margins.

    Raises:
        FormatError: the bytes are damaged, or are of other leaves.
    """
    reader = ByteReader(data, _WHAT)
    kind = reader.byte()
    if kind == _WITHOUT_VALUES:
        return decode_leaf_masks(data[1:], leaf_origins, threads=threads)
    if kind != _WITH_VALUES:
        raise reader.error(f"kind {kind} is unknown")
    count = reader.varint()
    if count != len(leaf_origins):
        raise reader.error(f"they are of {count} leaves, but the tree has {len(leaf_origins)}")
    _check_margins(margins, count)
    calibration = read_calibration(reader)
    groups = leaf_groups(leaf_origins, max(1, reader.varint(MAX_GROUP_LEAVES)))
    logits = calibration.logits_of(margins)
    masks = np.packbits(logits > 0, axis=-1, bitorder="little")
    code = _group_coder(masks, leaf_origins, logits)

    decode_groups(code, groups, reader, threads)
    return masks


def _check_margins(margins: np.ndarray, count: int) -> None:
    if margins.shape != (count, 512) or margins.dtype != np.int16:
        raise ValueError(
            f"{count} leaves need int16 margins of shape ({count}, 512), got {margins.dtype} {margins.shape}"
        )


def _group_coder(masks: np.ndarray, leaf_origins: np.ndarray, logits: np.ndarray) -> GroupCoder:
    """The kernel with all it needs besides coder, buffer and range of leaves."""
    cells, table = cells_and_table(leaf_origins, 3)
    tables = _tables()

    def code(coder: np.ndarray, buffer: np.ndarray, group: Group) -> np.ndarray:
        result: np.ndarray = kernels.code_group(coder, buffer, masks, logits, cells, table, *group, tables)
        return result

    return code


@cache
def _tables() -> kernels.Tables:
    """Constants of the kernels."""
    reach = range(-kernels.REACH, kernels.REACH + 1)
    wide, near, blurs = [], [], []
    for x, y, z in ((x, y, z) for x in reach for y in reach for z in reach):
        squared = x * x + y * y + z * z
        # Leaves and voxels come in the order of their origins: of these neighbours none was coded before.
        later = (x == 0 and (y, z) > (0, 0) and not (y > 0 > z)) or (x > 0 and y >= 0 and z >= 0)
        if squared == 0 or later:
            continue
        step = kernels.FIRST + (x * kernels.SIDE + y) * kernels.SIDE + z
        if squared <= _WIDE:
            wide.append(step)
            blurs.append(_BLURS[squared])
        if squared <= _NEAR:
            near.append(step)
    return kernels.Tables(
        mixing.tables(), _evidence(), np.array(wide, np.uint64), np.array(near, np.uint64),
        np.ascontiguousarray(np.array(blurs, np.int32).T),
    )  # fmt: skip


def _evidence() -> np.ndarray:
    """[701] int64: 256 E(logit) for i - 350, where logit = (i - 350) / 32 and the bit is 1.

    The error of a logit u is taken as logistic, so that the bit is 1 with probability p = squash(u); then
    E = -(p ln p + (1 - p) ln(1 - p)) / p = ln(1 + exp(-u)) + exp(-u) ln(1 + exp(u)).
    """
    context = Context(prec=18, rounding=ROUND_HALF_EVEN, traps=[])
    last = mixing.STRETCH_LIMIT // kernels.EVIDENCE_STEP
    result = []
    for i in range(-last, last + 1):
        odds = context.exp(context.divide(Decimal(-i * kernels.EVIDENCE_STEP), Decimal(256)))
        less = context.ln(context.add(Decimal(1), odds))
        more = context.multiply(odds, context.ln(context.add(Decimal(1), context.divide(Decimal(1), odds))))
        result.append(int(context.multiply(context.add(less, more), Decimal(256)).to_integral_value(ROUND_HALF_EVEN)))
    return np.array(result, np.int64)
