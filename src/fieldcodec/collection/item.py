"""One object of a collection as a continuous field: signed distance, and colour where the collection has it.

In the cells of its shell the networks answer. Elsewhere they were never fitted: there the field is a bound of the
distance with the sign of the empty region (`regions`), which is all that a ray needs.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.heads import parts_of
from fieldcodec.collection.object_field import ObjectField, check_interpolation, unfolded
from fieldcodec.collection.regions import EmptyRegions
from fieldcodec.errors import UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.fused_interpolation import with_slopes
from fieldcodec.nets.recursive import RecursiveField


@final
class ItemField(ObjectField):
    """A `Field` of one channel (signed distance, negative inside) or four (and red, green, blue in 0 .. 1, sRGB)."""

    def __init__(
        self,
        network: RecursiveField,
        octree: Octree,
        latents: Sequence[Tensor],
        placement: Placement | None = None,
        *,
        name: str = "",
        coloured: bool | None = None,
        threads: int | None = None,
        may_leak: bool = False,
    ) -> None:
        """Arguments and errors as of `ObjectField`.

        Args:
            coloured: whether it has colours; by default where the network has them.
            may_leak: the octree is a guess of the networks, whose shell may have holes.
        """
        super().__init__(network, octree, latents, placement, name, threads)
        self.has_colours = "coloured" in network.spec.kinds if coloured is None else coloured
        self._may_leak = may_leak

    @staticmethod
    def predicted(
        network: RecursiveField, latent: Tensor, placement: Placement | None = None, *, name: str = "",
        coloured: bool | None = None,
    ) -> "ItemField":  # fmt: skip
        """The object of a latent [D], unfolded along the occupancy that the network predicts for it.

        Raises:
            UsageError: the latent does not fit the network, or unfolds without end.
        """
        octree, latents = unfolded(network, latent)
        return ItemField(network, octree, latents, placement, name=name, coloured=coloured, may_leak=True)

    @property
    def channels(self) -> int:
        return 4 if self.has_colours else 1

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest corner [3] of the world-space box around the shell; None where there is none."""
        cells = self.octree.cells(self.lods)[1]
        if not len(cells):
            return None
        low, high = cells.min(axis=0) * self.edge - 1, (cells.max(axis=0) + 1) * self.edge - 1
        return self.placement.to_world(low), self.placement.to_world(high)

    @cached_property
    def regions(self) -> EmptyRegions:
        """What lies around the shell."""

        def is_inside(points: np.ndarray) -> np.ndarray:
            return self._heads("psi", points.astype(np.float32))[:, 0] < 0

        return EmptyRegions.around(self.octree, is_inside, may_leak=self._may_leak)

    def sample(
        self, points: Any, *, space: str = "world", interpolation: str = "trilinear", lod: int | None = None
    ) -> Any:
        """Signed distances, and colours where there are some.

        Args:
            points: [..., 3], a NumPy array or a PyTorch tensor on any device.
            space: "world", or "model" for the cube [-1, 1]^3. Distances are in its units.
            interpolation: "trilinear" or "field", which are the same here: the field is continuous.
            lod: the finest level whose latents are used; latents of finer ones count as zero. The networks are fitted
                to all levels at once, so that fewer give a coarser field only where training saw fewer too.

        Returns:
            [..., 1 or 4] float32; a tensor on the same device where the points are one.

        Raises:
            UsageError: an argument is not allowed.
        """
        check_interpolation(interpolation)

        def answer(flat: np.ndarray) -> np.ndarray:
            distances = self._distances(flat, lod)[:, None] * self._unit(space)
            return np.hstack([distances, self._colours(flat, lod)]) if self.has_colours else distances

        return self._asked(points, space, lod, answer)

    def distance(self, points: Any, *, space: str = "world", lod: int | None = None) -> Any:
        """Signed distances [...] at points [..., 3], negative inside; arguments as in `sample`."""
        return self._asked(points, space, lod, lambda flat: self._distances(flat, lod) * self._unit(space))

    def colour(self, points: Any, *, space: str = "world", lod: int | None = None) -> Any:
        """Colours [..., 3] in 0 .. 1, sRGB, at points [..., 3]; they mean something near the surface alone.

        Raises:
            UsageError: the collection has no colours, or an argument is not allowed.
        """
        if not self.has_colours:
            raise UsageError("this collection holds shapes without colours")
        return self._asked(points, space, lod, lambda flat: self._colours(flat, lod))

    def gradient(self, points: Any, *, space: str = "world", lod: int | None = None) -> Any:
        """Gradients [..., 3] of the decoded distance at points [..., 3]; zero outside the shell."""
        return self._asked(points, space, lod, lambda flat: self.decoded_with_gradient(flat, lod)[1])

    def decoded_with_gradient(self, points: np.ndarray, lod: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Distances [n] and their gradients [n, 3] float32 at [n, 3] points of the cube, by the networks alone.

        Outside the shell both are 0.
        """
        distances, gradients = np.zeros(len(points), np.float32), np.zeros((len(points), 3), np.float32)
        inside = self.in_shell(points)
        rows = np.flatnonzero(inside)
        for part in parts_of(len(rows)):
            at = rows[part]
            places = torch.from_numpy(points[at].astype(np.float32)).to(self._heads.device).requires_grad_()
            with torch.enable_grad():
                stencil = with_slopes(self._heads.stencil(points[at], lod), places)
                said = self._heads.decoder("psi")(stencil, lod)[:, 0]
                (slopes,) = torch.autograd.grad(said.sum(), places)
            distances[at], gradients[at] = said.detach().cpu().numpy(), slopes.cpu().numpy()
        return distances, gradients

    def in_shell(self, points: np.ndarray) -> np.ndarray:
        """[n] bool: whether [n, 3] points of the cube are in a finest cell, where the networks are to be trusted."""
        return self.regions.occupied(points)

    def _distances(self, points: np.ndarray, lod: int | None) -> np.ndarray:
        out = np.empty(len(points), np.float32)
        inside = self.in_shell(points)
        out[inside] = self._heads("psi", points[inside], lod)[:, 0]
        if not inside.all():
            out[~inside] = self.regions.distances(points[~inside])
        return out

    def _colours(self, points: np.ndarray, lod: int | None) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-self._heads("xi", points, lod))))

    def _unit(self, space: str) -> float:
        return self.placement.scale if space == "world" else 1.0
