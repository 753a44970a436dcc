"""The side-by-side picture: where things appear, what the error panel shows, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fieldcodec.errors import InputError, UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense, grid_of_leaves
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.render import colormaps
from fieldcodec.render.compare_image import comparison_image, save_comparison
from fieldcodec.render.fog import absorption, render_fog
from fieldcodec.render.projection import line_integral, mean_projection, pixel_voxels, slice_projection
from fieldcodec.render.surface import SurfaceField
from fieldcodec.render.view import View, frame_of, side_axis

SHAPE = (24, 20, 16)


def fog(values: np.ndarray, active: np.ndarray | None = None, **kwargs) -> SparseGrid:
    active = np.ones(values.shape[:3], bool) if active is None else active
    return grid_of_dense("density", values, active, **{"grid_class": "fog volume", **kwargs})


def sphere(radius: float = 9.3, center=(12.2, 11.7, 13.1), voxel: float = 0.5) -> SparseGrid:
    places = np.stack(np.meshgrid(*[np.arange(26)] * 3, indexing="ij"), -1)
    distance = np.linalg.norm(places - np.array(center), axis=-1) - radius
    values = np.clip(distance, -3, 3)[..., None] * voxel
    return grid_of_dense(
        "ball", values, np.abs(distance) < 3, origin=(-5, 3, 40), background=3 * voxel, inactive_values=values,
        transform=GridTransform.uniform(voxel), grid_class="level set",
    )  # fmt: skip


def dense_picture(values: np.ndarray, axis: int) -> np.ndarray:
    """[H, W, depth] of a dense box as the camera sees it: x right and y up along z, and so on."""
    if axis == 2:
        return values.transpose(1, 0, 2)[::-1, :, ::-1]
    if axis == 0:
        return values.transpose(1, 2, 0)[::-1, ::-1, ::-1]
    return values.transpose(2, 0, 1)[:, :, ::-1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_projections_are_those_of_the_dense_box(axis):
    rng = np.random.default_rng(axis)
    values, other = rng.random(SHAPE, dtype=np.float32), rng.random(SHAPE, dtype=np.float32)
    active, other_active = rng.random(SHAPE) < 0.05, rng.random(SHAPE) < 0.05
    first, second = (fog(v, a, origin=(-3, 5, -70)) for v, a in ((values, active), (other, other_active)))
    frame = frame_of((first, second), axis)
    projection = mean_projection(first, second, frame, 1)
    seen, seen_other = dense_picture(active, axis), dense_picture(other_active, axis)
    a, b = dense_picture(values, axis) * seen, dense_picture(other, axis) * seen_other
    either = seen | seen_other
    box = tuple(slice(edge.min(), edge.max() + 1) for edge in np.nonzero(either.any(axis=2)))
    with np.errstate(invalid="ignore"):
        expected = [a.sum(2) / seen.sum(2), b.sum(2) / seen_other.sum(2), np.abs(a - b).sum(2) / either.sum(2)]
    margin = (frame.window_size[:2] - np.array([edge.stop - edge.start for edge in box])) // 2
    for picture, wanted in zip((projection.original, projection.decoded, projection.error), expected, strict=True):
        wanted = wanted[box]
        cut = picture[margin[0] : margin[0] + wanted.shape[0], margin[1] : margin[1] + wanted.shape[1]]
        np.testing.assert_allclose(cut, wanted, rtol=1e-5)
        assert np.isfinite(picture).sum() == np.isfinite(wanted).sum()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_one_layer_of_voxels(axis):
    values = np.random.default_rng(3).random(SHAPE, dtype=np.float32)
    grid = fog(values)
    frame = frame_of((grid,), axis)
    depth = int(View(axis).origins(np.full((1, 3), 7), 1)[0, 2] - frame.low[2])
    picture = slice_projection(grid, grid, frame, 1, depth).original
    picture = picture[np.isfinite(picture).any(axis=1)][:, np.isfinite(picture).any(axis=0)]
    wanted = dense_picture(np.take(values, [7], axis=axis), axis)[..., 0]
    np.testing.assert_array_equal(picture, wanted)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_coarse_pixels_keep_what_fog_absorbs(factor):
    values = np.random.default_rng(4).random((40, 33, 70), dtype=np.float32)
    grid = fog(values, origin=(11, -29, 3))
    frame = frame_of((grid,), 2)
    total = line_integral(grid, frame, factor).sum() * factor**2
    assert total == pytest.approx(float(values.sum(dtype=np.float64)), rel=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 16])
def test_fog_absorbs_by_its_line_integral(factor):
    """Beer and Lambert: what gets through is exp(-absorption * sum of densities)."""
    values = np.random.default_rng(5).random((32, 32, 32), dtype=np.float32) ** 4
    grid = fog(values)
    frame = frame_of((grid,), 0)
    strength = absorption(grid, frame, factor) / 4
    _, opacity = render_fog(grid, frame, factor, strength)
    np.testing.assert_allclose(opacity, 1 - np.exp(-strength * line_integral(grid, frame, factor)), atol=1e-5)


def test_fog_is_lit_from_above():
    grid = fog(np.full((16, 32, 16), 1.0, np.float32))
    frame = frame_of((grid,), 2)
    light, opacity = render_fog(grid, frame, 1, 0.3)
    rows = np.flatnonzero(opacity.max(axis=1) > 0.5)
    assert light[rows[0]].max() > 1.5 * light[rows[-1]].max()


def slow_sample(grid: SparseGrid, point: np.ndarray) -> float:
    """Trilinear, voxel by voxel."""
    voxels = {}
    for origin, values in zip(grid.topology.leaf_origins, grid.leaf_values[..., 0], strict=True):
        for slot, offset in enumerate(masks.slot_offsets(3)):
            voxels[tuple((origin + offset).tolist())] = float(values[slot])
    base = np.floor(point).astype(int)
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, point - base, 1 - (point - base)))
        total += weight * voxels.get(tuple((base + corner).tolist()), float(grid.background[0]))
    return total


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rays_meet_a_sphere_where_it_is(axis):
    grid = sphere()
    frame = frame_of((grid,), axis)
    field = SurfaceField(grid, frame)
    surface = field.trace((60, 64))
    center = np.array([12.2 - 5, 11.7 + 3, 13.1 + 40])
    index = frame.view.to_index(surface.points[surface.hit] + frame.low)
    away = np.linalg.norm(index - center, axis=1)
    assert np.abs(away - 9.3).max() < 0.1
    area = surface.hit.mean() * frame.window_size[0] * frame.window_size[1]
    assert area == pytest.approx(np.pi * 9.3**2, rel=0.03)
    # Only the near half is seen, and normals point away from the centre.
    assert (index[:, axis] - center[axis]).min() > -0.5
    outward = np.zeros_like(index)
    outward[:, list(frame.view.axes)] = surface.normals[surface.hit] * np.array(frame.view.signs)
    assert ((outward * (index - center)).sum(axis=1) / away).min() > 0.98


def test_samples_of_a_surface_field_are_trilinear():
    grid = sphere()
    frame = frame_of((grid,), 1)
    rng = np.random.default_rng(0)
    ijk = grid.topology.active_voxels()[rng.choice(grid.topology.num_active_leaf_voxels, 8)] + rng.random((8, 3))
    # Camera coordinates of fractions: a voxel's own place is its integer coordinate in both spaces.
    camera = np.where(np.array(frame.view.signs) > 0, ijk[:, list(frame.view.axes)], -1 - ijk[:, list(frame.view.axes)])
    found = SurfaceField(grid, frame).sample(camera - frame.low)
    assert found == pytest.approx([slow_sample(grid, point) for point in ijk], abs=1e-5)


def panels_of(image: Image.Image, size: int) -> list[np.ndarray]:
    """The three pictures of a page, by their known place: a page margin, then panels with a gap."""
    pixels = np.asarray(image).astype(int)
    dark = pixels.sum(axis=2) < 300
    rows = np.flatnonzero(dark[:, 24 : 24 + size].mean(axis=1) > 0.3)
    starts = [int(i) for i in np.flatnonzero(np.diff(dark[rows[-3]].astype(int)) == 1) + 1]
    return [pixels[rows[0] : rows[-1] + 1, start : start + size] for start in starts[:3]]


def test_the_error_shows_where_it_is():
    """An error at large x and large y appears at the upper right, looking along z."""
    values = np.full((32, 32, 32), 0.5, np.float32)
    other = values.copy()
    other[26:30, 26:30, :] += 0.3
    panels = panels_of(comparison_image(fog(values), fog(other), size=200, axis=2), 200)
    bright = panels[2].sum(axis=2)
    rows, columns = np.nonzero(bright > 0.8 * bright.max())
    assert rows.mean() < 70
    assert columns.mean() > 130


def test_equal_grids_have_a_dark_error_panel():
    for grid in (fog(np.random.default_rng(0).random((24, 24, 24))), sphere()):
        first, second, error = panels_of(comparison_image(grid, grid, size=160), 160)
        np.testing.assert_array_equal(first, second)
        assert first.max() > 150
        assert error.max() < 70


def test_a_moved_surface_has_the_error_of_its_move():
    near = sphere()
    far = sphere(center=(12.7, 11.7, 13.1))
    frame = frame_of((near, far), 0)
    surface = SurfaceField(near, frame).trace((40, 40))
    middle = surface.points[20, 20][None]
    # Along x, at the point that looks along x, the move of half a voxel is seen in full.
    assert abs(SurfaceField(far, frame).sample(middle)[0]) / 0.5 == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("value_type", "value", "grid_class"),
    [
        ("vec3s", (1, -2, 2), "staggered"), ("vec2d", (3, 4), "unknown"), ("int32", -4, "unknown"),
        ("bool", True, "unknown"), ("mask", True, "unknown"), ("half", 0.5, "fog volume"), ("float", -1.5, "unknown"),
        ("double", 1.5, "level set"), ("int64", 2**60, "level set"), ("float", np.nan, "fog volume"),
        ("float", np.inf, "unknown"), ("double", 1e300, "fog volume"), ("double", 1e-300, "fog volume"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("slice_index", [None, 4])
@pytest.mark.filterwarnings("error")
def test_every_kind_of_grid_makes_a_picture(value_type, value, grid_class, slice_index):
    values = np.broadcast_to(np.asarray(value), (12, 10, 8, *np.shape(value)))
    grid = grid_of_dense("", values, np.ones((12, 10, 8), bool), value_type=value_type, grid_class=grid_class)
    image = comparison_image(grid, grid, size=80, slice_index=slice_index)
    assert image.mode == "RGB"
    assert image.width > 3 * 80


def test_empty_grids_and_slices_beside_the_grid_make_a_picture():
    empty = grid_of_dense("none", np.zeros((0, 0, 0)), np.zeros((0, 0, 0), bool), grid_class="level set")
    full = fog(np.ones(SHAPE, np.float32))
    for first, second in ((empty, empty), (full, empty), (empty, full)):
        assert comparison_image(first, second, size=80).height > 80
    assert comparison_image(full, full, size=80, slice_index=10**6).height > 0


def test_a_lost_surface_is_shown_as_error():
    ball = sphere()
    flat = replace(ball, leaf_values=np.full_like(ball.leaf_values, 1.5))
    _, decoded, error = panels_of(comparison_image(ball, flat, size=120), 120)
    assert decoded.max() < 80
    assert error.max() > 150


def test_grids_far_larger_than_the_picture():
    """Three leaves far apart: nothing dense of the size of the box may be made."""
    origins = np.array([[0, 0, 0], [20000, 16000, 8], [-16000, 9000, 30000]]) & ~7
    values = np.ones((3, 512, 1), np.float32)
    grid = grid_of_leaves("far", origins, np.full((3, 64), 255, np.uint8), values, grid_class="fog volume")
    assert pixel_voxels(frame_of((grid,), 2), 100) == 512
    assert comparison_image(grid, grid, size=100).width > 300


def test_tiles_are_seen():
    grid = fog(np.ones((8, 8, 8), np.float32))
    active = np.zeros((1, 4096), bool)
    active[0, 1] = True  # at (0, 0, 8)
    tiles = grid.lower_tile_values.copy()
    tiles[0] = 2
    tiled = replace(grid, topology=replace(grid.topology, lower_active=masks.pack(active)), lower_tile_values=tiles)
    assert line_integral(tiled, frame_of((tiled,), 0), 1).sum() == 512 + 2 * 512


def test_the_larger_face_is_shown():
    assert side_axis(fog(np.ones((30, 8, 10)))) == 2
    assert side_axis(fog(np.ones((10, 80, 30)))) == 0
    assert side_axis(fog(np.ones((8, 8, 8)))) == 2


def test_captions_wrap_and_long_names_are_cut():
    grid = replace(fog(np.ones((8, 8, 8))), name="a very long name " * 20)
    short, tall = (comparison_image(grid, grid, size=100, caption=text) for text in ("one line", "many words " * 40))
    assert tall.height > short.height
    assert tall.width == short.width


@pytest.mark.parametrize("options", [{"axis": 3}, {"axis": -1}, {"size": 10}, {"size": 10**6}])
def test_bad_options_are_refused(options):
    grid = fog(np.ones((8, 8, 8)))
    with pytest.raises(UsageError):
        comparison_image(grid, grid, **options)


def test_unlike_grids_are_refused():
    with pytest.raises(UsageError, match="1 and 3 components"):
        comparison_image(fog(np.ones((8, 8, 8))), fog(np.ones((8, 8, 8, 3)), value_type="vec3s"))


def test_pictures_are_saved_whole_or_not_at_all(tmp_path):
    grid = fog(np.ones((8, 8, 8)))
    save_comparison(tmp_path / "picture.png", grid, grid, size=64)
    with Image.open(tmp_path / "picture.png") as image:
        assert image.format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    with pytest.raises(InputError, match="cannot write the picture"):
        save_comparison(tmp_path / "no_such_folder" / "picture.png", grid, grid, size=64)


@pytest.mark.parametrize("name", ["heat", "ocean", "grey"])
def test_colour_maps_grow_lighter_evenly(name):
    colours = colormaps.table(name).astype(float) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lightness = np.cbrt(linear @ [0.2126, 0.7152, 0.0722])
    assert np.diff(lightness).min() > -1e-3
    assert lightness[0] < 0.2
    assert lightness[-1] > 0.95


def test_colours_are_clipped_at_the_ends():
    table = colormaps.table("heat")
    assert np.array_equal(colormaps.apply("heat", np.array([-5.0, 0, 2, 9]), 0, 2), table[[0, 0, 255, 255]])
