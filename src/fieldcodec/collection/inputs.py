"""The files of a collection and the names of its objects."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from fieldcodec.errors import InputError
from fieldcodec.io.mesh.read import MESH_SUFFIXES, UNPACK

VOLUME_SUFFIXES = (".vdb", ".nvdb")


def find_inputs(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """The objects' files by the objects' names, in the order given.

    A name is that of the file without its suffixes: `chair_07` of `chair_07.obj.xz`.

    Args:
        paths: files, folders (all meshes and level sets in them, by name) and shell patterns.

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
        problems.append("no input files are given; name meshes, level sets, folders of them or patterns")
    if problems:
        raise InputError("\n".join(problems))
    return found


def object_name(path: Path) -> str:
    """The name of the object in a file."""
    plain = path.with_suffix("") if path.suffix.lower() in UNPACK else path
    return plain.stem


def is_volume(path: Path) -> bool:
    """Whether a file holds grids, by its name."""
    return path.suffix.lower() in VOLUME_SUFFIXES


def _files(path: str | os.PathLike[str]) -> list[Path]:
    """The files that one argument means."""
    place = Path(path)
    if place.is_dir():
        files = sorted(file for file in place.iterdir() if file.is_file() and _is_known(file))
        if not files:
            raise InputError(f"the folder {place} holds no mesh or level set; known are {_known_suffixes()}")
        return files
    if place.exists():
        if not _is_known(place):
            raise InputError(f"{place} is neither a mesh nor a level set by its name; known are {_known_suffixes()}")
        return [place]
    if not glob.has_magic(os.fspath(path)):
        raise InputError(f"{place} does not exist")
    files = sorted(Path(name) for name in glob.glob(os.fspath(path)) if os.path.isfile(name) and _is_known(Path(name)))
    if not files:
        raise InputError(f"no mesh or level set matches the pattern {place}; known are {_known_suffixes()}")
    return files


def _is_known(path: Path) -> bool:
    plain = path.with_suffix("") if path.suffix.lower() in UNPACK else path
    return is_volume(path) or plain.suffix.lower() in MESH_SUFFIXES


def _known_suffixes() -> str:
    return f"{', '.join(MESH_SUFFIXES)} (also with {' or '.join(UNPACK)} behind) and {', '.join(VOLUME_SUFFIXES)}"
