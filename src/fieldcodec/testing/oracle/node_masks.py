"""Child and active masks of internal nodes."""

from collections.abc import Sequence
from itertools import product

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.bits import AdaptiveBits, BitDecoder, MixedBits, squash
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin
from fieldcodec.testing.oracle.reader import Reader

INACTIVE, ACTIVE, CHILD = range(3)


def decode_node_masks(
    data: bytes, log2: int, origins: Sequence[Origin], hints: Sequence[Sequence[int]] | None
) -> tuple[list[Bits], list[Bits]]:
    """Child and active bits of each node of (2^log2)^3 slots; `hints` are 0..23 for each slot."""
    reader = Reader(data)
    flags = reader.byte()
    if reader.varint() != len(origins) or (flags & 1 and hints is None) or flags > 3:
        raise FormatError("the masks of nodes belong to another tree")
    size = (1 << 20) >> 3 * log2
    groups = [range(first, min(first + size, len(origins))) for first in range(0, len(origins), size)]
    streams = reader.streams(len(groups))
    reader.end()
    shift = {4: 7, 5: 12}[log2]
    cells = [(x >> shift, y >> shift, z >> shift) for x, y, z in origins]
    children: list[Bits] = []
    actives: list[Bits] = []
    for stream, group in zip(streams, groups, strict=True):
        coder = BitDecoder(stream)
        states = _decode_states(coder, log2, cells, group, hints if flags & 1 else None)
        active = [[int(state == ACTIVE) for state in node] for node in states]
        if flags & 2:
            models, previous = AdaptiveBits(coder), 0
            for node, slot in product(range(len(group)), range(1 << 3 * log2)):
                if states[node][slot] == CHILD:
                    active[node][slot] = previous = models.bit(previous)
        coder.end()
        children += [[int(state == CHILD) for state in node] for node in states]
        actives += active
    return children, actives


def _decode_states(
    coder: BitDecoder, log2: int, cells: Sequence[Origin], group: range, hints: Sequence[Sequence[int]] | None
) -> list[list[int]]:
    """State of every slot of the nodes of a group."""
    side = 1 << log2
    count = 4 if hints is None else 7
    first_weight = 65536 * 18 // (10 * count)
    questions = [MixedBits(coder, count, first_weight, 255) for _ in range(2)]
    rows = {cell: row for row, cell in enumerate(cells)}
    states: list[list[int]] = []
    for node in group:
        box = _box(states, side, cells, group, node, rows)
        for i, j, k in product(range(side), repeat=3):
            contexts, select = _plain_contexts(box, side, i, j, k)
            hint = 0
            if hints is not None:
                hint = hints[node][(i * side + j) * side + k]
                contexts += _hinted_contexts(box, hints[node], side, i, j, k)
                select += 8 * ((hint >> 3) + 1)
            state = INACTIVE
            for question, answer in enumerate((CHILD, ACTIVE)):
                confidence = 64 + 128 * (hint & 7)
                start = squash(confidence if hint >> 3 == answer else -confidence)
                if questions[question].bit(contexts, select, ([32768] * 4 + [start] * 3)[:count]):
                    state = answer
                    break
            box[i + 2][j + 2][k + 2] = state
        states.append([box[i + 2][j + 2][k + 2] for i, j, k in product(range(side), repeat=3)])
    return states


def _box(
    states: list[list[int]], side: int, cells: Sequence[Origin], group: range, node: int, rows: dict[Origin, int]
) -> list[list[list[int]]]:
    """Slots -2..side of a node along each axis, [2] being slot 0; what is not known is inactive."""
    box = [[[INACTIVE] * (side + 3) for _ in range(side + 3)] for _ in range(side + 3)]
    x, y, z = cells[node]
    for dx, dy, dz in product((-1, 0, 1), repeat=3):
        row = rows.get((x + dx, y + dy, z + dz), -1)
        if not group.start <= row < node:
            continue
        ranges = [range(side - 2, side) if d < 0 else range(1) if d > 0 else range(side) for d in (dx, dy, dz)]
        for i, j, k in product(*ranges):
            value = states[row - group.start][(i * side + j) * side + k]
            box[i + dx * side + 2][j + dy * side + 2][k + dz * side + 2] = value
    return box


def _plain_contexts(box: list[list[list[int]]], side: int, i: int, j: int, k: int) -> tuple[list[int], int]:
    """Contexts 0..3 and the set of weights."""
    x, y, z = i + 2, j + 2, k + 2
    left, here = box[x - 1], box[x]
    plane = line = count = 0
    for dy in (-1, 0, 1):
        for state in left[y + dy][z - 1 : z + 2]:
            plane = plane << 1 | (state == CHILD)
            count += state == CHILD
    for state in here[y - 1][z - 1 : z + 2]:
        line = line << 1 | (state == CHILD)
    sx, sy, sz = left[y][z], here[y - 1][z], here[y][z - 1]
    two_x, two_y, two_z = box[x - 2][y][z], here[y - 2][z], here[y][z - 2]
    edges = left[y - 1][z] + 3 * left[y][z - 1] + 9 * here[y - 1][z - 1]
    edges += 27 * left[y][z + 1] + 81 * left[y + 1][z] + 243 * here[y - 1][z + 1]
    faces = sx + 3 * sy + 9 * sz
    place = (8 * i // side) << 6 | (8 * j // side) << 3 | 8 * k // side
    contexts = [
        plane | line << 9 | (sz == CHILD) << 12 | (two_z == CHILD) << 13,
        faces + 27 * edges,
        faces + 27 * (two_x + 3 * two_y + 9 * two_z) + 729 * (count + 10 * (line & 1) + 20 * (line >> 2)),
        faces + 27 * place,
    ]
    return contexts, (sx == CHILD) | (sy == CHILD) << 1 | (sz == CHILD) << 2


def _hinted_contexts(box: list[list[list[int]]], hints: Sequence[int], side: int, i: int, j: int, k: int) -> list[int]:
    """The three contexts of a hint."""
    slot = (i * side + j) * side + k
    hint, wrong, ahead, faces = hints[slot], 0, 0, 0
    for axis, stride in enumerate((side * side, side, 1)):
        before = [i + 2, j + 2, k + 2]
        before[axis] -= 1
        truth = box[before[0]][before[1]][before[2]]
        faces += 3**axis * truth
        kind, after = 3, 3
        if (i, j, k)[axis] > 0:
            kind = 0 if hints[slot - stride] >> 3 == truth else 1 if truth == CHILD else 2
        if (i, j, k)[axis] < side - 1:
            after = hints[slot + stride] >> 3
        wrong, ahead = wrong << 2 | kind, ahead << 2 | after
    return [hint | wrong << 5, hint | faces << 5, hint | ahead << 5]
