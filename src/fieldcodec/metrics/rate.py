"""Sizes: what a grid takes uncompressed, bits per active voxel, work per voxel."""

from collections.abc import Sequence
from itertools import pairwise

from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid

_NODE_HEADER = 12  # the origin of a tile or child in the root's table, three int32
_CODE = 1  # the byte that says how inactive values are stored


def raw_vdb_bytes(grid: SparseGrid) -> int:
    """Bytes of a grid's tree in a `.vdb` file written without any compression (32-bit floats stay 32-bit).

    Counted exactly from the numbers of nodes, as OpenVDB lays out files of version 222 and up with
    compression flags 0: root table, child and active masks, a value for every slot of an internal node,
    two copies of each leaf's mask and all 512 values of it. The file header, metadata and transform
    (some hundred bytes) are left out.
    """
    topology, kind = grid.topology, grid.value_type
    value = kind.dtype.itemsize * kind.channels
    tiles, uppers = len(topology.root_tile_origins), len(topology.upper_origins)
    root = 4 + value + 4 + 4 + tiles * (_NODE_HEADER + value + 1) + uppers * _NODE_HEADER
    upper = 2 * masks.UPPER_SLOTS // 8 + _CODE + masks.UPPER_SLOTS * value
    lower = 2 * masks.LOWER_SLOTS // 8 + _CODE + masks.LOWER_SLOTS * value
    mask = masks.LEAF_SLOTS // 8
    if kind.name == "mask":
        leaf = 2 * mask + _NODE_HEADER
    elif kind.is_bool:
        leaf = 3 * mask + _NODE_HEADER
    else:
        leaf = 2 * mask + _CODE + masks.LEAF_SLOTS * value
    return root + uppers * upper + len(topology.lower_child) * lower + topology.num_leaves * leaf


def bits_per_active_voxel(size_bytes: int, active_voxels: int) -> float | None:
    """Bits spent for each active voxel; None for a grid without active voxels."""
    return size_bytes * 8 / active_voxels if active_voxels else None


def compression_ratio(size_before: int | None, size_after: int | None) -> float | None:
    """How many times smaller; None where a size is unknown or nothing is left."""
    return size_before / size_after if size_before is not None and size_after else None


def multiply_adds(layer_sizes: Sequence[int]) -> int:
    """Multiply-adds of one evaluation of a fully connected network: sizes from input to output, in units.

    `multiply_adds([192, 96, 96, 1])` is 192 * 96 + 96 * 96 + 96 * 1. Biases are part of the multiply-adds;
    activation functions are not counted.
    """
    return sum(first * second for first, second in pairwise(layer_sizes))
