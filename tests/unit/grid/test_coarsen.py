"""Grids at half the resolution and below."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense, grid_of_leaves
from fieldcodec.grid.coarsen import coarse_transform, coarsened
from fieldcodec.grid.iso_surface import iso_surface
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.procedural import smoke_fog, sphere_level_set, torus_level_set, vortex_velocity
from fieldcodec.grid.sparse_grid import STAGGERED, SparseGrid
from fieldcodec.grid.transform import GridTransform

EIGHT = np.stack(list(np.ndindex(2, 2, 2)))


def _look_up(grid: SparseGrid, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [n, C] and states [n] of voxels [n, 3]."""
    blocks = blocks_at(grid, voxels & ~7)
    local = voxels & 7
    slots = local[:, 0] << 6 | local[:, 1] << 3 | local[:, 2]
    active = blocks.fill_active.copy()
    inside = blocks.rows >= 0
    active[inside] = grid.topology.leaf_active_bits[blocks.rows[inside], slots[inside]]
    return blocks.at(np.arange(len(voxels)), slots), active


def _assert_means(fine: SparseGrid, coarse: SparseGrid, voxels: np.ndarray) -> None:
    """Each coarse voxel is the mean of the eight that it covers, those not active counting as background."""
    values, active = _look_up(fine, (voxels[:, None] * 2 + EIGHT).reshape(-1, 3))
    values = np.where(active[:, None], values, fine.background).reshape(len(voxels), 8, -1).astype(float)
    found, found_active = _look_up(coarse, voxels)
    np.testing.assert_array_equal(found_active, active.reshape(-1, 8).any(axis=1))
    np.testing.assert_allclose(found[found_active], values.mean(axis=1)[found_active], rtol=1e-6, atol=1e-9)


def _mass_and_middle(grid: SparseGrid) -> tuple[float, np.ndarray]:
    values = grid.active_values()[:, 0].astype(float)
    volume = abs(np.linalg.det(grid.transform.matrix[:3, :3]))
    places = grid.transform.to_world(grid.topology.active_voxels())
    return float(values.sum() * volume), values @ places / values.sum()


def test_fog_keeps_its_mass_and_its_place() -> None:
    fog = replace(smoke_fog(32, seed=3), transform=GridTransform.uniform(0.3, (5.0, -2.0, 1.0)))
    mass, middle = _mass_and_middle(fog)
    for level in range(1, 5):
        coarse = coarsened(fog, level)
        coarse_mass, coarse_middle = _mass_and_middle(coarse)
        assert coarse_mass == pytest.approx(mass, rel=1e-5)
        np.testing.assert_allclose(coarse_middle, middle, atol=0.05 * coarse.transform.voxel_size[0])
        assert coarse.metadata.get("class") == "fog volume"
        assert coarse.topology.num_active_voxels < fog.topology.num_active_voxels / 3**level


def test_means_at_every_voxel() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(21, 22, 23)).astype(np.float32)
    active = rng.random(values.shape) < 0.3
    fine = grid_of_dense("noise", values, active, origin=(-11, 4085, -140), background=0.25)
    coarse = coarsened(fine, 1)
    low, high = fine.topology.active_bounds
    box = np.stack(np.meshgrid(*(np.arange(a // 2 - 2, b // 2 + 3) for a, b in zip(low, high, strict=True))), -1)
    _assert_means(fine, coarse, box.reshape(-1, 3))
    np.testing.assert_array_equal(coarse.background, fine.background)


def _tiled() -> SparseGrid:
    """Active tiles of all levels beside a leaf: some fill a coarse tile, some a part of one."""
    ones = np.full((1, 64), 255, np.uint8)
    grid = grid_of_leaves("tiles", np.array([[0, 0, 0]]), ones, np.full((1, 512, 1), 3.0))
    topology = grid.topology
    lower_values, upper_values = grid.lower_tile_values.copy(), grid.upper_tile_values.copy()
    lower_active, upper_active = masks.unpack(topology.lower_active), masks.unpack(topology.upper_active)
    lower_slots = [1, *((x << 8 | y << 4 | z) for x in (4, 5) for y in (6, 7) for z in (2, 3)), 4095]
    upper_slots = [7, *((x << 10 | y << 5 | z) for x in (4, 5) for y in (6, 7) for z in (2, 3))]
    for slots, tiles, active in ((lower_slots, lower_values, lower_active), (upper_slots, upper_values, upper_active)):
        tiles[np.array(slots) - 1, 0], active[0, slots] = 2.0, True  # slot 0 has the child
    lower_values[0] = 5.0
    roots = np.array([[8192, 0, 0], *(np.array([-8192, -8192, -8192]) + EIGHT * 4096)], np.int32)
    topology = replace(
        topology, lower_active=masks.pack(lower_active), upper_active=masks.pack(upper_active),
        root_tile_origins=roots[np.lexsort(roots.T[::-1])], root_tile_active=np.ones(9, bool),
    )  # fmt: skip
    return replace(
        grid, topology=topology, lower_tile_values=lower_values, upper_tile_values=upper_values,
        root_tile_values=np.full((9, 1), 4.0, np.float32),
    )  # fmt: skip


def test_tiles() -> None:
    fine = _tiled()
    coarse = coarsened(fine, 1)
    assert coarse.topology.num_active_voxels == fine.topology.num_active_voxels // 8
    np.testing.assert_array_equal(coarse.topology.root_tile_origins, [[-4096, -4096, -4096]])
    assert coarse.topology.num_leaves == 2  # what shares its 16^3 voxels with the leaf, and the single tile
    assert (coarse.lower_tile_mask() & (coarse.lower_tile_values[:, 0] == 2)).sum() == 1 + 512
    assert (coarse.upper_tile_mask() & (coarse.upper_tile_values[:, 0] == 2)).sum() == 1
    assert (coarse.upper_tile_mask() & (coarse.upper_tile_values[:, 0] == 4)).sum() == 16**3
    rng = np.random.default_rng(0)
    near = rng.integers(-4, 70, (4000, 3))
    far = rng.integers(-5000, 9000, (4000, 3))
    _assert_means(fine, coarse, np.concatenate([near, far]))
    _assert_means(coarse, coarsened(fine, 2), np.concatenate([near, far]))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_surface_stays_where_it_is(level: int) -> None:
    fine = sphere_level_set(61.0, centre=(4.0, -7.5, 3.3), voxel_size=0.5)
    coarse = coarsened(fine, level)
    voxel = 0.5 * 2**level
    np.testing.assert_allclose(coarse.transform.voxel_size, voxel)
    np.testing.assert_allclose(coarse.background, 3 * voxel)
    surface = iso_surface(coarse)
    away = np.linalg.norm(surface.vertices - 0.5 * np.array([4.0, -7.5, 3.3]), axis=1) - 30.5
    # linear interpolation of a sphere bends inwards by voxel^2 / (8 radius) at most along an edge, halving adds half
    assert np.abs(away).max() < 0.06 * voxel
    values, active = coarse.leaf_values[..., 0], coarse.topology.leaf_active_bits
    np.testing.assert_array_equal(active, np.abs(values) < coarse.background)
    for tiles in (coarse.lower_tile_values, coarse.upper_tile_values):
        np.testing.assert_array_equal(np.abs(tiles), coarse.background[0])
    rng = np.random.default_rng(level)
    voxels = rng.integers(-100, 100, (4000, 3)) >> level
    distance = np.linalg.norm(coarse.transform.to_world(voxels) - 0.5 * np.array([4.0, -7.5, 3.3]), axis=1) - 30.5
    found, is_active = _look_up(coarse, voxels)
    clear = np.abs(distance) > 0.1 * voxel
    np.testing.assert_array_equal(found[clear, 0] < 0, distance[clear] < 0)
    np.testing.assert_allclose(found[is_active, 0], distance[is_active], atol=0.25 * voxel)
    assert is_active[np.abs(distance) < 1.5 * voxel].all()


def test_holes_stay_open() -> None:
    for level in (1, 2, 3):
        surface = iso_surface(coarsened(torus_level_set(44.0, 17.0), level))
        assert len(surface.vertices) * 2 == len(surface.triangles)  # Euler number 0


def test_thin_band_keeps_its_signs() -> None:
    fine = sphere_level_set(20.0, half_width=1.0)
    coarse = coarsened(fine, 2)
    inside, _ = _look_up(coarse, np.zeros((1, 3), int))
    outside, _ = _look_up(coarse, np.full((1, 3), 9))
    assert inside[0, 0] < 0 < outside[0, 0]
    radius = np.linalg.norm(iso_surface(coarse).vertices, axis=1)
    assert np.abs(radius - 20).max() < 4


def test_world_positions_of_any_linear_transform() -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = [[2.0, 0.3, 0], [0, -0.5, 0.1], [0.2, 0, 1.5]]
    matrix[3, :3] = 7, -8, 9
    fine = GridTransform.of_matrix(matrix)
    voxel = np.array([[3, -4, 5]])
    for level in (1, 3):
        covered = voxel * 2**level + np.stack(list(np.ndindex(*[2**level] * 3)))
        middle = fine.to_world(covered).mean(axis=0)
        np.testing.assert_allclose(coarse_transform(fine, level).to_world(voxel)[0], middle)
    twice = coarse_transform(coarse_transform(fine, 1), 1)
    np.testing.assert_allclose(twice.matrix, coarse_transform(fine, 2).matrix)


def test_staggered_components_stay_on_their_faces() -> None:
    shape = (16, 16, 16)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    values = (index - 0.5).astype(np.float32)  # component i: the position of its face along axis i
    fine = grid_of_dense("v", values, np.ones(shape, bool), value_type="vec3s", grid_class=STAGGERED)
    coarse = coarsened(fine, 1)
    np.testing.assert_allclose(coarse.active_values(), coarse.topology.active_voxels() * 2 - 0.5)
    plain = coarsened(replace(fine, metadata=fine.metadata.without("class")), 1)
    np.testing.assert_allclose(plain.active_values(), plain.topology.active_voxels() * 2)
    assert coarsened(vortex_velocity(16), 2).value_type.name == "vec3s"


@pytest.mark.parametrize(
    ("value_type", "expected"),
    [("half", 2.5), ("double", 2.5), ("int32", 2), ("int64", 2), ("bool", True), ("mask", True)],
)
def test_value_types(value_type: str, expected: float) -> None:
    values = np.full((2, 2, 2), 2.5)
    grid = grid_of_dense("one", values, np.ones(values.shape, bool), value_type=value_type)
    coarse = coarsened(grid, 1)
    assert coarse.value_type == grid.value_type
    assert coarse.topology.active_voxels().tolist() == [[0, 0, 0]]
    assert coarse.active_values().tolist() == [[expected]]


def test_empty_grids_and_refusals() -> None:
    empty = grid_of_dense("empty", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool))
    assert coarsened(empty, 2).topology.is_empty
    assert coarsened(empty, 0) is empty
    for level in (-1, 5):
        with pytest.raises(UsageError, match="0 \\(full resolution\\) to 4"):
            coarsened(empty, level)
    frustum = replace(empty, transform=GridTransform("NonlinearFrustumMap", b""))
    with pytest.raises(UnsupportedGridError, match="no coarser form"):
        coarsened(frustum, 1)
