"""Mesh files: every kind and packing, cleaning, and errors by name."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.errors import InputError, InvalidValuesError
from fieldcodec.io.mesh import Mesh, read_mesh

trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")

CUBE_OF_QUADS = """
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
f 4 3 2 1
f 5 6 7 8
f 1 2 6 5
f 2 3 7 6
f 3 4 8 7
f 4 1 5 8
"""


def volume_of(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.triangles], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("kind", ["obj", "ply", "stl", "glb", "gltf"])
def test_every_kind_gives_the_same_closed_cube(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"cube.{kind}"
    if kind == "gltf":
        for name, data in trimesh.creation.box().scene().export(file_type="gltf").items():
            (tmp_path / name).write_bytes(data)
        path = tmp_path / "model.gltf"
    else:
        trimesh.creation.box().export(path)
    mesh = read_mesh(path)
    assert mesh.vertices.shape == (8, 3)
    assert mesh.vertices.dtype == np.float64
    assert mesh.triangles.shape == (12, 3)
    assert mesh.triangles.dtype == np.int64
    assert volume_of(mesh) == pytest.approx(1.0)
    np.testing.assert_allclose(mesh.bounds, [[-0.5] * 3, [0.5] * 3])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("kind", ["obj", "ply", "STL"])
def test_packed_files(tmp_path: Path, kind: str, suffix: str, pack) -> None:  # type: ignore[no-untyped-def]
    data = trimesh.creation.icosphere(1).export(file_type=kind.lower())
    path = tmp_path / f"ball.{kind}{suffix}"
    path.write_bytes(pack(data.encode() if isinstance(data, str) else data))
    assert len(read_mesh(path).triangles) == 80


def test_quads_are_split(tmp_path: Path) -> None:
    (tmp_path / "cube.obj").write_text(CUBE_OF_QUADS)
    mesh = read_mesh(tmp_path / "cube.obj")
    assert len(mesh.triangles) == 12
    assert volume_of(mesh) == pytest.approx(1.0)


def test_transforms_of_a_scene_are_applied(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for x in (0.0, 5.0):
        move = np.eye(4)
        move[0, 3] = x
        scene.add_geometry(trimesh.creation.box(), transform=move)
    scene.export(tmp_path / "two.glb")
    mesh = read_mesh(tmp_path / "two.glb")
    assert len(mesh.vertices) == 16
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.5, -0.5], [5.5, 0.5, 0.5]])


def test_equal_vertices_are_merged_and_collapsed_triangles_dropped() -> None:
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, 0, 0], [9, 9, np.nan], [0.5, 0, 0]]
    mesh = Mesh.of(np.array(vertices), np.array([[0, 1, 2], [3, 2, 1], [0, 3, 1], [0, 1, 5]]))
    assert len(mesh.vertices) == 4  # the unused one, which is not finite, is gone too
    assert len(mesh.triangles) == 3  # the one of zero area keeps a T-junction closed


def test_vertices_that_are_not_finite_are_counted() -> None:
    vertices = np.array([[0, 0, 0], [1, np.inf, 0], [0, 1, np.nan]])
    with pytest.raises(InvalidValuesError, match=r"2 of 3 vertices.*vertex 1"):
        Mesh.of(vertices, np.array([[0, 1, 2]]))


@pytest.mark.parametrize("name", ["a.obj", "a.ply", "a.stl", "a.glb", "a.gltf", "a.obj.xz", "a.ply.gz"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"cannot read.*{name}"):
        read_mesh(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x00\x01this is no mesh")
    with pytest.raises(InputError, match=name):
        read_mesh(tmp_path / name)


def test_other_kinds_and_empty_meshes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"allowed are \.obj"):
        read_mesh(tmp_path / "a.fbx")
    with pytest.raises(InputError, match=r"a\.gz is no mesh"):
        read_mesh(tmp_path / "a.gz")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    with pytest.raises(InputError, match=r"points\.obj"):
        read_mesh(tmp_path / "points.obj")
