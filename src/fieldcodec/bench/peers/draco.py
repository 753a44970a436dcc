"""Draco, for level sets made from a mesh: the coded mesh instead of the volume, made a level set again when decoded.

Positions are quantised to 9 to 14 bits across the mesh, connectivity is coded at Draco's highest level. The decoder
runs fieldcodec's own `voxelize` with the voxel size and band of the original, whose voxels then lie at the same places.
The new band is not the old one: values are those at the voxels active in the original.
"""

from functools import partial

import numpy as np

from fieldcodec.bench.effort import measured
from fieldcodec.bench.peer import Outcome, Peer, Setting, bench_package
from fieldcodec.errors import UnsupportedGridError
from fieldcodec.fit.phases import OnEvent
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh import Mesh, voxelize

NAME = "draco"
BITS = (9, 10, 11, 12, 13, 14)
_LEVEL = 10  # the smallest files


def compress(grid: SparseGrid, setting: Setting, *, mesh: Mesh, close_holes: bool = True) -> Outcome:
    """A level set by way of the mesh it was made from; setting: bits of a coordinate."""
    if not grid.is_level_set:
        raise UnsupportedGridError(f"{grid.name!r} is no level set; Draco codes surfaces")
    draco = bench_package("DracoPy")
    points, faces = mesh.vertices.astype(np.float32), mesh.triangles.astype(np.uint32)
    data, encode = measured(
        lambda _: draco.encode(points, faces, quantization_bits=int(setting), compression_level=_LEVEL)
    )
    voxel_size = float(grid.transform.voxel_size[0])
    half_width = float(grid.background[0]) / voxel_size

    def decoded_grid(_: OnEvent) -> SparseGrid:
        decoded = draco.decode(data)
        again = Mesh.of(decoded.points, decoded.faces)
        return voxelize(again, voxel_size=voxel_size, half_width=half_width, close_holes=close_holes)

    back, decode = measured(decoded_grid)
    leaves = blocks_at(back, grid.topology.leaf_origins).values(slice(0, grid.topology.num_leaves))
    values = leaves[grid.topology.leaf_active_bits]
    return Outcome(len(data), values, encode, decode, "mesh, made a level set again", leaves[..., 0])


def peer_of(mesh: Mesh, *, close_holes: bool = True) -> Peer:
    """Draco for level sets that were made from this mesh."""
    return Peer(NAME, partial(compress, mesh=mesh, close_holes=close_holes), "each", BITS, stores_topology=False)
