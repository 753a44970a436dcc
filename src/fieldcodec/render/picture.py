"""`render`: a picture of a volume, tile by tile on all processors.

grid -> RayTree (what rays meet) + Camera (where they go) -> light and opacity of each pixel -> uint8
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.render import light, shade
from fieldcodec.render.camera import DEFAULT_DIRECTION, UP, Camera, Vector, swept
from fieldcodec.render.culling import needed_leaves
from fieldcodec.render.figure import save_image
from fieldcodec.render.options import Look, RenderOptions
from fieldcodec.render.painters import PAINTERS, OnProgress
from fieldcodec.render.ray_tree import Meaning, outline, ray_tree

LeafChoice = Callable[[SparseGrid], np.ndarray | None]
"""A grid whose leaves hold nothing yet -> rows [n] of the leaves that are needed, rising; None for all of them."""
CameraChoice = Callable[[SparseGrid, RenderOptions], Sequence[Camera]]
"""A grid, whose leaves may hold nothing, and resolved options -> the cameras of its pictures."""


class Decodable(Protocol):
    """A compressed file, such as `CompressedVolume`; what a picture needs of it is decoded before it is drawn."""

    def drawn(self, *, surface: bool, inactive: bool, leaves: LeafChoice | None) -> SparseGrid:
        """The grid with the most active voxels, with what `Needs` has."""
        ...


@dataclass(frozen=True)
class Needs:
    """What pictures need of a grid that is still compressed.

    Attributes:
        surface: of a level set the surface alone; states of voxels do not matter.
        inactive: values of inactive voxels in leaves; of a level set they always count where `surface` is asked for.
        leaves: which leaves; None where all are needed, whatever the tree.
    """

    surface: bool
    inactive: bool
    leaves: LeafChoice | None


def render(
    volume: SparseGrid | VolumeFile | Decodable,
    camera: Camera | None = None,
    options: RenderOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> np.ndarray:
    """A picture of a volume: [H, W, 3] uint8, or [H, W, 4] where `options.background` is None.

    Args:
        volume: a grid; of a file the grid with the most active voxels.
        camera: by default one that shows all of it.

    Raises:
        UnsupportedGridError: the file has no grid that can be drawn, or a grid of several components is to be
            drawn as a surface.
    """
    options = options or RenderOptions()
    grid = volume if isinstance(volume, SparseGrid) else drawn_grid(volume, options, camera)
    options = resolved(options, grid)
    camera = camera or default_camera((grid,), options)
    light_seen, opacity = PAINTERS[options.look](grid, camera, options, on_progress or _ignore)
    return _pixels(light_seen, opacity, options)


def drawn_grid(
    grids: VolumeFile | Decodable, options: RenderOptions | None = None, camera: Camera | None = None
) -> SparseGrid:
    """The grid of a file that has the most active voxels, decoded as far as a picture of it needs it.

    Raises:
        UnsupportedGridError: there is none.
    """
    if not isinstance(grids, VolumeFile):
        options, cameras = options or RenderOptions(), None
        if camera is not None or options.look is Look.SLICE:  # others show all of it
            cameras = _choice(camera)
        needs = needs_of(options, cameras)
        return grids.drawn(surface=needs.surface, inactive=needs.inactive, leaves=needs.leaves)
    known = [grid for grid in grids if isinstance(grid, SparseGrid)]
    if not known:
        raise UnsupportedGridError(f"none of the {len(grids)} grids of the file can be drawn; points are carried only")
    return max(known, key=lambda grid: (not grid.value_type.is_bool, grid.topology.num_active_voxels))


def _choice(camera: Camera | None) -> CameraChoice:
    return lambda grid, options: (camera or default_camera((grid,), options),)


def needs_of(options: RenderOptions, cameras: CameraChoice | None) -> Needs:
    """What pictures need. Options that are chosen by all values need all leaves, so the range of values must be given
    for less, and for fog its density.

    Args:
        cameras: of the pictures; None where they are not known before the grid is decoded.
    """
    look = options.look
    surface = look in (Look.AUTO, Look.SURFACE)

    def leaves(grid: SparseGrid) -> np.ndarray | None:
        if look is Look.AUTO and _may_be_surface(grid):
            return None
        assert cameras is not None
        chosen = resolved(options, grid)
        return needed_leaves(grid, cameras(grid, chosen), chosen)

    all_leaves = cameras is None or look is Look.SURFACE or _by_values(options)
    return Needs(surface, look in (Look.SURFACE, Look.SLICE), None if all_leaves else leaves)


def _may_be_surface(grid: SparseGrid) -> bool:
    """Whether the sign of its values decides whether it is drawn as a surface."""
    return grid.is_level_set and grid.channels == 1 and grid.value_type.is_float


def _by_values(options: RenderOptions) -> bool:
    """Whether something has still to be chosen by the values of a grid, for all looks but surfaces."""
    is_fog = options.look in (Look.AUTO, Look.FOG)
    return options.value_range is None or (is_fog and options.density is None)


def default_camera(
    grids: tuple[SparseGrid, ...],
    options: RenderOptions,
    direction: Vector | None = None,
    *,
    turning: bool = False,
    fov: float = 35.0,
    orthographic: bool = False,
    width: int = 512,
    height: int = 512,
) -> Camera:
    """The camera that shows all active voxels of the grids; slices are looked at straight on.

    Args:
        direction: from the camera to the grids, world space.
        turning: leave room for a turntable.

    Raises:
        UsageError: a number is not allowed.
    """
    if options.look is Look.SLICE and direction is None:
        direction, orthographic = _across(grids[0], options.slice_axis), True
    points = outline(grids)
    if turning:
        points = swept(points, UP)
    return Camera.around(
        points, direction or DEFAULT_DIRECTION, fov=fov, orthographic=orthographic, width=width, height=height
    )


def _across(grid: SparseGrid, axis: int) -> Vector:
    """The world direction against an index axis, across the other two, whatever the transform."""
    matrix = grid.transform.matrix[:3, :3] if grid.transform.is_linear else np.eye(3)
    normal = -np.linalg.inv(matrix)[:, axis]
    return float(normal[0]), float(normal[1]), float(normal[2])


def resolved(options: RenderOptions, grid: SparseGrid) -> RenderOptions:
    """The options with all that is chosen by the grid filled in, so that other grids can be drawn alike."""
    look = options.look
    if look is Look.AUTO:
        look = Look.SURFACE if _may_be_surface(grid) and (grid.leaf_values < 0).any() else Look.FOG
    options = replace(options, look=look)
    if look is Look.SURFACE:
        return options
    if _by_values(options):
        options = _chosen_by_values(options, grid)
    if options.colormap is None and (look is not Look.FOG or grid.channels > 1):
        options = replace(options, colormap="ocean")
    return options


def _chosen_by_values(options: RenderOptions, grid: SparseGrid) -> RenderOptions:
    """The range of values and the density of fog, where they are not given."""
    look = options.look
    tree = ray_tree(grid, Meaning.VALUE if look is Look.SLICE else Meaning.DENSITY)
    if options.value_range is None:
        low, high = float(tree.tiles.min()), float(tree.tiles.max())
        if tree.leaves.size:
            low, high = min(low, float(tree.leaves.min())), max(high, float(tree.leaves.max()))
        low = low if look is Look.SLICE else 0.0
        options = replace(options, value_range=(low, high) if high > low else (low, low + 1.0))
    if look is Look.FOG and options.density is None:
        cells = light.cells_of(grid, tree, options.shadow_cells or 64)
        options = replace(options, density=light.thick_density(cells, tree))
    return options


def save_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write [H, W, 3 or 4] uint8 as a PNG; the file appears only when it is complete.

    Raises:
        InputError: the file cannot be written.
    """
    save_image(path, Image.fromarray(pixels))


def _pixels(light_seen: np.ndarray, opacity: np.ndarray, options: RenderOptions) -> np.ndarray:
    """Premultiplied linear light [H, W, 3] and opacity [H, W] over the background: uint8."""
    if options.background is None:
        straight = light_seen / np.maximum(opacity, 1e-6)[..., None]
        alpha = np.clip(opacity * 255, 0, 255).round().astype(np.uint8)
        return np.concatenate([shade.to_srgb(straight), alpha[..., None]], axis=-1)
    if isinstance(options.background, str):
        return shade.over_backdrop(light_seen, opacity)
    behind = shade.from_srgb(np.clip(np.array(options.background) * 255, 0, 255))
    return shade.to_srgb(light_seen + behind * (1 - opacity[..., None]))


def _ignore(_: float) -> None:
    pass
