"""COLMAP's text files: numbers between spaces, a line for each thing, comments after `#`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fieldcodec.errors import InputError
from fieldcodec.io.posed.camera import LARGEST_SIDE
from fieldcodec.io.posed.colmap_models import MODELS, NUMBER_OF_MODEL, ColmapCamera, ColmapImage
from fieldcodec.io.reading import reading


def read_cameras(path: Path) -> Iterator[ColmapCamera]:
    """The cameras of `cameras.txt`: number, model, width, height and the model's numbers.

    Raises:
        InputError: a line is not understood.
    """
    for number, line in _lines(path):
        with _parsing(path, number, "a camera"):
            camera, model_name, width, height, *rest = line.split()
            model = NUMBER_OF_MODEL.get(model_name)
            if model is None:
                raise ValueError(f"the model {model_name!r} is not known; known are {', '.join(NUMBER_OF_MODEL)}")
            names = MODELS[model].names
            if len(rest) != len(names):
                raise ValueError(f"{model_name} has {len(names)} numbers ({', '.join(names)}), not {len(rest)}")
            yield ColmapCamera(int(camera), model, _side(width), _side(height), tuple(float(word) for word in rest))


def read_images(path: Path) -> Iterator[ColmapImage]:
    """The images of `images.txt`: number, quaternion, translation, camera, name; the line after each lists points.

    Raises:
        InputError: a line is not understood.
    """
    lines = _lines(path, keep_empty=True)
    for number, line in lines:
        if not line:
            continue
        with _parsing(path, number, "an image"):
            _, *pose, camera, name = line.split(maxsplit=9)
            values = np.array([float(word) for word in pose])
            if len(values) != 7:
                raise ValueError(f"{len(values)} numbers of a pose; needed are 7")
            yield ColmapImage(name, int(camera), values[:4], values[4:])
        next(lines, None)  # the points seen, which may be none


def read_points(path: Path) -> np.ndarray:
    """[n, 3] float64: the places of the points of `points3D.txt`.

    Raises:
        InputError: a line is not understood.
    """
    places = []
    for number, line in _lines(path):
        with _parsing(path, number, "a point"):
            _, x, y, z, *_ = line.split(maxsplit=4)
            places.append((float(x), float(y), float(z)))
    return np.array(places, np.float64).reshape(-1, 3)


def _side(word: str) -> int:
    """Pixels of a side; ValueError for what no picture can have, so that numbers of any length stay harmless."""
    side = int(word)
    if not 0 < side <= LARGEST_SIDE:
        raise ValueError(f"a picture side of {word[:20]} pixels; allowed are 1 to {LARGEST_SIDE}")
    return side


def _lines(path: Path, *, keep_empty: bool = False) -> Iterator[tuple[int, str]]:
    """The lines of a file, with their numbers from 1, without comments."""
    with reading(str(path)), path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line.startswith("#") and (line or keep_empty):
                yield number, line


@contextmanager
def _parsing(path: Path, number: int, what: str) -> Iterator[None]:
    """Turns what is raised for a line that is not understood into an InputError that names it."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}, line {number}: not {what} as COLMAP writes it: {error}") from error
