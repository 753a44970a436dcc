"""What a regressor is taught of inactive voxels, so that its values tell which voxels are active.

A network that saw active voxels only may say anything beside them. Taught a little of the inactive ones too, it
draws the border of the active region by itself, and the masks of leaves hardly cost anything.
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.coding.masks import encode_leaf_masks
from fieldcodec.coding.value_masks import encode_masks_given_values
from fieldcodec.grid import masks
from fieldcodec.grid.continuation import continue_distance
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.volume.network_numbers import sampled_leaves, spec_of
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.quality import is_surface

_NEAR = 1.5  # distance, in half widths of the band, up to which voxels matter most
_THINNED = 8  # of the voxels farther away, and of those of other grids, one of so many is taught
_FARTHEST = 8.0  # distance in half widths that no target exceeds
_SAMPLE_LEAVES = 2048
_TELLING = 0.8  # guided by plain masks, below which a network is taught
SHARE_SURFACE, SHARE_OTHER = 0.4, 0.1  # of a batch


@dataclass(frozen=True, eq=False)
class Outside:
    """Inactive voxels to be taught.

    Attributes:
        taught: [N, 64] uint8, packed masks.
        values: [N, 512, C] float32.
        share: the part of a batch that is drawn from them.
        banded: values are distances, of which those beyond the band count less the farther they lie.
    """

    taught: np.ndarray
    values: np.ndarray
    share: float
    banded: bool

    @staticmethod
    def of(grid: SparseGrid) -> "Outside":
        """Of level sets distances continued beyond the band, never clamped at it; of others the values held."""
        inactive = ~grid.topology.leaf_active_bits
        slots = np.arange(masks.LEAF_SLOTS)
        # one slot of each 2^3 block, another one from leaf to leaf
        turn = np.arange(len(inactive))[:, None]
        thin = ((slots >> 6 & 1) << 2 | (slots >> 3 & 1) << 1 | slots & 1) == turn % _THINNED
        if not is_surface(grid):
            held = np.nan_to_num(grid.leaf_values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
            return Outside(masks.pack(inactive & thin), held, SHARE_OTHER, False)
        band = float(grid.background[0])
        distance = np.clip(continue_distance(grid), -_FARTHEST * band, _FARTHEST * band)
        near = np.abs(distance) < _NEAR * band
        return Outside(masks.pack(inactive & (near | thin)), distance[..., None], SHARE_SURFACE, True)


def values_tell_masks(grid: SparseGrid, normalisation: Normalisation, noise: float, seed: int) -> bool:
    """Whether decoded values would make leaf masks much smaller, judged by some leaves.

    Args:
        noise: root mean square error the values will have, as a part of their range.
    """
    topology = grid.topology
    rows = sampled_leaves(topology.leaf_origins, _SAMPLE_LEAVES, seed)
    packed, origins = topology.leaf_active[rows], topology.leaf_origins[rows]
    span = normalisation.high - normalisation.low
    held = np.nan_to_num(grid.leaf_values[rows].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    held += np.random.default_rng(seed).normal(size=held.shape) * (noise * span)
    values = np.clip(held, normalisation.low - span, normalisation.high + span)
    spec = spec_of(normalisation, banded=False)
    fixed = np.rint((np.moveaxis(values, -1, 0) - _column(spec.offset)) / _column(spec.unit)).astype(np.int32)
    guided = encode_masks_given_values(packed, origins, spec.margins(fixed, grid.background.astype(np.float64)))
    return len(guided) < _TELLING * len(encode_leaf_masks(packed, origins))


def _column(numbers: tuple[float, ...]) -> np.ndarray:
    """[C, 1, 1]"""
    return np.array(numbers).reshape(-1, 1, 1)
