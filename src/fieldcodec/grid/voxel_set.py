"""Sets of voxels as a tree holds them, and how much two of them overlap."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.origin_table import OriginTable


@dataclass(frozen=True, eq=False)
class VoxelSet:
    """A set of voxels made of cubes and of leaf masks that do not overlap.

    `cubes` maps log2 of a side (3, 7, 12: tiles of the three levels) to origins [n, 3] aligned to that side.
    """

    cubes: Mapping[int, np.ndarray]
    leaf_origins: np.ndarray  # [n, 3] integers, multiples of 8
    leaf_bits: np.ndarray  # [n, 64] uint8, packed

    @cached_property
    def count(self) -> int:
        """Number of voxels."""
        return masks.count(self.leaf_bits) + sum(len(cubes) << (3 * log2) for log2, cubes in self.cubes.items())

    def intersection(self, other: "VoxelSet") -> int:
        """Number of voxels that both sets have."""
        rows = OriginTable(other.leaf_origins).find(self.leaf_origins)
        found = rows >= 0
        total = masks.count(self.leaf_bits[found] & other.leaf_bits[rows[found]])
        for log2, cubes in self.cubes.items():
            table = OriginTable(cubes)
            total += other._leaf_voxels_within(table, log2)
            for other_log2, finer in other.cubes.items():
                if other_log2 <= log2:
                    total += int((table.find(_align(finer, log2)) >= 0).sum()) << (3 * other_log2)
        for log2, cubes in other.cubes.items():
            table = OriginTable(cubes)
            total += self._leaf_voxels_within(table, log2)
            for own_log2, finer in self.cubes.items():
                if own_log2 < log2:
                    total += int((table.find(_align(finer, log2)) >= 0).sum()) << (3 * own_log2)
        return total

    def union(self, other: "VoxelSet") -> int:
        """Number of voxels that at least one of the sets has."""
        return self.count + other.count - self.intersection(other)

    def symmetric_difference(self, other: "VoxelSet") -> int:
        """Number of voxels that exactly one of the sets has."""
        return self.count + other.count - 2 * self.intersection(other)

    def _leaf_voxels_within(self, cubes: OriginTable, log2: int) -> int:
        if not len(cubes):
            return 0
        return masks.count(self.leaf_bits[cubes.find(_align(self.leaf_origins, log2)) >= 0])


def _align(origins: np.ndarray, log2: int) -> np.ndarray:
    return origins & ~((1 << log2) - 1)
