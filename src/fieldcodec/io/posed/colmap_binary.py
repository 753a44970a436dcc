"""COLMAP's binary files. Everything is little endian; every count is checked against the bytes that are left."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fieldcodec.io.posed.colmap_models import MODELS, ColmapCamera, ColmapImage
from fieldcodec.io.reading import reading
from fieldcodec.io.vdb.layout import Cursor

_CAMERA = struct.Struct("<IiQQ")  # number, model, width, height; then the model's doubles
_POSE = struct.Struct("<I4d3dI")  # number, quaternion, translation, camera; then a name that ends with 0
_POINT = struct.Struct("<Q3d3BdQ")  # number, place, colour, error, views that follow
_SEEN_POINT_BYTES, _TRACK_BYTES = 24, 8
_PLACE = 8  # bytes of a point before its place
_LONGEST_NAME = 4096


def read_cameras(path: Path) -> Iterator[ColmapCamera]:
    """The cameras of `cameras.bin`.

    Raises:
        InputError: the file is cut, or has a camera model that is not known.
    """
    cursor = _open(path)
    for _ in range(_count(cursor, _CAMERA.size, "cameras")):
        number, model, width, height = _CAMERA.unpack(cursor.take(_CAMERA.size, "a camera"))
        if model not in MODELS:
            cursor.fail(f"camera {number} is of model {model}; known are 0 to {max(MODELS)}")
        count = len(MODELS[model].names)
        numbers = struct.unpack(f"<{count}d", cursor.take(8 * count, f"camera {number}"))
        yield ColmapCamera(number, model, width, height, numbers)


def read_images(path: Path) -> Iterator[ColmapImage]:
    """The images of `images.bin`.

    Raises:
        InputError: the file is cut or damaged.
    """
    cursor = _open(path)
    for _ in range(_count(cursor, _POSE.size + 9, "images")):
        _, *pose, camera = _POSE.unpack(cursor.take(_POSE.size, "an image"))
        name = _name(cursor)
        points = _count(cursor, _SEEN_POINT_BYTES, f"points seen in {name}")
        cursor.pos += points * _SEEN_POINT_BYTES
        yield ColmapImage(name, camera, np.array(pose[:4]), np.array(pose[4:]))


def read_points(path: Path) -> np.ndarray:
    """[n, 3] float64: the places of the points of `points3D.bin`.

    Raises:
        InputError: the file is cut or damaged.
    """
    cursor = _open(path)
    count = _count(cursor, _POINT.size, "points")
    starts = np.empty(count, np.int64)
    for row in range(count):  # each point is as long as the list of its views
        starts[row] = cursor.pos + _PLACE
        cursor.take(_POINT.size - 8, "a point")
        views = _count(cursor, _TRACK_BYTES, "views of a point")
        cursor.pos += _TRACK_BYTES * views
    return cursor.array()[starts[:, None] + np.arange(24)].view("<f8").astype(np.float64)


def _open(path: Path) -> Cursor:
    with reading(str(path)):
        return Cursor(path.read_bytes(), str(path), where="COLMAP model")


def _count(cursor: Cursor, least_bytes: int, what: str) -> int:
    """A count of things that take at least some bytes each."""
    count = int.from_bytes(cursor.take(8, f"number of {what}"), "little")
    if count * least_bytes > cursor.left:
        cursor.fail(f"{count} {what} need at least {count * least_bytes} bytes, {cursor.left} are left")
    return count


def _name(cursor: Cursor) -> str:
    raw = bytes(cursor.data[cursor.pos : cursor.pos + _LONGEST_NAME])
    length = raw.find(b"\0")
    if length <= 0:
        cursor.fail(f"an image has no name, or one that does not end within {_LONGEST_NAME} bytes")
    cursor.pos += length + 1
    return os.fsdecode(raw[:length])
