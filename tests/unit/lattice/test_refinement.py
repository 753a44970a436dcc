"""The network that mends decoded numbers: against a plain reading of its definition, and as fitted."""

from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.errors import FormatError
from fieldcodec.fit.refinement import RefinementOptions, fit_refinement
from fieldcodec.grid import masks
from fieldcodec.lattice.operator import MAX_FIXED
from fieldcodec.lattice.refinement import FEATURES, Neighbourhoods, Refinement, Sight, rounded_weights, shapes_of

STEP = 64


def leaves(side: int = 3, seed: int = 0, share: float = 0.7) -> Neighbourhoods:
    """Most leaves of a cube, with numbers like those of a rounded field."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = cells[rng.random(len(cells)) < 0.8]
    origins = (8 * (cells - 1)).astype(np.int32)
    points = (origins[:, None] + masks.slot_offsets(3)).astype(float)
    field = 400 * np.sin(points @ [0.11, 0.07, 0.05]) + 30 * np.sin(points @ [0.5, -0.4, 0.3])
    numbers = (STEP * np.rint(field / STEP)).astype(np.int32)
    return Neighbourhoods(numbers, masks.pack(rng.random(numbers.shape) < share), origins)


def network(seed: int = 1, widths: tuple[int, int] = (5, 3), size: float = 0.6) -> Refinement:
    rng = np.random.default_rng(seed)
    return Refinement(Sight(130, 500), rounded_weights([rng.normal(0, size, shape) for shape in shapes_of(*widths)]))


def seen(around: Neighbourhoods, leaf: int, slot: int, sight: Sight) -> list[int]:
    """The 27 features of a voxel, word by word from the definition."""
    numbers, active = {}, {}
    bits = masks.unpack(around.active)
    for row, origin in enumerate(around.origins.tolist()):
        for index, offset in enumerate(masks.slot_offsets(3).tolist()):
            place = tuple(a + b for a, b in zip(origin, offset, strict=True))
            numbers[place], active[place] = int(around.numbers[row, index]), bool(bits[row, index])
    offset = masks.slot_offsets(3)[slot].tolist()
    x, y, z = (a + b for a, b in zip(around.origins[leaf].tolist(), offset, strict=True))
    own = numbers[x, y, z]

    def scaled(total: int, reach: int) -> int:
        return min(max((total * ((127 << 20) // reach) + (1 << 19)) >> 20, -127), 127)

    def around_it(order: int) -> list[tuple[int, int, int]]:
        steps = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
        return [(x + i, y + j, z + k) for i, j, k in steps if abs(i) + abs(j) + abs(k) == order]

    differences = [[numbers.get(p, own) - own for p in around_it(order)] for order in (1, 2, 3)]
    states = [[int(active.get(p, False)) for p in around_it(order)] for order in (1, 2, 3)]
    result = [scaled(each, sight.differences) for each in differences[0]]
    result += [scaled(sum(differences[1]), 12 * sight.differences), scaled(sum(differences[2]), 8 * sight.differences)]
    result += [127 * each for each in states[0]] + [127 * sum(states[1]) // 12, 127 * sum(states[2]) // 8]
    result += [scaled(own, sight.numbers), scaled(own, sight.differences)]
    return result + [254 * (each >> bit & 1) - 127 for bit in range(3) for each in offset]


def said(features: list[int], tensors: tuple[np.ndarray, ...], step: int) -> int:
    values = features
    for weights, biases in zip(tensors[0:4:2], tensors[1:4:2], strict=True):
        sums = [
            127 * int(biases[j]) + sum(v * int(weights[i, j]) for i, v in enumerate(values)) for j in range(len(biases))
        ]
        values = [min(max(((s if s >= 0 else s >> 3) + 64) >> 7, -127), 127) for s in sums]
    total = 127 * int(tensors[5][0]) + sum(v * int(tensors[4][i, 0]) for i, v in enumerate(values))
    return (2 * total * step + 127 * 128) // (2 * 127 * 128)


def test_kernels_do_what_the_definition_says() -> None:
    around, net = leaves(), network()
    refined = net.refined(around, STEP)
    active = masks.unpack(around.active)
    rng = np.random.default_rng(3)
    changed = 0
    for leaf in rng.choice(len(around.origins), 4, replace=False):
        order = np.flatnonzero(active[leaf])
        features = around.features(np.array([leaf]), net.sight)
        assert features.shape == (len(order), FEATURES)
        for rank in [0, len(order) - 1, *rng.integers(0, len(order), 12)]:
            expected = seen(around, leaf, int(order[rank]), net.sight)
            assert features[rank].tolist() == expected
            change = said(expected, net.tensors, STEP)
            assert refined[leaf, order[rank]] == around.numbers[leaf, order[rank]] + change
            changed += change != 0
    assert changed > 10


def test_inactive_voxels_keep_their_numbers_and_threads_do_not_matter() -> None:
    around, net = leaves(side=8), network()
    assert len(around.origins) > 256  # several jobs
    refined = net.refined(around, STEP, threads=1)
    active = masks.unpack(around.active)
    assert np.array_equal(refined[~active], around.numbers[~active])
    assert not np.array_equal(refined[active], around.numbers[active])
    assert np.array_equal(refined, net.refined(around, STEP, threads=3))


def test_numbers_at_their_limits_stay_within_them() -> None:
    around = leaves()
    extreme = replace(around, numbers=np.where(around.numbers > 0, MAX_FIXED, -MAX_FIXED).astype(np.int32))
    largest = tuple(np.full(shape, 2047) for shape in shapes_of(64, 64))
    for sight in (Sight(1, 1), Sight(MAX_FIXED, MAX_FIXED)):
        refined = Refinement(sight, largest).refined(extreme, MAX_FIXED)
        assert np.abs(refined.astype(np.int64)).max() == MAX_FIXED


def test_bytes_there_and_back() -> None:
    net = network(widths=(8, 16))
    back = Refinement.from_bytes(net.to_bytes())
    assert back.sight == net.sight
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(net.tensors, back.tensors, strict=True))
    assert net.multiply_adds == 27 * 8 + 8 * 16 + 16


def test_damaged_bytes_are_format_errors() -> None:
    data = network().to_bytes()
    for length in range(len(data)):
        with pytest.raises(FormatError):
            Refinement.from_bytes(data[:length])
    with pytest.raises(FormatError):
        Refinement.from_bytes(data + b"\0")
    rng = np.random.default_rng(0)
    for _ in range(200):
        wrong = bytearray(data)
        wrong[rng.integers(len(data))] ^= rng.integers(1, 256)
        try:
            shapes = [tensor.shape for tensor in Refinement.from_bytes(bytes(wrong)).tensors]
        except FormatError:
            continue
        assert shapes == shapes_of(shapes[1][0], shapes[3][0])


def fitted(around: Neighbourhoods, truth: np.ndarray, start: Refinement | None = None) -> Refinement:
    active = masks.unpack(around.active)
    rows = np.arange(len(around.origins))
    features = around.features(rows, Sight(130, 500))
    errors = ((truth - around.numbers)[active] / STEP).astype(np.float32)
    options = RefinementOptions(widths=(8, 8), steps=300, again=60)
    return fit_refinement(features, errors, np.ones(len(errors), np.float32), Sight(130, 500), options, 0, start)


def test_a_fitted_network_undoes_much_of_the_rounding() -> None:
    around = leaves(side=4, share=1.0)
    points = (around.origins[:, None] + masks.slot_offsets(3)).astype(float)
    truth = 400 * np.sin(points @ [0.11, 0.07, 0.05]) + 30 * np.sin(points @ [0.5, -0.4, 0.3])

    def error(numbers: np.ndarray) -> float:
        return float(np.sqrt(np.mean((numbers - truth) ** 2)))

    first = fitted(around, truth)
    assert error(first.refined(around, STEP)) < 0.85 * error(around.numbers)
    again = fitted(around, truth, first)
    assert error(again.refined(around, STEP)) < 0.85 * error(around.numbers)
    assert again.to_bytes() == fitted(around, truth, first).to_bytes()
