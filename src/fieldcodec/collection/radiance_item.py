"""One object of a collection as a radiance field: density and colour by direction, in the cells of its octree.

Outside these cells, where the networks were never fitted, there is nothing.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.finest_cells import FinestCells
from fieldcodec.collection.object_field import ObjectField, check_interpolation, unfolded
from fieldcodec.errors import UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.opacity import density_of
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.radiance.field import Occupancy, RadianceField
from fieldcodec.radiance.marks import DEFAULT_UP, Direction


@final
class RadianceItem(ObjectField, RadianceField):
    """An object of kind "radiance"; as a `Field` it has four channels: density, red, green and blue."""

    channels = 4
    has_colours = True

    def __init__(
        self,
        network: RecursiveField,
        octree: Octree,
        latents: Sequence[Tensor],
        placement: Placement | None = None,
        *,
        name: str = "",
        up: Direction = DEFAULT_UP,
        threads: int | None = None,
    ) -> None:
        """Arguments and errors as of `ObjectField`.

        Args:
            up: the direction in world space that is up for those who look at it.

        Raises:
            UsageError: the network holds no radiance fields.
        """
        if "radiance" not in network.spec.kinds:
            raise UsageError("this collection holds no radiance fields")
        super().__init__(network, octree, latents, placement, name, threads)
        self._geometry, colour = network.spec.heads("radiance")
        self._colour, self._up = str(colour), up

    @staticmethod
    def predicted(
        network: RecursiveField, latent: Tensor, placement: Placement | None = None, *, name: str = "",
        up: Direction = DEFAULT_UP,
    ) -> "RadianceItem":  # fmt: skip
        """The object of a latent [D], unfolded along the occupancy that the network predicts for it.

        Raises:
            UsageError: the latent does not fit the network, or unfolds without end.
        """
        return RadianceItem(network, *unfolded(network, latent), placement, name=name, up=up)

    @property
    def up(self) -> Direction:
        return self._up

    @cached_property
    def _cells(self) -> FinestCells:
        return FinestCells(self.octree)

    @cached_property
    def occupancy(self) -> Occupancy:
        """The finest cells, in the smallest box that holds them."""
        low = self.placement.to_world(self._cells.low)
        return Occupancy(low, self.placement.scale * self.edge, self._cells.occupied)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest corner [3] of the world-space box around the cells; None where there are none."""
        found = self.occupancy
        if not found.cells.any():
            return None
        return found.low, found.low + found.cell * np.array(found.cells.shape)

    def evaluate(
        self, points: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """As of `RadianceField`, without gradients; colours are 0 where the density is."""
        world, along = points.detach().cpu().numpy(), directions.detach().cpu().numpy().astype(np.float32)
        sampled = self._sampled(self.placement.to_model(world), along, None, only_dense=True)
        found = torch.from_numpy(sampled).to(points.device)
        return found[:, 0] / self.placement.scale, found[:, 1:]

    def sample(
        self, points: Any, directions: Any = None, *, space: str = "world", interpolation: str = "trilinear",
        lod: int | None = None,
    ) -> Any:  # fmt: skip
        """Density and colour.

        Args:
            points: [..., 3], a NumPy array or a PyTorch tensor on any device.
            directions: [..., 3] unit vectors along which the light is seen, or one [3] for all points; zeros, which
                the source takes too where it has none, unless given.
            space: "world", or "model" for the cube [-1, 1]^3. Densities are for each unit of its lengths.
            interpolation: "trilinear" or "field", which are the same here: the field is continuous.
            lod: the finest level whose latents are used; latents of finer ones count as zero.

        Returns:
            [..., 4] float32: density, and red, green, blue in 0 .. 1 (sRGB), which are 0 outside the cells; a tensor on
            the same device where the points are one.

        Raises:
            UsageError: an argument is not allowed.
        """
        check_interpolation(interpolation)

        def answer(flat: np.ndarray) -> np.ndarray:
            found = self._sampled(flat, _directions(directions, len(flat)), lod)
            found[:, 0] /= self.placement.scale if space == "world" else 1.0
            return found

        return self._asked(points, space, lod, answer)

    def in_cells(self, points: np.ndarray) -> np.ndarray:
        """[n] bool: whether [n, 3] points of the cube are in a finest cell."""
        return self._cells.hold(points)

    def _sampled(
        self, points: np.ndarray, directions: np.ndarray, lod: int | None, only_dense: bool = False
    ) -> np.ndarray:
        """[n, 4] float32 at [n, 3] points of the cube; densities for each unit of its lengths.

        Args:
            only_dense: colours are not asked for where the density is 0.
        """
        out = np.zeros((len(points), 4), np.float32)
        rows = np.flatnonzero(self.in_cells(points))
        said = self._heads(self._geometry, points[rows].astype(np.float32), lod)[:, 0]
        out[rows, 0] = density_of(torch.from_numpy(said), self.network.spec.lods).numpy()
        rows = rows[said > 0] if only_dense else rows
        logits = self._heads(self._colour, points[rows].astype(np.float32), lod, directions[rows])
        out[rows, 1:] = 1 / (1 + np.exp(-logits))
        return out


def _directions(given: Any, count: int) -> np.ndarray:
    """[count, 3] float32."""
    if given is None:
        return np.zeros((count, 3), np.float32)
    plain = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    flat = plain.astype(np.float32).reshape(-1, 3)
    if len(flat) not in (1, count):
        raise UsageError(f"{len(flat)} directions do not go with {count} points; give one, or one for each")
    return np.broadcast_to(flat, (count, 3))
