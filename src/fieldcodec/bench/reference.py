"""The grid that all codecs are given, and what is asked of it again and again.

Errors are those of `fieldcodec.metrics`: over the active voxels of leaves, relative to the range of the active values,
PSNR = 20 log10(range / RMSE). So every codec is measured over the same voxels by the same numbers.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fieldcodec.coding.masks import hints_of_logits
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.metrics.surface import interior_overlap, surface_distance
from fieldcodec.metrics.values import value_errors
from fieldcodec.volume.quality import is_surface
from fieldcodec.volume.topology_codec import encode_leaves, encode_lower_masks, encode_tables

_LOGISTIC = 1.7  # a normal error of standard deviation s has about the distribution of a logistic one of scale s / 1.7


@dataclass(frozen=True, eq=False)
class Reference:
    """A grid with active voxels in leaves."""

    grid: SparseGrid

    @cached_property
    def values(self) -> np.ndarray:
        """[A, C] float64: active values of leaves."""
        return self.grid.active_values().astype(np.float64)

    @cached_property
    def value_range(self) -> float:
        """Largest minus smallest active value, as in `GridQuality`."""
        errors = value_errors(self.grid, self.grid)
        return (errors.high or 0.0) - (errors.low or 0.0)

    @cached_property
    def has_surface(self) -> bool:
        return is_surface(self.grid)

    def rmse(self, values: np.ndarray) -> float:
        """Of decoded active values [A, C]."""
        return float(np.sqrt(np.mean((values.astype(np.float64) - self.values) ** 2)))

    def psnr(self, rmse: float) -> float | None:
        """In dB; None where nothing differs."""
        return 20 * math.log10(self.value_range / rmse) if rmse else None

    def surface(self, values: np.ndarray) -> tuple[float | None, float | None]:
        """IoU and mCD of a level set with decoded active values [A, 1] in the original's tree."""
        if not self.has_surface:
            return None, None
        leaf_values = self.grid.leaf_values.copy()
        leaf_values[self.grid.topology.leaf_active_bits] = values
        decoded = replace(self.grid, leaf_values=leaf_values)
        return interior_overlap(self.grid, decoded), surface_distance(self.grid, decoded)

    def tree_bytes(self, leaf_values: np.ndarray | None = None, rmse: float = 0.0) -> int:
        """Bytes of the exact tree by fieldcodec's mask coder; the values of tiles are not counted.

        Args:
            leaf_values: [N, 512] decoded distances of a level set; a voxel nearer than the background is likely
                active, the more so the smaller `rmse` is against the difference.
        """
        if leaf_values is None:
            return self._plain_tree_bytes
        margin = np.abs(float(self.grid.background[0])) - np.abs(leaf_values.astype(np.float64))
        logits = np.clip(_LOGISTIC * margin / max(rmse, 1e-9 * self.value_range), -50, 50)
        return self._upper_tree_bytes + len(encode_leaves(self.grid.topology, hints_of_logits(logits * 256)))

    @cached_property
    def _plain_tree_bytes(self) -> int:
        return self._upper_tree_bytes + len(encode_leaves(self.grid.topology, None))

    @cached_property
    def _upper_tree_bytes(self) -> int:
        tables = sum(map(len, encode_tables(self.grid.topology).values()))
        return tables + len(encode_lower_masks(self.grid.topology, None))
