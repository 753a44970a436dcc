"""Weights of small networks as bytes.

`encode_weights` takes quantised weights, integers in -2047..2047. Every tensor has its own
distribution: its largest magnitude and a histogram of magnitudes in half-octave bins, 0, 1, 2, 3,
4-5, 6-7, 8-11, 12-15, ..., whose counts are kept to three significant bits. Within a bin magnitudes
are equally likely, and so are signs. From it follows, in integers, a table of probabilities with
denominator 2^24, which drives `constriction`'s range coder. Small tensors are coded one integer at a
time instead.

`encode_differences` takes integers that are close to known ones, those of the frame before in a sequence, and codes
what was added to them in the same way.

`encode_half` is the paper's way: 16-bit floats and Blosc (NeuralVDB, section 4).
"""

import math
from collections.abc import Sequence

import constriction
import numpy as np

from fieldcodec.coding.arrays import pack_array, unpack_array
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.integers import decode_integers, encode_integers
from fieldcodec.errors import FormatError

MAX_WEIGHT = 2047
_BIN_STARTS = np.array([0, 1] + [n << e for e in range(10) for n in (2, 3)] + [MAX_WEIGHT + 1])  # last one: the end
_NUM_BINS = len(_BIN_STARTS) - 1
_WIDTHS = np.diff(_BIN_STARTS)
_DENOMINATOR = 1 << 24
_MAX_LEVEL = 127
_ROW = _NUM_BINS + 1  # what is stored of a distribution: the largest magnitude, then the level of every bin
_SMALL = 48  # tensors with fewer weights are coded one by one
_WHAT = "network weights"


def encode_weights(tensors: Sequence[np.ndarray]) -> bytes:
    """Code integer tensors with values in -2047..2047; the shapes are not stored."""
    flat = [_checked(tensor) for tensor in tensors]
    large = [tensor for tensor in flat if tensor.size >= _SMALL]
    small = [tensor for tensor in flat if tensor.size < _SMALL]
    coder = constriction.stream.queue.RangeEncoder()
    rows = []
    for tensor in large:
        rows.append(_distribution(tensor))
        coder.encode((tensor + rows[-1][0]).astype(np.int32), _model(rows[-1]))
    writer = ByteWriter()
    writer.blob(encode_integers(_steps(np.array(rows, np.int64).reshape(-1, _ROW))))
    writer.blob(encode_integers(np.concatenate(small)) if small else b"")
    writer.blob(coder.get_compressed().astype("<u4").tobytes())
    return writer.getvalue()


def decode_weights(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The int32 tensors of the given shapes that `encode_weights` was given.

    Raises:
        FormatError: the bytes are damaged or of other shapes.
    """
    sizes = [math.prod(shape) for shape in shapes]
    reader = ByteReader(data, _WHAT)
    num_large = sum(size >= _SMALL for size in sizes)
    rows = decode_integers(reader.blob(), num_large * _ROW, _WHAT).reshape(num_large, _ROW)
    if rows.size and (
        np.abs(rows[:, 1:]).max() > _MAX_LEVEL or not 0 <= rows[:, 0].min() <= rows[:, 0].max() <= MAX_WEIGHT
    ):
        raise reader.error("a distribution is outside its limits")
    rows[:, 1:] = np.cumsum(rows[:, 1:], axis=1)
    if rows.size and not 0 <= rows[:, 1:].min() <= rows[:, 1:].max() <= _MAX_LEVEL:
        raise reader.error("a histogram is outside its limits")
    small = decode_integers(reader.blob(), sum(size for size in sizes if size < _SMALL), _WHAT)
    if small.size and np.abs(small).max() > MAX_WEIGHT:
        raise reader.error("a weight is outside its limits")
    words = reader.blob()
    reader.end()
    if len(words) % 4:
        raise reader.error("the coded weights are no whole number of 32-bit words")
    decoded = iter(_decode_large(words, [size for size in sizes if size >= _SMALL], rows))
    result, start = [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        if size >= _SMALL:
            result.append(next(decoded).reshape(shape))
        else:
            result.append(small[start : start + size].astype(np.int32).reshape(shape))
            start += size
    return result


def encode_differences(tensors: Sequence[np.ndarray], earlier: Sequence[np.ndarray]) -> bytes:
    """Code integer tensors by what they differ from those of the same shapes that a decoder has already.

    Raises:
        ValueError: a difference exceeds 2047 in magnitude.
    """
    return encode_weights([_checked(new) - _checked(old) for new, old in zip(tensors, earlier, strict=True)])


def decode_differences(data: bytes, earlier: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The int32 tensors that `encode_differences` was given.

    Raises:
        FormatError: the bytes are damaged, or belong to other tensors.
    """
    tensors = []
    for old, change in zip(earlier, decode_weights(data, [old.shape for old in earlier]), strict=True):
        tensor = old.astype(np.int32) + change
        if tensor.size and np.abs(tensor).max() > MAX_WEIGHT:
            raise FormatError(f"{_WHAT}: with its difference added, one is beyond {MAX_WEIGHT}; get the file again")
        tensors.append(tensor)
    return tensors


def encode_half(tensors: Sequence[np.ndarray]) -> bytes:
    """Store float tensors in 16 bits and Blosc, as the paper does; the shapes are not stored.

    Raises:
        ValueError: a number is not finite in 16 bits.
    """
    with np.errstate(over="ignore"):  # reported below
        halves = [np.asarray(tensor, np.float32).ravel().astype("<f2") for tensor in tensors]
    joined = np.concatenate(halves) if halves else np.zeros(0, "<f2")
    if not np.isfinite(joined).all():
        raise ValueError("weights must be finite and below 65,520 in magnitude to be stored in 16 bits")
    return pack_array(joined)


def decode_half(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The float16 tensors of the given shapes that `encode_half` was given."""
    sizes = [math.prod(shape) for shape in shapes]
    joined = unpack_array(data, "<f2", (sum(sizes),))
    parts = np.split(joined, np.cumsum(sizes)[:-1]) if sizes else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _checked(tensor: np.ndarray) -> np.ndarray:
    """[size] int64."""
    flat = np.asarray(tensor).ravel()
    if flat.dtype.kind not in "iu":
        raise ValueError(f"weights must be integers, got {flat.dtype}")
    flat = flat.astype(np.int64)
    if flat.size and np.abs(flat).max() > MAX_WEIGHT:
        raise ValueError(f"weights must be in -{MAX_WEIGHT}..{MAX_WEIGHT}, found {flat.min()}..{flat.max()}")
    return flat


def _distribution(tensor: np.ndarray) -> np.ndarray:
    """[1 + bins]: largest magnitude, and levels; l > 0 stands for (4 + (l - 1) % 4) * 2^((l - 1) // 4) / 4 weights."""
    magnitudes = np.abs(tensor)
    bins = np.searchsorted(_BIN_STARTS, magnitudes, side="right") - 1
    row = [int(magnitudes.max())]
    for count in np.bincount(bins, minlength=_NUM_BINS).tolist():
        scaled = 4 * count
        exponent = max(scaled.bit_length() - 3, 0)
        mantissa = (scaled + ((1 << exponent) >> 1)) >> exponent  # 4..8, rounded
        row.append(0 if count == 0 else 1 + 4 * exponent + mantissa - 4)
    return np.array(row, np.int64)


def _steps(rows: np.ndarray) -> np.ndarray:
    """Rows with each level as its difference from the one before."""
    return np.concatenate([rows[:, :1], np.diff(rows[:, 1:], axis=1, prepend=0)], axis=1)


def _model(row: np.ndarray) -> object:
    """The coder's model of the weights -largest..largest.

    Its frequencies are integers with a sum of at most 2^24, so they and all their partial sums are
    exact in float64; what the library computes from them is the same on every machine. Weights
    without a frequency get the smallest probability there is.
    """
    largest, levels = int(row[0]), row[1:].tolist()
    masses = [0 if level == 0 else (4 + (level - 1) % 4) << ((level - 1) // 4) for level in levels]
    total = max(sum(masses), 1)
    shares = []
    for mass, start, stop in zip(masses, _BIN_STARTS[:-1].tolist(), _BIN_STARTS[1:].tolist(), strict=True):
        width = min(stop, largest + 1) - start
        if width > 0:
            shares.append(np.full(width, mass * _DENOMINATOR // (total * (width if start == 0 else 2 * width)), float))
    positive = np.concatenate(shares)
    frequencies = np.concatenate([positive[:0:-1], positive])
    if not frequencies.any():
        frequencies = np.ones(len(frequencies))
    if len(frequencies) == 1:  # all weights are 0; the library wants two symbols
        frequencies = np.array([1.0, 0.0])
    return constriction.stream.model.Categorical(frequencies, perfect=False)


def _decode_large(words: bytes, sizes: list[int], rows: np.ndarray) -> list[np.ndarray]:
    """[size] int32 arrays; at the end the stream must be used up."""
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))
    try:
        decoded = [
            coder.decode(_model(row), size).astype(np.int32) - np.int32(row[0])
            for size, row in zip(sizes, rows, strict=True)
        ]
    except AssertionError as error:
        raise FormatError(f"{_WHAT}: the coded stream is damaged ({error}); get the file again") from error
    if not coder.maybe_exhausted():
        raise FormatError(f"{_WHAT}: the coded stream does not end where its weights end; get the file again")
    return decoded
