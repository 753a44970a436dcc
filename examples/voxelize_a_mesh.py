"""A triangle mesh as a level set, encoded: the way from `.obj` to `.fcodec` in Python.

    python examples/voxelize_a_mesh.py [MESH]

Without an argument it makes an octahedron. Needs `pip install 'fieldcodec[mesh]'`.
"""

import sys

import numpy as np

import fieldcodec as fc
from fieldcodec.io.mesh import Mesh, read_mesh, voxelize


def octahedron() -> Mesh:
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    return Mesh.of(corners, np.array(faces))


def main() -> None:
    mesh = read_mesh(sys.argv[1]) if len(sys.argv) > 1 else octahedron()
    grid = voxelize(mesh, resolution=48, half_width=3.0)
    data = fc.encode_volume(grid, fc.VolumeSettings(quality=fc.Quality(mcd=0.1))).to_bytes()
    quality = fc.compare_grids(grid, fc.CompressedVolume.from_bytes(data).to_grids()[0])
    print(f"{grid.topology.num_active_voxels:,} active voxels in {len(data):,} bytes")
    print(f"IoU {quality.iou:.4f}, mCD {quality.mcd:.3f} voxels, topology differs in {quality.topology_differs} voxels")


if __name__ == "__main__":
    main()
