"""Sparse domain decomposition with halo and gates (NeuralVDB 3.4, equation 3).

The bounding box of what is active is cut into cubes of a fixed size; cubes with nothing active in them
or in their halo are dropped. An expert sees its cube and a halo of 8 voxels around it. Gates are clamped
tents: 1 in the cube's interior, falling to 0 across the overlap with the neighbour. They are integers here,
and the sum over the experts present divides the blend, so that the weights sum to one exactly.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from fieldcodec.errors import FormatError
from fieldcodec.shapes import Points, Rows

HALO = 8
GATE_ONE = 4 * HALO  # gate along one axis, inside


@dataclass(frozen=True)
class Subdomains:
    """K cubes of `size` units on a regular lattice from `origin`; a unit is a voxel or, on level 1, a leaf.

    `cells` [K, 3] are lattice coordinates of the cubes that have an expert.
    """

    origin: tuple[int, int, int]
    size: int
    halo: int
    cells: np.ndarray

    @property
    def extent(self) -> int:
        """Side of an expert's domain, halo included."""
        return self.size + 2 * self.halo

    @cached_property
    def corners(self) -> np.ndarray:
        """[K, 3] int64: smallest coordinate of each expert's domain."""
        return np.asarray(self.origin, np.int64) + self.cells.astype(np.int64) * self.size - self.halo

    def __len__(self) -> int:
        return len(self.cells)

    def members(self, points: Points) -> list[Rows]:
        """For each expert the rows of the points [n, 3] inside its domain."""
        return [
            np.nonzero(np.all((points >= corner) & (points < corner + self.extent), axis=1))[0]
            for corner in self.corners
        ]

    def gate(self, expert: int, points: Points) -> Int64[np.ndarray, " points"]:
        """[n] int64: gate of one expert at integer points [n, 3], between 0 and (4 halo)^3; 1 without halo."""
        if self.halo == 0:
            return np.ones(len(points), np.int64)
        local = points.astype(np.int64) - self.corners[expert]
        rising = 2 * local + 1
        falling = 2 * (self.extent - local) - 1
        tent = np.clip(np.minimum(rising, falling), 0, 4 * self.halo)
        return tent[:, 0] * tent[:, 1] * tent[:, 2]

    def in_leaf_units(self) -> "Subdomains":
        """The same decomposition for level 1, where a point is a slot of 8^3 voxels."""
        origin = tuple(int(x) // 8 for x in self.origin)
        return Subdomains((origin[0], origin[1], origin[2]), self.size // 8, self.halo // 8, self.cells)

    def to_json(self) -> dict[str, object]:
        return {"origin": list(self.origin), "size": self.size, "halo": self.halo, "cells": self.cells.tolist()}

    @staticmethod
    def from_json(data: object) -> "Subdomains":
        try:
            if not isinstance(data, dict):
                raise TypeError(f"{data!r:.100} is no description")
            numbers = [*data["origin"], data["size"], data["halo"], *(x for cell in data["cells"] for x in cell)]
            if not all(type(number) is int for number in numbers):
                raise TypeError("a number is no integer")
            cells = np.array(data["cells"], np.int32).reshape(-1, 3)
            x, y, z = data["origin"]
            size, halo = data["size"], data["halo"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"subdomains in the meta section are not understood: {error}") from error
        if max(abs(x), abs(y), abs(z)) > 1 << 31 or x % 8 or y % 8 or z % 8:
            raise FormatError(
                f"subdomains in the meta section begin at {(x, y, z)}; needed are multiples of 8 of 32 bits"
            )
        if not 8 <= size <= 1 << 20 or size % 8 or halo not in (0, HALO) or len(cells) > 1 << 16:
            raise FormatError(f"subdomains in the meta section: size {size}, halo {halo}, {len(cells)} cells")
        if len(np.unique(cells, axis=0)) < len(cells):
            raise FormatError("subdomains in the meta section: two cells are equal")
        return Subdomains((x, y, z), size, halo, cells)


def decompose(low: np.ndarray, high: np.ndarray, blocks: np.ndarray, size: int) -> Subdomains:
    """Cuts a bounding box into subdomains.

    Args:
        low, high: [3] smallest and largest (inclusive) active index.
        blocks: [n, 3] origins of the 8^3 blocks (leaves, active tiles) that hold something active.
        size: side of a subdomain in voxels, a multiple of 8; cut down to the longest side of the box.
    """
    low = np.asarray(low, np.int64) & ~7
    high = (np.asarray(high, np.int64) + 8) & ~7
    longest = int((high - low).max())
    if longest <= size:  # one expert without halo; nothing to blend
        return Subdomains(tuple(low.tolist()), longest, 0, np.zeros((1, 3), np.int32))
    cells = np.unique((blocks - low) // size, axis=0).astype(np.int32)
    return Subdomains(tuple(low.tolist()), size, HALO, cells)


def continued(earlier: Subdomains, blocks: np.ndarray) -> Subdomains | None:
    """The decomposition of a later frame on the lattice of an earlier one, which is not empty.

    Args:
        blocks: [n, 3] origins of the later frame's 8^3 blocks that hold something active.

    Returns:
        None where a single domain, which has no halo to be blended in, does not hold them all.
    """
    cells = np.unique((blocks - np.asarray(earlier.origin)) // earlier.size, axis=0).astype(np.int32)
    if earlier.halo == 0 and not np.array_equal(cells, earlier.cells):
        return None
    return replace(earlier, cells=cells)
