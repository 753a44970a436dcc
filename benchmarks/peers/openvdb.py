"""OpenVDB's own files, in 32 and in 16 bits, with the active mask and Blosc: what studios store today.

Written by `write_vdb`, whose files are those of OpenVDB 10 (version 224, Blosc's LZ4 at level 9 with shuffle, inactive
values left out); the tests of the package compare it with OpenVDB. The size is that of the whole file with one grid.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.vdb import read_vdb, write_vdb
from peers.peer import Outcome, Peer, Quality, timed


def compress(grid: SparseGrid, quality: Quality) -> Outcome:
    """A grid of floats by way of a `.vdb` file; quality: `32` or `16`, the bits of a stored value."""
    if not grid.value_type.is_float:
        raise UnsupportedGridError(f"{grid.name!r} holds {grid.value_type.name}; only floats have 16-bit files")
    stored = VolumeFile((replace(grid, save_as_half=quality == 16),))
    with tempfile.TemporaryDirectory(prefix="fieldcodec-") as folder:
        path = Path(folder) / "grid.vdb"
        _, seconds_encode = timed(lambda: write_vdb(path, stored, compression="blosc"))
        back, seconds_decode = timed(lambda: read_vdb(path)[0])
        assert isinstance(back, SparseGrid)
        return Outcome(path.stat().st_size, back.active_values(), seconds_encode, seconds_decode)


PEERS = (
    Peer("openvdb-16-blosc", compress, "each", (16,)),
    Peer("openvdb-32-blosc", compress, "each", (32,)),
)
