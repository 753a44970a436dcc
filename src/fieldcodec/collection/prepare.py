"""Objects of a collection from files: several at a time, and at once where they were prepared before."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from fieldcodec.collection.asset import AnyAsset, RadianceAsset
from fieldcodec.collection.asset_cache import AssetCache, default_folder
from fieldcodec.collection.ground_truth import asset_of_mesh
from fieldcodec.collection.inputs import find_inputs, is_scene, is_volume
from fieldcodec.collection.level_set_asset import asset_of_level_set, the_level_set
from fieldcodec.collection.radiance_truth import asset_of_radiance
from fieldcodec.collection.scene_asset import asset_of_scene, scene_digest, with_pictures
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import FieldcodecError, InputError, MissingPackageError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.io.mesh.appearance import read_coloured_mesh
from fieldcodec.io.mesh.read import read_mesh
from fieldcodec.io.posed import read_posed
from fieldcodec.io.reading import reading
from fieldcodec.io.volumes import read_volumes
from fieldcodec.radiance.volume import from_volumes, is_radiance

STAGE = "samples of the objects"
_MOST_THREADS = 8  # each needs some hundred megabytes


def prepare(
    paths: Sequence[str | os.PathLike[str]],
    settings: CollectionSettings,
    *,
    cache: str | os.PathLike[str] | None = None,
    keep: bool = True,
    on_event: OnEvent = ignore_event,
) -> list[AnyAsset]:
    """The objects of meshes, level sets and posed pictures, in the order given.

    Args:
        paths: files, folders and patterns; see `find_inputs`.
        cache: the folder that assets are kept in; the platform's own for such things where None.
        keep: False looks into no cache and writes none.
        on_event: called with a `FitEvent` after each object, and with those of the fits of grids to pictures; from
            several threads.

    Raises:
        InputError: files are missing or cannot be read; the message tells of all of them.
        MissingPackageError: trimesh is not installed.
    """
    inputs = find_inputs(paths)
    store = AssetCache(default_folder() if cache is None else Path(cache)) if keep else None
    on_event(FitEvent(STAGE, 0, len(inputs)))
    stopping = threading.Event()

    def on_fit(event: FitEvent) -> None:
        if stopping.is_set():  # nobody waits for a fit of minutes after Ctrl-C
            raise KeyboardInterrupt
        on_event(event)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS, len(inputs))) as pool:
        jobs = [pool.submit(_asset, name, path, settings, store, on_fit) for name, path in inputs.items()]
        try:
            for done, _ in enumerate(as_completed(jobs), 1):
                on_event(FitEvent(STAGE, done, len(inputs)))
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)
    return _results(jobs)


def _results(jobs: list[Future[AnyAsset]]) -> list[AnyAsset]:
    """What the jobs gave; their errors as one, for people who want to mend all files at once."""
    errors = [error for job in jobs if (error := job.exception()) is not None]
    for error in errors:
        if len(errors) == 1 or isinstance(error, MissingPackageError) or not isinstance(error, FieldcodecError):
            raise error
    if errors:
        raise InputError("\n".join(map(str, errors)))
    return [job.result() for job in jobs]


def _asset(
    name: str, path: Path, settings: CollectionSettings, cache: AssetCache | None, on_event: OnEvent
) -> AnyAsset:
    with reading(str(path)):
        asset = _prepared(name, path, settings, cache, on_event)
        if settings.picture_share and isinstance(asset, RadianceAsset) and is_scene(path):
            return with_pictures(asset, read_posed(path), settings)
        return asset


def _prepared(
    name: str, path: Path, settings: CollectionSettings, cache: AssetCache | None, on_event: OnEvent
) -> AnyAsset:
    """The asset of a file, as it is kept."""
    key = _key(path, settings, cache) if cache else ""
    kept = cache.load(key, path, name) if cache else None
    if kept is not None:
        return kept
    try:
        asset, digests = _made(name, path, settings, on_event)
    except InputError as error:
        raise error if str(path) in str(error) else type(error)(f"{path}: {error}") from error
    if cache:
        cache.store(key, asset, digests)
    return asset


def _key(path: Path, settings: CollectionSettings, cache: AssetCache) -> str:
    return cache.key_of_scene(scene_digest(path), settings) if is_scene(path) else cache.key(path, settings)


def _made(name: str, path: Path, settings: CollectionSettings, on_event: OnEvent) -> tuple[AnyAsset, dict[str, str]]:
    """The asset of a file, and the hashes of the further files that it was made from."""
    if is_scene(path):
        return asset_of_scene(read_posed(path), name, settings, on_event), {}
    size = path.stat().st_size
    if is_volume(path):
        volumes = read_volumes(path, on_unsupported=lambda refused: None)
        if is_radiance(volumes):
            return asset_of_radiance(from_volumes(volumes), name, settings, source_bytes=size), {}
        return asset_of_level_set(the_level_set(volumes, path), name, settings, source_bytes=size), {}
    if settings.colour == "none":
        return asset_of_mesh(read_mesh(path), name, settings, source_bytes=size), {}
    coloured = read_coloured_mesh(path)
    size += coloured.companions.num_bytes()
    asset = asset_of_mesh(coloured.mesh, name, settings, appearance=coloured.appearance, source_bytes=size)
    return asset, coloured.companions.digests()
