"""Meshes as few bytes, and the distances of voxels to what is decoded of them.

A level set that came from a mesh can be stored as that mesh: positions are rounded to a lattice, Draco codes
the integers and the connectivity, and decoding takes the distances to the triangles again.

    Mesh -> prepared (turned, closed) -> encode_mesh -> bytes -> decode_mesh -> leaf_distances_to -> values

Corrections are coded on top, so the decoded distances must be the same bits everywhere. Draco sees integers as
floats that are exact; positions are computed here from them; rows are sorted, so that neither Draco's version nor its
order of traversal shows; and what is coded is closed, so that decoding mends nothing.

Layout of the bytes (little endian): version (1), bits (1), origin x, y, z and range (4 float64), Draco's stream.
"""

import struct
from typing import Any

import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.errors import FormatError, InputError, MissingPackageError, UsageError
from fieldcodec.io.mesh.distance import MAX_COORDINATE, leaf_distances
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.repair import oriented, with_holes_closed
from fieldcodec.io.mesh.sign import apply_column_signs

MIN_BITS, MAX_BITS = 9, 16
MAX_TRIANGLES = 1 << 25
DEFAULT_REACH = 4.5  # voxels: half the usual width of a band and what may be asked of its surroundings

_VERSION = 1
_WHAT = "coded mesh"
_PLACE = struct.Struct("<4d")
_LARGEST = 1e15  # of an origin or range: far beyond any use, and safe from overflow in what is computed of it
_LEVEL = 10  # Draco's smallest files
_TESTS_PER_LEAF = 1 << 17  # some ms; ten times what a triangle to every two voxels of the surface takes
_CROSSINGS_PER_COLUMN = 1 << 9
_TRIANGLES_PER_BYTE = 4096  # the most regular of meshes have some 1000
_DRACO_PREFIX = (b"DRACO", slice(7, 11), b"\x01\x01\x00\x00")  # a mesh, by edgebreaker, without metadata


def prepared(mesh: Mesh) -> Mesh | None:
    """The mesh turned consistently and with its holes closed, as `voxelize` sees it; what `encode_mesh` is to get.

    Returns:
        None where the triangles hang together too loosely to be closed: such a mesh cannot be coded.

    Raises:
        MissingPackageError: the mesh is turned inconsistently and libigl is not installed.
    """
    closed, is_closed = with_holes_closed(oriented(mesh))
    return closed if is_closed else None


def encode_mesh(mesh: Mesh, bits: int) -> bytes:
    """A mesh with its positions rounded to a lattice of 2^bits points along its longest side.

    Vertices that fall on one point are merged, and triangles with two corners on one point dropped; a closed mesh
    stays closed. Which vertex or triangle comes first is not kept.

    Args:
        bits: 9 to 16.

    Raises:
        UsageError: `bits` is out of range.
        InputError: nothing is left of the mesh, or it is beyond what Draco can code.
        MissingPackageError: DracoPy is not installed.
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        raise UsageError(f"a coded mesh has {MIN_BITS} to {MAX_BITS} bits a coordinate, not {bits}")
    if not 0 < len(mesh.triangles) <= MAX_TRIANGLES:
        raise InputError(f"the mesh has {len(mesh.triangles)} triangles; from 1 to {MAX_TRIANGLES} can be coded")
    low, high = mesh.bounds
    extent, largest = float(np.max(high - low)), float(2**bits - 1)
    steps = np.clip(np.rint((mesh.vertices - low) / extent * largest), 0.0, largest)
    lattice = _canonical(Mesh.of(steps, mesh.triangles))
    if not len(lattice.triangles):
        raise InputError(f"at {bits} bits all triangles of the mesh fall on single points; use more bits")
    writer = ByteWriter()
    writer.byte(_VERSION)
    writer.byte(bits)
    writer.raw(_PLACE.pack(*low.tolist(), extent))
    writer.raw(_draco_stream(lattice, bits))
    return writer.getvalue()


def decode_mesh(data: bytes, *, max_triangles: int = MAX_TRIANGLES) -> Mesh:
    """What `encode_mesh` was given, rounded: equal bytes give equal arrays on every machine.

    Args:
        max_triangles: more are taken for damage, before memory is asked for.

    Raises:
        FormatError: the bytes are damaged or too new.
        MissingPackageError: DracoPy is not installed.
    """
    reader = ByteReader(data, _WHAT)
    version, bits = reader.byte(), reader.byte()
    if version != _VERSION:
        raise FormatError(
            f"{_WHAT}: version {version} is not known, only {_VERSION} is; update fieldcodec or check the file"
        )
    if not MIN_BITS <= bits <= MAX_BITS:
        raise reader.error(f"found {bits} bits a coordinate where {MIN_BITS} to {MAX_BITS} are allowed")
    *low, extent = _PLACE.unpack(reader.raw(_PLACE.size))
    if not (all(abs(number) <= _LARGEST for number in (*low, extent)) and extent > 0.0):
        raise reader.error(f"the lattice cannot be at {low} and {extent} long")
    lattice = _draco_lattice(data[2 + _PLACE.size :], bits, max_triangles, reader)
    vertices = np.array(low) + lattice.vertices * extent / float(2**bits - 1)
    return Mesh(vertices, lattice.triangles)


def leaf_distances_to(
    mesh: Mesh, leaf_origins: np.ndarray, *, reach: float = DEFAULT_REACH, threads: int | None = None
) -> np.ndarray:
    """Signed distance of each voxel of some leaves to a closed mesh, negative inside; the same bits everywhere.

    Where the mesh is that of `voxelize`, distances below `reach` are equal to its, and signs everywhere.

    Args:
        mesh: closed (see `prepared`), its vertices in index space: voxel (i, j, k) is the point (i, j, k).
        leaf_origins: [n, 3] integers, distinct leaf origins in any order.
        reach: in voxels; a larger distance is given as +-reach.
        threads: None means one per processor.

    Returns:
        [n, 512] float32 in voxels, in the order of `fieldcodec.grid.masks`.

    Raises:
        FormatError: a vertex is beyond the largest index coordinate, or the triangles are so many for these leaves
            that no encoder takes the mesh; an encoder that meets this stores the volume in another way.
    """
    farthest = float(np.max(np.abs(mesh.vertices), initial=0.0))
    if not farthest <= MAX_COORDINATE:
        raise FormatError(
            f"{_WHAT}: a vertex is {farthest:.3g} voxels from the origin, but {MAX_COORDINATE} is the largest "
            "coordinate; the file is damaged, get it again from its source"
        )
    corners = mesh.vertices[mesh.triangles].reshape(-1, 9)
    distances = leaf_distances(corners, leaf_origins, reach, tests_per_leaf=_TESTS_PER_LEAF, threads=threads)
    apply_column_signs(
        distances, leaf_origins, mesh.vertices, mesh.triangles,
        crossings_per_column=_CROSSINGS_PER_COLUMN, threads=threads,
    )  # fmt: skip
    return distances


def _draco_stream(lattice: Mesh, bits: int) -> bytes:
    """What Draco makes of a mesh with vertices in 0..2^bits - 1, checked to give the same mesh back."""
    draco = _draco()
    points, triangles = lattice.vertices.astype(np.float32), lattice.triangles.astype(np.uint32)
    try:
        data = draco.encode(
            points, triangles, compression_level=_LEVEL,
            quantization_bits=bits, quantization_range=float(2**bits - 1), quantization_origin=[0.0, 0.0, 0.0],
        )  # fmt: skip
        again = _draco_lattice(data, bits, MAX_TRIANGLES, ByteReader(data, _WHAT))
    except Exception as error:  # it raises whatever it likes
        raise InputError(f"Draco cannot code this mesh: {type(error).__name__}: {error}") from error
    if not (np.array_equal(again.vertices, lattice.vertices) and np.array_equal(again.triangles, lattice.triangles)):
        raise InputError("Draco does not give back the triangles of this mesh; store the volume in another way")
    return data


def _draco_lattice(data: bytes, bits: int, max_triangles: int, reader: ByteReader) -> Mesh:
    """The mesh of a Draco stream, its vertices integers in 0..2^bits - 1, in canonical order."""
    _check_counts(data, max_triangles, reader)
    draco = _draco()
    try:
        decoded = draco.decode(data)
        points, triangles = np.asarray(decoded.points, np.float64), np.asarray(decoded.faces, np.int64)
    except Exception as error:  # it raises whatever it likes
        raise reader.error(f"Draco cannot decode it: {type(error).__name__}: {error}") from error
    if points.ndim != 2 or points.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise reader.error("Draco decoded something else than triangles in space")
    if not 0 < len(triangles) <= max_triangles or not 0 <= triangles.min() <= triangles.max() < len(points):
        raise reader.error("a triangle has a corner that does not exist, or there is none")
    if not np.all((points == np.rint(points)) & (points >= 0.0) & (points <= 2**bits - 1)):
        raise reader.error(f"a vertex is off the lattice of {bits} bits")
    return _canonical(Mesh.of(points, triangles))


def _check_counts(data: bytes, max_triangles: int, reader: ByteReader) -> None:
    """Reads what a Draco stream announces, for Draco to be trusted with it."""
    name, where, kind = _DRACO_PREFIX
    if not data.startswith(name) or data[where] != kind:
        raise reader.error("this is no mesh coded by Draco's edgebreaker")
    counts = ByteReader(data[12:], _WHAT)
    vertices, triangles = counts.varint(), counts.varint()
    allowed = min(max_triangles, _TRIANGLES_PER_BYTE * len(data))
    if triangles > allowed or vertices > 3 * triangles:
        raise reader.error(f"{vertices} vertices and {triangles} triangles where at most {allowed} are believable")


def _canonical(mesh: Mesh) -> Mesh:
    """The triangles turned so that the lowest vertex comes first, and sorted; vertices are sorted by `Mesh.of`."""
    first = np.argmin(mesh.triangles, axis=1)[:, None]
    turned = np.take_along_axis(mesh.triangles, (first + np.arange(3)) % 3, axis=1)
    used, turned = np.unique(turned, return_inverse=True)  # those of dropped triangles only are dropped too
    turned = turned.reshape(-1, 3)
    return Mesh(mesh.vertices[used], np.ascontiguousarray(turned[np.lexsort(turned.T[::-1])]))


def _draco() -> Any:
    try:
        import DracoPy
    except ImportError as error:
        raise MissingPackageError(
            "coded meshes need the package DracoPy, which is not installed; run: pip install 'fieldcodec[mesh]'"
        ) from error
    return DracoPy
