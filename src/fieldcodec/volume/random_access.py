"""Random access to a compressed grid: its tree is decoded once, leaves only where points fall (NeuralVDB 3.5, online).

    points --> tree --> tile or background: answered
                   \\-> leaf: decoded now, or kept from before --> interpolated

Decoded leaves are kept in a pool of fixed size; those not used for longest make room for others.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from threading import Lock
from typing import Any, final

import numpy as np
import torch

from fieldcodec.grid import masks, sampling
from fieldcodec.grid.clip import box_of
from fieldcodec.grid.sampling import Tree, Values
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.continuous import LeafField, leaf_at
from fieldcodec.volume.decode import OpenedGrid, open_grid
from fieldcodec.volume.leaf_values import LeafValues

DEFAULT_CACHE_BYTES = 256 << 20
FIELD = "field"  # the interpolation that is none: the continuous field itself
_FEWEST_LEAVES = 64  # a point looks at 8 at most
_LEAVES_AT_ONCE = 2048  # decoded at once, which bounds the memory for what they are made from
_GROUP_SHARE = 4  # one part in so many of the memory is for groups of residuals


@final
class LeafPool:
    """Decoded leaves, at most `capacity` of them, found by their rows.

    Attributes:
        leaves: [capacity, 512, C].
        slots: [N] int32: where in `leaves` each leaf is, -1 where it is not.
        decoded: how many leaves were decoded so far, again after having been dropped ones included.
    """

    def __init__(self, values: LeafValues, num_leaves: int, channels: int, dtype: np.dtype, cache_bytes: int) -> None:
        leaf_bytes = masks.LEAF_SLOTS * channels * dtype.itemsize
        self.capacity = min(num_leaves, max(_FEWEST_LEAVES, cache_bytes // leaf_bytes))
        self.leaves = np.empty((self.capacity, masks.LEAF_SLOTS, channels), dtype)
        self.slots = np.full(num_leaves, -1, np.int32)
        self.decoded = 0
        self._values = values
        self._rows = np.full(self.capacity, -1, np.int64)  # which leaf is in each slot
        self._used = np.zeros(self.capacity, np.int64)  # when it was asked for last
        self._now = 0
        self._missing = num_leaves

    @property
    def is_complete(self) -> bool:
        """Every leaf is here, and there to stay."""
        return self._missing == 0

    def load(self, rows: np.ndarray) -> None:
        """Decodes what is missing of some leaves: `rows` rising, not more than the capacity."""
        self._now += 1
        here = self.slots[rows]
        self._used[here[here >= 0]] = self._now
        missing = rows[here < 0]
        if not len(missing):
            return
        room = np.argpartition(self._used, len(missing) - 1)[: len(missing)]
        dropped = self._rows[room]
        self.slots[dropped[dropped >= 0]] = -1
        self._missing += int(np.count_nonzero(dropped >= 0))
        self._rows[room], self._used[room] = -1, 0
        for start in range(0, len(missing), _LEAVES_AT_ONCE):
            part = slice(start, start + _LEAVES_AT_ONCE)
            self.leaves[room[part]] = self._values.leaves(missing[part])
            self.slots[missing[part]] = room[part]
            self._rows[room[part]], self._used[room[part]] = missing[part], self._now
            self._missing -= len(missing[part])
        self.decoded += len(missing)


@final
class GridAccess:
    """A compressed grid that answers for points; several threads may ask at once."""

    def __init__(self, grid: CompressedGrid, device: torch.device, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        """Decodes the tree.

        Args:
            device: where networks are evaluated.
            cache_bytes: of memory for decoded leaves, and for what they are made from where that comes in groups.

        Raises:
            FormatError: sections are damaged.
        """
        groups = cache_bytes // _GROUP_SHARE
        opened = open_grid(grid, device, kept_bytes=groups)
        dtype = sampling.sampled_type(grid.value_type.dtype)
        topology = opened.topology
        self.opened: OpenedGrid = opened
        self.pool = LeafPool(opened.leaf_values, topology.num_leaves, grid.channels, dtype, cache_bytes - groups)
        self._tree = Tree.of(topology)
        self._values = Values.of(self.pool.leaves, (opened.tiles, grid.background[None]), self.pool.slots)
        self._lock, self._device = Lock(), device

    @property
    def topology(self) -> Topology:
        return self.opened.topology

    @property
    def channels(self) -> int:
        return self.opened.grid.channels

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest corner [3] of the world-space box around what is active; None where nothing is."""
        return sampling.world_bounds(self.topology.active_bounds, self.opened.grid.transform)

    def sample(self, points: Any, *, space: str = "world", interpolation: str = "trilinear") -> Any:
        """What `SparseGrid.sample` gives on the decoded grid; only the leaves that it needs are decoded.

        The interpolation "field" gives the continuous field, see `sample_with_gradient`; where the points are a tensor
        that requires gradients, so does the result.

        Raises:
            UsageError: an argument is not allowed.
            FormatError: sections are damaged.
        """
        if interpolation == FIELD:
            if getattr(points, "requires_grad", False):
                values: torch.Tensor = _Sampled.apply(points, self, space)
                return values
            if self._continuous is not None:
                return self.sample_with_gradient(points, space=space)[0]
            interpolation = "tricubic"
        grid = self.opened.grid
        taps = sampling.taps_of(interpolation, grid.value_type)
        indices, shaped = sampling.index_points(points, space, grid.transform)
        return shaped(self._at_voxels(indices, taps))

    def sample_with_gradient(self, points: Any, *, space: str = "world") -> tuple[Any, Any]:
        """The continuous field and its derivatives, each kept in the type that values have.

        Inside leaves it is the spline or network that the file holds. Where values have a residual, a refinement, signs
        or a mesh on top or instead, it is the tricubic interpolation of the decoded voxels.

        Args:
            points, space: as in `sample`.

        Returns:
            values [..., C], and gradients [..., C, 3] along the axes of the space that the points are in.

        Raises:
            UsageError: an argument is not allowed, or the values are integers.
            FormatError: sections are damaged.
        """
        grid = self.opened.grid
        sampling.taps_of("tricubic", grid.value_type)
        indices, shaped = sampling.index_points(points, space, grid.transform)
        leaf_field = self._continuous
        if leaf_field is None:
            values = self._at_voxels(indices, 4)
            gradients = self._voxel_gradients(indices)
        else:
            leaves = leaf_at(self._tree, indices)
            values = np.empty((len(indices), grid.channels))
            gradients = np.zeros((len(indices), grid.channels, 3))
            inside = leaves >= 0
            values[~inside] = self._values.sample(self._tree, np.floor(indices[~inside]), 1)
            values[inside], gradients[inside] = leaf_field.evaluate(indices[inside], leaves[inside])
        if space == "world":  # index = (world - origin) @ inverse
            gradients = gradients @ grid.transform.inverse.T
        kind = self.pool.leaves.dtype
        return shaped(values.astype(kind)), shaped(gradients.astype(kind))

    @cached_property
    def _continuous(self) -> LeafField | None:
        return self.opened.continuous(self._device)

    def _at_voxels(self, indices: np.ndarray, taps: int) -> np.ndarray:
        return self._in_parts(indices, taps, lambda part: self._values.sample(self._tree, part, taps))

    def _voxel_gradients(self, indices: np.ndarray) -> np.ndarray:
        return self._in_parts(indices, 4, lambda part: self._values.cubic_gradient(self._tree, part))

    def active_at(self, points: Any, *, space: str = "world", interpolation: str = "nearest") -> Any:
        """[...] bool, as `SparseGrid.active_at`; the tree answers alone."""
        grid = self.opened.grid
        taps = sampling.taps_of(interpolation, grid.value_type)
        indices, shaped = sampling.index_points(points, space, grid.transform)
        return shaped(self._tree.active(indices, taps))

    def to_grid(self, bbox: Sequence[Any] | None = None) -> SparseGrid:
        """The grid, or what is of it in a box, see `CompressedVolume.to_grids`.

        Raises:
            UsageError: the box is none.
            FormatError: sections are damaged.
        """
        box = None if bbox is None else box_of(bbox)
        with self._lock:
            return self.opened.to_grid(box)

    def _in_parts(
        self, points: np.ndarray, taps: int, evaluate: Callable[[np.ndarray], np.ndarray], *, ordered: bool = False
    ) -> np.ndarray:
        """What `evaluate` gives at points, once the leaves it needs are there; halved until they fit into the pool."""
        if self.pool.is_complete:
            return evaluate(points)
        rows, home = self._tree.touched(points, taps)
        if len(rows) <= self.pool.capacity:
            with self._lock:
                self.pool.load(rows)
                return evaluate(points)
        if not ordered:  # neighbours together, so that each leaf is decoded once or twice
            order = np.argsort(home, kind="stable")
            result = self._in_parts(np.ascontiguousarray(points[order]), taps, evaluate, ordered=True)
            return result[np.argsort(order)]
        middle = len(points) // 2
        halves = (points[:middle], points[middle:])
        return np.concatenate([self._in_parts(half, taps, evaluate, ordered=True) for half in halves])


class _Sampled(torch.autograd.Function):
    """The continuous field as an operation of PyTorch; its derivatives are computed beside its values."""

    @staticmethod
    def forward(ctx: Any, points: torch.Tensor, access: GridAccess, space: str) -> torch.Tensor:
        values, gradients = access.sample_with_gradient(points, space=space)
        ctx.save_for_backward(gradients)
        result: torch.Tensor = values
        return result

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return (slopes[0][..., None] * gradients).sum(dim=-2), None, None
