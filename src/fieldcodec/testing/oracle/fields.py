"""Fields made of experts: subdomains, gates, blending, hints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.leaf_masks import Origin
from fieldcodec.testing.oracle.networks import ExactExpert, Network, evaluate


@final
@dataclass(frozen=True)
class Subdomains:
    """Cubes of experts, in voxels."""

    origin: Origin
    size: int
    halo: int
    cells: list[Origin]

    @property
    def extent(self) -> int:
        return self.size + 2 * self.halo

    @property
    def corners(self) -> list[Origin]:
        (x, y, z), size, halo = self.origin, self.size, self.halo
        return [(x + size * i - halo, y + size * j - halo, z + size * k - halo) for i, j, k in self.cells]

    def rows_in(self, earlier: "Subdomains") -> list[int | None]:
        """Which of the earlier experts has the cell of each one; None for new ones."""
        if (self.origin, self.size, self.halo) != (earlier.origin, earlier.size, earlier.halo):
            raise FormatError("a network is stored as differences to one of other subdomains")
        known = {cell: row for row, cell in enumerate(earlier.cells)}
        return [known.get(cell) for cell in self.cells]


def read_subdomains(data: Any) -> Subdomains:
    """The subdomains of a description."""
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        raise FormatError("there are no subdomains")
    origin, cells = _triple(data.get("origin")), [_triple(cell) for cell in data["cells"]]
    size, halo, _ = _triple([data.get("size"), data.get("halo"), 0])
    if not 8 <= size <= 1 << 20 or size % 8 or halo not in (0, 8) or len(cells) > 1 << 16 or any(a % 8 for a in origin):
        raise FormatError("subdomains are out of their limits")
    if len(set(cells)) < len(cells):
        raise FormatError("two subdomains are the same")
    return Subdomains(origin, size, halo, cells)


def _triple(data: Any) -> Origin:
    if not isinstance(data, list) or len(data) != 3:
        raise FormatError("subdomains are not understood")
    if any(type(a) is not int or not -(1 << 31) <= a < 1 << 31 for a in data):
        raise FormatError("a number of the subdomains is not whole or out of its limits")
    return data[0], data[1], data[2]


@final
class Field:
    """Experts on a lattice of cubes; the unit is a voxel, or a leaf for level 1 and tiles."""

    def __init__(self, network: Network, subdomains: Subdomains, in_leaves: bool) -> None:
        unit = 8 if in_leaves else 1
        self.network, self.subdomains, self.halo = network, subdomains, subdomains.halo // unit
        self.corners = [(x // unit, y // unit, z // unit) for x, y, z in subdomains.corners]
        if network.spec["experts"] != len(self.corners) or network.spec["extent"] != subdomains.extent // unit:
            raise FormatError("a network and its subdomains do not agree")
        self._exact: dict[tuple[int, int], ExactExpert] = {}

    def gate(self, expert: int, point: Sequence[int]) -> int:
        """0 outside the expert's domain."""
        extent = self.network.spec["extent"]
        local = [a - b for a, b in zip(point, self.corners[expert], strict=True)]
        if not all(0 <= a < extent for a in local):
            return 0
        product = 1
        if self.halo:
            for a in local:
                product *= min(2 * a + 1, 2 * (extent - a) - 1, 4 * self.halo)
        return product

    def logits(self, point: Sequence[int]) -> list[int] | None:
        """Blended logits in 1/16; None outside all domains."""
        return self.integers(point, 16)

    def integers(self, point: Sequence[int], unit: int) -> list[int] | None:
        """Blended outputs in 1 / unit; None outside all domains."""
        weight, totals = 0, [0] * self.network.spec["outputs"]
        for expert, corner in enumerate(self.corners):
            gate = self.gate(expert, point)
            if gate:
                if (expert, unit) not in self._exact:
                    self._exact[expert, unit] = ExactExpert(self.network, expert, unit)
                outputs = self._exact[expert, unit].logits([a - b for a, b in zip(point, corner, strict=True)])
                totals = [total + gate * output for total, output in zip(totals, outputs, strict=True)]
                weight += gate
        return [total // weight for total in totals] if weight else None

    def values(self, points: np.ndarray) -> np.ndarray:
        """[n, 3] points -> [n, outputs] float64."""
        points = np.asarray(points, np.int64).reshape(-1, 3)
        total = np.zeros((len(points), self.network.spec["outputs"]))
        weight = np.zeros(len(points))
        alone = len(self.corners) == 1 and self.halo == 0  # then evaluated outside its domain too
        for expert, corner in enumerate(self.corners):
            gate = np.array([1 if alone else self.gate(expert, point) for point in points.tolist()], float)
            inside = gate > 0
            if inside.any():
                total[inside] += gate[inside, None] * evaluate(self.network, expert, points[inside] - corner)
                weight += gate
        return total / np.maximum(weight, 1)[:, None]


def voxel_hint(field: Field, voxel: Sequence[int]) -> int:
    """0..31, 16 and more meaning active."""
    logits = field.logits(voxel)
    return 0 if logits is None else min(max((logits[0] >> 3) + 16, 0), 31)


def slot_hint(field: Field, slot: Sequence[int]) -> int:
    """8 * class + confidence."""
    logits = field.logits(slot)
    if logits is None:
        return 7
    if len(logits) == 1:
        return (16 if logits[0] >= 0 else 0) + min(abs(logits[0]) // 16, 7)
    lesser, greatest = sorted(logits)[1:]
    return 8 * logits.index(greatest) + min((greatest - lesser) // 16, 7)
