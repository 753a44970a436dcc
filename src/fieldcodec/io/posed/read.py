"""Reading a scene: its layout is recognised, its pictures are found, every view is checked."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fieldcodec.errors import InputError
from fieldcodec.io.posed.camera import Fault, PosedCamera, lens_fault, pose_fault
from fieldcodec.io.posed.colmap import find_model, list_colmap
from fieldcodec.io.posed.layout import HELD_OUT_EVERY, ListedView, Listing
from fieldcodec.io.posed.picture import PICTURE_SUFFIXES, picture_size
from fieldcodec.io.posed.problems import Problems
from fieldcodec.io.posed.scene import SPLITS, PosedScene, PosedView, Split, sizes_text
from fieldcodec.io.posed.transforms import find_transforms, list_transforms


def read_posed(path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None) -> PosedScene:
    """A scene of posed images; of the pictures only headers are read.

    Args:
        path: a folder with `transforms_train.json` (and `_val`, `_test`) or `transforms.json`, or with a COLMAP model
            in itself, in `sparse/0` or in `sparse`; or one such JSON file. JSON files win over a model.
        images: the folder of the pictures; None looks beside the files that list them, in `images` and in `rgb`, and
            for COLMAP in `images` of the folders above.

    Raises:
        InputError: nothing that is read is found, a file is damaged, or views are wrong: all of them are told at once.
    """
    place = Path(path)
    listing = _listing(place)
    if images is not None:
        folder = Path(images)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of pictures")
        listing = replace(listing, folders=[folder], limit=folder.absolute())
    name = (place if place.is_dir() else place.parent).absolute().name
    views, num_bytes = _checked_views(listing, str(place))
    views.sort(key=lambda view: SPLITS.index(view.split))
    file_bytes = sum(file.stat().st_size for file in listing.files)
    return PosedScene(name, tuple(views), file_bytes + num_bytes, listing.bounds, tuple(_notes(views, listing)))


def _listing(place: Path) -> Listing:
    """What the files at a place say, whatever their layout."""
    if place.is_file():
        if place.suffix.lower() != ".json":
            raise InputError(f"{place} is no list of frames by its name; give a .json file, or the folder of the scene")
        return list_transforms([place])
    if not place.is_dir():
        raise InputError(f"{place}: no such file or folder")
    transforms = find_transforms(place)
    if transforms:
        return list_transforms(transforms)
    model = find_model(place)
    if model is None:
        raise InputError(
            f"{place} holds no posed images; looked for transforms_train.json, transforms_val.json, "
            "transforms_test.json, transforms.json, and COLMAP's cameras and images (.bin or .txt) there, "
            "in sparse/0 and in sparse"
        )
    return list_colmap(model)


def _splits(listed: Sequence[ListedView]) -> list[Split]:
    """The part of each view: where the files give none to any, every eighth in the order of names is for testing."""
    if any(view.split is not None for view in listed):
        return [view.split or "train" for view in listed]
    rows = sorted(range(len(listed)), key=lambda row: listed[row].name)
    held_out = set(rows[::HELD_OUT_EVERY]) if len(rows) > 1 else set()
    return ["test" if row in held_out else "train" for row in range(len(listed))]


def _checked_views(listing: Listing, scene: str) -> tuple[list[PosedView], int]:
    """The views and the bytes of their pictures; InputError with all that is wrong."""
    if not listing.views and not listing.faults:
        raise InputError(f"{scene} lists no views; at least one picture with its camera is needed")
    problems = Problems(scene)
    for name, fault in listing.faults:
        problems.add(name, fault)
    finder = _PictureFinder(listing.folders, listing.limit)
    views: list[PosedView] = []
    num_bytes = 0
    for entry, split in zip(listing.views, _splits(listing.views), strict=True):
        result = _view(entry, split, finder.find(entry.name))
        if isinstance(result, Fault):
            problems.add(entry.name, result)
        else:
            views.append(result)
            num_bytes += result.path.stat().st_size
    views = _each_picture_once(views, problems)
    problems.raise_any()
    return views, num_bytes


def _view(entry: ListedView, split: Split, path: Path | None) -> PosedView | Fault:
    """A view, if its camera is possible and its picture is what is stated."""
    fault = pose_fault(entry.to_world)
    if fault is not None:
        return fault
    if path is None:
        return Fault("has no picture where the files say (name the folder of the pictures with images=)")
    try:
        width, height = picture_size(path)
    except InputError as error:
        return Fault("has a picture that cannot be read", str(error))
    stated = entry.lens.size()
    if stated is not None and stated != (width, height):
        found = f"stated {stated[0]:g} x {stated[1]:g}, picture {width} x {height}"
        return Fault("has a picture of another size than its camera", found)
    lens = entry.lens.at(width, height)
    if lens is None:
        return Fault("has no focal length (camera_angle_x or fl_x)")
    fault = lens_fault(width, height, lens)
    if fault is not None:
        return fault
    name = PurePosixPath(entry.name.replace("\\", "/")).as_posix()
    return PosedView(name, PosedCamera(width, height, *lens, entry.to_world), path, split)


def _each_picture_once(views: Sequence[PosedView], problems: Problems) -> list[PosedView]:
    """The views without those of `val` that are in another part too; any other picture listed twice is a problem."""
    elsewhere = {view.path for view in views if view.split != "val"}
    kept = [view for view in views if view.split != "val" or view.path not in elsewhere]
    parts: dict[Path, list[str]] = {}
    for view in kept:
        parts.setdefault(view.path, []).append(view.split)
    for path, where in parts.items():
        if len(where) > 1:
            problems.add(path.name, Fault("is listed more than once", f"in {', '.join(where)}"))
    return kept


def _notes(views: Sequence[PosedView], listing: Listing) -> Iterator[str]:
    if len({(view.camera.width, view.camera.height) for view in views}) > 1:
        yield f"the pictures are of {sizes_text(views)}"
    if all(view.split is None for view in listing.views):
        yield f"no split is stated: every {HELD_OUT_EVERY}th picture in the order of names is for testing"
    yield from listing.notes
    left_out = len(listing.views) - len(views)
    if left_out:
        yield f"{left_out} pictures of val are also in train or test and count there only"


class _PictureFinder:
    """Finds pictures in folders, also where their suffix is left out; never outside of the limit."""

    def __init__(self, folders: Sequence[Path], limit: Path) -> None:
        self._places = [(folder.absolute(), suffix) for folder in folders for suffix in ("", *PICTURE_SUFFIXES)]
        self._limit = os.path.normpath(limit)

    def find(self, name: str) -> Path | None:
        """The file of a picture; None where there is none."""
        for folder, suffix in self._places:
            # by its text: links are followed, but no `..` and no absolute path leads out
            path = Path(os.path.normpath(folder / (name.replace("\\", "/") + suffix)))
            if path.is_relative_to(self._limit) and os.path.isfile(path):
                return path
        return None
