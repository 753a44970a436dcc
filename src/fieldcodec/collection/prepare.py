"""Objects of a collection from files: several at a time, and at once where they were prepared before."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from fieldcodec.collection.asset import AnyAsset, RadianceAsset
from fieldcodec.collection.asset_cache import AssetCache, default_folder
from fieldcodec.collection.ground_truth import asset_of_mesh
from fieldcodec.collection.inputs import ObjectSource, find_inputs, is_scene, is_volume
from fieldcodec.collection.level_set_asset import asset_of_level_set, level_set_of
from fieldcodec.collection.radiance_truth import asset_of_radiance
from fieldcodec.collection.scene_asset import asset_of_scene, scene_digest, with_pictures
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import FieldcodecError, InputError, MissingPackageError
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.io.mesh.appearance import read_coloured_mesh
from fieldcodec.io.mesh.companions import Companions
from fieldcodec.io.mesh.read import kind_and_bytes, read_mesh
from fieldcodec.io.posed import read_posed
from fieldcodec.io.reading import reading
from fieldcodec.io.volumes import read_volumes
from fieldcodec.radiance.marks import is_radiance
from fieldcodec.radiance.volume import from_volumes

STAGE = "samples of the objects"
_MOST_THREADS = 8  # each needs some hundred megabytes

_HASH_DIGITS = 12  # by which a shared file is known again; were two the same, only a report would be wrong


@dataclass(frozen=True)
class _File:
    """One that an object comes from."""

    path: Path
    size: int  # bytes
    hash: str = ""  # of those beside the object's own


def prepare(
    paths: Sequence[str | os.PathLike[str]],
    settings: CollectionSettings,
    *,
    names: Collection[str] | None = None,
    counted: Collection[str] = (),
    cache: str | os.PathLike[str] | None = None,
    keep: bool = True,
    on_event: OnEvent = ignore_event,
) -> list[AnyAsset]:
    """The objects of meshes, level sets and posed pictures, in the order given.

    `source_bytes` of them add up to those of all files: a file that several objects come from, such as a texture that
    they share, is divided among them, and `shared_files` tells of it.

    Args:
        paths: files, folders and patterns; see `find_inputs`.
        names: of the objects that are wanted; all unless given.
        counted: `shared_files` of a collection that the objects are for: the bytes of these files are those of objects
            that it has already.
        cache: the folder that assets are kept in; the platform's own for such things where None.
        keep: False looks into no cache and writes none.
        on_event: called with a `FitEvent` after each object, and with those of the fits of grids to pictures; from
            several threads.

    Raises:
        InputError: files are missing or cannot be read; the message tells of all of them.
        MissingPackageError: trimesh is not installed.
    """
    inputs = find_inputs(paths)
    wanted = [name for name in inputs if names is None or name in names]
    store = AssetCache(default_folder() if cache is None else Path(cache)) if keep else None
    on_event(FitEvent(STAGE, 0, len(wanted)))
    stopping = threading.Event()

    def on_fit(event: FitEvent) -> None:
        if stopping.is_set():  # nobody waits for a fit of minutes after Ctrl-C
            raise KeyboardInterrupt
        on_event(event)

    files: dict[Path, list[str]] = {}
    for name in wanted:
        files.setdefault(inputs[name].path, []).append(name)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS, max(len(files), 1))) as pool:
        jobs = {
            pool.submit(_assets, {name: inputs[name] for name in some}, settings, store, on_fit): len(some)
            for some in files.values()
        }
        try:
            done = 0
            for job in as_completed(jobs):
                done += jobs[job]
                on_event(FitEvent(STAGE, done, len(wanted)))
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)
    made = {asset.name: (asset, parts) for asset, parts in _results(list(jobs))}
    return _with_shares([made[name] for name in wanted], counted)


def _results(jobs: list[Future[list[tuple[AnyAsset, list[_File]]]]]) -> list[tuple[AnyAsset, list[_File]]]:
    """What the jobs gave; their errors as one, for people who want to mend all files at once."""
    errors = [error for job in jobs if (error := job.exception()) is not None]
    for error in errors:
        if len(errors) == 1 or isinstance(error, MissingPackageError) or not isinstance(error, FieldcodecError):
            raise error
    if errors:
        raise InputError("\n".join(map(str, errors)))
    return [each for job in jobs for each in job.result()]


def _with_shares(made: Sequence[tuple[AnyAsset, list[_File]]], counted: Collection[str]) -> list[AnyAsset]:
    """The assets, the bytes of each file divided among those that come from it."""
    users, before = Counter(file.path for _, files in made for file in files), Counter[Path]()
    assets = []
    for asset, files in made:
        share, shared = 0, []
        for file in files:
            if file.hash and (users[file.path] > 1 or file.hash in counted):
                shared.append(file.hash)
            if not file.hash or file.hash not in counted:
                each, rest = divmod(file.size, users[file.path])
                share += each + (before[file.path] < rest)
                before[file.path] += 1
        assets.append(replace(asset, source_bytes=share, shared_files=tuple(shared)))
    return assets


def _assets(
    sources: dict[str, ObjectSource], settings: CollectionSettings, store: AssetCache | None, on_event: OnEvent
) -> list[tuple[AnyAsset, list[_File]]]:
    """The objects of one file, by name."""
    (path,) = {source.path for source in sources.values()}
    made = []
    with reading(str(path)):
        volumes = lru_cache(lambda: read_volumes(path, on_unsupported=lambda refused: None))
        for name, source in sources.items():
            asset, digests = _prepared(name, source, settings, store, volumes, on_event)
            if settings.picture_share and isinstance(asset, RadianceAsset) and is_scene(path):
                asset = with_pictures(asset, read_posed(path), settings)
            made.append((asset, [_File(path, asset.source_bytes)] if is_scene(path) else _files(path, digests)))
    return made


def _files(path: Path, digests: dict[str, str]) -> list[_File]:
    """A file and those beside it of which there are digests."""
    companions = Companions(path)
    hashes = {path.resolve(): ""}
    for name, digest in digests.items():
        place = companions.place(name)
        if place is not None:
            hashes.setdefault(place.resolve(), digest[:_HASH_DIGITS])
    return [_File(place, place.stat().st_size, digest) for place, digest in hashes.items()]


def _prepared(
    name: str, source: ObjectSource, settings: CollectionSettings, store: AssetCache | None,
    volumes: Callable[[], VolumeFile], on_event: OnEvent,
) -> tuple[AnyAsset, dict[str, str]]:  # fmt: skip
    """The asset of an object, as it is kept, and the hashes of the further files that it was made from."""
    key = _key(source, settings, store) if store else ""
    kept = store.load(key, source.path, name) if store else None
    if kept is not None:
        return kept
    try:
        asset, digests = _made(name, source, settings, volumes, on_event)
    except InputError as error:
        raise error if str(source.path) in str(error) else type(error)(f"{source}: {error}") from error
    if store:
        store.store(key, asset, digests)
    return asset, digests


def _key(source: ObjectSource, settings: CollectionSettings, store: AssetCache) -> str:
    if is_scene(source.path):
        return store.key_of_scene(scene_digest(source.path), settings)
    return store.key(source, settings)


def _made(
    name: str, source: ObjectSource, settings: CollectionSettings, volumes: Callable[[], VolumeFile], on_event: OnEvent
) -> tuple[AnyAsset, dict[str, str]]:
    """The asset of an object, and the hashes of the further files that it was made from.

    Args:
        volumes: reads the grids of its file.
    """
    path = source.path
    if is_scene(path):
        return asset_of_scene(read_posed(path), name, settings, on_event), {}
    if is_volume(path):
        if source.grid is None and is_radiance(volumes()):
            return asset_of_radiance(from_volumes(volumes()), name, settings), {}
        return asset_of_level_set(level_set_of(volumes(), source), name, settings), {}
    if settings.colour == "none":
        return asset_of_mesh(read_mesh(path), name, settings), _buffers(path)
    coloured = read_coloured_mesh(path)
    asset = asset_of_mesh(coloured.mesh, name, settings, appearance=coloured.appearance)
    return asset, coloured.companions.digests()


def _buffers(path: Path) -> dict[str, str]:
    """The hashes of the files beside a `.gltf` that hold its shape."""
    kind, data = kind_and_bytes(path)
    parts = json.loads(data).get("buffers", []) if kind == "gltf" else []
    names = [part["uri"] for part in parts if not part.get("uri", "data:").startswith("data:")]
    return {name: Companions(path).digest(name) for name in names}
