"""Measures codecs on one grid: for each a row of points, bytes against error.

Errors are those of `fieldcodec.metrics`: over the active voxels of leaves, relative to the range of the active values,
PSNR = 20 log10(range / RMSE). So every codec is measured over the same voxels by the same numbers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from peers import Outcome, Peer, Quality

from fieldcodec.coding.masks import hints_of_logits
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.metrics.surface import interior_overlap, surface_distance
from fieldcodec.metrics.values import value_errors
from fieldcodec.volume.topology_codec import encode_leaves, encode_lower_masks, encode_tables

_CLOSE_DB = 0.1  # a search ends this near to the PSNR asked for
_MOST_TRIES = 12  # of one search for one PSNR
_NARROW = 0.003  # of the decimal logarithm of the tolerance: a search ends in an interval below this
_COARSEST = 64  # times the range of the values: some codecs err much less than their tolerance allows
_LOGISTIC = 1.7  # a normal error of standard deviation s has about the distribution of a logistic one of scale s / 1.7


@dataclass(frozen=True)
class Point:
    """One codec at one quality, as it stands in the JSON files."""

    codec: str
    setting: Quality
    """A tolerance in the units of the values, or what the codec calls the quality."""
    bytes: int
    rmse: float
    rmse_relative: float
    """RMSE divided by the range of the active values."""
    psnr: float | None
    """In dB; None where nothing differs."""
    encode_s: float
    decode_s: float
    mask_bytes_included: bool
    """Whether the decoder gets the exact tree from these bytes."""
    mask_bytes: int
    """Part of `bytes` that fieldcodec's mask coder needed for the tree, for codecs that store none."""
    iou: float | None
    """Level sets: intersection over union of the interiors."""
    mcd: float | None
    """Level sets: modified Chamfer distance in voxels."""
    note: str


@dataclass(frozen=True, eq=False)
class Reference:
    """The grid that all codecs are given, and what is asked of it again and again."""

    grid: SparseGrid

    @cached_property
    def values(self) -> np.ndarray:
        """[A, C] float64: active values of leaves."""
        return self.grid.active_values().astype(np.float64)

    @cached_property
    def value_range(self) -> float:
        """Largest minus smallest active value, as in `GridQuality`."""
        errors = value_errors(self.grid, self.grid)
        return (errors.high or 0.0) - (errors.low or 0.0)

    def rmse(self, values: np.ndarray) -> float:
        """Of decoded active values [A, C]."""
        return float(np.sqrt(np.mean((values.astype(np.float64) - self.values) ** 2)))

    def psnr(self, rmse: float) -> float | None:
        """In dB; None where nothing differs."""
        return 20 * math.log10(self.value_range / rmse) if rmse else None

    def tree_bytes(self, leaf_values: np.ndarray | None = None, rmse: float = 0.0) -> int:
        """Bytes of the exact tree by fieldcodec's mask coder; the values of tiles are not counted.

        Args:
            leaf_values: [N, 512] decoded distances of a level set; a voxel nearer than the background is likely
                active, the more so the smaller `rmse` is against the difference.
        """
        if leaf_values is None:
            return self._plain_tree_bytes
        margin = np.abs(float(self.grid.background[0])) - np.abs(leaf_values.astype(np.float64))
        logits = np.clip(_LOGISTIC * margin / max(rmse, 1e-9 * self.value_range), -50, 50)
        return self._upper_tree_bytes + len(encode_leaves(self.grid.topology, hints_of_logits(logits * 256)))

    @cached_property
    def _plain_tree_bytes(self) -> int:
        return self._upper_tree_bytes + len(encode_leaves(self.grid.topology, None))

    @cached_property
    def _upper_tree_bytes(self) -> int:
        tables = sum(map(len, encode_tables(self.grid.topology).values()))
        return tables + len(encode_lower_masks(self.grid.topology, None))

    def surface(self, values: np.ndarray) -> tuple[float | None, float | None]:
        """IoU and mCD of a level set with decoded active values [A, 1] in the original's tree."""
        if not self.grid.is_level_set:
            return None, None
        leaf_values = self.grid.leaf_values.copy()
        leaf_values[self.grid.topology.leaf_active_bits] = values
        decoded = replace(self.grid, leaf_values=leaf_values)
        return interior_overlap(self.grid, decoded), surface_distance(self.grid, decoded)


def sample(
    peer: Peer,
    reference: Reference,
    targets: Sequence[float],
    *,
    sweep: int = 40,
    on_point: Callable[[Point], None] = lambda point: None,
) -> list[Point]:
    """The points of one codec, from small to large; `on_point` hears of each as soon as it is measured.

    Codecs without a tree of their own give two points for each quality, without and with the bytes of the tree.

    Args:
        targets: the PSNRs in dB between which points are wanted; codecs with a tolerance are brought near each.
        sweep: how many tolerances are tried besides: the curves of some codecs are so jagged that a search alone misses
            their best points. Only the best of all are kept, see `best`.

    Raises:
        UnsupportedGridError: the codec cannot hold the grid.
        MissingPackageError: its package is not installed.
    """
    measured: list[Point] = []

    def measure(quality: Quality) -> float:
        points = _points(peer, reference, quality, peer.compress(reference.grid, quality))
        measured.extend(points)
        for point in points:
            on_point(point)
        return math.inf if points[0].psnr is None else points[0].psnr

    if peer.how == "each":
        for quality in peer.qualities:
            measure(quality)
        return measured
    if peer.how == "search":
        known = search(measure, reference.value_range, targets)
        for tolerance in _between(known, targets, sweep, reference.value_range):
            measure(tolerance)
    else:
        tolerance = _COARSEST * reference.value_range
        while measure(tolerance) < max(targets):
            tolerance /= 2
    return best(measured, max(targets))


def search(measure: Callable[[float], float], value_range: float, targets: Sequence[float]) -> dict[float, float]:
    """Measures tolerances until each PSNR asked for is met closely, or its tolerance is closely known.

    The PSNR falls by about 20 dB where the tolerance grows tenfold, so few tries are needed.

    Args:
        measure: tolerance -> PSNR in dB, falling.

    Returns:
        The tolerances measured, with the PSNR of each.
    """
    known: dict[float, float] = {}  # decimal logarithm of the tolerance as a part of the range -> PSNR
    for target in targets:
        guess = 0.24 - target / 20  # an error spread evenly between +-tolerance
        for _ in range(_MOST_TRIES):
            if guess not in known:
                known[guess] = measure(value_range * 10**guess)
            if abs(known[guess] - target) < _CLOSE_DB or (guess >= 0 and known[guess] > target):
                break
            finer = max((at for at, psnr in known.items() if psnr >= target), default=None)
            coarser = min((at for at, psnr in known.items() if psnr < target), default=None)
            if finer is None or coarser is None:
                edge = max(known) if coarser is None else min(known)
                guess = min(edge + (known[edge] - target) / 20, 0.0)
            elif coarser - finer < _NARROW:
                break
            else:
                share = (known[finer] - target) / max(known[finer] - known[coarser], 1e-9)
                guess = finer + (coarser - finer) * min(max(share, 0.1), 0.9)
    return {value_range * 10**at: psnr for at, psnr in known.items()}


def _between(known: dict[float, float], targets: Sequence[float], count: int, value_range: float) -> list[float]:
    """At most `count` tolerances between those known for the smallest and the largest PSNR asked for.

    Half of them are evenly spread in their logarithm; the others are round parts of the range, range / 4k, as people
    would choose them: frequent values such as its middle are then multiples of twice the tolerance, which quantisers
    without prediction hit exactly.
    """
    coarse = min(known, key=lambda tolerance: abs(known[tolerance] - min(targets)))
    fine = min(known, key=lambda tolerance: abs(known[tolerance] - max(targets)))
    even = np.geomspace(coarse, fine, count - count // 2 + 2)[1:-1]
    parts = np.maximum(np.round(value_range / (4 * np.geomspace(coarse, fine, count // 2))), 1)
    return np.unique(np.concatenate([even, value_range / (4 * parts)])).tolist()


def best(points: Sequence[Point], enough: float) -> list[Point]:
    """The points than which no other with the same claim to the tree is both no larger and no worse.

    Of those with a PSNR of at least `enough` dB only the smallest.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.mask_bytes_included, point.bytes, point.rmse)):
        last = kept[-1] if kept and kept[-1].mask_bytes_included == point.mask_bytes_included else None
        if last is None or (point.rmse < last.rmse and last.psnr is not None and last.psnr < enough):
            kept.append(point)
    return kept


def _points(peer: Peer, reference: Reference, quality: Quality, outcome: Outcome) -> list[Point]:
    rmse = reference.rmse(outcome.values)
    iou, mcd = reference.surface(outcome.values)
    point = Point(
        peer.name, quality, outcome.num_bytes, rmse, rmse / reference.value_range, reference.psnr(rmse),
        outcome.seconds_encode, outcome.seconds_decode, peer.stores_topology, 0, iou, mcd, outcome.note,
    )  # fmt: skip
    if peer.stores_topology:
        return [point]
    tree = reference.tree_bytes(outcome.leaf_values, rmse)
    return [point, replace(point, bytes=point.bytes + tree, mask_bytes_included=True, mask_bytes=tree)]
