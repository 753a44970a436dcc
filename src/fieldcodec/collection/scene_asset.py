"""One object of a collection from posed pictures: a radiance grid is fitted to them, and the grid is looked at."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xxhash

from fieldcodec.collection.asset import RadianceAsset, ScenePictures
from fieldcodec.collection.radiance_truth import Rays, asset_of_radiance
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.io.posed import PosedScene, PosedView, rays, read_posed
from fieldcodec.radiance.fit import fit_scene
from fieldcodec.radiance.pixels import PixelTable
from fieldcodec.radiance.settings import RadianceSettings

_ONE_FIT = threading.Lock()  # a fit takes all processors, and memory


def asset_of_scene(
    scene: PosedScene, name: str, settings: CollectionSettings, on_event: OnEvent = ignore_event
) -> RadianceAsset:
    """Fits a grid to the training pictures, and draws samples along the rays of their cameras.

    Raises:
        InputError: a picture cannot be read, or there is nothing to be seen.
        UsageError: there are no training pictures, or they cannot be made so many times smaller.
    """

    def on_step(event: FitEvent) -> None:
        on_event(replace(event, stage=f"{event.stage} of {name}"))

    wanted = RadianceSettings.preset(settings.scene_preset)
    with _ONE_FIT:
        fit = fit_scene(scene, wanted, factor=settings.scene_factor, on_event=on_step)
    return asset_of_radiance(
        fit.grid, name, settings, rays=rays_of_views(scene.of("train")), source_bytes=scene.source_bytes
    )


def with_pictures(asset: RadianceAsset, scene: PosedScene, settings: CollectionSettings) -> RadianceAsset:
    """The asset with the training pictures, so that it can be fitted to them."""
    pixels = PixelTable.of(scene.of("train"), settings.scene_factor)
    return replace(asset, pictures=ScenePictures(pixels, scene.brightness))


def rays_of_views(views: Sequence[PosedView]) -> Rays:
    """Random rays through the pictures of cameras."""

    def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.bincount(rng.integers(0, len(views), count), minlength=len(views))
        found = []
        for view, rays_of_it in zip(views, chosen.tolist(), strict=True):
            size = view.camera.width, view.camera.height
            found.append(rays(view.camera, rng.random((rays_of_it, 2)) * size - 0.5))
        origins, directions = zip(*found, strict=True)
        return np.concatenate(origins), np.concatenate(directions)

    return draw


def scene_digest(place: Path) -> str:
    """Of all pictures of a scene and where their cameras are."""
    scene, digest = read_posed(place), xxhash.xxh3_128()
    for view in scene.views:
        camera = view.camera
        digest.update(f"{view.name} {view.split} {camera.fx} {camera.fy} {camera.cx} {camera.cy}".encode())
        digest.update(camera.to_world.tobytes())
        digest.update(view.path.read_bytes())
    return digest.hexdigest()
