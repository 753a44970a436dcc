"""Encode a procedural volume, decode it, and look at what was lost.

    python examples/encode_a_volume.py

Writes into a temporary folder; takes some seconds.
"""

import tempfile
from pathlib import Path

import fieldcodec as fc
from fieldcodec.grid.procedural import PROCEDURALS


def main() -> None:
    grid = PROCEDURALS["smoke"](32, 1)
    settings = fc.VolumeSettings(quality=fc.Quality(psnr=30))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smoke.fcodec"
        fc.encode_volume(grid, settings).save(path)
        decoded = fc.open(path).to_grids()[0]
        size = path.stat().st_size
    quality = fc.compare_grids(grid, decoded)
    print(f"{grid.topology.num_active_voxels:,} active voxels in {size:,} bytes")
    print(f"RMSE {quality.rmse_relative:.4f} of the value range, {quality.topology_differs} voxels of topology differ")


if __name__ == "__main__":
    main()
