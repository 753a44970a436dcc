"""Voxelized meshes against formulas, against brute force, and against an independent winding number."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.errors import InputError, UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.build import dense_of_grid
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh import Mesh, read_mesh, voxelize
from fieldcodec.io.mesh.repair import oriented, with_holes_closed
from fieldcodec.io.mesh.sign import ColumnWinding

trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
igl = pytest.importorskip("igl", reason="libigl is not installed")


def mesh_of(shape) -> Mesh:  # type: ignore[no-untyped-def]
    return Mesh.of(shape.vertices, shape.faces)


def box(*sides: float) -> Mesh:
    return mesh_of(trimesh.creation.box(sides))


def segment_distance(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    share = np.clip((p - a) @ (b - a) / max((b - a) @ (b - a), 1e-300), 0, 1)
    return np.linalg.norm(p - a - share[:, None] * (b - a), axis=1)


def brute_distance(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Another formula than the code's: project on the plane, test by cross products, else the edges."""
    best = np.full(len(points), np.inf)
    for a, b, c in mesh.vertices[mesh.triangles]:
        normal = np.cross(b - a, c - a)
        edges = np.minimum(segment_distance(points, a, b), segment_distance(points, b, c))
        best = np.minimum(best, np.minimum(edges, segment_distance(points, c, a)))
        if np.linalg.norm(normal) > 0:
            normal /= np.linalg.norm(normal)
            sides = [np.cross(v - u, points - u) @ normal >= 0 for u, v in ((a, b), (b, c), (c, a))]
            height = np.abs((points - a) @ normal)
            best = np.where(np.all(sides, axis=0), np.minimum(best, height), best)
    return best


def check_convention(grid: SparseGrid) -> None:
    background = grid.background[0]
    values, active = grid.leaf_values[..., 0], grid.topology.leaf_active_bits
    np.testing.assert_array_equal(active, np.abs(values) < background)
    assert set(np.abs(values[~active]).tolist()) <= {background}
    assert active.any(axis=1).all()
    for tiles in (grid.lower_tile_values, grid.upper_tile_values, grid.root_tile_values):
        assert set(tiles[:, 0].tolist()) <= {background, -background}
    assert not grid.lower_tile_mask().any()
    assert not grid.upper_tile_mask().any()
    assert grid.is_level_set


def check_against_igl(grid: SparseGrid, mesh: Mesh) -> None:
    """Every voxel of the box around the grid: state, sign and value, tiles included."""
    low, high = grid.topology.active_bounds  # type: ignore[misc]
    low, high = low - 3, high + 4
    size = grid.transform.voxel_size[0]
    points = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), -1).reshape(-1, 3) * size
    expected = np.sqrt(igl.point_mesh_squared_distance(points, mesh.vertices, mesh.triangles)[0])
    inside = np.abs(igl.fast_winding_number(mesh.vertices, mesh.triangles, points)) > 0.5
    expected = np.where(inside, -1, 1) * np.minimum(expected, grid.background[0])
    values, active = dense_of_grid(grid, low, high)
    values, active = values.reshape(-1), active.reshape(-1)
    for origins, child, tiles, log2, side in (
        (grid.topology.lower_origins, grid.topology.lower_child, grid.lower_tile_values, 4, 8),
        (grid.topology.upper_origins, grid.topology.upper_child, grid.upper_tile_values, 5, 128),
    ):
        nodes, slots = np.nonzero(~masks.unpack(child))
        corners = origins[nodes] + masks.slot_offsets(log2)[slots] * side
        index = np.rint(points / size).astype(int)
        for corner in corners[tiles[:, 0] < 0]:
            values[np.all((index >= corner) & (index < corner + side), axis=1)] *= -1
    sure = np.abs(expected) > 1e-4 * size  # on the surface itself any sign is right
    np.testing.assert_allclose(values[sure], expected[sure], atol=2e-5 * size)
    edge = np.abs(np.abs(expected) - grid.background[0]) < 1e-5 * size
    np.testing.assert_array_equal(active[~edge], np.abs(expected[~edge]) < grid.background[0])


def test_ball_has_the_distances_of_a_sphere() -> None:
    grid = voxelize(mesh_of(trimesh.creation.icosphere(5, radius=2.0)), resolution=64, half_width=3.0, name="ball")
    check_convention(grid)
    size = grid.transform.voxel_size[0]
    assert size == pytest.approx(4.0 / 58)
    exact = np.linalg.norm(grid.transform.to_world(grid.topology.active_voxels()), axis=1) - 2.0
    np.testing.assert_allclose(grid.active_values()[:, 0], exact, atol=0.002)
    low, high = grid.topology.active_bounds  # type: ignore[misc]
    assert np.all(np.abs(high - low + 1 - 64) <= 1)
    assert grid.name == "ball"
    assert grid.background[0] == np.float32(3 * size)


@pytest.mark.parametrize(
    "shape",
    [
        lambda: trimesh.creation.box((1.0, 0.5, 0.25)),
        lambda: trimesh.creation.torus(1.0, 0.3),
        lambda: trimesh.creation.annulus(0.5, 0.6, 0.4),
        lambda: trimesh.creation.capsule(1.0, 0.2),
        lambda: trimesh.util.concatenate(
            [trimesh.creation.box(), trimesh.creation.icosphere(2).apply_translation((0.6, 0.4, 0.2))]
        ),
    ],
    ids=["box", "torus", "thin ring", "capsule", "overlapping bodies"],
)
def test_shapes_agree_with_igl_on_every_voxel(shape) -> None:  # type: ignore[no-untyped-def]
    mesh = mesh_of(shape().apply_translation((0.0371, -0.0113, 10.0)))
    grid = voxelize(mesh, resolution=44)
    check_convention(grid)
    check_against_igl(grid, mesh)


def test_wide_bands_and_hollows() -> None:
    outer, inner = trimesh.creation.icosphere(3), trimesh.creation.icosphere(3, radius=0.6)
    inner.invert()
    mesh = mesh_of(trimesh.util.concatenate([outer, inner]))
    for half_width in (1.0, 6.5):
        grid = voxelize(mesh, resolution=60, half_width=half_width)
        check_convention(grid)
        check_against_igl(grid, mesh)
        at_centre = dense_of_grid(grid, np.zeros(3, int), np.ones(3, int))
        assert at_centre[0].item() == grid.background[0]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6), flat=st.booleans())
def test_distances_of_random_triangles(seed: int, count: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.normal(size=(count, 3, 3))
    if flat:
        corners[:, 2] = corners[:, 0] + rng.uniform(-1, 2, (count, 1)) * (corners[:, 1] - corners[:, 0])
    mesh = Mesh.of(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))
    grid = voxelize(mesh, resolution=40, half_width=3.0, close_holes=False)
    size = grid.transform.voxel_size[0]
    values = np.abs(grid.active_values()[:, 0])
    exact = brute_distance(grid.transform.to_world(grid.topology.active_voxels()), mesh)
    np.testing.assert_allclose(values, exact, atol=3e-6 * size)
    # and no voxel of the band is missing
    low, high = grid.topology.active_bounds  # type: ignore[misc]
    around = rng.integers(low - 4, high + 5, (3000, 3))
    near = around[brute_distance(around * size, mesh) < (3.0 - 1e-5) * size]
    have = {tuple(v) for v in grid.topology.active_voxels().tolist()}
    assert all(tuple(v) in have for v in near.tolist())


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), snap=st.booleans())
def test_column_winding_of_any_closed_mesh(seed: int, snap: bool) -> None:
    """Random closed chains, many of their vertices on the very lines of voxels, against exact solid angles."""
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-6, 6, (8, 3))
    if snap:
        vertices = np.rint(vertices * 2) / 2
    tetrahedra = [rng.choice(8, 4, replace=False) for _ in range(3)]
    triangles = np.array(
        [[(t[0], t[2], t[1]), (t[0], t[1], t[3]), (t[1], t[2], t[3]), (t[0], t[3], t[2])] for t in tetrahedra]
    )
    mesh = Mesh(vertices, triangles.reshape(-1, 3).astype(np.int64))
    voxels = np.stack(np.meshgrid(*[np.arange(-7, 8)] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = ColumnWinding(mesh.vertices, mesh.triangles).is_inside(voxels)
    sure = brute_distance(voxels.astype(float), mesh) > 1e-3
    exact = igl.winding_number(mesh.vertices, mesh.triangles, voxels[sure].astype(float))
    np.testing.assert_array_equal(inside[sure], np.abs(exact) > 0.5)


def test_a_mesh_on_the_lines_of_the_voxels() -> None:
    mesh = box(8.0, 8.0, 8.0)
    grid = voxelize(mesh, voxel_size=1.0, half_width=2.0)
    values, _ = dense_of_grid(grid, np.full(3, -7), np.full(3, 8))
    index = np.abs(np.stack(np.meshgrid(*[np.arange(-7, 8)] * 3, indexing="ij"), -1)) - 4.0
    exact = np.linalg.norm(np.maximum(index, 0), axis=-1) + np.minimum(index.max(axis=-1), 0)
    np.testing.assert_allclose(values[..., 0], np.clip(exact, -2, 2), atol=1e-6)
    assert not np.signbit(values[values == 0]).any()


def test_voxel_size_overrides_resolution() -> None:
    assert voxelize(box(1, 1, 1), resolution=1, voxel_size=0.125).transform.voxel_size[0] == 0.125


def test_holes_are_closed_by_fans() -> None:
    ball = trimesh.creation.icosphere(3)
    mesh = mesh_of(ball)
    open_ball = Mesh(mesh.vertices, mesh.triangles[mesh.vertices[mesh.triangles][:, :, 2].max(axis=1) < 0.9])
    closed, is_closed = with_holes_closed(open_ball)
    assert is_closed
    assert len(closed.triangles) > len(open_ball.triangles)
    assert with_holes_closed(closed) == (closed, True)
    grid = voxelize(open_ball, resolution=48)
    check_convention(grid)
    check_against_igl(grid, closed)
    assert dense_of_grid(grid, np.array([0, 0, 14]), np.array([1, 1, 15]))[0].item() < 0


def test_holes_may_stay_open() -> None:
    mesh = mesh_of(trimesh.creation.icosphere(3))
    open_ball = Mesh(mesh.vertices, mesh.triangles[:-1])
    with_cap, without = voxelize(open_ball, resolution=32), voxelize(open_ball, resolution=32, close_holes=False)
    assert with_cap.topology.differs_from(without.topology) < 50
    check_convention(without)
    nodes, slots = np.nonzero(~masks.unpack(without.topology.lower_child))
    middles = without.topology.lower_origins[nodes] + masks.slot_offsets(4)[slots] * 8 + 4
    inside = np.linalg.norm(without.transform.to_world(middles), axis=1) < 1
    np.testing.assert_array_equal(without.lower_tile_values[:, 0] < 0, inside)


def test_loose_triangles_get_their_sign_from_the_winding_number() -> None:
    """A soup: each triangle shrunk, so that no two share a vertex."""
    ball = mesh_of(trimesh.creation.icosphere(3))
    corners = ball.vertices[ball.triangles]
    corners = 0.98 * corners + 0.02 * corners.mean(axis=1, keepdims=True)
    soup = Mesh.of(corners.reshape(-1, 3), np.arange(corners.shape[0] * 3).reshape(-1, 3))
    assert with_holes_closed(soup) == (soup, False)
    grid = voxelize(soup, resolution=40)
    check_convention(grid)
    radius = np.linalg.norm(grid.transform.to_world(grid.topology.active_voxels()), axis=1)
    sure = np.abs(radius - 1) > 0.03
    np.testing.assert_array_equal(grid.active_values()[sure, 0] < 0, radius[sure] < 1)
    assert (grid.lower_tile_values < 0).any()


def test_figure_eight_boundaries_are_split_into_loops() -> None:
    """Two triangles that meet in one vertex: the boundary visits it twice."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 1], [0, -1, 1.0]])
    triangles = np.array([[0, 1, 2], [0, 3, 4]])
    ring = mesh_of(trimesh.creation.icosphere(3))  # enough closed edges beside, so that these are no soup
    mesh = Mesh.of(
        np.concatenate([vertices, ring.vertices + 9]), np.concatenate([triangles, ring.triangles + len(vertices)])
    )
    closed, is_closed = with_holes_closed(mesh)
    assert is_closed
    assert len(closed.triangles) == len(mesh.triangles) + 2
    assert with_holes_closed(closed)[0] is closed


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.0, 0.15))
def test_any_set_of_holes_is_closed(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    ball = mesh_of(trimesh.creation.icosphere(2))
    torn = Mesh(ball.vertices, ball.triangles[rng.random(len(ball.triangles)) >= share])
    closed, is_closed = with_holes_closed(torn)
    if is_closed:
        assert with_holes_closed(closed)[0] is closed


def test_turned_triangles_are_turned_back() -> None:
    ball = mesh_of(trimesh.creation.icosphere(3))
    flip = np.random.default_rng(0).random(len(ball.triangles)) < 0.3
    triangles = ball.triangles.copy()
    triangles[flip] = triangles[flip][:, ::-1]
    mended = oriented(Mesh(ball.vertices, triangles))
    a, b, c = np.moveaxis(mended.vertices[mended.triangles], 1, 0)
    assert np.all(np.einsum("ij,ij->i", np.cross(b - a, c - a), a) > 0)
    assert oriented(ball) is ball


def test_inside_out_is_solid_too() -> None:
    ball = mesh_of(trimesh.creation.icosphere(2))
    turned = Mesh(ball.vertices, np.ascontiguousarray(ball.triangles[:, ::-1]))
    a, b = voxelize(ball, resolution=24), voxelize(turned, resolution=24)
    assert a.topology.equals(b.topology)
    np.testing.assert_allclose(a.leaf_values, b.leaf_values, atol=1e-6)


def test_long_triangles_over_many_blocks() -> None:
    grid = voxelize(box(100.0, 1.0, 70.0), voxel_size=0.25)
    check_convention(grid)
    voxels = grid.transform.to_world(grid.topology.active_voxels())
    outside = np.abs(voxels) - (50.0, 0.5, 35.0)
    exact = np.linalg.norm(np.maximum(outside, 0), axis=1) + np.minimum(outside.max(axis=1), 0)
    np.testing.assert_allclose(grid.active_values()[:, 0], exact, atol=1e-5)


def test_progress_is_told_in_order() -> None:
    told: list[tuple[str, float]] = []
    voxelize(box(1, 1, 1), resolution=32, on_progress=lambda stage, share: told.append((stage, share)))
    assert list(dict.fromkeys(stage for stage, _ in told)) == ["repair", "distance", "sign", "tiles"]
    assert told[-1] == ("tiles", 1.0)
    assert all(0.0 <= share <= 1.0 for _, share in told)


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="resolution is 6"):
        voxelize(box(1, 1, 1), resolution=6)
    with pytest.raises(UsageError, match=r"half_width is 0\.5"):
        voxelize(box(1, 1, 1), half_width=0.5)
    with pytest.raises(UsageError, match="voxel_size is -1"):
        voxelize(box(1, 1, 1), voxel_size=-1.0)
    with pytest.raises(UsageError, match="larger voxels"):
        voxelize(box(1, 1, 1), voxel_size=1e-9)
    point = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    with pytest.raises(InputError, match="one point"):
        voxelize(point)
    with pytest.raises(InputError, match="no triangles"):
        voxelize(Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)))


@pytest.mark.skipif("FIELDCODEC_DATA" not in os.environ, reason="FIELDCODEC_DATA does not name the folder of real data")
@pytest.mark.parametrize(
    ("name", "size", "count"),
    [("bunny_closed.obj.xz", (628, 621, 489), 5_513_993), ("bunny.ply.xz", (628, 621, 489), 5_513_993)],
)
def test_the_bunny_is_that_of_the_paper(name: str, size: tuple[int, ...], count: int) -> None:
    """NeuralVDB, Table 2; the meshes are not the paper's own (34,835 vertices), hence the tolerance."""
    path = Path(os.environ["FIELDCODEC_DATA"]) / "meshes_scans" / name
    if not path.exists():
        pytest.skip(f"meshes_scans/{name} is not there")
    grid = voxelize(read_mesh(path), resolution=628)
    low, high = grid.topology.active_bounds  # type: ignore[misc]
    assert np.all(np.abs(high - low + 1 - size) <= 3)
    assert abs(grid.topology.num_active_voxels / count - 1) < 0.015
    check_convention(grid)
