"""Values of slots that come back bit by bit: inactive voxels and tiles."""

from collections.abc import Sequence

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import AdaptiveBits, BitDecoder, MixedBits
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin
from fieldcodec.testing.oracle.reader import Reader

NOTHING = 16  # instead of an index: no value near


def decode_slot_values(
    data: bytes, coded: Sequence[Bits], log2: int, origins: Sequence[Origin], dtype: np.dtype, channels: int
) -> np.ndarray:
    """[slots with a value, channels], in the order of nodes and slots; `coded` says which slots have one."""
    count = sum(map(sum, coded))
    reader = Reader(data)
    kind = reader.byte()
    if kind == 0:
        return reader.packed_array(dtype, count * channels).reshape(count, channels)
    size = reader.byte()
    if kind != 1 or size > 16 or (size == 0) != (count == 0):
        raise FormatError("values of slots are not understood")
    entries = reader.take(size * channels * dtype.itemsize)
    if dtype.kind == "b" and any(value > 1 for value in entries):
        raise FormatError("a bool is neither 0 nor 1")
    palette = np.frombuffer(entries, dtype.newbyteorder("<")).reshape(size, channels)
    if size < 2:
        reader.end()
        return palette[np.zeros(count, np.int64)]
    nodes = (1 << 22) >> 3 * log2
    groups = [range(first, min(first + nodes, len(coded))) for first in range(0, len(coded), nodes)]
    streams = reader.streams(len(groups))
    reader.end()
    shift = {3: 3, 4: 7, 5: 12}[log2]
    indices: list[int] = []
    for stream, group in zip(streams, groups, strict=True):
        cells = [tuple(a >> shift for a in origins[node]) for node in group]
        indices += _decode_group(stream, cells, [coded[node] for node in group], 1 << log2, size)
    return palette[indices]


def decode_values(data: bytes, dtype: np.dtype, count: int, channels: int) -> np.ndarray:
    """[count, channels] values that have no place in a node."""
    reader = Reader(data)
    kind = reader.byte()
    if kind > 1:
        raise FormatError("values are not understood")
    if kind == 0:
        return reader.packed_array(dtype, count * channels).reshape(count, channels)
    return np.repeat(reader.packed_array(dtype, channels)[None], count, axis=0)


class _Group:
    """A group of nodes, its slots numbered through; `index` holds the palette indices known so far."""

    def __init__(self, cells: Sequence[tuple[int, ...]], coded: Sequence[Bits], side: int) -> None:
        rows = {cell: row for row, cell in enumerate(cells)}
        self._side = side
        self._before = [
            [rows.get(tuple(a - (axis == other) for other, a in enumerate(cell)), -1) for axis in range(3)]
            for cell in cells
        ]
        self.has_value = [bit for node in coded for bit in node]
        self.index: dict[int, int] = {}

    def step_down(self, slot: int, axis: int) -> int:
        """The slot one step down an axis, or -1 where no node of the group before has it."""
        side, volume = self._side, self._side**3
        node, local = divmod(slot, volume)
        stride = (side * side, side, 1)[axis]
        if local // stride % side:
            return slot - stride
        row = self._before[node][axis]
        return row * volume + local + (side - 1) * stride if 0 <= row < node else -1

    def look_down(self, slot: int, axis: int) -> tuple[int, int]:
        """The nearest known index within eight steps down an axis, and the number of slots passed over."""
        for gap in range(8):
            slot = self.step_down(slot, axis)
            if slot < 0:
                return NOTHING, gap
            if slot in self.index:
                return self.index[slot], gap
        return NOTHING, 7

    def contexts(self, slot: int) -> list[int]:
        """The five numbers that a slot's contexts are made from."""
        (sx, gx), (sy, gy), (sz, gz) = (self.look_down(slot, axis) for axis in range(3))
        return [
            sx + 17 * (sy + 17 * (sz + 17 * (min(gx, 1) + 2 * min(gy, 1) + 4 * min(gz, 1)))),
            sz + 17 * (gz + 8 * (sy + 17 * gy)),
            sz + 17 * (gz + 8 * (sx + 17 * gx)),
            sy + 17 * (gy + 8 * (sx + 17 * gx)),
            0,
        ]

    def components(self) -> list[int]:
        """For each slot with a value the first slot of its 6-connected component."""
        parent = list(range(len(self.has_value)))

        def root(slot: int) -> int:
            while parent[slot] != slot:
                parent[slot] = parent[parent[slot]]
                slot = parent[slot]
            return slot

        for slot, bit in enumerate(self.has_value):
            for axis in range(3 if bit else 0):
                other = self.step_down(slot, axis)
                if other >= 0 and self.has_value[other]:
                    low, high = sorted((root(slot), root(other)))
                    parent[high] = low
        return [root(slot) for slot in range(len(parent))]


def _decode_group(
    stream: bytes, cells: Sequence[tuple[int, ...]], coded: Sequence[Bits], side: int, size: int
) -> list[int]:
    """Palette indices of the coded slots of one group of nodes."""
    group = _Group(cells, coded, side)
    first, index = group.components(), group.index
    coder = BitDecoder(stream)
    models = AdaptiveBits(coder)
    symbols = MixedBits(coder, 5, 65536 * 35 // 100, 255)
    uniform: dict[int, int] = {}
    for slot, bit in enumerate(group.has_value):
        if not bit:
            continue
        if first[slot] == slot:
            uniform[slot] = models.bit("uniform")
        elif uniform[first[slot]]:
            index[slot] = index[first[slot]]
            continue
        bases, symbol = group.contexts(slot), 0
        while symbol < size - 1:
            mixed = [16 * base + symbol for base in bases]
            contexts = [(number * 40503 ^ number >> 7) & 0xFFFF for number in mixed]
            if symbols.bit(contexts, symbol, [32768] * 5):
                break
            symbol += 1
        index[slot] = symbol
    coder.end()
    return [index[slot] for slot, bit in enumerate(group.has_value) if bit]
