"""A small network that changes F of active voxels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.weights import decode_weights

_FEATURES = 27
_MOST = 1 << 30
_UNIT = 127 << 20
_VOXELS: list[Origin] = list(product(range(8), range(8), range(8)))
_FACES = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
_EDGES = [(i, j, k) for i, j, k in product((-1, 0, 1), repeat=3) if abs(i) + abs(j) + abs(k) == 2]
_CORNERS = [(i, j, k) for i, j, k in product((-1, 1), repeat=3)]

Layer = tuple[list[list[int]], list[int]]  # weights [outputs][inputs] and biases


@dataclass(frozen=True)
class RefinementNetwork:
    """The section REFINEMENT; differences and numbers are D and M."""

    differences: int
    numbers: int
    layers: list[Layer]


def read_refinement(data: bytes) -> RefinementNetwork:
    """Takes the section apart."""
    reader = Reader(data)
    differences, numbers, *widths = [max(1, reader.varint()) for _ in range(4)]
    packed = reader.blob()
    reader.end()
    if max(differences, numbers) > _MOST or max(widths) > 64:
        raise FormatError("a refinement is out of its limits")
    shapes = list(zip([_FEATURES, *widths], [*widths, 1], strict=True))
    tensors = decode_weights(packed, [size for inputs, outputs in shapes for size in (inputs * outputs, outputs)])
    layers = []
    for (_, outputs), weights, biases in zip(shapes, tensors[::2], tensors[1::2], strict=True):
        layers.append(([weights[output::outputs] for output in range(outputs)], biases))
    return RefinementNetwork(differences, numbers, layers)


def refine(
    network: RefinementNetwork,
    numbers: Sequence[Sequence[int]],
    masks: Sequence[Bits],
    origins: Sequence[Origin],
    step: int,
) -> list[list[int]]:
    """[leaves][512]: F of one channel, refined."""
    known: dict[Origin, tuple[int, int]] = {}  # voxel -> F, state
    for (x, y, z), row, bits in zip(origins, numbers, masks, strict=True):
        for (i, j, k), number, bit in zip(_VOXELS, row, bits, strict=True):
            known[x + i, y + j, z + k] = int(number), int(bit)
    result = []
    for x, y, z in origins:
        voxels = [(x + i, y + j, z + k) for i, j, k in _VOXELS]
        result.append([_refined(network, known, voxel, step) for voxel in voxels])
    return result


def _refined(network: RefinementNetwork, known: Mapping[Origin, tuple[int, int]], voxel: Origin, step: int) -> int:
    number, state = known[voxel]
    if not state:
        return number
    values = _features(network, known, voxel)
    for weights, biases in network.layers[:-1]:
        values = [_activation(total) for total in _sums(values, weights, biases)]
    (said,) = _sums(values, *network.layers[-1])
    return _clip(number + (2 * said * step + 16256) // 32512, _MOST)


def _features(network: RefinementNetwork, known: Mapping[Origin, tuple[int, int]], voxel: Origin) -> list[int]:
    x, y, z = voxel
    own = known[voxel][0]

    def look(steps: Sequence[Origin]) -> tuple[list[int], list[int]]:
        """Differences and states of neighbours."""
        around = [known.get((x + dx, y + dy, z + dz), (own, 0)) for dx, dy, dz in steps]
        return [number - own for number, _ in around], [state for _, state in around]

    (faces, face_states), (edges, edge_states), (corners, corner_states) = (
        look(steps) for steps in (_FACES, _EDGES, _CORNERS)
    )
    near, far = network.differences, network.numbers
    features = [_share(difference, near) for difference in faces]
    features += [_share(sum(edges), 12 * near), _share(sum(corners), 8 * near)]
    features += [127 * state for state in face_states]
    features += [127 * sum(edge_states) // 12, 127 * sum(corner_states) // 8]
    features += [_share(own, far), _share(own, near)]
    return features + [127 if a >> bit & 1 else -127 for bit in range(3) for a in voxel]


def _share(x: int, of: int) -> int:
    return _clip(x * (_UNIT // of) + (1 << 19) >> 20, 127)


def _sums(values: Sequence[int], weights: Sequence[Sequence[int]], biases: Sequence[int]) -> list[int]:
    return [
        127 * bias + sum([weight * value for weight, value in zip(row, values, strict=True)])
        for row, bias in zip(weights, biases, strict=True)
    ]


def _activation(x: int) -> int:
    return _clip((x if x >= 0 else x >> 3) + 64 >> 7, 127)


def _clip(x: int, most: int) -> int:
    return min(max(x, -most), most)
