"""A radiance field on a sparse lattice: the numbers of a scene, interpolated between corners."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fieldcodec.errors import UsageError
from fieldcodec.radiance import grid_kernels
from fieldcodec.radiance.field import Occupancy, RadianceField
from fieldcodec.radiance.harmonics import COUNT, harmonics
from fieldcodec.radiance.lattice import CornerLattice
from fieldcodec.radiance.marks import DEFAULT_UP, Direction
from fieldcodec.threads import map_threads

_CORNERS = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
_POINTS_AT_ONCE = 1 << 16
_LINE = 16  # float32 values in a line of the processor's cache


@final
@dataclass(frozen=True, eq=False)
class RadianceGrid(RadianceField):
    """Density and colour between the corners of a lattice, trilinear; nothing where no cell is live.

        density = softplus(interpolated thickness) / cell       for each unit of length
        colour  = 0.5 + sum_b interpolated shade_b * harmonic_b(direction), clipped to 0 .. 1

    Softplus comes after the interpolation, so that a surface may lie anywhere within a cell and be sharper than it
    (Sun, Sun and Chen, "Direct Voxel Grid Optimization", 2022, section 4.2).
    """

    lattice: CornerLattice
    thickness: Tensor  # [n] float32: optical depth of one edge of a cell, before softplus
    shades: Tensor  # [n, 9, 3] float32: red, green and blue of each spherical harmonic
    up: Direction = DEFAULT_UP

    def __post_init__(self) -> None:
        n = self.lattice.num_corners
        if self.thickness.shape != (n,) or self.shades.shape != (n, COUNT, 3):
            raise UsageError(
                f"a radiance grid of {n} corners needs thickness [{n}] and shades [{n}, {COUNT}, 3], "
                f"got {list(self.thickness.shape)} and {list(self.shades.shape)}"
            )

    @property
    def occupancy(self) -> Occupancy:
        return self.lattice.occupancy

    @property
    def device(self) -> torch.device:
        return self.thickness.device

    def to(self, device: torch.device) -> "RadianceGrid":
        return RadianceGrid(self.lattice, self.thickness.to(device), self.shades.to(device), self.up)

    def evaluate(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density [m] and colour [m, 3] at points [m, 3]; compiled on the CPU where no gradient is asked for."""
        needs_gradient = torch.is_grad_enabled() and (
            self.thickness.requires_grad or self.shades.requires_grad or points.requires_grad
        )
        if self.device.type == "cpu" and not needs_gradient:
            return self._evaluate_compiled(points, directions)
        rows, weights = self.corners_of(points)
        shades = F.embedding_bag(rows, self.shades.reshape(-1, 3 * COUNT), per_sample_weights=weights, mode="sum")
        basis = harmonics(directions.to(shades.dtype))
        return self._density(rows, weights), clipped((shades.view(-1, COUNT, 3) * basis[..., None]).sum(1) + 0.5)

    def density(self, points: Tensor) -> Tensor:
        """Density [m] alone at points [m, 3], by PyTorch."""
        return self._density(*self.corners_of(points))

    def _density(self, rows: Tensor, weights: Tensor) -> Tensor:
        depth = F.softplus((self.thickness[rows] * weights).sum(-1)) * (weights.sum(-1) > 0)
        return depth / self.lattice.cell

    def corners_of(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """[m, 3] -> rows [m, 8] of the corners around points, and their weights [m, 8]; these are 0 in dead cells."""
        low = torch.from_numpy(self.lattice.low).to(points.device)
        places = (points.double() - low) / self.lattice.cell
        rows_of, live = self._tables
        limits = torch.tensor(live.shape, device=points.device)
        first = places.floor().long()
        inside = ((first >= 0) & (first < limits)).all(-1)
        first = torch.minimum(first.clamp(min=0), limits - 1)
        inside &= live[first.unbind(-1)]
        beside = (places - first).to(self.thickness.dtype)[:, None]
        corners = _CORNERS.to(points.device)
        weights = torch.where(corners == 1, beside, 1 - beside).prod(-1) * inside[:, None]
        rows = rows_of[(first[:, None] + corners).unbind(-1)].clamp(min=0).long()
        return rows, weights

    @cached_property
    def _wide_shades(self) -> np.ndarray:
        wide = aligned_rows(len(self.shades), row_width(3 * COUNT))
        wide[:, : 3 * COUNT] = self.shades.detach().reshape(-1, 3 * COUNT).numpy()
        return wide

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        """The rows of corners and the live cells, where the values are."""
        lattice = self.lattice
        return torch.from_numpy(lattice.rows).to(self.device), torch.from_numpy(lattice.live).to(self.device)

    def _evaluate_compiled(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        count = len(points)
        places = np.ascontiguousarray(points.detach().numpy(), np.float64)
        density, colours = np.empty(count, np.float32), np.empty((count, 3), np.float32)
        basis = harmonics(directions.detach().float()).numpy()
        box = (self.lattice.low, self.lattice.cell, self.lattice.rows, self.lattice.live)
        tables = (self.thickness.detach().numpy(), self._wide_shades)

        def fill(part: slice) -> None:
            grid_kernels.evaluate(places[part], basis[part], *box, *tables, density[part], colours[part])

        parts = [slice(a, a + _POINTS_AT_ONCE) for a in range(0, count, _POINTS_AT_ONCE)]
        map_threads(fill, parts, None)
        return torch.from_numpy(density), torch.from_numpy(colours)


def row_width(columns: int) -> int:
    """Columns of a table as kernels want it: whole vectors of the processor, whole lines of its cache where large."""
    return -(-columns // 8) * 8 if columns > 4 else 4


def aligned_rows(count: int, width: int) -> np.ndarray:
    """[count, width] float32 zeros that begin where a line of the cache does."""
    room = np.zeros(count * width + _LINE, np.float32)
    start = -(room.ctypes.data // 4) % _LINE
    return room[start : start + count * width].reshape(count, width)


def clipped(values: Tensor) -> Tensor:
    """Values of 0 to 1; those beyond keep the gradients that lead them back."""
    return _Clip.apply(values)


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        outward = ((values < 0) & (gradient > 0)) | ((values > 1) & (gradient < 0))
        return gradient.masked_fill(outward, 0)
