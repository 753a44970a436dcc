"""Exact evaluation of a network: the same integers on every machine, thread count and device.

One wrong bit of topology shifts everything after it, so no rounding may depend on the order of a sum
or on a mathematics library:

- Coordinates are integers; Fourier phases are integers modulo 2^32 (a full turn), the sine is a table.
- Weights are integers of at most `w` and activations integers of at most A, with A chosen per layer such
  that every partial sum of a row stays below 2^24. A float32 matrix product is then exact in any order, at
  BLAS speed. It is NumPy's, since torch may be told to multiply with fewer bits.
- Between layers, sums are rescaled by integer multiplication and shift.

A logit is an integer in units of 1/16, an output of a regressor one in units of 1/16384.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.jit import kernel
from fieldcodec.nets.experts import hash_levels
from fieldcodec.nets.fourier import integer_frequencies
from fieldcodec.nets.frozen import FrozenNetwork
from fieldcodec.nets.hash_grid import POSITION_BITS, PRIMES, HashLevels
from fieldcodec.shapes import Logits, Points
from fieldcodec.threads import map_threads, one_thread_a_product

LOGIT_UNIT = 16
VALUE_UNIT = 1 << 14  # fine enough that rounding to it adds nothing to a regressor's error
_CHUNK = 4096  # points of a piece of work: activations of 100 neurons then fit the L2 cache
_EXACT = 1 << 24  # float32 holds every integer up to this
_MAX_AMPLITUDE = 4096
_TABLE_BITS = 12
_TABLE = 1 << _TABLE_BITS
_SHIFT = 20  # rescaling multiplies by an integer and shifts by this many bits
_TANH_RANGE = 4.0  # tanh is taken as +-1 beyond
_RELU_RANGE = 8.0  # ReLU activations saturate here
_MAX_MULTIPLIER = 1 << 31  # sums stay below 2^32, so sum * multiplier + offset fits in 64 bits
_MAX_OFFSET = 1 << 61


@dataclass(frozen=True)
class _Layer:
    """One layer of one expert: `table` maps the index (acc * multiplier + offset) >> shift to activations."""

    weight: np.ndarray  # [inputs, outputs] holding integers, of a type in which all sums are exact
    multiplier: int
    offsets: np.ndarray  # [outputs] int64
    table: np.ndarray  # [_TABLE] float32 holding integers; empty in the last layer
    wraps: bool  # the index is a phase, taken modulo the table


class ExactNetwork:
    """Evaluates experts of a frozen network in integers.

    Args:
        unit: outputs are integers in 1 / unit; `LOGIT_UNIT` for classifiers, `VALUE_UNIT` for regressors.
    """

    def __init__(self, frozen: FrozenNetwork, unit: int = LOGIT_UNIT) -> None:
        self.frozen = frozen
        self.spec = frozen.spec
        self._unit = unit

    @cached_property
    def _experts(self) -> list[tuple[int, list[_Layer]]]:
        return [self._build(expert) for expert in range(self.spec.experts)]

    @cached_property
    def _frequencies(self) -> np.ndarray:
        """[num, 3] uint32: Fourier frequencies modulo one turn per voxel."""
        spec = self.spec
        integers = integer_frequencies(spec.fourier_size, spec.fourier_scale, spec.extent, spec.seed)
        return (integers & 0xFFFFFFFF).astype(np.uint32)

    @cached_property
    def _hash_tables(self) -> tuple[HashLevels, np.ndarray, np.ndarray]:
        """Geometry of the levels, which of them are dense, and [K, rows, features] int64 entries."""
        levels = hash_levels(self.spec)
        dense = np.array([levels.is_dense(level) for level in range(len(levels.steps))])
        return levels, dense, self.frozen.integer(2 * len(self.spec.layer_sizes)).values.astype(np.int64)

    def logits(self, expert: int, local: Points) -> Logits:
        """Outputs, such as a classifier's logits, at [n, 3] int32 voxel coordinates from the expert's corner.

        Returns:
            [n, outputs] int64 in 1 / unit.

        Raises:
            FormatError: weights are too large for integers.
        """
        amplitude, layers = self._experts[expert]
        local = np.ascontiguousarray(local, np.int32)
        out = np.empty((len(local), self.spec.outputs), np.int64)

        def work(start: int) -> None:
            part = slice(start, start + _CHUNK)
            hidden = self._features(expert, local[part], amplitude)
            for layer in layers[:-1]:
                hidden = hidden @ layer.weight
                _activate(hidden, layer.multiplier, layer.offsets, layer.table, layer.wraps)
            sums = (hidden @ layers[-1].weight).astype(np.int64)
            out[part] = (sums * layers[-1].multiplier + layers[-1].offsets) >> _SHIFT

        with one_thread_a_product():
            map_threads(work, range(0, len(local), _CHUNK), None)
        return out

    def _features(self, expert: int, local: np.ndarray, amplitude: int) -> np.ndarray:
        spec = self.spec
        if spec.feature_map == "fourier":
            out = np.empty((len(local), spec.num_features), np.float32)
            _fourier(local, self._frequencies, _sine_table(amplitude), out)
            return out
        levels, dense, tables = self._hash_tables
        out = np.zeros((len(local), spec.num_features), np.float32)
        _hash(local, levels.steps, levels.resolutions, dense, levels.table_size, tables[expert], out)
        return out

    def _build(self, expert: int) -> tuple[int, list[_Layer]]:
        """Integer constants of all layers; IEEE double basic operations only."""
        count = len(self.spec.layer_sizes)
        weights = [self.frozen.integer(2 * layer) for layer in range(count)]
        biases = [self.frozen.integer(2 * layer + 1) for layer in range(count)]
        amplitudes = [_amplitude(weight.values[expert]) for weight in weights]
        if self.spec.feature_map == "fourier":
            first, unit = amplitudes[0], 1.0 / amplitudes[0]
        else:
            table = self.frozen.integer(2 * count)
            first = int(np.abs(table.values[expert]).max(initial=1))
            unit = float(table.scales[expert])
        layers = []
        for layer in range(count):
            step = float(weights[layer].scales[expert]) * unit
            bias = biases[layer].values[expert] * float(biases[layer].scales[expert])
            following = amplitudes[layer + 1] if layer + 1 < count else None
            multiplier, offsets, curve, wraps = self._rescale(step, bias, following)
            weight = _exact_product(weights[layer].values[expert], amplitudes[layer] if layer else first)
            layers.append(_Layer(weight, multiplier, offsets, curve, wraps))
            if following is not None:
                unit = (_RELU_RANGE if self.spec.activation == "relu" else 1.0) / following
        return first, layers

    def _rescale(
        self, step: float, bias: np.ndarray, amplitude: int | None
    ) -> tuple[int, np.ndarray, np.ndarray, bool]:
        """Multiplier, offsets and table that turn a sum into the next activation, or into an output."""
        if amplitude is None:
            scale, curve, wraps = float(self._unit), np.empty(0, np.float32), False
        elif self.spec.activation == "sin":
            # 12 table bits of a turn; the factor 1 / (2 pi) is a double constant, the same everywhere
            scale, curve, wraps = self.spec.frequency * _TABLE * 0.15915494309189535, _sine_table(amplitude), True
        elif self.spec.activation == "tanh":
            scale, curve, wraps = _TABLE / (2 * _TANH_RANGE), _tanh_table(amplitude), False
        else:
            scale, curve, wraps = amplitude / _RELU_RANGE, np.arange(_TABLE, dtype=np.float32), False
            curve = np.minimum(curve, np.float32(amplitude))
        unit = float(1 << _SHIFT)
        shift_in = _TABLE / 2 if self.spec.activation == "tanh" and amplitude is not None else 0.0
        offsets = np.rint((bias * scale + shift_in + 0.5) * unit)
        multiplier = int(np.rint(step * scale * unit))
        if multiplier >= _MAX_MULTIPLIER or np.abs(offsets).max() >= _MAX_OFFSET:
            raise FormatError(
                f"a network's weights are too large for exact evaluation: multiplier {multiplier}, allowed is less "
                f"than {_MAX_MULTIPLIER}; the file is damaged, or its encoder must scale the weights down"
            )
        return multiplier, offsets.astype(np.int64), curve, wraps


def _amplitude(weight: np.ndarray) -> int:
    """Largest activation for which every partial sum of a column of [inputs, outputs] stays exact."""
    heaviest = int(np.abs(weight).sum(axis=0, dtype=np.int64).max(initial=1))
    return max(1, min(_MAX_AMPLITUDE - 1, (_EXACT - 1) // max(heaviest, 1)))


def _exact_product(weight: np.ndarray, amplitude: int) -> np.ndarray:
    """Integers as float32 where sums of products with inputs up to `amplitude` are exact in it, else as float64."""
    heaviest = int(np.abs(weight).sum(axis=0, dtype=np.int64).max(initial=0))
    kind = np.float32 if heaviest * amplitude < _EXACT else np.float64
    return weight.astype(kind)


@lru_cache(maxsize=64)
def _sine_table(amplitude: int) -> np.ndarray:
    """[4096] float32 integers: a turn of the sine, symmetric by construction.

    Only a quarter is computed. `math.sin` may differ in its last bit between systems; a test checks that
    no entry lies that close to a rounding boundary.
    """
    quarter = [round(amplitude * math.sin(math.pi / 2 * i / (_TABLE // 4))) for i in range(_TABLE // 4 + 1)]
    half = quarter + quarter[-2:0:-1]
    return np.array(half + [-value for value in half], np.float32)


def _tanh_table(amplitude: int) -> np.ndarray:
    """[4096] float32 integers: tanh over +-4."""
    centre = _TABLE // 2
    positive = [round(amplitude * math.tanh(_TANH_RANGE * i / centre)) for i in range(centre)]
    return np.array([-amplitude, *[-value for value in positive[:0:-1]], *positive], np.float32)


@kernel
def _activate(  # pragma: no cover - compiled
    sums: np.ndarray, multiplier: int, offsets: np.ndarray, table: np.ndarray, wraps: bool
) -> None:
    """In place: [n, w] float32 sums -> activations."""
    last = len(table) - 1
    for row in range(sums.shape[0]):
        for column in range(sums.shape[1]):
            index = (np.int64(sums[row, column]) * multiplier + offsets[column]) >> 20
            if wraps:
                index &= last
            else:
                index = max(0, min(last, index))
            sums[row, column] = table[index]


@kernel
def _fourier(  # pragma: no cover - compiled
    local: np.ndarray, frequencies: np.ndarray, table: np.ndarray, out: np.ndarray
) -> None:
    count = len(frequencies)
    for row in range(len(local)):
        x, y, z = np.uint32(local[row, 0]), np.uint32(local[row, 1]), np.uint32(local[row, 2])
        for k in range(count):
            phase = np.uint32(x * frequencies[k, 0] + y * frequencies[k, 1] + z * frequencies[k, 2])
            index = np.uint32(phase + np.uint32(1 << 19)) >> np.uint32(20)
            out[row, k] = table[index]
            out[row, count + k] = table[(index + np.uint32(1024)) & np.uint32(4095)]


@kernel
def _corner_row(x: int, y: int, z: int, side: int, is_dense: bool, size: int) -> int:  # pragma: no cover - compiled
    if is_dense:
        return (x * side + y) * side + z
    return (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) & (size - 1)


@kernel
def _hash(  # pragma: no cover - compiled
    local: np.ndarray, steps: np.ndarray, resolutions: np.ndarray, dense: np.ndarray,
    size: int, table: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    features = table.shape[1]
    mask = (1 << POSITION_BITS) - 1
    for row in range(len(local)):
        for level in range(len(steps)):
            px, py, pz = local[row, 0] * steps[level], local[row, 1] * steps[level], local[row, 2] * steps[level]
            fx, fy, fz = (px & mask) >> 8, (py & mask) >> 8, (pz & mask) >> 8
            side = resolutions[level] + 2
            for feature in range(features):
                total = np.int64(0)
                for bits in range(8):
                    dx, dy, dz = bits >> 2 & 1, bits >> 1 & 1, bits & 1
                    x, y, z = (px >> POSITION_BITS) + dx, (py >> POSITION_BITS) + dy, (pz >> POSITION_BITS) + dz
                    entry = level * size + _corner_row(x, y, z, side, dense[level], size)
                    wx, wy, wz = (fx if dx else 256 - fx), (fy if dy else 256 - fy), (fz if dz else 256 - fz)
                    total += wx * wy * wz * table[entry, feature]
                out[row, level * features + feature] = np.float32((total + (1 << 23)) >> 24)
