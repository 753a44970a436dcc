"""Residuals of active voxels, to within a step or exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import final

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import AdaptiveBits, BitDecoder, MixedBits, decode_integers
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin, leaf_groups
from fieldcodec.testing.oracle.reader import Reader

_VOXELS: list[Origin] = list(product(range(8), range(8), range(8)))
_SUM_LIMIT = 1 << 40
_HALF = [32768] * 5


def wrap(x: int, bits: int = 64) -> int:
    """A number in two's complement."""
    half = 1 << bits - 1
    return (x + half) % (2 * half) - half


def _size(x: int) -> int:
    return wrap(abs(wrap(x)))


def _length(x: int) -> int:
    """Bits of a number taken as unsigned."""
    return (x % (1 << 64)).bit_length()


def _log4(x: int) -> int:
    x = wrap(x + 4)
    return 4 * (_length(x) - 3) + (x >> _length(x) - 3 & 3)


def _clip(x: int, least: int, most: int) -> int:
    return min(max(x, least), most)


@dataclass(frozen=True)
class _Pass:
    number: int
    voxels: list[Origin]
    taps: list[Origin]
    shares: list[int]


@cache
def _passes() -> list[_Pass]:
    passes = [_pass(0, 8, None)]
    for stride in (4, 2, 1):
        passes += [_pass(len(passes) + i, stride, 2 - i) for i in range(3)]
    return passes


def _pass(number: int, stride: int, axis: int | None) -> _Pass:
    def is_own(voxel: Origin) -> bool:
        if any(a % stride for a in voxel):
            return False
        return axis is None or (voxel[axis] // stride % 2 == 1 and not any(a // stride % 2 for a in voxel[:axis]))

    reach, taps = (1 if axis is None else 2), []
    for x, y, z in product(range(-reach, reach + 1), repeat=3):
        tap = x, y, z
        before = tap < (0, 0, 0)
        if axis is not None:
            before = (before or tap[axis] % 2 == 1) and not any(a % 2 for a in tap[:axis])
        if before and sum(a * a for a in tap) <= 6:
            taps.append((sum(a * a for a in tap), tap))
    taps = sorted(taps)[:24]
    steps = [(stride * x, stride * y, stride * z) for _, (x, y, z) in taps]
    return _Pass(number, list(filter(is_own, _VOXELS)), steps, [24 // squared for squared, _ in taps])


@dataclass(frozen=True)
class _Model:
    """What the encoder chose."""

    shift: int
    coarse: int
    lowest: int
    specials: list[int]
    weights: list[list[int]]


def decode_residuals(
    data: bytes, predictions: Sequence[Sequence[int]], masks: Sequence[Bits], origins: Sequence[Origin], step: int
) -> list[list[int]]:
    """[leaves][512]: the integers of active voxels, the predictions of others."""
    reader = Reader(data)
    if reader.varint() != len(origins):
        raise FormatError("the residuals belong to another tree")
    least = reader.varint()
    model = _read_model(reader)
    groups = leaf_groups(origins, max(1, least))
    streams = reader.streams(len(groups))
    reader.end()
    if least > 1 << 20 or not 1 <= step <= 1 << 30:
        raise FormatError("residuals are out of their limits")
    result = []
    for stream, group in zip(streams, groups, strict=True):
        rows = slice(group.start, group.stop)
        result += _Group(stream, origins[rows], masks[rows], predictions[rows], step, model).decode()
    return result


def _read_model(reader: Reader) -> _Model:
    flags, shift, coarse, count = reader.byte(), reader.varint(), reader.varint(), reader.varint()
    if flags > 1 or shift > 24 or coarse > 100 or count > 7:
        raise FormatError("the model of the residuals is out of its limits")
    blobs = [reader.blob() for _ in range(1 + count)]
    if not all(1 <= len(blob) <= 8 for blob in blobs):
        raise FormatError("an integer has 1 to 8 bytes")
    lowest, *specials = [int.from_bytes(blob, "little", signed=True) for blob in blobs]
    passes = _passes()
    if flags:
        stored = decode_integers(reader.blob(), sum(len(each.taps) for each in passes))
        if any(abs(weight) > 2048 for weight in stored):
            raise FormatError("a weight is out of its limits")
        weights = [[stored.pop(0) for _ in each.taps] for each in passes]
    else:
        weights = [[512 // (each.shares.count(24) + 1) if s == 24 else 0 for s in each.shares] for each in passes]
    return _Model(shift, coarse, lowest, specials, weights)


@final
class _Group:
    """Leaves that share the state of their models. Voxels are named by their coordinates."""

    def __init__(
        self, stream: bytes, origins: Sequence[Origin], masks: Sequence[Bits],
        predictions: Sequence[Sequence[int]], step: int, model: _Model,
    ) -> None:  # fmt: skip
        self._coder = BitDecoder(stream)
        self._models = AdaptiveBits(self._coder)
        self._sizes = MixedBits(self._coder, 5, 15728, 255, 6)
        self._kinds = MixedBits(self._coder, 5, 15728, 255, 6)
        self._origins, self._masks, self._predictions = origins, masks, predictions
        self._step, self._model = step, model
        self._errors: dict[Origin, int] = {}
        self._size_of: dict[Origin, int] = {}
        self._kind_of: dict[Origin, int] = {}

    def decode(self) -> list[list[int]]:
        values = [list(row) for row in self._predictions]
        is_open = self._open_leaves()
        for origin in self._origins:
            if not is_open[origin]:
                self._size_of |= {_at(origin, voxel): 0 for voxel in _VOXELS}
        for each in _passes():
            for leaf, origin in enumerate(self._origins):
                for voxel in each.voxels if is_open[origin] else []:
                    slot = _slot(voxel)
                    if self._masks[leaf][slot]:
                        place = _at(origin, voxel)
                        values[leaf][slot] = self._voxel(each, place, voxel, self._predictions[leaf])
                        self._errors[place] = wrap(values[leaf][slot] - self._predictions[leaf][slot])
        self._coder.end()
        return values

    def _open_leaves(self) -> dict[Origin, int]:
        is_open: dict[Origin, int] = {}
        for origin in self._origins:
            before = [is_open.get(_at(origin, step), 2) for step in ((-8, 0, 0), (0, -8, 0), (0, 0, -8))]
            is_open[origin] = self._models.bit(("open", *before))
        return is_open

    def _voxel(self, each: _Pass, place: Origin, voxel: Origin, predictions: Sequence[int]) -> int:
        """The value; notes its size and kind."""
        model, number = self._model, each.number
        taps = [_at(place, tap) for tap in each.taps]
        errors = [self._errors.get(tap, 0) for tap in taps]
        total = 256
        for weight, error in zip(model.weights[number], errors, strict=True):
            total += weight * _clip(error >> model.shift, -_SUM_LIMIT, _SUM_LIMIT)
        bound = 1 << 60 >> model.shift
        expected = _clip(total >> 9, -bound, bound) << model.shift
        guess = wrap(predictions[_slot(voxel)] + expected)
        step = self._step
        if number <= 6:
            step = max(step * (model.coarse if number <= 3 else 100 + model.coarse >> 1) // 100, 1)
        unit = _log4(4 * step)
        if model.specials:
            kind = self._kind_of[place] = self._kind(each, taps, guess, unit)
            if kind < len(model.specials):
                return model.specials[kind]
        sizes = [self._size_of.get(tap) for tap in taps]
        slope = _slope(voxel, predictions)
        contexts = self._contexts(each, errors, sizes, expected, slope, wrap(guess - model.lowest), unit)
        level = self._level(number, contexts, [wrap(error - expected) for error in errors[:4]])
        self._size_of[place] = min(abs(level), 1 << 30)
        return wrap(guess + level * step)

    def _kind(self, each: _Pass, taps: Sequence[Origin], guess: int, unit: int) -> int:
        specials = self._model.specials
        kinds = [self._kind_of.get(tap) for tap in taps]
        votes = dict.fromkeys(range(len(specials) + 1), 0)
        for kind, share in zip(kinds, each.shares, strict=True):
            if kind is not None:
                votes[kind] += share
        known = 1 + sum(votes.values())
        nearest = tuple(0 if kind is None else kind + 1 & 7 for kind in kinds[:3])
        for rank in range(len(specials)):
            best = max(votes, key=lambda kind: (votes[kind], -kind))
            share, close = votes[best] * 15 // known, 31
            if best < len(specials):
                far = min(_size(guess - specials[best]), _SUM_LIMIT)
                close = _clip(_log4(wrap(far * 4)) - unit >> 1, 0, 31)
            number = each.number
            keys = [(best, share, number), (best, nearest), (best, close, share), (best, close, number), (rank, share)]
            if self._kinds.bit([(rank, key) for key in keys], (best, number), _HALF):
                return best
            del votes[best]
        return next(iter(votes))

    @staticmethod
    def _contexts(
        each: _Pass,
        errors: Sequence[int],
        sizes: Sequence[int | None],
        expected: int,
        slope: int,
        above: int,
        unit: int,
    ) -> tuple[int, int, list[object]]:
        """The length to start from, the level of sizes around, and the five contexts."""
        known = total = scatter = 0
        for share, error, size in zip(each.shares, errors, sizes, strict=True):
            if size is not None:
                known += share
                total += share * size
                scatter += share * min(_size(error - expected), _SUM_LIMIT)
        local = (total << 4) // known if known else 8
        f = min(_log4(local), 127)
        spread = _clip(_log4((scatter << 3) // known if known else 0) - unit, 0, 63)
        s = _clip(_log4(wrap(4 * slope)) - unit >> 1, 0, 15)
        h = _clip(_log4(4 * _clip(above, 0, _SUM_LIMIT)) - unit >> 1, 0, 31)
        start = min(_length(local * 5 >> 8), 63)
        near = tuple(None if size is None else min(size, 2) for size in sizes[:4])
        number = each.number
        return start, f, [(f, number), (f >> 1, s, number > 6), (f >> 1, h), (min(start, 7), near), (spread, h)]

    def _level(self, number: int, contexts: tuple[int, int, list[object]], sides: Sequence[int]) -> int:
        start, f, keys = contexts

        def decide(step: int) -> int:
            return self._sizes.bit([(step, key) for key in keys], (number, step), _HALF)

        length = start
        while length < 64 and decide(min(length - start, 7)):
            length += 1
        if length == start:
            while length > 0 and not decide(8 + min(start - length, 7)):
                length -= 1
        size = min(length, 1)
        for i in range(length - 1):
            if i == 0:
                bit = self._models.bit(("second", length, f >> 2))
            elif i == 1:
                bit = self._models.bit(("third", length, size & 1))
            else:
                bit = self._coder.bit(32768)
            size = size << 1 | bit
        if size and self._models.bit(("sign", *((side > 0) - (side < 0) for side in sides))):
            return -size
        return size


def _at(place: Origin, step: Origin) -> Origin:
    return place[0] + step[0], place[1] + step[1], place[2] + step[2]


def _slot(voxel: Origin) -> int:
    return voxel[0] * 64 + voxel[1] * 8 + voxel[2]


def _slope(voxel: Origin, predictions: Sequence[int]) -> int:
    """How much the predictions change around a voxel in its leaf."""
    total = 0
    for axis in range(3):
        changes = [] if voxel[axis] else [0]
        for side in (-1, 1):
            other = [*voxel]
            other[axis] += side
            if 0 <= other[axis] < 8:
                change = predictions[_slot(voxel)] - predictions[other[0] * 64 + other[1] * 8 + other[2]]
                changes.append(min(_size(change), _SUM_LIMIT))
        total += max(changes)
    return total
