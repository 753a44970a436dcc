"""Grids of which not all leaves are decoded, or not all at once.

tree and states --> those who ask see where leaves are --> the leaves that they need
"""

from collections.abc import Callable

import numpy as np
import torch

from fieldcodec.fit.phases import FitEvent, OnEvent
from fieldcodec.grid import masks
from fieldcodec.grid.clip import ClippedTree
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.decode import OpenedGrid, open_grid, sparse_grid

LeafChoice = Callable[[SparseGrid], np.ndarray | None]
"""A grid whose leaves hold nothing yet -> rows [n] of the leaves that are needed, rising; None for all of them."""

_GROUP_BYTES = 64 << 20  # of F, and of decoded residuals, that are kept, as states or neighbouring leaves need them too
_LEAVES_AT_ONCE = 4096  # decoded at once, which bounds the memory for what they are made from


def open_in_parts(
    grid: CompressedGrid, device: torch.device, on_event: OnEvent, *, inactive: bool, few: bool = False
) -> OpenedGrid:
    """A grid, opened for those who ask for some leaves after others; what several of them need is kept for a while.

    Args:
        inactive: see `open_grid`.
        few: some leaves will never be asked for.

    Raises:
        FormatError: sections are damaged.
    """
    spec = grid.lattice
    states_need_all = spec is None or spec.guided  # of lattices; then their numbers are computed for all leaves anyway
    keep = _is_small(grid) and (states_need_all or not few)
    return open_grid(grid, device, on_event, keep=keep, kept_bytes=_GROUP_BYTES, inactive=inactive)


def decode_leaves(
    grid: CompressedGrid, device: torch.device, on_event: OnEvent, leaves: LeafChoice, *, inactive: bool = True
) -> SparseGrid:
    """A grid with its whole tree, and values in those leaves that are chosen; others hold zeros.

    Args:
        inactive: where False, inactive voxels of leaves hold anything.

    Raises:
        FormatError: sections are damaged.
    """
    opened = open_in_parts(grid, device, on_event, inactive=inactive, few=True)
    rows = leaves(shell(grid, opened.topology, opened.tiles))
    if rows is None:
        return opened.to_grid()
    stage = f"{grid.name or 'unnamed'}: decode leaves"
    count = opened.topology.num_leaves
    values = np.zeros((count, masks.LEAF_SLOTS, grid.channels), grid.value_type.dtype)
    for start in range(0, len(rows), _LEAVES_AT_ONCE):
        part = rows[start : start + _LEAVES_AT_ONCE]
        values[part] = opened.leaf_values.leaves(part)
        on_event(FitEvent(stage, start + len(part), len(rows)))
    return sparse_grid(grid, ClippedTree(opened.topology, values, opened.tiles))


def shell(grid: CompressedGrid, topology: Topology, tiles: np.ndarray) -> SparseGrid:
    """The grid with leaves that take no memory and hold nothing.

    Args:
        tiles: [M + K + T, C], as in `OpenedGrid`.
    """
    shape = (topology.num_leaves, masks.LEAF_SLOTS, grid.channels)
    nothing = np.broadcast_to(np.zeros((), grid.value_type.dtype), shape)
    return sparse_grid(grid, ClippedTree(topology, nothing, tiles))


def _is_small(grid: CompressedGrid) -> bool:
    """Whether F of all leaves takes little memory, so that it need not be computed twice: for states and for values."""
    leaves = grid.meta["nodes"].get("leaves")
    return type(leaves) is int and 4 * grid.channels * masks.LEAF_SLOTS * leaves <= _GROUP_BYTES
