"""Mesh files written: binary `.ply` and `.obj`, with normals where there are some.

Written here and not by trimesh, which reads them: these two are a screenful, need no optional package, are written in
pieces, and keep 64-bit positions where 32 bits would let vertices of a fine mesh fall together.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fieldcodec.container.files import write_atomically
from fieldcodec.errors import InputError, UsageError
from fieldcodec.io.mesh.read import Mesh

WRITTEN_SUFFIXES = (".ply", ".obj")
_ROWS_AT_ONCE = 1 << 16
_MOST_VERTICES = 2**31 - 1  # a PLY's rows are int32


def write_mesh(
    path: str | os.PathLike[str], mesh: Mesh, normals: np.ndarray | None = None, *, overwrite: bool = False
) -> None:
    """Write a mesh, with the order of its vertices and triangles kept.

    A `.ply` is binary, little endian, and holds positions in 32 bits unless two vertices would then be equal.

    Args:
        path: ends in `.ply` or `.obj`.
        normals: [n, 3], one to a vertex.

    Raises:
        UsageError: the suffix is another one, or there is not one normal to each vertex.
        OutputExistsError: `path` exists and `overwrite` is False.
        InputError: it cannot be written.
    """
    check_mesh_suffix(path)
    if normals is not None and np.shape(normals) != mesh.vertices.shape:
        raise UsageError(
            f"normals of shape {np.shape(normals)} do not fit vertices of shape {mesh.vertices.shape}; give one each"
        )
    if len(mesh.vertices) > _MOST_VERTICES:
        raise InputError(f"the mesh has {len(mesh.vertices)} vertices; a file can hold {_MOST_VERTICES}")
    make = _ply if Path(path).suffix.lower() == ".ply" else _obj
    write_atomically(path, make(mesh, normals), overwrite=overwrite)


def check_mesh_suffix(path: str | os.PathLike[str]) -> None:
    """Raise UsageError unless `write_mesh` knows the suffix."""
    if Path(path).suffix.lower() not in WRITTEN_SUFFIXES:
        raise UsageError(f"{Path(path).name} does not end in one of {', '.join(WRITTEN_SUFFIXES)}, the meshes written")


def _ply(mesh: Mesh, normals: np.ndarray | None) -> Iterator[bytes]:
    wide = _merges_in_32_bits(mesh.vertices)
    fields: list[tuple[str, str]] = [(axis, "<f8" if wide else "<f4") for axis in "xyz"]
    fields += [(f"n{axis}", "<f4") for axis in "xyz"] if normals is not None else []
    words = {"<f8": "double", "<f4": "float"}
    lines = [
        "ply", "format binary_little_endian 1.0", "comment written by fieldcodec",
        f"element vertex {len(mesh.vertices)}", *(f"property {words[kind]} {name}" for name, kind in fields),
        f"element face {len(mesh.triangles)}", "property list uchar int vertex_indices", "end_header", "",
    ]  # fmt: skip
    yield "\n".join(lines).encode("ascii")
    for part in _parts(len(mesh.vertices)):
        rows = np.empty(len(mesh.vertices[part]), fields)
        for column, axis in enumerate("xyz"):
            rows[axis] = mesh.vertices[part, column]
            if normals is not None:
                rows[f"n{axis}"] = normals[part, column]
        yield rows.tobytes()
    for part in _parts(len(mesh.triangles)):
        faces = np.empty(len(mesh.triangles[part]), [("count", "u1"), ("corners", "<i4", 3)])
        faces["count"], faces["corners"] = 3, mesh.triangles[part]
        yield faces.tobytes()


def _obj(mesh: Mesh, normals: np.ndarray | None) -> Iterator[bytes]:
    yield b"# written by fieldcodec\n"
    corner = "%d//%d" if normals is not None else "%d"
    yield from _text("v %.17g %.17g %.17g\n", mesh.vertices)
    if normals is not None:
        yield from _text("vn %.6g %.6g %.6g\n", normals)
    repeats = 2 if normals is not None else 1
    yield from _text(f"f {corner} {corner} {corner}\n", np.repeat(mesh.triangles + 1, repeats, axis=1))


def _text(line: str, rows: np.ndarray) -> Iterator[bytes]:
    for part in _parts(len(rows)):
        numbers = rows[part]
        yield (line * len(numbers) % tuple(numbers.reshape(-1).tolist())).encode("ascii")


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, min(first + _ROWS_AT_ONCE, count)) for first in range(0, count, _ROWS_AT_ONCE))


def _merges_in_32_bits(vertices: np.ndarray) -> bool:
    """True where two different positions become one in 32 bits."""
    with np.errstate(over="ignore"):
        narrow = vertices.astype(np.float32)
    order = np.lexsort(narrow.T)
    same = (narrow[order[1:]] == narrow[order[:-1]]).all(axis=1)
    return bool((vertices[order[1:]][same] != vertices[order[:-1]][same]).any()) or not np.isfinite(narrow).all()
