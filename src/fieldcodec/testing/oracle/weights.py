"""Weights of networks: quantised or halves."""

from collections.abc import Sequence

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import decode_integers
from fieldcodec.testing.oracle.reader import Reader

BIN_STARTS = [0, 1, *(base << octave for octave in range(10) for base in (2, 3)), 2048]
BINS = len(BIN_STARTS) - 1
SMALL = 48
PRECISION = 24


def decode_weights(data: bytes, sizes: Sequence[int]) -> list[list[int]]:
    """Integer weights of tensors of the given sizes."""
    reader = Reader(data)
    large = [size for size in sizes if size >= SMALL]
    header = decode_integers(reader.blob(), len(large) * (1 + BINS))
    small = decode_integers(reader.blob(), sum(size for size in sizes if size < SMALL))
    words = reader.blob()
    reader.end()
    if len(words) % 4 or any(abs(weight) > 2047 for weight in small):
        raise FormatError("weights are out of their limits")
    coder = _RangeDecoder([int.from_bytes(words[i : i + 4], "little") for i in range(0, len(words), 4)])
    result, tensor, start = [], 0, 0
    for size in sizes:
        if size < SMALL:
            result.append(small[start : start + size])
            start += size
            continue
        largest, *steps = header[tensor * (1 + BINS) : (tensor + 1) * (1 + BINS)]
        levels = [sum(steps[: i + 1]) for i in range(BINS)]
        if not 0 <= largest <= 2047 or not all(0 <= level <= 127 for level in levels):
            raise FormatError("a distribution of weights is out of its limits")
        cumulative = _cumulative(_frequencies(largest, levels))
        result.append([coder.symbol(cumulative) - largest for _ in range(size)])
        tensor += 1
    coder.end()
    return result


def decode_half(data: bytes, sizes: Sequence[int]) -> list[np.ndarray]:
    """float16 weights of tensors of the given sizes."""
    joined = Reader(data).packed_array("<f2", sum(sizes))
    if not np.isfinite(joined).all():
        raise FormatError("a weight is not finite")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [joined[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _frequencies(largest: int, levels: Sequence[int]) -> list[int]:
    """Of the weights -largest..largest."""
    masses = [(4 + (level - 1) % 4) << ((level - 1) // 4) if level else 0 for level in levels]
    total = max(sum(masses), 1)
    of_magnitude = []
    for mass, start, stop in zip(masses, BIN_STARTS, BIN_STARTS[1:], strict=False):
        magnitudes = range(start, min(stop, largest + 1))
        signed = len(magnitudes) if start == 0 else 2 * len(magnitudes)
        of_magnitude += [mass * (1 << 24) // (total * signed) for _ in magnitudes]
    frequencies = of_magnitude[:0:-1] + of_magnitude
    if not any(frequencies):
        frequencies = [1] * len(frequencies)
    return [1, 0] if len(frequencies) == 1 else frequencies


def _cumulative(frequencies: Sequence[int]) -> list[int]:
    """Where each symbol begins in 0..2^24, and the end: every symbol gets 1 and its share of the rest."""
    scale = float((1 << PRECISION) - len(frequencies)) / float(sum(frequencies))
    starts, below = [], 0
    for symbol, frequency in enumerate(frequencies):
        starts.append(int(float(below) * scale) + symbol)
        below += frequency
    return [*starts, 1 << PRECISION]


class _RangeDecoder:
    """constriction's RangeDecoder with its default 32-bit words and 64-bit state."""

    def __init__(self, words: Sequence[int]) -> None:
        self._words = list(words)
        self._range = (1 << 64) - 1
        self._point = 0
        for _ in range(2):
            self._shift()

    def _shift(self) -> None:
        self._point = self._point << 32 | (self._words.pop(0) if self._words else 0)

    def symbol(self, cumulative: Sequence[int]) -> int:
        scale = self._range >> PRECISION
        quantile = self._point // scale
        if quantile >= 1 << PRECISION:
            raise FormatError("the stream of weights is damaged")
        symbol = next(i for i in range(len(cumulative)) if cumulative[i + 1] > quantile)
        self._point -= scale * cumulative[symbol]
        self._range = scale * (cumulative[symbol + 1] - cumulative[symbol])
        if self._range < 1 << 32:
            self._range <<= 32
            self._shift()
        return symbol

    def end(self) -> None:
        if self._words:
            raise FormatError(f"{len(self._words)} words of weights are left over")
