"""A coarse level of a grid that the file keeps beside it: a file of one grid inside the file (docs/format.md).

The grid itself is complete without: its level, if there is one, is read by those only who ask for a coarse grid.
"""

from fieldcodec.container.container import Container
from fieldcodec.container.format import SectionId
from fieldcodec.container.stored import StoredSections
from fieldcodec.errors import FormatError
from fieldcodec.grid.coarsen import MAX_LEVEL, coarse_transform
from fieldcodec.grid.metadata import STATISTICS
from fieldcodec.volume.compressed_grid import CompressedGrid, check_description, metadata_to_json, transform_to_json
from fieldcodec.volume.sections import GRID_SECTIONS, STORED_LEVEL, VOLUME_KIND

KEY = "stored_level"  # in the description of a grid


def level_kept(grid: CompressedGrid) -> int:
    """The level of a grid that its file keeps, 0 for none; reads nothing.

    Raises:
        FormatError: the file says that it keeps a level that does not exist.
    """
    if STORED_LEVEL not in grid.sections:
        return 0
    level = grid.meta.get(KEY, 0)
    if type(level) is not int or not 0 <= level <= MAX_LEVEL:
        raise FormatError(f"grid {grid.name!r}: its stored_level is {level!r}; needed is 0 to {MAX_LEVEL}")
    return level


def open_level(grid: CompressedGrid) -> CompressedGrid:
    """The grid at the level that its file keeps, as a grid of its own; nothing of it is decoded yet.

    Name, metadata, place in the world and width of values are those of the grid that is asked, which may be an
    instance of the one that the level was stored for.

    Args:
        grid: with a linear transform, and `level_kept`.

    Raises:
        FormatError: the section is damaged, or holds anything but the one coarse grid.
    """
    opened = Container.from_bytes(grid.section(STORED_LEVEL))
    coarse = CompressedGrid(_description(opened), StoredSections(opened, GRID_SECTIONS, 0))
    if coarse.value_type != grid.value_type:
        raise FormatError(f"it holds values of type {coarse.value_type.name}, the grid {grid.value_type.name}")
    transform = grid.transform
    for _ in range(level_kept(grid)):
        transform = coarse_transform(transform, 1)
    head = {
        "name": grid.name,
        "transform": transform_to_json(transform),
        "metadata": metadata_to_json(grid.metadata.without(*STATISTICS)),
        "save_as_half": grid.save_as_half,
    }
    return CompressedGrid(coarse.meta | head, coarse.sections)


def _description(opened: Container) -> dict[str, object]:
    """Of the one grid of the file: with values of its own, and without levels in the level."""
    meta = opened.meta()
    grids = meta.get("grids") if isinstance(meta, dict) and meta.get("kind") == VOLUME_KIND else None
    if not isinstance(grids, list) or len(grids) != 1:
        raise FormatError("it holds no volume of one grid")
    description = check_description(grids[0], 0)
    if {"opaque", "instance_of", "reference", KEY} & set(description) or (SectionId.STORED_LEVEL, 0) in opened:
        raise FormatError("it holds a grid without values of its own, or one with a stored level in its turn")
    return description
