"""Which nodes a lattice has: those that the voxels of some leaf take their values from.

Nodes follow from the origins of the leaves alone, so no position is ever stored. They are numbered block by
block of about 128^3 voxels, in lexicographic order of block and of node within the block.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fieldcodec.coding.bits import popcount
from fieldcodec.coding.neighbours import cells_and_table, find
from fieldcodec.jit import kernel, row_kernel
from fieldcodec.lattice import basis

_BLOCK_VOXELS = 128
_WORD = 64
_MOST_NUMBERS = 1 << 62


@dataclass(frozen=True, eq=False)
class NodeSet:
    """The nodes of one lattice.

    Attributes:
        stride, degree: of the lattice.
        blocks: [B, 3] int64, coordinates of the blocks in units of blocks, rising lexicographically.
        words: [B, side^3 / 64] uint64, which nodes of a block exist (slot = (x * side + y) * side + z).
        starts: [B, words + 1] int64, number of the first node of each word.
        leaf_nodes: [N, 3] int64, the first node of each leaf's window.
    """

    stride: int
    degree: int
    blocks: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    leaf_nodes: np.ndarray
    leaf_phases: np.ndarray

    @staticmethod
    def of_leaves(leaf_origins: np.ndarray, stride: int, degree: int) -> "NodeSet":
        """Nodes for leaves with these origins, [N, 3] multiples of 8."""
        origins = np.ascontiguousarray(leaf_origins, np.int64)
        first = origins // stride + basis.first_tap(degree)
        phases = origins % stride
        used = basis.nodes_used(phases, stride, degree)
        side = block_side(stride)
        low, high = first // side, (first + used - 1) // side
        corners = [np.where(pick, high, low) for pick in np.ndindex(2, 2, 2)]
        blocks = _distinct(np.concatenate(corners)) if len(origins) else np.zeros((0, 3), np.int64)
        words = np.zeros((len(blocks), -(-(side**3) // _WORD)), np.uint64)
        _mark(first, used, side, *cells_and_table(blocks, 0), words)
        counts = np.bitwise_count(words).astype(np.int64)
        ends = np.cumsum(counts.reshape(-1)).reshape(counts.shape)
        starts = np.ascontiguousarray(ends - counts)
        return NodeSet(stride, degree, blocks, words, starts, first, phases)

    def __len__(self) -> int:
        return int(np.bitwise_count(self.words).sum())

    @cached_property
    def _rows_of_blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Blocks and their hash table: they may lie anywhere, so no dense table would do."""
        return cells_and_table(self.blocks, 0)

    @cached_property
    def cells(self) -> np.ndarray:
        """[n, 3] int64: coordinates of all nodes, in units of the stride."""
        side = block_side(self.stride)
        rows, slots = np.nonzero(np.unpackbits(self.words.view(np.uint8), axis=1, bitorder="little"))
        local = np.stack([slots // (side * side), slots // side % side, slots % side], axis=-1)
        return self.blocks[rows] * side + local

    @cached_property
    def block_starts(self) -> np.ndarray:
        """[B + 1] int64: number of each block's first node."""
        counts = np.bitwise_count(self.words).sum(axis=1, dtype=np.int64)
        return np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def leaf_table(self) -> np.ndarray:
        """[N, window^3] int32: numbers of the nodes of each leaf's window; 0 where a node has no weight."""
        width = basis.window(self.stride, self.degree)
        table = np.empty((len(self.leaf_nodes), width**3), np.int32)
        side = block_side(self.stride)
        _leaf_table(len(table), self.leaf_nodes, width, side, *self._rows_of_blocks, self.words, self.starts, table)
        return table

    def of_rows(self, rows: np.ndarray) -> "NodeSet":
        """The same nodes, seen from some of the leaves only."""
        return replace(self, leaf_nodes=self.leaf_nodes[rows], leaf_phases=self.leaf_phases[rows])

    def find(self, cells: np.ndarray) -> np.ndarray:
        """[n] int32: numbers of nodes at [n, 3] cells, -1 where there is none."""
        found = np.empty(len(cells), np.int32)
        side = block_side(self.stride)
        cells = np.ascontiguousarray(cells, np.int64)
        _find_all(len(cells), cells, side, *self._rows_of_blocks, self.words, self.starts, found)
        return found


def block_side(stride: int) -> int:
    """Nodes along a side of a block: 128 voxels, or 144 for strides of 3 and 6."""
    return -(-_BLOCK_VOXELS // stride) if stride % 3 else 144 // stride


@kernel
def _number_in(row, x, y, z, side, words, starts):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Number of the node at (x, y, z), in the block at `row` if that is not negative; or -1."""
    if row < 0:
        return np.int64(-1)
    slot = ((x % side) * side + y % side) * side + z % side
    word, bit = words[row, slot >> 6], np.uint64(slot & 63)
    if (word >> bit) & np.uint64(1) == np.uint64(0):
        return np.int64(-1)
    return starts[row, slot >> 6] + popcount(word & ((np.uint64(1) << bit) - np.uint64(1)))


def _distinct(cells: np.ndarray) -> np.ndarray:
    """[n, 3] int64 -> [m, 3]: each once, rising; by one number a cell where the box around them allows that."""
    low, high = cells.min(axis=0), cells.max(axis=0)
    sizes = [int(size) for size in high - low + 1]
    if math.prod(sizes) >= _MOST_NUMBERS:
        return np.unique(cells, axis=0)
    numbers = np.unique(np.ravel_multi_index(tuple((cells - low).T), sizes))
    return np.stack(np.unravel_index(numbers, sizes), axis=1).astype(np.int64) + low


@kernel
def _mark(first, used, side, blocks, table, words):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for leaf in range(first.shape[0]):
        start = first[leaf, 2]
        for x in range(first[leaf, 0], first[leaf, 0] + used[leaf, 0]):
            for y in range(first[leaf, 1], first[leaf, 1] + used[leaf, 1]):
                row = np.int64(-1)
                for z in range(start, start + used[leaf, 2]):
                    if z == start or z % side == 0:
                        row = find(table, blocks, x // side, y // side, z // side)
                    slot = ((x % side) * side + y % side) * side + z % side
                    words[row, slot >> 6] |= np.uint64(1) << np.uint64(slot & 63)


@row_kernel(1 << 10)
def _leaf_table(begin, end, first, width, side, blocks, table, words, starts, numbers):  # type: ignore[no-untyped-def]  # pragma: no cover
    for leaf in range(begin, end):
        place = 0
        for i in range(width):
            for j in range(width):
                row = np.int64(-1)
                for k in range(width):
                    x, y, z = first[leaf, 0] + i, first[leaf, 1] + j, first[leaf, 2] + k
                    if k == 0 or z % side == 0:
                        row = find(table, blocks, x // side, y // side, z // side)
                    numbers[leaf, place] = max(_number_in(row, x, y, z, side, words, starts), 0)
                    place += 1


@row_kernel(1 << 15)
def _find_all(begin, end, cells, side, blocks, table, words, starts, found):  # type: ignore[no-untyped-def]  # pragma: no cover
    for i in range(begin, end):
        x, y, z = cells[i, 0], cells[i, 1], cells[i, 2]
        row = find(table, blocks, x // side, y // side, z // side)
        found[i] = _number_in(row, x, y, z, side, words, starts)
