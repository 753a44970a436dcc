"""NanoVDB's quantised grids Fp4, Fp8 and FpN, written as `.nvdb` files that `read_nanovdb` decodes again.

The quantisation is NanoVDB's (tools/CreateNanoGrid.h, versions 32.4 to 32.8), without dithering, its default. Each leaf
is quantised by itself, between the smallest and the largest of all its 512 values, inactive ones included:

    step = (high - low) / (2^bits - 1),   code = floor((value - low) / step + 1/2),   decoded = code * step + low

in 32-bit arithmetic (64-bit for 16 bits). Fp4 and Fp8 use 4 and 8 bits for every leaf. FpN takes for each leaf the
fewest of 1, 2, 4 and 8 bits with which no voxel's error exceeds the tolerance, else 16; a leaf of one value takes 1.

Codecs are those of the format, for the whole grid at once: none, zip (zlib at level 6) and Blosc (LZ4, level 9, shuffle
of 4 bytes, blocks of 256 kB). For the files of NanoVDB's own tool in the conformance data, the quantised values, the
size of the grid and both codecs' output were found to be the same. Statistics of nodes are switched off
(`StatsMode::Disable`), which makes packed files a few percent smaller than the tool's default does.
"""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fieldcodec.bench.effort import measured
from fieldcodec.bench.peer import Outcome, Peer, Setting
from fieldcodec.bench.peers.nanovdb_file import CODECS, nanovdb_bytes
from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.nanovdb import read_nanovdb

_WIDTHS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, eq=False)
class Quantised:
    """The leaves of a grid as NanoVDB holds them."""

    bits: np.ndarray  # [N] int64: width of the codes of each leaf
    low: np.ndarray  # [N] float32
    step: np.ndarray  # [N] float32
    codes: np.ndarray  # [N, 512] uint16


def quantise(leaf_values: np.ndarray, bits: np.ndarray) -> Quantised:
    """Leaves [N, 512] float32 with the given widths [N], each 1, 2, 4, 8 or 16."""
    low, high = leaf_values.min(axis=1), leaf_values.max(axis=1)
    codes = np.zeros(leaf_values.shape, np.uint16)
    for width in _WIDTHS:
        rows = np.flatnonzero((bits == width) & (high > low))
        kind = np.float64 if width == 16 else np.float32
        encode = kind((1 << width) - 1) / (high - low)[rows].astype(kind)
        codes[rows] = (encode[:, None] * (leaf_values[rows] - low[rows, None]) + np.float32(0.5)).astype(np.uint16)
    return Quantised(bits, low, (high - low) / ((1 << bits) - 1).astype(np.float32), codes)


def widths_for(leaf_values: np.ndarray, tolerance: float) -> np.ndarray:
    """[N] int64: the bits that FpN gives each leaf of [N, 512] float32, for the largest error `tolerance`."""
    bits = np.full(len(leaf_values), 16)
    open_rows = np.arange(len(leaf_values))
    for width in _WIDTHS[:-1]:
        values = leaf_values[open_rows]
        tried = quantise(values, np.full(len(values), width))
        decoded = tried.codes.astype(np.float32) * tried.step[:, None] + tried.low[:, None]
        fits = (np.abs(values - decoded) <= np.float32(tolerance)).all(axis=1)
        bits[open_rows[fits]] = width
        open_rows = open_rows[~fits]
    return bits


def write(path: Path, grid: SparseGrid, kind: str, codec: str, tolerance: float = 0.0) -> None:
    """A `.nvdb` file of one grid of floats; kind: Fp4, Fp8, Fp16 or FpN; the tolerance is FpN's.

    Raises:
        UnsupportedGridError: the values are no floats, or the transform is none that NanoVDB has.
    """
    if grid.value_type.name != "float" or not grid.transform.is_linear:
        raise UnsupportedGridError(
            f"{grid.name!r} holds {grid.value_type.name} under a {grid.transform.map_type}; NanoVDB quantises floats "
            "under linear transforms"
        )
    values = grid.leaf_values[..., 0]
    bits = widths_for(values, tolerance) if kind == "FpN" else np.full(len(values), int(kind[2:]))
    leaves = quantise(values, bits)
    path.write_bytes(nanovdb_bytes(grid, kind, codec, leaves.bits, leaves.low, leaves.step, leaves.codes))


def compress(grid: SparseGrid, setting: Setting, *, kind: str, codec: str | None = None) -> Outcome:
    """A grid of floats by way of a `.nvdb` file.

    Args:
        setting: the tolerance of FpN in the units of the values; the codec for the other kinds.
        codec: for FpN: none, zip or blosc.
    """
    tolerance, chosen = (0.0, str(setting)) if codec is None else (float(setting), codec)
    with tempfile.TemporaryDirectory(prefix="fieldcodec-") as folder:
        path = Path(folder) / "grid.nvdb"
        _, encode = measured(lambda _: write(path, grid, kind, chosen, tolerance))
        back, decode = measured(lambda _: read_nanovdb(path)[0])
        assert isinstance(back, SparseGrid)
        return Outcome(path.stat().st_size, back.active_values(), encode, decode)


PEERS = (
    *(Peer(f"nanovdb-{kind.lower()}", partial(compress, kind=kind), "each", tuple(CODECS)) for kind in ("Fp4", "Fp8")),
    *(Peer(f"nanovdb-fpn-{codec}", partial(compress, kind="FpN", codec=codec), "search") for codec in CODECS),
)
