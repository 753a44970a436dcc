"""What a grid takes in a `.vdb` file: the size that compressed ones are compared with."""

import tempfile
from dataclasses import replace
from pathlib import Path

from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.vdb.writer import write_vdb


def vdb16_blosc_bytes(grid: SparseGrid | OpaqueGrid) -> int:
    """Size of a real `.vdb` file of this grid alone, in 16 bits where it has floats, with Blosc."""
    if isinstance(grid, SparseGrid) and grid.value_type.is_float and grid.value_type.name != "half":
        grid = replace(grid, save_as_half=True)
    with tempfile.TemporaryDirectory(prefix="fieldcodec-") as folder:
        path = Path(folder) / "grid.vdb"
        write_vdb(path, VolumeFile((grid,)), compression="blosc")
        return path.stat().st_size
