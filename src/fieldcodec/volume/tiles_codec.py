"""Values of inactive tiles <-> sections, exactly."""

from collections.abc import Mapping

import numpy as np

from fieldcodec.coding.palette import decode_slot_values, decode_values, encode_slot_values, encode_values
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.value_type import ValueType


def _levels(topology: Topology) -> tuple[tuple[str, np.ndarray, int, np.ndarray], ...]:
    """For lower and upper nodes: section, packed mask of inactive tiles, log2 of the width, origins."""
    lower = ~(topology.lower_child | topology.lower_active)
    upper = ~(topology.upper_child | topology.upper_active)
    return (
        ("inactive lower tiles", lower, masks.LOWER_LOG2, topology.lower_origins),
        ("inactive upper tiles", upper, masks.UPPER_LOG2, topology.upper_origins),
    )


def encode_inactive_tiles(grid: SparseGrid) -> dict[str, bytes]:
    """Sections of inactive tile values of all levels."""
    topology = grid.topology
    values = (grid.lower_tile_values[~grid.lower_tile_mask()], grid.upper_tile_values[~grid.upper_tile_mask()])
    sections = {
        name: encode_slot_values(level, mask, log2, origins)
        for level, (name, mask, log2, origins) in zip(values, _levels(topology), strict=True)
    }
    sections["inactive root tiles"] = encode_values(grid.root_tile_values[~topology.root_tile_active])
    return sections


def decode_inactive_tiles(sections: Mapping[str, bytes], topology: Topology, value_type: ValueType) -> np.ndarray:
    """[M + K + T, C]: values of the tiles of lower nodes, upper nodes and the root; active ones are left at zero."""
    active = topology.tile_states()
    inactive = [
        decode_slot_values(sections.get(name, b""), mask, log2, origins, value_type.dtype, value_type.channels)
        for name, mask, log2, origins in _levels(topology)
    ]
    root = int((~topology.root_tile_active).sum())
    inactive.append(
        decode_values(sections.get("inactive root tiles", b""), root, value_type.dtype, value_type.channels)
    )
    tiles = np.zeros((len(active), value_type.channels), value_type.dtype)
    tiles[~active] = np.concatenate(inactive)
    return tiles
