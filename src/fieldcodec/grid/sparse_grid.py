"""One named grid: a tree with values, a transform and metadata; and a file of several grids."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from fieldcodec.errors import UnknownGridError
from fieldcodec.grid import masks, sampling
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import ValueType

LEVEL_SET, FOG_VOLUME, STAGGERED, UNKNOWN = "level set", "fog volume", "staggered", "unknown"


@dataclass(frozen=True, eq=False)
class SparseGrid:
    """A grid as OpenVDB has it.

    Coordinates are of two kinds only: index space (integer voxel coordinates `ijk`) and world space
    (`transform` maps between them). Values carry a last axis of C = `value_type.channels`.

    Tile values are stored for the slots without child, in slot order, node after node: M of all lower
    nodes, K of all upper nodes, T of the root. Two grids that hold the very same `topology` and
    `leaf_values` objects are instances of one tree and are written as such.
    """

    name: str
    value_type: ValueType
    topology: Topology
    leaf_values: np.ndarray  # [N, 512, C], inactive values included
    lower_tile_values: np.ndarray  # [M, C]
    upper_tile_values: np.ndarray  # [K, C]
    root_tile_values: np.ndarray  # [T, C]
    background: np.ndarray  # [C]
    transform: GridTransform
    metadata: Metadata = field(default_factory=Metadata)
    save_as_half: bool = False  # values are rounded to 16 bits in the file

    def __post_init__(self) -> None:
        topology, channels = self.topology, self.value_type.channels
        lower = topology.num_lower_tiles
        upper = topology.num_upper_tiles
        expected = {
            "leaf_values": (topology.num_leaves, masks.LEAF_SLOTS, channels),
            "lower_tile_values": (lower, channels),
            "upper_tile_values": (upper, channels),
            "root_tile_values": (len(topology.root_tile_active), channels),
            "background": (channels,),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != self.value_type.dtype:
                raise ValueError(
                    f"{name} has shape {array.shape} and type {array.dtype}, "
                    f"but shape {shape} and type {self.value_type.dtype} are needed"
                )

    @property
    def grid_class(self) -> str:
        """OpenVDB's grid class: level set, fog volume, staggered or unknown."""
        return str(self.metadata.get("class", UNKNOWN))

    @property
    def is_level_set(self) -> bool:
        return self.grid_class == LEVEL_SET

    @property
    def channels(self) -> int:
        return self.value_type.channels

    def active_values(self) -> np.ndarray:
        """[A, C]: values of the active voxels of leaves, in the order of `topology.active_voxels()`."""
        return self.leaf_values[self.topology.leaf_active_bits]

    def lower_tile_mask(self) -> np.ndarray:
        """[M] bool: active state of each entry of `lower_tile_values`."""
        return masks.unpack(self.topology.lower_active)[~masks.unpack(self.topology.lower_child)]

    def upper_tile_mask(self) -> np.ndarray:
        """[K] bool: active state of each entry of `upper_tile_values`."""
        return masks.unpack(self.topology.upper_active)[~masks.unpack(self.topology.upper_child)]

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest corner [3] of the world-space box around what is active; None where nothing is."""
        return sampling.world_bounds(self.topology.active_bounds, self.transform)

    def sample(self, points: Any, *, space: str = "world", interpolation: str = "trilinear") -> Any:
        """Values at points, as OpenVDB's samplers give them.

        Args:
            points: [..., 3], a NumPy array or a PyTorch tensor on any device.
            space: of the points, "world" or "index" (voxel (i, j, k) is the point (i, j, k)).
            interpolation: "nearest", "trilinear" or "tricubic", see `fieldcodec.grid.sampling`. Grids of integers and
                bools have "nearest" only.

        Returns:
            [..., C] of the grid's type (halves as singles); a tensor on the same device where the points are one.
            Points that are not finite or beyond all coordinates get the background.

        Raises:
            UsageError: an argument is not allowed.
        """
        taps = sampling.taps_of(interpolation, self.value_type)
        indices, shaped = sampling.index_points(points, space, self.transform)
        return shaped(self._sampled_values.sample(self._tree, indices, taps))

    def active_at(self, points: Any, *, space: str = "world", interpolation: str = "nearest") -> Any:
        """[...] bool: whether any voxel that the interpolation looks at is active; arguments as in `sample`."""
        taps = sampling.taps_of(interpolation, self.value_type)
        indices, shaped = sampling.index_points(points, space, self.transform)
        return shaped(self._tree.active(indices, taps))

    @cached_property
    def _tree(self) -> sampling.Tree:
        return sampling.Tree.of(self.topology)

    @cached_property
    def _sampled_values(self) -> sampling.Values:
        tiles = (self.lower_tile_values, self.upper_tile_values, self.root_tile_values, self.background[None])
        return sampling.Values.of(self.leaf_values, tiles)

    def with_class(self, grid_class: str) -> "SparseGrid":
        return replace(self, metadata=self.metadata.with_entry(MetaEntry.of("class", grid_class)))


@dataclass(frozen=True)
class OpaqueGrid:
    """A grid of a type that is carried byte for byte and not interpreted, such as points."""

    name: str
    type_name: str  # as in the file, e.g. "Tree_ptdataidx32_5_4_3"
    payload: bytes  # the grid's own bytes: compression flags, metadata, transform, tree, buffers
    file_version: int  # of the .vdb file the bytes come from
    save_as_half: bool = False
    block_offset: int = 0  # where the buffers begin in `payload`, from its start
    instance_of: "OpaqueGrid | None" = None  # the grid whose tree it shares; `payload` then ends before the tree


@dataclass(frozen=True)
class VolumeFile:
    """The grids of a file, in file order, and the file's own metadata."""

    grids: tuple[SparseGrid | OpaqueGrid, ...]
    metadata: Metadata = field(default_factory=Metadata)

    def __len__(self) -> int:
        return len(self.grids)

    def __iter__(self) -> Iterator[SparseGrid | OpaqueGrid]:
        return iter(self.grids)

    def __getitem__(self, key: int | str) -> SparseGrid | OpaqueGrid:
        """A grid by position or by name (the first one of that name)."""
        row = key
        if isinstance(row, str):
            row = next((i for i, grid in enumerate(self.grids) if grid.name == key), len(self))
        if not -len(self) <= row < len(self):
            known = ", ".join(repr(grid.name) for grid in self.grids) or "none"
            raise UnknownGridError(f"no such grid: {key!r}; the file has {len(self.grids)} grids: {known}")
        return self.grids[row]
