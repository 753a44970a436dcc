"""Coded meshes: what comes back, the distances to it, and what damaged bytes do."""

import hashlib
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.errors import FormatError, InputError, MissingPackageError, UsageError
from fieldcodec.grid import masks
from fieldcodec.io.mesh import Mesh, read_mesh, voxelize
from fieldcodec.io.mesh.coded import decode_mesh, encode_mesh, leaf_distances_to, prepared
from fieldcodec.io.mesh.distance import leaf_distances
from fieldcodec.io.mesh.repair import with_holes_closed
from fieldcodec.io.mesh.sign import ColumnWinding, apply_column_signs

draco = pytest.importorskip("DracoPy", reason="DracoPy is not installed")

OCTAHEDRON = (
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]],
)


def ball(levels: int, radius: float = 1.0) -> Mesh:
    """An octahedron with its triangles split in four `levels` times, by operations that round alike everywhere."""
    corners = np.array(OCTAHEDRON[0], float)[np.array(OCTAHEDRON[1])]
    for _ in range(levels):
        a, b, c = np.moveaxis(corners, 1, 0)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        corners = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3, 3)
    points = corners.reshape(-1, 3)
    x, y, z = points.T
    points = points / np.sqrt(x * x + y * y + z * z)[:, None] * radius
    return Mesh.of(points, np.arange(len(points)).reshape(-1, 3))


def moved(mesh: Mesh, scale: tuple[float, float, float], shift: tuple[float, float, float]) -> Mesh:
    return Mesh(mesh.vertices * scale + shift, mesh.triangles)


def all_leaves(low: int, high: int) -> np.ndarray:
    """Origins of the leaves from low to high - 1, counted in leaves, along each axis."""
    return np.stack(np.meshgrid(*[np.arange(low, high) * 8] * 3, indexing="ij"), -1).reshape(-1, 3)


def voxels_of(origins: np.ndarray) -> np.ndarray:
    return (origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2)).reshape(-1, 3)


def random_chain(seed: int, snap: bool) -> Mesh:
    """Three tetrahedra of random corners, many of them on the very lines of voxels; closed as a chain."""
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-14, 14, (8, 3))
    if snap:
        vertices = np.rint(vertices * 2) / 2
    fours = [rng.choice(8, 4, replace=False) for _ in range(3)]
    faces = [[(t[0], t[2], t[1]), (t[0], t[1], t[3]), (t[1], t[2], t[3]), (t[0], t[3], t[2])] for t in fours]
    return Mesh(vertices, np.array(faces, np.int64).reshape(-1, 3))


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_vertices_come_back_on_the_lattice_that_was_asked_for(bits: int) -> None:
    mesh = moved(ball(4), (3.0, 2.0, 1.0), (-7.0, 0.1, 1e3))
    back = decode_mesh(encode_mesh(mesh, bits))
    low, high = mesh.bounds
    extent = np.max(high - low)
    steps = np.rint((back.vertices - low) / extent * (2**bits - 1))
    np.testing.assert_array_equal(back.vertices, low + steps * extent / float(2**bits - 1))
    wanted = np.unique(np.rint((mesh.vertices - low) / extent * (2**bits - 1)), axis=0)
    np.testing.assert_array_equal(np.unique(steps, axis=0), wanted)
    assert len(back.vertices) == len(wanted)
    assert with_holes_closed(back)[0] is back


def test_order_of_rows_changes_nothing() -> None:
    mesh = moved(ball(3), (1.0, 1.5, 1.0), (0.3, 0.2, 0.1))
    rng = np.random.default_rng(5)
    place = rng.permutation(len(mesh.vertices))
    vertices = np.empty_like(mesh.vertices)
    vertices[place] = mesh.vertices
    triangles = np.roll(place[mesh.triangles][rng.permutation(len(mesh.triangles))], 1, axis=1)
    data = encode_mesh(mesh, 11)
    assert encode_mesh(Mesh(vertices, triangles), 11) == data
    # nor does the order in which Draco hands its triangles out
    other = draco.encode(
        *_lattice_of(decode_mesh(data), 11), quantization_bits=11, compression_level=2,
        quantization_range=2047.0, quantization_origin=[0.0, 0.0, 0.0],
    )  # fmt: skip
    assert other != data[34:]
    one, two = decode_mesh(data), decode_mesh(data[:34] + other)
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.triangles, two.triangles)


def _lattice_of(mesh: Mesh, bits: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = mesh.bounds
    steps = np.rint((mesh.vertices - low) / np.max(high - low) * (2**bits - 1))
    return steps.astype(np.float32), mesh.triangles.astype(np.uint32)


def test_what_collapses_is_dropped_and_the_mesh_stays_closed() -> None:
    """A ball flattened to a fraction of a step: opposite triangles fall on one another, thin ones on a line."""
    mesh = moved(ball(4), (1.0, 1.0, 1e-5), (0.0, 0.0, 0.0))
    small = moved(ball(2), (1e-5, 1e-5, 1e-5), (0.5, 0.5, 0.5))
    both = Mesh.of(
        np.concatenate([mesh.vertices, small.vertices]),
        np.concatenate([mesh.triangles, small.triangles + len(mesh.vertices)]),
    )
    back = decode_mesh(encode_mesh(both, 9))
    assert len(back.triangles) < len(both.triangles)
    a, b, c = back.triangles.T
    assert np.all((a < b) & (a < c) & (b != c))
    assert set(np.unique(back.triangles)) == set(range(len(back.vertices)))
    assert with_holes_closed(back)[0] is back


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(9, 16), num=st.integers(1, 60))
def test_any_triangles_come_back(seed: int, bits: int, num: int) -> None:
    """Edges of many triangles, doubled triangles, loose ones: no manifold."""
    rng = np.random.default_rng(seed)
    vertices = rng.integers(0, 4, (20, 3))
    mesh = Mesh.of(vertices, rng.integers(0, 20, (num, 3)))
    if not len(mesh.triangles):
        return
    back = decode_mesh(encode_mesh(mesh, bits))
    step = np.ptp(mesh.vertices, axis=0).max() / (2**bits - 1)
    wanted = np.sort(mesh.vertices[mesh.triangles].sum(axis=1) @ [1.0, 100.0, 10000.0])
    found = np.sort(back.vertices[back.triangles].sum(axis=1) @ [1.0, 100.0, 10000.0])
    np.testing.assert_allclose(found, wanted, atol=3 * 10101 * step / 2)


def test_more_bits_are_more_bytes_and_less_error() -> None:
    mesh = moved(ball(4), (50.0, 50.0, 50.0), (0.4, 0.3, 0.2))
    origins = voxelize(mesh, voxel_size=1.0).topology.leaf_origins
    exact = leaf_distances_to(mesh, origins)
    sizes, errors = [], []
    for bits in (10, 12, 14, 16):
        data = encode_mesh(mesh, bits)
        sizes.append(len(data))
        errors.append(np.abs(leaf_distances_to(decode_mesh(data), origins) - exact).max())
        assert errors[-1] <= 100 / (2**bits - 1) * 3**0.5 / 2 + 1e-5
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("hole", [False, True], ids=["closed", "with a hole"])
def test_distances_are_those_that_voxelize_stores(hole: bool) -> None:
    mesh = moved(ball(4), (1.0, 0.7, 0.9), (0.1, 2.0, -0.3))
    if hole:
        mesh = Mesh(mesh.vertices, mesh.triangles[mesh.vertices[mesh.triangles][:, :, 2].max(axis=1) < 0.5])
    grid = voxelize(mesh, resolution=80, half_width=3.0)
    size = grid.transform.voxel_size[0]
    whole = prepared(mesh)
    assert whole is not None
    rows = np.random.default_rng(0).permutation(grid.topology.num_leaves)
    in_voxels = Mesh(whole.vertices / size, whole.triangles)
    found = leaf_distances_to(in_voxels, grid.topology.leaf_origins[rows])
    stored, active = grid.leaf_values[rows, :, 0], grid.topology.leaf_active_bits[rows]
    np.testing.assert_array_equal(np.abs(found) < 3.0, active)
    np.testing.assert_array_equal((found * np.float32(size))[active], stored[active])
    np.testing.assert_array_equal(np.signbit(found), np.signbit(stored))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), snap=st.booleans(), threads=st.integers(1, 3))
def test_signs_and_distances_of_any_closed_chain(seed: int, snap: bool, threads: int) -> None:
    mesh = random_chain(seed, snap)
    origins = np.random.default_rng(seed).permutation(all_leaves(-3, 3))[:150]
    found = leaf_distances_to(mesh, origins, reach=6.0, threads=threads)
    voxels = voxels_of(origins)
    inside = ColumnWinding(mesh.vertices, mesh.triangles).is_inside(voxels).reshape(found.shape)
    np.testing.assert_array_equal(found < 0, inside & (found != 0))
    some = np.random.default_rng(1).choice(len(voxels), 300, replace=False)
    exact = np.minimum(_distance(voxels[some], mesh), 6.0)
    np.testing.assert_allclose(np.abs(found.reshape(-1)[some]), exact, atol=1e-5)


def _distance(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """By another way than the code's: the least over a dense sample of barycentric planes and edges."""
    best = np.full(len(points), np.inf)
    for a, b, c in mesh.vertices[mesh.triangles]:
        for u, v in ((a, b), (b, c), (c, a)):
            share = np.clip((points - u) @ (v - u) / max((v - u) @ (v - u), 1e-300), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - u - share[:, None] * (v - u), axis=1))
        frame = np.stack([b - a, c - a], axis=1)
        weights = np.linalg.lstsq(frame, (points - a).T, rcond=None)[0]
        over = (weights >= 0).all(axis=0) & (weights.sum(axis=0) <= 1)
        best = np.where(over, np.minimum(best, np.linalg.norm(points - a - (frame @ weights).T, axis=1)), best)
    return best


def test_large_triangles_and_leaves_far_apart() -> None:
    mesh = moved(ball(0), (3000.0, 3000.0, 3000.0), (0.5, 0.25, 0.125))
    origins = np.array([[1000, 1000, 960], [-3000, 0, 0], [1 << 22, 0, -(1 << 22)], [0, 0, 0]])
    found = leaf_distances_to(mesh, origins)
    exact = (3000 - np.abs(voxels_of(origins) - (0.5, 0.25, 0.125)).sum(axis=1).reshape(found.shape)) / 3**0.5
    np.testing.assert_allclose(found[0], np.clip(-exact[0], -4.5, 4.5), atol=1e-5)
    assert np.all(found[2] == 4.5)
    assert np.all(found[3] == -4.5)
    assert found[1].min() < 0 < found[1].max()


def test_no_bit_depends_on_the_machine() -> None:
    """These digests hold on every processor; a compiler that fuses multiplications with additions breaks them."""
    mesh = moved(ball(3), (21.3, 17.7, 19.1), (0.37, -0.73, 0.11))
    back = decode_mesh(encode_mesh(mesh, 10))
    digest = hashlib.sha256(back.vertices.astype("<f8").tobytes() + back.triangles.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "f4ce069c068bb5f9"
    origins = all_leaves(-4, 4)
    for threads in (1, 2, 5):
        found = leaf_distances_to(back, origins, threads=threads)
        assert hashlib.sha256(found.astype("<f4").tobytes()).hexdigest()[:16] == "64d26af0e3136066"


def test_nothing_to_do() -> None:
    mesh = ball(0)
    assert leaf_distances_to(mesh, np.zeros((0, 3), np.int32)).shape == (0, 512)
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    assert np.all(leaf_distances_to(empty, np.zeros((1, 3), np.int32), reach=2.0) == 2.0)


def test_prepared_closes_or_declines() -> None:
    whole = ball(3)
    assert prepared(whole) is whole
    torn = prepared(Mesh(whole.vertices, whole.triangles[5:]))
    assert torn is not None
    assert with_holes_closed(torn)[0] is torn
    corners = whole.vertices[whole.triangles].reshape(-1, 3)
    loose = Mesh(corners, np.arange(len(corners)).reshape(-1, 3))
    assert prepared(loose) is None


def test_what_cannot_be_coded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for bits in (8, 17):
        with pytest.raises(UsageError, match=f"9 to 16 bits a coordinate, not {bits}"):
            encode_mesh(ball(1), bits)
    with pytest.raises(InputError, match="has 0 triangles"):
        encode_mesh(Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), 12)
    dots = [moved(ball(0), (1e-6,) * 3, (x, 0.0, 0.0)) for x in (0.0, 1.0)]
    apart = Mesh.of(
        np.concatenate([dot.vertices for dot in dots]), np.concatenate([dots[0].triangles, dots[1].triangles + 6])
    )
    with pytest.raises(InputError, match="fall on single points"):
        encode_mesh(apart, 9)
    monkeypatch.setattr(draco, "encode", lambda *_, **__: b"DRACO")
    with pytest.raises(InputError, match="cannot code this mesh"):
        encode_mesh(ball(1), 12)


def test_draco_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = draco.decode

    class Less:
        def __init__(self, data: bytes) -> None:
            self.points, self.faces = decode(data).points, decode(data).faces[1:]

    monkeypatch.setattr(draco, "decode", Less)
    with pytest.raises(InputError, match="does not give back the triangles"):
        encode_mesh(ball(1), 12)


def test_without_draco(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_mesh(ball(1), 12)
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    for call in (lambda: encode_mesh(ball(1), 12), lambda: decode_mesh(data)):
        with pytest.raises(MissingPackageError, match=r"pip install 'fieldcodec\[mesh\]'"):
            call()


def header(version: int = 1, bits: int = 12, place: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)) -> bytes:
    return struct.pack("<BB4d", version, bits, *place)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "1 bytes are announced"),
        (lambda data: data[:20], "bytes are announced"),
        (lambda data: data[:34], "no mesh coded"),
        (lambda data: header(version=2) + data[34:], "version 2 is not known"),
        (lambda data: header(bits=8) + data[34:], "found 8 bits"),
        (lambda data: header(bits=9) + data[34:], "off the lattice of 9 bits"),
        (lambda data: header(place=(0.0, float("nan"), 0.0, 1.0)) + data[34:], "lattice cannot be at"),
        (lambda data: header(place=(0.0, 0.0, 1e300, 1.0)) + data[34:], "lattice cannot be at"),
        (lambda data: header(place=(0.0, 0.0, 0.0, float("inf"))) + data[34:], "lattice cannot be at"),
        (lambda data: header(place=(0.0, 0.0, 0.0, 0.0)) + data[34:], "lattice cannot be at"),
        (lambda data: data[:41] + b"\0" + data[42:], "no mesh coded"),
        (lambda data: data[:46] + b"\xff\xff\xff\x7f" + data[50:], "are believable"),
        (lambda data: data[:-9], "cannot decode"),
        (lambda data: header() + _foreign(True), "off the lattice"),
        (lambda data: header() + _foreign(False), "no mesh coded"),
    ],
)
def test_damage_is_named(damage, message: str) -> None:  # type: ignore[no-untyped-def]
    data = encode_mesh(ball(2), 12)
    assert data[34:39] == b"DRACO"
    with pytest.raises(FormatError, match=message):
        decode_mesh(damage(data))


def _foreign(with_faces: bool) -> bytes:
    mesh = ball(1)
    return draco.encode(mesh.vertices.astype(np.float32), mesh.triangles.astype(np.uint32) if with_faces else None)


def test_more_triangles_than_expected_are_damage() -> None:
    data = encode_mesh(ball(2), 12)
    assert len(decode_mesh(data, max_triangles=128).triangles) == 128
    with pytest.raises(FormatError, match="at most 127 are believable"):
        decode_mesh(data, max_triangles=127)


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), cut=st.booleans())
def test_any_damage_is_a_format_error_or_a_mesh(seed: int, cut: bool) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(encode_mesh(ball(2), 12))
    for place in rng.integers(0, len(data), rng.integers(1, 4)):
        data[place] = rng.integers(256)
    if cut:
        del data[rng.integers(len(data)) :]
    try:
        mesh = decode_mesh(bytes(data))
        leaf_distances_to(mesh, all_leaves(-1, 1))
    except FormatError:
        return
    assert np.isfinite(mesh.vertices).all()
    assert 0 <= mesh.triangles.min() <= mesh.triangles.max() < len(mesh.vertices)


def test_a_mesh_beyond_all_coordinates_is_damage() -> None:
    with pytest.raises(FormatError, match="voxels from the origin"):
        leaf_distances_to(moved(ball(1), (1e9,) * 3, (0.0,) * 3), all_leaves(0, 1))
    with pytest.raises(FormatError, match="voxels from the origin"):
        leaf_distances_to(Mesh(np.full((3, 3), np.nan), np.array([[0, 1, 2]])), all_leaves(0, 1))


def test_work_out_of_all_proportion_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sheet upon sheet through every leaf: few bytes, but no end of triangles near each voxel."""
    sheets = [moved(ball(0), (200.0, 200.0, 200.0), (i * 1e-3, 0.0, 0.0)) for i in range(200)]
    mesh = Mesh(
        np.concatenate([sheet.vertices for sheet in sheets]),
        np.concatenate([sheet.triangles + 6 * i for i, sheet in enumerate(sheets)]),
    )
    corners = mesh.vertices[mesh.triangles].reshape(-1, 9)
    origins = np.array([[64, 64, 64]])
    monkeypatch.setattr("fieldcodec.io.mesh.distance._TESTS_PER_NODE", 100)
    assert leaf_distances(corners, origins, 3.0).shape == (1, 512)
    with pytest.raises(FormatError, match="tests of points against triangles"):
        leaf_distances(corners, origins, 3.0, tests_per_leaf=1000)
    distances = np.ones((1, 512), np.float32)
    with pytest.raises(FormatError, match="crosses columns of voxels more than 100 times"):
        apply_column_signs(distances, origins, mesh.vertices, mesh.triangles, crossings_per_column=100)


@pytest.mark.skipif("FIELDCODEC_DATA" not in os.environ, reason="FIELDCODEC_DATA does not name the folder of real data")
@pytest.mark.parametrize("name", ["bunny_closed.obj.xz", "bunny.ply.xz"])
def test_the_bunny_in_few_bytes(name: str) -> None:
    pytest.importorskip("trimesh", reason="trimesh is not installed")
    path = Path(os.environ["FIELDCODEC_DATA"]) / "meshes_scans" / name
    if not path.exists():
        pytest.skip(f"meshes_scans/{name} is not there")
    mesh = prepared(read_mesh(path))
    assert mesh is not None
    grid = voxelize(mesh, resolution=128)
    size = grid.transform.voxel_size[0]
    data = encode_mesh(Mesh(mesh.vertices / size, mesh.triangles), 11)
    assert len(data) < 0.7 * len(mesh.triangles)
    found = leaf_distances_to(decode_mesh(data), grid.topology.leaf_origins)
    active = grid.topology.leaf_active_bits
    errors = np.abs(found - grid.leaf_values[..., 0] / np.float32(size))[active]
    assert errors.max() < 0.06
    assert errors.mean() < 0.0125
