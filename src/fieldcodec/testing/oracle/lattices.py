"""Values of voxels from lattices or a coded mesh: F, margins, residuals, refinement, signs."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.coefficients import decode_coefficients
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin, decode_leaf_masks
from fieldcodec.testing.oracle.margin_masks import decode_margin_masks
from fieldcodec.testing.oracle.mesh import distances_to_mesh
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.references import Motion, Refer, Reference, decode_motion, slope_of, whole, within_states
from fieldcodec.testing.oracle.refinement import read_refinement, refine
from fieldcodec.testing.oracle.residuals import decode_residuals, wrap
from fieldcodec.testing.oracle.scale import Scale, finite_numbers
from fieldcodec.testing.oracle.splines import leaf_sums, node_blocks

LEAF_MASKS, LATTICE, VOXEL_RESIDUALS, MESH, SIGNS, REFINEMENT, MOTION = 7, 17, 18, 19, 20, 21, 23
_MOST = 1 << 30
_EXACT = {"f": ("f2", "f4", "f8"), "i": ("i4", "i8"), "u": ("u4",)}


@final
class Lattice:
    """What the section META says of the values, and the sections that it needs."""

    def __init__(
        self, description: Any, sections: Mapping[int, bytes], scale: Scale, refer: Refer | None = None
    ) -> None:
        """`refer` gives the grid of an earlier frame; None outside sequences."""
        self._kind, self._sections, self._scale = scale.kind, sections, scale
        self._levels = [_level(level) for level in description["levels"]]
        self._residual, self._exact = _whole(description["residual"], 0, _MOST), description["exact"]
        self._guided = description["guided"]
        self._mesh = finite_numbers([description["mesh"]])[0]
        self._refined, self._signs = (description.get(name, False) for name in ("refined", "signs"))
        self._motion_numbers = _motion_numbers(description["motion"]) if "motion" in description else None
        self._check()
        self._reference = None if self._motion_numbers is None else _referred(refer)
        self._motion: Motion | None = None
        self._fixed: list[np.ndarray] = []  # F of each channel, [leaves, 512] float64, whole numbers
        self._decoded: list[np.ndarray] = []  # with all that is on top of it

    def _check(self) -> None:
        channels = self._kind.channels
        good = 0 <= self._mesh <= _MOST and len(self._levels) <= 8
        good &= not self._mesh or (channels == 1 and not self._levels)
        predicted = self._motion_numbers is not None
        good &= bool(self._mesh or self._levels or self._residual or predicted) and not (self._mesh and predicted)
        good &= all(type(flag) is bool for flag in (self._guided, self._refined, self._signs))
        good &= not self._refined or (self._exact == "" and not self._mesh)
        good &= not self._signs or (self._scale.banded and self._exact == "" and channels == 1)
        if self._exact != "":
            good &= self._exact in _EXACT.get(self._kind.dtype.kind, ()) and self._residual == 1
        if not good:
            raise FormatError("the description of a lattice is not understood")

    def slot_hints(self, lower_origins: Sequence[Origin]) -> list[list[int]] | None:
        """Of an earlier frame, where there is one."""
        return None if self._reference is None else self._reference.slot_hints(lower_origins)

    def leaf_masks(self, origins: Sequence[Origin]) -> list[Bits]:
        """Active bits; computes F on the way."""
        self._fixed = self._all_fixed(origins)
        data = self._sections.get(LEAF_MASKS, b"")
        if not self._guided:
            hints = None
            if self._reference is not None and self._motion is not None:
                hints = self._reference.hints(self._motion, origins)
            return decode_leaf_masks(data, origins, hints)
        return decode_margin_masks(data, origins, self._scale.margins(self._fixed).reshape(-1, 512))

    def values(self, origins: Sequence[Origin], masks: Sequence[Bits]) -> np.ndarray:
        """[leaves, 512, C], of which those of active voxels count."""
        reader = Reader(self._sections.get(VOXEL_RESIDUALS, b""))
        network = read_refinement(self._sections.get(REFINEMENT, b"")) if self._refined else None
        parts = []
        for channel, fixed in enumerate(self._fixed):
            if self._exact:
                dtype = np.dtype(f"<{self._exact}")
                predictions = ordered(self._scale.rounded(channel, fixed, dtype))
                numbers = decode_residuals(reader.blob(), predictions, masks, origins, 1)
                exact = _of_ordered(numbers, dtype)
                parts.append(exact.astype(self._kind.dtype))
                with np.errstate(all="ignore"):
                    scaled = (exact.astype(np.float64) - self._scale.offset[channel]) / self._scale.unit[channel]
                    self._decoded.append(whole(scaled))
                continue
            if self._residual:
                rows = decode_residuals(reader.blob(), _whole_rows(fixed), masks, origins, self._residual)
                fixed = np.array([[wrap(x, 32) for x in row] for row in rows], np.float64)
            if network is not None:
                step = self._residual or min(step for _, _, step in self._levels)
                fixed = np.array(refine(network, _whole_rows(fixed), masks, origins, step), np.float64)
            if self._signs:
                fixed = self._signed(fixed, origins, masks)
            self._decoded.append(fixed)
            parts.append(self._scale.rounded(channel, fixed, self._scale.dtype).astype(self._kind.dtype))
        if self._residual:
            reader.end()
        return np.stack([part.reshape(len(origins), 512) for part in parts], axis=-1)

    def as_reference(self, origins: Sequence[Origin], masks: Sequence[Bits], matrix: np.ndarray | None) -> Reference:
        """For later frames, after the values; `matrix` is that of the transform, None where it has none."""
        scale, active = self._scale, np.array(masks, bool).reshape(-1, 512)
        numbers, fill = [], []
        for channel, (decoded, unit) in enumerate(zip(self._decoded, scale.unit, strict=True)):
            with np.errstate(all="ignore"):
                fill.append(int(whole((np.float64(scale.background[channel]) - scale.offset[channel]) / unit)))
            rest: Any = self._fixed[channel] if scale.banded else fill[-1]
            kept = decoded.clip(-_MOST, _MOST)
            if self._exact or not scale.banded:
                kept = np.where(active, kept.reshape(-1, 512), rest)
            numbers.append(kept.astype(np.int64))
        slope = slope_of(matrix, scale.unit[0]) if scale.banded else None
        if slope is not None:
            numbers[0] = within_states(numbers[0], active, abs(fill[0]), slope)
        return Reference(
            origins, masks, numbers, scale.unit, scale.offset, fill, scale.banded, slope or 0.0, self._motion
        )  # fmt: skip

    def _all_fixed(self, origins: Sequence[Origin]) -> list[np.ndarray]:
        if self._mesh:
            distances = distances_to_mesh(self._sections.get(MESH, b""), origins).astype(np.float64)
            return [np.clip(np.rint(distances * self._mesh), -_MOST, _MOST)]
        reader = Reader(self._sections.get(LATTICE, b""))
        channels = []
        predicted = self._predicted(origins)
        for channel in range(self._kind.channels):
            fixed = predicted[channel]
            for stride, degree, step in self._levels:
                coefficients = decode_coefficients(reader.blob(), node_blocks(origins, stride, degree))
                for leaf, origin in enumerate(origins):
                    sums = leaf_sums(coefficients, origin, stride, degree)
                    fixed[leaf] = np.clip(fixed[leaf] + np.rint(sums * (step / 2.0**36)), -_MOST, _MOST)
            channels.append(fixed)
        reader.end()
        return channels

    def _predicted(self, origins: Sequence[Origin]) -> list[np.ndarray]:
        """What F begins at."""
        if self._reference is None or self._motion_numbers is None:
            return [np.zeros((len(origins), 512)) for _ in range(self._kind.channels)]
        stride, step = self._motion_numbers
        data = self._sections.get(MOTION, b"")
        self._motion = decode_motion(data, stride, step, origins, self._reference.motion)
        return self._reference.fixed(self._motion, origins, self._scale.unit, self._scale.offset)

    def _signed(self, fixed: np.ndarray, origins: Sequence[Origin], masks: Sequence[Bits]) -> np.ndarray:
        band = abs(self._scale.background[0])
        margins = np.rint(fixed * (-192 * self._scale.unit[0] / band if band > 0 else 0.0))
        known = np.where(fixed < 0, 32767, -32768)
        margins = np.where(np.array(masks, bool), np.clip(margins, -32768, 32767), known).astype(np.int64)
        inside = decode_margin_masks(self._sections.get(SIGNS, b""), origins, margins)
        return np.where(np.array(inside, bool), np.minimum(fixed, -1), np.maximum(fixed, 0))


def _motion_numbers(data: Any) -> tuple[int, int]:
    stride, step = (_whole(x, 1, 4096) for x in data)
    if stride not in (16, 32, 64):
        raise FormatError("a lattice of motion of this kind is not known")
    return stride, step


def _referred(refer: Refer | None) -> Reference:
    if refer is None:
        raise FormatError("a grid is predicted, but refers to no other")
    return refer()


def _whole(x: Any, least: int, most: int) -> int:
    if type(x) is not int or not least <= x <= most:
        raise FormatError("a number of a lattice is not whole, or out of its limits")
    return x


def _whole_rows(fixed: np.ndarray) -> list[list[int]]:
    return [[int(x) for x in row] for row in fixed.tolist()]


def _level(data: Any) -> tuple[int, int, int]:
    stride, degree, step = (_whole(x, 1, _MOST) for x in data)
    if stride not in (2, 3, 4, 6, 8, 16) or degree not in (1, 3):
        raise FormatError("a lattice of this kind is not known")
    return stride, degree, step


def ordered(values: np.ndarray) -> list[list[int]]:
    """Integers in the order of the values."""
    if values.dtype.kind != "f":
        rows: list[list[int]] = values.tolist()
        return rows
    size = values.dtype.itemsize
    mask = (1 << 8 * size - 1) - 1
    return [[n if n >= 0 else ~(n & mask) for n in row] for row in values.view(f"<i{size}").tolist()]


def _of_ordered(numbers: Sequence[Sequence[int]], dtype: np.dtype) -> np.ndarray:
    bits = 8 * dtype.itemsize
    if dtype.kind == "f":
        numbers = [[n if n >= 0 else ~n - (1 << bits - 1) for n in row] for row in numbers]
    whole = [[n % (1 << bits) for n in row] for row in numbers]
    return np.array(whole, f"<u{dtype.itemsize}").view(dtype)
