"""The files of a collection and the names of its objects."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fieldcodec.container.files import is_file_name
from fieldcodec.errors import FieldcodecError, InputError
from fieldcodec.grid.sparse_grid import LEVEL_SET, OpaqueGrid, SparseGrid
from fieldcodec.io.mesh.read import MESH_SUFFIXES, UNPACK
from fieldcodec.io.posed.colmap import find_model
from fieldcodec.io.posed.transforms import find_transforms
from fieldcodec.io.vdb.reader import GridSummary, read_vdb_summary
from fieldcodec.io.volumes import read_volumes
from fieldcodec.radiance.marks import is_radiance

VOLUME_SUFFIXES = (".vdb", ".nvdb")


@final
@dataclass(frozen=True)
class ObjectSource:
    """What an object is made from."""

    path: Path
    """A file, or a folder of posed pictures."""
    grid: int | None = None
    """The position of its level set among the grids of a file that holds other objects, too."""

    def __str__(self) -> str:
        return str(self.path) if self.grid is None else f"{self.path} (grid #{self.grid})"


def find_inputs(paths: Sequence[str | os.PathLike[str]]) -> dict[str, ObjectSource]:
    """What the objects are made from by the objects' names, in the order given.

    A name is that of the file without its suffixes: `chair_07` of `chair_07.obj.xz`. A folder with posed pictures is
    one object, called as the folder. Of a file with several level sets each is one: `FILE_GRID`, or `FILE_0` and so on,
    by the position of the grid, where that has no name.

    Args:
        paths: files, folders with posed pictures, folders (all meshes, level sets and folders with posed pictures in
            them, by name) and shell patterns.

    Raises:
        InputError: a file is missing or of no known kind, a folder or pattern has none, two objects have the same name,
            or no file could be named as a grid is; all problems are told at once.
    """
    found: dict[str, ObjectSource] = {}
    problems = []
    for path in paths:
        try:
            sources = [each for file in _files(path) for each in _objects_of(file)]
        except InputError as error:
            problems.append(str(error))
            continue
        for name, source in sources:
            other = found.setdefault(name, source)
            if (other.path.resolve(), other.grid) != (source.path.resolve(), source.grid):
                kind = "files" if source.grid is None else "grids"
                problems.append(f"{other} and {source} would both be the object {name!r}; rename one of the {kind}")
    if not found and not problems:
        problems.append(
            "no input files are given; name meshes, level sets, folders of them or of posed pictures, or patterns"
        )
    if problems:
        raise InputError("\n".join(problems))
    return found


def object_name(path: Path) -> str:
    """The name of the object in a file."""
    if path.is_dir():
        return path.resolve().name
    plain = path.with_suffix("") if path.suffix.lower() in UNPACK else path
    return plain.stem


def is_scene(place: Path) -> bool:
    """Whether a folder holds posed pictures, by the names of its files."""
    return place.is_dir() and (bool(find_transforms(place)) or find_model(place) is not None)


def is_volume(path: Path) -> bool:
    """Whether a file holds grids, by its name."""
    return path.suffix.lower() in VOLUME_SUFFIXES


def _objects_of(path: Path) -> list[tuple[str, ObjectSource]]:
    """Names and sources of the objects of one file; of one that cannot be read a single one, so that reading it tells.

    Raises:
        InputError: no object can be named as a grid.
    """
    name, grids = object_name(path), _grids_of(path) if is_volume(path) else []
    surfaces = [row for row, grid in enumerate(grids) if _is_level_set(grid)]
    radiance = is_radiance(grids)
    if len(surfaces) + radiance < 2:
        return [(name, ObjectSource(path))]
    objects = [(name, ObjectSource(path))] if radiance else []
    for row in surfaces:
        full = f"{name}_{grids[row].name or row}"
        if not is_file_name(full):
            raise InputError(
                f"{path} holds {len(surfaces)} level sets, and no object can be named after the grid "
                f"{grids[row].name!r}; rename it"
            )
        objects.append((full, ObjectSource(path, row)))
    return objects


def _is_level_set(grid: GridSummary | SparseGrid | OpaqueGrid) -> bool:
    """Whether it is one whose values can be read."""
    if isinstance(grid, OpaqueGrid) or grid.value_type is None:
        return False
    return grid.metadata.get("class") == LEVEL_SET


def _grids_of(path: Path) -> Sequence[GridSummary | SparseGrid | OpaqueGrid]:
    """What a file says of its grids; nothing where it cannot be read."""
    try:
        if path.suffix.lower() == ".vdb":
            return read_vdb_summary(path).grids
        return read_volumes(path, on_unsupported=lambda refused: None).grids
    except FieldcodecError:
        return ()


def _files(path: str | os.PathLike[str]) -> list[Path]:
    """The files that one argument means."""
    place = Path(path)
    if is_scene(place):
        return [place]
    if place.is_dir():
        files = sorted(file for file in place.iterdir() if _is_known(file))
        if not files:
            raise InputError(f"the folder {place} holds no mesh, level set or posed pictures; {_known()}")
        return files
    if place.exists():
        if not _is_known(place):
            raise InputError(f"{place} is neither a mesh nor a level set by its name; {_known()}")
        return [place]
    if not glob.has_magic(os.fspath(path)):
        raise InputError(f"{place} does not exist")
    files = sorted(Path(name) for name in glob.glob(os.fspath(path)) if _is_known(Path(name)))
    if not files:
        raise InputError(f"no mesh, level set or folder of posed pictures matches the pattern {place}; {_known()}")
    return files


def _is_known(path: Path) -> bool:
    if path.is_dir():
        return is_scene(path)
    plain = path.with_suffix("") if path.suffix.lower() in UNPACK else path
    return is_volume(path) or plain.suffix.lower() in MESH_SUFFIXES


def _known() -> str:
    meshes = f"{', '.join(MESH_SUFFIXES)} (also with {' or '.join(UNPACK)} behind)"
    scenes = "folders with transforms.json, transforms_train.json or a COLMAP model"
    return f"known are {meshes}, {', '.join(VOLUME_SUFFIXES)}, and {scenes}"
