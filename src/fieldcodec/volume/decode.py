"""Compressed grid -> grid: the mirror image of `encode` (NeuralVDB 3.5, offline sequential access)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fieldcodec.coding.masks import decode_leaf_masks
from fieldcodec.coding.value_masks import decode_masks_given_values
from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.grid import masks
from fieldcodec.grid.clip import Box, ClippedTree, clip_tree
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.lattice.operator import Lattice
from fieldcodec.volume import topology_codec, values_codec
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.continuous import LeafField, NetworkField, SplineField
from fieldcodec.volume.fields import ExpertField, FieldEvaluator, OnBlock, leaf_blocks
from fieldcodec.volume.lattice_codec import KnownNumbers, LatticeNumbers, Numbers, fixed_of_mesh
from fieldcodec.volume.lattice_spec import LatticeSpec
from fieldcodec.volume.leaf_numbers import LeafNumbers
from fieldcodec.volume.leaf_values import (
    ActiveValues,
    InactiveValues,
    IntegerValues,
    LeafValues,
    ListedValues,
    MaskValues,
    NetworkValues,
)
from fieldcodec.volume.network_chain import expert_field
from fieldcodec.volume.network_numbers import GuidingNumbers
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.temporal.kept import references
from fieldcodec.volume.temporal.motion import DEGREE as MOTION_DEGREE
from fieldcodec.volume.temporal.motion import Motion
from fieldcodec.volume.temporal.prediction import Prediction, Reference
from fieldcodec.volume.tiles_codec import decode_inactive_tiles


def decode_topology(grid: CompressedGrid, on_event: OnEvent = ignore_event) -> Topology:
    """The tree of a compressed grid, checked against the stored fingerprint.

    Raises:
        FormatError: sections are damaged, or the fingerprint differs.
    """
    return _decode_tree(grid, _reference(grid), on_event, keep=False)[0]


def _decode_tree(
    grid: CompressedGrid, reference: Reference | None, on_event: OnEvent, *, keep: bool
) -> tuple[Topology, Numbers | None]:
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
        prediction = None if reference is None else _prediction(grid, reference, leaf_origins)
        numbers = _numbers(grid, leaf_origins, on_block, prediction, keep=keep)
        on_event(FitEvent(stage, 1, 2))
        if spec is not None and not spec.guided:
            if prediction is not None:
                return decode_leaf_masks(data, leaf_origins, prediction.hints())
            return leaves(data, leaf_origins)
        return decode_masks_given_values(data, leaf_origins, _all_margins(numbers, len(leaf_origins)))

    hinter = topology_codec.slot_hinter(expert_field(grid, "level1"))
    if reference is not None:
        hinter = reference.slot_hints
    topology = topology_codec.decode_topology(grid.sections, grid.meta["nodes"], hinter, decode_leaves)
    on_event(FitEvent(stage, 2, 2))
    found = topology_codec.topology_hash(topology)
    if found != grid.meta["topology_hash"]:
        raise FormatError(
            f"grid {grid.name!r}: the decoded topology has fingerprint {found}, the file says "
            f"{grid.meta['topology_hash']}; the file is damaged or was written by a faulty encoder"
        )
    return topology, numbers


def _reference(grid: CompressedGrid) -> Reference | None:
    """The earlier frame that a grid is predicted from, decoded; None where it is predicted from none."""
    earlier = _earlier(grid)
    return None if earlier is None else reference_of(earlier)


def _earlier(grid: CompressedGrid) -> CompressedGrid | None:
    """The grid of an earlier frame that values held by lattices are predicted from; None where there is none."""
    spec, earlier = grid.lattice, grid.reference
    if spec is None or spec.motion is None:
        return None
    if earlier is None or earlier.lattice is None or earlier.value_type != grid.value_type:
        raise FormatError(
            f"grid {grid.name!r}: it is predicted from an earlier frame, but refers to no grid of its type whose "
            "values are held by lattices"
        )
    return earlier


def _prediction(grid: CompressedGrid, reference: Reference, leaf_origins: np.ndarray) -> Prediction:
    assert grid.lattice is not None
    assert grid.lattice.motion is not None
    stride, step = grid.lattice.motion
    lattice = Lattice.over(leaf_origins, stride, MOTION_DEGREE)
    motion = Motion.from_bytes(grid.section("motion"), lattice, step, reference.motion)
    return Prediction(reference, motion, leaf_origins)


def reference_of(grid: CompressedGrid) -> Reference:
    """What later frames need of a grid that is held by lattices; results are kept for a while (see `Kept`).

    Frames before it that it is predicted from are decoded first, one after the other.

    Raises:
        FormatError: sections are damaged.
    """
    chain = [grid]
    while (found := references.get(chain[-1])) is None and (earlier := _earlier(chain[-1])) is not None:
        chain.append(earlier)
    for each in reversed(chain if found is None else chain[:-1]):
        found = references.put(each, _decoded_reference(each, found))
    assert found is not None
    return found


def _decoded_reference(grid: CompressedGrid, earlier: Reference | None) -> Reference:
    spec = grid.lattice
    if spec is None:
        raise FormatError(f"grid {grid.name!r}: later frames refer to it, but its values are held by no lattices")
    topology, numbers = _decode_tree(grid, earlier, ignore_event, keep=True)
    assert numbers is not None
    motion = numbers.prediction.motion if isinstance(numbers, KnownNumbers) and numbers.prediction else None
    size = grid.transform.voxel_size if grid.transform.is_linear else None
    decoded = LeafNumbers(grid, spec, topology, numbers, 0).numbers(slice(None))
    return Reference.of(topology, spec, decoded, numbers.fixed(slice(None)), grid.background, size, motion)


def _numbers(
    grid: CompressedGrid, leaf_origins: np.ndarray, on_block: OnBlock, prediction: Prediction | None, *, keep: bool
) -> Numbers:
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
    lattice = LatticeNumbers.decode(
        grid.section("lattice coefficients"), spec, leaf_origins, background, prediction
    )  # fmt: skip
    return KnownNumbers(spec, lattice.fixed(slice(None)), background, prediction=prediction) if keep else lattice


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
            alone = spec.levels and not (spec.residual or spec.refined or spec.signs or spec.motion)
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
            return sparse_grid(self.grid, ClippedTree(self.topology, self.leaf_values.leaves(slice(None)), self.tiles))
        leaves = self.leaf_values.leaves
        return sparse_grid(self.grid, clip_tree(self.topology, self.tiles, self.grid.background, leaves, box))


def sparse_grid(grid: CompressedGrid, tree: ClippedTree) -> SparseGrid:
    """A decoded tree with all else that the file says of its grid."""
    tiles, topology = tree.tiles, tree.topology
    lower, upper = topology.num_lower_tiles, topology.num_upper_tiles
    return SparseGrid(
        name=grid.name, value_type=grid.value_type, topology=topology, leaf_values=tree.leaf_values,
        lower_tile_values=tiles[:lower], upper_tile_values=tiles[lower : lower + upper],
        root_tile_values=tiles[lower + upper :], background=grid.background, transform=grid.transform,
        metadata=grid.metadata, save_as_half=grid.save_as_half,
    )  # fmt: skip


def open_grid(
    grid: CompressedGrid, device: torch.device, on_event: OnEvent = ignore_event, *, keep: bool = False,
    kept_bytes: int = 0, inactive: bool = True,
) -> OpenedGrid:  # fmt: skip
    """Decodes the tree of a grid, tiles and all that is needed to decode leaves.

    Args:
        keep: all leaves will be asked for, so what is computed for the states is kept for their values.
        kept_bytes: of groups of residuals that are kept for later.
        inactive: where False, leaves hold anything in inactive voxels, and their section is not decoded.

    Raises:
        FormatError: sections are damaged.
    """
    topology, numbers = _decode_tree(grid, _reference(grid), on_event, keep=keep)
    if grid.value_type.name == "mask":
        values = LeafValues(topology, grid.value_type, MaskValues(), None)
        return OpenedGrid(grid, topology, values, topology.tile_states()[:, None])
    active = _active_values(grid, topology, numbers, device, on_event, kept_bytes)
    values = LeafValues(topology, grid.value_type, active, InactiveValues(grid, topology) if inactive else None)
    return OpenedGrid(grid, topology, values, decode_tiles(grid, topology, device), numbers)


def decode_grid(
    grid: CompressedGrid, device: torch.device, on_event: OnEvent, *, box: Box | None = None, inactive: bool = True
) -> SparseGrid:
    """Decompresses one grid, or what is of it in a box (see `OpenedGrid.to_grid`); `inactive` as in `open_grid`."""
    spec = grid.lattice
    if box is None and spec is not None and spec.motion is not None and not spec.exact:
        return _from_reference(grid, spec, device, on_event)
    return open_grid(grid, device, on_event, keep=box is None, inactive=inactive).to_grid(box)


def _from_reference(grid: CompressedGrid, spec: LatticeSpec, device: torch.device, on_event: OnEvent) -> SparseGrid:
    """A predicted grid, by way of what the frame after it needs: so it is decoded once for both."""
    stage = f"{grid.name or 'unnamed'}: decode frames"
    on_event(FitEvent(stage, 0, 1))
    known = reference_of(grid)
    plain = replace(spec, residual=0, refined=False, signs=False)  # they are in the numbers
    numbers = KnownNumbers(plain, known.numbers, grid.background)
    leaves = LeafNumbers(grid, plain, known.topology, numbers, 0)
    active = IntegerValues(leaves, grid.value_type, save_as_half=grid.save_as_half)
    values = LeafValues(known.topology, grid.value_type, active, InactiveValues(grid, known.topology))
    opened = OpenedGrid(grid, known.topology, values, decode_tiles(grid, known.topology, device), numbers)
    on_event(FitEvent(stage, 1, 1))
    return opened.to_grid()


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


def decode_tiles(grid: CompressedGrid, topology: Topology, device: torch.device) -> np.ndarray:
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
