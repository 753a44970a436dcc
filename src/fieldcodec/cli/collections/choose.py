"""Whether inputs of `fieldcodec encode` are the objects of a collection, seen before options are parsed."""

import glob
from collections.abc import Collection, Sequence
from pathlib import Path

from fieldcodec.cli.inputs import kind_of
from fieldcodec.cli.options import positionals
from fieldcodec.collection.inputs import is_scene
from fieldcodec.errors import InputError, UsageError
from fieldcodec.io.frame_paths import has_placeholder

FORCE = "--collection"


def wants_collection(arguments: Sequence[str], switches: Collection[str]) -> bool:
    """Whether a command line means a collection.

    Args:
        switches: flags without a value, of all options that `encode` has.

    Raises:
        UsageError: a folder or pattern holds both meshes and volumes.
    """
    if FORCE in arguments:
        return True
    return means_objects([Path(place) for place in positionals(arguments, switches)])


def means_objects(places: Sequence[Path]) -> bool:
    """Whether inputs are several meshes, a folder or pattern of meshes, or posed pictures; one mesh alone becomes a
    level set.

    Raises:
        UsageError: there are both meshes and volumes.
    """
    if not places or (len(places) == 1 and not _names_several(places[0])):
        return False
    kinds = {kind for place in places for kind in _kinds(place)}
    if "volume" in kinds and kinds & {"mesh", "scene"}:
        others = "posed pictures" if "scene" in kinds else "meshes"
        raise UsageError(
            f"the inputs ({', '.join(map(str, places[:3]))}) are both {others} and volumes; {FORCE} makes objects of "
            "all of them, a pattern such as 'FOLDER/*.vdb' takes only the frames of a sequence"
        )
    return bool(kinds & {"mesh", "scene"})


def _names_several(place: Path) -> bool:
    """A folder, or a shell's pattern that is none of numbered frames."""
    return place.is_dir() or (not place.is_file() and glob.has_magic(str(place)) and not has_placeholder(place))


def _kinds(place: Path) -> set[str]:
    """Kinds of the files that an argument stands for, as far as they are known."""
    if is_scene(place):
        return {"scene"}
    if place.is_dir():
        files = [file for file in place.iterdir() if file.is_file() or is_scene(file)]
    elif not place.exists() and glob.has_magic(str(place)):
        files = [Path(name) for name in glob.glob(str(place))] or [place]
    else:
        files = [place]
    return {kind for file in files if (kind := _kind(file)) is not None}


def _kind(file: Path) -> str | None:
    if is_scene(file):
        return "scene"
    try:
        return kind_of(file)
    except InputError:
        return None
