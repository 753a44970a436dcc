"""From a grid, a camera and options to light: one painter for each look.

A painter returns [H, W, 3] float64 linear light, premultiplied by opacity, and [H, W] float64 opacity.
"""

from collections.abc import Callable
from functools import partial
from threading import Lock

import numpy as np

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render import colormaps, fog_kernels, light, ray_kernels, shade, surface_kernels
from fieldcodec.render.camera import Camera
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.ray_tree import Meaning, RayTree, ray_tree
from fieldcodec.threads import map_threads

_TILE = 32  # pixels along the side of a tile
_LEAST = 2e-3  # transmittance at which nothing behind can be seen
_ENTRIES = 1024  # of a transfer function
_SKY_REACH = 0.12  # of the diagonal of a volume: how far away things still take light of the sky
UP = np.array([0.0, 1.0, 0.0])  # where light of the sky comes from

OnProgress = Callable[[float], None]
"""Called with the share of a picture that is done, from any thread."""
Painter = Callable[[SparseGrid, Camera, RenderOptions, OnProgress], tuple[np.ndarray, np.ndarray]]


def paint_fog(
    grid: SparseGrid, camera: Camera, options: RenderOptions, on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray]:
    """Emission, absorption and single scattering; `options` must be resolved."""
    tree = ray_tree(grid, Meaning.DENSITY)
    assert options.density is not None
    assert options.value_range is not None
    lamp = lamp_direction(camera, options)
    cells = light.cells_of(grid, tree, max(options.shadow_cells, 1))
    lights = np.ones((1, 1, 1, 2), np.float32)
    if options.shadow_cells:
        reach = options.density * options.shadow_reach
        lights = light.light_grid(cells, tree, reach, (lamp, UP), options.threads)
    low, high = options.value_range
    looks = (transfer_table(options), float(low), (_ENTRIES - 1) / (high - low))
    colours = np.array([options.sun, options.sky, [options.emission] * 3], np.float64)
    towards = np.array([*(tree.to_world[:3] @ lamp), options.anisotropy])
    image = np.empty((*_rays_shape(camera, options), 4))
    kernel = partial(
        fog_kernels.march_fog, tables=tree.tables, box=np.stack([tree.low, tree.high]), rays=_rays(camera, tree),
        shape=image.shape[:2], step=float(options.step), seed=options.seed, least=_LEAST, looks=looks, lights=lights,
        light_place=cells.light_place, colours=colours, lamp=towards,
    )  # fmt: skip
    _by_tiles(kernel, image, options, on_progress)
    image = _reduced(image, options)
    return image[..., :3], 1 - image[..., 3]


def paint_surface(
    grid: SparseGrid, camera: Camera, options: RenderOptions, on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray]:
    """The surface where a level set is zero, as clay or in `options.colours`, under a lamp and the sky.

    Raises:
        UnsupportedGridError: the grid has several components.
    """
    hits = trace_hits(grid, camera, options, on_progress)
    right, above, forward = camera.axes
    to_camera = np.stack([-above, right, forward], axis=-1)
    seen = np.isfinite(hits[..., 0])
    normals = np.nan_to_num(hits[..., 1:4]) @ to_camera
    lamp = lamp_direction(camera, options) @ to_camera
    albedo = _surface_colours(camera, hits[..., 0], seen, options)
    lit = shade.clay(normals, np.nan_to_num(hits[..., 4]), np.nan_to_num(hits[..., 5]), lamp, albedo)
    picture = np.concatenate([np.where(seen[..., None], lit, 0), seen[..., None]], axis=-1)
    picture = _reduced(picture, options)
    return picture[..., :3], picture[..., 3]


def _surface_colours(camera: Camera, distances: np.ndarray, seen: np.ndarray, options: RenderOptions) -> np.ndarray:
    """Linear colours [3], or [H n, W n, 3] of what rays met at `distances` where `seen`."""
    if options.colours is None:
        return shade.CLAY
    albedo = np.zeros((*distances.shape, 3))
    height, width = distances.shape
    rows, columns = np.nonzero(seen)
    x, y = (columns[:, None] + 0.5) * (2 / width) - 1, (rows[:, None] + 0.5) * (2 / height) - 1
    table = camera.ray_table()
    ways = table[3] + x * table[4] + y * table[5]
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    points = table[0] + x * table[1] + y * table[2] + ways * distances[seen][:, None]
    albedo[seen] = shade.from_srgb(np.clip(options.colours(points), 0, 1) * 255)
    return albedo


def trace_hits(grid: SparseGrid, camera: Camera, options: RenderOptions, on_progress: OnProgress) -> np.ndarray:
    """[H n, W n, 6] float64 for n = `options.supersampling`: what each ray meets, NaN where nothing:

    distance from the camera, unit normal [3] in world space towards the camera, shares of lamp and sky.
    """
    if grid.channels > 1:
        raise UnsupportedGridError(
            f"grid {grid.name!r} has values of {grid.channels} components and no surface; draw it as fog or a slice"
        )
    tree = ray_tree(grid, Meaning.DISTANCE)
    lamp = lamp_direction(camera, options) if options.shadows else np.zeros(3)
    diagonal = float(np.linalg.norm((tree.high - tree.low) @ tree.to_world[:3]))
    image = np.empty((*_rays_shape(camera, options), 6))
    kernel = partial(
        surface_kernels.trace_surface, tables=tree.tables, box=np.stack([tree.low, tree.high]),
        rays=_rays(camera, tree), shape=image.shape[:2], seed=options.seed,
        to_index=np.ascontiguousarray(tree.index_directions(np.eye(3))), lamp=lamp,
        sky_rays=-(-options.sky_rays // options.supersampling**2),
        sky_reach=_SKY_REACH * diagonal,
    )  # fmt: skip
    _by_tiles(kernel, image, options, on_progress)
    return image


def paint_maximum(
    grid: SparseGrid, camera: Camera, options: RenderOptions, on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray]:
    """The largest magnitude along each ray, in colours."""
    tree = ray_tree(grid, Meaning.DENSITY)
    image = np.empty(_rays_shape(camera, options))
    kernel = partial(
        fog_kernels.march_maximum, tables=tree.tables, box=np.stack([tree.low, tree.high]), rays=_rays(camera, tree),
        shape=image.shape, step=float(options.step),
    )  # fmt: skip
    _by_tiles(kernel, image, options, on_progress)
    return _coloured(image, image > 0, options)


def paint_slice(
    grid: SparseGrid, camera: Camera, options: RenderOptions, on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray]:
    """One plane of voxels, in colours; each voxel is one square."""
    tree = ray_tree(grid, Meaning.VALUE)
    axis, place = options.slice_axis, slice_index(grid, options)
    height, width = _rays_shape(camera, options)
    x, y = np.meshgrid((np.arange(width) + 0.5) * 2 / width - 1, (np.arange(height) + 0.5) * 2 / height - 1)
    table = _rays(camera, tree)[:, :3]
    origins = table[0] + x[..., None] * table[1] + y[..., None] * table[2]
    ways = table[3] + x[..., None] * table[4] + y[..., None] * table[5]
    with np.errstate(divide="ignore", invalid="ignore"):
        points = origins + ways * ((place - origins[..., axis]) / ways[..., axis])[..., None]
        ahead = np.sum((points - origins) * ways, axis=-1) > 0
    points[..., axis] = place
    inside = ahead & np.all((points >= tree.low) & (points <= tree.high), axis=-1)
    image = np.zeros((height, width))
    values = np.empty(int(inside.sum()))
    ray_kernels.sample_points(values, tree.tables, np.ascontiguousarray(points[inside]), True)
    image[inside] = values
    on_progress(1.0)
    return _coloured(image, inside, options)


PAINTERS: dict[Look, Painter] = {
    Look.FOG: paint_fog,
    Look.SURFACE: paint_surface,
    Look.MAXIMUM: paint_maximum,
    Look.SLICE: paint_slice,
}


def slice_index(grid: SparseGrid, options: RenderOptions) -> int:
    """Index coordinate of the layer that a slice shows."""
    bounds = grid.topology.active_bounds
    if bounds is None:
        return 0
    low, high = int(bounds[0][options.slice_axis]), int(bounds[1][options.slice_axis])
    return low + round(options.slice_place * (high - low))


def lamp_direction(camera: Camera, options: RenderOptions) -> np.ndarray:
    """[3] unit vector towards the lamp, world space."""
    if options.light_direction is not None:
        return np.asarray(options.light_direction, np.float64) / np.linalg.norm(options.light_direction)
    right, above, forward = camera.axes
    down, aside, away = shade.TOWARDS_LAMP / np.linalg.norm(shade.TOWARDS_LAMP)
    return right * aside - above * down + forward * away


def transfer_table(options: RenderOptions) -> np.ndarray:
    """[entries, 4] float64: linear colour and extinction for each world unit, over the value range."""
    assert options.density is not None
    assert options.value_range is not None
    places = np.linspace(0, 1, _ENTRIES)
    shares = np.interp(places, *np.array(options.opacity, np.float64).T)
    table = np.ones((_ENTRIES, 4))
    table[:, 3] = shares * options.density * options.value_range[1]
    if options.colormap is not None:
        table[:, :3] = shade.from_srgb(colormaps.apply(options.colormap, places, 0.0, 1.0))
    return table


def _coloured(image: np.ndarray, seen: np.ndarray, options: RenderOptions) -> tuple[np.ndarray, np.ndarray]:
    """Colours of values [H n, W n] where `seen`."""
    assert options.value_range is not None
    assert options.colormap is not None
    light_seen = shade.from_srgb(colormaps.apply(options.colormap, image, *options.value_range))
    picture = np.concatenate([np.where(seen[..., None], light_seen, 0), seen[..., None]], axis=-1)
    picture = _reduced(picture, options)
    return picture[..., :3], picture[..., 3]


def _rays_shape(camera: Camera, options: RenderOptions) -> tuple[int, int]:
    return camera.height * options.supersampling, camera.width * options.supersampling


def _rays(camera: Camera, tree: RayTree) -> np.ndarray:
    """[6, 4]: the camera's ray table in index space, and the squared world lengths of its rows."""
    table = camera.ray_table()
    index = np.empty((6, 4))
    index[0, :3] = tree.index_points(table[0])
    index[1:, :3] = tree.index_directions(table[1:])
    index[:, 3] = np.square(table).sum(axis=1)
    return index


def _by_tiles(kernel: Callable[..., None], image: np.ndarray, options: RenderOptions, on_progress: OnProgress) -> None:
    """Call a kernel for every tile of an image [H, W, ...], on threads; tiles share nothing that they write."""
    height, width = image.shape[:2]
    corners = [(row, column) for row in range(0, height, _TILE) for column in range(0, width, _TILE)]
    done, lock = [0], Lock()

    def paint(corner: tuple[int, int]) -> None:
        row, column = corner
        kernel(image[row : row + _TILE, column : column + _TILE], corner)
        with lock:
            done[0] += 1
            on_progress(done[0] / len(corners))

    map_threads(paint, corners, options.threads)


def _reduced(image: np.ndarray, options: RenderOptions) -> np.ndarray:
    """[H n, W n, C] -> [H, W, C]: means over the rays of a pixel."""
    n = options.supersampling
    if n == 1:
        return image
    height, width = image.shape[0] // n, image.shape[1] // n
    return np.asarray(image.reshape(height, n, width, n, -1).mean(axis=(1, 3)))
