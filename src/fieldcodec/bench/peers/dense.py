"""ZFP and SZ3, which compress dense boxes: the box around the active voxels, one array for each channel.

Outside the active voxels the box is filled with what costs these codecs little (`filled_box`): the background and the
values of tiles for fog, and for level sets the distance continued to the border of the box, because clamped at the
band's edge it would cost them most of their bytes. They store no tree: whoever uses them must keep it elsewhere.

`sz3-active` gives SZ3 the active values alone, leaf after leaf, as one row of numbers without prediction: the better
way for noisy fog, possible only for a reader that has the tree already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from fieldcodec.bench.effort import measured
from fieldcodec.bench.peer import Outcome, Peer, Setting, bench_package
from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid import masks
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.jit import kernel

_FLOATS = ("float", "double", "vec2s", "vec2d", "vec3s", "vec3d")
_FAR = 1e30


@lru_cache(maxsize=1)  # a search asks for the same box again and again
def filled_box(grid: SparseGrid) -> tuple[np.ndarray, np.ndarray]:
    """[3] int64 index of the first voxel and [C, nx, ny, nz] values of the box around the active voxels and tiles.

    Inactive voxels hold the background or the value of their tile, those of level sets a distance: their sign, and
    the solution of |grad d| = 1 that meets the active values (`_sweep`).

    Raises:
        UnsupportedGridError: the values are no floats of 32 or 64 bits, or nothing is active.
    """
    bounds = grid.topology.active_bounds
    if grid.value_type.name not in _FLOATS or bounds is None:
        raise UnsupportedGridError(f"{grid.name!r} holds {grid.value_type.name}; boxes need active values of floats")
    low, start = bounds[0], bounds[0] & ~7
    counts = (bounds[1] - start) // 8 + 1
    size = bounds[1] - low + 1
    steps = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3) * 8
    blocks, everything = blocks_at(grid, start + steps), slice(0, len(steps))
    cut = tuple(slice(int(a), int(a + n)) for a, n in zip(low - start, size, strict=True))
    values, active = blocks.values(everything), blocks.active(everything)
    box = np.stack([_unblocked(values[..., c], counts)[cut] for c in range(grid.channels)])
    if grid.is_level_set:
        _continue_distance(box[0], _unblocked(active, counts)[cut], float(np.mean(grid.transform.voxel_size)))
    return low, box


def _unblocked(blocks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[a * b * c, 512] -> [8a, 8b, 8c]."""
    a, b, c = counts
    return blocks.reshape(a, b, c, 8, 8, 8).transpose(0, 3, 1, 4, 2, 5).reshape(8 * a, 8 * b, 8 * c)


def _blocked(box: np.ndarray) -> np.ndarray:
    """[8a, 8b, 8c] -> [a, b, c, 512]."""
    a, b, c = (n // 8 for n in box.shape)
    return box.reshape(a, 8, b, 8, c, 8).transpose(0, 2, 4, 1, 3, 5).reshape(a, b, c, masks.LEAF_SLOTS)


def _continue_distance(box: np.ndarray, active: np.ndarray, voxel_size: float) -> None:
    """Replaces the inactive values of a level set in place, keeping their signs."""
    distance = np.where(active, np.abs(box), box.dtype.type(_FAR))
    for direction in range(8):
        _sweep(distance, active, box.dtype.type(voxel_size), *(1 - 2 * (direction >> axis & 1) for axis in range(3)))
    box[~active] = np.copysign(distance, box)[~active]


@kernel
def _sweep(distance, fixed, h, sx, sy, sz):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """One sweep of the fast sweeping method (Zhao 2005) over [nx, ny, nz], in the direction of the three signs."""
    nx, ny, nz = distance.shape
    for i0 in range(nx):
        i = i0 if sx > 0 else nx - 1 - i0
        for j0 in range(ny):
            j = j0 if sy > 0 else ny - 1 - j0
            for k0 in range(nz):
                k = k0 if sz > 0 else nz - 1 - k0
                if fixed[i, j, k]:
                    continue
                a = min(distance[max(i - 1, 0), j, k], distance[min(i + 1, nx - 1), j, k])
                b = min(distance[i, max(j - 1, 0), k], distance[i, min(j + 1, ny - 1), k])
                c = min(distance[i, j, max(k - 1, 0)], distance[i, j, min(k + 1, nz - 1)])
                a, b = min(a, b), max(a, b)
                b, c = min(b, c), max(b, c)
                a, b = min(a, b), max(a, b)
                d = a + h
                if d > b:
                    d = (a + b + np.sqrt(2 * h * h - (a - b) ** 2)) / 2
                    if d > c:
                        s = a + b + c
                        d = (s + np.sqrt(max(s * s - 3 * (a * a + b * b + c * c - h * h), 0.0))) / 3
                distance[i, j, k] = min(distance[i, j, k], d)


@dataclass(frozen=True)
class ArrayCodec:
    """An error-bounded codec of arrays. Its users keep shape and type: the decoder is given an array of such."""

    encode: Callable[[np.ndarray, float], bytes]
    decode: Callable[[bytes, np.ndarray], np.ndarray]


def compress_box(grid: SparseGrid, setting: Setting, *, codec: ArrayCodec) -> Outcome:
    """A grid of floats as one dense array for each channel; setting: the absolute error allowed.

    The time that filling takes is not counted.
    """
    low, box = filled_box(grid)
    packed, encode = measured(lambda _: [codec.encode(channel, float(setting)) for channel in box])
    decoded, decode = measured(lambda _: [codec.decode(item, box[0]) for item in packed])
    i, j, k = (grid.topology.active_voxels() - low).T
    values = np.stack([channel[i, j, k] for channel in decoded], axis=1)
    leaves = _leaves_of(grid, low, decoded[0]) if grid.is_level_set else None
    num_bytes = sum(len(item) for item in packed)
    return Outcome(num_bytes, values, encode, decode, "dense box without a tree", leaves)


def _leaves_of(grid: SparseGrid, low: np.ndarray, box: np.ndarray) -> np.ndarray:
    """[N, 512]: what a decoded box says at all voxels of leaves; infinite beyond its border, where none is active."""
    origins = grid.topology.leaf_origins.astype(np.int64)
    start, stop = origins.min(axis=0), origins.max(axis=0) + masks.LEAF_DIM
    # Leaves without active voxels may lie outside of the box.
    before, after = np.maximum(low - start, 0), np.maximum(stop - low - box.shape, 0)
    whole = np.pad(box, list(zip(before, after, strict=True)), constant_values=np.inf)
    first = np.maximum(start - low, 0)
    whole = whole[tuple(slice(a, a + n) for a, n in zip(first, stop - start, strict=True))]
    i, j, k = ((origins - start) // masks.LEAF_DIM).T
    return _blocked(whole)[i, j, k]


def compress_active(grid: SparseGrid, setting: Setting, *, codec: ArrayCodec) -> Outcome:
    """The active values of leaves alone, as one row for each channel; setting: the absolute error allowed."""
    if grid.value_type.name not in _FLOATS:
        raise UnsupportedGridError(f"{grid.name!r} holds {grid.value_type.name}; only floats are compressed")
    rows = np.ascontiguousarray(grid.active_values().T)
    packed, encode = measured(lambda _: [codec.encode(row, float(setting)) for row in rows])
    decoded, decode = measured(lambda _: [codec.decode(item, rows[0]) for item in packed])
    num_bytes = sum(len(item) for item in packed)
    return Outcome(num_bytes, np.stack(decoded, axis=1), encode, decode, "active values without a tree")


def _zfp_encode(array: np.ndarray, tolerance: float) -> bytes:
    return bytes(bench_package("zfpy").compress_numpy(np.ascontiguousarray(array), tolerance=tolerance))


def _zfp_decode(data: bytes, like: np.ndarray) -> np.ndarray:
    return np.asarray(bench_package("zfpy").decompress_numpy(data))


def _sz3_encode(array: np.ndarray, tolerance: float, algorithm: str) -> bytes:
    pysz = bench_package("pysz")
    config = pysz.szConfig()
    config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, tolerance
    config.cmprAlgo = getattr(pysz.szAlgorithm, algorithm)
    return bytes(pysz.sz.compress(np.ascontiguousarray(array), config)[0].tobytes())


def _sz3_decode(data: bytes, like: np.ndarray) -> np.ndarray:
    return np.asarray(bench_package("pysz").sz.decompress(np.frombuffer(data, np.uint8), like.dtype, like.shape)[0])


ZFP = ArrayCodec(_zfp_encode, _zfp_decode)  # fixed accuracy: the tolerance is rounded down to a power of two
SZ3 = ArrayCodec(partial(_sz3_encode, algorithm="INTERP_LORENZO"), _sz3_decode)  # its default: tries both predictors
SZ3_UNPREDICTED = ArrayCodec(partial(_sz3_encode, algorithm="NOPRED"), _sz3_decode)  # quantised and entropy coded only
PEERS = (
    Peer("zfp", partial(compress_box, codec=ZFP), "halve", stores_topology=False),
    Peer("sz3", partial(compress_box, codec=SZ3), "search", stores_topology=False),
    Peer("sz3-active", partial(compress_active, codec=SZ3_UNPREDICTED), "search", stores_topology=False),
)
