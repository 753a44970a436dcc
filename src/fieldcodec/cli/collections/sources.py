"""The files that objects come from, each of them once, however many objects share it."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fieldcodec.collection.inputs import is_scene, is_volume
from fieldcodec.io.mesh.companions import Companions
from fieldcodec.io.mesh.read import kind_and_bytes
from fieldcodec.io.posed import read_posed
from fieldcodec.io.posed.colmap import find_model
from fieldcodec.io.posed.transforms import find_transforms

_MATERIALS = re.compile(rb"^[ \t]*mtllib[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE)
_TEXTURES = re.compile(rb"^[ \t]*map_\w+[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE)


def source_files(meshes: Iterable[Path], with_materials: bool) -> set[Path]:
    """Mesh files and their buffers, and where materials count the materials and textures that they name; of posed
    pictures those and the files that say where their cameras are."""
    found: set[Path] = set()
    for path in meshes:
        if is_scene(path):
            found |= {view.path.resolve() for view in read_posed(path).views}
            model = find_model(path)
            listed = find_transforms(path) or ([part for part in model if part is not None] if model else [])
            found |= {part.resolve() for part in listed}
            continue
        found.add(path.resolve())
        if not is_volume(path):
            companions = Companions(path)
            for _ in _named(path, companions, with_materials):
                pass
            found |= {other.resolve() for other in companions.found.values()}
    return found


def _named(path: Path, companions: Companions, with_materials: bool) -> Iterator[bytes]:
    """The bytes of the files that a mesh names, as far as they are there."""
    kind, data = kind_and_bytes(path)
    if kind == "obj" and with_materials:
        for material in _there(companions, _texts(_MATERIALS, data)):
            yield material
            for text in _texts(_TEXTURES, material):  # a name, or options and a name
                yield from _first(companions, text)
    if kind == "gltf":
        scene: dict[str, Any] = json.loads(data)
        parts = [*scene.get("buffers", []), *(scene.get("images", []) if with_materials else [])]
        names = [part["uri"] for part in parts if "uri" in part]
        yield from _there(companions, [name for name in names if not name.startswith("data:")])


def _texts(pattern: re.Pattern[bytes], data: bytes) -> list[str]:
    return [name.decode("utf-8", "replace") for name in dict.fromkeys(pattern.findall(data))]


def _first(companions: Companions, text: str) -> Iterator[bytes]:
    """The file called as all of a text, or else as its last word."""
    yield from [*_there(companions, [text])] or [*_there(companions, [text.split()[-1]])]


def _there(companions: Companions, names: Iterable[str]) -> Iterator[bytes]:
    for name in names:
        try:
            yield companions.get(name)
        except FileNotFoundError:
            continue
