"""Small scenes whose truth is known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fieldcodec.io.posed import PosedCamera
from fieldcodec.radiance.field import Occupancy, RadianceField
from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.harmonics import COUNT
from fieldcodec.radiance.lattice import CornerLattice
from fieldcodec.radiance.pixels import PixelTable
from fieldcodec.radiance.render import photograph


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


def write_scene(
    folder: Path,
    field: RadianceField,
    cameras: Mapping[str, Sequence[PosedCamera]],
    *,
    background: float | None = None,
) -> None:
    """Pictures of a field in NeRF's layout, with alpha or over a plain brightness.

    Args:
        cameras: part -> its cameras, which are square in their pixels and look through the middle of their pictures.
    """
    for part, taken_by in cameras.items():
        frames = []
        for number, camera in enumerate(taken_by):
            taken = photograph(field, camera, step=0.3)
            if background is None:
                straight = taken.colours / np.maximum(taken.alpha, 1e-6)[..., None]
                picture = np.concatenate([np.clip(straight, 0, 1), taken.alpha[..., None]], axis=2)
            else:
                picture = taken.over(background)
            name = f"{part}_{number:03}"
            Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(folder / f"{name}.png")
            pose = [*camera.to_world.tolist(), [0, 0, 0, 1]]
            frames.append({"file_path": name, "transform_matrix": pose, "fl_x": camera.fx, "fl_y": camera.fy})
        (folder / f"transforms_{part}.json").write_text(json.dumps({"frames": frames}), encoding="utf-8")


class Ball(RadianceField):
    """A ball of one density and colour, and a count of the points at which it was asked for them."""

    def __init__(
        self,
        centre: np.ndarray,
        radius: float,
        density: float,
        colour: tuple[float, float, float],
        occupancy: Occupancy | None = None,
    ) -> None:
        self._centre, self._radius = torch.from_numpy(centre).float(), radius
        self._density, self._colour = density, torch.tensor(colour)
        self._occupancy = occupancy or Occupancy(centre - 1.25 * radius, radius / 8, np.ones((20, 20, 20), bool))
        self.evaluated = 0

    @property
    def occupancy(self) -> Occupancy:
        return self._occupancy

    def evaluate(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        self.evaluated += len(points)
        inside = (points - self._centre).norm(dim=1) < self._radius
        return inside * self._density, self._colour.expand(len(points), 3)


class Toy(RadianceField):
    """A striped ball on a slab, with an edge a twelfth of a unit wide; a highlight moves with the viewer."""

    @property
    def occupancy(self) -> Occupancy:
        return Occupancy(np.array([-1.0, -1.0, -0.9]), 0.125, np.ones((16, 16, 14), bool))

    def evaluate(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        ball = points.norm(dim=1) - 0.6
        slab = torch.maximum((points[:, :2].abs() - 0.8).amax(dim=1), (points[:, 2] + 0.7).abs() - 0.1)
        density = 60 * torch.sigmoid(-torch.minimum(ball, slab) * 60)
        stripes = 0.5 + 0.4 * torch.sin(9 * points[:, 2])
        on_ball = torch.stack([0.8 * stripes, 0.3 + 0.3 * stripes, 0.7 - 0.5 * stripes], dim=1)
        shine = 0.25 * (directions[:, :1] + directions[:, 1:2]).clamp(min=0)
        on_slab = torch.tensor([0.25, 0.55, 0.35]).expand(len(points), 3)
        return density, torch.where((ball < slab)[:, None], on_ball + shine, on_slab).clamp(0, 1)
