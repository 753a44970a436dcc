"""Active masks of leaves whose margins are known."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from itertools import pairwise, product
from typing import final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import BitDecoder, counted, logistic, squash
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin, decode_leaf_masks, leaf_groups
from fieldcodec.testing.oracle.reader import Reader

CERTAIN = 2801
_FAR = 2048
_NARROW = {1: 283, 2: 187, 3: 136, 4: 104, 5: 82, 6: 66}
_BROAD = {1: 932, 2: 757, 3: 646, 4: 565, 5: 502, 6: 451}
_RATIOS = (8, 11, 14, 16, 19, 24)
_BEFORE = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
_PATTERN = [
    (-1, -1, 0), (-1, 0, -1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0), (0, -1, -1), (0, -1, 0), (0, -1, 1), (0, 0, -1)
]  # fmt: skip
_VOXELS = list(product(range(8), repeat=3))
_Told = tuple[int, int, int, int]  # evidence, weight, estimate, surprise
_NOTHING: _Told = (0, 0, 0, 0)


def decode_margin_masks(data: bytes, origins: Sequence[Origin], margins: np.ndarray) -> list[Bits]:
    """The 512 active bits of each leaf; `margins` are [leaves, 512] integers of 16 bits."""
    reader = Reader(data)
    kind = reader.byte()
    if kind == 0:
        return decode_leaf_masks(data[1:], origins, None)
    if kind != 1 or reader.varint() != len(origins):
        raise FormatError("the masks with margins belong to another tree")
    curve = _read_curve(reader)
    least = reader.varint()
    if least > 1 << 14:
        raise FormatError("groups of leaves are too large")
    groups = leaf_groups(origins, max(1, least))
    streams = reader.streams(len(groups))
    reader.end()
    logits: dict[Origin, int] = {}
    for origin, row in zip(origins, margins.tolist(), strict=True):
        for step, margin in zip(_VOXELS, row, strict=True):
            logits[_at(origin, step)] = _logit(curve, margin)
    masks: list[Bits] = []
    for stream, group in zip(streams, groups, strict=True):
        masks += _Group(stream, [origins[leaf] for leaf in group], logits).decode()
    return masks


def _at(place: Origin, step: Sequence[int]) -> Origin:
    return place[0] + step[0], place[1] + step[1], place[2] + step[2]


_Curve = tuple[int, list[tuple[int, int]]]


def _read_curve(reader: Reader) -> _Curve:
    """Where uncertainty begins, and (margin, logit) of each knot."""
    low, count = reader.varint() - 32768, reader.byte()
    places = [low]
    for _ in range(count - 1):
        places.append(places[-1] + reader.varint() + 1)
    stored = reader.take(count)
    if low > 32768 or count > 64 or (count and places[-1] > 32767):
        raise FormatError("the curve of logits is out of its limits")
    logits = [min(max(32 * (byte - 128), -2800), 2800) for byte in stored]
    return low, list(zip(places, logits, strict=False))


def _logit(curve: _Curve, margin: int) -> int:
    low, knots = curve
    if margin < low:
        return -CERTAIN
    for (a, first), (b, last) in pairwise(knots):
        if a <= margin < b:
            return first + (last - first) * (margin - a) // (b - a)
    return knots[-1][1] if knots and margin == knots[-1][0] else CERTAIN


@cache
def _expectations() -> list[int]:
    """E(u), by u // 8 + 350."""
    exact = Context(prec=18, rounding=ROUND_HALF_EVEN)
    table = []
    for i in range(-350, 351):
        power = exact.exp(exact.divide(Decimal(-i), Decimal(32)))
        other = exact.ln(exact.add(Decimal(1), exact.divide(Decimal(1), power)))
        total = exact.add(exact.ln(exact.add(Decimal(1), power)), exact.multiply(power, other))
        table.append(int(exact.multiply(total, Decimal(256)).to_integral_value(ROUND_HALF_EVEN)))
    return table


def _error(logit: int, bit: int) -> int:
    """What a bit tells of a logit's error."""
    table = _expectations()
    return table[logit // 8 + 350] if bit else -table[-logit // 8 + 350]


@cache
def _neighbours() -> list[tuple[Origin, int]]:
    """Steps to wide neighbours, and their squared lengths."""
    found = []
    for x, y, z in product(range(-2, 3), repeat=3):
        later = (x == 0 and y >= 0 and z >= 0) or (x > 0 and y >= 0 and z >= 0)
        if not later and x * x + y * y + z * z <= 6:
            found.append(((x, y, z), x * x + y * y + z * z))
    return found


@final
class _Group:
    """Leaves that share the state of their models."""

    def __init__(self, stream: bytes, origins: Sequence[Origin], logits: dict[Origin, int]) -> None:
        self.coder = BitDecoder(stream)
        self.origins, self.logits = origins, logits
        self.bits: dict[Origin, int] = {}  # of leaves that are known, and of coded voxels
        self.told: dict[Origin, _Told] = {}
        self.sums: dict[Origin, tuple[int, int]] = {}  # came, expected of each known leaf
        self.stretch, _ = logistic()
        self.predictors: dict[int, tuple[list[int], int]] = {}  # weights, bits seen
        self.counters: dict[object, tuple[int, int]] = {}
        self.mixers: dict[object, list[int]] = {}

    def decode(self) -> list[Bits]:
        masks = [self._leaf(origin) for origin in self.origins]
        self.coder.end()
        return masks

    def _leaf(self, origin: Origin) -> Bits:
        came = expected = 2000
        for step in product((-8, 0, 8), repeat=3):
            more = self.sums.get(_at(origin, step), (0, 0))
            came, expected = came + more[0], expected + more[1]
        own = (0, 0)
        places = [_at(origin, step) for step in _VOXELS]
        for place in places:
            logit = self.logits[place]
            if abs(logit) == CERTAIN:
                continue
            if abs(logit) > _FAR:
                bit = self.coder.bit(squash(logit))
                if bit != (logit > 0):
                    self.told[place] = (_error(logit, bit), 0, 0, _error(logit, bit))
            else:
                bit, own = self._near(place, logit, (came, expected), own)
            self.bits[place] = bit
        self.sums[origin] = own
        for place in places:
            self.bits.setdefault(place, int(self.logits[place] > 0))
        return [self.bits[place] for place in places]

    def _near(
        self, place: Origin, logit: int, around: tuple[int, int], own: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
        """The bit, and the leaf's sums with it."""
        chosen = min(abs(logit) >> 9, 3)
        inputs = self._inputs(place, logit)
        start = [1 << 20, 0, 1 << 19, 1 << 19] + [0] * (len(inputs) - 4)
        weights, seen = self.predictors.get(chosen, (start, 0))
        first = sum(a * b for a, b in zip(weights, inputs, strict=True)) >> 20
        first = min(max(first, -2800), 2800)
        level = sum(16 * (around[0] + 4 * own[0]) > ratio * (around[1] + 4 * own[1]) for ratio in _RATIOS)
        bit = self._mixed(self._contexts(place, logit, first), (level, min(abs(first) >> 7, 7)), first)
        q = squash(first)
        change = ((bit << 16) - q) * (80 + 1150000 // (2001 + seen))
        learnt = [a + (b * change + (1 << 19) >> 20) for a, b in zip(weights, inputs, strict=True)]
        self.predictors[chosen] = learnt, seen + 1
        surprise, a = _error(first, bit), squash(logit)
        estimate = min(max(first - logit + surprise, -1536), 1536)
        self.told[place] = (_error(logit, bit), a * (65536 - a) >> 20, estimate, surprise)
        return bit, (own[0] + abs(surprise), own[1] + (q * _error(first, 1) >> 15))

    def _inputs(self, place: Origin, logit: int) -> list[int]:
        told = [(self.told.get(_at(place, step), _NOTHING), squared) for step, squared in _neighbours()]
        inputs = [logit, 77]
        for blur in (_NARROW, _BROAD):
            total = sum(blur[squared] * numbers[0] for numbers, squared in told)
            mass = (1 << 20) + sum(blur[squared] * numbers[1] for numbers, squared in told)
            inputs.append(min(max((total << 12) // mass, -4096), 4096))
        inputs += [numbers[0] for numbers, _ in told]
        inputs += [numbers[which] for which in (2, 3) for numbers, squared in told if squared <= 3]
        return inputs

    def _mixed(self, contexts: list[tuple[object, int]], select: object, first: int) -> int:
        """A bit from the predicted logit and (context, start of its counter)."""
        keys = [(number, context) for number, (context, _) in enumerate(contexts)]
        states = [self.counters.get(key) or (squash(start) << 6, 0)
                  for key, (_, start) in zip(keys, contexts, strict=True)]  # fmt: skip
        inputs = [first, *(self.stretch[value >> 10] for value, _ in states)]
        weights = self.mixers.get(select, [26214] + [6553] * 6)
        total = sum(a * b for a, b in zip(weights, inputs, strict=True)) >> 16
        p = squash(min(max(total, -2800), 2800))
        bit = self.coder.bit(p)
        error = ((bit << 16) - p) * 2
        self.mixers[select] = [a + (b * error + (1 << 17) >> 18) for a, b in zip(weights, inputs, strict=True)]
        for key, state in zip(keys, states, strict=True):
            self.counters[key] = counted(state, bit, 1023)
        return bit

    def _bit(self, place: Origin) -> int:
        """A bit as far as it is known, else the likely one."""
        bit = self.bits.get(place)
        return int(self.logits.get(place, 0) > 0) if bit is None else bit

    def _contexts(self, place: Origin, logit: int, first: int) -> list[tuple[object, int]]:
        def v(*step: int) -> int:
            return self._bit(_at(place, step))

        def box(xs: Sequence[int], ys: Sequence[int], zs: Sequence[int]) -> int:
            return sum(self._bit(_at(place, step)) for step in product(xs, ys, zs))

        two, one = range(-2, 3), range(-1, 2)
        own, fine, coarse = _bin(logit, 128, 24), _bin(first, 96, 32), _bin(first, 256, 8)
        ahead = (v(1, 0, 0), v(0, 1, 0), v(0, 0, 1))
        told = [self.told.get(_at(place, step), _NOTHING) for step in _BEFORE]
        signs = tuple((numbers[0] > 0) - (numbers[0] < 0) for numbers in told)
        moved, estimates = _bin(first - logit, 64, 16), _bin(sum(numbers[2] for numbers in told), 192, 8)
        runs = []
        for x, y, z in _BEFORE:
            bits = [v(n * x, n * y, n * z) for n in (1, 2, 3)]
            runs.append((bits[0], 0 if bits[1] != bits[0] else 1 if bits[2] != bits[0] else 2))
        plane, deep, row = box((-1,), two, two), box((-2,), one, one), box((0,), (-1, -2), two)
        about = 256 * (coarse - 8) + 128
        return [
            ((own, moved), (own - 24) * 128 + (moved - 16) * 64 + 96),
            ((plane, deep, row, v(0, 0, -1), v(0, 0, -2), first > 0), 256 if first > 0 else -256),
            ((coarse, tuple(v(*step) for step in _PATTERN), ahead), about),
            ((own, signs, estimates), (own - 24) * 128 + (estimates - 8) * 48 + 88),
            ((fine, box((-1, 0), one, one), box((1,), one, one)), (fine - 32) * 96 + 48),
            ((coarse, tuple(runs), ahead), about),
        ]


def _bin(x: int, width: int, half: int) -> int:
    return min(max(x // width + half, 0), 2 * half - 1)
