"""Density as networks learn it: bounded, as the opacity of a short path (refine bounds its densities to 0..1 too).

The density of a solid is any large number and that of the air next to it is 0; no smooth network follows such steps,
nor does their size change a picture. How much light a path takes away does: opacity = 1 - exp(-density * path) is 0 to
1, and equal errors of it are about equally visible. The path is a finest cell's edge: the length over which a network
can say something of its own, so that what it says of a cell is about what is seen of the cell.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcodec.grid.octree import cell_edge

MOST = 1 - 2.0**-10  # larger opacities are not told apart


def opacity_of(densities: np.ndarray, lods: int) -> np.ndarray:
    """Densities [n], for each unit of length in the cube, as float32 of 0 to 1."""
    return (-np.expm1(-cell_edge(lods) * densities.astype(np.float64))).astype(np.float32)


def density_of(opacities: Float[Tensor, " n"], lods: int) -> Float[Tensor, " n"]:
    """The inverse: what is below 0 becomes 0, what is above MOST an optical depth of 6.9 for each edge."""
    return -torch.log1p(-opacities.clamp(0.0, MOST)) / cell_edge(lods)
