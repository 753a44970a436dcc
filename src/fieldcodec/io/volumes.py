"""Reading and writing volume files by their suffix."""

import os
from pathlib import Path
from typing import Literal

from fieldcodec.errors import InputError
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.nanovdb import OnUnsupported, read_nanovdb
from fieldcodec.io.vdb import read_vdb, write_vdb


def read_volumes(path: str | os.PathLike[str], *, on_unsupported: OnUnsupported | None = None) -> VolumeFile:
    """All grids of a `.vdb` or `.nvdb` file, in file order.

    Args:
        on_unsupported: told of each grid that can be neither read nor carried; the others are then read all the same.

    Raises:
        InputError: the file is missing, unreadable, damaged, or of another kind.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".vdb":
        return read_vdb(path)
    if suffix == ".nvdb":
        return read_nanovdb(path, on_unsupported=on_unsupported)
    raise InputError(f"{os.fspath(path)} is not a volume file by its name; known are .vdb and .nvdb")


def read_volume(path: str | os.PathLike[str], name: str | int = 0) -> SparseGrid | OpaqueGrid:
    """One grid of a file, by name or position."""
    return read_volumes(path)[name]


def write_volumes(
    path: str | os.PathLike[str],
    volumes: VolumeFile,
    *,
    compression: Literal["blosc", "zip", "none"] = "blosc",
    active_mask: bool = True,
) -> None:
    """Writes a `.vdb` file; `write_volumes(path, read_volumes(path))` loses nothing."""
    write_vdb(path, volumes, compression=compression, active_mask=active_mask)
