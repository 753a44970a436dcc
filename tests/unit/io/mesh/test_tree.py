"""The tree of triangles against brute force and formulas."""

import numpy as np
import pytest

from fieldcodec.io.mesh import tree_kernels
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.tree import TriangleTree

RNG = np.random.default_rng(3)


def soup(count: int, *, slivers: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Loose triangles of many sizes; every other one a sliver."""
    corners = RNG.normal(size=(count, 1, 3)) + RNG.normal(size=(count, 3, 3)) * RNG.uniform(0.01, 0.5, (count, 1, 1))
    if slivers:
        corners[::2, 2] = corners[::2, 0] + 0.5 * (corners[::2, 1] - corners[::2, 0])
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def brute_distances(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The least over triangles [m, 3, 3] of the distances to plane (where that is hit) and edges."""
    best = np.full(len(points), np.inf)
    for triangle in corners:
        for i in range(3):
            a, edge = triangle[i], triangle[(i + 1) % 3] - triangle[i]
            share = np.clip((points - a) @ edge / (edge @ edge), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - a - share[:, None] * edge, axis=1))
        normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
        if np.linalg.norm(normal) < 1e-9:
            continue
        normal /= np.linalg.norm(normal)
        height = (points - triangle[0]) @ normal
        foot = points - height[:, None] * normal
        sides = [np.cross(triangle[(i + 1) % 3] - triangle[i], foot - triangle[i]) @ normal >= 0 for i in range(3)]
        best = np.where(np.all(sides, axis=0), np.minimum(best, np.abs(height)), best)
    return best


def brute_hits(start: np.ndarray, step: np.ndarray, corners: np.ndarray, limit: float) -> int:
    """How many triangles a ray meets up to `limit` times its step."""
    a, b, c = np.moveaxis(corners, 1, 0)
    matrices = np.stack([b - a, c - a, np.broadcast_to(-step, a.shape)], axis=2)
    u, v, t = np.linalg.solve(matrices, (start - a)[..., None])[..., 0].T
    return int(np.count_nonzero((u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= limit)))


@pytest.mark.parametrize("slivers", [False, True])
def test_nearest_is_the_minimum_over_all_triangles(slivers: bool) -> None:
    vertices, triangles = soup(150, slivers=slivers)
    points = RNG.normal(size=(400, 3)) * 1.5
    distances, rows = TriangleTree(vertices, triangles).nearest(points)
    np.testing.assert_allclose(distances, brute_distances(points, vertices[triangles]), atol=1e-9)
    own = [brute_distances(points[i : i + 1], vertices[triangles[row]][None])[0] for i, row in enumerate(rows)]
    np.testing.assert_allclose(distances, own, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 300])
def test_a_tree_of_any_size_and_of_equal_triangles(count: int) -> None:
    vertices, triangles = soup(1)
    tree = TriangleTree(vertices, np.repeat(triangles, count, axis=0))
    points = RNG.normal(size=(20, 3))
    np.testing.assert_allclose(tree.nearest(points)[0], brute_distances(points, vertices[None]), atol=1e-12)
    assert tree.windings(points).max() <= count


def test_segments_meet_what_they_cross() -> None:
    vertices, triangles = soup(200)
    starts, ends = RNG.normal(size=(300, 3)), RNG.normal(size=(300, 3))
    found = TriangleTree(vertices, triangles).crossed(starts, ends)
    expected = [brute_hits(a, b - a, vertices[triangles], 1.0) > 0 for a, b in zip(starts, ends, strict=True)]
    assert found.tolist() == expected
    assert 0.1 < np.mean(found) < 0.99


def test_stabbed_are_points_with_no_free_side_of_any_line() -> None:
    vertices, triangles = soup(300)
    points, lines = RNG.normal(size=(300, 3)) * 0.4, RNG.normal(size=(3, 3))
    found = TriangleTree(vertices, triangles).stabbed(points, lines)
    rays = np.concatenate([lines, -lines])
    expected = [all(brute_hits(p, ray, vertices[triangles], np.inf) for ray in rays) for p in points]
    assert found.tolist() == expected
    assert 0.02 < np.mean(found) < 0.98


def ball(radius: float, centre: tuple[float, float, float] = (0, 0, 0), level: int = 3) -> Mesh:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    made = trimesh.creation.icosphere(level, radius)
    return Mesh.of(made.vertices + np.array(centre), made.faces)


def test_windings_count_every_solid_around_a_point() -> None:
    large, small = ball(1.0), ball(0.4, (0.3, 0, 0))
    vertices = np.concatenate([large.vertices, small.vertices])
    triangles = np.concatenate([large.triangles, small.triangles + len(large.vertices)])
    points = RNG.uniform(-1.2, 1.2, (5000, 3))
    tree = TriangleTree(vertices, triangles)
    windings = tree.windings(points)
    radii, others = np.linalg.norm(points, axis=1), np.linalg.norm(points - [0.3, 0, 0], axis=1)
    sure = (np.abs(radii - 1) > 0.02) & (np.abs(others - 0.4) > 0.02)  # the balls are polyhedra
    expected = (radii < 1).astype(int) + (others < 0.4)
    np.testing.assert_array_equal(windings[sure], expected[sure])
    distances, _ = tree.nearest(points)
    order = np.lexsort(points.T)
    np.testing.assert_array_equal(tree.windings(points[order], distances[order]), windings[order])
    np.testing.assert_array_equal(tree.windings(points, threads=2), windings)


def test_no_ray_slips_through_an_edge_or_a_vertex_or_counts_twice_there() -> None:
    """Rays are aimed at them exactly: all numbers are small integers over powers of two."""
    steps = np.arange(-2, 3) * 4.0
    corner = np.array(np.meshgrid(steps, steps, [8.0], indexing="ij")).reshape(3, -1).T
    top = np.arange(25).reshape(5, 5)
    quads = np.stack([top[:-1, :-1], top[1:, :-1], top[1:, 1:], top[:-1, 1:]], -1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    tree = TriangleTree(corner, triangles)
    direction = np.array([0.5, 0.25, 1.0])
    aims = np.concatenate([corner, corner[triangles[:, :2]].mean(axis=1), corner[triangles[:, 1:]].mean(axis=1)])
    aims = aims[(np.abs(aims[:, :2]) < 8).all(axis=1)]
    assert len(aims) > 50
    for back, expected in ((4.0, 1), (-4.0, 0)):
        result = np.empty(len(aims), np.int64)
        clear = np.zeros(len(aims))
        tree_kernels.windings(
            tree._boxes, tree._links, tree._corners, aims - back * direction, clear, direction, result
        )
        np.testing.assert_array_equal(np.abs(result), expected)
