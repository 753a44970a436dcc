"""The search for a lattice: its step, its candidates, and the description of what was found."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import ignore_event
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing import samples
from fieldcodec.volume import lattice_search as search
from fieldcodec.volume.lattice_choice import Candidate, Choice
from fieldcodec.volume.lattice_encode import LatticeFitter
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.lattice_search import Loss, choose, estimate_loss, excess, find_step, first_step
from fieldcodec.volume.lattice_spec import MAX_LEVELS, LatticeSpec, Level
from fieldcodec.volume.lattice_values import encode_lattice
from fieldcodec.volume.quality import Goal


def sphere() -> SparseGrid:
    return sphere_level_set(12.0, centre=(0.3, -0.2, 0.15))


def dense(side: int = 20, origin: tuple[int, int, int] = (-9, 5, 120)) -> SparseGrid:
    return samples.dense("float", side=side, origin=origin)


class Probe:
    """A synthetic excess that remembers where it was asked."""

    def __init__(self, function: Callable[[float], float]) -> None:
        self.function, self.steps = function, list[float]()

    def __call__(self, step: float) -> tuple[float, float]:
        self.steps.append(step)
        return self.function(step), step


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("best", [1e-3, 0.05, 3.0])
@pytest.mark.parametrize("first", [1e-2, 0.6])
def test_growing_excess_is_brought_just_below_one(power: float, best: float, first: float) -> None:
    probe = Probe(lambda step: (step / best) ** power)
    found = find_step(probe, first, 6)
    assert found is not None
    assert 0.95 <= (found / best) ** power <= 1
    assert len(probe.steps) <= 6


@pytest.mark.parametrize("best", [1e-3, 0.05, 3.0])
@pytest.mark.parametrize("first", [1e-2, 0.6])
def test_falling_excess_is_brought_just_below_one(best: float, first: float) -> None:
    found = find_step(Probe(lambda step: (best / step) ** 0.7), first, 6, falling=True)
    assert found is not None
    assert 0.95 <= (best / found) ** 0.7 <= 1


def test_a_good_first_step_needs_no_second() -> None:
    for falling in (False, True):
        probe = Probe(lambda step: 0.97)
        assert find_step(probe, 0.3, 5, falling=falling) == 0.3
        assert probe.steps == [0.3]


def test_a_floor_under_the_excess_is_given_up_early() -> None:
    probe = Probe(lambda step: 5 + step)
    assert find_step(probe, 0.5, 10) is None
    assert len(probe.steps) <= 4
    rising = Probe(lambda step: 5 + 1 / step)
    assert find_step(rising, 0.5, 10, falling=True) is None
    assert len(rising.steps) <= 4


def test_what_cannot_be_met_in_a_few_tries_is_none() -> None:
    assert find_step(Probe(lambda step: 1e9 * step), 1.0, 2) is None


def test_no_step_is_beyond_the_limits() -> None:
    for function in (lambda step: 1e-9, lambda step: 1e12 * step**0.5):
        for falling in (False, True):
            probe = Probe(function)
            find_step(probe, 0.1, 30, falling=falling)
            assert all(1e-7 <= step <= 30 for step in probe.steps)


def test_loss_that_is_always_met_takes_the_largest_step_tried() -> None:
    probe = Probe(lambda step: 1e-3)
    assert find_step(probe, 0.1, 5) == max(probe.steps)
    falling = Probe(lambda step: 1e-3)
    assert find_step(falling, 0.1, 5, falling=True) == min(falling.steps)


@pytest.mark.parametrize("edge", [0.02, 0.2, 2.0])
def test_stairs_are_climbed(edge: float) -> None:
    def stairs(step: float) -> float:
        return 1.5 ** math.floor(math.log(step / edge, 1.5)) * 1.2  # 1.2 above the edge, 0.8 just below

    probe = Probe(stairs)
    found = find_step(probe, 0.3, 8)
    assert found == max(step for step in probe.steps if step < edge)
    assert found > edge / 2
    fallen = Probe(lambda step: 1 / stairs(step))  # 1.25 below the edge, 0.83 above
    found = find_step(fallen, 0.3, 8, falling=True)
    assert found == min(step for step in fallen.steps if step >= edge)
    assert found < 2 * edge


def test_a_plateau_above_the_goal_is_given_up() -> None:
    probe = Probe(lambda step: 0.5 if step < 1e-3 else 2.0)
    assert find_step(probe, 0.3, 8) is None
    assert len(probe.steps) <= 3


def test_an_excess_of_zero_is_no_problem() -> None:
    assert find_step(Probe(lambda step: 0.0 if step < 1 else 3.0), 0.5, 6) is not None


def test_excess_of_a_size_is_of_the_size_alone() -> None:
    loss = Loss(rmse=0.2, max_error=3.0, iou=0.9, mcd=0.4)
    assert excess(Goal(size=100), loss, 250) == 2.5
    assert excess(Goal(rmse=0.1, mcd=0.1), loss, 250) == pytest.approx(4.0)


def test_searches_begin_near_what_was_asked() -> None:
    assert first_step(Goal(max_error=0.1, rmse=0.5), surface=True) == 0.2
    assert first_step(Goal(mcd=0.05), surface=True) == 0.5
    assert first_step(Goal(iou=0.99), surface=True) == first_step(Goal(size=100), surface=True) == 0.6
    assert first_step(Goal(rmse=0.02), surface=False) == pytest.approx(0.03)
    assert first_step(Goal(size=1000), surface=False) == 0.05


@pytest.fixture(scope="module")
def ball() -> LatticeProblem:
    return LatticeProblem.of(sphere())


@pytest.fixture(scope="module")
def fog() -> LatticeProblem:
    return LatticeProblem.of(dense())


@pytest.mark.parametrize("goal", [Goal(mcd=0.08), Goal(rmse=0.05), Goal(iou=0.99), Goal(max_error=0.3)])
def test_choices_meet_the_goal_and_rise_in_bytes(ball: LatticeProblem, goal: Goal) -> None:
    interior = 4 / 3 * math.pi * 12.0**3
    choices = choose(LatticeFitter(ball), goal, interior).choices
    assert choices == sorted(choices, key=lambda choice: choice.bytes)
    fitter = LatticeFitter(ball)
    attempt = fitter.attempt(choices[0].candidate, choices[0].step, bounded=goal.max_error is not None)
    # not quite the same attempt: the search goes on from the fit of another step
    assert excess(goal, estimate_loss(ball, attempt, interior), 0) <= 1.15
    assert fitter.num_bytes(attempt) == pytest.approx(choices[0].bytes, rel=0.15)
    assert choices[0].candidate.residual or goal.max_error is None


def test_choices_for_a_size_fit_and_rise_in_error(fog: LatticeProblem) -> None:
    choices = choose(LatticeFitter(fog), Goal(size=900), 0.0).choices
    assert all(choice.bytes <= 900 for choice in choices)
    assert choices == sorted(choices, key=lambda choice: choice.rmse)


def test_lossless_choices_are_compared_by_their_bytes(fog: LatticeProblem) -> None:
    choices = choose(LatticeFitter(fog), Goal(lossless=True), 0.0).choices
    assert choices == sorted(choices, key=lambda choice: choice.bytes)
    assert {choice.rmse for choice in choices} == {0.0}
    assert not any(choice.candidate.residual for choice in choices)  # the exact residual comes on top


def test_something_is_chosen_where_nothing_met_the_goal(fog: LatticeProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "excess", lambda goal, loss, size: 1e6)
    fine, small = (choose(LatticeFitter(fog), goal, 0.0).choices for goal in (Goal(rmse=1e-3), Goal(size=10)))
    assert len(fine) == len(small) == 1
    assert fine[0].candidate.residual
    assert fine[0].step < first_step(Goal(rmse=1e-3), surface=False)
    assert not small[0].candidate.residual
    assert small[0].candidate.levels[0][0] == 8
    assert small[0].step >= first_step(Goal(size=10), surface=False)


@pytest.mark.parametrize("step", [1e-7, 1e-5])
def test_steps_too_fine_for_coefficients_lose_no_more(fog: LatticeProblem, step: float) -> None:
    fitter = LatticeFitter(fog)
    for candidate in (Candidate(((4, 3, 1.0),)), Candidate(((8, 3, 1.0), (4, 3, 0.7)))):
        fine, finer = (fitter.attempt(candidate, each) for each in (1e-3, step))
        assert estimate_loss(fog, finer, 0.0).rmse < 1.01 * estimate_loss(fog, fine, 0.0).rmse


def test_coarse_candidates_first_and_finer_ones_only_while_they_help(
    ball: LatticeProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Candidate] = []
    attempt = LatticeFitter.attempt

    def remember(self: LatticeFitter, candidate: Candidate, step: float, **other: Any) -> Any:
        tried.append(candidate)
        return attempt(self, candidate, step, **other)

    monkeypatch.setattr(LatticeFitter, "attempt", remember)
    choices = choose(LatticeFitter(ball), Goal(mcd=0.08), 7238.0).choices
    strides = [candidate.levels[0][0] for candidate in dict.fromkeys(tried)]
    assert strides[0] == max(strides)
    assert len(choices) < len(search._SURFACE)  # a sphere needs no fine lattice


def test_estimates_of_loss_equal_what_is_measured(fog: LatticeProblem) -> None:
    attempt = LatticeFitter(fog).attempt(Candidate(((4, 3, 1.0),)), 0.05)
    loss = estimate_loss(fog, attempt, 0.0)
    error = (attempt.decoded[0] * attempt.spec.unit[0] / fog.scale[0] - fog.targets[0])[fog.active]
    assert loss.rmse == pytest.approx(np.sqrt(np.mean(error.astype(float) ** 2)), rel=1e-4)
    assert loss.max_error == pytest.approx(np.abs(error).max(), rel=1e-4)
    assert (loss.iou, loss.mcd) == (None, None)


def test_smaller_steps_lose_less_and_take_more(fog: LatticeProblem) -> None:
    fitter = LatticeFitter(fog)
    attempts = [fitter.attempt(Candidate(((4, 3, 0.6),), residual=True), step) for step in (0.2, 0.05, 0.01)]
    losses = [estimate_loss(fog, attempt, 0.0).rmse for attempt in attempts]
    sizes = [fitter.num_bytes(attempt) for attempt in attempts]
    assert losses == sorted(losses, reverse=True)
    assert sizes == sorted(sizes)


def test_samples_are_whole_nodes_and_repeat() -> None:
    grid = dense(48, (-20, 100, 250))  # across several cubes of 128 voxels
    problem = LatticeProblem.of(grid)
    sample = problem.sample(40, seed=3)
    assert 0 < len(sample.origins) < len(problem.origins)
    assert np.array_equal(sample.origins, problem.sample(40, seed=3).origins)
    nodes = {tuple(node) for node in (sample.origins >> 7).tolist()}
    whole = [tuple(node) in nodes for node in (problem.origins >> 7).tolist()]
    assert np.array_equal(problem.origins[whole], sample.origins)
    assert np.array_equal(problem.targets[:, whole], sample.targets)
    assert problem.sample(len(problem.origins), seed=0) is problem


def test_encoding_says_what_was_found_in_order_of_preference() -> None:
    events = []
    encoding = encode_lattice(dense(), Goal(rmse=0.05), 0, events.append)
    assert encoding.met
    assert [choice.bytes for choice in encoding.choices] == sorted(choice.bytes for choice in encoding.choices)
    strides = [[stride, degree] for stride, degree, _ in encoding.choices[0].candidate.levels]
    assert [level[:2] for level in encoding.meta["levels"]] == strides
    assert events[0].step == 0
    assert events[-1].step == events[-1].total


def test_a_goal_out_of_reach_is_missed_and_said_so() -> None:
    encoding = encode_lattice(dense(), Goal(size=10), 0, ignore_event)
    assert not encoding.met
    assert encoding.sections


def test_words_for_reports() -> None:
    choice = Choice(Candidate(((8, 3, 1.0), (4, 1, 0.5)), residual=True), 0.25, 1234, 0.125)
    assert choice.to_json() == {
        "lattices": "cubic/8 + linear/4 + residual", "step": 0.25, "sample_bytes": 1234, "rmse": 0.125,
    }  # fmt: skip
    assert str(spec(residual=3)) == "cubic/8 + linear/2 + residual"
    assert str(spec(residual=1, exact="f4")) == "cubic/8 + linear/2 + exact"
    assert str(spec()) == "cubic/8 + linear/2"
    assert spec().multiply_adds > 0


def spec(**changes: Any) -> LatticeSpec:
    plain = LatticeSpec(
        unit=(0.5, 0.25),
        offset=(1.0, -2.0),
        low=(-3.0, -4.0),
        high=(5.0, 6.0),
        levels=(Level(8, 3, 64), Level(2, 1, 9)),
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"residual": 62}, {"residual": 1, "exact": "f8"}, {"guided": False}, {"banded": True},
        {"levels": (), "residual": 9}, {"levels": (Level(16, 1, 1),) * MAX_LEVELS},
    ],
)  # fmt: skip
def test_descriptions_come_back_from_json(changes: dict[str, Any]) -> None:
    original = spec(**changes)
    assert LatticeSpec.from_json(json.loads(json.dumps(original.to_json())), 2) == original


def test_descriptions_of_meshes_come_back_from_json() -> None:
    original = LatticeSpec((0.5,), (0.0,), (-3.0,), (3.0,), levels=(), banded=True, mesh=12.5)
    assert LatticeSpec.from_json(json.loads(json.dumps(original.to_json())), 1) == original
    for wrong in (-1.0, 0.0, 1e300, math.inf, None, "1"):
        with pytest.raises(FormatError):
            LatticeSpec.from_json({**original.to_json(), "mesh": wrong}, 1)


HOSTILE: list[Any] = [
    None, True, False, -1, 0, 7, 2**31, 2**63, 10**400, -(10**400), 0.5, -0.5, 1e308, math.nan, math.inf, "", "AAAA",
    "f4", [], [None], [1], ["1", "2"], [[]], [math.nan, 1.0], [1.0, math.inf], [10**400, 1], [True, True], {}, {"a": 1},
    [[8, 3, 64], [8, 3, math.nan]], [[8, 3]], [[8, 3, 64, 1]], [[5, 3, 64]], [[8, 2, 64]], [[8, 3, 0]], [[8, 3, -1]],
    [[8, 3, 2**31]], [[8, 3, 1.0]], [["8", 3, 64]], [[0, 3, 64]], [[True, 3, 64]], [[[8], 3, 64]], [[10**400, 3, 1]],
    [[8, 3, 64]] * (MAX_LEVELS + 1), [[8, 3, 1]] * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("key", list(spec().to_json()))
def test_hostile_descriptions_are_refused(key: str) -> None:
    data, messages = spec().to_json(), []
    for wrong in HOSTILE:
        changed = {**data, key: wrong}
        try:
            found = LatticeSpec.from_json(changed, 2)
        except FormatError as error:
            messages.append(str(error))
            continue
        again = LatticeSpec.from_json(json.loads(json.dumps(found.to_json())), 2)  # what is taken is well-formed
        assert again == found
        assert len(found.levels) <= MAX_LEVELS
        assert found.levels or found.residual or found.mesh
        assert all(math.isfinite(x) for x in (*found.unit, *found.offset, *found.low, *found.high))
        assert all(x > 0 for x in found.unit)
    assert messages
    assert all(len(message) < 1000 for message in messages)
    del data[key]
    with pytest.raises(FormatError):
        LatticeSpec.from_json(data, 2)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("unit", [0.0, 1.0]), ("unit", [-1.0, 1.0]), ("unit", [1.0]), ("unit", [1.0, 1.0, 1.0]), ("low", []),
        ("levels", []), ("levels", [[8, 3, 64]] * (MAX_LEVELS + 1)), ("residual", -1), ("residual", 1.0),
        ("residual", 2**31), ("exact", "f3"), ("exact", None), ("guided", 1), ("banded", None),
        ("mesh", -1.0), ("mesh", 1.0), ("mesh", None), ("mesh", math.inf),
        ("offset", [math.nan, 0.0]),
        ("levels", [[7, 3, 64]]), ("levels", [[8, 0, 64]]), ("levels", [[8, 3, 0]]),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(key: str, wrong: Any) -> None:
    with pytest.raises(FormatError, match="description of a lattice"):
        LatticeSpec.from_json({**spec().to_json(), key: wrong}, 2)


def test_other_things_are_no_description() -> None:
    for wrong in (*HOSTILE, [spec().to_json()], json.dumps(spec().to_json())):
        with pytest.raises(FormatError):
            LatticeSpec.from_json(wrong, 2)
    with pytest.raises(FormatError, match="numbers that are not allowed"):
        LatticeSpec.from_json(spec().to_json(), 3)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i4", "i8", "u4"])
def test_values_of_integers_stay_within_their_limits(kind: str) -> None:
    dtype = np.dtype(f"<{kind}")
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    wide = replace(spec(), low=(float(limits.min),) * 2, high=(float(limits.max),) * 2, unit=(1e300, 1.0))
    fixed = np.array([-(1 << 30), -1, 0, 1, 1 << 30], np.int32)
    with np.errstate(over="ignore"):
        values = wide.values(0, fixed, dtype)
    assert values.dtype == dtype
    assert (np.diff(values.astype(float)) >= 0).all()
    assert values[0] == limits.min
    assert float(values[-1]) == pytest.approx(float(limits.max))
    narrow = replace(spec(), unit=(0.5, 0.5), offset=(0.25, 0.25), low=(-2.0, 0.0), high=(2.0, 1.0))
    small = narrow.values(0, np.arange(-10, 11, dtype=np.int32), dtype)
    assert small.max() == 2
    assert small.min() == (0 if kind == "u4" else -2)


def grid_margins(grid: SparseGrid) -> tuple[np.ndarray, np.ndarray]:
    problem = LatticeProblem.of(grid)
    attempt = LatticeFitter(problem).attempt(Candidate(((4, 3, 1.0),)), 0.02)
    return attempt.spec.margins(attempt.fixed, problem.background), problem.active


def test_margins_of_level_sets_measure_to_the_edge_of_the_band() -> None:
    margins, active = grid_margins(sphere())
    assert margins.dtype == np.int16
    assert margins[active].max() == pytest.approx(192, abs=6)
    assert np.mean((margins > 0) == active) > 0.97


def test_margins_of_fog_measure_from_the_background() -> None:
    margins, active = grid_margins(dense())
    assert margins.min() >= 0
    assert margins.max() <= 8192 + 600
    assert margins[active].mean() > 2 * margins[~active].mean()
