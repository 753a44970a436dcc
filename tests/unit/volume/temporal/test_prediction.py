"""What a decoded frame says of a later one, and the motion that is found between them."""

from types import ModuleType

import numpy as np
import pytest

from fieldcodec.grid import masks
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.lattice.operator import MAX_FIXED, Lattice
from fieldcodec.testing.oracle.references import within_states
from fieldcodec.volume.decode import reference_of
from fieldcodec.volume.fields import CHILD, INACTIVE_TILE
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.lattice_spec import LatticeSpec, Level
from fieldcodec.volume.temporal.motion import DEGREE, Motion
from fieldcodec.volume.temporal.motion_search import find_motion
from fieldcodec.volume.temporal.prediction import Predicted, Prediction, Reference


def spec(channels: int = 1, **other: object) -> LatticeSpec:
    numbers = {"unit": (0.25,) * channels, "offset": (1.0,) * channels, "low": (-9.0,) * channels}
    return LatticeSpec(**(numbers | {"high": (9.0,) * channels, "levels": (Level(8, 3, 64),)} | other))  # type: ignore[arg-type]


def still(origins: np.ndarray) -> Motion:
    lattice = Lattice.over(origins, 16, DEGREE)
    return Motion(lattice, 64, np.zeros((3, len(lattice)), np.int32))


def reference(grid: SparseGrid, description: LatticeSpec, decoded: np.ndarray, **other: object) -> Reference:
    size, background = other.get("size", grid.transform.voxel_size), np.repeat(grid.background, len(description.unit))
    return Reference.of(grid.topology, description, decoded, other.get("fixed"), background, size, None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ball() -> SparseGrid:
    return sphere_level_set(6.0, centre=(8.3, 8.1, 7.9), voxel_size=0.5)


def random_numbers(grid: SparseGrid, channels: int = 1) -> np.ndarray:
    shape = (channels, grid.topology.num_leaves, 512)
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int32)


def test_values_of_fog_count_where_they_are_active(ball: SparseGrid) -> None:
    numbers, active = random_numbers(ball, 3), ball.topology.leaf_active_bits
    found = reference(ball, spec(3, unit=(0.25, 0.5, 1.0)), numbers)
    assert np.array_equal(found.numbers[:, active], numbers[:, active])
    assert found.fill.tolist() == [2, 1, 0]  # (1.5 - 1) / unit, ties to even
    assert (found.numbers[:, ~active] == found.fill[:, None]).all()
    assert (found.distances, found.slope) == (False, 0.0)


def test_distances_are_known_everywhere(ball: SparseGrid) -> None:
    numbers = random_numbers(ball)
    for size in (None, np.array([0.5, 0.5, 0.6])):  # voxels that are no cubes
        found = reference(ball, spec(banded=True), numbers, size=size)
        assert np.array_equal(found.numbers, numbers)
        assert (found.distances, found.slope) == (True, 0.0)


@pytest.mark.parametrize("unit", [0.25, 0.003, 1e-4])
def test_distances_are_as_far_as_states_allow(ball: SparseGrid, unit: float) -> None:
    numbers, active = random_numbers(ball) * 30, ball.topology.leaf_active_bits
    found = reference(ball, spec(banded=True, unit=(unit,), offset=(0.0,)), numbers)
    assert (found.distances, found.slope) == (True, 0.5 / unit)
    expected = within_states(numbers[0].astype(np.int64), active, round(1.5 / unit), 0.5 / unit)
    assert np.array_equal(found.values.numbers[0], expected)
    assert not np.array_equal(found.values.numbers, numbers)
    reference(ball, spec(banded=True, unit=(5e-324,), offset=(0.0,)), numbers)  # of a forged file


def test_exact_values_become_numbers(ball: SparseGrid) -> None:
    values = ball.leaf_values[..., 0].copy()
    values[0, :4] = [np.nan, np.inf, -np.inf, 3e38]  # inactive voxels may hold anything
    bits = values.view(np.int32).astype(np.int64)[None]
    ordered = np.where(bits < 0, ~(bits & 0x7FFFFFFF), bits)
    active, fixed = ball.topology.leaf_active_bits, random_numbers(ball)
    assert not active[0, :4].any()
    expected = np.rint((values.astype(np.float64) - 1) / 0.25)
    for banded, rest in ((True, fixed), (False, np.full_like(fixed, 2))):
        found = reference(ball, spec(exact="f4", residual=1, banded=banded), ordered, fixed=fixed, size=None)
        assert np.array_equal(found.numbers[0][active], expected[active])
        assert np.array_equal(found.numbers[:, ~active], rest[:, ~active])


@pytest.mark.parametrize(("background", "fill"), [(np.nan, 0), (np.inf, MAX_FIXED), (-1e30, -MAX_FIXED)])
def test_strange_backgrounds_have_numbers(ball: SparseGrid, background: float, fill: int) -> None:
    found = Reference.of(
        ball.topology, spec(), random_numbers(ball), None, np.array([background]), None, None
    )  # fmt: skip
    assert found.fill.tolist() == [fill]


def test_numbers_are_kept_within_limits(ball: SparseGrid) -> None:
    far = np.where(random_numbers(ball) > 0, np.int32(2**31 - 1), np.int32(-(2**31)))
    found = reference(ball, spec(banded=True), far, size=None)
    assert np.array_equal(found.numbers, np.where(far > 0, MAX_FIXED, -MAX_FIXED))


def test_units_are_changed() -> None:
    numbers = np.array([[[0, 1, 2, 3, -5, MAX_FIXED]], [[0, 1, 2, 3, -5, -MAX_FIXED]]], np.int32)
    said = Predicted(numbers, (0.5, 0.25), (0.0, 1.0))
    other = spec(2, unit=(1.0, 0.125), offset=(0.25, 1.0))
    expected = [[[0, 0, 1, 1, -3, MAX_FIXED // 2]], [[0, 2, 4, 6, -10, -MAX_FIXED]]]
    assert said.fixed(other).tolist() == expected
    scaled = said.scaled(np.array([0.0, 1.0]), np.array([2.0, 4.0]))
    assert scaled[:, 0, :5].tolist() == [[0, 0.25, 0.5, 0.75, -1.25], [0, 0.0625, 0.125, 0.1875, -0.3125]]
    assert said.subset(np.zeros(0, np.int64)).numbers.shape == (2, 0, 6)


def test_units_that_are_no_ratio_give_nothing() -> None:
    numbers = np.array([[[0, 1, -1]]], np.int32)
    said = Predicted(numbers, (1e300,), (0.0,)).fixed(spec(unit=(1e-300,), offset=(0.0,)))
    assert said.tolist() == [[[0, MAX_FIXED, -MAX_FIXED]]]


def test_hints_of_states(ball: SparseGrid) -> None:
    """Without motion certain in both ways, and undecided half a voxel beside an edge."""
    found, origins = reference(ball, spec(), random_numbers(ball)), ball.topology.leaf_origins
    active = ball.topology.leaf_active_bits
    hints = Prediction(found, still(origins), origins).hints()
    assert np.array_equal(hints, np.where(active, 31, 0))
    half = still(origins)
    half.integers[0] = 8  # 512 / 1024 voxel
    hints = Prediction(found, half, origins).hints()
    assert 0 < ((hints > 8) & (hints < 24)).mean() < 0.3
    assert ((hints >= 16) == active).mean() > 0.7


def test_hints_of_slots(ball: SparseGrid) -> None:
    topology = ball.topology
    found = reference(ball, spec(), random_numbers(ball))
    near, far = np.array([0, 0, 0], np.int32), np.array([4096 - 128, 0, -128], np.int32)
    edge = np.array([2**31 - 128, -(2**31), 0], np.int32)  # there is nothing around, whatever lies at the other end
    hints = found.slot_hints(np.stack([near, far, edge]))
    leaves = {tuple(origin) for origin in topology.leaf_origins.tolist()}
    steps = [step for step in np.ndindex(3, 3, 3) if step != (1, 1, 1)]
    for slot in range(0, masks.LOWER_SLOTS, 7):
        i, j, k = 8 * (slot >> 8), 8 * (slot >> 4 & 15), 8 * (slot & 15)
        here = (i, j, k) in leaves
        alike = sum(((i + 8 * a - 8, j + 8 * b - 8, k + 8 * c - 8) in leaves) == here for a, b, c in steps)
        assert hints[0, slot] == 8 * (CHILD if here else INACTIVE_TILE) + 7 * alike // 26
    assert (hints[1:] == 7).all()
    assert found.slot_hints(np.zeros((0, 3), np.int32)).shape == (0, 4096)


def test_prediction_of_some_leaves_is_part_of_that_of_all(sequences: ModuleType) -> None:
    grid = sequences.encoded("surface").volumes[0].grids[0]
    known, later = reference_of(grid), sequences.ball(1)
    origins = later.topology.leaf_origins
    prediction = Prediction(known, still(origins), origins)
    rows = np.array([1, 4, 5])
    assert np.array_equal(prediction.of(rows).numbers, prediction.of(slice(None)).numbers[:, rows])
    assert known.slope > 0


# --- the search for motion ------------------------------------------------------------------------


def _motion_between(sequences: ModuleType, case: str, later: SparseGrid) -> tuple[LatticeProblem, np.ndarray]:
    known = reference_of(sequences.encoded(case).volumes[0].grids[0])
    problem = LatticeProblem.of(later)
    return problem, find_motion(problem, known, 0.01, seed=0).motion.at(slice(None)) / 1024


def test_motion_of_a_surface_is_found(sequences: ModuleType) -> None:
    """Along its normal: the ball moved by (1.3, 0.4, 0) and grew by 0.3."""
    later = sequences.ball(1)
    problem, motion = _motion_between(sequences, "surface", later)
    points = problem.origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2) - np.array([126.6, 12.6, 8.1])
    away = np.linalg.norm(points, axis=2)
    near = problem.active & (np.abs(away - 3.8) < 1)
    normal = np.moveaxis(points, -1, 0) / np.maximum(away, 1e-9)
    expected = -(normal[0] * 1.3 + normal[1] * 0.4 + 0.3)
    error = ((motion * normal).sum(axis=0) - expected)[near]
    assert np.sqrt(np.mean(error**2)) < 0.25 * np.sqrt(np.mean(expected[near] ** 2))


def test_motion_of_fog_is_found(sequences: ModuleType) -> None:
    """It turned by 0.15 and moved by 0.4."""
    later = sequences.fog(1)
    problem, motion = _motion_between(sequences, "fog_exact", later)
    points = problem.origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2) - np.array([15.5, 7.5, 15.5])
    turn = np.array([[np.cos(0.15), np.sin(0.15), 0], [-np.sin(0.15), np.cos(0.15), 0], [0, 0, 1]])
    expected = np.moveaxis(points @ turn - [0.4, 0, 0] - points, -1, 0)
    weight = problem.active * (problem.targets[0] > 0.2)
    error = np.sqrt(np.average(np.square(motion - expected).sum(axis=0), weights=weight))
    assert error < 0.35 * np.sqrt(np.average(np.square(expected).sum(axis=0), weights=weight))
