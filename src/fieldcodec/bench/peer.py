"""What every codec of the comparison must give.

A peer compresses one grid at one setting and decodes what it has written; the bytes counted are those of a real
bitstream or file, never an estimate. What comes back are the values of the active voxels, in the order of
`SparseGrid.active_values()`, so that all codecs are measured over the same voxels whatever they do to the tree.

Codecs that know only dense arrays, or only surfaces, do not store which voxels are active. They say so
(`stores_topology`), and the comparison has them twice: as they are, and with the bytes that fieldcodec's own mask coder
needs for the exact tree added. `Outcome.leaf_values` lets that coder profit from what such a codec has decoded, as
fieldcodec's own does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

import numpy as np

from fieldcodec.bench.effort import Effort
from fieldcodec.errors import MissingPackageError
from fieldcodec.grid.sparse_grid import SparseGrid

PREFIX = "fieldcodec-"
"""The beginning of the names of our own methods."""

Result = dict[str, Any]
"""What the measurement of one grid gives, as in the JSON files; see `run.measure`."""

Setting = float | str
"""A tolerance in the units of the values, or the name or number of a setting; see `Peer.how`."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one codec made of one grid at one setting."""

    num_bytes: int
    """Of everything the decoder needs; the tree only where the peer stores it."""
    values: np.ndarray
    """[A, C]: the decoded values of the active voxels of leaves."""
    encode: Effort
    decode: Effort
    note: str = ""
    leaf_values: np.ndarray | None = None
    """[N, 512] decoded distances at all voxels of leaves, for level sets without a tree of their own; else None."""
    sections: dict[str, int] = field(default_factory=dict)
    """Bytes of the parts of `num_bytes`, where the codec tells."""


@dataclass(frozen=True, eq=False)
class Peer:
    """One codec with the way its settings are chosen."""

    name: str
    compress: Callable[[SparseGrid, Setting], Outcome]
    """Raises UnsupportedGridError for a grid of a kind it cannot hold, MissingPackageError without its package."""
    how: Literal["each", "search", "halve"]
    """`each`: every one of `settings`. `search`: a tolerance for each quality asked for, found by search. `halve`: the
    range of the values halved again and again, for codecs that round their tolerance to a power of two."""
    settings: tuple[Setting, ...] = ()
    stores_topology: bool = True


def bench_package(name: str) -> Any:
    """A package, or a module of one, that only the comparison needs.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as problem:
        package = name.partition(".")[0]
        raise MissingPackageError(f"{package} is not installed; run: pip install 'fieldcodec[bench]'") from problem
