"""OpenVDB's own files, in 32 and in 16 bits, with the active mask and Blosc: what studios store today.

Written by `write_vdb`, whose files are those of OpenVDB 10 (version 224, Blosc's LZ4 at level 9 with shuffle, inactive
values left out); the tests of the package compare it with OpenVDB. The size is that of the whole file with one grid.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from fieldcodec.bench.effort import measured
from fieldcodec.bench.peer import Outcome, Peer, Setting
from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.vdb import read_vdb, write_vdb


def compress(grid: SparseGrid, setting: Setting) -> Outcome:
    """A grid of floats by way of a `.vdb` file; setting: `32` or `16`, the bits of a stored value."""
    if not grid.value_type.is_float:
        raise UnsupportedGridError(f"{grid.name!r} holds {grid.value_type.name}; only floats have 16-bit files")
    with tempfile.TemporaryDirectory(prefix="fieldcodec-") as folder:
        path = Path(folder) / "grid.vdb"
        _, encode = measured(lambda _: _write(path, grid, half=setting == 16))
        back, decode = measured(lambda _: read_vdb(path)[0])
        assert isinstance(back, SparseGrid)
        return Outcome(path.stat().st_size, back.active_values(), encode, decode)


def vdb_bytes(grid: SparseGrid, *, half: bool) -> int:
    """Size of a `.vdb` file with Blosc of this grid alone, with floats in 16 bits where `half` is true."""
    with tempfile.TemporaryDirectory(prefix="fieldcodec-") as folder:
        path = Path(folder) / "grid.vdb"
        _write(path, grid, half=half and grid.value_type.is_float)
        return path.stat().st_size


def _write(path: Path, grid: SparseGrid, *, half: bool) -> None:
    write_vdb(path, VolumeFile((replace(grid, save_as_half=half),)), compression="blosc")


PEERS = (
    Peer("openvdb-16-blosc", compress, "each", (16,)),
    Peer("openvdb-32-blosc", compress, "each", (32,)),
)
