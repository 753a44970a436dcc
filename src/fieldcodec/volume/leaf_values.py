"""Values of the voxels of any leaves of a compressed grid, whatever the method: full decode and random access alike.

inactive voxels (exact) ---------------------------------------+
active voxels: lattice, guiding network | network | list ------+--> leaf values [n, 512, C]
"""

from functools import cached_property
from typing import Protocol

import numpy as np

from fieldcodec.coding.palette import decode_slot_values
from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.value_type import ValueType
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.fields import FieldEvaluator, OnBlock, active_points, leaf_blocks
from fieldcodec.volume.lattice_codec import Rows, write_values
from fieldcodec.volume.leaf_numbers import LeafNumbers
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.values_codec import FEW_VALUES, bits_of

_SAMPLE = 4096
_COMPARED = 8  # entries of a palette up to which comparing with each is faster than searching


class ActiveValues(Protocol):
    """Where the values of active voxels come from."""

    def write(self, rows: Rows, leaf_values: np.ndarray, leaf_active: np.ndarray) -> None:
        """Puts them into leaf_values [n, 512, C] of the leaves `rows`, whose masks are leaf_active [n, 64]."""
        ...


class IntegerValues:
    """Values from the integers of a lattice, mesh or guiding network."""

    def __init__(self, numbers: LeafNumbers, value_type: ValueType, *, save_as_half: bool) -> None:
        self._numbers, self._value_type, self._save_as_half = numbers, value_type, save_as_half

    def write(self, rows: Rows, leaf_values: np.ndarray, leaf_active: np.ndarray) -> None:
        numbers = self._numbers.numbers(rows)
        write_values(self._numbers.spec, numbers, leaf_values, leaf_active, self._value_type, self._save_as_half)


class NetworkValues:
    """Values from a regressor, evaluated at active voxels block by block."""

    def __init__(
        self, grid: CompressedGrid, evaluator: FieldEvaluator, leaf_origins: np.ndarray, on_block: OnBlock
    ) -> None:
        self._grid, self._evaluator, self._origins, self._on_block = grid, evaluator, leaf_origins, on_block
        self._normalisation = Normalisation.from_json(grid.meta["values"], grid.channels)

    def write(self, rows: Rows, leaf_values: np.ndarray, leaf_active: np.ndarray) -> None:
        origins, dtype = self._origins[rows], self._grid.value_type.dtype
        for block in leaf_blocks(len(origins)):
            values = self._evaluator.values(active_points(origins[block], leaf_active[block]))
            decoded = self._normalisation.invert(values, dtype, self._grid.save_as_half)
            leaf_values[block][masks.unpack(leaf_active[block])] = decoded
            self._on_block(block.stop, len(origins))


class ListedValues:
    """Values of some voxels of each leaf, kept as a list in the order of leaves and slots.

    Lists of a few distinct values, as those of inactive voxels mostly are, take a byte for each voxel.
    """

    def __init__(self, values: np.ndarray, listed: np.ndarray) -> None:
        """`values` [K, C] of the set voxels of the masks `listed` [N, 64]."""
        counts = np.bitwise_count(listed).sum(axis=1, dtype=np.int64)
        self._listed, self._starts = listed, np.cumsum(counts) - counts
        self._palette, self._entries = _with_palette(values)

    def write(self, rows: Rows, leaf_values: np.ndarray, leaf_active: np.ndarray) -> None:
        """As `ActiveValues`; the masks that were given first count."""
        listed = self._listed[rows]
        counts = np.bitwise_count(listed).sum(axis=1, dtype=np.int64)
        firsts = np.cumsum(counts) - counts
        places = np.arange(int(counts.sum())) + np.repeat(self._starts[rows] - firsts, counts)
        entries = self._entries if len(places) == len(self._entries) else self._entries[places]
        leaf_values[masks.unpack(listed)] = entries if self._palette is None else self._palette[entries]


class InactiveValues:
    """The values of inactive voxels; decoded, of all leaves, when they are needed for the first time."""

    def __init__(self, grid: CompressedGrid, topology: Topology) -> None:
        self._grid, self._topology = grid, topology

    def write(self, rows: Rows, leaf_values: np.ndarray, leaf_active: np.ndarray) -> None:
        """As `ActiveValues`.

        Raises:
            FormatError: their section is damaged.
        """
        self._listed.write(rows, leaf_values, leaf_active)

    @cached_property
    def _listed(self) -> ListedValues:
        inactive, value_type = ~self._topology.leaf_active, self._grid.value_type
        values = decode_slot_values(
            self._grid.section("inactive voxels"), inactive, masks.LEAF_LOG2, self._topology.leaf_origins,
            value_type.dtype, value_type.channels,
        )  # fmt: skip
        return ListedValues(values, inactive)


class MaskValues:
    """Values of mask grids, which are their states."""

    def write(self, rows: Rows, leaf_values: np.ndarray, leaf_active: np.ndarray) -> None:
        leaf_values[:] = masks.unpack(leaf_active)[..., None]


class LeafValues:
    """The leaves of one compressed grid."""

    def __init__(
        self, topology: Topology, value_type: ValueType, active: ActiveValues, inactive: InactiveValues | None
    ) -> None:
        """`inactive` None: values that `active` does not write are zero."""
        self._topology, self._value_type = topology, value_type
        self._active, self._inactive = active, inactive

    def leaves(self, rows: Rows) -> np.ndarray:
        """[n, 512, C]: of leaves in rising order; a slice may be `slice(None)` only.

        Raises:
            FormatError: sections are damaged.
        """
        active = self._topology.leaf_active[rows]
        values = np.zeros((len(active), masks.LEAF_SLOTS, self._value_type.channels), self._value_type.dtype)
        if self._inactive is not None:
            self._inactive.write(rows, values, active)
        self._active.write(rows, values, active)
        return values


def _with_palette(values: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """[K, C] values -> palette [P, C] and [K] uint8 entries; or no palette and the values, where they are many."""
    if not len(values):
        return None, values
    bits = bits_of(values)
    palette = np.unique(bits[:: max(1, len(bits) // _SAMPLE)])
    if len(palette) > FEW_VALUES or bits.dtype.kind == "V":
        return None, values
    entries = _entries(palette, bits)
    if entries is None:
        return None, values
    return palette.view(values.dtype).reshape(len(palette), values.shape[1]), entries


def _entries(palette: np.ndarray, bits: np.ndarray) -> np.ndarray | None:
    """[K] uint8: which entry each value is; None where one is no entry."""
    if len(palette) > _COMPARED:
        entries = np.minimum(np.searchsorted(palette, bits), len(palette) - 1).astype(np.uint8)
        return entries if np.array_equal(palette[entries], bits) else None
    entries, known = np.zeros(len(bits), np.uint8), 0
    for number, entry in enumerate(palette):
        same = bits == entry
        entries[same] = number
        known += int(np.count_nonzero(same))
    return entries if known == len(bits) else None
