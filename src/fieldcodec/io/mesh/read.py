"""Mesh files: `.obj`, `.ply`, `.stl`, `.glb`, `.gltf`, also inside `.gz` or `.xz`."""

import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from fieldcodec.errors import FieldcodecError, InputError, InvalidValuesError, MissingPackageError

MESH_SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".gltf")
UNPACK = {".gz": gzip.decompress, ".xz": lzma.decompress}


@final
@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in world space. Equal corners are one vertex; no triangle has two corners the same."""

    vertices: np.ndarray  # [n, 3] float64
    triangles: np.ndarray  # [m, 3] int64, rows of `vertices`; counter-clockwise seen from outside

    @staticmethod
    def of(vertices: np.ndarray, triangles: np.ndarray) -> "Mesh":
        """A clean mesh: equal vertices merged, unused ones and triangles with two equal corners dropped.

        Triangles of zero area whose corners differ are kept: they close cracks at T-junctions.

        Args:
            vertices: [n, 3] world positions.
            triangles: [m, 3] row numbers.

        Raises:
            InvalidValuesError: a used vertex is not finite.
        """
        return cleaned(vertices, triangles)[0]

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest corner of the box around the triangles: two [3] float64 arrays."""
        corners = self.vertices[self.triangles.reshape(-1)]
        return corners.min(axis=0), corners.max(axis=0)


def cleaned(vertices: np.ndarray, triangles: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """`Mesh.of` what is given, and the rows [m] of the triangles that it has kept, in their order."""
    vertices = np.asarray(vertices, np.float64).reshape(-1, 3) + 0.0  # -0.0 becomes 0.0
    triangles = np.asarray(triangles, np.int64).reshape(-1, 3)
    used, triangles = np.unique(triangles, return_inverse=True)
    vertices, triangles = vertices[used], triangles.reshape(-1, 3)
    _check_finite(vertices)
    vertices, merged = _merge_equal_rows(vertices)
    triangles = merged[triangles]
    a, b, c = triangles.T
    kept = np.flatnonzero((a != b) & (b != c) & (c != a))
    return Mesh(vertices, np.ascontiguousarray(triangles[kept])), kept


def read_mesh(path: str | Path) -> Mesh:
    """The triangles of all objects of a mesh file, scene transforms applied, polygons triangulated.

    Raises:
        InputError: the file is missing, damaged, holds no triangle or is of an unknown kind.
        InvalidValuesError: a vertex is not finite.
        MissingPackageError: trimesh is not installed.
    """
    path = Path(path)
    kind, data = kind_and_bytes(path)
    # the buffers of a .gltf are files next to it
    resolver = trimesh_module().resolvers.FilePathResolver(str(path)) if kind == "gltf" else None
    with reading_mesh(path, kind):
        loaded = load_scene(kind, data, resolver, with_materials=kind != "obj").to_mesh()
        mesh = Mesh.of(loaded.vertices, loaded.faces)
    return with_triangles(mesh, path)


def load_scene(kind: str, data: bytes, resolver: Any, *, with_materials: bool) -> Any:
    """A trimesh scene; `resolver` finds the files that the mesh file names."""
    options: dict[str, Any] = {} if with_materials else {"skip_materials": True}
    if resolver is not None:
        options["resolver"] = resolver
    return trimesh_module().load_scene(io.BytesIO(data), file_type=kind, process=False, **options)


@contextmanager
def reading_mesh(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever the parsers of foreign files raise into InputErrors that name the file."""
    try:
        yield
    except FieldcodecError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as a {kind} mesh: {type(error).__name__}: {error}") from error


def with_triangles(mesh: Mesh, path: Path) -> Mesh:
    """The mesh, if there is anything in it."""
    if not len(mesh.triangles):
        raise InputError(f"{path} holds no triangles (of non-zero extent); a surface mesh is needed")
    return mesh


def kind_and_bytes(path: Path) -> tuple[str, bytes]:
    """The kind of a mesh file by its name, as `obj`, and its unpacked bytes."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in UNPACK else None
    if not suffixes or suffixes[-1] not in MESH_SUFFIXES:
        raise InputError(
            f"{path.name} is no mesh file by its name; allowed are {', '.join(MESH_SUFFIXES)}, "
            f"each also with {' or '.join(UNPACK)} behind it"
        )
    return suffixes[-1][1:], unpacked(path, packing)


def unpacked(path: Path, packing: str | None) -> bytes:
    """The bytes of a file, unpacked if it is `.gz` or `.xz`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if packing is None:
        return data
    try:
        return UNPACK[packing](data)
    except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise InputError(f"{path} is not a sound {packing} file: {error}") from error


def trimesh_module() -> Any:
    """The package trimesh; MissingPackageError where it is not installed."""
    try:
        import trimesh
    except ImportError as error:
        raise MissingPackageError(
            "meshes need the package trimesh, which is not installed; run: pip install 'fieldcodec[mesh]'"
        ) from error
    return trimesh


def _check_finite(vertices: np.ndarray) -> None:
    bad = ~np.isfinite(vertices).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidValuesError(
            f"{int(bad.sum())} of {len(vertices)} vertices are not finite, "
            f"the first of them vertex {first} at {tuple(vertices[first].tolist())}; repair the mesh"
        )


def _merge_equal_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of [n, 3], and the number of each old row among them."""
    if not len(rows):
        return rows, np.zeros(0, np.int64)
    order = np.lexsort(rows.T)
    ordered = rows[order]
    new = np.ones(len(rows), bool)
    new[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    number = np.empty(len(rows), np.int64)
    number[order] = np.cumsum(new) - 1
    return ordered[new], number
