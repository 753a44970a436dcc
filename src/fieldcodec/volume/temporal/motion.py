"""Motion between two frames <-> bytes.

Motion is a lattice of three channels over the leaves of the later frame, see `lattice.warp`. Its coefficients are
stored as differences to those of the earlier frame's own motion where that had a node at the same place: what moves
goes on moving.
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.coefficients import decode_coefficients, encode_coefficients
from fieldcodec.lattice.basis import MAX_COEFFICIENT
from fieldcodec.lattice.operator import Lattice
from fieldcodec.lattice.warp import motion_at

DEGREE = 3
_WHAT = "motion"
_CARRIED, _PLAIN = 1, 0
MAX_MOTION = MAX_COEFFICIENT // 2  # of coefficients and of what is expected of them: differences can be stored
Rows = slice | np.ndarray


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the voxels of some leaves come from.

    Attributes:
        lattice: over all leaves of the frame.
        step: of the coefficients, in 1/1024 voxel.
        integers: [3, nodes] int32, within +-MAX_MOTION.
    """

    lattice: Lattice
    step: int
    integers: np.ndarray

    @property
    def numbers(self) -> tuple[int, int]:
        """Stride and step, as `LatticeSpec` has them."""
        return self.lattice.nodes.stride, self.step

    def at(self, rows: Rows) -> np.ndarray:
        """[3, n, 512] int32 in 1/1024 voxel, of the leaves `rows`."""
        return motion_at(self.lattice, self.integers, self.step, rows)

    def to_bytes(self, before: "Motion | None") -> bytes:
        """As differences to the motion of the frame before, or plainly, whichever is smaller."""
        nodes, written = self.lattice.nodes, []
        for kind in (_PLAIN,) if before is None else (_PLAIN, _CARRIED):
            expected = carried(self.lattice, self.step, before if kind == _CARRIED else None)
            writer = ByteWriter()
            writer.byte(kind)
            for difference in self.integers - expected:
                writer.blob(encode_coefficients(difference, nodes.cells, nodes.block_starts))
            written.append(writer.getvalue())
        return min(written, key=len)

    @staticmethod
    def from_bytes(data: bytes, lattice: Lattice, step: int, before: "Motion | None") -> "Motion":
        """Raises FormatError where the bytes are damaged."""
        reader = ByteReader(data, _WHAT)
        kind = reader.byte()
        if kind not in (_PLAIN, _CARRIED):
            raise reader.error(f"kind {kind} is unknown")
        nodes = lattice.nodes
        differences = [decode_coefficients(reader.blob(), nodes.cells, nodes.block_starts) for _ in range(3)]
        reader.end()
        expected = carried(lattice, step, before if kind == _CARRIED else None)
        return Motion(lattice, step, np.clip(expected + np.stack(differences), -MAX_MOTION, MAX_MOTION))


def carried(lattice: Lattice, step: int, before: Motion | None) -> np.ndarray:
    """[3, nodes] int32: coefficients that a frame's motion would have if it went on as before.

    Nodes that the earlier motion did not have take the mean of their neighbours along the axes that have one, ring by
    ring. All are 0 where there is no earlier motion, or one of another stride.
    """
    expected = np.zeros((3, len(lattice)), np.int32)
    if before is None or before.lattice.nodes.stride != lattice.nodes.stride:
        return expected
    rows = before.lattice.nodes.find(lattice.nodes.cells)
    known = rows >= 0
    numbers = before.integers.astype(np.int64) * before.step
    expected[:, known] = _divided(numbers[:, rows[known]], step)
    while not known.all():
        new, means = _means_of_known(lattice, expected, known)
        if not new.any():
            break
        expected[:, new], known = means[:, new], known | new
    return expected


def _means_of_known(lattice: Lattice, numbers: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which unknown nodes have a known neighbour, and the means [3, nodes] of known neighbours."""
    neighbours = lattice.neighbours.reshape(len(lattice), 6)
    counts = (neighbours >= 0) & known[neighbours]
    total = (numbers[:, neighbours].astype(np.int64) * counts).sum(axis=2)
    count = counts.sum(axis=1)
    return (count > 0) & ~known, _divided(total, np.maximum(count, 1))


def _divided(numbers: np.ndarray, by: int | np.ndarray) -> np.ndarray:
    """Rounded to the nearest integer, halves up."""
    return np.clip((2 * numbers + by) // (2 * np.asarray(by)), -MAX_MOTION, MAX_MOTION).astype(np.int32)
