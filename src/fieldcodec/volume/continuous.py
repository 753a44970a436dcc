"""The continuous field that a compressed grid stands for, between voxels as well as at them, with its gradient.

In leaves it is the spline itself, or the network; tiles and background are answered by the tree and have no slope.
"""

from typing import Protocol

import numpy as np
import torch

from fieldcodec.grid.sampling import Tree
from fieldcodec.lattice.points import add_splines
from fieldcodec.volume.fields import ExpertField
from fieldcodec.volume.lattice_codec import LatticeNumbers
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.subdomains import Subdomains

_POINTS_AT_ONCE = 1 << 15


class LeafField(Protocol):
    """A field inside leaves."""

    def evaluate(self, points: np.ndarray, leaves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [n, C] and gradients [n, C, 3] float64 at [n, 3] points in index space; `leaves` [n] hold them."""
        ...


def leaf_at(tree: Tree, points: np.ndarray) -> np.ndarray:
    """[n] int64: row of the leaf that holds the voxel at each point's floor, -1 where there is none."""
    return tree.touched(np.floor(points), 1)[1]


class SplineField:
    """Splines of all levels; values beyond the range that is decoded are cut off, and have no slope."""

    def __init__(self, numbers: LatticeNumbers) -> None:
        self._numbers = numbers

    def evaluate(self, points: np.ndarray, leaves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spec, count = self._numbers.spec, len(points)
        values, gradients = np.zeros((count, len(spec.unit))), np.zeros((count, len(spec.unit), 3))
        for channel, integers in enumerate(self._numbers.integers):
            value, gradient = np.zeros(count), np.zeros((count, 3))
            for level, lattice, numbers in zip(spec.levels, self._numbers.lattices, integers, strict=True):
                factor = level.step * spec.unit[channel]
                add_splines(lattice, numbers, factor, points, leaves, value, gradient)
            value += spec.offset[channel]
            within = (value >= spec.low[channel]) & (value <= spec.high[channel])
            values[:, channel] = np.clip(value, spec.low[channel], spec.high[channel])
            gradients[:, channel] = gradient * within[:, None]
        return values, gradients


class NetworkField:
    """A regressor between voxels: its experts under gates that are continuous as well."""

    def __init__(self, field: ExpertField, normalisation: Normalisation, device: torch.device) -> None:
        network = field.frozen.module(device)
        self._experts = [network.expert(k) for k in range(field.frozen.spec.experts)]
        self._subdomains, self._normalisation, self._device = field.subdomains, normalisation, device

    def evaluate(self, points: np.ndarray, leaves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channels, normalisation = len(self._normalisation.scale), self._normalisation
        values, gradients = np.zeros((len(points), channels)), np.zeros((len(points), channels, 3))
        for start in range(0, len(points), _POINTS_AT_ONCE):
            part = slice(start, start + _POINTS_AT_ONCE)
            values[part], gradients[part] = self._raw(points[part])
        values = values * normalisation.scale + normalisation.offset
        within = (values >= normalisation.low) & (values <= normalisation.high)
        gradients *= (normalisation.scale * within)[:, :, None]
        return np.clip(values, normalisation.low, normalisation.high), gradients

    def _raw(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In the network's units."""
        with torch.enable_grad():
            places = torch.from_numpy(points).to(self._device).requires_grad_(True)
            total = torch.zeros(len(points), len(self._normalisation.scale), dtype=torch.float64, device=self._device)
            weight = torch.zeros(len(points), dtype=torch.float64, device=self._device)
            for corner, expert in zip(self._subdomains.corners, self._experts, strict=True):
                local = places - torch.from_numpy(corner).to(self._device)
                gate = _gate(local, self._subdomains)
                rows = torch.nonzero(gate > 0)[:, 0]
                if len(rows):
                    said = expert(local[rows].float()[None])[0].double()
                    total = total.index_add(0, rows, gate[rows, None] * said)
                    weight = weight.index_add(0, rows, gate[rows])
            blended = total / torch.where(weight > 0, weight, torch.ones_like(weight))[:, None]
            if not blended.requires_grad:  # no expert has any of the points
                return blended.cpu().numpy(), np.zeros((*blended.shape, 3))
            slopes = [
                torch.autograd.grad(blended[:, channel].sum(), places, retain_graph=True)[0]
                for channel in range(blended.shape[1])
            ]
        return blended.detach().cpu().numpy(), torch.stack(slopes, dim=1).cpu().numpy()


def _gate(local: torch.Tensor, subdomains: Subdomains) -> torch.Tensor:
    """[n]: `Subdomains.gate` between voxels, of points [n, 3] from an expert's corner."""
    if subdomains.halo == 0:
        return torch.ones(len(local), dtype=local.dtype, device=local.device)
    tent = torch.minimum(2 * local + 1, 2 * (subdomains.extent - local) - 1)
    return tent.clamp(0, 4 * subdomains.halo).prod(dim=1)
