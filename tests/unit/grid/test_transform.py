"""Transforms: the doubles OpenVDB stores, and the arithmetic with them."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid.transform import GridTransform

LENGTHS = st.floats(1e-3, 1e3)
POSITIONS = st.tuples(*[st.floats(-1e3, 1e3)] * 3)


def doubles(transform: GridTransform) -> list[float]:
    return list(struct.unpack(f"<{len(transform.payload) // 8}d", transform.payload))


def test_uniform_scale_stores_the_fifteen_doubles_of_openvdb() -> None:
    transform = GridTransform.uniform(0.5)
    assert transform.map_type == "UniformScaleMap"
    assert doubles(transform) == [0.5] * 3 + [0.5] * 3 + [2.0] * 3 + [4.0] * 3 + [1.0] * 3


def test_translation_comes_first() -> None:
    transform = GridTransform.uniform(2.0, (1.0, -2.0, 3.0))
    assert transform.map_type == "UniformScaleTranslateMap"
    assert doubles(transform)[:6] == [1.0, -2.0, 3.0, 2.0, 2.0, 2.0]
    np.testing.assert_array_equal(transform.to_world(np.array([[1, 1, 1]])), [[3.0, 0.0, 5.0]])


@pytest.mark.parametrize("size", [0.0, float("nan"), float("inf")])
def test_a_voxel_needs_a_size(size: float) -> None:
    with pytest.raises(UsageError, match="voxel size"):
        GridTransform.uniform(size)


def test_translation_map() -> None:
    transform = GridTransform("TranslationMap", struct.pack("<3d", 1, 2, 3))
    np.testing.assert_array_equal(transform.to_world(np.zeros((1, 3))), [[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(transform.voxel_size, [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("scale", "origin", "map_type"),
    [
        ((2, 2, 2), (0, 0, 0), "UniformScaleMap"),
        ((2, 2, 2), (0, 5, 0), "UniformScaleTranslateMap"),
        ((2, -2, 3), (0, 0, 0), "ScaleMap"),
        ((2, 2, 3), (1, 0, 0), "ScaleTranslateMap"),
    ],
)
def test_of_matrix_takes_the_simplest_map(scale: tuple[float, ...], origin: tuple[float, ...], map_type: str) -> None:
    matrix = np.diag([*scale, 1.0])
    matrix[3, :3] = origin
    transform = GridTransform.of_matrix(matrix)
    assert transform.map_type == map_type
    np.testing.assert_array_equal(transform.matrix, matrix)
    np.testing.assert_array_equal(transform.voxel_size, np.abs(scale))


def test_of_matrix_with_rotation_is_affine_and_rows_are_axes() -> None:
    matrix = np.array([[0, 2, 0, 0], [-3, 0, 0, 0], [0, 0, 4, 0], [7, 8, 9, 1.0]])
    transform = GridTransform.of_matrix(matrix)
    assert transform.map_type == "AffineMap"
    np.testing.assert_array_equal(transform.to_world(np.array([[1, 0, 0]])), [[7.0, 10.0, 9.0]])
    np.testing.assert_array_equal(transform.voxel_size, [2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3), np.diag([1.0, 0, 1, 1]), np.full((4, 4), np.nan), np.eye(4) + np.eye(4, k=3), np.zeros((4, 4))],
)
def test_of_matrix_refuses_what_is_no_invertible_affine_map(matrix: np.ndarray) -> None:
    with pytest.raises(UsageError):
        GridTransform.of_matrix(matrix)


@settings(deadline=None, max_examples=30)
@given(size=LENGTHS, origin=POSITIONS, points=st.lists(POSITIONS, min_size=1, max_size=5))
def test_world_and_back(size: float, origin: tuple[float, ...], points: list[tuple[float, ...]]) -> None:
    transform = GridTransform.uniform(size, origin)  # type: ignore[arg-type]
    index = np.array(points)
    back = transform.to_index(transform.to_world(index))
    np.testing.assert_allclose(back, index, atol=1e-9 * (1 + 1e3 / size))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_affine_world_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.1, 10, (3, 1))
    matrix[3, :3] = rng.normal(size=3)
    transform = GridTransform.of_matrix(matrix)
    index = rng.normal(size=(7, 3)) * 100
    np.testing.assert_allclose(transform.to_index(transform.to_world(index)), index, atol=1e-8)


def test_payload_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="120 bytes"):
        GridTransform("ScaleMap", b"\0" * 8)


def test_frustum_is_carried_but_has_no_matrix() -> None:
    frustum = GridTransform("NonlinearFrustumMap", b"anything")
    assert not frustum.is_linear
    with pytest.raises(UnsupportedGridError, match="NonlinearFrustumMap"):
        _ = frustum.matrix


@pytest.mark.parametrize("turned", [False, True])
def test_to_index_is_as_exact_as_solving(turned: bool) -> None:
    matrix = np.diag([0.1, -0.3, 7.0, 1.0])
    if turned:
        matrix[:3, :3] = matrix[:3, :3] @ np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0.1], [0, 0.05, 1]])
    matrix[3, :3] = (1e3, -5.0, 0.25)
    transform = GridTransform.of_matrix(matrix)
    voxels = np.random.default_rng(0).integers(-1000, 1000, (2000, 3))
    world = transform.to_world(voxels)
    solved = np.linalg.solve(matrix[:3, :3].T, (world - matrix[3, :3]).T).T
    found = transform.to_index(world)
    if not turned:
        np.testing.assert_array_equal(found, solved)
    assert np.abs(found - voxels).max() <= max(2 * np.abs(solved - voxels).max(), 1e-10)
    np.testing.assert_array_equal(world, transform.to_world(voxels))  # nothing is overwritten


@pytest.mark.parametrize("map_type", ["ScaleMap", "AffineMap"])
def test_a_singular_map_of_a_file_has_no_index_space(map_type: str) -> None:
    size = 15 if map_type == "ScaleMap" else 16
    transform = GridTransform(map_type, struct.pack(f"<{size}d", 1.0, *[0.0] * (size - 1)))
    with pytest.raises(UnsupportedGridError, match="singular"):
        transform.to_index(np.ones((2, 3)))
