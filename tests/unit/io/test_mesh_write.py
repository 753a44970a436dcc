"""Mesh files written and read again."""

from pathlib import Path

import numpy as np
import pytest

from fieldcodec.errors import InputError, OutputExistsError, UsageError
from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.io.mesh import Mesh, read_mesh, voxelize
from fieldcodec.io.mesh.distance import leaf_distances
from fieldcodec.io.mesh.write import write_mesh, write_points

trimesh = pytest.importorskip("trimesh")

TETRAHEDRON = Mesh(
    np.array([[0.1, 0, 0], [1, 0.2, 0], [0, 1, 0.3], [0, 0, 1.0]]),
    np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]),
)
NORMALS = np.array([[-0.6, -0.8, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
@pytest.mark.parametrize("has_normals", [True, False])
def test_what_is_written_is_read(suffix: str, has_normals: bool, tmp_path: Path) -> None:
    path = tmp_path / f"tetrahedron{suffix}"
    write_mesh(path, TETRAHEDRON, NORMALS if has_normals else None)
    loaded = trimesh.load_mesh(path, process=False)
    np.testing.assert_allclose(loaded.vertices, TETRAHEDRON.vertices, atol=1e-7)
    np.testing.assert_array_equal(loaded.faces, TETRAHEDRON.triangles)
    assert len(read_mesh(path).triangles) == 4


COLOURS = np.array([[255, 0, 0], [0, 128, 0], [0, 0, 7], [10, 20, 30]], np.uint8)


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
@pytest.mark.parametrize("has_normals", [True, False])
def test_colours_are_read_as_they_were_written(suffix: str, has_normals: bool, tmp_path: Path) -> None:
    path = tmp_path / f"coloured{suffix}"
    write_mesh(path, TETRAHEDRON, NORMALS if has_normals else None, COLOURS)
    loaded = trimesh.load_mesh(path, process=False)
    np.testing.assert_allclose(loaded.vertices, TETRAHEDRON.vertices, atol=1e-7)
    np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], COLOURS)


def test_points_without_triangles(tmp_path: Path) -> None:
    path = tmp_path / "points.ply"
    write_points(path, TETRAHEDRON.vertices, NORMALS, COLOURS)
    assert b"element face" not in path.read_bytes()
    loaded = trimesh.load(path)
    np.testing.assert_allclose(loaded.vertices, TETRAHEDRON.vertices, atol=1e-7)
    np.testing.assert_array_equal(loaded.colors[:, :3], COLOURS)
    with pytest.raises(UsageError, match=r"\.ply"):
        write_points(tmp_path / "points.obj", TETRAHEDRON.vertices)
    with pytest.raises(UsageError, match="uint8"):
        write_points(path, TETRAHEDRON.vertices, colours=COLOURS / 255, overwrite=True)
    with pytest.raises(UsageError, match="give one each"):
        write_points(path, TETRAHEDRON.vertices, colours=COLOURS[:3], overwrite=True)


def test_bytes_of_a_ply(tmp_path: Path) -> None:
    path = tmp_path / "t.ply"
    write_mesh(path, TETRAHEDRON, NORMALS)
    head, _, body = path.read_bytes().partition(b"end_header\n")
    assert b"format binary_little_endian 1.0" in head
    assert head.count(b"property float ") == 6
    vertices = np.frombuffer(body[: 4 * 24], "<f4").reshape(4, 6)
    np.testing.assert_array_equal(vertices[:, :3], TETRAHEDRON.vertices.astype(np.float32))
    np.testing.assert_array_equal(vertices[:, 3:], NORMALS)
    assert len(body) == 4 * 24 + 4 * 13


def test_lines_of_an_obj(tmp_path: Path) -> None:
    path = tmp_path / "t.obj"
    write_mesh(path, TETRAHEDRON, NORMALS)
    lines = path.read_text().splitlines()
    assert lines[1] == "v 0.10000000000000001 0 0"
    assert lines[5] == "vn -0.6 -0.8 0"
    assert lines[9] == "f 1//1 3//3 2//2"
    assert len(lines) == 13


def test_positions_are_64_bits_where_32_would_merge_vertices(tmp_path: Path) -> None:
    far = Mesh(TETRAHEDRON.vertices * 1e-3 + 1e5, TETRAHEDRON.triangles)
    path = tmp_path / "far.ply"
    write_mesh(path, far)
    assert b"property double x" in path.read_bytes()
    np.testing.assert_array_equal(trimesh.load_mesh(path, process=False).vertices, far.vertices)


def test_surface_of_a_grid_becomes_the_same_grid_again(tmp_path: Path) -> None:
    """voxelize(mesh of a sphere) is the sphere, and a mesh of that has the same distances."""
    sphere = sphere_level_set(14.3, voxel_size=0.25)
    surface = iso_surface(sphere)
    path = tmp_path / "sphere.ply"
    write_mesh(path, Mesh(surface.vertices, surface.triangles), surface.normals)
    loaded = trimesh.load_mesh(path)
    assert loaded.is_watertight
    assert loaded.is_winding_consistent
    assert loaded.volume > 0
    again = voxelize(read_mesh(path), voxel_size=0.25)
    ours, theirs = sphere.topology.active_set, again.topology.active_set
    assert ours.symmetric_difference(theirs) < 0.02 * ours.count
    second = iso_surface(again)
    away = np.abs(np.linalg.norm(second.vertices, axis=1) - 14.3 * 0.25)
    assert away.max() < 0.03 * 0.25
    corners = (second.vertices / 0.25)[second.triangles].reshape(-1, 9)
    origins = sphere.topology.leaf_origins[:50].astype(np.int64)
    gap = leaf_distances(corners, origins, 3.0) - np.abs(sphere.leaf_values[:50, :, 0]) / 0.25
    assert np.abs(gap).max() < 0.05


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.ply, \.obj"):
        write_mesh(tmp_path / "t.stl", TETRAHEDRON)
    with pytest.raises(UsageError, match="one each"):
        write_mesh(tmp_path / "t.ply", TETRAHEDRON, NORMALS[:2])
    with pytest.raises(InputError, match="does not exist"):
        write_mesh(tmp_path / "no" / "t.ply", TETRAHEDRON)
    write_mesh(tmp_path / "t.ply", TETRAHEDRON)
    with pytest.raises(OutputExistsError):
        write_mesh(tmp_path / "t.ply", TETRAHEDRON)
    write_mesh(tmp_path / "t.ply", TETRAHEDRON, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["t.ply"]
