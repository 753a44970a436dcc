"""The iso-surface of a sparse grid: closed, turned the right way, where the field says."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense, grid_of_leaves, topology_of_leaves
from fieldcodec.grid.iso_blocks import crossed_blocks
from fieldcodec.grid.iso_surface import IsoSurface, default_iso, iso_surface
from fieldcodec.grid.level_set import level_set_of_leaves
from fieldcodec.grid.procedural import gyroid_level_set, sphere_level_set, torus_level_set, vortex_velocity
from fieldcodec.grid.sparse_grid import LEVEL_SET, SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.surfaces import check_closed


def _euler_number(surface: IsoSurface) -> int:
    """Vertices - edges + triangles; checks on the way that the surface is closed and turned consistently."""
    check_closed(surface)
    return len(surface.vertices) - 3 * len(surface.triangles) // 2 + len(surface.triangles)


def _area_and_volume(surface: IsoSurface) -> tuple[float, float]:
    corners = surface.vertices[surface.triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(across, axis=1).sum() / 2), float(np.einsum("ij,ij->", corners[:, 0], across) / 6)


def test_sphere() -> None:
    radius = 20.3
    surface = iso_surface(sphere_level_set(radius, centre=(3.2, -1.4, 0.7), voxel_size=0.5))
    assert _euler_number(surface) == 2
    area, volume = _area_and_volume(surface)
    assert area == pytest.approx(4 * np.pi * (radius / 2) ** 2, rel=2e-3)
    assert volume == pytest.approx(4 / 3 * np.pi * (radius / 2) ** 3, rel=2e-3)
    from_middle = surface.vertices - 0.5 * np.array([3.2, -1.4, 0.7])
    distance = np.linalg.norm(from_middle, axis=1)
    np.testing.assert_allclose(distance, radius / 2, atol=0.005)
    np.testing.assert_allclose(surface.normals, from_middle / distance[:, None], atol=0.02)


@pytest.mark.parametrize("radius", [16.0, 9.0])
def test_vertices_stay_apart_where_the_surface_meets_voxels(radius: float) -> None:
    surface = iso_surface(sphere_level_set(radius))
    assert _euler_number(surface) == 2
    assert len(np.unique(surface.vertices.astype(np.float32), axis=0)) == len(surface.vertices)


def test_torus_and_gyroid() -> None:
    torus = iso_surface(torus_level_set(22.0, 9.0))
    assert _euler_number(torus) == 0
    assert _area_and_volume(torus)[1] == pytest.approx(2 * np.pi**2 * 22 * 9**2, rel=5e-3)
    gyroid = iso_surface(gyroid_level_set(30.0))
    assert _euler_number(gyroid) < 0  # many handles
    corners = gyroid.vertices[gyroid.triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    agree = np.einsum("ij,ij->i", across, gyroid.normals[gyroid.triangles].mean(axis=1)) > 0
    assert agree.mean() > 0.99


def test_iso_value_of_a_level_set_moves_the_surface() -> None:
    surface = iso_surface(sphere_level_set(18.0), 1.5)
    np.testing.assert_allclose(np.linalg.norm(surface.vertices, axis=1), 19.5, atol=0.02)
    assert _euler_number(surface) == 2


def test_random_signs_give_a_closed_surface() -> None:
    """All 256 cases beside each other, over the borders of leaves."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(25, 26, 27)).astype(np.float32)
    fog = grid_of_dense("noise", values, np.ones(values.shape, bool), origin=(-9, 120, 4090), background=-1.0)
    surface = iso_surface(fog, 0.1)
    _euler_number(surface)
    assert len(surface.vertices) > 10_000
    # each vertex is between a voxel above and one below, but for a few in the middle of cells
    low, high = np.floor(surface.vertices), np.ceil(surface.vertices)
    kinds, counts = np.unique((high - low).sum(axis=1), return_counts=True)
    assert kinds.tolist() == [1, 3]
    assert 0 < counts[1] < 0.05 * counts[0]


@pytest.mark.parametrize(("value", "parts"), [(1.5, 1), (0.8, 2)])
@pytest.mark.parametrize("other", [(1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 1, -1)])
@pytest.mark.parametrize("at", [3, 7])  # within a block, and where four blocks meet
def test_voxels_at_a_diagonal_of_a_face_are_joined_as_the_field_says(
    value: float, parts: int, other: tuple[int, int, int], at: int
) -> None:
    """Between two voxels of this value and two of 0 the bilinear field is value / 2 at its saddle."""
    values = np.zeros((16, 16, 16))
    values[at, at, at] = values[at + other[0], at + other[1], at + other[2]] = value
    surface = iso_surface(grid_of_dense("two", values, np.ones(values.shape, bool)), 0.5)
    assert _euler_number(surface) == 2 * parts
    turned = iso_surface(grid_of_dense("holes", 1 - values, np.ones(values.shape, bool), background=1.0), 0.5)
    assert _euler_number(turned) == 2 * parts


def _box_level_set(side: int, low: int) -> SparseGrid:
    """A cube from `low` with a band of 1.5 voxels, so large that it holds tiles of 8^3 and 128^3 voxels."""

    def inside_depth(voxels: np.ndarray) -> np.ndarray:
        return np.minimum(voxels - (low - 0.25), low + side - 0.75 - voxels).min(axis=-1)

    blocks = np.arange((low - 8) // 8 * 8, low + side + 9, 8)
    near = np.array([low - 8 <= b <= low + 8 or low + side - 16 <= b <= low + side for b in blocks])
    grid = np.stack(np.meshgrid(np.arange(len(blocks)), np.arange(len(blocks)), np.arange(len(blocks)), indexing="ij"))
    numbers = grid.reshape(3, -1).T
    numbers = numbers[near[numbers].any(axis=1)]
    origins = blocks[numbers]
    voxels = origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2)
    values = np.clip(-inside_depth(voxels), -1.5, 1.5).astype(np.float32)
    return level_set_of_leaves(
        "box", origins, values, background=1.5, is_inside=lambda v: inside_depth(v) > 0,
        transform=GridTransform.uniform(1.0),
    )  # fmt: skip


def test_box_with_inside_tiles_has_no_walls() -> None:
    box = _box_level_set(90, 60)
    assert (box.lower_tile_values < 0).any()
    surface = iso_surface(box)
    assert _euler_number(surface) == 2
    assert _area_and_volume(surface)[1] == pytest.approx(89.5**3, rel=1e-3)
    offset = np.abs(surface.vertices - 104.5).max(axis=1)
    np.testing.assert_allclose(offset, 44.75, atol=0.6)


def _fog_of_tiles(lower: list[int], upper: list[int]) -> SparseGrid:
    """A tree with one leaf that is off, and active tiles of value 1 in these slots of its two nodes."""
    topology, _ = topology_of_leaves(np.zeros((1, 3), int), np.zeros((1, 64), np.uint8))
    grid = grid_of_leaves("tiles", np.zeros((1, 3), int), np.zeros((1, 64), np.uint8), np.zeros((1, 512, 1)))
    lower_values, upper_values = grid.lower_tile_values.copy(), grid.upper_tile_values.copy()
    lower_active, upper_active = masks.unpack(topology.lower_active), masks.unpack(topology.upper_active)
    for slots, values, active in ((lower, lower_values, lower_active), (upper, upper_values, upper_active)):
        values[np.array(slots, int) - 1], active[0, slots] = 1, True  # slot 0 is the child
    topology = replace(topology, lower_active=masks.pack(lower_active), upper_active=masks.pack(upper_active))
    return replace(grid, topology=topology, lower_tile_values=lower_values, upper_tile_values=upper_values)


@pytest.mark.parametrize(
    ("lower", "upper", "side"),
    [([1365], [], 8), ([], [33], 128)],  # in the middle of a node; 128^3 beside it
)
def test_active_tiles_without_leaves(lower: list[int], upper: list[int], side: int) -> None:
    surface = iso_surface(_fog_of_tiles(lower, upper))
    assert surface.iso == 0.5
    assert _euler_number(surface) == 2
    np.testing.assert_allclose(np.ptp(surface.vertices, axis=0), side)


def test_root_tiles_are_seen_from_their_neighbours() -> None:
    grid = _fog_of_tiles([], [])
    topology = replace(
        grid.topology, root_tile_origins=np.array([[4096, 0, 0]], np.int32), root_tile_active=np.ones(1, bool)
    )
    tiled = replace(grid, topology=topology, root_tile_values=np.ones((1, 1), np.float32))
    found = crossed_blocks(tiled, 0.5, inside_below=False)
    assert found.min(axis=0).tolist() == [4088, -8, -8]
    assert found.max(axis=0).tolist() == [8184, 4088, 4088]
    faces = 2 * 513**2 + 2 * 513 * 511 + 2 * 511**2  # all blocks of a cube's border, 513 across: none inside
    assert len(found) == faces
    assert default_iso(tiled) == 0.5


def _with_root_tiles(grid: SparseGrid, cells: list[tuple[int, int, int]]) -> SparseGrid:
    """Active tiles of value 1 in these cells of 4096^3 voxels."""
    origins = np.array(cells, np.int32) * 4096
    topology = replace(grid.topology, root_tile_origins=origins, root_tile_active=np.ones(len(cells), bool))
    return replace(grid, topology=topology, root_tile_values=np.ones((len(cells), 1), np.float32))


@pytest.mark.parametrize("background", [0.0, -3.0])
def test_a_root_tile_by_itself_is_a_cube_of_few_triangles(background: float) -> None:
    """The very surface that marching cubes makes of a small cube, only larger."""
    empty = grid_of_dense("empty", np.zeros((1, 1, 1)), np.zeros((1, 1, 1), bool), background=background)
    small = np.full((12, 12, 12), background)
    small[2:10, 2:10, 2:10] = 1.0
    cube = iso_surface(grid_of_dense("cube", small, np.ones(small.shape, bool), background=background), 0.5)
    surface = iso_surface(_with_root_tiles(empty, [(3, -2, 5), (5, 7, -9)]), 0.5)
    assert _euler_number(surface) == 4
    assert surface.triangles.shape == (2 * 44, 3)
    low = surface.vertices.min(axis=0)
    assert low == pytest.approx(np.array([3, -2, -9]) * 4096 + cube.vertices.min(axis=0) - 2)
    first = surface.vertices[:24] - np.array([3, -2, 5]) * 4096
    np.testing.assert_allclose(first.max(axis=0) - 4096, cube.vertices.max(axis=0) - 10)
    beyond = 1 - (0.5 - background) / (1 - background)  # the surface is so far outside the outermost voxels
    volume = 4095**3 + 6 * 4095**2 * beyond + 6 * 4095 * beyond**2 + 8 * beyond**3 / 6
    assert _area_and_volume(surface)[1] == pytest.approx(2 * volume, rel=1e-12)


def test_root_tiles_that_touch_others_are_refused_and_not_begun() -> None:
    empty = grid_of_dense("empty", np.zeros((1, 1, 1)), np.zeros((1, 1, 1), bool))
    with pytest.raises(UnsupportedGridError, match="crosses 3,145,731 blocks"):
        iso_surface(_with_root_tiles(empty, [(3, 3, 3), (4, 4, 4)]), 0.5)


def test_far_parts_of_a_large_box() -> None:
    parts = [sphere_level_set(5.0, centre=(n, -n, 2 * n)) for n in (-100_000, 100_000)]
    origins = np.concatenate([part.topology.leaf_origins for part in parts])
    values = np.concatenate([part.leaf_values[..., 0] for part in parts])
    both = level_set_of_leaves(
        "two", origins, values, background=3.0, is_inside=lambda v: np.zeros(len(v), bool),
        transform=GridTransform.uniform(1.0),
    )  # fmt: skip
    surface = iso_surface(both)
    assert _euler_number(surface) == 4
    assert _area_and_volume(surface)[1] == pytest.approx(2 * 4 / 3 * np.pi * 5**3, rel=0.03)


def test_fog_iso_and_default() -> None:
    axis = np.arange(48) - 23.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    density = np.clip(2 - radius / 10, 0, None).astype(np.float32)
    density[23, 23, 23] = 1e4  # one hot voxel
    fog = grid_of_dense("fog", density, density > 0, origin=(-24, -24, -24), grid_class="fog volume")
    assert default_iso(fog) == pytest.approx(1.0, abs=0.15)
    surface = iso_surface(fog, 0.5)
    assert _euler_number(surface) == 2
    away = np.linalg.norm(surface.vertices + 0.5, axis=1)
    np.testing.assert_allclose(away, 15, atol=0.05)
    assert (np.einsum("ij,ij->i", surface.normals, surface.vertices + 0.5) > 0).all()


@pytest.mark.parametrize("dtype", ["half", "double", "int32", "bool"])
def test_other_value_types(dtype: str) -> None:
    values = np.zeros((9, 9, 9))
    values[2:7, 2:7, 2:7] = 1
    grid = grid_of_dense("cube", values, values > 0, value_type=dtype)
    surface = iso_surface(grid, 0.5)
    assert _euler_number(surface) == 2
    np.testing.assert_allclose(np.ptp(surface.vertices, axis=0), 5)


def test_outside_is_where_the_background_is() -> None:
    """Distances in a grid of no class are inside below, as those of a level set."""
    sphere = sphere_level_set(9.0)
    plain = replace(sphere, metadata=sphere.metadata.without("class"))
    one, other = iso_surface(sphere), iso_surface(plain, 0.0)
    np.testing.assert_array_equal(one.triangles, other.triangles)
    np.testing.assert_array_equal(one.normals, other.normals)


def test_transforms_that_are_not_uniform_or_mirror() -> None:
    sphere = sphere_level_set(12.0)
    matrix = np.eye(4)
    matrix[:3, :3] = [[2.0, 0.3, 0], [0, -0.5, 0.1], [0.2, 0, 1.5]]
    matrix[3, :3] = 7, -8, 9
    assert np.linalg.det(matrix) < 0
    surface = iso_surface(replace(sphere, transform=GridTransform.of_matrix(matrix)))
    assert _euler_number(surface) == 2
    volume = abs(np.linalg.det(matrix)) * 4 / 3 * np.pi * 12**3
    assert _area_and_volume(surface)[1] == pytest.approx(volume, rel=5e-3)
    index = (surface.vertices - matrix[3, :3]) @ np.linalg.inv(matrix[:3, :3])
    np.testing.assert_allclose(np.linalg.norm(index, axis=1), 12, atol=0.02)
    expected = index @ np.linalg.inv(matrix[:3, :3]).T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(surface.normals, expected, atol=0.05)


def test_index_space_needs_no_linear_transform() -> None:
    sphere = sphere_level_set(8.0, voxel_size=0.1)
    frustum = replace(sphere, transform=GridTransform("NonlinearFrustumMap", b""))
    with pytest.raises(UnsupportedGridError, match="index space"):
        iso_surface(frustum)
    surface = iso_surface(frustum, in_world_space=False)
    np.testing.assert_allclose(np.linalg.norm(surface.vertices, axis=1), 8, atol=0.02)


def test_nothing_on_the_other_side_is_an_empty_surface() -> None:
    empty = grid_of_dense("empty", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool))
    for grid in (
        empty,
        empty.with_class(LEVEL_SET),
        grid_of_dense("one", np.ones((4, 4, 4)), np.ones((4, 4, 4), bool)),
    ):
        iso = 5.0 if not grid.is_level_set else None
        if grid.is_level_set:
            grid = replace(grid, background=np.ones(1, np.float32))
            grid = replace(
                grid, lower_tile_values=grid.lower_tile_values + 1, upper_tile_values=grid.upper_tile_values + 1
            )
        surface = iso_surface(grid, iso)
        assert surface.vertices.shape == surface.triangles.shape == surface.normals.shape == (0, 3)
    assert default_iso(empty) == 0


def test_refusals() -> None:
    sphere = sphere_level_set(8.0)
    for iso in (3.0, -5.0):
        with pytest.raises(UsageError, match="outside the band"):
            iso_surface(sphere, iso)
    with pytest.raises(UsageError, match="finite"):
        iso_surface(sphere, np.nan)
    with pytest.raises(UnsupportedGridError, match="vec3s"):
        iso_surface(vortex_velocity(16))


def test_not_a_number_is_outside() -> None:
    values = np.ones((12, 12, 12), np.float32)
    values[5, 5, 5], values[7, 7, 7] = np.nan, np.inf
    surface = iso_surface(grid_of_dense("odd", values, np.ones(values.shape, bool)), 0.5)
    assert _euler_number(surface) == 4  # the cube, and a cavity around the NaN
    assert np.isfinite(surface.vertices).all()
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1, atol=1e-5)
