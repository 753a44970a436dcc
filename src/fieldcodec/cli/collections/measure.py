"""What `encode` and `compare` find out about a collection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldcodec.cli.console import ProgressBars
from fieldcodec.collection.asset import AnyAsset
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.inputs import ObjectSource, is_scene
from fieldcodec.collection.measure import AnyQuality, mean_of, measure_any, measure_pictures
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.io.posed import read_posed
from fieldcodec.nets.device import choose_device

MEANS = ("iou", "chamfer", "chamfer_floor", "normal_consistency", "psnr", "view_psnr", "view_ssim", "view_flip")


@dataclass(frozen=True)
class CollectionReport:
    """Sizes of a file and its objects, and how well these stand for what they were made from."""

    path: Path
    bytes: int
    sections: dict[str, int]
    names: tuple[str, ...]
    item_bytes: tuple[int, ...]
    """Of each object alone: its share of the latents, their details, and the corrections of its octree."""
    qualities: tuple[AnyQuality, ...]
    """Of the objects that were compared."""
    source_bytes: int
    """Of all files that the objects come from, each counted once."""

    @staticmethod
    def of(
        collection: CompressedCollection, path: Path, qualities: Sequence[AnyQuality], source_bytes: int
    ) -> "CollectionReport":
        """Source bytes: 0 where they are not known."""
        sections, own = collection.num_bytes, collection.own_bytes
        latent = sections["latents"] / max(len(collection), 1)
        return CollectionReport(
            path=path,
            bytes=path.stat().st_size,
            sections=sections,
            names=collection.names,
            item_bytes=tuple(round(latent + own[name]) for name in collection.names),
            qualities=tuple(qualities),
            source_bytes=source_bytes,
        )

    @property
    def ratio(self) -> float | None:
        """Of the inputs' bytes to the file's; None where they are not known."""
        return self.source_bytes / self.bytes if self.source_bytes else None

    def mean(self, measure: str) -> float | None:
        """Of a measure over the objects that have it."""
        return mean_of(self.qualities, measure)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        qualities = {quality.name: quality.to_json() for quality in self.qualities}
        return {
            "bytes": self.bytes,
            "bytes_per_object": self.bytes / max(len(self.names), 1),
            "sections": self.sections,
            "bytes_source": self.source_bytes,
            "ratio_source": self.ratio,
            "mean": {measure: self.mean(measure) for measure in MEANS} if self.qualities else None,
            "items": [
                {"name": name, "bytes": size, "quality": qualities.get(name)}
                for name, size in zip(self.names, self.item_bytes, strict=True)
            ],
        }


def measure_objects(
    collection: CompressedCollection,
    assets: Sequence[AnyAsset],
    bars: ProgressBars,
    device: str = "auto",
    scenes: Mapping[str, Path] | None = None,
    factor: int = 1,
) -> list[AnyQuality]:
    """Compares objects with the assets of their names, where both are of one kind.

    Args:
        scenes: folders of posed pictures, by names of objects: radiance fields are compared with some of these instead.
        factor: how many times smaller such pictures are made first.
    """
    scenes = scenes or {}
    names = [*(asset.name for asset in assets if asset.name not in scenes), *scenes]
    known = {asset.name: asset for asset in assets}
    chosen, found = choose_device(device), list[AnyQuality]()
    for place, name in enumerate(names):
        bars.share("comparing", place / len(names))
        item = collection.field(name, chosen)
        if name in scenes and isinstance(item, RadianceItem):

            def on_progress(share: float, place: int = place) -> None:
                bars.share("comparing", (place + share) / len(names))

            found.append(measure_pictures(item, read_posed(scenes[name]), factor, on_progress=on_progress))
        elif name in known and (quality := measure_any(item, known[name])) is not None:
            found.append(quality)
    return found


def scenes_among(inputs: Mapping[str, ObjectSource]) -> dict[str, Path]:
    """The folders of posed pictures."""
    return {name: source.path for name, source in inputs.items() if is_scene(source.path)}
