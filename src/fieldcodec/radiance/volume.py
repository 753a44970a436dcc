"""Radiance grids as volumes: what is written as `.vdb` and compressed by the volume codec.

The corners of the lattice are voxels; all ten grids have the same active voxels and one transform:

    density        float, for each unit of length, before softplus: thickness / cell. Below 0 is empty; programs that
                   take it for the density of fog and cut it off at 0 see nearly what is meant, since softplus(cell v)
                   / cell is max(v, 0) but for log(2) / cell at most
    colour         vec3s, 0.5 + the first harmonic times its value: the colour from everywhere, 0 to 1 (sRGB)
    harmonic_1..8  vec3s, the other coefficients, see `radiance.harmonics`

Metadata of each: `radiance` says which of these it is; `density` also has `radiance_version` and `radiance_up`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from fieldcodec.errors import InputError
from fieldcodec.grid import masks
from fieldcodec.grid.build import topology_of_leaves
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import FOG_VOLUME, UNKNOWN, OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.harmonics import CONSTANT, COUNT
from fieldcodec.radiance.lattice import MOST_CELLS, CornerLattice
from fieldcodec.radiance.marks import COLOUR, DENSITY, ROLE, UP_NAME, VERSION, VERSION_NAME, Direction, role_of

HARMONICS = tuple(f"harmonic_{number}" for number in range(1, COUNT))
NAMES = (DENSITY, COLOUR, *HARMONICS)


def to_volumes(grid: RadianceGrid) -> VolumeFile:
    """The ten grids of a radiance grid; `from_volumes` gives it back, equal but for rounding of float32."""
    lattice = grid.lattice
    topology, leaves, slots = _leaves_of(lattice.places)
    transform = GridTransform.uniform(lattice.cell, tuple(lattice.low.tolist()))
    thickness, shades = grid.thickness.detach().cpu(), grid.shades.detach().cpu()
    values = {DENSITY: (thickness / lattice.cell)[:, None], COLOUR: 0.5 + CONSTANT * shades[:, 0]}
    values |= {name: shades[:, number] for number, name in enumerate(HARMONICS, start=1)}
    grids = []
    for name, rows in values.items():
        kind = VALUE_TYPES["float" if name == DENSITY else "vec3s"]
        voxels = np.zeros((topology.num_leaves, masks.LEAF_SLOTS, kind.channels), kind.dtype)
        voxels[leaves, slots] = rows.numpy()
        grids.append(
            SparseGrid(
                name=name,
                value_type=kind,
                topology=topology,
                leaf_values=voxels,
                lower_tile_values=np.zeros((topology.num_lower_tiles, kind.channels), kind.dtype),
                upper_tile_values=np.zeros((topology.num_upper_tiles, kind.channels), kind.dtype),
                root_tile_values=np.zeros((0, kind.channels), kind.dtype),
                background=np.zeros(kind.channels, kind.dtype),
                transform=transform,
                metadata=_metadata(name, grid.up),
            )
        )
    return VolumeFile(tuple(grids))


def demands(psnr: float) -> tuple[str, ...]:
    """What to ask of the volume codec of each grid (`VolumeSettings.grid_quality`), so that none costs too much.

    Density gets the PSNR asked for, `colour` the same as one of values from 0 to 1, and each other harmonic the error
    that then shows in pictures as much: its root mean square over all directions is 0.282, so 3.5 times as large.
    """
    error = 10 ** (-psnr / 20)
    single = [f"{DENSITY}:psnr={psnr:g}", f"{COLOUR}:rmse={error:.6g}"]
    return (*single, *(f"{name}:rmse={error / CONSTANT:.6g}" for name in HARMONICS))


def from_volumes(volumes: Iterable[SparseGrid | OpaqueGrid]) -> RadianceGrid:
    """The radiance grid of the grids of a file, whatever else the file holds.

    Raises:
        InputError: a grid is missing, or they do not belong together; the message says which.
    """
    grids = _by_role(volumes)
    density = grids[DENSITY]
    version = density.metadata.get(VERSION_NAME)
    if version != VERSION:
        raise InputError(f"the radiance field is of version {version!r}; this program reads version {VERSION}")
    places = _same_places(grids)
    low = places.min(axis=0)
    size = places.max(axis=0) - low + 1
    if (size > MOST_CELLS + 1).any() or (size < 2).any():
        raise InputError(
            f"the radiance field has {size.tolist()} corners along its axes; 2 to {MOST_CELLS + 1} are read"
        )
    held = np.zeros(tuple(size.tolist()), bool)
    held[tuple((places - low).T)] = True
    lattice = CornerLattice(density.transform.to_world(low[None])[0], _cell_of(density), held)
    rows = lattice.rows[tuple((places - low).T)]
    thickness = torch.empty(lattice.num_corners)
    thickness[rows] = torch.from_numpy(density.active_values()[:, 0] * np.float32(lattice.cell))
    shades = torch.empty(lattice.num_corners, COUNT, 3)
    shades[rows, 0] = torch.from_numpy((grids[COLOUR].active_values() - np.float32(0.5)) / np.float32(CONSTANT))
    for number, name in enumerate(HARMONICS, start=1):
        shades[rows, number] = torch.from_numpy(grids[name].active_values())
    if not (torch.isfinite(thickness).all() and torch.isfinite(shades).all()):
        raise InputError("the radiance field holds values that are not finite")
    return RadianceGrid(lattice, thickness, shades, _up_of(density.metadata))


def _metadata(name: str, up: Direction) -> Metadata:
    entries = [MetaEntry.of("class", FOG_VOLUME if name == DENSITY else UNKNOWN), MetaEntry.of(ROLE, name)]
    if name == DENSITY:
        entries += [MetaEntry.of(VERSION_NAME, VERSION), MetaEntry.of(UP_NAME, " ".join(f"{x:.9g}" for x in up))]
    return Metadata(tuple(entries))


def _leaves_of(places: np.ndarray) -> tuple[Topology, np.ndarray, np.ndarray]:
    """[n, 3] voxels, 0 or more -> a tree of them; the leaf of each in it [n], and its place in the leaf [n]."""
    blocks = places.astype(np.int64) >> 3
    keys = (blocks[:, 0] << 40) | (blocks[:, 1] << 20) | blocks[:, 2]
    found, leaf = np.unique(keys, return_inverse=True)
    within = places & 7
    slots = (within[:, 0] << 6) | (within[:, 1] << 3) | within[:, 2]
    active = np.zeros((len(found), masks.LEAF_SLOTS), bool)
    active[leaf, slots] = True
    origins = np.stack([found >> 40, (found >> 20) & 0xFFFFF, found & 0xFFFFF], axis=1) * 8
    topology, order = topology_of_leaves(origins, masks.pack(active))
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    return topology, position[leaf], slots


def _by_role(volumes: Iterable[SparseGrid | OpaqueGrid]) -> Mapping[str, SparseGrid]:
    """Role -> grid."""
    grids: dict[str, SparseGrid] = {}
    for grid in volumes:
        role = role_of(grid.metadata) if isinstance(grid, SparseGrid) else None
        if isinstance(grid, SparseGrid) and role in NAMES:
            if role in grids:
                raise InputError(f"two grids of the file say that they are {role} of a radiance field; remove one")
            grids[str(role)] = grid
    missing = [name for name in NAMES if name not in grids]
    if missing:
        raise InputError(f"the file holds no whole radiance field; missing are the grids {', '.join(missing)}")
    for name, grid in grids.items():
        wanted = 1 if name == DENSITY else 3
        if grid.channels != wanted or not grid.value_type.is_float:
            raise InputError(f"grid {name} of a radiance field holds {grid.value_type.name}, not {wanted} floats")
    return grids


def _same_places(grids: Mapping[str, SparseGrid]) -> np.ndarray:
    """[n, 3] int64: the active voxels, which have to be those of every grid."""
    first = grids[DENSITY]
    places = np.asarray(first.topology.active_voxels(), np.int64)
    if not len(places):
        raise InputError("the radiance field is empty: it has no active voxels")
    for name, grid in grids.items():
        if grid.lower_tile_mask().any() or grid.upper_tile_mask().any() or grid.topology.root_tile_active.any():
            raise InputError(f"grid {name} of a radiance field has active tiles; write it with voxels only")
        same = grid.topology is first.topology or (
            grid.topology.num_active_voxels == len(places) and np.array_equal(grid.topology.active_voxels(), places)
        )
        if not same:
            raise InputError(f"grid {name} of a radiance field has other active voxels than density")
        if not np.array_equal(grid.transform.matrix, first.transform.matrix):
            raise InputError(f"grid {name} of a radiance field lies elsewhere than density; give all one transform")
    return places


def _cell_of(grid: SparseGrid) -> float:
    matrix = grid.transform.matrix[:3, :3]
    cell = float(matrix[0, 0])
    if not (cell > 0 and np.array_equal(matrix, np.eye(3) * cell)):
        raise InputError(f"a radiance field needs equal voxels along x, y and z, not the transform {matrix.tolist()}")
    return cell


def _up_of(metadata: Metadata) -> Direction:
    try:
        x, y, z = (float(part) for part in str(metadata.get(UP_NAME, "0 0 1")).split())
    except ValueError as error:
        raise InputError(f"{UP_NAME} of the radiance field is {metadata.get(UP_NAME)!r}, not three numbers") from error
    if not (np.isfinite([x, y, z]).all() and (x or y or z)):
        raise InputError(f"{UP_NAME} of the radiance field is {(x, y, z)}, which is no direction")
    return x, y, z
