"""Measures one codec on one grid: a row of points, bytes against error."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fieldcodec.bench.demands import Measure, score_of
from fieldcodec.bench.peer import Outcome, Peer, Setting
from fieldcodec.bench.reference import Reference

_CLOSE_DB = 0.1  # a search ends this near to the score asked for
_MOST_TRIES = 12  # of one search for one score
_MOST_HALVINGS = 80
_NARROW = 0.003  # of the decimal logarithm of the tolerance: a search ends in an interval below this
_COARSEST = 64  # times the range of the values: some codecs err much less than their tolerance allows


@dataclass(frozen=True)
class Point:
    """One codec at one setting, as it stands in the JSON files."""

    codec: str
    setting: Setting
    """A tolerance in the units of the values, or what the codec calls the quality."""
    bytes: int
    rmse: float
    rmse_relative: float
    """RMSE divided by the range of the active values."""
    psnr: float | None
    """In dB; None where nothing differs."""
    mask_bytes_included: bool
    """Whether the decoder gets the exact tree from these bytes."""
    mask_bytes: int
    """Part of `bytes` that fieldcodec's mask coder needed for the tree, for codecs that store none."""
    iou: float | None
    """Level sets: intersection over union of the interiors."""
    mcd: float | None
    """Level sets: modified Chamfer distance in voxels."""
    note: str
    encode_s: float
    decode_s: float
    encode_peak_bytes: int | None
    decode_peak_bytes: int | None
    encode_stages: dict[str, float] = field(default_factory=dict)
    decode_stages: dict[str, float] = field(default_factory=dict)
    sections: dict[str, int] = field(default_factory=dict)

    def score(self, measure: Measure) -> float:
        """Higher is better, see `demands`."""
        return score_of(measure, self.rmse_relative, self.iou, self.mcd)


def sample(
    peer: Peer,
    reference: Reference,
    measure: Measure,
    targets: Sequence[float],
    *,
    sweep: int = 40,
    on_point: Callable[[Point], None] = lambda point: None,
) -> list[Point]:
    """The points of one codec, from small to large; `on_point` hears of each as soon as it is measured.

    Codecs without a tree of their own give two points for each setting, without and with the bytes of the tree.

    Args:
        targets: the scores of `measure` wanted; codecs with a tolerance are brought near each.
        sweep: how many tolerances are tried besides: the curves of some codecs are so jagged that a search alone misses
            their best points. Only the best of all are kept, see `best`.

    Raises:
        UnsupportedGridError: the codec cannot hold the grid.
        MissingPackageError: its package is not installed.
    """
    found: list[Point] = []

    def score_at(setting: Setting) -> float:
        points = points_of(peer, reference, setting, peer.compress(reference.grid, setting))
        found.extend(points)
        for point in points:
            on_point(point)
        return points[0].score(measure)

    if peer.how == "each":
        for setting in peer.settings:
            score_at(setting)
        return found
    if peer.how == "search":
        known = search(score_at, reference.value_range, targets)
        for tolerance in _between(known, targets, sweep, reference.value_range):
            score_at(tolerance)
    else:
        tolerance = _COARSEST * reference.value_range
        for _ in range(_MOST_HALVINGS):
            if score_at(tolerance) >= max(targets):
                break
            tolerance /= 2
    return best(found, measure, max(targets))


def search(score_at: Callable[[float], float], value_range: float, targets: Sequence[float]) -> dict[float, float]:
    """Measures tolerances until each score asked for is met closely, or its tolerance is closely known.

    The score falls by about 20 dB where the tolerance grows tenfold, so few tries are needed.

    Args:
        score_at: tolerance -> score in dB, falling.

    Returns:
        The tolerances measured, with the score of each.
    """
    known: dict[float, float] = {}  # decimal logarithm of the tolerance as a part of the range -> score
    for target in targets:
        guess = min(0.24 - target / 20, 0.0)  # an error spread evenly between +-tolerance
        for _ in range(_MOST_TRIES):
            if guess not in known:
                known[guess] = score_at(value_range * 10**guess)
            if abs(known[guess] - target) < _CLOSE_DB or (guess >= 0 and known[guess] > target):
                break
            finer = max((at for at, score in known.items() if score >= target), default=None)
            coarser = min((at for at, score in known.items() if score < target), default=None)
            if finer is None or coarser is None:
                edge = max(known) if coarser is None else min(known)
                guess = min(edge + (known[edge] - target) / 20, 0.0) if math.isfinite(known[edge]) else edge / 2
            elif coarser - finer < _NARROW:
                break
            else:
                gap = known[finer] - known[coarser]
                share = (known[finer] - target) / max(gap, 1e-9) if math.isfinite(gap) else 0.5
                guess = finer + (coarser - finer) * min(max(share, 0.1), 0.9)
    return {value_range * 10**at: score for at, score in known.items()}


def _between(known: dict[float, float], targets: Sequence[float], count: int, value_range: float) -> list[float]:
    """At most `count` tolerances between those known for the smallest and the largest score asked for.

    Half of them are evenly spread in their logarithm; the others are round parts of the range, range / 4k, as people
    would choose them: frequent values such as its middle are then multiples of twice the tolerance, which quantisers
    without prediction hit exactly.
    """
    coarse = min(known, key=lambda tolerance: abs(known[tolerance] - min(targets)))
    fine = min(known, key=lambda tolerance: abs(known[tolerance] - max(targets)))
    even = np.geomspace(coarse, fine, count - count // 2 + 2)[1:-1]
    parts = np.maximum(np.round(value_range / (4 * np.geomspace(coarse, fine, count // 2))), 1)
    return np.unique(np.concatenate([even, value_range / (4 * parts)])).tolist()


def best(points: Sequence[Point], measure: Measure, enough: float) -> list[Point]:
    """The points than which no other with the same claim to the tree is both no larger and no worse.

    Of those with a score of at least `enough` only the smallest.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.mask_bytes_included, point.bytes, -point.score(measure))):
        last = kept[-1] if kept and kept[-1].mask_bytes_included == point.mask_bytes_included else None
        if last is None or last.score(measure) < min(point.score(measure), enough):
            kept.append(point)
    return kept


def points_of(peer: Peer, reference: Reference, setting: Setting, outcome: Outcome) -> list[Point]:
    """What was measured, and for a codec that stores no tree the same with the tree's bytes added."""
    rmse = reference.rmse(outcome.values)
    iou, mcd = reference.surface(outcome.values)
    encode, decode = outcome.encode, outcome.decode
    point = Point(
        peer.name, setting, outcome.num_bytes, rmse, rmse / reference.value_range, reference.psnr(rmse),
        peer.stores_topology, 0, iou, mcd, outcome.note, encode.seconds, decode.seconds, encode.peak_bytes,
        decode.peak_bytes, encode.stages, decode.stages, outcome.sections,
    )  # fmt: skip
    if peer.stores_topology:
        return [point]
    tree = reference.tree_bytes(outcome.leaf_values, rmse)
    return [point, replace(point, bytes=point.bytes + tree, mask_bytes_included=True, mask_bytes=tree)]
