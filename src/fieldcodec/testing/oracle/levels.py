"""Levels of grids that a file keeps beside them."""

from dataclasses import replace
from typing import Any

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.oracle.container import WHOLE_FILE, meta_json, read_sections
from fieldcodec.testing.oracle.volume import META, decode_volume, grid_head, read_json

LEVEL = 28
STATISTICS = (
    "file_bbox_min", "file_bbox_max", "file_compression", "file_mem_bytes", "file_voxel_count", "file_delayed_load",
)  # fmt: skip


def decode_levels(data: bytes) -> dict[int, SparseGrid]:
    """The stored levels of a file of one volume, by the numbers of their grids; instances have those of their trees.

    Raises:
        FormatError: the file is not what docs/format.md says.
    """
    sections = read_sections(data)
    meta = read_json(meta_json(sections.get((WHOLE_FILE, META), b"")))
    levels = {}
    try:
        for number, description in enumerate(meta["grids"]):
            tree = description.get("instance_of", number)
            if (tree, LEVEL) in sections and meta["grids"][tree].get("stored_level", 0) != 0:
                own = grid_head(description)
                levels[number] = decode_level(meta["grids"][tree], own, sections[tree, LEVEL])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"a stored level is not understood: {error!r}") from error
    return levels


def decode_level(meta: Any, head: dict[str, Any], data: bytes) -> SparseGrid:
    """One level.

    Args:
        meta: the description of the grid whose section it is.
        head: what the grid that is asked for has of its own, see `volume.grid_head`.
        data: the section.
    """
    if type(meta["stored_level"]) is not int or not 1 <= meta["stored_level"] <= 4:
        raise FormatError("the stored level does not exist")
    sections = read_sections(data)
    inner = read_json(meta_json(sections.get((WHOLE_FILE, META), b"")))["grids"]
    forbidden = {"opaque", "instance_of", "reference", "stored_level"}
    if len(inner) != 1 or (0, LEVEL) in sections or forbidden & set(inner[0]):
        raise FormatError("a stored level is not one grid with values of its own and no stored level")
    grid = decode_volume(data)[0]
    if not isinstance(grid, SparseGrid) or grid.value_type.name != meta["value_type"]:
        raise FormatError("a stored level has values of another type than its grid")
    matrix = head["transform"].matrix.copy()
    for _ in range(meta["stored_level"]):
        matrix[3, :3] += 0.5 * (matrix[0, :3] + matrix[1, :3] + matrix[2, :3])
        matrix[:3, :3] *= np.float64(2)
    metadata = head["metadata"].without(*STATISTICS)
    return replace(grid, **(head | {"transform": GridTransform.of_matrix(matrix), "metadata": metadata}))
