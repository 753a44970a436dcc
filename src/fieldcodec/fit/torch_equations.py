"""Normal equations of lattices in torch: on a GPU, and for tests on the CPU.

The lattice package knows nothing of torch, so this side of its interface lives here. Leaves whose origins have the
same phases share one small matrix of weights per axis; with the leaf as the last index, a part of such leaves takes
three products of matrices and no copy:

    coefficients [n] --gather--> [kx, ky kz L] --x--> [8, ky, kz L] --y--> [64, kz, L] --z--> voxels [512, L]
    coefficients [n] <--scatter- [kx, ky kz L] <--x-- [8, ky, kz L] <--y-- [64, kz, L] <--z-- voxels [512, L]

Sums over all coefficients are taken in float64 and stay on the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from fieldcodec.grid.masks import LEAF_DIM, LEAF_SLOTS
from fieldcodec.lattice import basis
from fieldcodec.lattice.equations import DIAGONAL_FLOOR, SMALLEST, MakeEquations, NormalEquations
from fieldcodec.lattice.host_equations import HostEquations
from fieldcodec.lattice.operator import Lattice
from fieldcodec.nets.modes import product_precision

_GPU_LEAVES = 16384  # of a part: 32 MiB of voxels, enough to keep a GPU busy
_CPU_LEAVES = 128  # 256 KiB, within a core's cache
_PATIENCE = 8


def equations_on(device: torch.device) -> MakeEquations:
    """How equations are made for a device: in torch for CUDA; on a CPU in kernels that no number of threads changes."""
    return TorchSolver(device) if device.type == "cuda" else HostEquations


class TorchSolver:
    """Makes equations on one device; lattices are taken there once, for as long as they live.

    Args:
        part_leaves: at most so many leaves are worked on at once, which bounds memory; None: what suits the device.
    """

    def __init__(self, device: torch.device, part_leaves: int | None = None) -> None:
        self._device = device
        self._part_leaves = part_leaves or (_CPU_LEAVES if device.type == "cpu" else _GPU_LEAVES)
        self._operators: WeakKeyDictionary[Lattice, TorchOperator] = WeakKeyDictionary()

    def __call__(
        self, lattice: Lattice, target: np.ndarray, importance: np.ndarray, scale: float, smoothness: float
    ) -> "TorchEquations":
        return TorchEquations(self.operator(lattice), target, importance, scale, smoothness)

    def operator(self, lattice: Lattice) -> "TorchOperator":
        """The lattice on the device."""
        if lattice not in self._operators:
            self._operators[lattice] = TorchOperator(lattice, self._device, self._part_leaves)
        return self._operators[lattice]


@dataclass(frozen=True, eq=False)
class _Part:
    """L leaves of the same phases.

    Attributes:
        rows: [L] int64, which leaves of the lattice, on the host.
        nodes: [kx * ky * kz * L] int32, numbers of the nodes of their windows.
        weights: along x, y and z, [8, k] float32; k is the number of nodes that have a weight.
    """

    rows: np.ndarray
    nodes: Tensor
    weights: tuple[Tensor, Tensor, Tensor]

    # without TF32, whatever the caller has set: a fine step needs every bit of a coefficient
    @product_precision("highest")
    def expand(self, coefficients: Tensor) -> Tensor:
        """[n] -> [512, L]."""
        wx, wy, wz = self.weights
        (_, kx), (_, ky), (_, kz), leaves = wx.shape, wy.shape, wz.shape, len(self.rows)
        local = coefficients.index_select(0, self.nodes).view(kx, ky * kz * leaves)
        along_x = (wx @ local).view(LEAF_DIM, ky, kz * leaves)
        along_y = torch.bmm(wy.expand(LEAF_DIM, -1, -1), along_x).view(LEAF_DIM**2, kz, leaves)
        return torch.bmm(wz.expand(LEAF_DIM**2, -1, -1), along_y).view(LEAF_SLOTS, leaves)

    @product_precision("highest")
    def contract_into(self, total: Tensor, values: Tensor, weights: tuple[Tensor, Tensor, Tensor]) -> None:
        """Adds to total [n] what values [512, L] give to the nodes; the adjoint of `expand` where weights are its."""
        wx, wy, wz = weights
        (_, kx), (_, ky), (_, kz), leaves = wx.shape, wy.shape, wz.shape, len(self.rows)
        voxels = values.view(LEAF_DIM**2, LEAF_DIM, leaves)
        along_z = torch.bmm(wz.T.expand(LEAF_DIM**2, -1, -1), voxels).view(LEAF_DIM, LEAF_DIM, kz * leaves)
        along_y = torch.bmm(wy.T.expand(LEAF_DIM, -1, -1), along_z).view(LEAF_DIM, ky * kz * leaves)
        total.index_add_(0, self.nodes, (wx.T @ along_y).view(kx * ky * kz * leaves))


class TorchOperator:
    """A lattice on a device: its linear map, the transpose, and its second differences.

    Everything on leaves is given part by part, [512, L], in the order of `parts`; `upload` brings it there.
    """

    def __init__(self, lattice: Lattice, device: torch.device, part_leaves: int) -> None:
        self.device, self.num_nodes = device, len(lattice)
        self.parts = list(_parts(lattice, device, part_leaves))
        near = torch.from_numpy(lattice.neighbours).to(device).permute(2, 1, 0)  # [side, axis, n]
        nodes, axes = self.num_nodes, torch.arange(3, dtype=torch.int32, device=device)[:, None]
        self.is_inner = (near >= 0).all(dim=0)  # [3, n], there are two neighbours along an axis
        self._near = near.clamp(min=0).reshape(-1)  # [2 * 3 * n] int32, into [n]
        self._near_bends = torch.where(near < 0, 3 * nodes, near + axes * nodes).reshape(-1)  # into [3 * n and a zero]

    def upload(self, part: _Part, values: np.ndarray, dtype: type[np.generic] = np.float32) -> Tensor:
        """[N, 512] of any type -> [512, L] of a part."""
        return torch.from_numpy(values[part.rows].astype(dtype, copy=False)).to(self.device).T.contiguous()

    def zeros(self) -> Tensor:
        return torch.zeros(self.num_nodes, device=self.device)

    def evaluate(self, coefficients: Tensor) -> list[Tensor]:
        """Values at all leaf voxels, part by part, of [n] coefficients."""
        return [part.expand(coefficients) for part in self.parts]

    def adjoint(self, values: list[Tensor]) -> Tensor:
        """[n]: the transposed map of `evaluate`."""
        total = self.zeros()
        for part, of_part in zip(self.parts, values, strict=True):
            part.contract_into(total, of_part, part.weights)
        return total

    def normal(self, coefficients: Tensor, importance: list[Tensor]) -> Tensor:
        """[n]: adjoint(importance * evaluate(coefficients)); importance is uint8, part by part."""
        total = self.zeros()
        for part, of_part in zip(self.parts, importance, strict=True):
            part.contract_into(total, part.expand(coefficients).mul_(of_part), part.weights)
        return total

    def diagonal(self, importance: list[Tensor]) -> Tensor:
        """[n]: the diagonal of `normal`."""
        total = self.zeros()
        for part, of_part in zip(self.parts, importance, strict=True):
            wx, wy, wz = part.weights
            part.contract_into(total, of_part.to(torch.float32), (wx**2, wy**2, wz**2))
        return total

    def second_differences(self, coefficients: Tensor) -> Tensor:
        """[3, n], of no meaning where `is_inner` is false."""
        around = coefficients.index_select(0, self._near).view(2, 3, self.num_nodes)
        return around[0] + around[1] - 2 * coefficients

    def sum_near(self, bent: Tensor) -> Tensor:
        """[n]: of [3, n], over axes the sum of both neighbours."""
        padded = torch.nn.functional.pad(bent.reshape(-1), (0, 1))
        return padded.index_select(0, self._near_bends).view(6, self.num_nodes).sum(dim=0)


class TorchEquations(NormalEquations):
    """Vectors are tensors on the operator's device.

    Args:
        target: [N, 512] floats.
        importance: [N, 512] uint8.
        scale: what an importance of 1 weighs.
        smoothness: weight of the squares of second differences.
    """

    patience = _PATIENCE

    def __init__(
        self, operator: TorchOperator, target: np.ndarray, importance: np.ndarray, scale: float, smoothness: float
    ) -> None:
        self._operator, self._scale, self._smoothness = operator, scale, smoothness
        self._importance = [operator.upload(part, importance, np.uint8) for part in operator.parts]
        right = operator.zeros()
        for part, of_part in zip(operator.parts, self._importance, strict=True):
            part.contract_into(right, operator.upload(part, target) * of_part, part.weights)
        self.right = right.mul_(scale)
        self._voxel_diagonal = operator.diagonal(self._importance).mul_(scale).clamp_(min=DIAGONAL_FLOOR)
        self._bends = operator.is_inner.to(torch.float32)  # [3, n]

    def vector(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._operator.device)

    def array(self, vector: Tensor) -> np.ndarray:
        return vector.cpu().numpy()

    def local_means(self, target: np.ndarray) -> Tensor:
        operator = self._operator
        sums, weights = operator.zeros(), operator.zeros()
        for part in operator.parts:
            values = operator.upload(part, target)
            part.contract_into(sums, values, part.weights)
            part.contract_into(weights, torch.ones_like(values), part.weights)
        return sums / weights.clamp_(min=1e-9)

    def apply(self, vector: Tensor) -> Tensor:
        operator = self._operator
        bent = self._bends * operator.second_differences(vector)
        unbent = operator.sum_near(bent) - 2 * bent.sum(dim=0)
        return operator.normal(vector, self._importance).mul_(self._scale).add_(unbent, alpha=self._smoothness)

    def diagonal(self) -> Tensor:
        unbent = self._operator.sum_near(self._bends) + 4 * self._bends.sum(dim=0)
        return self._voxel_diagonal.add(unbent, alpha=self._smoothness)

    def reweight(self, vector: Tensor, bend: float) -> None:
        second = self._operator.second_differences(vector) / bend
        self._bends = torch.where(self._operator.is_inner, 1 / (1 + second * second), 0.0)

    def dot(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.sum(one * other, dtype=torch.float64)

    def quotient(self, above: Tensor, below: Tensor) -> Tensor:
        return above / below.clamp(min=SMALLEST)

    def rounded(self, vector: Tensor, step: float, rows: Tensor) -> Tensor:
        return torch.where(rows, torch.round(vector / step) * step, vector)


def _parts(lattice: Lattice, device: torch.device, part_leaves: int) -> Iterator[_Part]:
    """All leaves by their phases, at most `part_leaves` at once."""
    nodes = lattice.nodes
    weights = (np.array(basis.leaf_weights(nodes.stride, nodes.degree)) / basis.WEIGHT_ONE).astype(np.float32)
    width = weights.shape[2]
    phases, group = np.unique(nodes.leaf_phases, axis=0, return_inverse=True)
    for number, of_axes in enumerate(phases):
        rows = np.flatnonzero(group == number)
        used = basis.nodes_used(of_axes, nodes.stride, nodes.degree)
        wx, wy, wz = (
            torch.from_numpy(np.ascontiguousarray(weights[phase, :, :count])).to(device)
            for phase, count in zip(of_axes, used, strict=True)
        )
        for start in range(0, len(rows), part_leaves):
            mine = rows[start : start + part_leaves]
            table = torch.from_numpy(nodes.leaf_table[mine]).to(device).view(-1, width, width, width)
            window = table[:, : used[0], : used[1], : used[2]]
            yield _Part(mine, window.permute(1, 2, 3, 0).reshape(-1), (wx, wy, wz))
