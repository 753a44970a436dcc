"""Distances of voxels to a coded mesh.

Draco's own bytes are taken apart by its library; what is made of them follows docs/format-coders.md.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.leaf_masks import Origin
from fieldcodec.testing.oracle.reader import Reader

_REACH = 4.5
_Point = tuple[float, float, float]
_Triangle = tuple[int, int, int]


def distances_to_mesh(data: bytes, origins: Sequence[Origin]) -> np.ndarray:
    """[leaves, 512] float32, negative inside."""
    points, triangles = _read_mesh(data)
    steps = np.array(list(np.ndindex(8, 8, 8)))
    voxels = np.array(origins, np.int64).reshape(-1, 1, 3) + steps
    squares = np.full(voxels.shape[:2], _REACH * _REACH)
    for triangle in triangles:
        a, b, c = (np.array(points[i]) for i in triangle)
        squares = np.minimum(squares, _squared_distances(a, b, c, voxels))
    distances = np.sqrt(squares).astype(np.float32)
    winding = _winding_numbers(points, triangles, origins)
    return np.where(winding != 0, -distances, distances)


def _read_mesh(data: bytes) -> tuple[list[_Point], list[_Triangle]]:
    """Vertices in voxels, in their order, and triangles that begin with their first vertex."""
    reader = Reader(data)
    version, bits = reader.byte(), reader.byte()
    *origin, length = struct.unpack("<4d", reader.take(32))
    if version != 1 or not 9 <= bits <= 16 or not all(abs(x) <= 1e15 for x in (*origin, length)) or not length > 0:
        raise FormatError("the mesh is out of its limits")
    positions, corners = _draco(data[34:])
    if any(x != int(x) or not 0 <= x < 1 << bits for position in positions for x in position):
        raise FormatError("a position of the mesh is no integer")
    triangles = []
    for triangle in corners:
        places = [positions[i] for i in triangle]
        if len(set(places)) == 3:
            first = min(range(3), key=lambda i: places[i][::-1])  # by z, then y, then x
            triangles.append(places[first:] + places[:first])
    order = sorted({place for triangle in triangles for place in triangle}, key=lambda place: place[::-1])
    number = {place: i for i, place in enumerate(order)}
    last = float(2**bits - 1)
    points = [tuple(low + (x * length) / last for low, x in zip(origin, place, strict=True)) for place in order]
    return points, [(number[a], number[b], number[c]) for a, b, c in triangles]


def _draco(data: bytes) -> tuple[list[_Point], list[_Triangle]]:
    import DracoPy  # not needed for other files

    if data[:5] != b"DRACO" or data[7:11] != b"\x01\x01\0\0":
        raise FormatError("this is no mesh coded by Draco's edgebreaker")
    try:
        mesh: Any = DracoPy.decode(data)
        return [tuple(row) for row in mesh.points.tolist()], [tuple(row) for row in mesh.faces.tolist()]
    except Exception as error:  # it raises whatever it likes
        raise FormatError(f"Draco cannot decode a mesh: {error}") from error


def _dot(a: np.ndarray, b: np.ndarray) -> Any:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _inverse(x: float) -> float:
    return 1 / x if x > 0 else 0.0


def _squared_distances(corner: np.ndarray, second: np.ndarray, third: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Of points [..., 3] to a triangle; every operation in the order of the specification."""
    ab, ac = second - corner, third - corner
    d00, d01, d11 = float(_dot(ab, ab)), float(_dot(ab, ac)), float(_dot(ac, ac))
    normal = np.array([
        ab[1] * ac[2] - ab[2] * ac[1], ab[2] * ac[0] - ab[0] * ac[2], ab[0] * ac[1] - ab[1] * ac[0],
    ])  # fmt: skip
    n2, longest = float(_dot(normal, normal)), max(d00, d11)
    solid = n2 > 1e-12 * longest * longest
    inverse = 1 / n2 if solid else 0.0
    a = points - corner
    e0, e1, height = _dot(a, ab), _dot(a, ac), _dot(a, normal)

    def to_edge(start: np.ndarray, edge: np.ndarray, along: np.ndarray, scale: float) -> Any:
        gap = start - np.clip(along * scale, 0.0, 1.0)[..., None] * edge
        return _dot(gap, gap)

    b, c = a - ab, ac - ab
    least = np.minimum(to_edge(a, ab, e0, _inverse(d00)), to_edge(a, ac, e1, _inverse(d11)))
    least = np.minimum(least, to_edge(b, c, _dot(b, c), _inverse(d00 - 2 * d01 + d11)))
    if not solid:
        return np.asarray(least)
    v, w = (d11 * e0 - d01 * e1) * inverse, (d00 * e1 - d01 * e0) * inverse
    return np.where((v >= 0) & (w >= 0) & (v + w <= 1), height * height * inverse, least)


def _winding_numbers(points: Sequence[_Point], triangles: Sequence[_Triangle], origins: Sequence[Origin]) -> np.ndarray:
    """[leaves, 512]"""
    columns: dict[tuple[int, int], list[int]] = {}  # leaves by y and z, in rising x
    for leaf in sorted(range(len(origins)), key=lambda leaf: origins[leaf][0]):
        columns.setdefault((origins[leaf][1] >> 3, origins[leaf][2] >> 3), []).append(leaf)
    result = np.zeros((len(origins), 8, 8, 8), np.int64)
    for triangle in triangles:
        for j, k, x, sign in _crossings(points, triangle):
            leaves = columns.get((j >> 3, k >> 3), [])
            behind = [leaf for leaf in leaves if origins[leaf][0] + 7 >= x]
            if behind:
                taken = math.ceil(max(x - origins[behind[0]][0], 0.0))
                result[behind[0], taken:, j & 7, k & 7] += sign
                result[behind[1:], :, j & 7, k & 7] += sign
    return result.reshape(len(origins), 512)


def _crossings(points: Sequence[_Point], triangle: _Triangle) -> list[tuple[int, int, float, int]]:
    """(j, k, x, sign) of each column of voxels that crosses a triangle."""
    found = []
    heights = [points[i][1] for i in triangle]
    for j in range(math.ceil(min(heights)), math.ceil(max(heights))):
        cut = {}
        for start, end in zip(triangle, triangle[1:] + triangle[:1], strict=True):
            if (points[start][1] > j) != (points[end][1] > j):
                cut[points[end][1] > j] = _cut(points[min(start, end)], points[max(start, end)], j)
        (zu, xu), (zd, xd) = cut[True], cut[False]
        for k in range(math.ceil(min(zu, zd)), math.ceil(max(zu, zd))):
            share = (k - zd) / (zu - zd)
            found.append((j, k, xd + share * (xu - xd), 1 if zu > zd else -1))
    return found


def _cut(a: _Point, b: _Point, j: int) -> tuple[float, float]:
    """(z, x) of an edge at y = j."""
    share = (j - a[1]) / (b[1] - a[1])
    return a[2] + share * (b[2] - a[2]), a[0] + share * (b[0] - a[0])
