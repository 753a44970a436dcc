"""A compressed grid at half its resolution and below, without a full decode where that can be avoided.

- A grid whose file keeps this level, or a finer one: that alone is decoded, and made coarser.
- A level set held by lattices or a mesh alone: means of the distance that these say, by cubes of voxels. States of
  voxels are never decoded, nor is a voxel of full resolution of a lattice. The result differs from that of a decoded
  grid where a voxel's stored state is not what its distance says, and by what decoders round to.
- All else: means count only what is active, and residuals need the states, so states and active voxels are decoded,
  but leaf by leaf, so that memory for values of full resolution is bounded. Values of inactive voxels are decoded for
  level sets only, whose signs they hold; in other grids they count as background, whatever they are. The result is
  that of a decoded grid, bit for bit.

A box of a level is cut out of the level: its coarse voxels are those of the whole grid, also at the rim of the box,
where a coarse voxel stands for fine ones on both sides of it. So boxes side by side fit together. Of what a file keeps
and of what is no level set only leaves that meet the box are decoded. A level set's distance beyond its band depends
on what lies around, so of those the whole level is made first.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.grid import masks
from fieldcodec.grid.clip import Box, ClippedTree, clip_tree
from fieldcodec.grid.coarsen import MAX_DIRECT, coarsened, distance_at_level
from fieldcodec.grid.sparse_grid import LEVEL_SET, SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.lattice.means import leaf_means
from fieldcodec.volume import topology_codec
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.decode import decode_grid, decode_tiles, sparse_grid
from fieldcodec.volume.fields import leaf_blocks
from fieldcodec.volume.lattice_codec import LatticeNumbers, fixed_of_mesh
from fieldcodec.volume.lattice_spec import LatticeSpec
from fieldcodec.volume.network_chain import expert_field
from fieldcodec.volume.partial import open_in_parts, shell
from fieldcodec.volume.stored_level import level_kept, open_level


def decode_level(
    grid: CompressedGrid, device: torch.device, on_event: OnEvent, level: int, *, box: Box | None = None
) -> SparseGrid:
    """The grid at 1/2^level of its resolution, see `grid.coarsen`.

    Args:
        level: 1 to 4.
        box: of full resolution; only coarse voxels that have a part in it are active, others have the background.

    Raises:
        UsageError: the level does not exist.
        UnsupportedGridError: the transform is not linear.
        FormatError: sections are damaged.
    """
    if 0 < level_kept(grid) <= level and grid.transform.is_linear:
        return _from_stored(grid, device, on_event, level, box)
    if has_own_distance(grid):
        coarse = _from_distance(grid, device, on_event, level)
    elif box is not None and grid.grid_class != LEVEL_SET:  # each coarse voxel depends on nothing but its own fine ones
        opened = open_in_parts(grid, device, on_event, inactive=False, few=True)
        return coarsened(opened.to_grid(_widened(box, level)), level)
    else:
        opened = open_in_parts(grid, device, on_event, inactive=grid.grid_class == LEVEL_SET)
        coarse = coarsened(shell(grid, opened.topology, opened.tiles), level, opened.leaf_values.leaves)
    return coarse if box is None else _clipped(coarse, _coarse_box(box, level))


def _from_stored(
    grid: CompressedGrid, device: torch.device, on_event: OnEvent, level: int, box: Box | None
) -> SparseGrid:
    """The level, or what is made of a finer one that the file keeps."""
    kept = level_kept(grid)
    inner = None if box is None else _coarse_box(box, kept)
    try:
        stored = open_level(grid)
        if kept == level:
            return decode_grid(stored, device, on_event, box=inner)
        return decode_level(stored, device, on_event, level - kept, box=inner)
    except FormatError as error:
        raise FormatError(f"grid {grid.name!r}: its stored level is not understood: {error}") from error


def _from_distance(grid: CompressedGrid, device: torch.device, on_event: OnEvent, level: int) -> SparseGrid:
    stage = f"{grid.name or 'unnamed'}: decode distances"
    on_event(FitEvent(stage, 0, 1))
    topology = _without_states(grid)
    empty = shell(grid, topology, decode_tiles(grid, topology, device))
    coarse = distance_at_level(empty, _means(grid, topology.leaf_origins, min(level, MAX_DIRECT)), level)
    on_event(FitEvent(stage, 1, 1))
    return coarse


def _coarse_box(box: Box, level: int) -> Box:
    """Coarse voxels that have a part in a box of full resolution."""
    return box[0] >> level, box[1] >> level


def _widened(box: Box, level: int) -> Box:
    """All of full resolution that these coarse voxels stand for."""
    last = (1 << level) - 1
    return box[0] & ~last, box[1] | last


def _clipped(grid: SparseGrid, box: Box) -> SparseGrid:
    tiles = np.concatenate([grid.lower_tile_values, grid.upper_tile_values, grid.root_tile_values])
    tree = clip_tree(grid.topology, tiles, grid.background, grid.leaf_values.__getitem__, box)
    lower = tree.topology.num_lower_tiles
    upper = lower + tree.topology.num_upper_tiles
    return replace(
        grid, topology=tree.topology, leaf_values=tree.leaf_values, lower_tile_values=tree.tiles[:lower],
        upper_tile_values=tree.tiles[lower:upper], root_tile_values=tree.tiles[upper:],
    )  # fmt: skip


def decode_surface(grid: CompressedGrid, on_event: OnEvent = ignore_event) -> SparseGrid:
    """A level set for those who look at its surface only: at full resolution, but without decoding states of voxels.

    A voxel is active where its distance, as far as values go, is less than the background, and where the file says that
    something active is. Other voxels have the background with the sign of their distance. So the surface is that of
    the decoded grid, and the box around what is active is mostly the same.

    Args:
        grid: one that `has_own_distance`.

    Raises:
        FormatError: sections are damaged.
    """
    spec, kind = grid.lattice, grid.value_type.dtype
    assert spec is not None
    stage = f"{grid.name or 'unnamed'}: decode distances"
    on_event(FitEvent(stage, 0, 1))
    topology = _without_states(grid)
    count, background = topology.num_leaves, grid.background[0]
    values, active = np.empty((count, masks.LEAF_SLOTS, 1), kind), np.empty((count, masks.LEAF_SLOTS // 8), np.uint8)
    numbers, inside = _numbers(grid, spec, topology.leaf_origins), _within_bounds(grid, topology.leaf_origins)
    for block in leaf_blocks(count):
        said = spec.values(0, numbers(block), kind)
        values[block, :, 0] = np.clip(said, -background, background)
        active[block] = masks.pack((np.abs(said) < background) & inside(block))
        on_event(FitEvent(stage, block.stop, count))
    tiles = decode_tiles(grid, topology, torch.device("cpu"))
    return sparse_grid(grid, ClippedTree(replace(topology, leaf_active=active), values, tiles))


def _numbers(grid: CompressedGrid, spec: LatticeSpec, leaf_origins: np.ndarray) -> Callable[[slice], np.ndarray]:
    """What gives F [n, 512] of some leaves."""
    if spec.mesh:
        return fixed_of_mesh(grid.section("mesh"), spec, leaf_origins)[0].__getitem__
    lattice = LatticeNumbers.decode(grid.section("lattice coefficients"), spec, leaf_origins, grid.background)
    return lambda rows: lattice.fixed(rows)[0]


def _within_bounds(grid: CompressedGrid, leaf_origins: np.ndarray) -> Callable[[slice], np.ndarray]:
    """What tells of some leaves which voxels [n, 512] lie in the box around what is active, which the file states."""
    bounds = grid.meta.get("bounds")
    box = np.array(bounds, np.int64) if bounds is not None and np.shape(bounds) == (2, 3) else None

    def inside(rows: slice) -> np.ndarray:
        origins = leaf_origins[rows].astype(np.int64)
        result = np.ones((len(origins), masks.LEAF_SLOTS), bool)
        if box is not None:
            cut = np.flatnonzero(np.any((origins < box[0]) | (origins + masks.LEAF_DIM - 1 > box[1]), axis=1))
            voxels = origins[cut][:, None] + masks.slot_offsets(masks.LEAF_LOG2)
            result[cut] = np.all((voxels >= box[0]) & (voxels <= box[1]), axis=2)
        return result

    return inside


def has_own_distance(grid: CompressedGrid) -> bool:
    """Whether the file holds a level set whose distance and sign follow from lattices or a mesh alone."""
    spec = grid.lattice
    if spec is None or spec.motion is not None or not spec.banded or spec.residual or spec.refined or spec.signs:
        return False
    is_level_set = grid.grid_class == LEVEL_SET and grid.channels == 1 and grid.value_type.is_float
    return is_level_set and bool(grid.background[0] > 0) and grid.transform.is_linear


def _without_states(grid: CompressedGrid) -> Topology:
    """The tree with all voxels of leaves inactive; its fingerprint, which is of the states too, is not checked."""

    def no_states(_: bytes, leaf_origins: np.ndarray) -> np.ndarray:
        return np.zeros((len(leaf_origins), masks.LEAF_SLOTS // 8), np.uint8)

    hinter = topology_codec.slot_hinter(expert_field(grid, "level1"))
    return topology_codec.decode_topology(grid.sections, grid.meta["nodes"], hinter, no_states)


def _means(grid: CompressedGrid, leaf_origins: np.ndarray, level: int) -> np.ndarray:
    """[N, (8 / 2^level)^3] float64: mean distances in cubes of 2^level voxels, in world units."""
    spec = grid.lattice
    assert spec is not None
    means = _fixed_means(grid, spec, leaf_origins, level)
    return means * spec.unit[0] + spec.offset[0]


def _fixed_means(grid: CompressedGrid, spec: LatticeSpec, leaf_origins: np.ndarray, level: int) -> np.ndarray:
    """Means of F."""
    side, cells = 1 << level, masks.LEAF_DIM >> level
    means = np.zeros((len(leaf_origins), cells**3))
    if spec.mesh:
        fixed = _numbers(grid, spec, leaf_origins)
        for block in leaf_blocks(len(means)):
            cubes = fixed(block).reshape(-1, cells, side, cells, side, cells, side)
            means[block] = cubes.mean(axis=(2, 4, 6)).reshape(-1, cells**3)
        return means
    numbers = LatticeNumbers.decode(grid.section("lattice coefficients"), spec, leaf_origins, grid.background)
    for each, lattice, integers in zip(spec.levels, numbers.lattices, numbers.integers[0], strict=True):
        means += each.step * leaf_means(lattice, integers, level)
    return means
