"""How a volume is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.render import colormaps

Colour = tuple[float, float, float]
SurfaceColours = Callable[[np.ndarray], np.ndarray]
"""[n, 3] points in world space -> [n, 3] colours of 0 to 1 (sRGB)."""
_MOST_RAYS = 8


class Look(Enum):
    """What a picture shows of a volume."""

    AUTO = "auto"  # SURFACE for level sets with an inside, FOG for all else
    FOG = "fog"
    SURFACE = "surface"
    MAXIMUM = "maximum"  # the largest value along each ray
    SLICE = "slice"  # one plane of voxels


@dataclass(frozen=True)
class RenderOptions:
    """Everything about a picture but the camera. Colours are linear light."""

    look: Look = Look.AUTO
    supersampling: int = 1
    """n draws n x n rays for each pixel and takes their mean."""
    step: float = 0.7
    """Fog: voxels between two samples of a ray."""
    seed: int = 0
    """Of the jitter that hides the steps; the same seed gives the same picture on any number of threads."""
    density: float | None = None
    """Fog: extinction for each unit of value and world length; by default thick parts look opaque."""
    opacity: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.0, 1.0))
    """Fog, the transfer function: (place in the value range from 0 to 1, extinction as a share of the largest)."""
    value_range: tuple[float, float] | None = None
    """Values at the ends of the transfer function and colour map; by default 0 (slices: the least) and the largest."""
    colormap: str | None = None
    """`heat`, `ocean` or `grey`; by default white fog, and ocean for vectors, maxima and slices."""
    emission: float = 0.0
    """Fog: light that it gives off itself, as a share of its colour."""
    light_direction: tuple[float, float, float] | None = None
    """World direction towards the lamp; by default above the camera's left shoulder."""
    sun: Colour = (1.2, 1.12, 1.0)
    """Fog: light of the lamp."""
    sky: Colour = (0.12, 0.155, 0.22)
    """Fog: light from above."""
    shadow_reach: float = 0.5
    """Fog: optical depth that counts on the way of light; 1 is exact single scattering, less lets it go deeper."""
    shadow_cells: int = 96
    """Fog: cells along the longest side of the grid that holds light; 0 for fog without shadows."""
    anisotropy: float = 0.0
    """Fog: Henyey and Greenstein's g, -1 to 1; above 0 it scatters forward."""
    shadows: bool = True
    """Surfaces: rays to the lamp."""
    sky_rays: int = 6
    """Surfaces: rays to the sky for each pixel, shared by its own rays (ambient occlusion); 0 for none."""
    colours: SurfaceColours | None = None
    """Surfaces: what colour they have at points; by default all is clay."""
    slice_axis: int = 2
    """Slices: index axis across the plane, 0 to 2."""
    slice_place: float = 0.5
    """Slices: 0 is the first active layer along the axis, 1 the last."""
    background: Colour | str | None = "studio"
    """`studio` (a quiet gradient), a colour of 0 to 1 as shown (sRGB), or None for RGBA pictures."""
    threads: int | None = None
    """By default one for each processor."""

    def __post_init__(self) -> None:
        self._check("supersampling", 1 <= self.supersampling <= _MOST_RAYS, f"1 to {_MOST_RAYS}")
        self._check("step", 0.05 <= self.step <= 8, "0.05 to 8 voxels")
        self._check("density", self.density is None or 0 < self.density < np.inf, "a positive number")
        self._check("shadow_cells", 0 <= self.shadow_cells <= 512, "0 to 512")
        self._check("shadow_reach", 0 <= self.shadow_reach <= 1, "0 to 1")
        self._check("anisotropy", -1 < self.anisotropy < 1, "more than -1, less than 1")
        self._check("emission", 0 <= self.emission < np.inf, "0 or more")
        self._check("sky_rays", 0 <= self.sky_rays <= 256, "0 to 256")
        self._check("slice_axis", self.slice_axis in (0, 1, 2), "0, 1 or 2")
        self._check("slice_place", 0 <= self.slice_place <= 1, "0 to 1")
        self._check("threads", self.threads is None or self.threads >= 1, "1 or more")
        self._check("light_direction", self.light_direction is None or _is_direction(self.light_direction), "not 0,0,0")
        self._check("colormap", self.colormap is None or self.colormap in colormaps.NAMES, ", ".join(colormaps.NAMES))
        known = self.background == "studio" or not isinstance(self.background, str)
        self._check("background", known, "studio, a colour, None")
        places = [place for place, _ in self.opacity]
        shares = [share for _, share in self.opacity]
        rising = len(places) >= 2 and all(a < b for a, b in pairwise(places))
        self._check("opacity", rising and min(shares) >= 0, "two or more points of rising place, shares of 0 or more")
        low, high = self.value_range or (0.0, 1.0)
        self._check("value_range", bool(np.isfinite([low, high]).all()) and low < high, "two numbers, the lower first")

    def _check(self, name: str, allowed: bool, limits: str) -> None:
        if not allowed:
            raise UsageError(f"render option {name} is {getattr(self, name)!r}; allowed: {limits}")


def _is_direction(direction: tuple[float, float, float]) -> bool:
    return bool(np.isfinite(direction).all()) and any(direction)
