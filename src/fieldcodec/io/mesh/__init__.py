"""Triangle meshes to narrow-band level sets.

file -> read_mesh -> Mesh -> [orient, close holes] -> [distances near triangles] -> [signs] -> SparseGrid
"""

from fieldcodec.io.mesh.read import Mesh, read_mesh
from fieldcodec.io.mesh.voxelize import voxelize

__all__ = ["Mesh", "read_mesh", "voxelize"]
