"""Values of voxels from lattices or a coded mesh: F, margins, residuals, refinement, signs."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.coefficients import decode_coefficients
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin, decode_leaf_masks
from fieldcodec.testing.oracle.margin_masks import decode_margin_masks
from fieldcodec.testing.oracle.mesh import distances_to_mesh
from fieldcodec.testing.oracle.plane import Cell
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.refinement import read_refinement, refine
from fieldcodec.testing.oracle.residuals import decode_residuals, wrap
from fieldcodec.testing.oracle.scale import Scale, finite_numbers

LEAF_MASKS, LATTICE, VOXEL_RESIDUALS, MESH, SIGNS, REFINEMENT = 7, 17, 18, 19, 20, 21
_MOST = 1 << 30
_EXACT = {"f": ("f2", "f4", "f8"), "i": ("i4", "i8"), "u": ("u4",)}


@final
class Lattice:
    """What the section META says of the values, and the sections that it needs."""

    def __init__(self, description: Any, sections: Mapping[int, bytes], scale: Scale) -> None:
        self._kind, self._sections, self._scale = scale.kind, sections, scale
        self._levels = [_level(level) for level in description["levels"]]
        self._residual, self._exact = _whole(description["residual"], 0, _MOST), description["exact"]
        self._guided = description["guided"]
        self._mesh = finite_numbers([description["mesh"]])[0]
        self._refined, self._signs = (description.get(name, False) for name in ("refined", "signs"))
        self._check()
        self._fixed: list[np.ndarray] = []  # F of each channel, [leaves, 512] float64, whole numbers

    def _check(self) -> None:
        channels = self._kind.channels
        good = 0 <= self._mesh <= _MOST and len(self._levels) <= 8
        good &= not self._mesh or (channels == 1 and not self._levels)
        good &= bool(self._mesh or self._levels or self._residual)
        good &= all(type(flag) is bool for flag in (self._guided, self._refined, self._signs))
        good &= not self._refined or (self._exact == "" and not self._mesh)
        good &= not self._signs or (self._scale.banded and self._exact == "" and channels == 1)
        if self._exact != "":
            good &= self._exact in _EXACT.get(self._kind.dtype.kind, ()) and self._residual == 1
        if not good:
            raise FormatError("the description of a lattice is not understood")

    def leaf_masks(self, origins: Sequence[Origin]) -> list[Bits]:
        """Active bits; computes F on the way."""
        self._fixed = self._all_fixed(origins)
        data = self._sections.get(LEAF_MASKS, b"")
        if not self._guided:
            return decode_leaf_masks(data, origins, None)
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
                parts.append(_of_ordered(numbers, dtype).astype(self._kind.dtype))
                continue
            if self._residual:
                rows = decode_residuals(reader.blob(), _whole_rows(fixed), masks, origins, self._residual)
                fixed = np.array([[wrap(x, 32) for x in row] for row in rows], np.float64)
            if network is not None:
                step = self._residual or min(step for _, _, step in self._levels)
                fixed = np.array(refine(network, _whole_rows(fixed), masks, origins, step), np.float64)
            if self._signs:
                fixed = self._signed(fixed, origins, masks)
            parts.append(self._scale.rounded(channel, fixed, self._scale.dtype).astype(self._kind.dtype))
        if self._residual:
            reader.end()
        return np.stack([part.reshape(len(origins), 512) for part in parts], axis=-1)

    def _all_fixed(self, origins: Sequence[Origin]) -> list[np.ndarray]:
        if self._mesh:
            distances = distances_to_mesh(self._sections.get(MESH, b""), origins).astype(np.float64)
            return [np.clip(np.rint(distances * self._mesh), -_MOST, _MOST)]
        reader = Reader(self._sections.get(LATTICE, b""))
        channels = []
        for _ in range(self._kind.channels):
            fixed = np.zeros((len(origins), 512))
            for stride, degree, step in self._levels:
                coefficients = decode_coefficients(reader.blob(), node_blocks(origins, stride, degree))
                for leaf, origin in enumerate(origins):
                    sums = _leaf_sums(coefficients, origin, stride, degree)
                    fixed[leaf] = np.clip(fixed[leaf] + np.rint(sums * (step / 2.0**36)), -_MOST, _MOST)
            channels.append(fixed)
        reader.end()
        return channels

    def _signed(self, fixed: np.ndarray, origins: Sequence[Origin], masks: Sequence[Bits]) -> np.ndarray:
        band = abs(self._scale.background[0])
        margins = np.rint(fixed * (-192 * self._scale.unit[0] / band if band > 0 else 0.0))
        known = np.where(fixed < 0, 32767, -32768)
        margins = np.where(np.array(masks, bool), np.clip(margins, -32768, 32767), known).astype(np.int64)
        inside = decode_margin_masks(self._sections.get(SIGNS, b""), origins, margins)
        return np.where(np.array(inside, bool), np.minimum(fixed, -1), np.maximum(fixed, 0))


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


def _tap_range(origin: int, stride: int, degree: int) -> range:
    """Nodes along an axis that the voxels of a leaf take their values from."""
    before, after = (0, 1) if degree == 1 else (1, 2)
    return range(origin // stride - before, (origin + 7) // stride + after + 1)


def node_blocks(origins: Sequence[Origin], stride: int, degree: int) -> list[list[Cell]]:
    """Nodes, block by block, in their order."""
    side = 144 // stride if stride in (3, 6) else -(-128 // stride)
    blocks: dict[Cell, set[Cell]] = {}
    for origin in origins:
        for x, y, z in product(*(_tap_range(a, stride, degree) for a in origin)):
            blocks.setdefault((x // side, y // side, z // side), set()).add((x, y, z))
    return [sorted(blocks[block]) for block in sorted(blocks)]


@cache
def _tap_weights(offset: int, stride: int, degree: int) -> list[int]:
    """Of a voxel `offset` voxels into its cell, in 1/4096."""
    t = Fraction(offset, stride)
    exact = [1 - t, t]
    if degree == 3:
        exact = [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]
    weights = [round(4096 * weight) for weight in exact]
    weights[weights.index(max(weights))] += 4096 - sum(weights)
    return weights


def _leaf_sums(coefficients: Mapping[Cell, int], origin: Origin, stride: int, degree: int) -> np.ndarray:
    """[512] E at the voxels of a leaf; float64 holds these integers exactly."""
    ranges = [_tap_range(a, stride, degree) for a in origin]
    sums = np.array([coefficients[x, y, z] for x, y, z in product(*ranges)], np.int64)
    sums = sums.reshape([len(each) for each in ranges])
    for axis in range(3):
        table = np.zeros((8, len(ranges[axis])), np.int64)
        for voxel in range(8):
            cell, offset = divmod(origin[axis] + voxel, stride)
            first = cell - (degree == 3) - ranges[axis].start
            table[voxel, first : first + degree + 1] = _tap_weights(offset, stride, degree)
        sums = np.moveaxis(np.tensordot(table, sums, (1, axis)), 0, axis)
    return sums.reshape(512).astype(np.float64)


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
