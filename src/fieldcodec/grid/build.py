"""Grids from voxels: the way from coordinates or dense arrays to a tree."""

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES


def topology_of_leaves(leaf_origins: np.ndarray, leaf_active: np.ndarray) -> tuple[Topology, np.ndarray]:
    """A tree holding the given leaves and no active tiles.

    Args:
        leaf_origins: [n, 3] integers, distinct multiples of 8, in any order.
        leaf_active: [n, 64] uint8, packed active masks in the same order.

    Returns:
        The topology, and [n] row numbers such that tree leaf i is input leaf `order[i]`.
    """
    origins = np.asarray(leaf_origins, np.int32)
    uppers = origins & ~(masks.UPPER_DIM - 1)
    upper_slots = _slot((origins - uppers) >> 7, masks.UPPER_LOG2)
    lower_slots = _slot((origins & (masks.LOWER_DIM - 1)) >> 3, masks.LOWER_LOG2)
    order = np.lexsort((lower_slots, upper_slots, uppers[:, 2], uppers[:, 1], uppers[:, 0]))
    uppers, upper_slots, lower_slots = uppers[order], upper_slots[order], lower_slots[order]
    new_upper = _starts(uppers)
    upper_row = np.cumsum(new_upper) - 1
    new_lower = new_upper | _starts(upper_slots[:, None])
    lower_row = np.cumsum(new_lower) - 1
    num_upper, num_lower = int(new_upper.sum()), int(new_lower.sum())
    upper_child = np.zeros((num_upper, masks.UPPER_SLOTS), bool)
    upper_child[upper_row, upper_slots] = True
    lower_child = np.zeros((num_lower, masks.LOWER_SLOTS), bool)
    lower_child[lower_row, lower_slots] = True
    topology = Topology(
        root_tile_origins=np.zeros((0, 3), np.int32),
        root_tile_active=np.zeros(0, bool),
        upper_origins=uppers[new_upper],
        upper_child=masks.pack(upper_child),
        upper_active=np.zeros((num_upper, masks.UPPER_SLOTS // 8), np.uint8),
        lower_child=masks.pack(lower_child),
        lower_active=np.zeros((num_lower, masks.LOWER_SLOTS // 8), np.uint8),
        leaf_active=np.ascontiguousarray(leaf_active[order]),
    )
    return topology, order


def grid_of_leaves(
    name: str,
    leaf_origins: np.ndarray,
    leaf_active: np.ndarray,
    leaf_values: np.ndarray,
    *,
    value_type: str = "float",
    background: float | tuple[float, ...] = 0.0,
    transform: GridTransform | None = None,
    grid_class: str | None = None,
) -> SparseGrid:
    """A grid holding the given leaves; every tile is inactive and has the background value.

    Args:
        leaf_origins: [n, 3] integers, distinct multiples of 8.
        leaf_active: [n, 64] uint8, packed masks.
        leaf_values: [n, 512, C], inactive voxels included.
    """
    kind = VALUE_TYPES[value_type]
    topology, order = topology_of_leaves(leaf_origins, leaf_active)
    fill = np.broadcast_to(np.asarray(background, kind.dtype), (kind.channels,)).copy()
    lower = topology.num_lower_tiles
    upper = topology.num_upper_tiles
    metadata = Metadata((MetaEntry.of("class", grid_class),) if grid_class else ())
    return SparseGrid(
        name=name,
        value_type=kind,
        topology=topology,
        leaf_values=np.ascontiguousarray(leaf_values[order], kind.dtype),
        lower_tile_values=np.repeat(fill[None], lower, axis=0),
        upper_tile_values=np.repeat(fill[None], upper, axis=0),
        root_tile_values=np.zeros((0, kind.channels), kind.dtype),
        background=fill,
        transform=transform or GridTransform.uniform(1.0),
        metadata=metadata,
    )


def grid_of_dense(
    name: str,
    values: np.ndarray,
    active: np.ndarray,
    *,
    origin: tuple[int, int, int] = (0, 0, 0),
    value_type: str = "float",
    background: float | tuple[float, ...] = 0.0,
    inactive_values: np.ndarray | None = None,
    transform: GridTransform | None = None,
    grid_class: str | None = None,
) -> SparseGrid:
    """A grid from a dense box of voxels; leaves without an active voxel are left out.

    Args:
        values: [nx, ny, nz] or [nx, ny, nz, C].
        active: [nx, ny, nz] bool.
        origin: index coordinate of values[0, 0, 0].
        inactive_values: [nx, ny, nz, C] or a shape that broadcasts to it; the background where None.
    """
    kind = VALUE_TYPES[value_type]
    values = values.reshape(*active.shape, kind.channels)
    low = np.asarray(origin, np.int64)
    start = low & ~7
    pad = [(int(a), int(-(a + n) % 8)) for a, n in zip(low - start, active.shape, strict=True)]
    fill = np.broadcast_to(
        np.asarray(background if inactive_values is None else inactive_values, kind.dtype), values.shape
    )
    merged = np.where(active[..., None], values.astype(kind.dtype), fill)
    edge = np.broadcast_to(np.asarray(background, kind.dtype), (kind.channels,))
    blocks = []
    for channel in range(kind.channels):
        blocks.append(_blocks(np.pad(merged[..., channel], pad, constant_values=edge[channel])))
    mask = _blocks(np.pad(active, pad))
    keep = mask.any(axis=1)
    counts = [(n + a + b) // 8 for n, (a, b) in zip(active.shape, pad, strict=True)]
    origins = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), -1).reshape(-1, 3) * 8 + start
    leaf_values = np.stack([block[keep] for block in blocks], axis=-1)
    return grid_of_leaves(
        name, origins[keep], masks.pack(mask[keep]), leaf_values,
        value_type=value_type, background=background, transform=transform, grid_class=grid_class,
    )  # fmt: skip


def dense_of_grid(grid: SparseGrid, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [nx, ny, nz, C] and active states [nx, ny, nz] of the leaves inside a box (`high` exclusive).

    Voxels outside every leaf get the background and are inactive; tiles are not expanded.
    """
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
    start, stop = low & ~7, (high + 7) & ~7
    counts = (stop - start) // 8
    origins = grid.topology.leaf_origins
    inside = np.all((origins >= start) & (origins < stop), axis=1)
    blocks = (origins[inside] - start) // 8
    values = np.empty((*counts, 512, grid.channels), grid.value_type.dtype)
    values[:] = grid.background
    active = np.zeros((*counts, 512), bool)
    values[tuple(blocks.T)] = grid.leaf_values[inside]
    active[tuple(blocks.T)] = masks.unpack(grid.topology.leaf_active[inside])
    cut = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))
    return _unblocks(values)[cut], _unblocks(active[..., None])[cut][..., 0]


def _slot(xyz: np.ndarray, log2: int) -> np.ndarray:
    return (xyz[:, 0] << (2 * log2)) | (xyz[:, 1] << log2) | xyz[:, 2]


def _starts(rows: np.ndarray) -> np.ndarray:
    """[n] bool: True where a row differs from the one before."""
    change = np.ones(len(rows), bool)
    change[1:] = np.any(rows[1:] != rows[:-1], axis=1)
    return change


def _blocks(box: np.ndarray) -> np.ndarray:
    """[8a, 8b, 8c] -> [a * b * c, 512]."""
    a, b, c = (n // 8 for n in box.shape)
    return box.reshape(a, 8, b, 8, c, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512)


def _unblocks(blocks: np.ndarray) -> np.ndarray:
    """[a, b, c, 512, C] -> [8a, 8b, 8c, C]."""
    a, b, c, _, channels = blocks.shape
    box = blocks.reshape(a, b, c, 8, 8, 8, channels).transpose(0, 3, 1, 4, 2, 5, 6)
    return box.reshape(a * 8, b * 8, c * 8, channels)
