"""The files that a mesh file names: materials, textures, buffers."""

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import final
from urllib.parse import unquote

import xxhash

from fieldcodec.io.mesh.read import UNPACK, unpacked


@final
class Companions:
    """Finds files beside a mesh file for trimesh, and keeps a record of what was asked for.

    A name is looked for below the folder of the mesh file, never outside it, then by its last part in that folder, each
    also with `.gz` or `.xz` behind it.
    """

    def __init__(self, mesh_file: Path) -> None:
        self._folder = mesh_file.parent
        self.found: dict[str, Path] = {}  # by the name asked for
        self.missing: set[str] = set()

    def get(self, name: str) -> bytes:
        """The unpacked bytes of a file; FileNotFoundError where there is none."""
        path = self.place(name)
        if path is None:
            self.missing.add(name)
            raise FileNotFoundError(name)
        self.found[name] = path
        return unpacked(path, path.suffix.lower() if path.suffix.lower() in UNPACK else None)

    __getitem__ = get

    def keys(self) -> list[str]:
        """Part of trimesh's interface: names are asked for, not listed."""
        return []

    def place(self, name: str) -> Path | None:
        """The file that a name leads to now; None for none."""
        return next((path for path in self._candidates(name) if path.is_file()), None)

    def digests(self) -> dict[str, str]:
        """What each name asked for led to, as `digest` gives it."""
        return {name: self.digest(name) for name in sorted(self.missing | set(self.found))}

    def digest(self, name: str) -> str:
        """A hash of the file that a name leads to now; empty for none."""
        path = self.place(name)
        return "" if path is None else xxhash.xxh3_128_hexdigest(path.read_bytes())

    def _candidates(self, name: str) -> Iterator[Path]:
        root = self._folder.resolve()
        spellings = [name.strip(), unquote(name.strip()), *name.split()[-1:]]  # options may stand before a texture
        for spelling in dict.fromkeys(spellings):
            for place in (spelling.replace("\\", "/"), PureWindowsPath(spelling).name):
                path = self._folder / place
                if place and path.resolve().is_relative_to(root):
                    yield from (path, *(path.with_name(path.name + packing) for packing in UNPACK))
