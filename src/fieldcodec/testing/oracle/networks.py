"""Networks: their description, their stored numbers, and both ways to evaluate one expert."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.weights import decode_half, decode_weights

Point = Sequence[int]
Matrix = list[list[int]]

_MOST = {"experts": 1 << 16, "width": 4096, "depth": 16, "outputs": 16, "extent": 1 << 20, "fourier_size": 8192,
         "hash_levels": 32, "hash_log2_table": 24, "hash_features": 16, "hash_base": 1 << 12,
         "hash_finest": 1 << 16, "seed": (1 << 63) - 1}  # fmt: skip
_TABLE = 4096
_ONE = 1 << 20  # multipliers and offsets have 20 bits after the point


@final
@dataclass(frozen=True)
class Network:
    """A description with the tensors of all experts; `scales` [tensor][expert] is None with halves."""

    spec: dict[str, Any]
    tensors: list[np.ndarray]  # [experts, ...]: int64, or float64 with halves
    scales: list[list[float]] | None

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs)."""
        return layer_sizes(self.spec)

    def real(self, tensor: int, expert: int) -> np.ndarray:
        values = self.tensors[tensor][expert].astype(np.float64)
        return values if self.scales is None else values * self.scales[tensor][expert]

    def integer(self, tensor: int, expert: int) -> tuple[np.ndarray, float]:
        """Integers and their scale; halves are rounded to 9 bits, biases to 12."""
        values = self.tensors[tensor][expert]
        if self.scales is not None:
            return values, self.scales[tensor][expert]
        is_bias = tensor % 2 == 1 and tensor < 2 * len(self.layers)
        peak = float(np.abs(values).max())
        scale = float(np.float32(peak / ((1 << (11 if is_bias else 8)) - 1)))
        return np.rint(values / (scale if scale > 0 else 1.0)).astype(np.int64), scale


def check_spec(data: Any) -> dict[str, Any]:
    """The description of a network with its defaults filled in."""
    defaults: dict[str, Any] = {"activation": "sin", "frequency": 1.5, "feature_map": "fourier", "fourier_size": 0,
                "fourier_scale": 5.0, "hash_levels": 0, "hash_log2_table": 12, "hash_features": 2, "hash_base": 8,
                "hash_finest": 128, "seed": 0}  # fmt: skip
    spec: dict[str, Any] = defaults | data if isinstance(data, dict) else {}
    if set(spec) != set(_MOST) | set(defaults):
        raise FormatError("a network is not described completely")
    if any(type(spec[name]) is not int or not 0 <= spec[name] <= most for name, most in _MOST.items()):
        raise FormatError("a network's size is out of its limits")
    if min(spec[name] for name in ("experts", "extent", "outputs", "width", "hash_base")) < 1:
        raise FormatError("a network's size is 0")
    if spec["activation"] not in ("sin", "relu", "tanh") or spec["feature_map"] not in ("fourier", "hash"):
        raise FormatError("a network has an unknown activation or mapping")
    if not all(type(spec[x]) in (int, float) and 0 < spec[x] < 1e6 for x in ("frequency", "fourier_scale")):
        raise FormatError("a frequency is out of its limits")
    if num_features(spec) < 1:
        raise FormatError("a network has no features")
    if sum(math.prod(shape) for shape in shapes(spec)) > 1 << 27:
        raise FormatError("a network has too many parameters")
    return spec


def num_features(spec: dict[str, Any]) -> int:
    if spec["feature_map"] == "fourier":
        return int(2 * spec["fourier_size"])
    return int(spec["hash_levels"] * spec["hash_features"])


def layer_sizes(spec: dict[str, Any]) -> list[tuple[int, int]]:
    widths = [num_features(spec), *[spec["width"]] * spec["depth"], spec["outputs"]]
    return list(pairwise(widths))


def shapes(spec: dict[str, Any]) -> list[tuple[int, ...]]:
    """Of all tensors: weight and bias of each layer, then the hash table."""
    result: list[tuple[int, ...]] = []
    for inputs, outputs in layer_sizes(spec):
        result += [(spec["experts"], inputs, outputs), (spec["experts"], outputs)]
    if spec["feature_map"] == "hash":
        result.append((spec["experts"], spec["hash_levels"] << spec["hash_log2_table"], spec["hash_features"]))
    return result


def decode_network(data: bytes, spec: dict[str, Any], storage: Any) -> Network:
    """The tensors of a network's section."""
    sizes = [math.prod(shape) for shape in shapes(spec)]
    if storage == "half":
        halves = decode_half(data, sizes)
        return Network(spec, [a.astype(float).reshape(b) for a, b in zip(halves, shapes(spec), strict=True)], None)
    if storage != "quantised":
        raise FormatError(f"weights are stored in an unknown way: {storage!r}")
    count = 4 * len(sizes) * spec["experts"]
    if len(data) < count:
        raise FormatError("scales of weights are missing")
    scales = np.frombuffer(data[:count], "<f4").astype(float).reshape(len(sizes), -1).tolist()
    if not all(0 <= scale <= 1e6 for row in scales for scale in row):
        raise FormatError("a scale is out of its limits")
    return Network(spec, _tensors(data[count:], spec), scales)


def decode_differences(data: bytes, spec: dict[str, Any], earlier: Network, rows: Sequence[int | None]) -> Network:
    """A network that is stored as differences; `rows` says which of the earlier experts each one is, None if new."""
    if earlier.scales is None or spec | {"experts": earlier.spec["experts"]} != earlier.spec:
        raise FormatError("a network is stored as differences to one of another kind")
    kept = [row for row in rows if row is not None]
    added = [expert for expert, row in enumerate(rows) if row is None]
    reader = Reader(data)
    changes, stored = _tensors(reader.blob(), spec | {"experts": len(kept)}), reader.blob()
    reader.end()
    if bool(stored) != bool(added):
        raise FormatError("weights of new experts are there, but none is new, or the other way round")
    new = decode_network(stored, spec | {"experts": len(added)}, "quantised") if added else None
    tensors, scales = [], []
    for index, change in enumerate(changes):
        values = earlier.tensors[index][kept] + change
        if values.size and np.abs(values).max() > 2047:
            raise FormatError("a weight is out of its limits")
        of_experts, steps = list(values), [earlier.scales[index][row] for row in kept]
        for place, expert in enumerate(added):  # rising, so that each is inserted at its final place
            assert new is not None
            assert new.scales is not None
            of_experts.insert(expert, new.tensors[index][place])
            steps.insert(expert, new.scales[index][place])
        tensors.append(np.array(of_experts))
        scales.append(steps)
    return Network(spec, tensors, scales)


def _tensors(data: bytes, spec: dict[str, Any]) -> list[np.ndarray]:
    """Integers of all experts, as under the coder of weights."""
    integers = decode_weights(data, [math.prod(shape) for shape in shapes(spec)])
    return [np.array(a, np.int64).reshape(b) for a, b in zip(integers, shapes(spec), strict=True)]


# --- features ----------------------------------------------------------------------------------


@cache
def frequencies(size: int, scale: float, extent: int, seed: int) -> list[tuple[int, int, int]]:
    """Fourier frequencies in 2^-32 turns per unit, from SplitMix64."""
    bits, number = (1 << 64) - 1, 0

    def next_word() -> int:
        nonlocal number
        number += 1
        word = seed + number * 0x9E3779B97F4A7C15 & bits
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & bits
        word = (word ^ word >> 27) * 0x94D049BB133111EB & bits
        return word ^ word >> 31

    def one() -> int:
        total = 0
        for _ in range(3):
            word = next_word()
            total += sum(word >> shift & 0xFFFF for shift in (0, 16, 32, 48))
        return round((total - 6 * 65535) / 65536.0 * (scale * 2.0**32 / extent))

    return [(one(), one(), one()) for _ in range(size)]


@cache
def hash_levels(levels: int, base: int, finest: int, extent: int) -> list[tuple[int, int]]:
    """(cells, cells per unit in 2^-16) of each level."""
    growth = (finest / base) ** (1 / max(levels - 1, 1))
    cells = [int(base * growth**level + 1e-6) for level in range(levels)]
    return [(count, (count << 16) // extent) for count in cells]


def _spec_frequencies(spec: dict[str, Any]) -> list[tuple[int, int, int]]:
    return frequencies(spec["fourier_size"], spec["fourier_scale"], spec["extent"], spec["seed"])


def _corners(spec: dict[str, Any], level: int, point: Point) -> list[tuple[int, Point, Point]]:
    """Table row, offset and position in 2^-16 of a cell of the eight corners around a point."""
    cells, step = hash_levels(spec["hash_levels"], spec["hash_base"], spec["hash_finest"], spec["extent"])[level]
    size, side = 1 << spec["hash_log2_table"], cells + 2
    position = [coordinate * step for coordinate in point]
    result: list[tuple[int, Point, Point]] = []
    for offset in ((dx, dy, dz) for dx in (0, 1) for dy in (0, 1) for dz in (0, 1)):
        x, y, z = ((a >> 16) + d for a, d in zip(position, offset, strict=True))
        dense = side**3 <= size
        row = (x * side + y) * side + z if dense else (x ^ y * 2654435761 ^ z * 805459861) & size - 1
        result.append((level * size + row, offset, [a & 0xFFFF for a in position]))
    return result


# --- exact evaluation --------------------------------------------------------------------------


@final
class ExactExpert:
    """One expert in integers; its outputs are in 1 / unit."""

    def __init__(self, network: Network, expert: int, unit: int = 16) -> None:
        spec = network.spec
        self._spec, self._unit, count = spec, float(unit), len(network.layers)
        weights = [network.integer(2 * layer, expert) for layer in range(count)]
        biases = [network.integer(2 * layer + 1, expert) for layer in range(count)]
        amplitudes = [_amplitude(values.tolist()) for values, _ in weights]
        self._first = amplitudes[0]
        if spec["feature_map"] == "fourier":
            step_in = 1.0 / amplitudes[0]
        else:
            table, step_in = network.integer(2 * count, expert)
            self._table: Matrix = table.tolist()
        self._layers = []
        for layer in range(count):
            step = weights[layer][1] * step_in
            values, scale = biases[layer]
            bias = [value * scale for value in values.tolist()]
            following = amplitudes[layer + 1] if layer + 1 < count else None
            multiplier, offsets = self._constants(step, bias, following)
            self._layers.append((weights[layer][0].T.tolist(), multiplier, offsets, following))
            if following is not None:
                step_in = (8.0 if spec["activation"] == "relu" else 1.0) / following

    def _constants(self, step: float, bias: Sequence[float], following: int | None) -> tuple[int, list[int]]:
        shift = 0.0
        if following is None:
            scale = self._unit
        elif self._spec["activation"] == "sin":
            scale = self._spec["frequency"] * 4096 * 0.15915494309189535
        elif self._spec["activation"] == "tanh":
            scale, shift = 512.0, 2048.0
        else:
            scale = following / 8.0
        multiplier = round(step * scale * _ONE)
        offsets = [round((value * scale + shift + 0.5) * _ONE) for value in bias]
        if multiplier >= 1 << 31 or any(abs(offset) >= 1 << 61 for offset in offsets):
            raise FormatError("the weights of a network are too large for integers")
        return multiplier, offsets

    def logits(self, point: Point) -> list[int]:
        """Outputs, such as logits, at a point relative to the corner of the expert's domain."""
        values = self._fourier(point) if self._spec["feature_map"] == "fourier" else self._hash(point)
        for rows, multiplier, offsets, following in self._layers:
            sums = [sum([a * b for a, b in zip(row, values, strict=True)]) for row in rows]
            indices = [total * multiplier + offset >> 20 for total, offset in zip(sums, offsets, strict=True)]
            if following is None:
                return indices
            values = [self._activation(index, following) for index in indices]
        raise AssertionError("a network has a last layer")

    def _activation(self, index: int, amplitude: int) -> int:
        if self._spec["activation"] == "sin":
            return _sine(amplitude)[index % _TABLE]
        index = min(max(index, 0), _TABLE - 1)
        return _tanh(amplitude)[index] if self._spec["activation"] == "tanh" else min(index, amplitude)

    def _fourier(self, point: Point) -> list[int]:
        table = _sine(self._first)
        phases = [sum(a * b for a, b in zip(point, row, strict=True)) for row in _spec_frequencies(self._spec)]
        indices = [(phase + (1 << 19) >> 20) % _TABLE for phase in phases]
        return [table[index] for index in indices] + [table[(index + 1024) % _TABLE] for index in indices]

    def _hash(self, point: Point) -> list[int]:
        result = []
        for level in range(self._spec["hash_levels"]):
            totals = [0] * self._spec["hash_features"]
            for row, offset, position in _corners(self._spec, level, point):
                weight = math.prod((a >> 8) if d else 256 - (a >> 8) for a, d in zip(position, offset, strict=True))
                totals = [total + weight * entry for total, entry in zip(totals, self._table[row], strict=True)]
            result += [total + (1 << 23) >> 24 for total in totals]
        return result


def _amplitude(weight: Matrix) -> int:
    """Largest magnitude of a layer's inputs, from its weights [inputs][outputs]."""
    heaviest = max(sum(abs(value) for value in column) for column in zip(*weight, strict=True))
    return max(1, min(4095, ((1 << 24) - 1) // max(heaviest, 1)))


@cache
def _sine(amplitude: int) -> list[int]:
    quarter = [round(amplitude * math.sin(math.pi / 2 * i / 1024)) for i in range(1025)]
    half = quarter + quarter[1023:0:-1]
    return half + [-value for value in half]


@cache
def _tanh(amplitude: int) -> list[int]:
    positive = [round(amplitude * math.tanh(4.0 * i / 2048)) for i in range(2048)]
    return [-amplitude] + [-value for value in positive[:0:-1]] + positive


# --- real evaluation ---------------------------------------------------------------------------


def evaluate(network: Network, expert: int, points: np.ndarray) -> np.ndarray:
    """[n, 3] integer points relative to the corner of the expert's domain -> [n, outputs] float64."""
    spec = network.spec
    if spec["feature_map"] == "fourier":
        integers = np.array(_spec_frequencies(spec), np.int64)
        phases = (points @ integers.T % (1 << 32)) / 2.0**32 * (2 * math.pi)
        hidden = np.concatenate([np.sin(phases), np.cos(phases)], axis=1)
    else:
        table = network.real(2 * len(network.layers), expert)
        hidden = np.array([_interpolate(spec, table, point) for point in points.tolist()])
    for layer in range(len(network.layers)):
        hidden = hidden @ network.real(2 * layer, expert) + network.real(2 * layer + 1, expert)
        if layer + 1 < len(network.layers):
            hidden = _activate(spec, hidden)
    return hidden


def _activate(spec: dict[str, Any], z: np.ndarray) -> np.ndarray:
    if spec["activation"] == "sin":
        return np.sin(spec["frequency"] * z)
    return np.tanh(z) if spec["activation"] == "tanh" else np.maximum(z, 0)


def _interpolate(spec: dict[str, Any], table: np.ndarray, point: Point) -> np.ndarray:
    features = []
    for level in range(spec["hash_levels"]):
        total = np.zeros(spec["hash_features"])
        for row, offset, position in _corners(spec, level, point):
            fractions = [a / 65536 for a in position]
            total += math.prod(a if d else 1 - a for a, d in zip(fractions, offset, strict=True)) * table[row]
        features.append(total)
    return np.concatenate(features)
