"""What searches for lattices know of searches before: what they leave out, where they begin, and when they do not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.testing import samples
from fieldcodec.volume import lattice_experience as module
from fieldcodec.volume import lattice_search as search
from fieldcodec.volume.lattice_choice import Candidate, Choice
from fieldcodec.volume.lattice_encode import LatticeFitter
from fieldcodec.volume.lattice_experience import Experience, Notebook
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.lattice_search import choose, find_step, first_step
from fieldcodec.volume.quality import Goal

COARSE, FINE, RESIDUAL = Candidate(((8, 3, 1.0),)), Candidate(((2, 1, 1.0),)), Candidate((), residual=True)
ALL = (COARSE, FINE, RESIDUAL)
GOAL = Goal(rmse=0.01)


def choices(*sizes: tuple[Candidate, int]) -> list[Choice]:
    return [Choice(candidate, 0.2, size, 0.0) for candidate, size in sizes]


def experience(*sizes: tuple[Candidate, int], **missed: float) -> Experience:
    named = {"coarse": COARSE, "fine": FINE}
    return Experience.of(choices(*sizes), {named[name]: ratio for name, ratio in missed.items()}, 0.1, 1000)


def dense(seed: int = 0, name: str = "fog") -> SparseGrid:
    return replace(samples.dense("float", side=20, seed=seed), name=name)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Candidate, float]]:
    """Candidates and steps of all attempts."""
    log: list[tuple[Candidate, float]] = []
    attempt = LatticeFitter.attempt

    def remember(self: LatticeFitter, candidate: Candidate, step: float, **other: Any) -> Any:
        log.append((candidate, step))
        return attempt(self, candidate, step, **other)

    monkeypatch.setattr(LatticeFitter, "attempt", remember)
    return log


def test_candidates_far_from_the_best_are_unlikely() -> None:
    known = experience((RESIDUAL, 1000), (FINE, 1200), (COARSE, 2000))
    assert known.likely(ALL) == (FINE, RESIDUAL)
    assert known.costs == {RESIDUAL: 1.0, FINE: 1.2, COARSE: 2.0}


def test_candidates_that_missed_the_goal_by_little_are_likely() -> None:
    assert experience((RESIDUAL, 1000), coarse=1.1, fine=3.0).likely(ALL) == (COARSE, RESIDUAL)


def test_signs_and_refinement_count_for_the_candidate_they_were_added_to() -> None:
    refined = replace(FINE, refined=True)
    known = experience((refined, 900), (FINE, 1300), (RESIDUAL, 1000))
    assert known.likely(ALL) == (FINE, RESIDUAL)
    assert known.step(refined, 0.3) == pytest.approx(0.6)
    assert known.step(COARSE, 0.3) is None


def test_what_did_well_is_forgotten_little_by_little() -> None:
    known = experience((FINE, 1000), (RESIDUAL, 1100))
    left_after = 0
    while FINE in known.likely(ALL):
        known = Experience.of(choices((RESIDUAL, 1000), (FINE, 3000)), {}, 0.1, 1000, known)
        left_after += 1
    assert 2 <= left_after <= 8


def test_all_candidates_are_tried_now_and_then() -> None:
    known = experience((RESIDUAL, 1000), (FINE, 5000))
    ages = []
    for _ in range(3 * module._LASTS):
        likely = known.likely(ALL)
        ages.append(known.age)
        known = Experience.of(choices((RESIDUAL, 1000)), {}, 0.1, 1000, known, all_tried=likely == ALL)
    assert max(ages) == module._LASTS
    assert ages.count(0) == 3


def test_bytes_a_voxel_tell_grids_that_are_not_alike() -> None:
    known = experience((RESIDUAL, 1000))
    assert known.agrees(choices((RESIDUAL, 1300)), 1000)
    assert known.agrees(choices((RESIDUAL, 13000)), 10000)
    assert not known.agrees(choices((RESIDUAL, 1500)), 1000)
    assert not known.agrees(choices((RESIDUAL, 600)), 1000)
    assert not known.agrees([], 1000)


def test_a_notebook_knows_grids_by_name_and_then_by_tree() -> None:
    notebook, problem = Notebook(), LatticeProblem.of(dense())
    smaller = replace(problem, active=problem.active & (np.arange(512) % 2 == 0))
    one, other = experience((FINE, 1)), experience((RESIDUAL, 1))
    notebook.page("a", "float", problem, GOAL).note(one)
    notebook.page("b", "float", smaller, GOAL).note(other)
    assert notebook.page("a", "float", smaller, GOAL).known is one
    assert notebook.page("b", "float", problem, GOAL).known is other
    assert notebook.page("c", "float", problem, GOAL).known is one
    assert notebook.page("c", "float", smaller, Goal(rmse=0.5)).known is other
    for page in (
        notebook.page("a", "double", problem, GOAL),
        notebook.page("a", "float", problem, Goal(max_error=0.01)),
        notebook.page("a", "float", replace(problem, surface=True), GOAL),
    ):
        assert page.known is None


def test_a_search_tries_what_is_likely_from_the_step_that_was_good(tried: list[tuple[Candidate, float]]) -> None:
    problem = LatticeProblem.of(dense())
    found = choose(LatticeFitter(problem), GOAL, 0.0)
    assert found.experience is not None
    everything = {candidate for candidate, _ in tried}
    assert everything >= set(search._OTHER)
    tried.clear()
    again = choose(LatticeFitter(problem), GOAL, 0.0, before=found.experience)
    assert {candidate for candidate, _ in tried} < everything
    assert again.choices[0].candidate == found.choices[0].candidate
    assert again.choices[0].bytes == pytest.approx(found.choices[0].bytes, rel=0.01)
    likely = found.experience.likely(search._OTHER)
    firsts = dict(reversed(tried))
    for candidate in likely:
        known = found.experience.step(candidate, first_step(GOAL, surface=False))
        assert known is None or firsts[candidate] == known
    assert again.experience is not None
    assert again.experience.age == 1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_search_tries_everything_where_bytes_are_unlike_before(
    factor: float, tried: list[tuple[Candidate, float]]
) -> None:
    problem = LatticeProblem.of(dense())
    found = choose(LatticeFitter(problem), GOAL, 0.0)
    assert found.experience is not None
    unlike = replace(found.experience, per_voxel=factor * found.experience.per_voxel)
    tried.clear()
    again = choose(LatticeFitter(problem), GOAL, 0.0, before=unlike)
    assert {candidate for candidate, _ in tried} >= set(search._OTHER)
    assert again.experience is not None
    assert again.experience.age == 0


def test_sizes_and_exact_values_leave_no_experience() -> None:
    problem = LatticeProblem.of(dense())
    known = experience((RESIDUAL, 1000))
    for goal in (Goal(size=900), Goal(lossless=True)):
        assert choose(LatticeFitter(problem), goal, 0.0).experience is None
        assert choose(LatticeFitter(problem), goal, 0.0, before=known).choices


def test_grids_of_one_tree_take_fewer_tries_and_equal_bytes_every_time(tried: list[tuple[Candidate, float]]) -> None:
    one = dense()
    grids = tuple(
        replace(one, name=str(power), leaf_values=np.abs(one.leaf_values) ** power) for power in (1, 0.9, 0.8)
    )
    settings = fc.VolumeSettings()
    alone = [fc.encode_volume(grid, settings).grids[0] for grid in grids]
    apart = len(tried)
    tried.clear()
    volume = fc.encode_volume(VolumeFile(grids), settings)
    assert len(tried) < 0.8 * apart
    assert volume.to_bytes() == fc.encode_volume(VolumeFile(grids), settings).to_bytes()
    assert all(grid.goal_met for grid in volume.grids)
    assert sum(grid.num_bytes for grid in volume.grids) <= 1.01 * sum(grid.num_bytes for grid in alone)


@pytest.mark.parametrize("first", [0.9, 1.02])
def test_where_the_step_hardly_matters_it_changes_by_much(first: float) -> None:
    found = find_step(lambda step: (first * (step / 0.05) ** 0.05, step), 0.05, 4)
    assert found is not None
    assert found > 0.1 if first < 1 else found < 0.04
