"""The files of a collection and the names of its objects."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from fieldcodec.errors import InputError
from fieldcodec.io.mesh.read import MESH_SUFFIXES, UNPACK
from fieldcodec.io.posed.colmap import find_model
from fieldcodec.io.posed.transforms import find_transforms

VOLUME_SUFFIXES = (".vdb", ".nvdb")


def find_inputs(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """The objects' files by the objects' names, in the order given.

    A name is that of the file without its suffixes: `chair_07` of `chair_07.obj.xz`. A folder with posed pictures is
    one object, called as the folder.

    Args:
        paths: files, folders with posed pictures, folders (all meshes, level sets and folders with posed pictures in
            them, by name) and shell patterns.

    Raises:
        InputError: a file is missing or of no known kind, a folder or pattern has none, or two have the same name; all
            problems are told at once.
    """
    found: dict[str, Path] = {}
    problems = []
    for path in paths:
        try:
            files = _files(path)
        except InputError as error:
            problems.append(str(error))
            continue
        for file in files:
            other = found.setdefault(object_name(file), file)
            if other.resolve() != file.resolve():
                problems.append(
                    f"{other} and {file} would both be the object {object_name(file)!r}; rename one of the files"
                )
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
