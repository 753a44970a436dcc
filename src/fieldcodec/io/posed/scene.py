"""A scene: views, each a picture with its camera, and what is known of them together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, final, get_args

import numpy as np

from fieldcodec.errors import InputError
from fieldcodec.io.posed.camera import PosedCamera
from fieldcodec.io.posed.picture import load_picture, shrunk

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Background = Literal["white", "black", "surroundings"]

_PLAIN = 8 / 255  # a border pixel this near to white or black in every channel counts as such
_BORDER_SHARE = 0.9  # of the border's pixels that have to


@final
@dataclass(frozen=True, eq=False)
class PosedView:
    """One picture of a scene and the camera that took it."""

    name: str  # unique in its scene
    camera: PosedCamera  # of the picture at full size
    path: Path
    split: Split

    def picture(self, factor: int = 1) -> np.ndarray:
        """Reads the picture: [h // factor, w // factor, 3] float32 of 0 to 1, or 4 with alpha (not multiplied in).

        `camera.scaled(factor)` is its camera.

        Raises:
            InputError: the file is missing, damaged or no longer of the camera's size.
            UsageError: `factor` is below 1, or larger than the picture.
        """
        picture = load_picture(self.path)
        height, width = picture.shape[:2]
        if (width, height) != (self.camera.width, self.camera.height):
            raise InputError(
                f"{self.path} has {width} x {height} pixels, its camera {self.camera.width} x {self.camera.height}; "
                "the file was changed after the scene was read"
            )
        return shrunk(picture, factor)


@final
@dataclass(frozen=True, eq=False)
class PosedScene:
    """Views of one scene in one world space; there is at least one."""

    name: str
    views: tuple[PosedView, ...]  # train before val before test
    source_bytes: int  # of all picture files and of the files that say where the cameras are
    bounds: tuple[np.ndarray, np.ndarray] | None = None  # least and largest corner, [3] float64 each; None: not known
    notes: tuple[str, ...] = ()  # what a user should know: a split that was chosen here, pictures of several sizes

    def of(self, split: Split) -> tuple[PosedView, ...]:
        """The views of one part, in their order."""
        return tuple(view for view in self.views if view.split == split)

    @cached_property
    def background(self) -> Background | None:
        """What surrounds the object, judged from the first, middle and last picture; None where alpha says it.

        Pictures with alpha that is 1 everywhere count as pictures without. "white" and "black": nearly all pixels at
        the edges of the pictures are; "surroundings": they are of the scene itself.

        Raises:
            InputError: a picture is damaged.
        """
        chosen = sorted({0, len(self.views) // 2, len(self.views) - 1})
        return background_of([self.views[number].picture() for number in chosen])

    @property
    def brightness(self) -> float | None:
        """Behind the object: 0 black, which surroundings are taken for, 1 white; None where alpha says what it is."""
        return None if self.background is None else float(self.background == "white")

    def __str__(self) -> str:
        parts = ", ".join(f"{len(self.of(split))} {split}" for split in SPLITS if self.of(split))
        return f"{self.name}: {parts}, {sizes_text(self.views)}"


def background_of(pictures: Sequence[np.ndarray]) -> Background | None:
    """What surrounds the object in pictures [h, w, 3 or 4]; None where alpha is anywhere below 1."""
    if any(picture.shape[2] == 4 and picture[..., 3].min() < 1 for picture in pictures):
        return None
    edges = [(p[0], p[-1], p[:, 0], p[:, -1]) for p in pictures]
    border = np.concatenate([edge[:, :3] for four in edges for edge in four])
    if (border.min(axis=1) >= 1 - _PLAIN).mean() >= _BORDER_SHARE:
        return "white"
    return "black" if (border.max(axis=1) <= _PLAIN).mean() >= _BORDER_SHARE else "surroundings"


def sizes_text(views: Sequence[PosedView]) -> str:
    """`400 x 400 pixels`, or the number of pictures of each size, the most frequent first."""
    sizes = Counter((view.camera.width, view.camera.height) for view in views).most_common()
    if len(sizes) == 1:
        return f"{sizes[0][0][0]} x {sizes[0][0][1]} pixels"
    shown = ", ".join(f"{width} x {height} ({count})" for (width, height), count in sizes[:4])
    return f"{len(sizes)} sizes: {shown}{' and more' if len(sizes) > 4 else ''}"
