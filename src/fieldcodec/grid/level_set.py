"""Narrow-band level sets from the leaves of their band: tiles get their sign here, at every level of the tree.

OpenVDB's convention: values are signed distances in world units, negative inside; a voxel is active exactly
where |value| < background; an inactive one, and a tile, holds -background inside and +background outside.
"""

from collections.abc import Callable

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.build import topology_of_leaves
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import LEVEL_SET, SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES
from fieldcodec.jit import kernel

InsideTest = Callable[[np.ndarray], np.ndarray]
"""[q, 3] int64 voxels -> [q] bool, True inside the surface."""


def level_set_of_leaves(
    name: str,
    leaf_origins: np.ndarray,
    leaf_values: np.ndarray,
    *,
    background: float,
    is_inside: InsideTest,
    transform: GridTransform,
    ask_every_tile: bool = False,
) -> SparseGrid:
    """A level set grid with the given leaves; leaves without an active voxel become tiles.

    Args:
        leaf_origins: [n, 3] integers, distinct multiples of 8.
        leaf_values: [n, 512] float32 signed distances, clamped to +-background, in world units.
        background: half the width of the band, in world units.
        is_inside: asked once for each face-connected region of empty slots of a node, which no surface crosses.
        ask_every_tile: ask for every empty slot instead, for surfaces with gaps.
    """
    outside = np.float32(background)
    active = np.abs(leaf_values) < outside
    keep = active.any(axis=1)
    topology, order = topology_of_leaves(leaf_origins[keep], masks.pack(active[keep]))
    lower = _inside_slots(
        topology.lower_origins, topology.lower_child, masks.LOWER_LOG2, masks.LEAF_DIM, is_inside, ask_every_tile
    )
    upper = _inside_slots(
        topology.upper_origins, topology.upper_child, masks.UPPER_LOG2, masks.LOWER_DIM, is_inside, ask_every_tile
    )
    topology = _with_inside_root_tiles(topology, is_inside)
    return SparseGrid(
        name=name,
        value_type=VALUE_TYPES["float"],
        topology=topology,
        leaf_values=np.ascontiguousarray(leaf_values[keep][order], np.float32)[..., None],
        lower_tile_values=np.where(lower, -outside, outside)[:, None],
        upper_tile_values=np.where(upper, -outside, outside)[:, None],
        root_tile_values=np.full((len(topology.root_tile_active), 1), -outside),
        background=np.array([outside]),
        transform=transform,
        metadata=Metadata((MetaEntry.of("class", LEVEL_SET),)),
    )


def _inside_slots(
    origins: np.ndarray, child: np.ndarray, log2: int, slot_dim: int, is_inside: InsideTest, ask_every_tile: bool
) -> np.ndarray:
    """[M] bool, in the order of the tile values of these nodes: True for the slots inside the surface."""
    empty = ~masks.unpack(child)
    if ask_every_tile:
        nodes, slots = np.nonzero(empty)
        region = np.arange(len(nodes))
    else:
        labels, count = _label_regions(empty, log2)
        region = labels[empty]
        seeds = np.full(count, -1, np.int64)
        flat = np.flatnonzero(empty)
        seeds[region[::-1]] = flat[::-1]  # the first slot of each region wins
        nodes, slots = np.divmod(seeds, empty.shape[1])
    middles = origins[nodes].astype(np.int64) + masks.slot_offsets(log2)[slots] * slot_dim + slot_dim // 2
    return np.asarray(is_inside(middles), bool)[region]


def _with_inside_root_tiles(topology: Topology, is_inside: InsideTest) -> Topology:
    """Adds inactive root tiles for the 4096^3 cells that lie inside the surface and hold none of it."""
    if len(topology.upper_origins) < 2:
        return topology
    cells = topology.upper_origins.astype(np.int64) // masks.UPPER_DIM
    low, count = cells.min(axis=0), np.ptp(cells, axis=0) + 1
    taken = np.zeros(count, bool)
    taken[tuple((cells - low).T)] = True
    origins = (np.argwhere(~taken) + low) * masks.UPPER_DIM
    inside = np.asarray(is_inside(origins + masks.UPPER_DIM // 2), bool)
    return Topology(
        root_tile_origins=origins[inside].astype(np.int32),
        root_tile_active=np.zeros(int(inside.sum()), bool),
        upper_origins=topology.upper_origins,
        upper_child=topology.upper_child,
        upper_active=topology.upper_active,
        lower_child=topology.lower_child,
        lower_active=topology.lower_active,
        leaf_active=topology.leaf_active,
    )


@kernel
def _label_regions(empty, log2):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Face-connected regions of the set slots of each node: ([n, slots] int32 labels, -1 elsewhere; their number)."""
    num_nodes, num_slots = empty.shape
    dim = 1 << log2
    steps = (dim * dim, dim, 1)
    labels = np.full((num_nodes, num_slots), -1, np.int32)
    stack = np.empty(num_slots, np.int32)
    count = 0
    for node in range(num_nodes):
        for first in range(num_slots):
            if not empty[node, first] or labels[node, first] >= 0:
                continue
            labels[node, first] = count
            stack[0], height = first, 1
            while height:
                height -= 1
                slot = stack[height]
                for axis in range(3):
                    place = (slot // steps[axis]) % dim
                    for side in (-1, 1):
                        if not 0 <= place + side < dim:
                            continue
                        near = slot + side * steps[axis]
                        if empty[node, near] and labels[node, near] < 0:
                            labels[node, near] = count
                            stack[height] = near
                            height += 1
            count += 1
    return labels, count
