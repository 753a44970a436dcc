"""The tree: root table, masks of all levels, fingerprint."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import xxhash

from fieldcodec.errors import FormatError
from fieldcodec.grid.topology import Topology
from fieldcodec.testing.oracle.fields import Field, slot_hint, voxel_hint
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin, decode_leaf_masks
from fieldcodec.testing.oracle.node_masks import decode_node_masks
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.scale import LeafNumbers

ROOT, UPPER_MASKS, LOWER_MASKS, LEAF_MASKS = 2, 3, 5, 7
_MOST = {"root_tiles": 1 << 24, "upper_nodes": 1 << 20, "lower_nodes": 1 << 22, "leaves": 1 << 25}


def decode_tree(
    sections: Mapping[int, bytes], counts: Any, fields: Mapping[str, Field], numbers: LeafNumbers | None
) -> Topology:
    """The topology of a grid; `fields` are its classifiers `level1` and `level0`, if any."""
    if any(type(counts.get(name)) is not int or not 0 <= counts[name] <= most for name, most in _MOST.items()):
        raise FormatError("the numbers of nodes are out of their limits")
    tiles, uppers = counts["root_tiles"], counts["upper_nodes"]
    stored = Reader(sections.get(ROOT, b"")).packed_array("<i4", 4 * tiles + 3 * uppers).tolist()
    origins = [(x, y, z) for x, y, z in zip(*[iter(stored[: 3 * (tiles + uppers)])] * 3, strict=True)]
    tile_origins, upper_origins = origins[:tiles], origins[tiles:]
    tile_active = stored[3 * (tiles + uppers) :]
    if any(a % 4096 for origin in origins for a in origin) or sorted(set(upper_origins)) != upper_origins:
        raise FormatError("the origins of upper nodes are wrong")
    upper_child, upper_active = _upper_masks(sections.get(UPPER_MASKS, b""), tuple(upper_origins))
    lower_origins = child_origins(upper_origins, upper_child, 5, 128)
    hints = _hints(fields.get("level1"), slot_hint, [[a // 8 for a in origin] for origin in lower_origins], 16)
    said = None if numbers is None else numbers.slot_hints(lower_origins)
    hints = hints if said is None else said
    lower_child, lower_active = decode_node_masks(sections.get(LOWER_MASKS, b""), 4, lower_origins, hints)
    leaf_origins = child_origins(lower_origins, lower_child, 4, 8)
    if (len(lower_origins), len(leaf_origins)) != (counts["lower_nodes"], counts["leaves"]):
        raise FormatError("the numbers of nodes do not agree with the masks")
    if numbers is None:
        hints = _hints(fields.get("level0"), voxel_hint, leaf_origins, 8)
        leaf_active = decode_leaf_masks(sections.get(LEAF_MASKS, b""), leaf_origins, hints)
    else:
        leaf_active = numbers.leaf_masks(leaf_origins)
    return Topology(
        np.array(tile_origins, np.int32).reshape(-1, 3), np.array(tile_active, bool),
        np.array(upper_origins, np.int32).reshape(-1, 3), pack(upper_child, 32768), pack(upper_active, 32768),
        pack(lower_child, 4096), pack(lower_active, 4096), pack(leaf_active, 512),
    )  # fmt: skip


@lru_cache(maxsize=8)
def _upper_masks(data: bytes, origins: tuple[Origin, ...]) -> tuple[list[Bits], list[Bits]]:
    """Kept for the next grid: the grids of a file often share these long masks."""
    return decode_node_masks(data, 5, origins, None)


def child_origins(origins: Sequence[Origin], child: Sequence[Bits], log2: int, side: int) -> list[Origin]:
    """Origins of the children, in the order of nodes and slots; `side` is that of a child in voxels."""
    slots = list(product(range(1 << log2), repeat=3))
    return [
        (x + i * side, y + j * side, z + k * side)
        for (x, y, z), bits in zip(origins, child, strict=True)
        for (i, j, k), bit in zip(slots, bits, strict=True)
        if bit
    ]


def _hints(
    field: Field | None, hint: Callable[[Field, Sequence[int]], int], origins: Sequence[Sequence[int]], side: int
) -> list[list[int]] | None:
    if field is None:
        return None
    slots = list(product(range(side), repeat=3))
    return [[hint(field, (x + i, y + j, z + k)) for i, j, k in slots] for x, y, z in origins]


def pack(nodes: Sequence[Bits], slots: int) -> np.ndarray:
    """[n, slots / 8]: bit i of a node is bit i & 7 of byte i >> 3."""
    packed = [[sum(bit << i for i, bit in enumerate(bits[at : at + 8])) for at in range(0, slots, 8)] for bits in nodes]
    return np.array(packed, np.uint8).reshape(-1, slots // 8)


def fingerprint(topology: Topology) -> str:
    """XXH3-128 of names, shapes and bytes."""
    digest = xxhash.xxh3_128()
    names = ("root_tile_origins", "root_tile_active", "upper_origins", "upper_child", "upper_active",
             "lower_child", "lower_active", "leaf_active")  # fmt: skip
    for name in names:
        array = getattr(topology, name)
        shape = f"({array.shape[0]},)" if array.ndim == 1 else f"({array.shape[0]}, {array.shape[1]})"
        digest.update((name + shape).encode("ascii") + array.tobytes())
    return digest.hexdigest()
