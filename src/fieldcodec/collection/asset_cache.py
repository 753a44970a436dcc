"""Assets kept on disk, so that a collection that was prepared once is there at once.

One `.npz` file, never pickled, to an asset. Its name is a hash of the bytes of the object's file, of the settings that
matter and of the version of this code; inside are the hashes of the further files that were read (materials, textures),
which must still be the same. A file that is damaged or out of date is as good as none.
"""

import io
import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import xxhash

from fieldcodec.collection.asset import (
    AnyAsset,
    Asset,
    DensitySamples,
    DistanceSamples,
    Placement,
    RadianceAsset,
    SeenSamples,
    SurfaceSamples,
)
from fieldcodec.collection.inputs import ObjectSource
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.container.files import write_atomically
from fieldcodec.errors import FieldcodecError
from fieldcodec.io.mesh.companions import Companions

_VERSION = 3  # of the samples: raised when the same file and settings give others than before
_MOST_BYTES = 8 << 30  # of the folder; beyond, what was not used for longest goes
_SETTINGS = ("lods", "surface_points", "seed", "colour")
_SETTINGS_OF_SCENES = ("lods", "surface_points", "seed", "scene_preset", "scene_factor")
_SCENES_VERSION = 1  # as _VERSION, of radiance fields
_SUFFIX = ".asset.npz"


@final
@dataclass(frozen=True)
class AssetCache:
    """A folder of assets; problems with it are never errors, but mean that assets are made anew."""

    folder: Path

    def key(self, source: ObjectSource, settings: CollectionSettings) -> str:
        """Where the asset of a file, or of one of its grids, is kept."""
        path, chosen = source.path, {name: getattr(settings, name) for name in _SETTINGS}
        if source.grid is not None:
            chosen["grid"] = source.grid
        text = json.dumps({"version": _VERSION, "suffixes": path.suffixes[-2:], **chosen}, sort_keys=True)
        return xxhash.xxh3_128_hexdigest(path.read_bytes() + text.encode())

    def key_of_scene(self, digest: str, settings: CollectionSettings) -> str:
        """Where the asset of posed pictures with a digest is kept."""
        chosen = {name: getattr(settings, name) for name in _SETTINGS_OF_SCENES}
        text = json.dumps({"version": _SCENES_VERSION, "pictures": digest, **chosen}, sort_keys=True)
        return xxhash.xxh3_128_hexdigest(text.encode())

    def load(self, key: str, path: Path, name: str) -> tuple[AnyAsset, dict[str, str]] | None:
        """The asset under a key, if it is there and the files beside `path` are those that it was made from, with the
        digests of these."""
        place = self._place(key)
        try:
            with np.load(place, allow_pickle=False) as arrays:
                asset, digests = _from_arrays(dict(arrays.items()), name)
            companions = Companions(path)
            if any(companions.digest(item) != digest for item, digest in digests.items()):
                return None
            os.utime(place)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None
        return asset, digests

    def store(self, key: str, asset: AnyAsset, digests: dict[str, str]) -> None:
        """Keep an asset; `digests` of the further files that it was made from."""
        buffer = io.BytesIO()
        np.savez(buffer, **_to_arrays(asset, digests))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._place(key), [buffer.getvalue()], overwrite=True)
            self._trim()
        except (OSError, FieldcodecError):
            return

    def _place(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _trim(self) -> None:
        files = [(file.stat(), file) for file in self.folder.glob(f"*{_SUFFIX}")]
        total = sum(stat.st_size for stat, _ in files)
        for stat, file in sorted(files, key=lambda item: item[0].st_mtime):
            if total <= _MOST_BYTES:
                return
            file.unlink(missing_ok=True)
            total -= stat.st_size


def default_folder() -> Path:
    """Where the platform wants programs to keep what can be made again."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fieldcodec" / "assets"


def _to_arrays(asset: AnyAsset, digests: dict[str, str]) -> dict[str, Any]:
    facts = {
        "centre": asset.placement.centre, "scale": asset.placement.scale, "source_bytes": asset.source_bytes,
        "digests": digests,
    }  # fmt: skip
    arrays: dict[str, Any] = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    if isinstance(asset, RadianceAsset):
        arrays["up"] = np.array(asset.up)
        return arrays | {
            "seen_points": asset.seen.points, "directions": asset.seen.directions, "colours": asset.seen.colours,
            "density_points": asset.density.points, "densities": asset.density.densities,
        }  # fmt: skip
    arrays |= {
        "points": asset.surface.points, "normals": asset.surface.normals,
        "near_points": asset.near.points, "near_distances": asset.near.distances,
        "volume_points": asset.volume.points, "volume_distances": asset.volume.distances,
    }  # fmt: skip
    return arrays if asset.surface.colours is None else {**arrays, "colours": asset.surface.colours}


def _from_arrays(arrays: dict[str, np.ndarray], name: str) -> tuple[AnyAsset, dict[str, str]]:
    facts = json.loads(arrays["facts"].tobytes())
    x, y, z = facts["centre"]
    placement, size = Placement((x, y, z), facts["scale"]), facts["source_bytes"]
    asset: AnyAsset
    if "densities" in arrays:
        seen = SeenSamples(arrays["seen_points"], arrays["directions"], arrays["colours"])
        density = DensitySamples(arrays["density_points"], arrays["densities"])
        u, v, w = arrays["up"].tolist()
        asset = RadianceAsset(name, placement, seen, density, size, up=(u, v, w))
    else:
        surface = SurfaceSamples(arrays["points"], arrays["normals"], arrays.get("colours"))
        near = DistanceSamples(arrays["near_points"], arrays["near_distances"])
        volume = DistanceSamples(arrays["volume_points"], arrays["volume_distances"])
        asset = Asset(name, placement, surface, near, volume, size)
    return asset, facts["digests"]
