"""Active masks of leaves."""

from collections.abc import Sequence
from itertools import product

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import AdaptiveBits, BitDecoder, MixedBits, squash
from fieldcodec.testing.oracle.reader import Reader

Origin = tuple[int, int, int]
Bits = list[int]  # of the slots of a node
Box = list[list[list[int]]]  # [24][24][24]: voxel (x, y, z) of the leaf being coded is [x + 8][y + 8][z + 8]

MISSING, LATER, KNOWN = range(3)
MIXED, FULL, EMPTY = range(3)


def decode_leaf_masks(data: bytes, origins: Sequence[Origin], hints: Sequence[Sequence[int]] | None) -> list[Bits]:
    """The 512 active bits of each leaf; `hints` are 0..31 for each voxel of each leaf."""
    reader = Reader(data)
    hinted = bool(reader.byte() & 1)
    if reader.varint() != len(origins) or (hinted and hints is None):
        raise FormatError("the active masks belong to another tree")
    groups = leaf_groups(origins, max(1, reader.varint()))
    streams = reader.streams(len(groups))
    reader.end()
    cells = [(x >> 3, y >> 3, z >> 3) for x, y, z in origins]
    masks: list[Bits] = [[] for _ in origins]
    for stream, group in zip(streams, groups, strict=True):
        _Group(stream, cells, masks, group, hints if hinted else None).decode()
    return masks


def leaf_groups(origins: Sequence[Origin], least: int) -> list[range]:
    """Ranges of leaves that share nothing with others."""
    groups, first = [], 0
    for leaf in range(1, len(origins) + 1):
        ends_node = leaf == len(origins) or [a >> 7 for a in origins[leaf]] != [a >> 7 for a in origins[leaf - 1]]
        if ends_node and leaf - first >= least:
            groups.append(range(first, leaf))
            first = leaf
    return groups if first == len(origins) else [*groups, range(first, len(origins))]


class _Group:
    """Leaves that share the state of their models."""

    def __init__(
        self,
        stream: bytes,
        cells: Sequence[Origin],
        masks: list[Bits],
        group: range,
        hints: Sequence[Sequence[int]] | None,
    ) -> None:
        contexts = 6 if hints is None else 8
        self.coder = BitDecoder(stream)
        self.kinds = AdaptiveBits(self.coder)
        self.voxels = MixedBits(self.coder, contexts, 65536 * 18 // (10 * contexts), 160)
        self.cells, self.masks, self.group, self.hints = cells, masks, group, hints
        self.rows = {cell: row for row, cell in enumerate(cells)}

    def decode(self) -> None:
        for leaf in self.group:
            self.masks[leaf] = self._leaf(leaf)
        self.coder.end()

    def _leaf(self, leaf: int) -> Bits:
        x, y, z = self.cells[leaf]
        around = {
            (dx, dy, dz): self.rows.get((x + dx, y + dy, z + dz), -1) for dx, dy, dz in product((-1, 0, 1), repeat=3)
        }
        state = {
            step: MISSING if row < 0 else KNOWN if self.group.start <= row < leaf else LATER
            for step, row in around.items()
        }
        kind = self._kind(leaf, around, state)
        if kind != MIXED:
            return [int(kind == FULL)] * 512
        known = _known_voxels(self.masks, around, state)
        guess = None if self.hints is None else _guessed_voxels(self.hints, around)
        openings = sum((state[step] == MISSING) << i for i, step in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))))
        own = None if self.hints is None else self.hints[leaf]
        for i, j in product(range(8), repeat=2):
            for k in range(8):
                known[i + 8][j + 8][k + 8] = self._voxel((i, j, k), known, guess, own, openings)
            if state[0, 0, 1] == LATER:
                known[i + 8][j + 8][16:] = [known[i + 8][j + 8][15]] * 8
            if state[0, 1, 0] == LATER and j == 7:
                known[i + 8][16] = known[i + 8][17] = known[i + 8][15]
        return [known[i + 8][j + 8][k + 8] for i, j, k in product(range(8), repeat=3)]

    def _kind(self, leaf: int, around: dict[Origin, int], state: dict[Origin, int]) -> int:
        """Mixed, full or empty."""
        said = MIXED if self.hints is None else _kind_of([int(hint >= 16) for hint in self.hints[leaf]])
        before = [
            _kind_of(self.masks[around[step]]) if state[step] == KNOWN else 3
            for step in ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
        ]
        after = [state[step] == MISSING for step in ((0, 0, 1), (0, 1, 0), (1, 0, 0))]
        context = (said, *before, *after)
        if self.kinds.bit(("mixed", context)):
            return MIXED
        return FULL if self.kinds.bit(("full", context)) else EMPTY

    def _voxel(self, voxel: Origin, known: Box, guess: Box | None, hints: Sequence[int] | None, openings: int) -> int:
        contexts, select = _plain_contexts(voxel, known, openings)
        starts = [32768] * 6
        if guess is not None and hints is not None:
            i, j, k = voxel
            hint = hints[i * 64 + j * 8 + k]
            contexts = contexts[:3] + _hinted_contexts(voxel, known, guess, hints, select & 7)
            select += 64 * (hint >= 16)
            starts = [32768] * 3 + [squash((2 * hint - 31) * 64)] * 4 + [squash((4 * (hint >> 1) - 31) * 64)]
        return self.voxels.bit(contexts, select, starts)


def _kind_of(mask: Sequence[int]) -> int:
    return FULL if all(mask) else MIXED if any(mask) else EMPTY


def _known_voxels(masks: list[Bits], around: dict[Origin, int], state: dict[Origin, int]) -> Box:
    """What is known of the 3 x 3 x 3 leaves; copies where a leaf comes later."""
    box = [[[0] * 24 for _ in range(24)] for _ in range(24)]
    for (dx, dy, dz), row in around.items():  # dz from -1 to 1
        for i, j in product(range(8), repeat=2):
            line = box[8 * dx + 8 + i][8 * dy + 8 + j]
            if state[dx, dy, dz] == KNOWN:
                line[8 * dz + 8 : 8 * dz + 16] = masks[row][64 * i + 8 * j :][:8]
            elif state[dx, dy, dz] == LATER and dz == 1:
                line[16:] = [line[15]] * 8
    for x in range(16):
        if state[-1 if x < 8 else 0, 1, 0] == LATER:
            box[x][16], box[x][17] = list(box[x][15]), list(box[x][15])
    return box


def _guessed_voxels(hints: Sequence[Sequence[int]], around: dict[Origin, int]) -> Box:
    box = [[[0] * 24 for _ in range(24)] for _ in range(24)]
    for (dx, dy, dz), row in around.items():
        if row >= 0:
            for i, j, k in product(range(8), repeat=3):
                box[8 * dx + 8 + i][8 * dy + 8 + j][8 * dz + 8 + k] = int(hints[row][64 * i + 8 * j + k] >= 16)
    return box


def _number(bits: Sequence[int]) -> int:
    """Bits, lowest first."""
    return sum(bit << i for i, bit in enumerate(bits))


def _run(bits: Sequence[int]) -> int:
    """Of the seven voxels before along an axis, nearest first: the state of the nearest, the length of its run."""
    length = 1
    while length < 7 and bits[length] == bits[0]:
        length += 1
    return bits[0] << 3 | length


def _plain_contexts(voxel: Origin, known: Box, openings: int) -> tuple[list[int], int]:
    """Contexts 0..5 and the set of weights."""
    i, j, k = voxel
    x, y, z = i + 8, j + 8, k + 8

    def five(dx: int, dy: int) -> list[int]:
        return known[x + dx][y + dy][z - 2 : z + 3]

    def three(dx: int, dy: int) -> int:
        return _number(known[x + dx][y + dy][z - 1 : z + 2])

    here = _number(known[x][y][z - 2 : z])
    left, down, up = five(-1, 0), five(-1, -1), five(-1, 1)
    below = five(0, -1)
    plane = sum(map(sum, (down, left, up, five(-1, -2), five(-1, 2))))
    deep = sum(map(sum, (five(-2, 0), five(-2, -1), five(-2, 1))))
    row = min(sum(below) + sum(five(0, -2)), 7)
    run_x = _run([known[x - n][y][z] for n in range(1, 8)])
    run_y = _run([known[x][y - n][z] for n in range(1, 8)])
    runs = run_x | run_y << 4 | _run(known[x][y][z - 1 : z - 8 : -1]) << 8
    faces = left[2] | below[2] << 1 | known[x][y][z - 1] << 2
    contexts = [
        three(-1, -1) | three(-1, 0) << 3 | three(-1, 1) << 6 | three(0, -1) << 9 | here << 12,
        plane | deep << 5 | here << 9 | row << 11 | left[2] << 14 | below[2] << 15,
        runs | down[2] << 12 | left[1] << 13 | below[1] << 14 | below[3] << 15,
        i << 6 | j << 3 | k | openings << 9 | faces << 12,
        runs | up[2] << 12 | left[3] << 13 | down[1] << 14 | up[3] << 15,
        three(-2, 0) | three(0, -2) << 3 | here << 6 | three(-1, 0) << 8 | three(0, -1) << 11 | up[2] << 14
        | down[2] << 15,
    ]  # fmt: skip
    return contexts, faces | (i == 0) << 3 | (j == 0) << 4 | (k == 0) << 5


def _hinted_contexts(voxel: Origin, known: Box, guess: Box, hints: Sequence[int], faces: int) -> list[int]:
    """The five contexts of a hint."""
    i, j, k = voxel
    x, y, z = i + 8, j + 8, k + 8
    hint = hints[i * 64 + j * 8 + k]

    def wrong(dx: int, dy: int, first: int, last: int) -> list[int]:
        """Where hints were wrong, from z + first to z + last."""
        part = slice(z + first, z + last + 1)
        return [a ^ b for a, b in zip(guess[x + dx][y + dy][part], known[x + dx][y + dy][part], strict=True)]

    here, left, below = wrong(0, 0, -2, -1), wrong(-1, 0, -2, 2), wrong(0, -1, -2, 2)
    ahead = guess[x + 1][y][z] | guess[x][y + 1][z] << 1 | guess[x][y][z + 1] << 2
    mistakes = left[2] | below[2] << 1 | here[1] << 2
    guessed = sum(sum(guess[x + dx][y + dy][z - 1 : z + 2]) for dx, dy in ((0, 0), (1, 0), (0, 1)))
    before = sum(known[x][y][z - 2 : z])
    before += sum(sum(known[x + dx][y + dy][z - 1 : z + 2]) for dx, dy in ((-1, 0), (0, -1), (-1, -1), (-1, 1)))
    false_on = false_off = 0
    for dx, dy, last in ((0, 0, 0), (-1, 0, 3), (0, -1, 3), (-1, -1, 3), (-1, 1, 3)):
        for at in range(z - 2, z + last):
            false_on += guess[x + dx][y + dy][at] > known[x + dx][y + dy][at]
            false_off += guess[x + dx][y + dy][at] < known[x + dx][y + dy][at]
    around = 0
    for axis, sign in product(range(3), (-1, 1)):
        other = [i, j, k]
        other[axis] += sign
        a, b, c = other if 0 <= other[axis] < 8 else (i, j, k)
        around = around << 2 | hints[a * 64 + b * 8 + c] >> 3
    return [
        hint | faces << 5 | ahead << 8 | mistakes << 11,
        hint | _number(left[1:4]) << 5 | _number(below[1:4]) << 8 | _number(here) << 11
        | wrong(-1, -1, 0, 0)[0] << 13 | wrong(-1, 1, 0, 0)[0] << 14,
        hint | guessed << 5 | before << 9,
        hint | min(false_on, 7) << 5 | min(false_off, 7) << 8 | faces << 11 | guess[x][y][z + 1] << 14,
        hint >> 1 | around << 4,
    ]  # fmt: skip
