"""Values of a grid: inactive voxels and tiles exactly; active ones exactly or by a network."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.value_type import ValueType
from fieldcodec.testing.oracle.fields import Field
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.scale import LeafNumbers
from fieldcodec.testing.oracle.slot_values import decode_slot_values, decode_values

INACTIVE_VOXELS, INACTIVE_LOWER, INACTIVE_UPPER, INACTIVE_ROOT = 8, 9, 10, 11
ACTIVE_TILES, VOXEL_VALUES = 12, 14
_LEAF = list(product(range(8), repeat=3))


def decode_leaf_values(
    sections: Mapping[int, bytes], meta: Any, topology: Topology, kind: ValueType, field: Field | None,
    numbers: LeafNumbers | None,
) -> np.ndarray:  # fmt: skip
    """[leaves, 512, C]."""
    active = unpack(topology.leaf_active)
    origins = rows(topology.leaf_origins)
    inactive = [[1 - bit for bit in bits] for bits in active]
    rest = decode_slot_values(sections.get(INACTIVE_VOXELS, b""), inactive, 3, origins, kind.dtype, kind.channels)
    points = [
        (x + i, y + j, z + k)
        for (x, y, z), bits in zip(origins, active, strict=True)
        for (i, j, k), bit in zip(_LEAF, bits, strict=True)
        if bit
    ]
    where = np.array(active, bool).reshape(len(origins), 512)
    if numbers is not None:
        values = numbers.values(origins, active)[where]
    elif meta["values"].get("method") == "network":
        if field is None:
            raise FormatError("the network of the values is missing")
        values = from_network(field.values(np.array(points)), meta["values"], kind, meta.get("save_as_half"))
    else:
        values = _lossless(meta["values"], sections.get(VOXEL_VALUES, b""), len(points), kind)
    result = np.zeros((len(origins), 512, kind.channels), kind.dtype)
    result[where], result[~where] = values, rest
    return result


def decode_tile_values(
    sections: Mapping[int, bytes], meta: Any, topology: Topology, kind: ValueType, field: Field | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[M, C], [K, C], [T, C]: tiles of lower nodes, of upper nodes, of the root."""
    parts, states = [], []
    levels = (
        (INACTIVE_LOWER, 4, topology.lower_origins, topology.lower_child, topology.lower_active),
        (INACTIVE_UPPER, 5, topology.upper_origins, topology.upper_child, topology.upper_active),
    )
    for section, log2, origins, child_mask, active_mask in levels:
        child, active = unpack(child_mask), unpack(active_mask)
        inactive = [
            [int(not c and not a) for c, a in zip(cs, bits, strict=True)]
            for cs, bits in zip(child, active, strict=True)
        ]
        data = sections.get(section, b"")
        parts.append(decode_slot_values(data, inactive, log2, rows(origins), kind.dtype, kind.channels))
        states.append(np.array(active, bool)[~np.array(child, bool)])
    root = topology.root_tile_active
    data = sections.get(INACTIVE_ROOT, b"")
    parts.append(decode_values(data, kind.dtype, int((~root).sum()), kind.channels))
    states.append(root)
    tiles = [np.zeros((len(state), kind.channels), kind.dtype) for state in states]
    for level in range(3):
        tiles[level][~states[level]] = parts[level]
    stored = [0, 1, 2]
    if field is not None:
        points = [
            (x // 8 + slot // 256, y // 8 + slot // 16 % 16, z // 8 + slot % 16)
            for (x, y, z), children, bits in zip(
                rows(topology.lower_origins), unpack(topology.lower_child), unpack(topology.lower_active), strict=True
            )
            for slot in range(4096)
            if bits[slot] and not children[slot]
        ]
        values = field.values(np.array(points))
        tiles[0][states[0]] = from_network(values, meta.get("tile_range"), kind, meta.get("save_as_half"))
        stored = [1, 2]
    counts = [int(states[level].sum()) for level in stored]
    values = _lossless(meta.get("tiles"), sections.get(ACTIVE_TILES, b""), sum(counts), kind)
    for level, start in zip(stored, np.cumsum([0, *counts]).tolist(), strict=False):
        tiles[level][states[level]] = values[start : start + int(states[level].sum())]
    return tiles[0], tiles[1], tiles[2]


def from_network(outputs: np.ndarray, description: Any, kind: ValueType, save_as_half: bool) -> np.ndarray:
    """[n, C] values of the grid's type."""
    if not isinstance(description, dict):
        raise FormatError("the range of a network is missing")
    limits = [description.get(name) for name in ("offset", "scale", "low", "high")]
    if any(not isinstance(x, list) or len(x) != kind.channels for x in limits):
        raise FormatError("the range of a network is not understood")
    offset, scale, low, high = (np.array(x, np.float64) for x in limits)
    values = np.minimum(np.maximum(outputs * scale + offset, low), high)
    if kind.is_integer:
        values = np.rint(values)
        least, most = int(np.iinfo(kind.dtype).min), int(np.iinfo(kind.dtype).max)
        integers = [[min(max(int(value), least), most) for value in row] for row in values.tolist()]
        return np.array(integers, kind.dtype).reshape(-1, kind.channels)
    if save_as_half:
        values = values.astype(np.float16)
    return values.astype(kind.dtype)


def _lossless(description: Any, data: bytes, count: int, kind: ValueType) -> np.ndarray:
    """[count, C] values of a section, bit by bit."""
    if not isinstance(description, dict):
        raise FormatError("values are not described")
    method, entries = description.get("method"), description.get("entries", 0)
    if method == "none" and count == 0 and not data:
        return np.zeros((0, kind.channels), kind.dtype)
    if method == "raw":
        return Reader(data).packed_array(kind.dtype, count * kind.channels).reshape(count, kind.channels)
    if method != "palette" or type(entries) is not int or not 1 <= entries <= 256 or len(data) < 4:
        raise FormatError("values are stored in an unknown way")
    head = 4 + int.from_bytes(data[:4], "little")
    palette = Reader(data[4:head]).packed_array(kind.dtype, entries * kind.channels).reshape(entries, kind.channels)
    if entries == 1:
        return np.repeat(palette, count, axis=0)
    indices = Reader(data[head:]).packed_array("<u1", count).tolist()
    if any(index >= entries for index in indices):
        raise FormatError("an index is larger than the palette")
    return palette[indices]


def unpack(packed: np.ndarray) -> list[Bits]:
    """Bits of the slots of each node."""
    return [[byte >> i & 1 for byte in node for i in range(8)] for node in packed.tolist()]


def rows(origins: np.ndarray) -> Sequence[Origin]:
    return [(x, y, z) for x, y, z in origins.tolist()]
