"""Values <-> sections: inactive and tile values exactly, active voxel values by a regressor or losslessly."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldcodec.coding.arrays import pack_array, unpack_array
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid

FEW_VALUES = 256  # a grid with no more distinct values is stored as a palette, never regressed
HOPELESS = 16  # no lossless coder brings rough data below this part of its size, so it is tried only above
SMALL_GRID = 4096  # active voxels below which a network cannot pay
LATTICE, NETWORK, PALETTE, RAW, NONE = "lattice", "network", "palette", "raw", "none"


@dataclass(frozen=True)
class Lossless:
    """Values stored exactly: `method` is palette, raw or none (nothing to store)."""

    method: str
    data: bytes
    num_entries: int = 0  # of the palette

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "entries": self.num_entries}


def encode_lossless(values: np.ndarray) -> Lossless:
    """Stores [n, C] values bit by bit, by a palette where they are few."""
    if len(values) == 0:
        return Lossless(NONE, b"")
    bits = bits_of(values)
    palette = _few_distinct(bits)
    if palette is None:
        return Lossless(RAW, pack_array(values))
    rows = np.searchsorted(palette, bits)
    head = pack_array(palette.view(np.uint8).reshape(-1))
    if len(palette) == 1:
        return Lossless(PALETTE, len(head).to_bytes(4, "little") + head, 1)
    return Lossless(PALETTE, len(head).to_bytes(4, "little") + head + pack_array(rows.astype(np.uint8)), len(palette))


def decode_lossless(description: dict[str, Any], data: bytes, count: int, dtype: np.dtype, channels: int) -> np.ndarray:
    """The inverse: [count, channels] values of `dtype`."""
    method, entries = description.get("method"), description.get("entries", 0)
    if method == NONE and count == 0 and not data:
        return np.empty((0, channels), dtype)
    if method == RAW:
        return unpack_array(data, dtype, (count, channels))
    if method != PALETTE or not isinstance(entries, int) or not 1 <= entries <= FEW_VALUES or len(data) < 4:
        raise FormatError(f"values stored as {method!r} with {entries!r} entries for {count} voxels are not understood")
    head = int.from_bytes(data[:4], "little")
    width = dtype.itemsize * channels
    stored = unpack_array(data[4 : 4 + head], np.dtype(np.uint8), (entries * width,))
    if dtype.kind == "b" and stored.max(initial=0) > 1:
        raise FormatError(f"a palette of bools holds the byte {int(stored.max())}")
    palette = stored.view(dtype).reshape(entries, channels)
    if entries == 1:
        return np.repeat(palette, count, axis=0)
    rows = unpack_array(data[4 + head :], np.dtype(np.uint8), (count,))
    if rows.max(initial=0) >= entries:
        raise FormatError(f"a palette index is {int(rows.max())}, but the palette has {entries} entries")
    return palette[rows]


def bits_of(values: np.ndarray) -> np.ndarray:
    """[n, C] values -> [n] of a void or unsigned type that compares by bits (-0.0 and NaN kept apart)."""
    values = np.ascontiguousarray(values)
    width = values.dtype.itemsize * values.shape[-1]
    simple = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}.get(width)
    return values.view(simple if simple else np.dtype((np.void, width))).reshape(-1)


def _few_distinct(bits: np.ndarray) -> np.ndarray | None:
    """Sorted distinct values when they are at most 256."""
    # a quick look first: sorting all of a large noisy grid would take seconds
    if len(bits) > 100_000 and len(np.unique(bits[:: len(bits) // 20_000])) > FEW_VALUES:
        return None
    distinct = np.unique(bits)
    return distinct if len(distinct) <= FEW_VALUES else None


def check_finite(grid: SparseGrid) -> tuple[int, tuple[int, int, int] | None]:
    """Number of active voxels with a NaN or infinite value, and the index of the first."""
    if not grid.value_type.is_float:
        return 0, None
    topology = grid.topology
    count, first = 0, None
    for start in range(0, topology.num_leaves, 4096):
        rows = slice(start, start + 4096)
        bad = ~np.isfinite(grid.leaf_values[rows]).all(axis=-1) & topology.leaf_active_bits[rows]
        count += int(bad.sum())
        if first is None and bad.any():
            leaf, slot = (int(x[0]) for x in np.nonzero(bad))
            x, y, z = (topology.leaf_origins[start + leaf] + masks.slot_offsets(masks.LEAF_LOG2)[slot]).tolist()
            first = (x, y, z)
    return count, first
