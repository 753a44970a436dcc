"""Interpolation at all levels of an octree in one pass, the levels added up.

The first layer of a network over mixed latents is linear, and so is mixing: with W_m the columns of its weights for
level m, W concat(mix(z_1), ..., mix(z_M)) = sum of mix(W_m z_m). The products are made once for each cell and not for
each point, and a point takes eight rows of each level and no matrix product at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fieldcodec.jit import kernel
from fieldcodec.nets.interpolation import Stencil, mix
from fieldcodec.nets.recursive_spec import RecursiveSpec


@dataclass(frozen=True, eq=False)
class LevelTable:
    """Values of the cells of all levels, one level after another."""

    values: Float[Tensor, "cells channels"]
    starts: tuple[int, ...]  # the first row of each level, and the end

    @staticmethod
    def of(levels: Sequence[Float[Tensor, "_ channels"]]) -> "LevelTable":
        """Args: levels are the values of levels 1, 2, ..."""
        starts = np.cumsum([0, *(len(values) for values in levels)])
        return LevelTable(torch.cat(list(levels)).contiguous(), tuple(int(start) for start in starts))

    @property
    def lods(self) -> int:
        """Levels below the root."""
        return len(self.starts) - 1

    def cut(self, lods: int) -> "LevelTable":
        """The first levels alone."""
        return LevelTable(self.values, self.starts[: lods + 1])


def first_layer_table(spec: RecursiveSpec, weight: Tensor, latents: Sequence[Tensor]) -> LevelTable:
    """The products of latents and the first layer of a network over fused latents, of as many levels as are given.

    Args:
        weight: [width, inputs] of the layer; columns beyond the fused latent (directions) are left out.
    """
    size = spec.latent
    columns = [level * size if spec.fusion == "cat" else 0 for level in range(len(latents))]
    return LevelTable.of(
        [values @ weight[:, start : start + size].T for values, start in zip(latents, columns, strict=True)]
    )


def mix_levels(table: LevelTable, stencil: Stencil) -> Float[Tensor, "points channels"]:
    """The sum over the levels of a table of their values at points. Gradients reach `stencil.places` alone."""
    if table.values.device.type == "cpu" and table.values.dtype == torch.float32:
        return _MixLevels.apply(stencil.places, table.values.detach(), np.array(table.starts), stencil.rows)
    total = table.values.new_zeros(len(stencil.rows), table.values.shape[1])
    for level in range(table.lods):
        values = table.values[table.starts[level] : table.starts[level + 1]]
        if len(values):
            total = total + mix(values, stencil.rows[:, level], stencil.places[:, level])
    return total


def with_slopes(stencil: Stencil, points: Float[Tensor, "points 3"]) -> Stencil:
    """The same stencil with places as a function of the points that gradients flow through."""
    sides = 2.0 ** torch.arange(1, stencil.rows.shape[1] + 1, dtype=points.dtype, device=points.device)
    place = (points[:, None] + 1) * (sides * 0.5)[:, None] - 0.5
    place = torch.minimum(place.clamp(min=-1), sides[:, None])
    return replace(stencil, places=place - place.detach().floor())


class _MixLevels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, places: Tensor, values: Tensor, starts: np.ndarray, rows: Tensor) -> Tensor:
        ctx.save_for_backward(places, values, rows)
        ctx.starts = starts
        out = torch.zeros(len(rows), values.shape[1])
        _gather_levels(values.numpy(), starts, rows.numpy(), places.detach().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        places, values, rows = ctx.saved_tensors
        (gradient,) = gradients
        out = torch.zeros_like(places)
        gradient = gradient.detach().contiguous()
        _slopes(values.numpy(), ctx.starts, rows.numpy(), places.detach().numpy(), gradient.numpy(), out.numpy())
        return out, None, None, None


# The functions below are compiled; numba infers their types, so they carry none. Sums may be taken in any order:
# without that, a dot product is one addition after another.


@kernel(fastmath={"reassoc", "contract"})
def _gather_levels(values, starts, rows, places, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    one = np.float32(1)
    for point in range(len(rows)):
        for level in range(len(starts) - 1):
            x, y, z = places[point, level, 0], places[point, level, 1], places[point, level, 2]
            for corner in range(8):
                row = rows[point, level, corner]
                if row >= 0:
                    row += starts[level]
                    weight = (x if corner & 4 else one - x) * (y if corner & 2 else one - y)
                    weight *= z if corner & 1 else one - z
                    for channel in range(values.shape[1]):
                        out[point, channel] += weight * values[row, channel]


@kernel(fastmath={"reassoc", "contract"})
def _slopes(values, starts, rows, places, gradient, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Adds to out [points, lods, 3] how the sum of gradient times value grows with each place."""
    one = np.float32(1)
    for point in range(len(rows)):
        for level in range(len(starts) - 1):
            place = places[point, level]
            for corner in range(8):
                row = rows[point, level, corner]
                if row >= 0:
                    row += starts[level]
                    total = np.float32(0)
                    for channel in range(values.shape[1]):
                        total += gradient[point, channel] * values[row, channel]
                    x = place[0] if corner & 4 else one - place[0]
                    y = place[1] if corner & 2 else one - place[1]
                    z = place[2] if corner & 1 else one - place[2]
                    out[point, level, 0] += (total if corner & 4 else -total) * y * z
                    out[point, level, 1] += (total if corner & 2 else -total) * x * z
                    out[point, level, 2] += (total if corner & 1 else -total) * x * y
