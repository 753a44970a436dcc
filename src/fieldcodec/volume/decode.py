"""Compressed grid -> grid: the mirror image of `encode` (NeuralVDB 3.5, offline sequential access)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fieldcodec.coding.value_masks import decode_masks_given_values
from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.grid import masks
from fieldcodec.grid.clip import Box, ClippedTree, clip_tree
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.volume import topology_codec, values_codec
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.continuous import LeafField, NetworkField, SplineField
from fieldcodec.volume.fields import ExpertField, FieldEvaluator, OnBlock, leaf_blocks
from fieldcodec.volume.lattice_codec import KnownNumbers, LatticeNumbers, Numbers, fixed_of_mesh
from fieldcodec.volume.leaf_numbers import LeafNumbers
from fieldcodec.volume.leaf_values import (
    ActiveValues,
    IntegerValues,
    LeafValues,
    ListedValues,
    MaskValues,
    NetworkValues,
    inactive_values,
)
from fieldcodec.volume.network_numbers import GuidingNumbers
from fieldcodec.volume.networks import decode_network
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.sections import NETWORK_SECTIONS
from fieldcodec.volume.tiles_codec import decode_inactive_tiles


def decode_topology(grid: CompressedGrid, on_event: OnEvent = ignore_event) -> Topology:
    """The tree of a compressed grid, checked against the stored fingerprint.

    Raises:
        FormatError: sections are damaged, or the fingerprint differs.
    """
    return _decode_tree(grid, on_event, keep=False)[0]


def _decode_tree(grid: CompressedGrid, on_event: OnEvent, *, keep: bool) -> tuple[Topology, Numbers | None]:
    """The tree, and what lattice, mesh or guiding network say of leaves, which masks may depend on.

    The second is None where masks depend on nothing and values are read after them. With `keep` it has all its
    numbers at hand, for those who want all of them; else they are computed when asked for.
    """
    stage = f"{grid.name or 'unnamed'}: decode voxel states"

    def on_block(done: int, total: int) -> None:
        on_event(FitEvent(stage, done, total))

    leaves = topology_codec.leaf_decoder(expert_field(grid, "level0"), on_block)
    spec, guiding, numbers = grid.lattice, grid.guiding_network, None

    def decode_leaves(data: bytes, leaf_origins: np.ndarray) -> np.ndarray:
        nonlocal numbers
        if spec is None and guiding is None:
            return leaves(data, leaf_origins)
        on_event(FitEvent(stage, 0, 2))
        numbers = _numbers(grid, leaf_origins, on_block, keep=keep)
        on_event(FitEvent(stage, 1, 2))
        if spec is not None and not spec.guided:
            return leaves(data, leaf_origins)
        return decode_masks_given_values(data, leaf_origins, _all_margins(numbers, len(leaf_origins)))

    level1 = expert_field(grid, "level1")
    topology = topology_codec.decode_topology(grid.sections, grid.meta["nodes"], level1, decode_leaves)
    on_event(FitEvent(stage, 2, 2))
    found = topology_codec.topology_hash(topology)
    if found != grid.meta["topology_hash"]:
        raise FormatError(
            f"grid {grid.name!r}: the decoded topology has fingerprint {found}, the file says "
            f"{grid.meta['topology_hash']}; the file is damaged or was written by a faulty encoder"
        )
    return topology, numbers


def _numbers(grid: CompressedGrid, leaf_origins: np.ndarray, on_block: OnBlock, *, keep: bool) -> Numbers:
    """F of the leaves; that of a mesh is always kept, since its triangles are prepared once for all leaves."""
    spec, guiding, background = grid.lattice, grid.guiding_network, grid.background.astype(np.float64)
    if guiding is not None:
        network = GuidingNumbers(_value_network(grid), guiding, leaf_origins, background)
        if not keep:
            return network
        fixed, margins = network.fixed_and_margins(slice(None), on_block)
        return KnownNumbers(guiding, fixed, background, margins)
    assert spec is not None
    if spec.mesh:
        return KnownNumbers(spec, fixed_of_mesh(grid.section("mesh"), spec, leaf_origins), background)
    lattice = LatticeNumbers.decode(grid.section("lattice coefficients"), spec, leaf_origins, background)
    return KnownNumbers(spec, lattice.fixed(slice(None)), background) if keep else lattice


def _all_margins(numbers: Numbers, num_leaves: int) -> np.ndarray:
    """[N, 512] int16, block by block."""
    margins = np.empty((num_leaves, masks.LEAF_SLOTS), np.int16)
    for block in leaf_blocks(num_leaves):
        margins[block] = numbers.margins(block)
    return margins


def _value_network(grid: CompressedGrid) -> ExpertField:
    regressor = expert_field(grid, "values")
    if regressor is None:
        raise FormatError(f"grid {grid.name!r}: values are said to be in a network, but there is none")
    return regressor


def expert_field(grid: CompressedGrid, role: str) -> ExpertField | None:
    """The field of one of the networks: level1, level0, tiles or values; None where there is none."""
    spec = grid.network_specs.get(role)
    if spec is None:
        return None
    subdomains = grid.subdomains
    if role in ("level1", "tiles"):
        subdomains = subdomains.in_leaf_units()
    outputs = {"level1": (1, 3), "level0": (1,)}.get(role, (grid.value_type.channels,))
    if spec.experts != len(subdomains) or spec.extent != subdomains.extent or spec.outputs not in outputs:
        raise FormatError(
            f"grid {grid.name!r}: network {role!r} has {spec.experts} experts of extent {spec.extent} and "
            f"{spec.outputs} outputs; needed are {len(subdomains)}, {subdomains.extent} and one of {outputs}"
        )
    data = grid.section(NETWORK_SECTIONS[role])
    return ExpertField(subdomains, decode_network(data, spec, grid.meta["weights"]))


@dataclass(frozen=True, eq=False)
class OpenedGrid:
    """A compressed grid with its tree decoded: leaves are decoded when they are asked for.

    Attributes:
        tiles: [M + K + T, C], values of the tiles of lower nodes, of upper nodes and of the root.
        numbers: what lattice, mesh or guiding network say of leaves; None where there is none of them.
    """

    grid: CompressedGrid
    topology: Topology
    leaf_values: LeafValues
    tiles: np.ndarray
    numbers: Numbers | None = None

    def continuous(self, device: torch.device) -> LeafField | None:
        """The field between voxels; None where values are not those of a spline or network alone."""
        spec = self.grid.lattice
        if isinstance(self.numbers, LatticeNumbers) and spec is not None:
            alone = spec.levels and not (spec.residual or spec.refined or spec.signs)
            return SplineField(self.numbers) if alone and self.grid.value_type.is_float else None
        if self.grid.method != values_codec.NETWORK or not self.grid.value_type.is_float:
            return None
        normalisation = Normalisation.from_json(self.grid.meta["values"], self.grid.channels)
        return NetworkField(_value_network(self.grid), normalisation, device)

    def to_grid(self, box: Box | None = None) -> SparseGrid:
        """The grid, decompressed; of a box in index space only the leaves that meet it, cut to it.

        Raises:
            FormatError: sections are damaged.
        """
        if box is None:
            return self._sparse_grid(ClippedTree(self.topology, self.leaf_values.leaves(slice(None)), self.tiles))
        leaves = self.leaf_values.leaves
        return self._sparse_grid(clip_tree(self.topology, self.tiles, self.grid.background, leaves, box))

    def _sparse_grid(self, tree: ClippedTree) -> SparseGrid:
        grid, tiles, topology = self.grid, tree.tiles, tree.topology
        lower, upper = topology.num_lower_tiles, topology.num_upper_tiles
        return SparseGrid(
            name=grid.name, value_type=grid.value_type, topology=topology, leaf_values=tree.leaf_values,
            lower_tile_values=tiles[:lower], upper_tile_values=tiles[lower : lower + upper],
            root_tile_values=tiles[lower + upper :], background=grid.background, transform=grid.transform,
            metadata=grid.metadata, save_as_half=grid.save_as_half,
        )  # fmt: skip


def open_grid(
    grid: CompressedGrid, device: torch.device, on_event: OnEvent = ignore_event, *, keep: bool = False,
    kept_bytes: int = 0,
) -> OpenedGrid:  # fmt: skip
    """Decodes the tree of a grid, tiles and all that is needed to decode leaves.

    Args:
        keep: all leaves will be asked for at once.
        kept_bytes: of groups of residuals that are kept for later.

    Raises:
        FormatError: sections are damaged.
    """
    topology, numbers = _decode_tree(grid, on_event, keep=keep)
    if grid.value_type.name == "mask":
        values = LeafValues(topology, grid.value_type, MaskValues(), None)
        return OpenedGrid(grid, topology, values, topology.tile_states()[:, None])
    inactive = inactive_values(grid, topology)
    active = _active_values(grid, topology, numbers, device, on_event, kept_bytes)
    values = LeafValues(topology, grid.value_type, active, inactive)
    return OpenedGrid(grid, topology, values, _decode_tiles(grid, topology, device), numbers)


def decode_grid(grid: CompressedGrid, device: torch.device, on_event: OnEvent, *, box: Box | None = None) -> SparseGrid:
    """Decompresses one grid, or what is of it in a box (see `OpenedGrid.to_grid`)."""
    return open_grid(grid, device, on_event, keep=box is None).to_grid(box)


def _active_values(
    grid: CompressedGrid, topology: Topology, numbers: Numbers | None, device: torch.device, on_event: OnEvent,
    kept_bytes: int,
) -> ActiveValues:  # fmt: skip
    spec = grid.lattice or grid.guiding_network
    if numbers is not None and spec is not None:
        leaves = LeafNumbers(grid, spec, topology, numbers, kept_bytes)
        return IntegerValues(leaves, grid.value_type, save_as_half=grid.save_as_half)
    description = grid.meta["values"]
    if description["method"] == values_codec.NETWORK:

        def on_block(done: int, total: int) -> None:
            on_event(FitEvent(f"{grid.name or 'unnamed'}: decode voxel values", done, total))

        return NetworkValues(grid, FieldEvaluator(_value_network(grid), device), topology.leaf_origins, on_block)
    count, dtype = topology.num_active_leaf_voxels, grid.value_type.dtype
    data = grid.sections.get("voxel values", b"")
    values = values_codec.decode_lossless(description, data, count, dtype, grid.channels)
    return ListedValues(values, topology.leaf_active)


def _decode_tiles(grid: CompressedGrid, topology: Topology, device: torch.device) -> np.ndarray:
    """[M + K + T, C]: values of all tiles."""
    active = topology.tile_states()
    tiles = decode_inactive_tiles(grid.sections, topology, grid.value_type)
    regressor = expert_field(grid, "tiles")
    if regressor is not None:
        tile_range = Normalisation.from_json(grid.meta.get("tile_range"), grid.channels)
        values = FieldEvaluator(regressor, device).values(topology.active_lower_tiles())
        lower = active.copy()
        lower[topology.num_lower_tiles :] = False
        tiles[lower] = tile_range.invert(values, grid.value_type.dtype, grid.save_as_half)
        active &= ~lower
    description: dict[str, Any] = grid.meta["tiles"]
    data = grid.sections.get("active tiles", b"")
    stored = values_codec.decode_lossless(description, data, int(active.sum()), grid.value_type.dtype, grid.channels)
    tiles[active] = stored
    return tiles
