"""Lossless coding of the quantised coefficients of a sparse lattice.

The decoder knows the nodes, so only the integers are coded: each is predicted from the ones coded before it by
several learners, and its residual goes bit by bit through a mixture of distributions and adaptive counters (see
`coefficient_prediction`, `coefficient_learners` and `coefficient_kernels`). The code learns as it goes; nothing is
stored but the values, and whether they are rather smooth or rough.

Nodes are coded in groups of whole blocks that share nothing, so they are decoded by parallel threads and damage
stays inside a group.
"""

import math

import numpy as np

from fieldcodec.coding import coefficient_kernels as kernels
from fieldcodec.coding import coefficient_learners as learning
from fieldcodec.coding import coefficient_prediction as prediction
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.groups import Group, decode_groups, encode_groups
from fieldcodec.threads import map_threads

GROUP_NODES = 32768  # up to 3 % smaller than groups of 8192, up to 2 % larger than one stream; 0.1 s to decode
VALUE_LIMIT = kernels.VALUE_LIMIT
_WHAT = "lattice coefficients"
_PARENTED, _ROUGH = 1, 2
_AXIS_GAP = 4  # places that are further apart are no neighbours
_MOST_PLACES = 1 << 62
_PARENT_STEPS = np.array([1, 4, 8, 16, 32, 64, 128], np.int64)  # lower ends of the levels of parents after 0


def encode_coefficients(
    values: np.ndarray,
    cells: np.ndarray,
    block_starts: np.ndarray,
    parents: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> bytes:
    """Code the coefficients of a lattice.

    Args:
        values: [n] int32, magnitudes below 2^15.
        cells: [n, 3] int64, distinct coordinates of the nodes; the decoder needs the same in the same order.
        block_starts: [B + 1] int64, number of each block's first node; groups consist of whole blocks.
        parents: [n] int32, something like the activity of a coarser lattice at each node in 1/16 of a quantiser
            step; the decoder needs the same. None where there is nothing of the kind.
        threads: how many to use; None for one per processor. The bytes do not depend on it.
    """
    values = np.asarray(values)
    _check(len(values), cells, block_starts, parents)
    if len(values) and max(-int(values.min()), int(values.max())) > VALUE_LIMIT:
        raise ValueError(f"coefficients must be in -{VALUE_LIMIT}..{VALUE_LIMIT}, found {values.min()}..{values.max()}")
    rough = is_rough(values, cells, block_starts, threads=threads)

    def code(coder: np.ndarray, buffer: np.ndarray, bounds: Group) -> np.ndarray:
        order, known = _known(cells, parents, bounds, rough)
        return _code(coder, buffer, _ordered(values, bounds, order), known)

    streams = encode_groups(code, _groups(block_starts, GROUP_NODES), threads)
    writer = ByteWriter()
    writer.byte((0 if parents is None else _PARENTED) | (_ROUGH if rough else 0))
    writer.varint(len(values))
    writer.streams(streams)
    return writer.getvalue()


def decode_coefficients(
    data: bytes,
    cells: np.ndarray,
    block_starts: np.ndarray,
    parents: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """[n] int32: the values that `encode_coefficients` was given with the same nodes and parents.

    Raises:
        FormatError: the bytes are damaged, or are of other nodes.
    """
    _check(len(cells), cells, block_starts, parents)
    reader = ByteReader(data, _WHAT)
    flags, count = reader.byte(), reader.varint()
    if flags & ~(_PARENTED | _ROUGH):
        raise reader.error(f"flags {flags} are unknown")
    if count != len(cells):
        raise reader.error(f"they are of {count} nodes, but the lattice has {len(cells)}")
    if bool(flags & _PARENTED) != (parents is not None):
        raise reader.error("they were coded " + ("with" if flags & _PARENTED else "without") + " a coarser lattice")
    groups = _groups(block_starts, GROUP_NODES)
    values = np.zeros(count, np.int32)

    def code(coder: np.ndarray, stream: np.ndarray, bounds: Group) -> np.ndarray:
        order, known = _known(cells, parents, bounds, bool(flags & _ROUGH))
        ordered = np.zeros(len(order), np.int32)
        stream = _code(coder, stream, ordered, known)
        values[bounds[0] + order] = ordered
        return stream

    decode_groups(code, groups, reader, threads)
    return values


def simple_prediction(
    values: np.ndarray,
    cells: np.ndarray,
    block_starts: np.ndarray,
    *,
    rough: bool | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """[n] int32: for each node, the plane through its neighbours before it, rounded; 0 where it has none.

    A value equal to it is about the cheapest choice: the learners predict what values differ from it by. The
    weights depend only on which neighbours exist; prediction follows the order of coding, so changing a value
    changes the predictions of the nodes after it. `rough` is a mean rather than a plane; None for the one that
    the encoder takes (`is_rough`).
    """
    values = np.asarray(values)
    _check(len(values), cells, block_starts, None)
    if rough is None:
        rough = is_rough(values, cells, block_starts, threads=threads)
    chosen = bool(rough)
    result = np.zeros(len(values), np.int32)

    def predict(bounds: tuple[int, int]) -> None:
        order, known = _known(cells, None, bounds, chosen)
        result[bounds[0] + order] = _planes_at(_ordered(values, bounds, order), known)

    map_threads(predict, _groups(block_starts, GROUP_NODES), threads)
    return result


def is_rough(values: np.ndarray, cells: np.ndarray, block_starts: np.ndarray, *, threads: int | None = None) -> bool:
    """Whether means of the neighbours predict better than planes, as in fog; planes do in distances."""

    def excess(bounds: tuple[int, int]) -> int:
        order, known = _known(cells, None, bounds, False)
        ordered = _ordered(values, bounds, order)
        rough = known._replace(planes=_planes(known.rows, True)[1])
        return _size(ordered - _planes_at(ordered, known)) - _size(ordered - _planes_at(ordered, rough))

    return sum(map_threads(excess, _groups(block_starts, GROUP_NODES), threads)) > 0


def residual_bits(residuals: np.ndarray, mean_magnitude: float | np.ndarray) -> np.ndarray:
    """[...] float64: about how many bits a residual costs where residuals have this mean magnitude.

    For rate-distortion decisions of an encoder: the code length of a two-sided geometric distribution. With one
    mean for a whole lattice, real files were 20 to 55 % smaller than this says of residuals of `simple_prediction`:
    the coder's learners predict part of them, and it knows where they are small.
    """
    spread = np.maximum(mean_magnitude, 0.01)
    ratio = (np.sqrt(1 + spread * spread) - 1) / spread
    bits: np.ndarray = np.log2((1 + ratio) / (1 - ratio)) - np.log2(ratio) * np.abs(residuals)
    return bits


# --- groups -------------------------------------------------------------------------------------


def _groups(block_starts: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Ranges of nodes: each ends where a block ends, the first time it has `least` nodes."""
    ends = np.asarray(block_starts, np.int64)
    total, groups, first = int(ends[-1]), [], 0
    while first < total:
        last = int(ends[np.searchsorted(ends, min(first + least, total))])
        groups.append((first, last))
        first = last
    return groups


def _known(
    cells: np.ndarray, parents: np.ndarray | None, bounds: tuple[int, int], rough: bool
) -> tuple[np.ndarray, kernels.Known]:
    """Order of coding of a group's nodes (numbers within the group), and what is known of them in this order."""
    first, last = bounds
    keys, order, steps = _keys(np.asarray(cells[first:last], np.int64))
    rows = np.empty((len(keys), prediction.STENCIL_SIZE), np.int32)
    later = np.zeros(len(keys), np.int64)
    prediction.neighbour_rows(keys, steps, rows, later)
    levels = np.zeros(len(keys), np.int64)
    if parents is not None:
        magnitudes = np.abs(np.asarray(parents[first:last], np.int64))
        levels = np.searchsorted(_PARENT_STEPS, magnitudes, side="right").astype(np.int64)[order]
    return order, kernels.Known(rows, later, *_planes(rows, rough), levels)


def _keys(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rising keys of a group's nodes, the numbers of the nodes in that order, the stencil's steps between keys."""
    places = cells - cells.min(axis=0)
    if _num_places(places) >= _MOST_PLACES:
        places = _shortened(cells)
    sides = places.max(axis=0) + _AXIS_GAP
    scale = np.array([sides[1] * sides[2], sides[2], 1], np.int64)
    keys = places @ scale
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if np.any(keys[1:] == keys[:-1]):
        raise ValueError("the cells of nodes must be distinct")
    return keys, order, prediction.STENCIL @ scale


def _num_places(places: np.ndarray) -> int:
    return math.prod(int(side) + _AXIS_GAP for side in places.max(axis=0))


def _shortened(cells: np.ndarray) -> np.ndarray:
    """Coordinates with the empty stretches of every axis shortened, so that keys of nodes anywhere fit 63 bits."""
    places = np.empty_like(cells)
    for axis in range(3):
        found, where = np.unique(cells[:, axis], return_inverse=True)
        places[:, axis] = np.concatenate([[0], np.cumsum(np.minimum(np.diff(found), _AXIS_GAP))])[where]
    if _num_places(places) >= _MOST_PLACES:
        raise ValueError(f"the {len(cells)} nodes of a group are too far apart to be numbered")
    return places


def _planes(rows: np.ndarray, rough: bool) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the nodes' patterns, [n] int64, and the weights of their planes, [P, 4, K]."""
    patterns, numbers = np.unique(prediction.pattern_of(rows), return_inverse=True)
    flatness = prediction.ROUGH_FLATNESS if rough else prediction.SMOOTH_FLATNESS
    return numbers.astype(np.int64), prediction.plane_weights(patterns, flatness)


def _planes_at(ordered: np.ndarray, known: kernels.Known) -> np.ndarray:
    """[n] int32: the planes' values, rounded, of a group's values in the order of coding."""
    values = np.empty_like(ordered)
    prediction.plane_values(ordered, known.rows, known.pattern_rows, known.planes, values)
    return values


def _size(residuals: np.ndarray) -> int:
    return int(np.abs(residuals).sum(dtype=np.int64))


def _ordered(values: np.ndarray, bounds: tuple[int, int], order: np.ndarray) -> np.ndarray:
    ordered: np.ndarray = values[bounds[0] : bounds[1]][order].astype(np.int32)
    return ordered


def _code(coder: np.ndarray, buffer: np.ndarray, ordered: np.ndarray, known: kernels.Known) -> np.ndarray:
    """Code a group's values, given and returned in the order of coding; returns the buffer."""
    learners, mixture = learning.new_learners(known.rows), kernels.new_mixture()
    result: np.ndarray = kernels.code_group(coder, buffer, ordered, known, learners, mixture)
    return result


def _check(count: int, cells: np.ndarray, block_starts: np.ndarray, parents: np.ndarray | None) -> None:
    if np.shape(cells) != (count, 3):
        raise ValueError(f"{count} coefficients need cells of shape ({count}, 3), got {np.shape(cells)}")
    if len(block_starts) == 0 or block_starts[0] != 0 or block_starts[-1] != count or np.any(np.diff(block_starts) < 0):
        raise ValueError(f"block_starts must rise from 0 to {count}")
    if parents is not None and np.shape(parents) != (count,):
        raise ValueError(f"{count} coefficients need parents of shape ({count},), got {np.shape(parents)}")
