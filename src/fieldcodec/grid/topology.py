"""Which nodes, tiles and voxels exist in a VDB tree, and which are active.

The tree has OpenVDB's default shape [Hash, 5, 4, 3] (NeuralVDB, section 3.1):

    root (a table)                         tiles and upper nodes, each 4096^3 voxels
      upper nodes, 32^3 slots, level 2     a slot is a lower node or a tile of 128^3 voxels
        lower nodes, 16^3 slots, level 1   a slot is a leaf or a tile of 8^3 voxels
          leaves, 8^3 voxels, level 0

Upper nodes are sorted by origin (x, then y, then z); lower nodes follow the order of their
parents and slots, leaves likewise. So the origins of lower nodes and leaves are derived.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldcodec.grid import masks
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.voxel_set import VoxelSet


@dataclass(frozen=True, eq=False)
class Topology:
    """An immutable tree of nodes and active states; no values.

    Shapes: T root tiles, U upper nodes, L lower nodes, N leaves. Masks are packed (see `masks`).
    """

    root_tile_origins: np.ndarray  # [T, 3] int32
    root_tile_active: np.ndarray  # [T] bool
    upper_origins: np.ndarray  # [U, 3] int32, multiples of 4096
    upper_child: np.ndarray  # [U, 4096] uint8
    upper_active: np.ndarray  # [U, 4096] uint8
    lower_child: np.ndarray  # [L, 512] uint8
    lower_active: np.ndarray  # [L, 512] uint8
    leaf_active: np.ndarray  # [N, 64] uint8

    def __post_init__(self) -> None:
        lowers, leaves = masks.count(self.upper_child), masks.count(self.lower_child)
        if len(self.lower_child) != lowers or len(self.leaf_active) != leaves:
            raise ValueError(
                f"child masks announce {lowers} lower nodes and {leaves} leaves, "
                f"but {len(self.lower_child)} and {len(self.leaf_active)} were given"
            )

    @cached_property
    def lower_origins(self) -> np.ndarray:
        """[L, 3] int32: index-space origin of each lower node."""
        rows, slots = masks.set_slots(self.upper_child)
        offsets = masks.slot_offsets(masks.UPPER_LOG2)[slots] * masks.LOWER_DIM
        return self.upper_origins[rows] + offsets

    @cached_property
    def leaf_parents(self) -> tuple[np.ndarray, np.ndarray]:
        """Row of the lower node and slot in it of each leaf: two [N] int64 arrays."""
        return masks.set_slots(self.lower_child)

    @cached_property
    def leaf_origins(self) -> np.ndarray:
        """[N, 3] int32: index-space origin of each leaf."""
        rows, slots = self.leaf_parents
        return self.lower_origins[rows] + masks.slot_offsets(masks.LOWER_LOG2)[slots] * masks.LEAF_DIM

    @property
    def num_leaves(self) -> int:
        return len(self.leaf_active)

    @cached_property
    def leaf_active_bits(self) -> np.ndarray:
        """[N, 512] bool: active state of each voxel of each leaf."""
        return masks.unpack(self.leaf_active)

    @cached_property
    def num_active_leaf_voxels(self) -> int:
        return masks.count(self.leaf_active)

    @cached_property
    def num_active_voxels(self) -> int:
        """Active voxels, those of active tiles counted in."""
        lower = masks.count(self.lower_active & ~self.lower_child)
        upper = masks.count(self.upper_active & ~self.upper_child)
        root = int(self.root_tile_active.sum())
        return self.num_active_leaf_voxels + lower * 8**3 + upper * 128**3 + root * 4096**3

    @property
    def is_empty(self) -> bool:
        """True when nothing is active."""
        return self.num_active_voxels == 0

    @cached_property
    def num_lower_tiles(self) -> int:
        """Slots of lower nodes without child."""
        return self.lower_child.size * 8 - masks.count(self.lower_child)

    @cached_property
    def num_upper_tiles(self) -> int:
        """Slots of upper nodes without child."""
        return self.upper_child.size * 8 - masks.count(self.upper_child)

    def active_lower_tiles(self) -> np.ndarray:
        """[n, 3] int32: active tiles of lower nodes, in units of leaves, in slot order."""
        rows, slots = masks.set_slots(self.lower_active & ~self.lower_child)
        return (self.lower_origins[rows] >> 3) + masks.slot_offsets(masks.LOWER_LOG2)[slots]

    def tile_states(self) -> np.ndarray:
        """[M + K + T] bool: active states of the tiles of lower nodes, of upper nodes and of the root."""
        child_lower, child_upper = masks.unpack(self.lower_child), masks.unpack(self.upper_child)
        lower = masks.unpack(self.lower_active)[~child_lower]
        upper = masks.unpack(self.upper_active)[~child_upper]
        return np.concatenate([lower, upper, self.root_tile_active])

    def active_voxels(self) -> np.ndarray:
        """[A, 3] int32: index coordinates of the active voxels of leaves, leaf by leaf."""
        rows, slots = masks.set_slots(self.leaf_active)
        return self.leaf_origins[rows] + masks.slot_offsets(masks.LEAF_LOG2)[slots]

    @cached_property
    def leaf_table(self) -> OriginTable:
        """Finds rows of leaves by origin."""
        return OriginTable(self.leaf_origins)

    @cached_property
    def active_set(self) -> VoxelSet:
        """The active voxels, those of active tiles included."""
        rows, slots = masks.set_slots(self.upper_active & ~self.upper_child)
        upper = self.upper_origins[rows] + masks.slot_offsets(masks.UPPER_LOG2)[slots] * masks.LOWER_DIM
        rows, slots = masks.set_slots(self.lower_active & ~self.lower_child)
        lower = self.lower_origins[rows] + masks.slot_offsets(masks.LOWER_LOG2)[slots] * masks.LEAF_DIM
        cubes = {12: self.root_tile_origins[self.root_tile_active], 7: upper, 3: lower}
        return VoxelSet(cubes, self.leaf_origins, self.leaf_active)

    @cached_property
    def active_bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Smallest and largest index (inclusive) of active voxels and tiles; None when empty."""
        lows, highs = [], []
        for log2, origins in self.active_set.cubes.items():
            if len(origins):
                lows.append(origins.min(axis=0).astype(np.int64))
                highs.append(origins.max(axis=0).astype(np.int64) + (1 << log2) - 1)
        used = self.leaf_active.any(axis=1)
        if used.any():
            low, high = _voxel_bounds(self.leaf_origins[used], self.leaf_active[used])
            lows.append(low)
            highs.append(high)
        if not lows:
            return None
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def differs_from(self, other: "Topology") -> int:
        """Number of voxels whose active state differs (a tile counts all its voxels), plus one for each
        node or root tile found in one tree only and for each differing mask bit that no tree can show.

        0 exactly when both trees have the same nodes, tiles and active states.
        """
        difference = self.active_set.symmetric_difference(other.active_set)
        for name in ("root_tile_origins", "upper_origins", "lower_origins", "leaf_origins"):
            mine, theirs = getattr(self, name), getattr(other, name)
            shared = int((OriginTable(theirs).find(mine) >= 0).sum())
            difference += len(mine) + len(theirs) - 2 * shared
        return difference + _hidden_difference(self, other)

    def equals(self, other: "Topology") -> bool:
        """True when nodes, tiles and active states are the same, bit for bit."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)


def _voxel_bounds(origins: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest index [3] of the set voxels of leaves [n, 3], [n, 64], none of them empty."""
    bounds = []
    for pick in (np.min, np.max):
        corner = np.empty(3, np.int64)
        for axis in range(3):
            # Only the leaves furthest out along an axis can hold the extreme voxel.
            edge = pick(origins[:, axis])
            packed = np.bitwise_or.reduce(active[origins[:, axis] == edge], axis=0)
            layers = np.moveaxis(masks.unpack(packed).reshape(8, 8, 8), axis, 0).any(axis=(1, 2))
            corner[axis] = int(edge) + pick(np.flatnonzero(layers))
        bounds.append(corner)
    return bounds[0], bounds[1]


def _hidden_difference(a: Topology, b: Topology) -> int:
    """Differing active bits of slots that hold a child in both trees; such bits have no meaning in OpenVDB."""
    difference = 0
    for level in ("upper", "lower"):
        origins, child, active = f"{level}_origins", f"{level}_child", f"{level}_active"
        rows = OriginTable(getattr(b, origins)).find(getattr(a, origins))
        mine, theirs = rows >= 0, rows[rows >= 0]
        children = getattr(a, child)[mine] & getattr(b, child)[theirs]
        difference += masks.count(children & (getattr(a, active)[mine] ^ getattr(b, active)[theirs]))
    return difference
