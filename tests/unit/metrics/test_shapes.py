"""Distances of surfaces, overlap, normals and colours, against what is known."""

import numpy as np
import pytest

from fieldcodec.errors import UsageError
from fieldcodec.metrics.nearest import nearest_neighbours
from fieldcodec.metrics.shapes import (
    colour_psnr,
    match_surfaces,
    overlap,
    sampling_floor,
    triangle_area,
)


def sphere(count: int, radius: float = 1.0, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["volume", "surface", "line", "one place", "two places"])
def test_nearest_neighbours_are_the_nearest(kind: str) -> None:
    rng = np.random.default_rng(1)
    points = {
        "volume": rng.uniform(-1, 1, (700, 3)),
        "surface": sphere(900),
        "line": rng.uniform(-1, 1, (300, 3)) * (1, 0, 0),
        "one place": np.ones((20, 3)),
        "two places": np.repeat([[0.0, 0, 0], [1e-3, 1e4, -2]], 30, axis=0),
    }[kind]
    queries = np.concatenate([points[:5], rng.uniform(-1.5, 1.5, (400, 3)), rng.uniform(-90, 90, (100, 3))])
    distances, rows = nearest_neighbours(queries, points, threads=1)
    expected = np.linalg.norm(queries[:, None] - points[None], axis=2)
    np.testing.assert_allclose(distances, expected.min(axis=1), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(queries - points[rows], axis=1), distances, atol=1e-12)


def test_nearest_neighbours_do_not_depend_on_threads_and_refuse_nonsense() -> None:
    queries, points = sphere(40000, seed=1), sphere(5000)
    np.testing.assert_array_equal(nearest_neighbours(queries, points, 1), nearest_neighbours(queries, points, 2))
    with pytest.raises(UsageError, match="no points"):
        nearest_neighbours(queries, points[:0])
    with pytest.raises(UsageError, match="finite"):
        nearest_neighbours(queries * np.nan, points)
    distances, rows = nearest_neighbours(queries[:0], points)
    assert len(distances) == len(rows) == 0


def test_chamfer_of_two_samples_of_one_surface_is_the_floor() -> None:
    a, b = sphere(30000, seed=1), sphere(20000, seed=2)
    match = match_surfaces(a, b, a, b)
    assert match.chamfer == pytest.approx(sampling_floor(4 * np.pi, 30000, 20000), rel=0.03)
    assert match.normal_consistency == pytest.approx(1, abs=1e-3)
    assert (match.points, match.predicted_points) == (30000, 20000)


def test_chamfer_of_spheres_of_different_size_is_the_square_of_the_gap() -> None:
    a, b = sphere(60000, 1.0, seed=1), sphere(60000, 1.1, seed=2)
    match = match_surfaces(a, b)
    assert match.mean_distance == pytest.approx(0.1, rel=0.01)
    assert match.chamfer == pytest.approx(1000 * 2 * 0.01 + sampling_floor(4 * np.pi, 60000, 60000), rel=0.01)
    assert match.normal_consistency is None
    np.testing.assert_array_equal(match_surfaces(a, a, a, -a).chamfer, 0)


def test_normals_of_random_directions_agree_by_half() -> None:
    points = sphere(5000)
    match = match_surfaces(points, points, sphere(5000, seed=3), sphere(5000, seed=4))
    assert match.normal_consistency == pytest.approx(0.5, abs=0.02)  # the mean |cosine| of two directions


def test_overlap() -> None:
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert overlap(a, b) == pytest.approx(100 / 3)
    assert overlap(a, a) == 100
    assert overlap(a & b & ~a, a & ~a) is None
    with pytest.raises(UsageError, match="same points"):
        overlap(a, b[:2])


def test_colours() -> None:
    colours = np.random.default_rng(0).uniform(0, 0.9, (100, 3))
    assert colour_psnr(colours, colours + 0.1) == pytest.approx(20)
    assert colour_psnr(colours, colours) == float("inf")
    with pytest.raises(UsageError, match="cannot be compared"):
        colour_psnr(colours, colours[:50])


def test_area_of_triangles() -> None:
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert triangle_area(vertices, np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]])) == pytest.approx(1.5 + 0.5 + 0)
