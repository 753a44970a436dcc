"""Grids that are carried byte for byte, such as points."""

from typing import Any

import numpy as np

from fieldcodec.coding.arrays import pack_array, unpack_array
from fieldcodec.errors import FormatError
from fieldcodec.grid.sparse_grid import OpaqueGrid
from fieldcodec.volume.compressed_grid import CompressedGrid

_MAX_PAYLOAD = 1 << 36


def compress_opaque(grid: OpaqueGrid, parent: int | None) -> CompressedGrid:
    """`parent` is the position of the grid whose tree it shares, if any."""
    meta: dict[str, Any] = {
        "name": grid.name,
        "opaque": {
            "type_name": grid.type_name,
            "file_version": grid.file_version,
            "save_as_half": grid.save_as_half,
            "block_offset": grid.block_offset,
            "size": len(grid.payload),
            "instance_of": parent,
        },
    }
    return CompressedGrid(meta, {"opaque grid": pack_array(np.frombuffer(grid.payload, np.uint8))})


def decode_opaque(grid: CompressedGrid, parent: OpaqueGrid | None) -> OpaqueGrid:
    """The inverse of `compress_opaque`."""
    meta = grid.meta["opaque"]
    size = meta.get("size") if isinstance(meta, dict) else None
    if not isinstance(size, int) or not 0 <= size <= _MAX_PAYLOAD:
        raise FormatError(f"grid {grid.name!r}: its size is {size!r}, allowed are 0 to {_MAX_PAYLOAD} bytes")
    payload = unpack_array(grid.section("opaque grid"), np.dtype(np.uint8), (size,)).tobytes()
    try:
        return OpaqueGrid(
            grid.name, str(meta["type_name"]), payload, int(meta["file_version"]),
            bool(meta["save_as_half"]), int(meta["block_offset"]), parent,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"grid {grid.name!r}: its description is not understood: {error}") from error
