"""A regressor's outputs as integers F on all leaf voxels: they guide the masks of leaves, and make the values.

    values, network --> F on all leaf voxels --> margins --> leaf masks
                                             \\-> clip(offset + scale / 16384 * F) on active voxels

F is the same on every machine, so topology may depend on it; it reads like the F of a lattice.
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.coding.masks import encode_leaf_masks
from fieldcodec.coding.value_masks import encode_masks_given_values
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology
from fieldcodec.lattice.operator import MAX_FIXED
from fieldcodec.nets.integer import VALUE_UNIT
from fieldcodec.volume.fields import ExpertField, OnBlock, leaf_blocks, leaf_points
from fieldcodec.volume.lattice_codec import Rows
from fieldcodec.volume.lattice_spec import LatticeSpec
from fieldcodec.volume.normalise import Normalisation

NOWHERE = -32768  # margin of voxels that no expert of the network has
_SAMPLE_LEAVES = 4096  # a larger grid is tried on so many first
_HOPEFUL = 1.02  # guided by plain masks on the sample, up to which the whole grid is tried


def spec_of(normalisation: Normalisation, *, banded: bool) -> LatticeSpec:
    """How F becomes values and margins.

    Raises:
        FormatError: a scale is no positive number.
    """
    unit = tuple((normalisation.scale / VALUE_UNIT).tolist())
    if min(unit) <= 0:
        raise FormatError(f"a network's scales are {normalisation.scale.tolist()}; they must be above 0")
    offset, low, high = (tuple(each.tolist()) for each in (normalisation.offset, normalisation.low, normalisation.high))
    return LatticeSpec(unit, offset, low, high, levels=(), banded=banded)


def guide(
    field: ExpertField, spec: LatticeSpec, leaf_origins: np.ndarray, background: np.ndarray,
    on_block: OnBlock | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """F and margins of all voxels of leaves at [N, 3] origins.

    Returns:
        [C, N, 512] int32 and [N, 512] int16 (see `LatticeSpec.margins`).

    Raises:
        FormatError: the network's weights are too large for integers.
    """
    leaves, background = len(leaf_origins), background.astype(np.float64)
    fixed = np.empty((len(spec.unit), leaves, masks.LEAF_SLOTS), np.int32)
    margins = np.empty((leaves, masks.LEAF_SLOTS), np.int16)
    for block in leaf_blocks(leaves):
        outputs, outside = field.exact_values(leaf_points(leaf_origins[block]))
        limited = np.clip(outputs, -MAX_FIXED, MAX_FIXED)
        fixed[:, block] = limited.T.reshape(len(fixed), -1, masks.LEAF_SLOTS)
        of_block = spec.margins(fixed[:, block], background)
        of_block[outside.reshape(of_block.shape)] = NOWHERE
        margins[block] = of_block
        if on_block is not None:
            on_block(block.stop, leaves)
    return fixed, margins


@dataclass(frozen=True, eq=False)
class GuidingNumbers:
    """F of a network, evaluated on the leaves that are asked for; background [C]."""

    field: ExpertField
    spec: LatticeSpec
    leaf_origins: np.ndarray
    background: np.ndarray

    def fixed(self, rows: Rows) -> np.ndarray:
        return self.fixed_and_margins(rows)[0]

    def margins(self, rows: Rows) -> np.ndarray:
        return self.fixed_and_margins(rows)[1]

    def fixed_and_margins(self, rows: Rows, on_block: OnBlock | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What `guide` says of some leaves."""
        return guide(self.field, self.spec, self.leaf_origins[rows], self.background, on_block)


def sampled_leaves(leaf_origins: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of the leaves of whole lower nodes drawn at random, `count` leaves or a little more; all where few."""
    _, node = np.unique(leaf_origins & ~(masks.LOWER_DIM - 1), axis=0, return_inverse=True)
    sizes = np.bincount(node)
    order = np.random.default_rng(seed).permutation(len(sizes))
    last = int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1
    return np.flatnonzero(np.isin(node, order[:last]))


def guided_masks(
    field: ExpertField, spec: LatticeSpec, topology: Topology, background: np.ndarray, on_block: OnBlock | None = None
) -> bytes | None:
    """Leaf masks coded with margins; None where a sample shows that they are larger than masks by themselves."""
    origins, packed = topology.leaf_origins, topology.leaf_active
    rows = sampled_leaves(origins, _SAMPLE_LEAVES, seed=0)
    if 2 * len(rows) < len(origins):
        margins = guide(field, spec, origins[rows], background)[1]
        sample = encode_masks_given_values(packed[rows], origins[rows], margins)
        if len(sample) > _HOPEFUL * len(encode_leaf_masks(packed[rows], origins[rows])):
            return None
    return encode_masks_given_values(packed, origins, guide(field, spec, origins, background, on_block)[1])
