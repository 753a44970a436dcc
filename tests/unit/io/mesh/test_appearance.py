"""Colours of meshes: of vertices, faces, materials, textures, and what lies beside a file."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldcodec.errors import InputError
from fieldcodec.io.mesh import read_mesh
from fieldcodec.io.mesh.appearance import ColouredMesh, read_coloured_mesh
from fieldcodec.io.mesh.texture import to_linear, to_srgb

trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SQUARE = """mtllib square.mtl
usemtl paint
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""
IMAGE = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)  # the top row first


def square(folder: Path, *, obj: str = SQUARE, mtl: str = "newmtl paint\nKd 0.5 0.5 0.5\nmap_Kd paint.png\n") -> Path:
    (folder / "square.obj").write_text(obj)
    (folder / "square.mtl").write_text(mtl)
    Image.fromarray(IMAGE).save(folder / "paint.png")
    return folder / "square.obj"


def colours_at(coloured: ColouredMesh, places: list[tuple[float, float]]) -> list[tuple[int, ...]]:
    """The colours of the square at x, y."""
    assert coloured.appearance is not None
    rows, weights = [], []
    corners = coloured.mesh.vertices[coloured.mesh.triangles][:, :, :2]
    for place in places:
        for row, (a, b, c) in enumerate(corners):
            v, w = np.linalg.solve(np.stack([b - a, c - a], axis=1), np.array(place) - a)
            if min(1 - v - w, v, w) >= 0:
                rows.append(row)
                weights.append((1 - v - w, v, w))
                break
    assert len(rows) == len(places)
    return [tuple(colour) for colour in coloured.appearance.colours(np.array(rows), np.array(weights)).tolist()]


def test_a_texture_is_the_right_way_up_and_stands_for_itself(tmp_path: Path) -> None:
    coloured = read_coloured_mesh(square(tmp_path))
    quarter = [(0.2, 0.9), (0.9, 0.8), (0.1, 0.2), (0.8, 0.1)]
    assert colours_at(coloured, quarter) == [RED, GREEN, BLUE, WHITE]
    assert colours_at(coloured, [(0.5, 0.9)]) == [(128, 128, 0)]  # half of two texels
    mesh = read_mesh(tmp_path / "square.obj")
    np.testing.assert_array_equal(coloured.mesh.vertices, mesh.vertices)
    assert len(coloured.mesh.triangles) == len(mesh.triangles)
    assert sorted(coloured.companions.found) == ["paint.png", "square.mtl"]


@pytest.mark.parametrize("places", ["0.5 0.5", "0.5 1"])
def test_cells_of_a_palette_do_not_run_into_each_other(tmp_path: Path, places: str) -> None:
    """All corners at one place on the border of two cells: the colour of one cell, not a mix."""
    lines = [f"vt {places}" if line.startswith("vt") else line for line in SQUARE.splitlines()]
    coloured = read_coloured_mesh(square(tmp_path, obj="\n".join(lines)))
    assert set(colours_at(coloured, [(0.3, 0.2), (0.2, 0.7)])) <= {GREEN, WHITE}


def test_a_chart_that_ends_with_a_cell_holds_nothing_of_the_next(tmp_path: Path) -> None:
    obj = SQUARE.replace("vt 0 0", "vt 0.1 0.6").replace("vt 1 0", "vt 0.5 0.6")
    obj = obj.replace("vt 1 1", "vt 0.5 1").replace("vt 0 1", "vt 0.1 1")
    coloured = read_coloured_mesh(square(tmp_path, obj=obj))
    assert set(colours_at(coloured, [(0.99, 0.01), (0.99, 0.98), (0.01, 0.5)])) == {RED}


def test_textures_repeat(tmp_path: Path) -> None:
    obj = SQUARE.replace("vt 1 0", "vt 2 0").replace("vt 1 1", "vt 2 1")
    coloured = read_coloured_mesh(square(tmp_path, obj=obj))
    assert colours_at(coloured, [(0.125, 0.9), (0.625, 0.9), (0.375, 0.9)]) == [RED, RED, GREEN]


def test_a_material_without_a_texture(tmp_path: Path) -> None:
    coloured = read_coloured_mesh(square(tmp_path, mtl="newmtl paint\nKd 1.0 0.5 0.0\n"))
    assert colours_at(coloured, [(0.3, 0.2)]) in ([(255, 128, 0)], [(255, 127, 0)])


@pytest.mark.parametrize("mtl", ["newmtl paint\nNs 10\n", "newmtl other\n"])
def test_a_material_without_a_colour_is_none(tmp_path: Path, mtl: str) -> None:
    assert read_coloured_mesh(square(tmp_path, mtl=mtl)).appearance is None


def test_a_missing_material_file_is_none_and_is_recorded(tmp_path: Path) -> None:
    path = square(tmp_path)
    (tmp_path / "square.mtl").unlink()
    coloured = read_coloured_mesh(path)
    assert coloured.appearance is None
    assert coloured.companions.digests() == {"square.mtl": ""}


def test_a_missing_texture_is_named(tmp_path: Path) -> None:
    path = square(tmp_path)
    (tmp_path / "paint.png").unlink()
    with pytest.raises(InputError, match=r"square\.obj names 'paint\.png', not found in .*colour = none"):
        read_coloured_mesh(path)


def test_packed_files_and_their_packed_companions(tmp_path: Path) -> None:
    path = square(tmp_path, mtl="newmtl paint\nmap_Kd -clamp on C:\\work\\paint.png\n")
    for name in ("square.obj", "paint.png"):
        (tmp_path / f"{name}.xz").write_bytes(lzma.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    coloured = read_coloured_mesh(path.with_name("square.obj.xz"))
    assert colours_at(coloured, [(0.2, 0.9)]) == [RED]


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    square(tmp_path)
    path = square(tmp_path / "inner", mtl="newmtl paint\nmap_Kd ../paint.png\n")
    (tmp_path / "inner" / "paint.png").unlink()
    with pytest.raises(InputError, match=r"'\.\./paint\.png'"):
        read_coloured_mesh(path)


def cube_with(colours: np.ndarray, kind: str) -> trimesh.Trimesh:
    mesh = trimesh.creation.box()
    setattr(mesh.visual, f"{kind}_colors", colours)
    return mesh


def test_colours_of_vertices_are_mixed(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 3), np.uint8)
    cube_with(colours, "vertex").export(tmp_path / "cube.ply")
    coloured = read_coloured_mesh(tmp_path / "cube.ply")
    assert coloured.appearance is not None
    original = trimesh.creation.box()
    by_place = {tuple(place): colour for place, colour in zip(original.vertices.tolist(), colours, strict=True)}
    rows = np.arange(12)
    for corner in range(3):
        found = coloured.appearance.colours(rows, np.tile(np.eye(3)[corner], (12, 1)))
        places = coloured.mesh.vertices[coloured.mesh.triangles[:, corner]]
        np.testing.assert_array_equal(found, [by_place[tuple(place)] for place in places.tolist()])
    middle = coloured.appearance.colours(rows, np.full((12, 3), 1 / 3)).astype(float)
    corners = np.array(
        [[by_place[tuple(p)] for p in t] for t in coloured.mesh.vertices[coloured.mesh.triangles].tolist()]
    )
    np.testing.assert_allclose(middle, corners.mean(axis=1), atol=0.51)


def test_colours_of_faces(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 4), np.uint8)
    cube_with(colours, "face").export(tmp_path / "cube.ply")
    coloured = read_coloured_mesh(tmp_path / "cube.ply")
    assert coloured.appearance is not None
    weights = np.random.default_rng(1).dirichlet([1, 1, 1], 12)
    np.testing.assert_array_equal(coloured.appearance.colours(np.arange(12), weights), colours[:, :3])


@pytest.mark.parametrize("kind", ["ply", "stl", "obj", "glb"])
def test_a_plain_mesh_has_no_colours(tmp_path: Path, kind: str) -> None:
    trimesh.creation.box().export(tmp_path / f"cube.{kind}")
    assert read_coloured_mesh(tmp_path / f"cube.{kind}").appearance is None


def test_factors_of_gltf_are_light_and_mirrors_keep_the_outside(tmp_path: Path) -> None:
    """A mirrored copy of a cube with a factor beside one with a texture times a factor."""
    plain, textured = trimesh.creation.box(), trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial
    plain.visual = trimesh.visual.TextureVisuals(material=material(baseColorFactor=[128, 0, 255, 255]))
    image = Image.fromarray(np.full((4, 4, 3), (200, 100, 50), np.uint8))
    textured.visual = trimesh.visual.TextureVisuals(
        uv=np.full((8, 2), 0.5), material=material(baseColorTexture=image, baseColorFactor=[255, 128, 255, 255])
    )
    scene = trimesh.Scene()
    scene.add_geometry(plain, transform=np.diag([-1.0, 1, 1, 1]))
    scene.add_geometry(textured, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.export(tmp_path / "two.glb")
    coloured = read_coloured_mesh(tmp_path / "two.glb")
    a, b, c = np.moveaxis(coloured.mesh.vertices[coloured.mesh.triangles], 1, 0)
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(2.0)
    assert coloured.appearance is not None
    found = coloured.appearance.colours(np.arange(24), np.full((24, 3), 1 / 3))
    is_right = a[:, 0] > 2
    half = 188  # sRGB of half the light
    assert set(map(tuple, found[~is_right].tolist())) == {(half, 0, 255)}
    green = round(float(to_srgb(to_linear(np.array(100.0)) * 128 / 255)))
    assert set(map(tuple, found[is_right].tolist())) == {(200, green, 50)}


def test_srgb_and_light_are_inverse() -> None:
    values = np.arange(256.0)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-9)
    assert to_linear(np.array(255.0)) == 1
    assert to_linear(np.array(188.0)) == pytest.approx(0.5029, abs=1e-4)
