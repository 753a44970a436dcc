"""What a fit of one lattice does over and over, on the CPU by compiled kernels and elsewhere by PyTorch.

Both ways compute the same: `StepCase` says of what, `fit.fit_scene` chooses between them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from fieldcodec.radiance.grid import RadianceGrid
from fieldcodec.radiance.pixels import PixelTable
from fieldcodec.radiance.settings import RadianceSettings

IGNORED = 1e-3  # share of the light of its ray below which a sample gets no gradient
FAINT = 1e-3  # transmittance behind which nothing is looked at
THICKNESS_LIMITS = (-10.0, 15.0)  # before softplus: next to nothing, and opaque within a cell
SHADE_LIMITS = (-10.0, 10.0)


@final
@dataclass(frozen=True, eq=False)
class StepCase:
    """What is fitted, to what.

    The loss of a ray is  sum_c (colour_c + (1 - alpha) background - target_c)^2 / 3 + alpha_weight (alpha - target)^2.
    Backgrounds chosen at random for each ray and channel, even from 0 to 1, have their mean 1/2 and their variance
    1/12 in this: exactly what they would give on average, without their noise.
    """

    pixels: PixelTable
    background: float
    alpha_weight: float
    settings: RadianceSettings
    harmonics: int  # of each colour: 1, 4 or 9; the others stay 0


@final
@dataclass(frozen=True)
class Rates:
    """Learning rates of one step."""

    thickness: float
    shade: float  # of the part seen from everywhere
    direction: float  # of the harmonics that depend on the direction


class GridSteps(ABC):
    """Values of one lattice while they are fitted."""

    @abstractmethod
    def step(self, chosen: Tensor, shifts: Tensor, rates: Rates) -> float:
        """One step of Adam on some pixels' rays; returns the mean loss of these before it.

        Args:
            chosen: [m] int64, numbers of pixels.
            shifts: [m] float64, 0 to 1: where samples lie in their steps.
        """

    @abstractmethod
    def seen_cells(self, chosen: Tensor, least: float) -> np.ndarray:
        """[nx, ny, nz] bool: cells a sample of which gives a ray of these pixels at least such a share of its light."""

    @abstractmethod
    def grid(self) -> RadianceGrid:
        """The values as they are now, on the CPU."""
