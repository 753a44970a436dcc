"""Trilinear interpolation of values at the centres of an octree's cells, with gradients.

Only the eight cells around a point are read, so levels of millions of empty cells cost nothing. Equal to sampling a
dense grid with zeros in empty cells (`torch.nn.functional.grid_sample`, align_corners=False, padding with zeros).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32
from torch import Tensor

from fieldcodec.grid.octree import Octree, stencils
from fieldcodec.jit import kernel


@dataclass(frozen=True)
class Stencil:
    """Where points take their values from, at all levels; see `grid.octree.stencils`."""

    rows: Int32[Tensor, "points lods 8"]
    places: Float32[Tensor, "points lods 3"]

    @staticmethod
    def of(octree: Octree, roots: np.ndarray, points: np.ndarray, device: torch.device | str = "cpu") -> "Stencil":
        """Args: roots [n], the object of each point; points [n, 3] in [-1, 1]^3."""
        rows, places = stencils(octree, roots, points)
        return Stencil(torch.from_numpy(rows), torch.from_numpy(places)).to(device)

    def to(self, device: torch.device | str) -> "Stencil":
        """The same on a device."""
        return Stencil(self.rows.to(device), self.places.to(device))


def mix(
    values: Float[Tensor, "cells channels"], rows: Int32[Tensor, "points 8"], places: Float32[Tensor, "points 3"]
) -> Float[Tensor, "points channels"]:
    """Values at points. Gradients reach `values`, and `places` where they are asked for."""
    if values.device.type != "cpu" or places.requires_grad or values.dtype != torch.float32:
        return _mix_in_torch(values, rows, places)
    return _Mix.apply(values, rows, places)


def _mix_in_torch(values: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    weights = corner_weights(places) * (rows >= 0)
    gathered = values.index_select(0, rows.clamp(min=0).reshape(-1)).reshape(*rows.shape, -1)
    return torch.einsum("pk,pkc->pc", weights.to(values.dtype), gathered)


def corner_weights(places: Float[Tensor, "points 3"]) -> Float[Tensor, "points 8"]:
    """Trilinear weights of the eight corners, in the order of an octree's children."""
    both = torch.stack([1 - places, places], dim=2)
    x, y, z = both[:, 0], both[:, 1], both[:, 2]
    return (x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]).reshape(-1, 8)


class _Mix(torch.autograd.Function):
    """On the host: no copy of the values of eight corners is made, forward or backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(rows, places)
        ctx.cells = len(values)
        out = torch.empty(len(rows), values.shape[1])
        _gather(values.detach().contiguous().numpy(), rows.numpy(), places.detach().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        rows, places = ctx.saved_tensors
        (gradient,) = gradients
        out = torch.zeros(ctx.cells, gradient.shape[1])
        _scatter(gradient.contiguous().numpy(), rows.numpy(), places.numpy(), out.numpy())
        return out, None, None


# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def _weight(places, point, corner):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    one = np.float32(1)
    x, y, z = places[point, 0], places[point, 1], places[point, 2]
    return (x if corner & 4 else one - x) * (y if corner & 2 else one - y) * (z if corner & 1 else one - z)


@kernel
def _gather(values, rows, places, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for point in range(len(rows)):
        out[point] = 0
        for corner in range(8):
            row = rows[point, corner]
            if row >= 0:
                weight = _weight(places, point, corner)
                for channel in range(values.shape[1]):
                    out[point, channel] += weight * values[row, channel]


@kernel
def _scatter(gradient, rows, places, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for point in range(len(rows)):
        for corner in range(8):
            row = rows[point, corner]
            if row >= 0:
                weight = _weight(places, point, corner)
                for channel in range(gradient.shape[1]):
                    out[row, channel] += weight * gradient[point, channel]
