"""The layout of NeRF's synthetic scenes, with what instant-ngp and nerfstudio add: `transforms*.json`.

Three files, one for each part, or one for all. Numbers of the lens stand at the top, or in a frame, which then counts:

    camera_angle_x, camera_angle_y    radians between opposite edges
    fl_x, fl_y, cx, cy, w, h          pixels; fl_x wins over camera_angle_x
    k1 k2 k3 k4 p1 p2                 distortion: has to be 0
    camera_model, is_fisheye          has to be a pinhole camera
    frames: file_path, transform_matrix (camera to world, OpenGL)
    train_filenames, val_filenames, test_filenames    the parts, in a single file
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fieldcodec.errors import InputError
from fieldcodec.io.posed.camera import Fault
from fieldcodec.io.posed.layout import DISTORTED, OTHER_CAMERA, Lens, ListedView, Listing
from fieldcodec.io.posed.scene import SPLITS, Split
from fieldcodec.io.reading import reading

_LARGEST_FILE = 1 << 28  # bytes
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
_PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE")
_PICTURE_FOLDERS = ("", "images", "rgb", "image")


def find_transforms(folder: Path) -> list[Path]:
    """The files of a folder that list its frames: those of the parts where there are any, else `transforms.json`."""
    parts = [folder / f"transforms_{split}.json" for split in SPLITS]
    single = [folder / "transforms.json"]
    return [path for path in parts if path.is_file()] or [path for path in single if path.is_file()]


def list_transforms(files: Sequence[Path]) -> Listing:
    """What files of one folder say.

    Raises:
        InputError: a file is missing, too large, or not of this layout at all; faults of frames are in the listing.
    """
    folder = files[0].parent
    folders = [folder / name for name in _PICTURE_FOLDERS]
    listing = Listing([], list(files), folders, folder.absolute().parent)
    for path in files:
        _list_frames(path, listing)
    return listing


def _list_frames(path: Path, listing: Listing) -> None:
    """Adds the frames of one file to the listing."""
    document = _document(path)
    listed = _listed_parts(document)
    own: Split | None = next((split for split in SPLITS if path.stem == f"transforms_{split}"), None)
    contradictions = []
    for number, frame in enumerate(document["frames"]):
        name = _name_of(frame)
        if name is None:
            listing.faults.append((f"{path.name} frame {number}", Fault("has no file_path")))
            continue
        split = own or listed.get(_plain(name))
        if split is None and listed:
            continue  # nerfstudio, too, leaves out what none of its lists names
        pose, fault = _pose_of(frame)
        fault = fault or _lens_problem(frame, document)
        if fault is not None:
            listing.faults.append((name, fault))
            continue
        listing.views.append(ListedView(name, _lens(frame, document), pose, split))
        if _contradicts(frame.get("position"), pose):
            contradictions.append(name)
    if contradictions:
        listing.notes.append(
            f"{path.name}: {len(contradictions)} of {len(document['frames'])} frames state a position that is not that "
            f"of their transform_matrix, {contradictions[0]} the first of them; the matrices are used, and may be wrong"
        )


def _document(path: Path) -> dict[str, Any]:
    """The JSON object of a file, with a list of frames."""
    with reading(str(path)):
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise InputError(f"{path} is {size} bytes long; a list of frames has at most {_LARGEST_FILE}")
        raw = path.read_bytes()
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no sound JSON file: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        raise InputError(f"{path} has no list of frames; needed is a JSON object with 'frames', as NeRF's scenes have")
    return document


def _listed_parts(document: dict[str, Any]) -> dict[str, Split]:
    """The part of each picture, as nerfstudio's lists of file names give it."""
    parts: dict[str, Split] = {}
    for split in SPLITS:
        names = document.get(f"{split}_filenames")
        parts |= {_plain(name): split for name in names if isinstance(name, str)} if isinstance(names, list) else {}
    return parts


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _name_of(frame: Any) -> str | None:
    name = frame.get("file_path") if isinstance(frame, dict) else None
    return name if isinstance(name, str) and name else None


def _pose_of(frame: dict[str, Any]) -> tuple[np.ndarray, Fault | None]:
    """The camera-to-world matrix [3, 4] of a frame."""
    try:
        matrix = np.asarray(frame.get("transform_matrix"), np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.shape == (4, 4) and np.abs(matrix[3] - (0, 0, 0, 1)).max() < 1e-6:
        matrix = matrix[:3]
    if matrix.shape == (3, 4):
        return matrix, None
    return matrix, Fault("has no transform_matrix of 4 x 4 numbers with 0 0 0 1 at the bottom")


def _contradicts(position: Any, to_world: np.ndarray) -> bool:
    """Whether a position that a frame states besides its matrix, as scripts for Blender do, is another one."""
    try:
        stated = np.asarray(position, np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    return stated.shape == (3,) and not np.allclose(stated, to_world[:, 3], rtol=1e-3, atol=1e-3)


def _lens_problem(frame: dict[str, Any], document: dict[str, Any]) -> Fault | None:
    for key in _DISTORTION:
        amount = _number(frame, document, key)
        if amount is not None and amount != 0:
            return Fault(DISTORTED, f"{key} = {amount:g}")
    model = frame.get("camera_model", document.get("camera_model"))
    if model is not None and model not in _PINHOLES:
        return Fault(OTHER_CAMERA, f"camera_model {model}")
    return Fault(OTHER_CAMERA, "is_fisheye") if frame.get("is_fisheye", document.get("is_fisheye")) else None


def _lens(frame: dict[str, Any], document: dict[str, Any]) -> Lens:
    keys = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
    return Lens(*(_number(frame, document, key) for key in keys))


def _number(frame: dict[str, Any], document: dict[str, Any], key: str) -> float | None:
    """A number of a frame, or of the whole file; NaN where something else stands there, None where nothing does."""
    value = frame.get(key, document.get(key))
    if value is None:
        return None
    try:
        return float(value) if isinstance(value, (int, float)) else float("nan")
    except OverflowError:  # a whole number of hundreds of digits
        return float("inf")
