"""What every codec of the comparison must give.

A peer compresses one grid at one quality and decodes what it has written; the bytes counted are those of a real
bitstream or file, never an estimate. What comes back are the values of the active voxels, in the order of
`SparseGrid.active_values()`, so that all codecs are measured over the same voxels whatever they do to the tree.

Codecs that know only dense arrays, or only surfaces, do not store which voxels are active. They say so
(`stores_topology`), and the comparison shows them twice: as they are, and with the bytes that fieldcodec's own mask
coder needs for the exact tree added. `Outcome.leaf_values` lets that coder profit from what such a codec has decoded,
as fieldcodec's own does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeVar

import numpy as np

from fieldcodec.errors import MissingPackageError
from fieldcodec.grid.sparse_grid import SparseGrid

Quality = float | str
"""A tolerance in the units of the values, or the name or number of a setting; see `Peer.how`."""

TARGETS = (22.0, 25.0, 30.0, 35.0, 40.0, 45.0)
"""PSNR in dB that all codecs are asked for."""

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one codec made of one grid at one quality."""

    num_bytes: int
    """Of everything the decoder needs; the tree only where the peer stores it."""
    values: np.ndarray
    """[A, C]: the decoded values of the active voxels of leaves."""
    seconds_encode: float
    seconds_decode: float
    note: str = ""
    leaf_values: np.ndarray | None = None
    """[N, 512] decoded distances at all voxels of leaves, for level sets without a tree of their own; else None."""


@dataclass(frozen=True, eq=False)
class Peer:
    """One codec with the way its qualities are chosen."""

    name: str
    compress: Callable[[SparseGrid, Quality], Outcome]
    """Raises UnsupportedGridError for a grid of a kind it cannot hold."""
    how: Literal["each", "search", "halve"]
    """`each`: every one of `qualities`. `search`: a tolerance for each PSNR asked for, found by search. `halve`: the
    range of the values halved again and again, for codecs that round their tolerance to a power of two."""
    qualities: tuple[Quality, ...] = ()
    stores_topology: bool = True


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """What a function returns, and the seconds it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def bench_package(name: str) -> Any:
    """A package that only the comparison needs.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as problem:
        raise MissingPackageError(f"{name} is not installed; run: pip install 'fieldcodec[bench]'") from problem
