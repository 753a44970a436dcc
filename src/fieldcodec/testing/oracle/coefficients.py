"""Coefficients of a lattice."""

from collections.abc import Sequence
from typing import final

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import AdaptiveBits, BitDecoder, counted, decode_magnitude, logistic, squash
from fieldcodec.testing.oracle.learners import BLEND, FAST, LOCAL, PLANE, POOLED, SLOW, Learners, Node, class_of, clip
from fieldcodec.testing.oracle.plane import ADJACENT, NEAR, STEPS, Cell, fit_plane
from fieldcodec.testing.oracle.reader import Reader

GROUP_NODES = 32768
_MEANS = [BLEND, BLEND, LOCAL, SLOW, FAST, POOLED, PLANE]
_LONGEST = 21  # the last step of a cell


def decode_coefficients(data: bytes, blocks: Sequence[Sequence[Cell]]) -> dict[Cell, int]:
    """The coefficient of every node; `blocks` are the nodes' coordinates, block by block."""
    reader = Reader(data)
    flags, count = reader.byte(), reader.varint()
    if flags not in (0, 2) or count != sum(map(len, blocks)):
        raise FormatError("the coefficients belong to other nodes")
    groups: list[list[Cell]] = []
    for block in blocks:
        if not groups or len(groups[-1]) >= GROUP_NODES:
            groups.append([])
        groups[-1] += block
    streams = reader.streams(len(groups))
    reader.end()
    result: dict[Cell, int] = {}
    for stream, cells in zip(streams, groups, strict=True):
        result |= _Group(stream, sorted(cells), flags == 2).decode()
    return result


@final
class _Group:
    """Nodes that share all state."""

    def __init__(self, stream: bytes, cells: list[Cell], rough: bool) -> None:
        self._coder = BitDecoder(stream)
        self._models = AdaptiveBits(self._coder)
        self._cells, self._all, self._rough = cells, set(cells), rough
        self._nodes: dict[Cell, Node] = {}
        self._learners = Learners()
        self._mixer = _Mixer(self._coder)
        self._surprise = 0

    def decode(self) -> dict[Cell, int]:
        for cell in self._cells:
            self._nodes[cell] = self._node(cell)
        self._coder.end()
        return {cell: node.value for cell, node in self._nodes.items()}

    def _node(self, cell: Cell) -> Node:
        neighbours = [self._nodes.get(_at(cell, step)) for step in STEPS]
        existing = [node for node in neighbours if node is not None]
        later = sum(_at(cell, (-x, -y, -z)) in self._all for x, y, z in STEPS[:ADJACENT])
        after = min(later, 12) >> 2
        if existing and not any(node.value for node in existing):
            silent = self._models.bit(("silence", after, min(self._surprise >> 6, 3), len(existing) == 16))
            self._surprise += (0 if silent else 64) - (self._surprise >> 5)
            if silent:
                return Node(0)
        plane, left = fit_plane([None if node is None else node.value for node in neighbours], self._rough)
        predicted = self._learners.predict(neighbours, plane, left)
        seen = _Surroundings(neighbours, left, predicted, after)
        value = self._mixer.value(predicted, seen, self._models)
        node = self._learners.learn(neighbours, value, left, predicted)
        node.mood = seen.mood * 7 + (node.errors[BLEND] << 3) >> 3
        return node


def _at(cell: Cell, step: Cell) -> Cell:
    return cell[0] + step[0], cell[1] + step[1], cell[2] + step[2]


def _level(x: int, unit: int) -> int:
    level = 0
    while level < 14 and x >= 2 * unit:
        unit, level = 2 * unit, level + 2
    return level + (2 * x >= 3 * unit)


@final
class _Surroundings:
    """Contexts of a node: of the spreads of the distributions, and of counters."""

    def __init__(self, neighbours: Sequence[Node | None], left: list[int], predicted: list[int], after: int) -> None:
        existing = [node for node in neighbours if node is not None]
        near = [(weight, node) for weight, node in zip(NEAR, neighbours, strict=False) if node is not None]
        mass = sum(weight for weight, _ in near)
        total = sum(weight * node.value for weight, node in near)
        self.cls = cls = class_of(len(existing))
        self.mood, e = 1024, 15
        if mass:
            self.mood = sum(weight * node.mood for weight, node in near) // mass
            e = _level(sum(weight * node.errors[BLEND] for weight, node in near) // mass, 16)
        adjacent = sum(node is not None for node in neighbours[:ADJACENT])
        t = _level(sum(map(abs, left[:ADJACENT])) // max(adjacent, 1), 8)
        d = _level(max(predicted[1:]) - min(predicted[1:]), 8)
        m = _level(self.mood >> 3, 16)
        nonzero = min(sum(node.value != 0 for node in existing), 15)
        centre = predicted[BLEND] + 32
        self.whole, part = centre >> 6, centre >> 3 & 7
        nearest = tuple(None if node is None else clip(node.value, 2) for node in neighbours[:3])
        self.spreads: list[object] = [(e, cls), (t, after, min(d >> 2, 3)), (m, t), (e, cls), (d, cls), (m, e), t]
        self.counters: list[object] = [
            (cls, e), (after, e), nearest, (min(max(self.whole, -8), 7), part, min(t >> 2, 3)), (d, part),
            (min(max(total + 1 >> 1, -8), 7), nonzero, after),
        ]  # fmt: skip


@final
class _Mixer:
    """Distributions, counters and the weights that mix them."""

    def __init__(self, coder: BitDecoder) -> None:
        self._coder = coder
        self._stretch, _ = logistic()
        self._spreads: dict[object, tuple[int, int]] = {}
        self._counters: dict[object, tuple[int, int]] = {}
        self._weights: dict[object, list[int]] = {}
        self._cells: list[tuple[int, int, int]] = []

    def value(self, predicted: Sequence[int], seen: _Surroundings, tail: AdaptiveBits) -> int:
        contexts = [(number, context) for number, context in enumerate(seen.spreads)]
        spreads = [self._spreads.get(context, (32768, 0)) for context in contexts]
        means = [predicted[which] for which in _MEANS]
        shift = 0
        while spreads[0][0] >> shift >= 98304:
            shift += 1
        first = seen.whole - (1 << shift >> 1)
        self._cells = []
        for (spread, _), mean in zip(spreads, means, strict=True):
            slope = (355 << 22) // spread
            width = max((64 << shift) * slope >> 14, 1)
            inside = squash(width)
            stop = 65536 - (65536 - inside << 16) // inside
            self._cells.append((((first << 6) - 32 - mean) * slope >> 14, width, stop))
        offset = self._cell(seen, tail)
        for _ in range(shift):
            offset = offset << 1 | self._coder.bit(32768)
        value = clip(first + offset, 32767)
        for context, (spread, count), mean in zip(contexts, spreads, means, strict=True):
            far = abs((value << 6) - mean) << 8
            self._spreads[context] = max(spread + (far - spread) // (count + 2), 768), min(count + 1, 64)
        return value

    def _cell(self, seen: _Surroundings, tail: AdaptiveBits) -> int:
        if self._bit(0, 0, seen):
            return 0
        negative = 1 - self._bit(1, 0, seen)
        for step in range(2, _LONGEST + 1):
            if self._bit(step, negative, seen):
                size = step - 1
                break
        else:
            size = 21 + decode_magnitude(self._coder, tail, "tail")
        return -size if negative else size

    def _bit(self, step: int, negative: int, seen: _Surroundings) -> int:
        column = step if step < 2 else min(2 * step - 2, 30) + negative
        keys = [(number, context, column) for number, context in enumerate(seen.counters)]
        counters = [self._counters.get(key, (1 << 21, 0)) for key in keys]
        inputs = [self._stretch[min(_opinion(step, negative, *cell), 65535) >> 4] for cell in self._cells]
        inputs += [self._stretch[value >> 10] for value, _ in counters]
        inputs.append(256)
        ours = self._weights.setdefault(("column", column), [9362] * 7 + [4096] * 6 + [0])
        others = self._weights.setdefault(("class", seen.cls, min(step, 3)), [0] * 14)
        p = squash(sum((a + b) * x for a, b, x in zip(ours, others, inputs, strict=True)) >> 16)
        bit = self._coder.bit(p)
        for i, x in enumerate(inputs):
            change = x * ((bit << 16) - p) * 3 + (1 << 17) >> 18
            ours[i] += change
            others[i] += change
        for key, counter in zip(keys, counters, strict=True):
            self._counters[key] = counted(counter, bit, 250)
        return bit


def _opinion(step: int, negative: int, low: int, width: int, stop: int) -> int:
    """Of a distribution, in 1/65536."""
    if step == 0:
        return (squash(low + width) * squash(-low) >> 16) * stop >> 16
    if step == 1:
        above, below = squash(-low - width), squash(low)
        return (above << 16) // (above + below)
    reach = (step - 1) * width
    return squash(reach - low if negative else low + width + reach) * stop >> 16
