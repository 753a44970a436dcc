"""How well an object of a collection stands for the one that it was fitted to."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from fieldcodec.collection.asset import AnyAsset, Asset, RadianceAsset
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.surface import ColouredMesh, default_resolution, mesh_of_item
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.sample import surface_points
from fieldcodec.io.posed import PosedScene
from fieldcodec.metrics.images import mean_of as mean_of_images
from fieldcodec.metrics.shapes import (
    SurfaceMatch,
    colour_psnr,
    match_surfaces,
    overlap,
    sampling_floor,
    triangle_area,
)
from fieldcodec.nets.opacity import opacity_of
from fieldcodec.radiance.measure import measure_views

SURFACE_POINTS = 131_072  # as NGLOD, and probably ReFiNe
MOST_VIEWS = 8  # of a radiance field beside pictures


@final
@dataclass(frozen=True)
class ItemQuality:
    """Lengths are in units of the cube [-1, 1]^3, of which an object fills 0.9 to each side."""

    name: str
    iou: float | None
    """gIoU in percent, over the asset's points of the volume; None where nothing is inside."""
    chamfer: float | None
    """CD: mean squared distance, both directions added, times 1000; None where nothing was decoded."""
    chamfer_floor: float
    """CD of the true surface against another sample of itself, of as many points."""
    mean_distance: float | None
    """Mean distance of the surfaces, mean of both directions; None where nothing was decoded."""
    normal_consistency: float | None
    """Mean |cosine| of normals, mean of both directions; None where nothing was decoded."""
    psnr: float | None
    """3D PSNR in dB of the colours at points of the true surface; None without colours."""
    distance_error: float
    """Mean absolute error of signed distances at the asset's samples near the surface."""
    surface_points: int
    """Of each surface."""
    volume_points: int
    resolution: int
    """Voxels along the cube of the level set that was meshed."""
    area: float
    """Of the decoded mesh."""
    cells: int
    """On the finest level."""

    def to_json(self) -> dict[str, Any]:
        """Numbers by name; what is infinite becomes None, which JSON has a word for."""
        return _finite(asdict(self))


@final
@dataclass(frozen=True)
class RadianceQuality:
    """Of the samples of a radiance field that it was fitted to."""

    name: str
    psnr: float | None
    """In dB, of the colours where light comes from, along the rays that see it."""
    opacity_error: float
    """Mean absolute error of the opacity of a short path (`nets.opacity`), where light gets."""
    samples: int
    """Of each kind."""
    cells: int
    """On the finest level."""

    def to_json(self) -> dict[str, Any]:
        """As of `ItemQuality`."""
        return _finite(asdict(self))


@final
@dataclass(frozen=True)
class PictureQuality:
    """Of a radiance field beside pictures that it was not fitted to: means over views, each alone."""

    name: str
    view_psnr: float
    """In dB."""
    view_ssim: float | None
    """None where pictures have less than 11 pixels along a side."""
    view_flip: float | None
    """Perceptual distance, 0 to 1; None where flip-evaluator is not installed."""
    views: int
    width: int
    """Pixels of the first view."""
    height: int
    cells: int
    """Of the object, on the finest level."""

    def to_json(self) -> dict[str, Any]:
        """As of `ItemQuality`."""
        return _finite(asdict(self))


AnyQuality = ItemQuality | RadianceQuality | PictureQuality


def mean_of(qualities: Sequence[Any], measure: str) -> float | None:
    """Of a measure over the objects that have it; None where none has."""
    values = [getattr(quality, measure, None) for quality in qualities]
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def measure_item(
    item: ItemField,
    asset: Asset,
    *,
    points: int = SURFACE_POINTS,
    resolution: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> ItemQuality:
    """Compare an object with its asset: insides, surfaces, normals and colours.

    Args:
        points: drawn from the decoded mesh, and taken of the true surface, at most half of what the asset has: the
            other half is what the floor is measured with.
        resolution: of the mesh; `surface.default_resolution(item)` unless given.
        seed: of the points on the decoded mesh.
    """
    resolution = default_resolution(item) if resolution is None else resolution
    surface = asset.surface
    count = max(1, min(points, len(surface.points) // 2))
    true = surface.points[:count]
    decoded = mesh_of_item(item, resolution)
    match, area = _matched(item, decoded, asset, count, seed, threads)
    inside = item.distance(asset.volume.points, space="model") < 0
    near = item.distance(asset.near.points, space="model")
    psnr = None
    if item.has_colours and surface.colours is not None:
        psnr = colour_psnr(surface.colours[:count] / 255, item.colour(true, space="model"))
    return ItemQuality(
        name=asset.name,
        iou=overlap(asset.volume.distances < 0, inside),
        chamfer=match.chamfer if match else None,
        chamfer_floor=_floor(surface.points, count, area, threads),
        mean_distance=match.mean_distance if match else None,
        normal_consistency=match.normal_consistency if match else None,
        psnr=psnr,
        distance_error=float(np.abs(near - asset.near.distances).mean()),
        surface_points=count,
        volume_points=len(asset.volume.points),
        resolution=resolution,
        area=area,
        cells=item.octree.num_cells[-1],
    )


def measure_radiance(item: RadianceItem, asset: RadianceAsset, *, points: int = SURFACE_POINTS) -> RadianceQuality:
    """Compare a radiance field with samples of the one that it was fitted to, at most so many of each kind."""
    seen, density, lods = asset.seen, asset.density, item.network.spec.lods
    count = min(points, len(seen.points), len(density.points))
    colours = item.sample(seen.points[:count], seen.directions[:count], space="model")[:, 1:]
    found = item.sample(density.points[:count], space="model")[:, 0]
    errors = np.abs(opacity_of(found, lods) - opacity_of(density.densities[:count], lods))
    return RadianceQuality(
        name=asset.name,
        psnr=colour_psnr(seen.colours[:count] / 255, colours),
        opacity_error=float(errors.mean()),
        samples=count,
        cells=item.octree.num_cells[-1],
    )


def measure_pictures(
    item: RadianceItem, scene: PosedScene, factor: int = 1, *, most: int = MOST_VIEWS,
    on_progress: Callable[[float], None] | None = None,
) -> PictureQuality:  # fmt: skip
    """Compare views of a radiance field with held-out pictures.

    Args:
        factor: how many times smaller pictures are made first.
        most: views, evenly spread over all.

    Raises:
        InputError: a picture cannot be read.
        UsageError: there are no held-out views, or they cannot be made so many times smaller.
    """
    found = list(measure_views(item, scene, factor=factor, most=most, on_progress=on_progress))
    mean, (height, width) = mean_of_images([each.quality for each in found]), found[0].true.shape[:2]
    cells = item.octree.num_cells[-1]
    return PictureQuality(item.name, mean.psnr, mean.ssim, mean.flip, len(found), width, height, cells)


def measure_any(item: ItemField | RadianceItem, asset: AnyAsset) -> AnyQuality | None:
    """Compare an object with its asset; None where they are of different kinds."""
    if isinstance(item, RadianceItem):
        return measure_radiance(item, asset) if isinstance(asset, RadianceAsset) else None
    return measure_item(item, asset) if isinstance(asset, Asset) else None


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value in (float("inf"), float("-inf")) else value for name, value in values.items()}


def _matched(
    item: ItemField, decoded: ColouredMesh, asset: Asset, count: int, seed: int, threads: int | None
) -> tuple[SurfaceMatch | None, float]:
    """Both surfaces compared by `count` points of each, and the area of the decoded one."""
    if not len(decoded.mesh.triangles):
        return None, 0.0
    mesh = Mesh(item.placement.to_model(decoded.mesh.vertices), decoded.mesh.triangles)
    found = surface_points(mesh, count, np.random.default_rng(seed))
    true, normals = asset.surface.points[:count], asset.surface.normals[:count]
    match = match_surfaces(true, found.points, normals, found.normals, threads=threads)
    return match, triangle_area(mesh.vertices, mesh.triangles)


def _floor(points: np.ndarray, count: int, area: float, threads: int | None) -> float:
    if len(points) < 2:
        return sampling_floor(area, count, count)
    return match_surfaces(points[:count], points[count : 2 * count], threads=threads).chamfer
