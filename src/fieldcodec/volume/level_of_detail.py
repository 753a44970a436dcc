"""A compressed grid at half its resolution and below, without a full decode where that can be avoided.

- A grid whose file keeps this level, or a finer one: that alone is decoded, and made coarser.
- A level set held by lattices or a mesh alone: means of the distance that these say, by cubes of voxels. States of
  voxels are never decoded, nor is a voxel of full resolution of a lattice. The result differs from that of a decoded
  grid where a voxel's stored state is not what its distance says, and by what decoders round to.
- All else: means count only what is active, and residuals need the states, so states and active voxels are decoded,
  but leaf by leaf, so that memory for values of full resolution is bounded. Values of inactive voxels are decoded for
  level sets only, whose signs they hold; in other grids they count as background, whatever they are. The result is
  that of a decoded grid, bit for bit.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.grid import masks
from fieldcodec.grid.clip import ClippedTree
from fieldcodec.grid.coarsen import MAX_DIRECT, coarsened, distance_at_level
from fieldcodec.grid.sparse_grid import LEVEL_SET, SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.lattice.means import leaf_means
from fieldcodec.volume import topology_codec
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.decode import decode_grid, decode_tiles, open_grid, sparse_grid
from fieldcodec.volume.fields import leaf_blocks
from fieldcodec.volume.lattice_codec import LatticeNumbers, fixed_of_mesh
from fieldcodec.volume.lattice_spec import LatticeSpec
from fieldcodec.volume.network_chain import expert_field
from fieldcodec.volume.stored_level import level_kept, open_level

_GROUP_BYTES = 64 << 20  # of F, and of decoded residuals, that are kept, as states or neighbouring leaves need them too


def decode_level(grid: CompressedGrid, device: torch.device, on_event: OnEvent, level: int) -> SparseGrid:
    """The grid at 1/2^level of its resolution, see `grid.coarsen`.

    Args:
        level: 1 to 4.

    Raises:
        UsageError: the level does not exist.
        UnsupportedGridError: the transform is not linear.
        FormatError: sections are damaged.
    """
    if 0 < level_kept(grid) <= level and grid.transform.is_linear:
        return _from_stored(grid, device, on_event, level)
    if not has_own_distance(grid):
        opened = open_grid(
            grid, device, on_event, keep=_is_small(grid), kept_bytes=_GROUP_BYTES,
            inactive=grid.grid_class == LEVEL_SET,
        )  # fmt: skip
        return coarsened(_shell(grid, opened.topology, opened.tiles), level, opened.leaf_values.leaves)
    stage = f"{grid.name or 'unnamed'}: decode distances"
    on_event(FitEvent(stage, 0, 1))
    topology = _without_states(grid)
    shell = _shell(grid, topology, decode_tiles(grid, topology, device))
    coarse = distance_at_level(shell, _means(grid, topology.leaf_origins, min(level, MAX_DIRECT)), level)
    on_event(FitEvent(stage, 1, 1))
    return coarse


def _from_stored(grid: CompressedGrid, device: torch.device, on_event: OnEvent, level: int) -> SparseGrid:
    """The level, or what is made of a finer one that the file keeps."""
    kept = level_kept(grid)
    try:
        stored = open_level(grid)
        if kept == level:
            return decode_grid(stored, device, on_event)
        return decode_level(stored, device, on_event, level - kept)
    except FormatError as error:
        raise FormatError(f"grid {grid.name!r}: its stored level is not understood: {error}") from error


def _is_small(grid: CompressedGrid) -> bool:
    """Whether F of all leaves takes little memory, so that it need not be computed twice: for states and for values."""
    leaves = grid.meta["nodes"].get("leaves")
    return type(leaves) is int and 4 * grid.channels * masks.LEAF_SLOTS * leaves <= _GROUP_BYTES


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


def _shell(grid: CompressedGrid, topology: Topology, tiles: np.ndarray) -> SparseGrid:
    """The grid with leaves that take no memory and hold nothing."""
    shape = (topology.num_leaves, masks.LEAF_SLOTS, grid.channels)
    nothing = np.broadcast_to(np.zeros((), grid.value_type.dtype), shape)
    return sparse_grid(grid, ClippedTree(topology, nothing, tiles))


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
