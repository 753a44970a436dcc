"""How rough a volume is at the size of a voxel; decides how wide a network its values ask for."""

import numpy as np

from fieldcodec.grid.sparse_grid import SparseGrid

_SAMPLED_LEAVES = 4096


def roughness(grid: SparseGrid) -> float:
    """Root mean square deviation of active values from the mean of their block of 2^3, as a part of the value range.

    About 0.025 for smooth simulated smoke, 0.1 for turbulent noise, 0.16 for clouds at coarse resolution. Level sets
    count as smooth (0): their values rise by one voxel per voxel everywhere, which a network follows with ease.
    """
    num_leaves = grid.topology.num_leaves
    if num_leaves == 0 or grid.is_level_set:
        return 0.0
    rows = np.linspace(0, num_leaves - 1, min(num_leaves, _SAMPLED_LEAVES)).astype(int)
    active = grid.topology.leaf_active_bits[rows][..., None]
    values = np.where(active, grid.leaf_values[rows].astype(np.float64), 0)
    if not active.any():
        return 0.0
    high = np.where(active, values, -np.inf).max(axis=(0, 1))
    low = np.where(active, values, np.inf).min(axis=(0, 1))
    shape = (-1, 4, 2, 4, 2, 4, 2)
    blocks, states = values.reshape(*shape, grid.channels), active.reshape(*shape, 1)
    inside = (2, 4, 6)
    counts = np.maximum(states.sum(axis=inside, keepdims=True), 1)
    deviation = (blocks - blocks.sum(axis=inside, keepdims=True) / counts) * states
    variance = np.square(deviation).sum(axis=tuple(range(7))) / active.sum()
    span = np.where(high > low, high - low, 1.0)
    return float(np.sqrt(np.mean(variance / span**2)))
