"""What all radiance fields have in common, whatever holds their numbers: the renderer knows nothing else of them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fieldcodec.radiance.marks import DEFAULT_UP, Direction


@final
@dataclass(frozen=True, eq=False)
class Occupancy:
    """Where a field may hold anything: equal cubes of a box, in world space; all else is empty."""

    low: np.ndarray  # [3] float64, least corner of the box
    cell: float  # edge of a cube
    cells: np.ndarray  # [nx, ny, nz] bool


class RadianceField(ABC):
    """Density and colour in world space."""

    @property
    @abstractmethod
    def occupancy(self) -> Occupancy:
        """Where density may differ from 0."""

    @property
    def up(self) -> Direction:
        """The direction in world space that is up for those who look at the field; z unless it is known better."""
        return DEFAULT_UP

    @abstractmethod
    def evaluate(
        self, points: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Density and colour at points, differentiable in whatever the field is fitted by.

        Args:
            points: in world space.
            directions: unit vectors along which the light is seen: from the camera to the point.

        Returns:
            Density per unit of length, 0 or more, and colours of 0 .. 1 as pictures have them (sRGB).
        """
