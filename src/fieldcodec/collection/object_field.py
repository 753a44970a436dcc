"""What the fields of all objects of a collection have in common, whatever their kind."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.heads import Heads
from fieldcodec.collection.unfold import unfold_predicted
from fieldcodec.errors import UsageError
from fieldcodec.grid.octree import Octree, cell_edge
from fieldcodec.grid.sampling import index_points
from fieldcodec.grid.transform import GridTransform
from fieldcodec.nets.recursive import RecursiveField

SPACES = {"world": "world", "model": "index"}  # names here -> those of `index_points`
INTERPOLATIONS = ("trilinear", "field")  # both are the field itself: latents are trilinear, what follows is smooth
_MAX_CELLS = 1 << 24


class ObjectField:
    """An octree with a latent in each cell, networks, and a place in the world."""

    def __init__(
        self,
        network: RecursiveField,
        octree: Octree,
        latents: Sequence[Tensor],
        placement: Placement | None,
        name: str,
        threads: int | None,
    ) -> None:
        """
        Args:
            octree: of this object alone, of all levels of detail or the first ones.
            latents: of each level from 1 on [cells, D], in the order of its cells, on the device of the network.
            placement: of the cube [-1, 1]^3 in the world; by default the world is the cube.
            threads: on the host; by default one for each processor.

        Raises:
            UsageError: these do not fit each other.
        """
        self._heads = Heads(network, octree, latents, threads)
        self.network, self.octree, self.latents = network, octree, self._heads.latents
        self.placement, self.name = placement or Placement(), name
        self._transform = GridTransform.uniform(self.placement.scale, self.placement.centre)

    @property
    def lods(self) -> int:
        """Levels of detail below the root."""
        return self.octree.lods

    @property
    def edge(self) -> float:
        """Edge of the finest cells, in the cube."""
        return cell_edge(self.lods)

    def _asked(self, points: Any, space: str, lod: int | None, answer: Callable[[np.ndarray], np.ndarray]) -> Any:
        """The answer, [n, ...] at [n, 3] float32 points of the cube, in the shape and kind of the points."""
        if lod is not None and not 1 <= lod <= self.lods:
            raise UsageError(f"level of detail is {lod}; allowed are 1 to {self.lods}")
        if space not in SPACES:
            raise UsageError(f"space is {space!r}; allowed are {', '.join(SPACES)}")
        flat, shaped = index_points(points, SPACES[space], self._transform)
        return shaped(answer(flat.astype(np.float32)).astype(np.float32, copy=False))


def check_interpolation(interpolation: str) -> None:
    """Raises UsageError where it is not known."""
    if interpolation not in INTERPOLATIONS:
        raise UsageError(f"interpolation is {interpolation!r}; allowed are {', '.join(INTERPOLATIONS)}")


def unfolded(network: RecursiveField, latent: Tensor) -> tuple[Octree, list[Tensor]]:
    """Octree and latents of the object of a latent [D], along the occupancy that the network predicts for it.

    Raises:
        UsageError: the latent does not fit the network, or unfolds without end.
    """
    return unfold_predicted(network, latent.reshape(1, -1), _MAX_CELLS)
