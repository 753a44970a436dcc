"""`fieldcodec compare` of meshes or posed pictures with the collection that was made from them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from fieldcodec.cli.collections.measure import CollectionReport, measure_objects, scenes_among
from fieldcodec.cli.collections.tables import print_report
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import is_compressed_collection, refuse_options
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.inputs import find_inputs
from fieldcodec.collection.measure import AnyQuality, ItemQuality, PictureQuality
from fieldcodec.collection.prepare import prepare
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import ExitCode, UsageError
from fieldcodec.io.posed import read_posed

if TYPE_CHECKING:
    from fieldcodec.cli.compare import Compare

_OF_SAMPLES = ("surface_points", "seed", "colour", "scene_preset", "scene_factor")


def compare_objects(options: "Compare") -> ExitCode:
    """Objects that both sides have are measured; one that only one side has is a difference."""
    if is_compressed_collection(options.first):
        raise UsageError(f"{options.first} is compressed; give the meshes first, then the collection made from them")
    given: dict[str, object] = {"--image": options.image, "--frames": options.frames, "--frame": options.frame}
    limits = {"--max-rmse": options.max_rmse, "--max-error": options.max_error}
    refuse_options({**given, **limits}, f"{options.second} holds objects; --min-iou and --max-chamfer are for them")
    start = time.perf_counter()
    collection = open_collection(options.second)
    inputs = find_inputs([options.first])
    shared = {name: source for name, source in inputs.items() if name in collection.names}
    failures = _lonely(set(inputs), set(collection.names))
    if not shared:
        names = ", ".join(collection.names[:10]) or "none"
        raise UsageError(f"no mesh has the name of an object of {options.second}; these are {names}")
    scenes, settings = scenes_among(shared), settings_of(collection)
    with ProgressBars() as bars:
        others = [name for name in shared if name not in scenes]
        assets = prepare([options.first], settings, names=others, on_event=bars) if others else []
        qualities = measure_objects(
            collection, assets, bars, scenes=scenes, factor=options.factor or settings.scene_factor
        )
    failures += _failures(qualities, options)
    sizes = [*(asset.source_bytes for asset in assets), *(read_posed(path).source_bytes for path in scenes.values())]
    source_bytes = sum(sizes) if len(shared) == len(collection) else 0
    report = CollectionReport.of(collection, options.second, qualities, source_bytes)
    if options.json:
        head = {"first": str(options.first), "second": str(options.second), "failures": failures}
        result_json({**head, "seconds": time.perf_counter() - start, **report.to_json()})
    else:
        print_report(Console(), report)
    for failure in failures:
        say(f"fieldcodec: differs: {failure}")
    return ExitCode.QUALITY if failures else ExitCode.OK


def settings_of(collection: CompressedCollection) -> CollectionSettings:
    """Settings with which samples of meshes are those that the collection was made from."""
    stored = collection.listing.settings
    known = {name: stored[name] for name in _OF_SAMPLES if name in stored}
    if "coloured" not in collection.spec.kinds:
        known["colour"] = "none"
    return CollectionSettings.from_json({**known, "lods": collection.spec.lods, "latent": collection.spec.latent})


def _lonely(first: set[str], second: set[str]) -> list[str]:
    found = []
    for which, names in (("the first", first - second), ("the collection", second - first)):
        if names:
            found.append(f"only {which} has {', '.join(map(repr, sorted(names)))}")
    return found


def _failures(qualities: Sequence[AnyQuality], options: "Compare") -> list[str]:
    """Every limit that is passed, in words; an object without a surface passes all of them."""
    found = []
    for view in (each for each in qualities if isinstance(each, PictureQuality)):
        if options.min_psnr is not None and view.view_psnr < options.min_psnr:
            found.append(f"object {view.name!r}: PSNR {view.view_psnr:.2f} dB is below {options.min_psnr:g}")
    for quality in (each for each in qualities if isinstance(each, ItemQuality)):
        label, iou, chamfer = f"object {quality.name!r}", quality.iou, quality.chamfer
        if options.min_iou is not None and (iou is None or iou < options.min_iou):
            found.append(f"{label}: gIoU {'none' if iou is None else format(iou, '.6g')} is below {options.min_iou:g}")
        if options.max_chamfer is not None and (chamfer is None or chamfer > options.max_chamfer):
            shown = "none, as nothing was decoded" if chamfer is None else format(chamfer, ".6g")
            found.append(f"{label}: CD {shown} is above {options.max_chamfer:g}")
    return found
