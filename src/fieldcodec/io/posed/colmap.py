"""COLMAP's models: cameras, images and points3D, as text or binary files.

A rotation q and a translation t take the world to a camera that looks along +z, y downwards. The camera stands at
-R^T t; turning two axes gives the convention of `PosedCamera`.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fieldcodec.errors import InputError
from fieldcodec.io.posed import colmap_binary, colmap_text
from fieldcodec.io.posed.camera import Fault
from fieldcodec.io.posed.colmap_models import MODELS, ColmapCamera
from fieldcodec.io.posed.layout import DISTORTED, OTHER_CAMERA, Lens, ListedView, Listing

_MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "")
_LEVELS = 3  # folders above a model in which pictures are looked for
_UNIT_TOLERANCE = 1e-3  # of a quaternion's length
_TO_OPENGL = np.array([1.0, -1.0, -1.0])  # y and z of camera space change their signs
_OUTLIERS = 0.5  # per cent of the points on either side of each axis: wrong matches lie far away


class ModelFiles(NamedTuple):
    """The files of one model."""

    cameras: Path
    images: Path
    points: Path | None  # None where there is no such file


def find_model(folder: Path) -> ModelFiles | None:
    """The model in a folder, or in the folders below it where COLMAP puts one; binary files before text."""
    for name in _MODEL_FOLDERS:
        place = folder / name
        for suffix in (".bin", ".txt"):
            cameras, images, points = (place / f"{part}{suffix}" for part in ("cameras", "images", "points3D"))
            if cameras.is_file() and images.is_file():
                return ModelFiles(cameras, images, points if points.is_file() else None)
    return None


def list_colmap(model: ModelFiles) -> Listing:
    """What a model says; its views are in the order of their names and have no split.

    Raises:
        InputError: a file is damaged, cut, or not of its kind; faults of views are in the listing.
    """
    parser = colmap_binary if model.cameras.suffix == ".bin" else colmap_text
    cameras: dict[int, ColmapCamera] = {}
    for camera in parser.read_cameras(model.cameras):
        if camera.number in cameras:
            raise InputError(f"{model.cameras} holds two cameras of number {camera.number}")
        cameras[camera.number] = camera
    bounds = None if model.points is None else _bounds(parser.read_points(model.points))
    files = [path for path in model if path is not None]
    above = _folders_above(model.cameras.parent)
    listing = Listing([], files, [*(folder / "images" for folder in above), *above], above[-1], bounds)
    for image in sorted(parser.read_images(model.images), key=lambda image: image.name):
        lens = _lens(cameras.get(image.camera), image.camera)
        if isinstance(lens, Fault):
            listing.faults.append((image.name, lens))
        else:
            listing.views.append(ListedView(image.name, lens, to_world(image.rotation, image.translation), None))
    return listing


def to_world(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """COLMAP's pose as a matrix of `PosedCamera`.

    Args:
        rotation: [4] quaternion w, x, y, z, world to camera; a length that is not 1 shows in the result's axes.
        translation: [3].

    Returns:
        [3, 4] float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found where cameras are checked
        length = np.linalg.norm(rotation)
        w, x, y, z = rotation / length if abs(length - 1) < _UNIT_TOLERANCE else rotation
        turn = np.array(
            [
                [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
            ]
        )
        return np.concatenate([turn.T * _TO_OPENGL, (-turn.T @ translation)[:, None]], axis=1)


def _lens(camera: ColmapCamera | None, number: int) -> Lens | Fault:
    if camera is None:
        return Fault("names a camera that the model does not hold", f"camera {number}")
    model = MODELS[camera.model]
    if model.lens is None:
        return Fault(OTHER_CAMERA, f"camera {number}: {model.name}")
    distortion = {name: camera.numbers[model.names.index(name)] for name in model.names[len(model.lens) :]}
    amounts = ", ".join(f"{name} = {amount:g}" for name, amount in distortion.items() if amount != 0)
    if amounts:
        return Fault(DISTORTED, f"camera {number}: {model.name}, {amounts}")
    values = dict(zip(model.lens, camera.numbers, strict=False))
    fx = values.get("fx", values.get("f"))
    return Lens(camera.width, camera.height, fx, values.get("fy", fx), values["cx"], values["cy"])


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The box around points [n, 3] but the outermost; None where nothing finite is left."""
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return None
    low, high = np.percentile(points, [_OUTLIERS, 100 - _OUTLIERS], axis=0)
    return low, high


def _folders_above(place: Path) -> list[Path]:
    """The model's folder and those above it: up to the scene's where the model lies in `colmap/sparse/0`."""
    place = place.absolute()
    return [place, *place.parents][: _LEVELS + 1]
