"""Which points a mesh encloses: solids, cavities, overlaps, and open meshes of all kinds."""

from pathlib import Path

import numpy as np
import pytest

from fieldcodec.io.mesh.inside import InsideTest
from fieldcodec.io.mesh.read import Mesh, read_mesh
from fieldcodec.io.mesh.stabbing import inside_by_stabbing, stabbing_lines
from fieldcodec.io.mesh.tree import TriangleTree

FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
POINTS = np.random.default_rng(1).uniform(-1.6, 1.6, (4000, 3))


def box(
    half: float = 1.0, centre: tuple[float, float, float] = (0, 0, 0), *, steps: int = 6, without: int = -1
) -> Mesh:
    """A cube of quads cut into steps^2, outside out; `without` one of its faces: x-, x+, y-, y+, z-, z+."""
    signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3, indexing="ij"), -1).reshape(-1, 3)
    quads = [quad for i, quad in enumerate(signs[FACES]) if i != without]
    shares = np.linspace(0, 1, steps + 1)
    corners = []
    for a, b, c, d in quads:
        u, v = np.meshgrid(shares, shares, indexing="ij")
        u, v = u[..., None], v[..., None]
        grid = (a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v
        grid = np.round(grid, 12)
        p, q, r, s = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
        corners += [np.stack([p, q, r], 2).reshape(-1, 3, 3), np.stack([p, r, s], 2).reshape(-1, 3, 3)]
    vertices = np.concatenate(corners).reshape(-1, 3) * half + np.array(centre)
    return Mesh.of(vertices, np.arange(len(vertices)).reshape(-1, 3))


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles))


def turned(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.triangles[:, ::-1]))


def in_box(half: float, centre: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    return np.asarray((np.abs(POINTS - np.array(centre)) < half).all(axis=1))


@pytest.mark.parametrize("mesh", [box(), turned(box())], ids=["outside out", "inside out"])
def test_a_closed_solid(mesh: Mesh) -> None:
    test = InsideTest(mesh)
    assert test.is_closed
    assert not test.is_by_stabbing
    np.testing.assert_array_equal(test(POINTS), in_box(1.0))
    distances, _ = TriangleTree(mesh.vertices, mesh.triangles).nearest(POINTS)
    np.testing.assert_array_equal(test(POINTS, distances), in_box(1.0))


def test_a_cavity_is_outside_but_not_for_stabbing_lines() -> None:
    hollow = joined(box(), turned(box(0.5)))
    np.testing.assert_array_equal(InsideTest(hollow)(POINTS), in_box(1.0) & ~in_box(0.5))
    tree = TriangleTree(hollow.vertices, hollow.triangles)
    np.testing.assert_array_equal(inside_by_stabbing(tree, POINTS), in_box(1.0))


@pytest.mark.parametrize("turn", [lambda mesh: mesh, turned], ids=["outside out", "inside out"])
def test_solids_that_overlap_are_one(turn) -> None:  # type: ignore[no-untyped-def]
    other = (0.8, 0.5, 0.3)
    both = joined(box(), turn(box(0.6, other)))
    np.testing.assert_array_equal(InsideTest(both)(POINTS), in_box(1.0) | in_box(0.6, other))


def test_triangles_turned_against_their_neighbours() -> None:
    pytest.importorskip("igl", reason="libigl is not installed")
    mesh = box()
    mesh.triangles[::3] = mesh.triangles[::3, ::-1]
    np.testing.assert_array_equal(InsideTest(mesh)(POINTS), in_box(1.0))


def test_a_missing_side_is_closed() -> None:
    test = InsideTest(box(without=2))
    assert not test.is_closed
    assert not test.is_by_stabbing
    np.testing.assert_array_equal(test(POINTS), in_box(1.0))


def test_loose_panels_enclose_what_no_line_leaves() -> None:
    """Six plates with gaps between them: no edges are shared, and holes cannot be told from sides."""
    panels = []
    for side in range(6):
        rest = box(steps=1)
        normals = np.cross(
            rest.vertices[rest.triangles[:, 1]] - rest.vertices[rest.triangles[:, 0]],
            rest.vertices[rest.triangles[:, 2]] - rest.vertices[rest.triangles[:, 0]],
        )
        axis, sign = side // 2, side % 2 * 2 - 1
        mine = rest.triangles[normals[:, axis] * sign > 1e-9]
        panels.append(Mesh.of(rest.vertices + 2e-5 * sign * np.eye(3)[axis], mine))
    test = InsideTest(joined(*panels))
    assert test.is_by_stabbing
    wrong = test(POINTS) != in_box(1.0)
    assert wrong[in_box(0.99)].mean() < 0.01  # lines through a gap
    assert not wrong[~in_box(1.01)].any()


@pytest.mark.parametrize("bend", [0.0, 0.3, 0.8])
def test_a_sheet_has_an_outside_only(bend: float) -> None:
    u, v = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21), indexing="ij")
    vertices = np.stack([u, v, bend * u * u], -1).reshape(-1, 3)
    first = (np.arange(20)[:, None] * 21 + np.arange(20)).reshape(-1)
    triangles = np.concatenate(
        [np.stack([first, first + 21, first + 22], 1), np.stack([first, first + 22, first + 1], 1)]
    )
    mesh = Mesh(vertices, triangles)
    near = vertices[triangles].mean(axis=1)
    up = np.array([0, 0, 1e-3])
    around = np.concatenate([near + up, near - up, near + 100 * up, POINTS])
    assert not InsideTest(mesh)(around).any()


def test_the_lines_are_thirteen_and_different() -> None:
    lines = stabbing_lines()
    assert lines.shape == (13, 3)
    np.testing.assert_allclose(np.linalg.norm(lines, axis=1), 1)
    cosines = np.abs(lines @ lines.T) - np.eye(13)
    assert cosines.max() < 0.9
    assert np.abs(lines).max() < 0.999  # none along an axis


@pytest.mark.parametrize(
    ("name", "by_stabbing", "least", "most"),
    [
        ("meshes_scans/bunny.ply.xz", False, 0.255, 0.265),  # of its box: a scan with holes in its base
        ("coloured_city/car_sedan.obj", True, 0.47, 0.55),  # panels, windows and wheels one into another
    ],
)
def test_real_open_meshes(data_folder: Path, name: str, by_stabbing: bool, least: float, most: float) -> None:
    pytest.importorskip("trimesh", reason="trimesh is not installed")
    mesh = read_mesh(data_folder / name)
    test = InsideTest(mesh)
    assert not test.is_closed
    assert test.is_by_stabbing == by_stabbing
    low, high = mesh.bounds
    share = test(np.random.default_rng(0).uniform(low, high, (20000, 3))).mean()
    assert least < share < most
