"""A radiance field in closed form: a coloured ball that is brighter where it is looked at from the front."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcodec.radiance.field import Occupancy, RadianceField

_CELLS = 16  # of the occupancy, along an axis


@final
@dataclass(frozen=True, eq=False)
class ShinyBall(RadianceField):
    """Density falls from `density` to 0 within `edge` of the surface."""

    centre: tuple[float, float, float] = (1.0, -2.0, 0.5)
    radius: float = 0.5
    density: float = 60.0
    edge: float = 0.05
    shine: float = 0.5
    """0: colours do not depend on the direction."""

    @cached_property
    def occupancy(self) -> Occupancy:
        low, cell = np.array(self.centre) - 1.2 * self.radius, 2.4 * self.radius / _CELLS
        middles = (np.stack(np.meshgrid(*[np.arange(_CELLS)] * 3, indexing="ij"), axis=-1) + 0.5) * cell
        away = np.linalg.norm(middles - 1.2 * self.radius, axis=-1)
        return Occupancy(low, cell, away < self.radius + self.edge + cell)

    def evaluate(
        self, points: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """See `RadianceField`."""
        outward = (points - torch.tensor(self.centre).to(points)) / self.radius
        away = outward.norm(dim=1)
        density = self.density * ((1 - away) * (self.radius / self.edge) + 0.5).clamp(0, 1)
        facing = (-(outward * directions).sum(dim=1) / away.clamp(min=1e-9)).clamp(0, 1)
        colours = (0.5 + 0.4 * outward).clamp(0, 1) * (1 - self.shine + self.shine * facing[:, None])
        return density.float(), colours.float()
