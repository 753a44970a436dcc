"""All pixels of many pictures as one table, each with its ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.errors import UsageError
from fieldcodec.io.posed import PosedCamera, PosedView


@final
@dataclass(frozen=True, eq=False)
class PixelTable:
    """The pixels of pictures, one after the other, row by row; pixel p of all is of the last view that starts by p."""

    colours: Tensor  # [n, 4] uint8: red, green and blue times alpha, and alpha
    starts: Tensor  # [views + 1] int64: the first pixel of each view, and n
    widths: Tensor  # [views] int64
    lenses: Tensor  # [views, 4] float64: fx, fy, cx, cy
    poses: Tensor  # [views, 3, 4] float64: camera to world

    @staticmethod
    def of(views: Sequence[PosedView], factor: int) -> "PixelTable":
        """Reads pictures, made smaller by a whole factor; the pictures may be of several sizes.

        Raises:
            UsageError: there is no view, or the factor is not possible.
            InputError: a picture cannot be read.
        """
        if not views:
            raise UsageError("there are no pictures to take pixels from")
        cameras = [view.camera.scaled(factor) for view in views]
        starts = np.cumsum([0, *(camera.width * camera.height for camera in cameras)])
        colours = np.empty((int(starts[-1]), 4), np.uint8)
        for number, view in enumerate(views):
            colours[starts[number] : starts[number + 1]] = _bytes_of(view.picture(factor))
        return PixelTable(torch.from_numpy(colours), torch.from_numpy(starts), *_cameras_of(cameras))

    def __len__(self) -> int:
        return len(self.colours)

    def to(self, device: torch.device) -> "PixelTable":
        return PixelTable(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def rays(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The rays of pixels [m]: origins and unit directions, [m, 3] float64 each (as `io.posed.rays` has them)."""
        view = torch.searchsorted(self.starts, chosen.contiguous(), right=True) - 1
        place = chosen - self.starts[view]
        width = self.widths[view]
        row = torch.div(place, width, rounding_mode="floor")
        lens, pose = self.lenses[view], self.poses[view]
        across = (place - row * width + 0.5 - lens[:, 2]) / lens[:, 0]
        upwards = (lens[:, 3] - row - 0.5) / lens[:, 1]
        ways = pose[:, :, 0] * across[:, None] + pose[:, :, 1] * upwards[:, None] - pose[:, :, 2]
        return pose[:, :, 3], ways / ways.norm(dim=1, keepdim=True)

    def targets(self, chosen: Tensor) -> Tensor:
        """[m, 4] float32, 0 to 1: colours times alpha, and alpha."""
        return self.colours[chosen].float() / 255


def _bytes_of(picture: np.ndarray) -> np.ndarray:
    """[h, w, 3 or 4] float32 -> [h w, 4] uint8, colours times alpha."""
    alpha = picture[..., 3:] if picture.shape[2] == 4 else np.ones_like(picture[..., :1])
    joined = np.concatenate([picture[..., :3] * alpha, alpha], axis=2).reshape(-1, 4)
    return np.asarray(np.rint(joined * 255).astype(np.uint8))


def _cameras_of(cameras: Sequence[PosedCamera]) -> tuple[Tensor, Tensor, Tensor]:
    widths = torch.tensor([camera.width for camera in cameras])
    lenses = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras], dtype=torch.float64)
    return widths, lenses, torch.from_numpy(np.stack([camera.to_world for camera in cameras]))
