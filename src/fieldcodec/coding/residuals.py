"""Coding what a prediction leaves open, voxel by voxel: to within a step, or without any loss.

Encoder and decoder both hold an integer prediction of every voxel. For the active ones the coder stores
the difference to the target in steps, so that decoded values lie within half a step of their targets, or
equal them when the step is 1. Integers only: the same values on every machine.

Order and neighbours are in `residual_passes`, prediction and contexts in `residual_kernels`. The weights of
the prediction are fitted by the encoder and stored, or plain ones are used where that is smaller. Values
that a grid repeats exactly (its background, the ends of its range) are listed and coded as such.

Leaves are coded in groups that share nothing, so they are decoded by parallel threads and damage stays
inside a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding import range_coder as rc
from fieldcodec.coding import residual_kernels as kernels
from fieldcodec.coding import residual_training as training
from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.integers import decode_integers, encode_integers
from fieldcodec.coding.masks import GROUP_LEAVES, MAX_GROUP_LEAVES, leaf_groups
from fieldcodec.coding.neighbours import cells_and_table
from fieldcodec.coding.residual_contexts import FINEST
from fieldcodec.coding.residual_passes import WEIGHT_LIMIT, passes, plain_weights
from fieldcodec.coding.residual_windows import around_leaves
from fieldcodec.threads import map_threads

ECONOMY_LIMIT = 250  # an encoder then leaves out whole leaves that are within a step
COARSEST = 10  # per cent
VALUE_LIMIT = 1 << 60  # of targets and predictions, unless the step is 1
_SMALL, _SMALL_LOSSY = 1 << 14, 1 << 12  # bytes up to which plain weights are tried too; with economy they lose sooner
_SPECIAL_SHARE = 512  # a special value is that of at least one voxel in so many
_SPECIAL_GAIN = 50  # special values must save one byte in so many, because they cost time
_SAMPLE = 1 << 18
_PRECISE_BITS = 40  # of errors in the weighted sum
_WEIGHTED = 1
_WHAT = "residuals of voxels"
_Result = tuple[list[bytes], np.ndarray]  # coded groups, and the decoded values


@final
@dataclass(frozen=True)
class _Leaves:
    """What both sides know of the leaves: masks [N, 64] uint8, groups, and neighbourhoods [n, 27] of each group."""

    masks: np.ndarray
    groups: list[tuple[int, int]]
    around: list[np.ndarray]

    @classmethod
    def of(cls, leaf_active: np.ndarray, leaf_origins: np.ndarray, group_leaves: int) -> "_Leaves":
        groups = leaf_groups(leaf_origins, group_leaves)
        cells, table = cells_and_table(leaf_origins, 3)
        around = [around_leaves(cells, table, first, last) for first, last in groups]
        return cls(np.array(leaf_active, np.uint8, order="C"), groups, around)


@final
@dataclass(frozen=True)
class _Model:
    """What an encoder chooses once and stores.

    Attributes:
        shift: low bits of errors that the weighted sum leaves out, for numbers beyond 2^40.
        coarse: per cent of the step that the passes of strides 8 and 4 take.
        lowest: the smallest target.
        specials: values that are coded as themselves.
        weights: [10, 24] int64, or None for the plain ones.
    """

    shift: int
    coarse: int
    lowest: int
    specials: tuple[int, ...] = ()
    weights: np.ndarray | None = None

    def written(self) -> bytes:
        writer = ByteWriter()
        writer.byte(0 if self.weights is None else _WEIGHTED)
        writer.byte(self.shift)
        writer.byte(self.coarse)
        writer.varint(len(self.specials))
        for number in (self.lowest, *self.specials):
            data = number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "little", signed=True)
            writer.blob(data)
        if self.weights is not None:
            writer.blob(encode_integers(self.weights[_taps()]))
        return writer.getvalue()

    @classmethod
    def read(cls, reader: ByteReader) -> "_Model":
        flags = reader.byte()
        if flags not in (0, _WEIGHTED):
            raise reader.error(f"flags {flags} are unknown")
        shift, coarse = reader.varint(kernels.SHIFT_LIMIT), reader.varint(FINEST)
        count = reader.varint(kernels.MAX_SPECIALS)
        numbers = []
        for _ in range(1 + count):
            data = reader.blob()
            if not 1 <= len(data) <= 8:
                raise reader.error(f"an integer has {len(data)} bytes where 1 to 8 are allowed")
            numbers.append(int.from_bytes(data, "little", signed=True))
        weights = None
        if flags == _WEIGHTED:
            weights, taps = plain_weights(), _taps()
            weights[taps] = decode_integers(reader.blob(), int(taps.sum()), f"weights of {_WHAT}")
            if np.any(np.abs(weights) > WEIGHT_LIMIT):
                raise reader.error(f"a weight is beyond {WEIGHT_LIMIT}")
        return cls(shift, coarse, numbers[0], tuple(numbers[1:]), weights)


def encode_residuals(
    targets: np.ndarray, predictions: np.ndarray, leaf_active: np.ndarray, leaf_origins: np.ndarray, step: int, *,
    economy: int = 0, coarse: int = FINEST, group_leaves: int = GROUP_LEAVES, threads: int | None = None,
) -> tuple[bytes, np.ndarray]:  # fmt: skip
    """Code the targets of active voxels, given predictions.

    Args:
        targets: [N, 512] signed integers; those of inactive voxels do not matter.
        predictions: [N, 512] signed integers in the same unit, of all voxels; the decoder needs the same.
        leaf_active: [N, 64] uint8, packed masks.
        leaf_origins: [N, 3] int32, distinct multiples of 8.
        step: distance of the values that a voxel can be given, 1..2^40. With step 1 nothing is lost and the
            numbers may be any 64-bit ones (differences wrap around); else they lie within 2^60 of zero.
        economy: how far an encoder rounds towards what is cheaper, 0..250: thousandths of a step in the error for
            every nat of code saved. 0 keeps errors within half a step. Else they stay within a whole step, and
            at equal mean squared error the bytes are fewer; 40 to 100 are good.
        coarse: per cent of the step, 10..100, that voxels coded first take. Finer ones help all that are predicted
            from them: at equal mean squared error 50 saves about 5 % of a smooth field, nothing of a noisy one.
        group_leaves: the least number of leaves in an independent group; groups end at lower nodes.
        threads: how many to use; None for one per processor. The bytes do not depend on it.

    Returns:
        the bytes, and what a decoder makes of them: [N, 512] of the predictions' type; inactive voxels
        have their predictions.
    """
    if not 0 <= economy <= ECONOMY_LIMIT:
        raise ValueError(f"economy must be in 0..{ECONOMY_LIMIT}, got {economy}")
    if not COARSEST <= coarse <= FINEST:
        raise ValueError(f"coarse must be in {COARSEST}..{FINEST} per cent, got {coarse}")
    if not 1 <= group_leaves <= MAX_GROUP_LEAVES:
        raise ValueError(f"group_leaves must be in 1..{MAX_GROUP_LEAVES}, got {group_leaves}")
    _check(predictions, leaf_active, leaf_origins, step)
    active = np.unpackbits(np.asarray(leaf_active, np.uint8), axis=1, bitorder="little").astype(bool)
    if targets.shape != predictions.shape or targets.dtype.kind != "i":
        raise ValueError(
            f"targets must be signed integers of shape {predictions.shape}, got {targets.dtype} {targets.shape}"
        )
    if step > 1:
        for name, array in (("targets", targets[active]), ("predictions", predictions)):
            if array.size and (array.min() <= -VALUE_LIMIT or array.max() >= VALUE_LIMIT):
                raise ValueError(f"{name} must lie within 2^60 of zero where the step is not 1")
    leaves = _Leaves.of(leaf_active, leaf_origins, group_leaves)
    model = _fitted(targets, predictions, active, leaves, step, coarse)
    job = _Encoding(targets, predictions, active, leaves, step, economy, threads)
    streams, decoded, model = job.best(model, _special_values(targets[active], step))
    writer = ByteWriter()
    writer.varint(len(predictions))
    writer.varint(group_leaves)
    writer.raw(model.written())
    writer.streams(streams)
    return writer.getvalue(), np.where(active, decoded, predictions)


def decode_residuals(
    data: bytes, predictions: np.ndarray, leaf_active: np.ndarray, leaf_origins: np.ndarray, step: int, *,
    threads: int | None = None,
) -> np.ndarray:  # fmt: skip
    """[N, 512] of the predictions' type: decoded values of active voxels, predictions of the others.

    The arguments are those that `encode_residuals` was given.

    Raises:
        FormatError: the bytes are damaged, or are of other leaves.
    """
    _check(predictions, leaf_active, leaf_origins, step)
    coded = CodedResiduals(data, leaf_active, leaf_origins, step)
    decoded = np.array(predictions)

    def decode(number: int) -> None:
        group = slice(*coded.groups[number])
        decoded[group] = coded.decode(number, predictions[group])

    map_threads(decode, range(len(coded.groups)), threads)
    return decoded


@final
class CodedResiduals:
    """Residuals of which groups are decoded one by one; arguments and errors as of `decode_residuals`.

    Attributes:
        groups: the first leaf of each group, and the one after its last.
    """

    def __init__(self, data: bytes, leaf_active: np.ndarray, leaf_origins: np.ndarray, step: int) -> None:
        reader, self._step = ByteReader(data, _WHAT), step
        count = reader.varint()
        if count != len(leaf_origins):
            raise reader.error(f"they are of {count} leaves, but the tree has {len(leaf_origins)}")
        group_leaves = max(1, reader.varint(MAX_GROUP_LEAVES))
        self._model = _Model.read(reader)
        self._leaves = _Leaves.of(leaf_active, leaf_origins, group_leaves)
        self.groups = self._leaves.groups
        self._streams = [rc.input_buffer(stream) for stream in reader.streams(len(self.groups))]
        reader.end()

    def decode(self, number: int, predictions: np.ndarray) -> np.ndarray:
        """Decoded values of a group's leaves [n, 512], of the type of their predictions."""
        (first, last), stream = self.groups[number], self._streams[number]
        coder = rc.decoder(stream)
        given = np.array(predictions, np.int64)
        values = given.copy()
        _code(coder, stream, values, given, self._leaves, number, (self._step, 0), self._model)
        rc.check_finished(coder, stream, f"{_WHAT}, leaves {first}..{last - 1}")
        return values.astype(predictions.dtype)


@final
@dataclass(frozen=True)
class _Encoding:
    """One call of `encode_residuals`: tries models and keeps the smallest result."""

    targets: np.ndarray
    predictions: np.ndarray
    active: np.ndarray
    leaves: _Leaves
    step: int
    economy: int
    threads: int | None

    def best(self, model: _Model, specials: tuple[int, ...]) -> tuple[list[bytes], np.ndarray, _Model]:
        """Streams and decoded values with the best of a few models, and that model."""
        groups = range(len(self.leaves.groups))
        if specials:
            sizes = [last - first for first, last in self.leaves.groups]
            largest = [int(np.argmax(sizes))]
            special = replace(model, specials=specials)
            with_them, result = (self.streams(each, largest) for each in (special, model))
            if self._saved(with_them, result, largest) * _SPECIAL_GAIN > 8 * len(result[0][0]):
                model, result = special, with_them
        if not specials or len(groups) > 1:
            result = self.streams(model, groups)
        if sum(map(len, result[0])) < (_SMALL_LOSSY if self.economy else _SMALL):
            plain = replace(model, weights=None)
            again = self.streams(plain, groups)
            header = 8 * (len(model.written()) - len(plain.written()))
            if self._saved(again, result, groups) + header >= 0:
                return *again, plain
        return *result, model

    def _saved(self, this: _Result, that: _Result, groups: Sequence[int]) -> float:
        """Bits that one result takes less than another one; with economy, at equal mean squared error.

        Half the error of the voxels that are coded is worth half a bit for each; they are taken to have two bits.
        """
        sizes = [8.0 * sum(map(len, streams)) for streams, _ in (this, that)]
        saved = sizes[1] - sizes[0]
        if self.economy == 0:
            return saved
        squares, count = [0.0, 0.0], 0
        for first, last in (self.leaves.groups[number] for number in groups):
            here = self.active[first:last]
            targets = self.targets[first:last][here].astype(np.float64)
            count += targets.size
            for i, (_, decoded) in enumerate((this, that)):
                errors = decoded[first:last][here] - targets
                squares[i] += float(np.square(errors).sum())
        coded = min(count, min(sizes) / 2)
        return saved - coded / 2 * float(np.log2((squares[0] + 1) / (squares[1] + 1)))

    def streams(self, model: _Model, groups: Sequence[int]) -> _Result:
        """Coded groups, and the decoded values: [N, 512], set in these groups only."""
        decoded = np.array(self.predictions)

        def encode(number: int) -> bytes:
            first, last = self.leaves.groups[number]
            coder = rc.encoder()
            values, given = (np.array(array[first:last], np.int64) for array in (self.targets, self.predictions))
            rounding = (self.step, self.economy)
            buffer = _code(coder, rc.empty_buffer(), values, given, self.leaves, number, rounding, model)
            decoded[first:last] = values.astype(decoded.dtype)
            return rc.finished(coder, buffer)

        return map_threads(encode, groups, self.threads), decoded


def _code(
    coder: np.ndarray,
    buffer: np.ndarray,
    values: np.ndarray,
    predictions: np.ndarray,
    leaves: _Leaves,
    number: int,
    rounding: tuple[int, int],
    model: _Model,
) -> np.ndarray:
    """The kernel on one group, in the one form it is compiled for; returns the buffer."""
    (first, last), (step, economy) = leaves.groups[number], rounding
    weights = plain_weights() if model.weights is None else model.weights
    settings = np.array([step, model.coarse, economy, model.shift, model.lowest], np.int64)
    specials = np.array(model.specials, np.int64)
    masks, around = leaves.masks[first:last], leaves.around[number]
    result: np.ndarray = kernels.code_group(
        coder, buffer, values, predictions, masks, around, settings, specials, weights, passes(), mixing.tables()
    )
    return result


def _taps() -> np.ndarray:
    """[10, 24] bool: the weights that are used."""
    table = passes()
    result: np.ndarray = np.arange(table.taps.shape[1]) < table.shape[:, 3:]
    return result


def _check(predictions: np.ndarray, leaf_active: np.ndarray, leaf_origins: np.ndarray, step: int) -> None:
    """Arguments that both directions share."""
    count = len(leaf_origins)
    if leaf_active.shape != (count, 64):
        raise ValueError(f"{count} leaves need masks of shape ({count}, 64), got {leaf_active.shape}")
    if predictions.shape != (count, 512) or predictions.dtype.kind != "i":
        raise ValueError(
            f"{count} leaves need predictions that are signed integers of shape ({count}, 512), "
            f"got {predictions.dtype} {predictions.shape}"
        )
    if not 1 <= step <= kernels.STEP_LIMIT:
        raise ValueError(f"step must be in 1..2^40, got {step}")


def _fitted(
    targets: np.ndarray, predictions: np.ndarray, active: np.ndarray, leaves: _Leaves, step: int, coarse: int
) -> _Model:
    """The model with weights fitted to the errors of the predictions."""
    lowest = int(targets[active].min()) if active.any() else 0
    largest = 0
    every = max(1, len(targets) // training.SAMPLE_LEAVES)
    moments = training.new_moments()
    for (first, last), around in zip(leaves.groups, leaves.around, strict=True):
        difference = targets[first:last].astype(np.int64) - predictions[first:last].astype(np.int64)
        errors = np.where(active[first:last], difference, 0)
        largest = max(largest, -int(errors.min()), int(errors.max()))
        training.add_moments(errors, leaves.masks[first:last], around, every, step, passes(), *moments)
    shift = max(0, largest.bit_length() - _PRECISE_BITS)
    return _Model(shift, coarse, lowest, (), training.fitted_weights(*moments))


def _special_values(values: np.ndarray, step: int) -> tuple[int, ...]:
    """Values of a [K] array that stand out among those within half a step by how often they come."""
    sample = values[:: max(1, len(values) // _SAMPLE)]
    different, counts = np.unique(sample, return_counts=True)
    cumulated = np.append(0, np.cumsum(counts))
    found = []
    for i in np.argsort(-counts, kind="stable")[: kernels.MAX_SPECIALS]:
        value = int(different[i])
        low, high = np.searchsorted(different, [value - step // 2, value + step // 2 + 1])
        if counts[i] * _SPECIAL_SHARE >= len(sample) and 2 * counts[i] >= cumulated[high] - cumulated[low]:
            found.append(value)
    return tuple(found)


def ordered_integers(values: np.ndarray) -> np.ndarray:
    """int64 of the same shape, in the order of the values; different bit patterns give different integers.

    Floats map to the rank of their bit patterns: 0.0 to 0, -0.0 to -1, the next larger value to 1. Integers map
    to themselves, those of uint64 less 2^63.
    """
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    if kind == "f" and bits in (16, 32, 64):
        pattern = values.view(f"i{bits // 8}").astype(np.int64)
        return np.where(pattern < 0, ~(pattern & ((1 << (bits - 1)) - 1)), pattern)
    if values.dtype == np.uint64:
        return (values ^ np.uint64(1 << 63)).view(np.int64)
    if kind in "iu":
        return values.astype(np.int64)
    raise ValueError(f"floats of 16, 32 or 64 bits and integers have an order as integers, not {values.dtype}")


def values_of_ordered(numbers: np.ndarray, dtype: np.dtype | str) -> np.ndarray:
    """The values of a type that `ordered_integers` maps to `numbers`; those beyond the type's range wrap around."""
    dtype = np.dtype(dtype)
    kind, bits = dtype.kind, 8 * dtype.itemsize
    numbers = np.ascontiguousarray(numbers, np.int64)
    if kind == "f" and bits in (16, 32, 64):
        sign = np.int64(-1) << (bits - 1)
        return np.where(numbers < 0, ~numbers | sign, numbers).astype(f"i{bits // 8}").view(dtype)
    if dtype == np.uint64:
        return numbers.view(np.uint64) ^ np.uint64(1 << 63)
    if kind in "iu":
        return numbers.astype(dtype)
    raise ValueError(f"floats of 16, 32 or 64 bits and integers have an order as integers, not {dtype}")
