"""ReFiNe's recursive field network: a latent unfolds into an octree of latents, which are mixed and decoded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fieldcodec.errors import UsageError
from fieldcodec.nets.interpolation import Stencil, mix
from fieldcodec.nets.opacity import density_of
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.nets.siren import Siren


@dataclass(frozen=True)
class Unfolded:
    """The latents of an octree.

    `latents[m - 1]` [cells of level m, D] belong to the occupied cells of level m, in Morton order; `occupancy[m - 1]`
    [8 x cells of level m - 1, 2] are the logits (empty, occupied) of all children of the level above, or of those that
    were asked for.
    """

    latents: list[Tensor]
    occupancy: list[Tensor]


class RecursiveField(nn.Module):
    """phi, omega and the heads, shared by all levels and all objects of a collection."""

    xi: Siren | None
    rho: Siren | None
    chi: Siren | None

    def __init__(self, spec: RecursiveSpec, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        generator = torch.Generator().manual_seed(seed)
        networks = {name: Siren(sizes, generator) for name, sizes in spec.networks.items()}
        self.phi, self.omega, self.psi = networks["phi"], networks["omega"], networks["psi"]
        self.xi, self.rho, self.chi = networks.get("xi"), networks.get("rho"), networks.get("chi")

    def forward(
        self,
        roots: Float[Tensor, "objects latent"],
        kept: Sequence[Int[Tensor, " _"]],
        asked: Sequence[Int[Tensor, " _"]] | None = None,
        added: tuple[int, Float[Tensor, "cells latent"]] | None = None,
    ) -> Unfolded:
        """Unfolds the latents of objects along a known octree (teacher forcing).

        Args:
            kept: of each level from 1 on, the rows of the occupied cells among all children of the level above
                (`Octree.kept`).
            asked: of each level from 1 on, the rows of the children whose occupancy is wanted; None means all.
            added: a level, and what is added to the latents of its cells.
        """
        unfolded = Unfolded([], [])
        cells = roots
        for level, rows in enumerate(kept):
            children = self.split(cells)
            judged = children if asked is None else children.index_select(0, asked[level])
            unfolded.occupancy.append(self.omega(judged))
            cells = children.index_select(0, rows)
            if added is not None and level + 1 == added[0]:
                cells = cells + added[1]
            unfolded.latents.append(cells)
        return unfolded

    def split(self, cells: Float[Tensor, "cells latent"]) -> Float[Tensor, "children latent"]:
        """The latents of all eight children of each cell, cell by cell."""
        return self.phi(cells).reshape(-1, self.spec.latent)

    def fused(self, latents: Sequence[Tensor], stencil: Stencil) -> Float[Tensor, "points fused"]:
        """Fused latents at points. `latents` may be of fewer levels than the octree has: missing ones count as zero."""
        mixed = [mix(values, stencil.rows[:, level], stencil.places[:, level]) for level, values in enumerate(latents)]
        if self.spec.fusion == "sum":
            return torch.stack(mixed).sum(dim=0)
        missing = self.spec.lods - len(mixed)
        if missing:
            mixed.append(mixed[0].new_zeros(len(mixed[0]), missing * self.spec.latent))
        return torch.cat(mixed, dim=1)

    def distance(self, fused: Float[Tensor, "points fused"]) -> Float[Tensor, " points"]:
        """Signed distance, negative inside, in units of the cube [-1, 1]^3."""
        return self.psi(fused)[:, 0]

    def colour(self, fused: Float[Tensor, "points fused"]) -> Float[Tensor, "points 3"]:
        """Colours of surfaces in 0 .. 1.

        Raises:
            UsageError: the network holds none.
        """
        if self.xi is None or self.spec.colour == "radiance":
            raise UsageError("this collection holds no surfaces with colours")
        return torch.sigmoid(self.xi(fused))

    def opacity(self, fused: Float[Tensor, "points fused"]) -> Float[Tensor, " points"]:
        """Opacity of a radiance field, not yet limited to 0 .. 1; see `nets.opacity`.

        Raises:
            UsageError: the network holds no radiance fields.
        """
        return self._of_radiance(0)(fused)[:, 0]

    def density(self, fused: Float[Tensor, "points fused"]) -> Float[Tensor, " points"]:
        """Density of a radiance field for each unit of length in the cube [-1, 1]^3, 0 or more."""
        return density_of(self.opacity(fused), self.spec.lods)

    def radiance(
        self, fused: Float[Tensor, "points fused"], directions: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points 3"]:
        """Colours of a radiance field in 0 .. 1, as seen along unit vectors.

        Raises:
            UsageError: the network holds no radiance fields.
        """
        return torch.sigmoid(self._of_radiance(1)(torch.cat([fused, directions], dim=1)))

    def _of_radiance(self, which: int) -> Siren:
        if "radiance" not in self.spec.kinds:
            raise UsageError("this collection holds no radiance fields")
        head = getattr(self, str(self.spec.heads("radiance")[which]))
        assert isinstance(head, Siren)
        return head


def new_latents(objects: int, size: int, seed: int) -> Float[Tensor, "objects size"]:
    """Latents to start from: normal, with a standard deviation of sqrt(2 / size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((objects, size), generator=generator) * math.sqrt(2 / size)
