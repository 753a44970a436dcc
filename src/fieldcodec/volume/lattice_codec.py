"""Lattice coefficients, masks guided by them and residuals <-> sections.

Order of decoding: leaf origins (from the masks above) -> coefficients -> F of every leaf voxel -> leaf masks ->
residuals, refinement and signs of active voxels -> values. `LatticeSpec` says how F becomes values.
"""

from collections.abc import Sequence

import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.coefficients import decode_coefficients, encode_coefficients
from fieldcodec.coding.residuals import decode_residuals, ordered_integers, values_of_ordered
from fieldcodec.coding.value_masks import decode_masks_given_values, encode_masks_given_values
from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.value_type import ValueType
from fieldcodec.io.mesh.coded import decode_mesh, leaf_distances_to
from fieldcodec.lattice.nodes import NodeSet
from fieldcodec.lattice.operator import MAX_FIXED, Lattice
from fieldcodec.lattice.refinement import Neighbourhoods, Refinement
from fieldcodec.volume.lattice_spec import EXACT_TYPES, LatticeSpec

_BLOCK_LEAVES = 4096
_WHAT = "lattice coefficients"


def encode_integers(lattices: Sequence[Lattice], integers: Sequence[Sequence[np.ndarray]]) -> bytes:
    """Coefficients of all channels and levels, [channel][level] of [n] int32."""
    writer = ByteWriter()
    for of_channel in integers:
        for lattice, numbers in zip(lattices, of_channel, strict=True):
            nodes = lattice.nodes
            writer.blob(encode_coefficients(numbers, nodes.cells, nodes.block_starts))
    return writer.getvalue()


def decode_fixed(data: bytes, spec: LatticeSpec, leaf_origins: np.ndarray) -> np.ndarray:
    """[C, N, 512] int32: F of every leaf voxel, without residuals.

    Raises:
        FormatError: the bytes are damaged.
    """
    reader = ByteReader(data, _WHAT)
    channels = len(spec.unit)
    fixed = np.zeros((channels, len(leaf_origins), masks.LEAF_SLOTS), np.int32)
    lattices = [Lattice(NodeSet.of_leaves(leaf_origins, level.stride, level.degree)) for level in spec.levels]
    for channel in range(channels):
        for level, lattice in zip(spec.levels, lattices, strict=True):
            nodes = lattice.nodes
            numbers = decode_coefficients(reader.blob(), nodes.cells, nodes.block_starts)
            lattice.add_exact(numbers, float(level.step), fixed[channel])
    reader.end()
    return fixed


def fixed_of_mesh(data: bytes, spec: LatticeSpec, leaf_origins: np.ndarray) -> np.ndarray:
    """[1, N, 512] int32: F of every leaf voxel from its distance to a coded mesh.

    Raises:
        FormatError: the bytes are damaged.
        MissingPackageError: the package that reads coded meshes is not installed.
    """
    distances = leaf_distances_to(decode_mesh(data), leaf_origins)
    scaled = np.rint(distances.astype(np.float64) * spec.mesh)
    return np.clip(scaled, -MAX_FIXED, MAX_FIXED).astype(np.int32)[None]


def add_residuals(data: bytes, spec: LatticeSpec, fixed: np.ndarray, topology: Topology) -> np.ndarray:
    """[C, N, 512]: F with residuals of active voxels, or, where the residual is exact, the integers of the values.

    Raises:
        FormatError: the bytes are damaged.
    """
    reader = ByteReader(data, "voxel residuals")
    active, origins = topology.leaf_active, topology.leaf_origins
    result = []
    for channel, of_channel in enumerate(fixed):
        predictions = exact_integers(spec, channel, of_channel) if spec.exact else of_channel
        result.append(decode_residuals(reader.blob(), predictions, active, origins, spec.residual))
    reader.end()
    return np.stack(result)


def refined(
    network: Refinement, spec: LatticeSpec, numbers: np.ndarray, leaf_active: np.ndarray, leaf_origins: np.ndarray
) -> np.ndarray:
    """[C, N, 512] int32: F, residuals added, as the network mends it."""
    around = [Neighbourhoods(of_channel, leaf_active, leaf_origins) for of_channel in numbers]
    return np.stack([network.refined(each, spec.finest_step) for each in around])


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


def decode_signs(
    data: bytes, spec: LatticeSpec, fixed: np.ndarray, topology: Topology, background: np.ndarray
) -> np.ndarray:
    """[1, N, 512] int32: F with the signs that were stored.

    Raises:
        FormatError: the bytes are damaged.
    """
    margins = spec.sign_margins(fixed[0], topology.leaf_active_bits, background)
    return signed(fixed, masks.unpack(decode_masks_given_values(data, topology.leaf_origins, margins)))


def signed(fixed: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """F [1, N, 512] moved across the surface, as little as may be, where it says otherwise than `inside` [N, 512]."""
    return np.where(inside, np.minimum(fixed, -1), np.maximum(fixed, 0)).astype(np.int32)


def exact_integers(spec: LatticeSpec, channel: int, fixed: np.ndarray) -> np.ndarray:
    """What the lattice predicts for the integers that stand for the bits of the values, of any shape."""
    return ordered_integers(spec.values(channel, fixed, EXACT_TYPES[spec.exact]))


def write_values(
    spec: LatticeSpec, numbers: np.ndarray, leaf_values: np.ndarray, topology: Topology,
    value_type: ValueType, save_as_half: bool,
) -> None:  # fmt: skip
    """Puts decoded values into the active voxels of leaf_values [N, 512, C]; `numbers` from `add_residuals` or F."""
    for start in range(0, topology.num_leaves, _BLOCK_LEAVES):
        rows = slice(start, start + _BLOCK_LEAVES)
        active = masks.unpack(topology.leaf_active[rows])
        block = leaf_values[rows]
        for channel in range(value_type.channels):
            mine = numbers[channel, rows][active]
            if spec.exact:
                block[active, channel] = values_of_ordered(mine, EXACT_TYPES[spec.exact]).astype(value_type.dtype)
            else:
                dtype = np.dtype("<f2") if save_as_half and value_type.is_float else value_type.dtype
                block[active, channel] = spec.values(channel, mine, dtype).astype(value_type.dtype)
