"""Compressed grid -> grid: the mirror image of `encode` (NeuralVDB 3.5, offline sequential access)."""

from typing import Any

import numpy as np
import torch

from fieldcodec.coding.palette import decode_inactive
from fieldcodec.coding.value_masks import decode_masks_given_values
from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.lattice.refinement import Refinement
from fieldcodec.volume import topology_codec, values_codec
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.fields import ExpertField, FieldEvaluator, active_points, leaf_blocks
from fieldcodec.volume.lattice_codec import (
    add_residuals,
    decode_fixed,
    decode_signs,
    fixed_of_mesh,
    refined,
    write_values,
)
from fieldcodec.volume.network_numbers import guide
from fieldcodec.volume.networks import decode_network
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.sections import NETWORK_SECTIONS
from fieldcodec.volume.tiles_codec import decode_inactive_tiles


def decode_topology(grid: CompressedGrid, on_event: OnEvent = ignore_event) -> Topology:
    """The tree of a compressed grid, checked against the stored fingerprint.

    Raises:
        FormatError: sections are damaged, or the fingerprint differs.
    """
    return _decode_tree(grid, on_event)[0]


def _decode_tree(grid: CompressedGrid, on_event: OnEvent) -> tuple[Topology, np.ndarray | None]:
    """The tree, and what lattice or network says of all leaf voxels ([C, N, 512] int32), which masks may depend on.

    The second is None where masks depend on nothing and values are read after them.
    """
    stage = f"{grid.name or 'unnamed'}: decode voxel states"

    def on_block(done: int, total: int) -> None:
        on_event(FitEvent(stage, done, total))

    leaves = topology_codec.leaf_decoder(expert_field(grid, "level0"), on_block)
    spec, guiding, fixed = grid.lattice, grid.guiding_network, None

    def decode_leaves(data: bytes, leaf_origins: np.ndarray) -> np.ndarray:
        nonlocal fixed
        if guiding is not None:
            regressor = _value_network(grid)
            fixed, margins = guide(regressor, guiding, leaf_origins, grid.background, on_block)
            return decode_masks_given_values(data, leaf_origins, margins)
        if spec is None:
            return leaves(data, leaf_origins)
        on_event(FitEvent(stage, 0, 2))
        if spec.mesh:
            fixed = fixed_of_mesh(grid.section("mesh"), spec, leaf_origins)
        else:
            fixed = decode_fixed(grid.section("lattice coefficients"), spec, leaf_origins)
        on_event(FitEvent(stage, 1, 2))
        if not spec.guided:
            return leaves(data, leaf_origins)
        margins = spec.margins(fixed, grid.background.astype(np.float64))
        return decode_masks_given_values(data, leaf_origins, margins)

    level1 = expert_field(grid, "level1")
    topology = topology_codec.decode_topology(grid.sections, grid.meta["nodes"], level1, decode_leaves)
    on_event(FitEvent(stage, 2, 2))
    found = topology_codec.topology_hash(topology)
    if found != grid.meta["topology_hash"]:
        raise FormatError(
            f"grid {grid.name!r}: the decoded topology has fingerprint {found}, the file says "
            f"{grid.meta['topology_hash']}; the file is damaged or was written by a faulty encoder"
        )
    return topology, fixed


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


def decode_grid(grid: CompressedGrid, device: torch.device, on_event: OnEvent) -> SparseGrid:
    """Decompresses one grid."""
    topology, fixed = _decode_tree(grid, on_event)
    value_type = grid.value_type
    if value_type.name == "mask":
        leaf_values = topology.leaf_active_bits[..., None].copy()
        tiles = topology.tile_states()[:, None]
    else:
        data = grid.section("inactive voxels")
        leaf_values = np.zeros((topology.num_leaves, masks.LEAF_SLOTS, value_type.channels), value_type.dtype)
        decode_inactive(data, topology.leaf_active, topology.leaf_origins, leaf_values)
        if fixed is not None:
            _fill_from_integers(grid, topology, fixed, leaf_values)
        else:
            _fill_active(grid, topology, leaf_values, device, on_event)
        tiles = _decode_tiles(grid, topology, device)
    lower = topology.num_lower_tiles
    upper = topology.num_upper_tiles
    return SparseGrid(
        name=grid.name, value_type=value_type, topology=topology, leaf_values=leaf_values,
        lower_tile_values=tiles[:lower], upper_tile_values=tiles[lower : lower + upper],
        root_tile_values=tiles[lower + upper :], background=grid.background, transform=grid.transform,
        metadata=grid.metadata, save_as_half=grid.save_as_half,
    )  # fmt: skip


def _fill_from_integers(grid: CompressedGrid, topology: Topology, fixed: np.ndarray, leaf_values: np.ndarray) -> None:
    """Writes the values of active voxels that lattice or network gives."""
    spec = grid.lattice or grid.guiding_network
    assert spec is not None
    numbers = fixed
    if spec.residual:
        numbers = add_residuals(grid.section("voxel residuals"), spec, fixed, topology)
    if spec.refined:
        network = Refinement.from_bytes(grid.section("refinement"))
        numbers = refined(network, spec, numbers, topology.leaf_active, topology.leaf_origins)
    if spec.signs:
        numbers = decode_signs(grid.section("signs"), spec, numbers, topology, grid.background.astype(np.float64))
    write_values(spec, numbers, leaf_values, topology, grid.value_type, grid.save_as_half)


def _fill_active(
    grid: CompressedGrid, topology: Topology, leaf_values: np.ndarray, device: torch.device, on_event: OnEvent
) -> None:
    """Writes the values of active voxels, block by block."""
    description = grid.meta["values"]
    count = topology.num_active_leaf_voxels
    if description["method"] != values_codec.NETWORK:
        data = grid.sections.get("voxel values", b"")
        values = values_codec.decode_lossless(description, data, count, grid.value_type.dtype, grid.channels)
        leaf_values[topology.leaf_active_bits] = values
        return
    evaluator = FieldEvaluator(_value_network(grid), device)
    normalisation = Normalisation.from_json(description, grid.channels)
    for block in leaf_blocks(topology.num_leaves):
        points = active_points(topology.leaf_origins[block], topology.leaf_active[block])
        values = normalisation.invert(evaluator.values(points), grid.value_type.dtype, grid.save_as_half)
        leaf_values[block][topology.leaf_active_bits[block]] = values
        on_event(FitEvent(f"{grid.name or 'unnamed'}: decode voxel values", block.stop, topology.num_leaves))


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
