"""Mesh files written: binary `.ply` and `.obj`, with normals and colours where there are some; and points alone.

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
_COLOURS = ("red", "green", "blue")
_ROWS_AT_ONCE = 1 << 16
_MOST_VERTICES = 2**31 - 1  # a PLY's rows are int32


def write_mesh(
    path: str | os.PathLike[str],
    mesh: Mesh,
    normals: np.ndarray | None = None,
    colours: np.ndarray | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a mesh, with the order of its vertices and triangles kept.

    A `.ply` is binary, little endian, and holds positions in 32 bits unless two vertices would then be equal. Colours
    of an `.obj` stand behind the positions, in 0 .. 1, as most programs read them.

    Args:
        path: ends in `.ply` or `.obj`.
        normals: [n, 3], one to a vertex.
        colours: [n, 3] uint8 (sRGB), one to a vertex.

    Raises:
        UsageError: the suffix is another one, or there is not one normal or colour to each vertex.
        OutputExistsError: `path` exists and `overwrite` is False.
        InputError: it cannot be written.
    """
    check_mesh_suffix(path)
    _check(mesh.vertices, normals, colours)
    is_ply = Path(path).suffix.lower() == ".ply"
    content = _ply(mesh.vertices, mesh.triangles, normals, colours) if is_ply else _obj(mesh, normals, colours)
    write_atomically(path, content, overwrite=overwrite)


def write_points(
    path: str | os.PathLike[str],
    points: np.ndarray,
    normals: np.ndarray | None = None,
    colours: np.ndarray | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write points [n, 3] without triangles as a binary `.ply`; arguments and errors as of `write_mesh`."""
    if Path(path).suffix.lower() != ".ply":
        raise UsageError(f"{Path(path).name} does not end in .ply, the only file of points that is written")
    points = np.asarray(points, np.float64)
    _check(points, normals, colours)
    write_atomically(path, _ply(points, None, normals, colours), overwrite=overwrite)


def _check(vertices: np.ndarray, normals: np.ndarray | None, colours: np.ndarray | None) -> None:
    for name, rows in (("normals", normals), ("colours", colours)):
        if rows is not None and np.shape(rows) != vertices.shape:
            raise UsageError(
                f"{name} of shape {np.shape(rows)} do not fit vertices of shape {vertices.shape}; give one each"
            )
    if colours is not None and colours.dtype != np.uint8:
        raise UsageError(f"colours are of type {colours.dtype}; give them as uint8, 0 to 255")
    if len(vertices) > _MOST_VERTICES:
        raise InputError(f"the mesh has {len(vertices)} vertices; a file can hold {_MOST_VERTICES}")


def check_mesh_suffix(path: str | os.PathLike[str]) -> None:
    """Raise UsageError unless `write_mesh` knows the suffix."""
    if Path(path).suffix.lower() not in WRITTEN_SUFFIXES:
        raise UsageError(f"{Path(path).name} does not end in one of {', '.join(WRITTEN_SUFFIXES)}, the meshes written")


def _ply(
    vertices: np.ndarray, triangles: np.ndarray | None, normals: np.ndarray | None, colours: np.ndarray | None
) -> Iterator[bytes]:
    wide = _merges_in_32_bits(vertices)
    fields: list[tuple[str, str]] = [(axis, "<f8" if wide else "<f4") for axis in "xyz"]
    columns = [vertices]
    if normals is not None:
        fields += [(f"n{axis}", "<f4") for axis in "xyz"]
        columns.append(normals)
    if colours is not None:
        fields += [(name, "u1") for name in _COLOURS]
        columns.append(colours)
    words = {"<f8": "double", "<f4": "float", "u1": "uchar"}
    lines = [
        "ply", "format binary_little_endian 1.0", "comment written by fieldcodec",
        f"element vertex {len(vertices)}", *(f"property {words[kind]} {name}" for name, kind in fields),
    ]  # fmt: skip
    if triangles is not None:
        lines += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
    yield "\n".join([*lines, "end_header", ""]).encode("ascii")
    for part in _parts(len(vertices)):
        rows = np.empty(len(vertices[part]), fields)
        for column, (name, _) in enumerate(fields):
            rows[name] = columns[column // 3][part, column % 3]
        yield rows.tobytes()
    if triangles is None:
        return
    for part in _parts(len(triangles)):
        faces = np.empty(len(triangles[part]), [("count", "u1"), ("corners", "<i4", 3)])
        faces["count"], faces["corners"] = 3, triangles[part]
        yield faces.tobytes()


def _obj(mesh: Mesh, normals: np.ndarray | None, colours: np.ndarray | None) -> Iterator[bytes]:
    yield b"# written by fieldcodec\n"
    corner = "%d//%d" if normals is not None else "%d"
    if colours is None:
        yield from _text("v %.17g %.17g %.17g\n", mesh.vertices)
    else:
        yield from _text("v %.17g %.17g %.17g %.4g %.4g %.4g\n", np.hstack([mesh.vertices, colours / 255]))
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
