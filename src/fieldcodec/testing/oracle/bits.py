"""Range decoder, adaptive bits, mixed bits, integers."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from typing import final

from fieldcodec.errors import FormatError


@final
class BitDecoder:
    """A range decoder: `word` is the code word less the interval's lower end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._word = min(int.from_bytes(data[:4].ljust(4, b"\0"), "big"), 0xFFFFFFFE)
        self._range = 0xFFFFFFFF
        self._read = 4

    def bit(self, probability: int) -> int:
        """A bit whose probability of being 1 is `probability` / 65536."""
        bound = self._range * probability >> 16
        if self._word < bound:
            bit = 1
            self._range = bound
        else:
            bit = 0
            self._word -= bound
            self._range -= bound
        while self._range < 1 << 24:
            self._word = self._word << 8 | (self._data[self._read] if self._read < len(self._data) else 0)
            self._range <<= 8
            self._read += 1
        return bit

    def end(self) -> None:
        if not len(self._data) <= self._read <= len(self._data) + 4:
            raise FormatError(f"a stream of {len(self._data)} bytes ends after {self._read}")


@final
class AdaptiveBits:
    """Models of bits, made when first used; keys are whatever names a model."""

    def __init__(self, coder: BitDecoder) -> None:
        self._coder = coder
        self._models: dict[object, tuple[int, int, int]] = {}

    def bit(self, key: object) -> int:
        fast, slow, seen = self._models.get(key, (1 << 23, 1 << 23, 0))
        bit = self._coder.bit(min(max(fast + 7 * slow >> 11, 1), 65535))
        target = (1 << 24) - 1 if bit else 0
        fast += (target - fast) * _rate(min(seen, 100)) >> 16
        slow += (target - slow) * _rate(seen) >> 16
        self._models[key] = (fast, slow, min(seen + 1, 1000))
        return bit


def _rate(seen: int) -> int:
    return 131072 // (2 * seen + 3)


@cache
def logistic() -> tuple[list[int], list[int]]:
    """stretch of 0..4095, squash of -2800..2800."""
    exact = Context(prec=18, rounding=ROUND_HALF_EVEN)
    stretch, squash = [], []
    for i in range(4096):
        odds = exact.divide(Decimal(2 * i + 1), Decimal(8191 - 2 * i))
        stretch.append(int(exact.multiply(exact.ln(odds), Decimal(256)).to_integral_value(ROUND_HALF_EVEN)))
    for i in range(-2800, 2801):
        power = exact.exp(exact.divide(Decimal(-i), Decimal(256)))
        share = exact.divide(Decimal(65536), exact.add(Decimal(1), power))
        squash.append(int(share.to_integral_value(ROUND_HALF_EVEN)))
    return stretch, squash


def squash(x: int) -> int:
    """1 / (1 + exp(-x / 256)) in 1/65536."""
    return logistic()[1][min(max(x, -2800), 2800) + 2800]


@final
class MixedBits:
    """Mixes the predictions of `contexts` counters; `start(i, context)` is the first probability in 1/65536."""

    def __init__(
        self, coder: BitDecoder, contexts: int, first_weight: int, count_limit: int, learning_rate: int = 8
    ) -> None:
        self._coder, self._learning_rate = coder, learning_rate
        self._stretch, self._squash = logistic()
        self._counters: list[dict[object, tuple[int, int]]] = [{} for _ in range(contexts)]
        self._weights: dict[object, list[int]] = {}
        self._first_weight, self._limit = first_weight, count_limit

    def bit(self, keys: Sequence[object], select: object, starts: Sequence[int]) -> int:
        """A bit with one counter per key; `starts` are the probabilities (16 bits) of counters not seen before."""
        count = len(keys)
        weights = self._weights.get(select)
        if weights is None:
            weights = self._weights[select] = [self._first_weight] * count
        stretch = self._stretch
        states = [
            counters.get(key) or (start << 6, 0)
            for counters, key, start in zip(self._counters, keys, starts, strict=True)
        ]
        inputs = [stretch[value >> 10] for value, _ in states]
        total = sum([a * b for a, b in zip(weights, inputs, strict=True)]) >> 16
        probability = self._squash[min(max(total, -2800), 2800) + 2800]
        bit = self._coder.bit(probability)
        error = ((bit << 16) - probability) * self._learning_rate
        for i in range(count):
            weights[i] += inputs[i] * error + (1 << 17) >> 18
            self._counters[i][keys[i]] = counted(states[i], bit, self._limit)
        return bit


def counted(counter: tuple[int, int], bit: int, limit: int) -> tuple[int, int]:
    """A counter (probability of 22 bits, bits seen) after a bit."""
    value, seen = counter
    target = (1 << 22) - 1 if bit else 0
    return value + ((target - value) * _rate(seen) >> 16), min(seen + 1, limit)


def decode_magnitude(coder: BitDecoder, models: AdaptiveBits, context: object) -> int:
    """A number from 0 on: how many bits it has, 1 being added, then those below the leading one."""
    length = 0
    while length < 62 and models.bit((context, "length", length)):
        length += 1
    number = 1
    for depth in range(length):
        bit = models.bit((context, "digit", length, depth, number & 1)) if depth < 2 else coder.bit(32768)
        number = number << 1 | bit
    return number - 1


def decode_integers(data: bytes, count: int) -> list[int]:
    """Integers of a stream of their own."""
    coder = BitDecoder(data)
    models = AdaptiveBits(coder)
    values, context = [], 0
    for _ in range(count):
        folded = decode_magnitude(coder, models, context)
        value = folded >> 1 ^ -(folded & 1)
        values.append(value)
        context = min(abs(value).bit_length(), 14) + 1 >> 1
    coder.end()
    return values
