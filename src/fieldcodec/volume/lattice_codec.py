"""Lattice coefficients, masks guided by them and residuals <-> sections.

Order of decoding: leaf origins (from the masks above) -> coefficients -> F of every leaf voxel -> leaf masks ->
residuals, refinement and signs of active voxels -> values. `LatticeSpec` says how F becomes values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.coefficients import decode_coefficients, encode_coefficients
from fieldcodec.coding.residuals import CodedResiduals, ordered_integers, values_of_ordered
from fieldcodec.coding.value_masks import encode_masks_given_values
from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.value_type import ValueType
from fieldcodec.io.mesh.coded import decode_mesh, leaf_distances_to
from fieldcodec.lattice.operator import MAX_FIXED, Lattice
from fieldcodec.lattice.refinement import Neighbourhoods, Refinement
from fieldcodec.volume.lattice_spec import EXACT_TYPES, LatticeSpec
from fieldcodec.volume.temporal.prediction import Prediction

_BLOCK_LEAVES = 4096
_WHAT = "lattice coefficients"
Rows = slice | np.ndarray  # rows of leaves, rising


def encode_integers(lattices: Sequence[Lattice], integers: Sequence[Sequence[np.ndarray]]) -> bytes:
    """Coefficients of all channels and levels, [channel][level] of [n] int32."""
    writer = ByteWriter()
    for of_channel in integers:
        for lattice, numbers in zip(lattices, of_channel, strict=True):
            nodes = lattice.nodes
            writer.blob(encode_coefficients(numbers, nodes.cells, nodes.block_starts))
    return writer.getvalue()


class Numbers(Protocol):
    """The integers F of leaf voxels, without residuals: what a lattice, a mesh or a network says."""

    def fixed(self, rows: Rows) -> np.ndarray:
        """[C, n, 512] int32: F of all voxels of some leaves."""
        ...

    def margins(self, rows: Rows) -> np.ndarray:
        """[n, 512] int16: how far they speak for "active", see `LatticeSpec.margins`."""
        ...


@dataclass(frozen=True, eq=False)
class LatticeNumbers:
    """F of lattices, evaluated on the leaves that are asked for.

    Attributes:
        leaf_origins: [N, 3].
        lattices: of the levels of `spec`.
        integers: coefficients, [channel][level] of [n] int32.
        background: [C] float64.
        prediction: from an earlier frame, to which lattices add; None where there is none.
    """

    spec: LatticeSpec
    leaf_origins: np.ndarray
    lattices: tuple[Lattice, ...]
    integers: tuple[tuple[np.ndarray, ...], ...]
    background: np.ndarray
    prediction: Prediction | None = None

    @staticmethod
    def decode(
        data: bytes, spec: LatticeSpec, leaf_origins: np.ndarray, background: np.ndarray,
        prediction: Prediction | None = None,
    ) -> "LatticeNumbers":  # fmt: skip
        """Raises FormatError where the bytes are damaged."""
        if not spec.levels:  # then there is no section
            return LatticeNumbers(
                spec, leaf_origins, (), ((),) * len(spec.unit), background.astype(np.float64), prediction
            )
        reader = ByteReader(data, _WHAT)
        lattices = tuple(Lattice.over(leaf_origins, level.stride, level.degree) for level in spec.levels)
        integers = tuple(
            tuple(decode_coefficients(reader.blob(), each.nodes.cells, each.nodes.block_starts) for each in lattices)
            for _ in spec.unit
        )
        reader.end()
        return LatticeNumbers(spec, leaf_origins, lattices, integers, background.astype(np.float64), prediction)

    def fixed(self, rows: Rows) -> np.ndarray:
        if self.prediction is None:
            fixed = np.zeros((len(self.integers), len(self.leaf_origins[rows]), masks.LEAF_SLOTS), np.int32)
        else:
            fixed = self.prediction.of(rows).fixed(self.spec)
        for of_channel, integers in zip(fixed, self.integers, strict=True):
            for level, lattice, numbers in zip(self.spec.levels, self.lattices, integers, strict=True):
                lattice.add_exact(numbers, float(level.step), of_channel, rows)
        return fixed

    def margins(self, rows: Rows) -> np.ndarray:
        return self.spec.margins(self.fixed(rows), self.background)


@dataclass(frozen=True, eq=False)
class KnownNumbers:
    """F of all leaves, kept: [C, N, 512] int32, and margins [N, 512] int16, which are derived where they are None.

    `prediction` is the one that F was predicted by, where it was.
    """

    spec: LatticeSpec
    all_fixed: np.ndarray
    background: np.ndarray
    all_margins: np.ndarray | None = None
    prediction: Prediction | None = None

    def fixed(self, rows: Rows) -> np.ndarray:
        return self.all_fixed[:, rows]

    def margins(self, rows: Rows) -> np.ndarray:
        if self.all_margins is not None:
            return self.all_margins[rows]
        return self.spec.margins(self.all_fixed[:, rows], self.background.astype(np.float64))


def fixed_of_mesh(data: bytes, spec: LatticeSpec, leaf_origins: np.ndarray) -> np.ndarray:
    """[1, N, 512] int32: F of every leaf voxel from its distance to a coded mesh.

    Raises:
        FormatError: the bytes are damaged.
        MissingPackageError: the package that reads coded meshes is not installed.
    """
    distances = leaf_distances_to(decode_mesh(data), leaf_origins)
    scaled = np.rint(distances.astype(np.float64) * spec.mesh)
    return np.clip(scaled, -MAX_FIXED, MAX_FIXED).astype(np.int32)[None]


def coded_residuals(data: bytes, spec: LatticeSpec, topology: Topology) -> list[CodedResiduals]:
    """The residuals of each channel, to be decoded group by group.

    Raises:
        FormatError: the bytes are damaged.
    """
    reader = ByteReader(data, "voxel residuals")
    active, origins = topology.leaf_active, topology.leaf_origins
    coded = [CodedResiduals(reader.blob(), active, origins, spec.residual) for _ in spec.unit]
    reader.end()
    return coded


def refined(
    network: Refinement, spec: LatticeSpec, numbers: np.ndarray, leaf_active: np.ndarray, leaf_origins: np.ndarray,
    count: int | None = None,
) -> np.ndarray:  # fmt: skip
    """[C, n, 512] int32: F, residuals added, as the network mends it; of the first `count` leaves, or of all."""
    around = [Neighbourhoods(of_channel, leaf_active, leaf_origins) for of_channel in numbers]
    return np.stack([network.refined(each, spec.finest_step, count=count) for each in around])


def encode_signs(
    spec: LatticeSpec, fixed: np.ndarray, inside: np.ndarray, active: np.ndarray, leaf_origins: np.ndarray,
    background: np.ndarray,
) -> bytes:  # fmt: skip
    """Which active voxels lie inside the surface; F [1, N, 512] tells most of them, and all of the inactive ones.

    Args:
        fixed: with residuals and refinement, where there are any.
        inside, active: [N, 512] bool.
    """
    told = np.where(active, inside, fixed[0] < 0)
    return encode_masks_given_values(masks.pack(told), leaf_origins, spec.sign_margins(fixed[0], active, background))


def signed(fixed: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """F [1, N, 512] moved across the surface, as little as may be, where it says otherwise than `inside` [N, 512]."""
    return np.where(inside, np.minimum(fixed, -1), np.maximum(fixed, 0)).astype(np.int32)


def exact_integers(spec: LatticeSpec, channel: int, fixed: np.ndarray) -> np.ndarray:
    """What the lattice predicts for the integers that stand for the bits of the values, of any shape."""
    return ordered_integers(spec.values(channel, fixed, EXACT_TYPES[spec.exact]))


def write_values(
    spec: LatticeSpec, numbers: np.ndarray, leaf_values: np.ndarray, leaf_active: np.ndarray,
    value_type: ValueType, save_as_half: bool,
) -> None:  # fmt: skip
    """Puts decoded values into the active voxels of leaf_values [n, 512, C].

    Args:
        numbers: [C, n, 512], F with residuals, or where these are exact the integers of the values.
        leaf_active: [n, 64] uint8, packed.
    """
    for start in range(0, len(leaf_active), _BLOCK_LEAVES):
        rows = slice(start, start + _BLOCK_LEAVES)
        active = masks.unpack(leaf_active[rows])
        block = leaf_values[rows]
        for channel in range(value_type.channels):
            mine = numbers[channel, rows][active]
            if spec.exact:
                block[active, channel] = values_of_ordered(mine, EXACT_TYPES[spec.exact]).astype(value_type.dtype)
            else:
                dtype = np.dtype("<f2") if save_as_half and value_type.is_float else value_type.dtype
                block[active, channel] = spec.values(channel, mine, dtype).astype(value_type.dtype)
