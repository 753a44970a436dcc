"""Values of a tree at any points: nearest, trilinear and tricubic, with the rules of OpenVDB and NanoVDB.

    nearest     the voxel at the rounded coordinates, halves away from zero      (OpenVDB's PointSampler)
    trilinear   between the 8 voxels around, bit for bit                         (OpenVDB's BoxSampler)
    tricubic    through the 64 voxels around: Catmull-Rom along each axis        (NanoVDB's SampleFromVoxels<Tree, 3>)

Voxel (i, j, k) is the point (i, j, k) of index space. Tiles and background answer from the tree alone. All channels
are sampled at the same points; a staggered grid is treated as if it were not.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import ValueType

TAPS = {"nearest": 1, "trilinear": 2, "tricubic": 4}  # interpolation -> voxels along each axis
SPACES = ("world", "index")


def taps_of(interpolation: str, value_type: ValueType) -> int:
    """Voxels along each axis that an interpolation looks at.

    Raises:
        UsageError: it is unknown, or it would mix values that are no real numbers.
    """
    taps = TAPS.get(interpolation)
    if taps is None:
        raise UsageError(f"interpolation is {interpolation!r}; allowed are {', '.join(TAPS)}")
    if taps > 1 and not value_type.is_float:
        raise UsageError(f"a grid of {value_type.name} cannot be interpolated; sample it with interpolation='nearest'")
    return taps


@dataclass(frozen=True, eq=False)
class Tree:
    """A topology made ready for look-ups.

    Attributes:
        nodes: see `sampling_kernels`.
        leaf_active: [N, 64] uint8, packed.
        tile_active: [tiles + 1] bool; the last one stands for the background.
    """

    nodes: np.ndarray
    leaf_active: np.ndarray
    tile_active: np.ndarray

    @staticmethod
    def of(topology: Topology) -> "Tree":
        """Takes about as much memory as the topology itself."""
        origins = np.concatenate([topology.upper_origins, topology.root_tile_origins]).astype(np.int64) >> 12
        uppers, tiles = len(topology.upper_origins), len(topology.root_tile_origins)
        first_upper = topology.num_lower_tiles
        first_root = first_upper + topology.num_upper_tiles
        places = np.concatenate([np.arange(uppers), -1 - first_root - np.arange(tiles)])
        roots = np.column_stack([origins, places])[np.lexsort(origins.T[::-1])].reshape(-1)
        upper, lower = _words_and_ranks(topology.upper_child), _words_and_ranks(topology.lower_child)
        at_upper = _kernels().HEADER + len(roots)
        header = [uppers + tiles, at_upper, at_upper + len(upper), first_upper, first_root, first_root + tiles]
        nodes = np.concatenate([np.array(header, np.int64), roots, upper, lower])
        return Tree(nodes, np.ascontiguousarray(topology.leaf_active), np.append(topology.tile_states(), False))

    def active(self, points: np.ndarray, taps: int) -> np.ndarray:
        """[n] bool: whether a voxel that the interpolation looks at is active."""
        out = np.empty(len(points), bool)
        _kernels().active(len(points), self.nodes, self.leaf_active, self.tile_active, points, taps, out)
        return out

    def touched(self, points: np.ndarray, taps: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of all leaves that the interpolation looks at, rising; and [n] a leaf of each point, or -1."""
        home, touched = np.empty(len(points), np.int64), np.zeros(len(self.leaf_active), bool)
        _kernels().touch(len(points), self.nodes, points, taps, home, touched)
        return np.flatnonzero(touched), home


@dataclass(frozen=True, eq=False)
class Values:
    """Values of a tree, in a type that kernels know: halves become singles.

    Attributes:
        leaves: [P, 512, C].
        tiles: [tiles + 1, C], of lower nodes, of upper nodes, of the root and the background.
        slots: [N] int32: where in `leaves` each leaf is; empty where they are in the order of rows.
    """

    leaves: np.ndarray
    tiles: np.ndarray
    slots: np.ndarray

    @staticmethod
    def of(leaves: np.ndarray, tiles: Sequence[np.ndarray], slots: np.ndarray | None = None) -> "Values":
        """Tiles as a list of arrays [n, C], the background [1, C] last."""
        kind = sampled_type(leaves.dtype)
        joined = np.concatenate(tiles).astype(kind, copy=False)
        return Values(np.ascontiguousarray(leaves, kind), joined, np.zeros(0, np.int32) if slots is None else slots)

    def sample(self, tree: Tree, points: np.ndarray, taps: int) -> np.ndarray:
        """[n, C] values at [n, 3] float64 points in index space."""
        out = np.empty((len(points), self.tiles.shape[1]), self.tiles.dtype)
        if taps == 1:  # whatever the type, these are bits to be copied
            leaves, tiles, bits = (array.view(f"u{out.dtype.itemsize}") for array in (self.leaves, self.tiles, out))
            _kernels().nearest(len(points), tree.nodes, leaves, self.slots, tiles, points, bits)
        else:
            _kernels().interpolate(len(points), tree.nodes, self.leaves, self.slots, self.tiles, points, taps, out)
        return out

    def cubic_gradient(self, tree: Tree, points: np.ndarray) -> np.ndarray:
        """[n, C, 3] float64 derivatives of tricubic interpolation along the axes of index space."""
        out = np.empty((len(points), self.tiles.shape[1], 3))
        _kernels().cubic_gradient(len(points), tree.nodes, self.leaves, self.slots, self.tiles, points, out)
        return out


def sampled_type(dtype: np.dtype) -> np.dtype:
    """Of the values that sampling a grid of a type gives."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def index_points(points: Any, space: str, transform: GridTransform) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """Points as the kernels want them, and what turns their answers into what the caller wants.

    Args:
        points: [..., 3] numbers, a NumPy array (or what becomes one) or a PyTorch tensor on any device.
        space: "world" or "index".

    Returns:
        [n, 3] float64 in index space, and a function that shapes [n, ...] like the points, as a tensor on their device
        where they are one.

    Raises:
        UsageError: the shape is another one, the points are no numbers, or the space is unknown.
    """
    if space not in SPACES:
        raise UsageError(f"space is {space!r}; allowed are world and index")
    is_tensor = hasattr(points, "detach") and hasattr(points, "device")
    array = np.asarray(points.detach().cpu().numpy() if is_tensor else points)
    if array.ndim == 0 or array.shape[-1] != 3 or array.dtype.kind not in "fiu":
        raise UsageError(f"points must be numbers of shape [..., 3], got {array.dtype} of shape {list(array.shape)}")
    flat = np.ascontiguousarray(array.reshape(-1, 3), np.float64)
    indices = transform.to_index(flat) if space == "world" else flat

    def shaped(answers: np.ndarray) -> Any:
        result = answers.reshape(array.shape[:-1] + answers.shape[1:])
        return sys.modules["torch"].from_numpy(result).to(points.device) if is_tensor else result

    return np.ascontiguousarray(indices), shaped


def world_bounds(
    bounds: tuple[np.ndarray, np.ndarray] | None, transform: GridTransform
) -> tuple[np.ndarray, np.ndarray] | None:
    """The world-space box around the cubes of voxels from lowest to highest index, both inclusive."""
    if bounds is None:
        return None
    low, high = np.asarray(bounds[0]) - 0.5, np.asarray(bounds[1]) + 0.5
    corners = transform.to_world(np.array([np.where(pick, high, low) for pick in np.ndindex(2, 2, 2)]))
    return corners.min(axis=0), corners.max(axis=0)


def _words_and_ranks(child: np.ndarray) -> np.ndarray:
    """Child masks [n, bytes] -> [words, 2] int64, flat: each word and the number of children before it."""
    words = np.ascontiguousarray(child).view("<i8").astype(np.int64).reshape(-1)
    counts = np.bitwise_count(words.view(np.uint64)).astype(np.int64)
    return np.column_stack([words, np.cumsum(counts) - counts]).reshape(-1)


def _kernels() -> Any:
    """Loaded where something is sampled: numba takes half a second, for which no reader of a file should wait."""
    return import_module("fieldcodec.grid.sampling_kernels")
