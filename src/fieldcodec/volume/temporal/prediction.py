"""What an earlier frame of a sequence says of a later one: numbers F, states of voxels and nodes, all in integers.

earlier frame, decoded --> Reference
Reference + Motion     --> Prediction --> F and hints of any leaves of the later frame
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from fieldcodec.coding.masks import HINT_ACTIVE
from fieldcodec.coding.residuals import values_of_ordered
from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology
from fieldcodec.lattice.operator import MAX_FIXED
from fieldcodec.lattice.warp import Earlier
from fieldcodec.volume.fields import CHILD, INACTIVE_TILE
from fieldcodec.volume.lattice_spec import EXACT_TYPES, LatticeSpec
from fieldcodec.volume.temporal.motion import Motion, Rows

_STATE_ONE = 1 << 10  # what an active voxel counts when states are displaced
_STATE_SHIFT = 5  # to hints of 0..31
_REPAIRS = 2  # times that distances are mended
_RINGS = 6  # voxels beyond the band that distances may reach
_SURE = 7  # the highest confidence of a slot's hint


@dataclass(frozen=True, eq=False)
class Reference:
    """A decoded grid of an earlier frame.

    Attributes:
        topology: of the grid.
        numbers: [C, N, 512] int32, its values of active voxels in `unit`; elsewhere what its lattice says of
            distances, and of other values the background.
        fill: [C] int32, the background.
        unit, offset: per channel, value = offset + unit * number.
        distances: it is a level set.
        slope: numbers a voxel that distances change by; 0 where that is not known or the numbers are no distances.
        motion: of the grid itself against its own reference; None where it has none.
    """

    topology: Topology
    numbers: np.ndarray
    fill: np.ndarray
    unit: tuple[float, ...]
    offset: tuple[float, ...]
    distances: bool
    slope: float = 0.0
    motion: Motion | None = None

    @staticmethod
    def of(
        topology: Topology, spec: LatticeSpec, decoded: np.ndarray, fixed: np.ndarray | None, background: np.ndarray,
        voxel_size: np.ndarray | None, motion: Motion | None,
    ) -> "Reference":  # fmt: skip
        """From what a decoder has.

        Args:
            decoded: [C, N, 512], F with all that is on top of it, or the exact integers of values.
            fixed: [C, N, 512] int32, F of all leaf voxels; needed where `decoded` are exact integers of distances.
            background: [C].
            voxel_size: [3]; None where the transform is not linear.
        """
        fill = np.empty(len(spec.unit), np.int32)
        for channel, (unit, offset) in enumerate(zip(spec.unit, spec.offset, strict=True)):
            with np.errstate(all="ignore"):  # a background may be anything
                number = np.nan_to_num(np.rint((np.float64(background[channel]) - offset) / unit))
            fill[channel] = int(np.clip(number, -MAX_FIXED, MAX_FIXED))
        numbers = _numbers_of(spec, decoded) if spec.exact else np.clip(decoded, -MAX_FIXED, MAX_FIXED)
        active = masks.unpack(topology.leaf_active)
        rest = fixed if spec.banded and fixed is not None else fill[:, None, None]
        numbers = np.where(active, numbers, rest if spec.exact or not spec.banded else numbers)
        numbers = np.ascontiguousarray(numbers, np.int32)
        slope = 0.0
        if spec.banded and voxel_size is not None and voxel_size.min() == voxel_size.max():
            slope = float(voxel_size[0]) / spec.unit[0]
        return Reference(topology, numbers, fill, spec.unit, spec.offset, spec.banded, slope, motion)

    @cached_property
    def values(self) -> Earlier:
        numbers = self.numbers
        if self.slope:
            active, band = masks.unpack(self.topology.leaf_active), abs(int(self.fill[0]))
            numbers = _within_states(numbers, active, band, round(min(self.slope, MAX_FIXED)))
        return Earlier(self.topology.leaf_origins, numbers, self.fill, self.distances)

    @cached_property
    def states(self) -> Earlier:
        active = masks.unpack(self.topology.leaf_active)[None] * np.int32(_STATE_ONE)
        return Earlier(self.topology.leaf_origins, active, np.zeros(1, np.int32), distances=False)

    @property
    def num_bytes(self) -> int:
        return int(self.numbers.nbytes)

    def slot_hints(self, lower_origins: np.ndarray) -> np.ndarray:
        """[L, 4096] uint8: for each slot of later lower nodes, whether a leaf was there; surer far from where not."""
        side, slots = 1 << masks.LOWER_LOG2, _slots_and_around()
        hints = np.empty((len(lower_origins), masks.LOWER_SLOTS), np.uint8)
        for row, origin in enumerate(lower_origins):
            there = (self.topology.leaf_table.find(slots + origin) >= 0).reshape((side + 2,) * 3)
            here = there[1:-1, 1:-1, 1:-1]
            alike = np.full(here.shape, -1)  # a slot is like itself
            for i, j, k in np.ndindex(3, 3, 3):
                alike += there[i : i + side, j : j + side, k : k + side] == here
            sure = np.minimum(alike * _SURE // 26, _SURE)
            hints[row] = (np.where(here, CHILD, INACTIVE_TILE) * (_SURE + 1) + sure).reshape(-1)
        return hints


@cache
def _slots_and_around() -> np.ndarray:
    """[18^3, 3] int64: where the slots of a lower node begin, and those around it, in voxels from its origin."""
    side = (1 << masks.LOWER_LOG2) + 2
    return masks.LEAF_DIM * (np.stack(list(np.ndindex(side, side, side))).astype(np.int64) - 1)


def _within_states(numbers: np.ndarray, active: np.ndarray, band: int, voxel: int) -> np.ndarray:
    """[1, N, 512] int32: distances as far as states allow, so that errors beyond the band are not handed on for ever.

    Active voxels lie in the band. Others do not, and not farther out than their way, face to face within the leaf, to
    an active one; those without such a way, or with a long one, are as far as `_RINGS` voxels.
    """
    reached = active.reshape(-1, masks.LEAF_DIM, masks.LEAF_DIM, masks.LEAF_DIM)
    rings = np.where(reached, 0, _RINGS)
    for ring in range(1, _RINGS):
        grown = reached.copy()
        for axis in (1, 2, 3):
            low, high = [slice(None)] * 4, [slice(None)] * 4
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            grown[tuple(low)] |= reached[tuple(high)]
            grown[tuple(high)] |= reached[tuple(low)]
        rings[grown & ~reached] = ring
        reached = grown
    farthest = band + voxel * rings.reshape(active.shape)
    sizes = np.clip(np.abs(numbers.astype(np.int64)), np.where(active, 0, band), np.where(active, band, farthest))
    return np.where(numbers < 0, -sizes, sizes).astype(np.int32)


def _numbers_of(spec: LatticeSpec, exact: np.ndarray) -> np.ndarray:
    """[C, N, 512] int32: exact integers of values in the unit of F."""
    numbers = np.empty(exact.shape, np.int32)
    for channel, (integers, out) in enumerate(zip(exact, numbers, strict=True)):
        values = values_of_ordered(integers, EXACT_TYPES[spec.exact]).astype(np.float64)
        with np.errstate(all="ignore"):  # bits of inactive voxels may be those of anything
            scaled = np.nan_to_num(np.rint((values - spec.offset[channel]) / spec.unit[channel]))
        out[:] = np.clip(scaled, -MAX_FIXED, MAX_FIXED)
    return numbers


@dataclass(frozen=True, eq=False)
class Predicted:
    """What was predicted of n leaves.

    Attributes:
        numbers: [C, n, 512] int32 in `unit`.
        unit, offset: of the reference.
    """

    numbers: np.ndarray
    unit: tuple[float, ...]
    offset: tuple[float, ...]

    def fixed(self, spec: LatticeSpec) -> np.ndarray:
        """[C, n, 512] int32: the prediction of F, in the unit of another specification; 0 where that is no number.

        Two quotients and a difference a channel, a product, a sum and a rounding a number, each as IEEE 754 has them.
        """
        result = np.empty_like(self.numbers)
        for channel, (numbers, out) in enumerate(zip(self.numbers, result, strict=True)):
            scale = self.unit[channel] / spec.unit[channel]
            shift = (self.offset[channel] - spec.offset[channel]) / spec.unit[channel]
            with np.errstate(all="ignore"):  # units of a forged file may be as far apart as can be
                said = np.nan_to_num(np.rint(numbers * scale + shift))
            out[:] = np.clip(said, -MAX_FIXED, MAX_FIXED)
        return result

    def scaled(self, offset: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """[C, n, 512] float32: (value - offset) / scale of each channel."""
        result = np.empty(self.numbers.shape, np.float32)
        for channel, (numbers, out) in enumerate(zip(self.numbers, result, strict=True)):
            out[:] = (numbers * self.unit[channel] + (self.offset[channel] - offset[channel])) / scale[channel]
        return result

    def subset(self, rows: np.ndarray) -> "Predicted":
        return Predicted(self.numbers[:, rows], self.unit, self.offset)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A reference, displaced by the motion of the leaves at `leaf_origins` [N, 3]."""

    reference: Reference
    motion: Motion
    leaf_origins: np.ndarray

    @cached_property
    def _displacements(self) -> np.ndarray:
        """[3, N, 512] int32, in 1/1024 voxel."""
        return self.motion.at(slice(None))

    @cached_property
    def _numbers(self) -> np.ndarray:
        """[C, N, 512] int32"""
        reference = self.reference
        numbers = reference.values.at(self.leaf_origins, self._displacements)
        for _ in range(_REPAIRS if reference.slope else 0):
            numbers = Earlier(self.leaf_origins, numbers, reference.fill, distances=True).mended(reference.slope)
        return numbers

    @cached_property
    def motion_bytes(self) -> bytes:
        """The section that tells a decoder the motion."""
        return self.motion.to_bytes(self.reference.motion)

    def of(self, rows: Rows) -> Predicted:
        """Of some of the leaves."""
        return Predicted(self._numbers[:, rows], self.reference.unit, self.reference.offset)

    def displaced(self, rows: Rows) -> Predicted:
        """Of some of the leaves, distances as they are, not mended."""
        reference = self.reference
        numbers = reference.values.at(self.leaf_origins[rows], self.motion.at(rows))
        return Predicted(numbers, reference.unit, reference.offset)

    def hints(self) -> np.ndarray:
        """[N, 512] uint8: what the earlier frame says of the states of all voxels, see `coding.masks`."""
        states = self.reference.states.at(self.leaf_origins, self._displacements)[0] >> _STATE_SHIFT
        return np.clip(states, 0, 2 * HINT_ACTIVE - 1).astype(np.uint8)
