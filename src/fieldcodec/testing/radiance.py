"""Small scenes whose truth is known."""

from collections.abc import Sequence

import numpy as np
import torch

from fieldcodec.io.posed import PosedCamera
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.harmonics import COUNT
from fieldcodec.radiance.lattice import CornerLattice
from fieldcodec.radiance.pixels import PixelTable


def random_grid(seed: int = 0, cells: int = 9) -> RadianceGrid:
    """A hollow lump of random values, away from the origin."""
    places = np.stack(np.meshgrid(*(np.arange(cells),) * 3, indexing="ij"), -1)
    away = np.linalg.norm(places - (cells - 1) / 2, axis=-1)
    lattice = CornerLattice.of_cells(np.array([-0.9, 0.4, 1.1]), 0.2, (away < 0.45 * cells) & (away > 1))
    generator = torch.Generator().manual_seed(seed)
    thickness = torch.randn(lattice.num_corners, generator=generator)
    shades = torch.randn(lattice.num_corners, COUNT, 3, generator=generator) * 0.3
    return RadianceGrid(lattice, thickness, shades)


def cameras_around(
    middle: Sequence[float], away: float, count: int, *, width: int = 32, height: int = 32, seed: int = 0
) -> list[PosedCamera]:
    """Cameras on a sphere, evenly spread, that look at its middle."""
    cameras = []
    for number in range(count):
        z = 1 - (2 * number + 1) / count
        turn = number * np.pi * (3 - np.sqrt(5)) + seed
        back = np.array([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z])
        right = np.cross([0.0, 0.0, 1.0], back)
        right /= np.linalg.norm(right)
        pose = np.stack([right, np.cross(back, right), back, np.asarray(middle) + away * back], axis=1)
        focal = 1.3 * max(width, height)
        cameras.append(PosedCamera(width, height, focal, focal, width / 2, height / 2, pose))
    return cameras


def pixel_table(cameras: Sequence[PosedCamera], colours: torch.Tensor) -> PixelTable:
    """Cameras with the pixels [n, 4] uint8 that they took."""
    sizes = [camera.width * camera.height for camera in cameras]
    starts = torch.tensor([0, *np.cumsum(sizes).tolist()])
    lenses = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras], dtype=torch.float64)
    poses = torch.from_numpy(np.stack([camera.to_world for camera in cameras]))
    return PixelTable(colours, starts, torch.tensor([camera.width for camera in cameras]), lenses, poses)
