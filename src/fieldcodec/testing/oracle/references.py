"""What a decoded grid of an earlier frame says of a later one: numbers, states, slots and motion."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.coefficients import decode_coefficients
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin
from fieldcodec.testing.oracle.plane import Cell
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.splines import leaf_sums, node_blocks
from fieldcodec.testing.oracle.warp import MOST, Earlier

_LARGEST = 16383  # coefficient of motion
_STEPS = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
_AROUND = [step for step in product((-8, 0, 8), (-8, 0, 8), (-8, 0, 8)) if any(step)]
_SLOTS = list(product(range(0, 128, 8), range(0, 128, 8), range(0, 128, 8)))


@final
@dataclass(frozen=True)
class Motion:
    """Coefficients of each axis, in steps of `step` / 1024 voxel."""

    stride: int
    step: int
    coefficients: list[dict[Cell, int]]

    def at(self, origins: Sequence[Origin]) -> np.ndarray:
        """[3, leaves, 512] int64 in 1/1024 voxel."""
        rows = [
            [np.rint(leaf_sums(axis, origin, self.stride, 3) * (self.step / 2.0**36)) for origin in origins]
            for axis in self.coefficients
        ]
        return np.array(rows).reshape(3, -1, 512).clip(-MOST, MOST).astype(np.int64)


def decode_motion(data: bytes, stride: int, step: int, origins: Sequence[Origin], before: Motion | None) -> Motion:
    """The section MOTION; `before` is the motion of the earlier frame."""
    reader = Reader(data)
    kind = reader.byte()
    if kind > 1:
        raise FormatError("motion of this kind is not known")
    blocks = node_blocks(origins, stride, 3)
    stored = [decode_coefficients(reader.blob(), blocks) for _ in range(3)]
    reader.end()
    coefficients = []
    for axis, differences in enumerate(stored):
        expected: Mapping[Cell, int] = {}
        if kind == 1 and before is not None and before.stride == stride:
            expected = _gone_on(set(differences), before.coefficients[axis], before.step, step)
        coefficients.append({cell: _limited(expected.get(cell, 0) + d) for cell, d in differences.items()})
    return Motion(stride, step, coefficients)


def _gone_on(cells: set[Cell], before: Mapping[Cell, int], old_step: int, step: int) -> dict[Cell, int]:
    """What nodes would have if motion went on; new ones the mean of their neighbours, ring by ring."""
    known = {cell: _halves_up(before[cell] * old_step, step) for cell in cells if cell in before}
    ring = known
    while ring:
        ring = {}
        for cell in cells - set(known):
            near = [known[at] for step_ in _STEPS if (at := _moved(cell, step_)) in known]
            if near:
                ring[cell] = _halves_up(sum(near), len(near))
        known = known | ring
    return known


def _moved(place: Origin, step: Origin) -> Origin:
    return place[0] + step[0], place[1] + step[1], place[2] + step[2]


def _halves_up(number: int, by: int) -> int:
    return _limited((2 * number + by) // (2 * by))


def _limited(number: int) -> int:
    return min(max(number, -_LARGEST), _LARGEST)


@final
@dataclass(frozen=True)
class Reference:
    """`numbers` [leaves, 512] int64 of each channel, `unit`, `offset` and `fill` one for each channel."""

    origins: Sequence[Origin]
    masks: Sequence[Bits]
    numbers: list[np.ndarray]
    unit: list[float]
    offset: list[float]
    fill: list[int]
    distances: bool
    slope: float
    motion: Motion | None

    def slot_hints(self, lower_origins: Sequence[Origin]) -> list[list[int]]:
        """0..23 for each slot of later lower nodes."""
        leaves = set(self.origins)
        return [[_slot_hint(leaves, _moved(origin, slot)) for slot in _SLOTS] for origin in lower_origins]

    def fixed(
        self, motion: Motion, origins: Sequence[Origin], unit: Sequence[float], offset: Sequence[float]
    ) -> list[np.ndarray]:
        """[leaves, 512] float64 of each channel: what F begins at."""
        result = []
        for channel, numbers in enumerate(self.numbers):
            leaves = dict(zip(self.origins, numbers, strict=True))
            said = Earlier(leaves, self.fill[channel], self.distances).at(origins, motion.at(origins))
            if self.slope:
                for _ in range(2):
                    own = Earlier(dict(zip(origins, said, strict=True)), self.fill[channel], True)
                    said = own.mended(origins, self.slope)
            scale = self.unit[channel] / unit[channel]
            shift = (self.offset[channel] - offset[channel]) / unit[channel]
            with np.errstate(all="ignore"):
                result.append(whole(said * scale + shift))
        return result

    def hints(self, motion: Motion, origins: Sequence[Origin]) -> list[list[int]]:
        """0..31 for each voxel."""
        states = {
            origin: 1024 * np.array(bits, np.int64) for origin, bits in zip(self.origins, self.masks, strict=True)
        }
        said = Earlier(states, 0, False).at(origins, motion.at(origins))
        rows: list[list[int]] = np.clip(said >> 5, 0, 31).tolist()
        return rows


def _slot_hint(leaves: set[Origin], slot: Origin) -> int:
    here = slot in leaves
    alike = sum((_moved(slot, step) in leaves) == here for step in _AROUND)
    return 16 * here + 7 * alike // 26


def whole(numbers: np.ndarray | np.floating[Any]) -> np.ndarray:
    """Rounded half to even and limited; 0 for what is no number."""
    return np.nan_to_num(np.rint(numbers), nan=0.0).clip(-MOST, MOST)


def slope_of(matrix: np.ndarray | None, unit: float) -> float | None:
    """Numbers a voxel that distances change by; None where voxels are no cubes."""
    if matrix is None:
        return None
    sides = [float(np.sqrt(x * x + y * y + z * z)) for x, y, z in matrix[:3, :3].tolist()]
    return sides[0] / unit if min(sides) == max(sides) else None


def within_states(numbers: np.ndarray, active: np.ndarray, band: int, slope: float) -> np.ndarray:
    """[leaves, 512]: distances as far as states allow."""
    farthest = band + round(min(slope, MOST)) * np.array([_rings(leaf) for leaf in active]).reshape(active.shape)
    sizes = np.where(active, np.minimum(np.abs(numbers), band), np.abs(numbers).clip(band, farthest))
    return np.where(numbers < 0, -sizes, sizes)


def _rings(active: np.ndarray) -> np.ndarray:
    """[512] steps from each voxel to the nearest active one of its leaf; 6 where they are more than 5."""
    steps = np.where(active, 0, 6).reshape(8, 8, 8)
    for _ in range(5):
        around = np.pad(steps, 1, constant_values=6)
        near = [np.roll(around, side, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for side in (1, -1)]
        steps = np.minimum(steps, np.minimum.reduce(near) + 1)
    return steps.reshape(512)


Refer = Callable[[], Reference]
"""Gives the reference of a grid; raises FormatError where it has none that will do."""
