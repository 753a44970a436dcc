"""A file of objects: networks in integers, octrees, and the fields they make."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import Any, final

import numpy as np
import xxhash

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import decode_integers
from fieldcodec.testing.oracle.container import WHOLE_FILE, meta_json, read_sections
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.volume import META, read_json
from fieldcodec.testing.oracle.weights import decode_weights

NETWORKS, LATENTS, CORRECTIONS, DETAILS = 25, 26, 27, 29
UNIT, LIMIT = 1 << 20, 1 << 27
SINE = 1 << 22
TURNS = 4.7746482927568605
_SIZES = {"latent": 4096, "lods": 9, "base_width": 1 << 14, "base_layers": 8, "width": 4096, "layers": 8}
_KEYS = {"name", "centre", "scale", "cells", "tree", "source_bytes"}
_KINDS = {
    "none": ["distance"],
    "rgb": ["coloured", "distance"],
    "radiance": ["radiance"],
    "none+radiance": ["distance", "radiance"],
    "rgb+radiance": ["coloured", "distance", "radiance"],
}
_NOT_IN_NAMES = {*'/\\:*?"<>|', *map(chr, range(32))}

Vector = list[int]


@final
@dataclass(frozen=True)
class Layer:
    """Integers and steps; weight [outputs][inputs]."""

    weight: list[Vector]
    step: float
    bias: Vector
    bias_step: float

    def sums(self, inputs: Vector) -> Vector:
        return [sum(w * x for w, x in zip(row, inputs, strict=True)) for row in self.weight]

    def real(self, inputs: np.ndarray) -> np.ndarray:
        """[n, inputs] -> [n, outputs] float64."""
        return inputs @ (np.array(self.weight) * self.step).T + np.array(self.bias) * self.bias_step


@final
@dataclass(frozen=True)
class Object:
    """`masks[m]`: of each cell of level m the eight bits of its children; `latents[m]` those of level m + 1."""

    name: str
    centre: tuple[float, float, float]
    scale: float
    masks: list[list[list[int]]]
    latents: list[list[Vector]]
    kind: str

    def cells(self) -> list[list[tuple[int, int, int]]]:
        """Of each level from 1 on the coordinates of its cells."""
        levels = [[(0, 0, 0)]]
        for masks in self.masks:
            levels.append(
                [
                    (2 * x + (i >> 2), 2 * y + (i >> 1 & 1), 2 * z + (i & 1))
                    for (x, y, z), mask in zip(levels[-1], masks, strict=True)
                    for i in range(8)
                    if mask[i]
                ]
            )
        return levels[1:]


@final
@dataclass(frozen=True)
class Collection:
    """All objects of a file, and the networks by name."""

    spec: dict[str, Any]
    networks: dict[str, list[Layer]]
    objects: list[Object]

    def values(self, number: int, points: np.ndarray, directions: np.ndarray | None = None) -> np.ndarray:
        """[n, 1 or 4] float64: distance (or opacity, 0 or more) and colour of an object at [n, 3] points of the cube.

        Args:
            directions: [n, 3] of radiance; zeros unless given.
        """
        each, spec = self.objects[number], self.spec
        parts = []
        for level, (cells, latents) in enumerate(zip(each.cells(), each.latents, strict=True), 1):
            places = {cell: row for row, cell in enumerate(cells)}
            parts.append(np.array([_mixed(point, level, places, latents, spec["latent"]) for point in points]))
        fused = np.concatenate(parts, axis=1) if spec["fusion"] == "cat" else np.sum(parts, axis=0)
        is_radiance = each.kind == "radiance"
        own = is_radiance and "rho" in self.networks
        scalar = _real(self.networks["rho" if own else "psi"], fused)
        if each.kind == "distance":
            return scalar
        if is_radiance:
            scalar = np.maximum(scalar, 0)
            fused = np.concatenate([fused, np.zeros((len(fused), 3)) if directions is None else directions], axis=1)
        return np.concatenate([scalar, 1 / (1 + np.exp(-_real(self.networks["chi" if own else "xi"], fused)))], axis=1)

    def densities(self, number: int, points: np.ndarray) -> np.ndarray:
        """[n] float64: densities of a radiance field, for each unit of length in the cube."""
        opacity = np.minimum(self.values(number, points)[:, 0], 1 - 2.0**-10)
        return -np.log(1 - opacity) * 2.0 ** (self.spec["lods"] - 1)


def decode_collection(data: bytes) -> Collection:
    """All objects of a `.fcodec` file.

    Raises:
        FormatError: the file is not what docs/format.md says.
    """
    sections = read_sections(data)
    meta = read_json(meta_json(sections.get((WHOLE_FILE, META), b"")))
    if not isinstance(meta, dict) or meta.get("kind") != "collection":
        raise FormatError("the file holds no collection")
    stored = {id: content for (grid, id), content in sections.items() if grid == WHOLE_FILE}
    try:
        spec, items = _check_spec(meta["network"]), meta["items"]
        _check_items(items, spec)
        networks = _read_networks(stored.get(NETWORKS, b""), spec)
        roots = _read_latents(stored.get(LATENTS, b""), len(items), spec["latent"])
        reader = Reader(stored.get(CORRECTIONS, b""))
        streams = reader.streams(len(items)) if stored.get(CORRECTIONS) else [b""] * len(items)
        reader.end()
        details = _read_details(stored.get(DETAILS, b""), items, spec["latent"])
        objects = [
            _unfold(networks, item, root, _read_flips(stream, item["cells"]), _kind(item, spec), added)
            for item, root, stream, added in zip(items, roots, streams, details, strict=True)
        ]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise FormatError(f"a collection is not understood: {error!r}") from error
    return Collection(spec, networks, objects)


def _check_spec(spec: Any) -> dict[str, Any]:
    if set(spec) != {*_SIZES, "fusion", "colour"}:
        raise FormatError("the networks are not described completely")
    if any(type(spec[name]) is not int or not 1 <= spec[name] <= most for name, most in _SIZES.items()):
        raise FormatError("a size of the networks is out of its limits")
    if spec["fusion"] not in ("cat", "sum") or spec["colour"] not in _KINDS:
        raise FormatError("the networks have an unknown fusion or colour")
    if sum((i + 1) * o for layers in _chains(spec).values() for i, o in layers) > 1 << 28:
        raise FormatError("the networks have too many parameters")
    return dict(spec)


def _chains(spec: dict[str, Any]) -> dict[str, list[tuple[int, int]]]:
    """(inputs, outputs) of the layers of each network."""
    size, hidden = spec["latent"], [spec["width"]] * spec["layers"]
    fused = size * spec["lods"] if spec["fusion"] == "cat" else size
    chains = {
        "phi": [size, *[spec["base_width"]] * spec["base_layers"], 8 * size],
        "omega": [size, *hidden, 2],
        "psi": [fused, *hidden, 1],
    }
    if spec["colour"] in ("rgb", "radiance", "rgb+radiance"):
        chains["xi"] = [fused + 3 * (spec["colour"] == "radiance"), *hidden, 3]
    if spec["colour"].endswith("+radiance"):
        chains["rho"], chains["chi"] = [fused, *hidden, 1], [fused + 3, *hidden, 3]
    return {name: list(pairwise(chain)) for name, chain in chains.items()}


def _check_items(items: Any, spec: dict[str, Any]) -> None:
    if type(items) is not list or len(items) > 1 << 16 or len({item["name"] for item in items}) < len(items):
        raise FormatError("the objects are no list, too many, or two have one name")
    most = min(1 << 24, (1 << 29) // spec["latent"])
    for item in items:
        name, numbers = item["name"], [*item["centre"], item["scale"]]
        if not set(item) >= _KEYS or type(name) is not str or not 1 <= len(name.encode()) <= 255:
            raise FormatError("an object is not described completely")
        if name in (".", "..") or set(name) & _NOT_IN_NAMES:
            raise FormatError("no file can be named after an object")
        if len(numbers) != 4 or any(type(x) not in (int, float) or abs(x) > 1e30 for x in numbers) or numbers[3] <= 0:
            raise FormatError("an object has no place")
        if type(item["source_bytes"]) is not int or not 0 <= item["source_bytes"] <= 1 << 62:
            raise FormatError("an object comes from no number of bytes")
        if len(item["tree"]) != 16 or set(item["tree"]) - set("0123456789abcdef"):
            raise FormatError("the hash of an octree is none")
        if _kind(item, spec) not in _KINDS[spec["colour"]]:
            raise FormatError("an object is of a kind that there are no networks for")
        counts = [1, *item["cells"]]
        if len(counts) != spec["lods"] + 1 or any(type(count) is not int for count in counts):
            raise FormatError("an object has other levels")
        if any(not 0 <= below <= min(8 * above, most) for above, below in pairwise(counts)):
            raise FormatError("an object has more cells than there can be")


def _kind(item: dict[str, Any], spec: dict[str, Any]) -> Any:
    return item.get("kind", _KINDS[spec["colour"]][0])


def _read_networks(data: bytes, spec: dict[str, Any]) -> dict[str, list[Layer]]:
    chains = _chains(spec)
    sizes = [size for layers in chains.values() for i, o in layers for size in (i * o, o)]
    steps = list(struct.unpack(f"<{len(sizes)}f", Reader(data).take(4 * len(sizes))))
    if not all(2.0**-60 <= step <= 2.0**10 for step in steps):
        raise FormatError("a step is out of its limits")
    _check_amount(sum(sizes), data)
    tensors = decode_weights(data[4 * len(sizes) :], sizes)
    networks: dict[str, list[Layer]] = {}
    place = 0
    for name, layers in chains.items():
        networks[name] = []
        for inputs, outputs in layers:
            flat, bias = tensors[place : place + 2]
            weight = [flat[inputs * row : inputs * (row + 1)] for row in range(outputs)]
            networks[name].append(Layer(weight, steps[place], bias, steps[place + 1]))
            place += 2
    return networks


def _read_latents(data: bytes, objects: int, size: int) -> list[Vector]:
    """Of all objects, in units of 2^-20."""
    reader = Reader(data)
    step, coded = reader.varint(), reader.blob()
    reader.end()
    if not 1 <= step <= 1 << 24 or objects * size > 1 << 26:
        raise FormatError("the latents are out of their limits")
    _check_amount(objects * size, data)
    numbers = decode_integers(coded, objects * size)
    if any(abs(number) > 2047 or abs(number) * step > LIMIT for number in numbers):
        raise FormatError("a number of a latent is out of its limits")
    return [[step * number for number in numbers[size * row : size * (row + 1)]] for row in range(objects)]


def _read_details(data: bytes, items: list[Any], size: int) -> list[list[Vector]]:
    """Of each object what is added to the latents of the cells of its `detail_level`; nothing where that is 0."""
    reader = Reader(data)
    streams = reader.streams(len(items)) if data else [b""] * len(items)
    reader.end()
    found: list[list[Vector]] = []
    for item, stream in zip(items, streams, strict=True):
        level = item.get("detail_level", 0)
        if type(level) is not int or not 0 <= level <= len(item["cells"]) or bool(level) != bool(stream):
            raise FormatError("an object has details of no level, or none")
        found.append(_read_latents(stream, item["cells"][level - 1], size) if level else [])
    return found


def _read_flips(stream: bytes, cells: Sequence[int]) -> list[set[int]]:
    """Of each level from 1 on, the children of which the networks say what is wrong."""
    if not stream:
        return [set() for _ in cells]
    reader = Reader(stream)
    counts = [reader.varint() for _ in cells]
    children = [8 * above for above in (1, *cells[:-1])]
    coded = reader.blob()
    reader.end()
    if sum(counts) > 1 << 24 or any(count > most for count, most in zip(counts, children, strict=True)):
        raise FormatError("there are more corrections than children")
    _check_amount(sum(counts), stream)
    gaps, flips = iter(decode_integers(coded, sum(counts))), []
    for count, most in zip(counts, children, strict=True):
        places, last = set(), -1
        for _ in range(count):
            gap = next(gaps)
            last += 1 + gap
            if gap < 0 or last >= most:
                raise FormatError("a correction is of no child")
            places.add(last)
        flips.append(places)
    return flips


def _check_amount(numbers: int, data: bytes) -> None:
    if numbers > (1 << 20) + 256 * len(data):
        raise FormatError("there are more numbers than such a number of bytes may hold")


def _unfold(
    networks: dict[str, list[Layer]], item: dict[str, Any], root: Vector, flips: list[set[int]], kind: str,
    details: list[Vector],
) -> Object:  # fmt: skip
    cells, masks, latents = [root], [], []
    for level, (wrong, most) in enumerate(zip(flips, item["cells"], strict=True), 1):
        bits, below = [], []
        for number, child in enumerate(child for cell in cells for child in _children(networks["phi"], cell)):
            bits.append(int(_is_occupied(networks["omega"], child)) ^ (number in wrong))
            if bits[-1]:
                below.append(child)
                if len(below) > most:
                    raise FormatError("an object has more cells than the file says")
        if len(below) != most:
            raise FormatError("an object has fewer cells than the file says")
        if details and level == item["detail_level"]:
            pairs = zip(below, details, strict=True)
            below = [[min(max(x + y, -LIMIT), LIMIT) for x, y in zip(*each, strict=True)] for each in pairs]
        masks.append([bits[i : i + 8] for i in range(0, len(bits), 8)])
        latents.append(below)
        cells = below
    found = bytes(sum(bit << i for i, bit in enumerate(mask)) for level in masks for mask in level)
    if f"{xxhash.xxh3_64_intdigest(found):016x}" != item["tree"]:
        raise FormatError("an object has another octree than the file says")
    x, y, z = item["centre"]
    return Object(item["name"], (x, y, z), item["scale"], masks, latents, kind)


def _children(phi: list[Layer], cell: Vector) -> list[Vector]:
    """The latents of the eight children of a cell."""
    last, hidden = phi[-1], _hidden(phi, cell)
    heaviest = max(sum(map(abs, row)) for row in last.weight)
    cut = max((heaviest * SINE).bit_length() - 32, 0)
    scale = last.step * 2.0**cut / 4
    shift = min(30 - math.frexp(scale)[1], 62)
    factor = round(scale * 2.0**shift)
    out = []
    for total, bias in zip(last.sums(hidden), last.bias, strict=True):
        value = _rounded(_rounded(total, cut) * factor, shift) + round(bias * last.bias_step * UNIT)
        out.append(min(max(value, -LIMIT), LIMIT))
    size = len(out) // 8
    return [out[size * child : size * (child + 1)] for child in range(8)]


def _is_occupied(omega: list[Layer], child: Vector) -> bool:
    last = omega[-1]
    empty, occupied = last.sums(_hidden(omega, child))
    threshold = (last.bias[0] * last.bias_step - last.bias[1] * last.bias_step) * SINE / last.step
    return occupied - empty > math.floor(min(max(threshold, -(2.0**60)), 2.0**60))


def _hidden(layers: list[Layer], inputs: Vector) -> Vector:
    """What reaches the last layer."""
    unit = UNIT
    for layer in layers[:-1]:
        factor = round(layer.step / unit * TURNS * 2.0**64)
        offsets = [round(bias * layer.bias_step * TURNS * 2.0**64) for bias in layer.bias]
        inputs = [_sine(total * factor + offset) for total, offset in zip(layer.sums(inputs), offsets, strict=True)]
        unit = SINE
    return inputs


def _sine(phase: int) -> int:
    phase %= 1 << 64
    index, place = phase >> 52, (phase >> 32) % (1 << 20)
    low, high = _table()[index : index + 2]
    return low + ((high - low) * place + (1 << 19) >> 20)


@cache
def _table() -> list[int]:
    rising = [round(SINE * math.sin(2 * math.pi * i / 4096)) for i in range(1025)]
    half = rising + [rising[2048 - i] for i in range(1025, 2048)]
    return [*half, *(-value for value in half), 0]


def _rounded(value: int, shift: int) -> int:
    return value if shift == 0 else value + (1 << shift - 1) >> shift


def _mixed(
    point: np.ndarray, level: int, places: dict[tuple[int, int, int], int], latents: list[Vector], size: int
) -> np.ndarray:
    """[D] float64: what the cells of a level give a point."""
    low, total = [], np.zeros(size)
    for x in point:
        low.append(math.floor((float(x) + 1) * 2 ** (level - 1) - 0.5))
    for corner in product((0, 1), repeat=3):
        cell = (low[0] + corner[0], low[1] + corner[1], low[2] + corner[2])
        if cell in places:
            weight = 1.0
            for x, first, side in zip(point, low, corner, strict=True):
                part = (float(x) + 1) * 2 ** (level - 1) - 0.5 - first
                weight *= part if side else 1 - part
            total += weight * np.array(latents[places[cell]]) / UNIT
    return total


def _real(layers: list[Layer], x: np.ndarray) -> np.ndarray:
    for layer in layers[:-1]:
        x = np.sin(30 * layer.real(x))
    return layers[-1].real(x)
