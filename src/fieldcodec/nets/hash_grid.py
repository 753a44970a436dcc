"""Multi-resolution hash-grid encoding (Mueller et al. 2022), the other feature mapping of NeuralVDB 3.2.2.

Cell positions are fixed point (2^-16 of a cell), so that the exact evaluation of `integer` finds the
same corners on every machine.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

POSITION_BITS = 16
PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class HashLevels:
    """Geometry of all levels: `steps` [levels] cells per voxel in 2^-16, `resolutions` [levels] cells."""

    steps: np.ndarray
    resolutions: np.ndarray
    table_size: int

    @staticmethod
    def of(levels: int, log2_table: int, base: int, finest: int, extent: int) -> "HashLevels":
        growth = (finest / base) ** (1 / max(levels - 1, 1))
        # floor of a value lifted by 1e-6: a last-bit difference of `**` cannot change the integer
        resolutions = np.array([int(base * growth**level + 1e-6) for level in range(levels)], np.int64)
        steps = (resolutions << POSITION_BITS) // extent
        return HashLevels(steps, resolutions, 1 << log2_table)

    def is_dense(self, level: int) -> bool:
        """True where every corner has a table entry of its own."""
        return int(self.resolutions[level] + 2) ** 3 <= self.table_size


class HashGrid(nn.Module):
    """Maps local voxel coordinates [experts, points, 3] to [experts, points, levels * features]."""

    def __init__(self, experts: int, levels: HashLevels, features: int) -> None:
        super().__init__()
        self.corners: Tensor
        self.levels, self.features = levels, features
        self.num_features = len(levels.steps) * features
        table = torch.empty(experts, len(levels.steps) * levels.table_size, features)
        self.table = nn.Parameter(nn.init.uniform_(table, -1e-2, 1e-2))
        corners = torch.tensor([[bits >> 2 & 1, bits >> 1 & 1, bits & 1] for bits in range(8)])
        self.register_buffer("corners", corners, persistent=False)

    def forward(
        self, local: Float[Tensor, "experts points 3"], table: Float[Tensor, "experts rows entries"]
    ) -> Float[Tensor, "experts points features"]:
        """`table` is the parameter of that name, rounded or not."""
        outputs = []
        for level, step in enumerate(self.levels.steps.tolist()):
            position = local * (step / 2.0**POSITION_BITS)
            corner = position.floor()
            fraction = position - corner
            outputs.append(self._interpolate(table, level, corner.long(), fraction))
        return torch.cat(outputs, dim=-1)

    def _interpolate(self, table: Tensor, level: int, corner: Tensor, fraction: Tensor) -> Tensor:
        total: Tensor | None = None
        for offset in self.corners:
            weight = torch.where(offset.bool(), fraction, 1 - fraction).prod(dim=-1, keepdim=True)
            rows = self._rows(level, corner + offset)
            values = torch.gather(table, 1, rows[..., None].expand(-1, -1, self.features))
            total = weight * values if total is None else total + weight * values
        assert total is not None
        return total

    def _rows(self, level: int, corner: Tensor) -> Tensor:
        x, y, z = corner.unbind(-1)
        if self.levels.is_dense(level):
            side = int(self.levels.resolutions[level]) + 2
            index = (x * side + y) * side + z
        else:
            index = (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) & (self.levels.table_size - 1)
        return index + level * self.levels.table_size
