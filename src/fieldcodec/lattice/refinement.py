"""A small network that mends decoded values, voxel by voxel, from what lies around them.

It follows the lattice and the residual, in the manner of the synthesis networks of Cool-chic and C3 and of
the in-loop filters of video codecs: quantisers leave errors that neighbours, states and the place in the leaf
give away. 27 features -> a -> b -> 1, leaky rectifiers, everything in integers, so that its result is the same on
every machine. A voxel's features, each within -127..127, which stand for -1..1:

    0..5    difference of the number of each of the six neighbours (-x, -y, -z, +z, +y, +x) to the voxel's own
    6, 7    the mean difference of the 12 neighbours across edges, and of the 8 across corners
    8..15   the same of their states: 127 where active
    16, 17  the voxel's own number, in proportion to the range of numbers, and of differences
    18..26  bits of its place in the leaf: -127 or 127

A neighbour outside all leaves counts as equal and inactive. Numbers of inactive voxels in leaves are what the
lattice says.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.neighbours import cells_and_table
from fieldcodec.coding.weights import MAX_WEIGHT, decode_weights, encode_weights
from fieldcodec.grid import masks
from fieldcodec.lattice import refinement_kernels as kernels
from fieldcodec.lattice.operator import MAX_FIXED
from fieldcodec.threads import map_threads

FEATURES = kernels.FEATURES
MAX_WIDTH = 64  # neurons of a layer
_CHUNK = 256  # leaves of one job of a thread
_WHAT = "refinement network"


@dataclass(frozen=True)
class Sight:
    """How far numbers reach that the network tells apart, in units of F.

    Attributes:
        differences: of neighbours, and
        numbers: of a voxel; what is larger counts as these.
    """

    differences: int
    numbers: int

    @property
    def factors(self) -> np.ndarray:
        """[4] int64: of face, edge and corner differences and of numbers, in 2^-20 / 127."""
        one = kernels.ONE << 20
        ranges = (self.differences, 12 * self.differences, 8 * self.differences, self.numbers)
        return np.array([one // each for each in ranges], np.int64)


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Leaves and the numbers of all their voxels: what a network looks at.

    Attributes:
        numbers: [N, 512] int32.
        active: [N, 64] uint8, packed masks.
        origins: [N, 3] int32.
    """

    numbers: np.ndarray
    active: np.ndarray
    origins: np.ndarray

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        return cells_and_table(self.origins, 3)

    def features(self, leaves: np.ndarray, sight: Sight) -> np.ndarray:
        """[voxels, 27] int8: of the active voxels of some leaves [n] int64, in order."""
        count = masks.count(self.active[leaves])
        result = np.empty((count, FEATURES), np.int8)
        kernels.features_of(self.numbers, self.active, *self.tables, leaves, sight.factors, result)
        return result


@dataclass(frozen=True, eq=False)
class Refinement:
    """The network.

    Attributes:
        sight: the range of its features.
        tensors: weights [27, a], biases [a], [a, b], [b], [b, 1] and [1], integers in 1/128.
    """

    sight: Sight
    tensors: tuple[np.ndarray, ...]

    def refined(
        self, around: Neighbourhoods, step: int, *, count: int | None = None, threads: int | None = None
    ) -> np.ndarray:
        """[N, 512] int32: the numbers with what the network says added; of active voxels only.

        Args:
            step: what its output of 1 stands for, in units of F.
            count: only of so many leaves, the first ones.
        """
        layers = tuple(np.ascontiguousarray(tensor, np.int32) for tensor in self.tensors)
        result = np.array(around.numbers[:count])
        factors, tables = self.sight.factors, around.tables

        def refine(first: int) -> None:
            part = result[first : first + _CHUNK]
            kernels.refine(
                around.numbers, around.active, *tables, first, factors, layers, np.int64(step), MAX_FIXED, part
            )

        map_threads(refine, range(0, len(result), _CHUNK), threads)
        return result

    @property
    def multiply_adds(self) -> int:
        """For each voxel."""
        return sum(tensor.size for tensor in self.tensors[::2])

    def to_bytes(self) -> bytes:
        writer = ByteWriter()
        for number in (self.sight.differences, self.sight.numbers, *(len(biases) for biases in self.tensors[1:4:2])):
            writer.varint(number)
        writer.blob(encode_weights(self.tensors))
        return writer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> "Refinement":
        """Raises FormatError where the bytes are damaged."""
        reader = ByteReader(data, _WHAT)
        sight = Sight(max(1, reader.varint(MAX_FIXED)), max(1, reader.varint(MAX_FIXED)))
        widths = [max(1, reader.varint(MAX_WIDTH)) for _ in range(2)]
        weights = reader.blob()
        reader.end()
        return Refinement(sight, tuple(decode_weights(weights, shapes_of(*widths))))


def shapes_of(first: int, second: int) -> list[tuple[int, ...]]:
    """Of the tensors of a network with so many neurons in its two layers."""
    return [(FEATURES, first), (first,), (first, second), (second,), (second, 1), (1,)]


def rounded_weights(tensors: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Float weights -> integers in 1/128."""
    one = 1 << kernels.WEIGHT_SHIFT
    return tuple(np.clip(np.rint(tensor * one), -MAX_WEIGHT, MAX_WEIGHT).astype(np.int32) for tensor in tensors)
