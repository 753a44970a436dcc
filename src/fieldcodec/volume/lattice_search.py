"""The search for a lattice that meets a goal in fewest bytes: first which one, on a sample; then its step, on all.

The knob is one number, the step of the quantiser in scaled units: every measure of loss grows with it, and the
bytes fall. A few attempts by false position in the logarithm of both find the step that just meets the goal.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from fieldcodec.volume.lattice_choice import Candidate, Choice
from fieldcodec.volume.lattice_encode import Attempt, LatticeFitter
from fieldcodec.volume.lattice_experience import Experience
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.quality import Goal

_T = TypeVar("_T")
_NEAR_SURFACE = 0.7  # voxels: where the error of the decoded distance is that of the surface
_TRIES = 5
_GOOD_ENOUGH = 0.95  # of what is allowed
_SMALLEST, _LARGEST = 1e-7, 30.0  # steps
_FIRST_SURFACE, _FIRST_OTHER = 0.6, 0.05
_WORTH_A_NETWORK = 8000  # bytes of a grid below which a network cannot pay
_EXPECTED = 1.1  # ratio of steps that a network usually allows
_ALMOST = 0.8  # of what the other demands allow: coarser steps would hardly be allowed
_FAR, _FLAT = 0.3, 0.15  # of logarithms: a step that counts as another, a slope that counts as none
_FLATTEST = 0.1  # slope that is reckoned with at least
_WORSE = 1.03  # finer candidates are no longer tried when two in a row take so much more than the best
_LAST_RESORT = 0.05
_LOSSLESS_STEPS = (0.05, 0.01, 0.002)

# From coarse to fine. Beside a residual, which predicts voxels from their neighbours by itself, a lattice pays only
# with a step larger than the residual's.
_SURFACE = (
    Candidate(((8, 3, 1.0),)),
    Candidate(((6, 3, 1.0),)),
    Candidate(((4, 3, 1.0),)),
    Candidate(((8, 3, 1.0), (4, 3, 0.7))),
    Candidate(((2, 3, 1.0),)),
    Candidate(((4, 3, 1.6),), residual=True),
)
_BOUNDED = (
    Candidate((), residual=True),
    Candidate(((8, 3, 4.0),), residual=True),
    Candidate(((4, 1, 3.0),), residual=True),
    Candidate(((4, 3, 1.6),), residual=True),
)
_PREDICTED_SURFACE = (
    Candidate(()),
    Candidate(((16, 3, 1.0),)),
    Candidate(((8, 3, 1.0),)),
    Candidate(((4, 3, 1.0),)),
    Candidate((), residual=True),
)
_PREDICTED_OTHER = (
    Candidate(()),
    Candidate(((8, 3, 1.0),)),
    Candidate(((4, 3, 1.0),)),
    Candidate((), residual=True),
    Candidate(((8, 3, 4.0),), residual=True),
)
_OTHER = (
    Candidate(((8, 3, 1.0),)),
    Candidate(((4, 3, 1.0),)),
    Candidate(((4, 1, 1.0),)),
    Candidate(((2, 1, 1.0),)),
    *_BOUNDED,
)


@dataclass(frozen=True)
class Loss:
    """What an attempt loses; `iou` and `mcd` (in voxels) of surfaces only."""

    rmse: float
    max_error: float
    iou: float | None = None
    mcd: float | None = None


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        choices: of each candidate that meets the goal on the sample: fewest bytes first, for a size least error.
        experience: for searches on grids much like this one; None where it would be of no use to them.
    """

    choices: list[Choice]
    experience: Experience | None = None


def choose(
    fitter: LatticeFitter, goal: Goal, interior: float,
    on_tried: Callable[[int, int], None] = lambda done, total: None, before: Experience | None = None,
) -> Found:  # fmt: skip
    """What candidates need to meet the goal on a sample of leaves.

    Args:
        fitter: of the sample.
        goal: in scaled units; a size is that of the sample.
        interior: see `estimate_loss`.
        on_tried: told how many candidates of how many are done.
        before: of grids much like this one: candidates that were far from the best are then left out, unless the
            bytes of the others turn out unlike what they were.
    """
    sample = fitter.problem
    candidates = _candidates(goal, sample)
    if goal.lossless:
        return Found(_lossless_choices(fitter, candidates, on_tried))
    if goal.size is not None:
        before = None  # steps that meet a size tell nothing of other grids
    tries = _Tries(fitter, goal, interior, before)
    likely = candidates if before is None else before.likely(candidates)
    choices = tries.of(likely, on_tried)
    if before is not None and len(likely) < len(candidates) and not before.agrees(choices, sample.num_active):
        likely, choices = candidates, tries.of(candidates, on_tried)
    on_tried(len(likely), len(likely) + 1)
    first = first_step(goal, sample.surface)
    if not choices:  # nothing met the goal in the tries it was given: the whole grid gets more
        if goal.size is not None:
            return Found([Choice(candidates[0], first, 0, 0.0)])
        return Found([Choice(candidates[-1], _LAST_RESORT * first, 0, 0.0)])
    choices.sort(key=lambda choice: choice.rmse if goal.size is not None else choice.bytes)
    choices = tries.with_refinement(choices)
    if goal.size is not None:
        return Found(choices)
    voxels, all_tried = sample.num_active, len(likely) == len(candidates)
    return Found(choices, Experience.of(choices, tries.missed, first, voxels, before, all_tried=all_tried))


@dataclass(eq=False)
class _Tries:
    """Tries candidates one by one, none of them twice.

    Attributes:
        before: see `choose`.
        missed: of candidates that do not meet the goal, the least ratio of what was found to what is allowed.
    """

    fitter: LatticeFitter
    goal: Goal
    interior: float
    before: Experience | None
    missed: dict[Candidate, float] = field(default_factory=dict)
    _done: dict[Candidate, Choice | None] = field(default_factory=dict)

    def of(self, candidates: Sequence[Candidate], on_tried: Callable[[int, int], None]) -> list[Choice]:
        """The choices of those that meet the goal, up to where they are past the best."""
        choices = list[Choice]()
        for number, candidate in enumerate(candidates):
            on_tried(number, len(candidates) + 1)
            if candidate not in self._done:
                found = self._coarsest(candidate)
                if self.goal.iou is not None and self.fitter.problem.surface:
                    found = self._with_signs(candidate, found)
                self._done[candidate] = None if found is None else found[0]
            choice = self._done[candidate]
            choices += [] if choice is None else [choice]
            if _is_past_best(choices, self.goal):
                break
        return choices

    def with_refinement(self, choices: list[Choice]) -> list[Choice]:
        """Before the best choice the same with a network, where that is better still."""
        best, by_size = choices[0], self.goal.size is not None
        if self.goal.max_error is not None or best.bytes < _WORTH_A_NETWORK * self.fitter.share:
            return choices
        found = self._coarsest(replace(best.candidate, refined=True), best.step * _EXPECTED ** (-1 if by_size else 1))
        if found is None:
            return choices
        refined = found[0]
        better = refined.rmse < best.rmse if by_size else refined.bytes < best.bytes
        return [refined, *choices] if better else choices

    def _coarsest(self, candidate: Candidate, first: float | None = None) -> tuple[Choice, Loss] | None:
        """What the candidate needs to meet the goal on the fitter's leaves; None where it does not.

        Args:
            first: step to begin with, where none was good before.
        """
        fitter, goal, excesses = self.fitter, self.goal, list[float]()

        def evaluate(step: float) -> tuple[float, tuple[Attempt, Loss]]:
            attempt = fitter.attempt(candidate, step, bounded=goal.max_error is not None)
            loss = estimate_loss(fitter.problem, attempt, self.interior)
            excesses.append(excess(goal, loss, fitter.num_bytes(attempt) if goal.size is not None else 0))
            return excesses[-1], (attempt, loss)

        found = find_step(evaluate, self._first(candidate, first), _TRIES, falling=goal.size is not None)
        if found is None:
            self.missed[candidate] = min(excesses)
            return None
        attempt, loss = found
        if fitter.found is None or fitter.num_bytes(attempt) < fitter.num_bytes(fitter.found):
            fitter.found = attempt
        return Choice(candidate, attempt.step, fitter.num_bytes(attempt), loss.rmse), loss

    def _with_signs(self, candidate: Candidate, found: tuple[Choice, Loss] | None) -> tuple[Choice, Loss] | None:
        """The candidate with stored signs where that takes fewer bytes: where the overlap is the hardest demand."""
        if found is not None and excess(replace(self.goal, iou=None), found[1], 0) > _ALMOST:
            return found
        signed = self._coarsest(replace(candidate, signs=True))
        if signed is None or (found is not None and found[0].bytes <= signed[0].bytes):
            return found
        return signed

    def _first(self, candidate: Candidate, usual: float | None) -> float:
        """The step that was good for the candidate before, else `usual`, or what another one with a residual took."""
        first = first_step(self.goal, self.fitter.problem.surface)
        known = None if self.before is None else self.before.step(candidate, first)
        if known is not None or usual is not None:
            return known or usual or first
        if not candidate.residual or self.goal.size is not None:
            return first
        steps = [choice.step for choice in self._done.values() if choice is not None and choice.candidate.residual]
        return steps[-1] if steps else first


def _is_past_best(choices: list[Choice], goal: Goal) -> bool:
    """Whether the last two candidates were worse than the best: they are ordered from coarse to fine."""
    if len(choices) < 3:
        return False
    costs = [choice.rmse if goal.size is not None else choice.bytes for choice in choices]
    return min(costs[-2:]) > _WORSE * min(costs)


def estimate_loss(problem: LatticeProblem, attempt: Attempt, interior: float) -> Loss:
    """The loss over active voxels of the problem's leaves, in scaled units; of surfaces an estimate.

    Args:
        interior: voxels inside the surface that belong to these leaves, deep ones counted in.
    """
    unit = np.float32(attempt.spec.unit[0] / problem.scale[0])
    squares, largest, near_sum, near_count, wrong = 0.0, 0.0, 0.0, 0, 0
    for start in range(0, len(problem.origins), 4096):
        rows = slice(start, start + 4096)
        active = problem.active[rows]
        target = problem.targets[:, rows][:, active]
        decoded = attempt.decoded[:, rows][:, active] * unit
        error = np.abs(decoded - target)
        squares += float(np.dot(error.ravel(), error.ravel()))
        largest = max(largest, float(error.max(initial=0.0)))
        if problem.surface:
            near = np.abs(target) < _NEAR_SURFACE
            wrong += int(np.count_nonzero((decoded < 0) != (target < 0)))
            near_sum, near_count = near_sum + float(error[near].sum()), near_count + int(np.count_nonzero(near))
    rmse = math.sqrt(squares / max(1, problem.num_active * problem.channels))
    if not problem.surface:
        return Loss(rmse, largest)
    return Loss(rmse, largest, 1 - wrong / max(1.0, interior), near_sum / max(1, near_count))


def excess(goal: Goal, loss: Loss, size: int) -> float:
    """Ratio of what was found to what is allowed, the largest; 1 and below meets the goal."""
    if goal.size is not None:
        return size / goal.size
    return goal.excess(rmse=loss.rmse, max_error=loss.max_error, iou=loss.iou, mcd=loss.mcd)


def first_step(goal: Goal, surface: bool) -> float:
    """Where a search begins."""
    if goal.max_error is not None:
        return 2 * goal.max_error
    if surface:
        return _FIRST_SURFACE if goal.mcd is None else 10 * goal.mcd
    return _FIRST_OTHER if goal.rmse is None else 1.5 * goal.rmse


def find_step(
    evaluate: Callable[[float], tuple[float, _T]], first: float, tries: int, *, falling: bool = False
) -> _T | None:
    """What `evaluate` gave for the step whose excess is just below 1; None where it never was.

    Args:
        evaluate: step -> (excess, result); the excess grows with the step, or, where `falling`, it falls and the
            smallest good step is wanted.
    """
    known: list[tuple[float, float]] = []  # log step, log excess
    step, sign = first, -1.0 if falling else 1.0
    best: tuple[float, _T] | None = None
    for _ in range(tries):
        found, result = evaluate(step)
        known.append((math.log(step), math.log(max(found, 1e-9))))
        if found <= 1 and (best is None or sign * (step - best[0]) > 0):
            best = step, result
        if _GOOD_ENOUGH <= found <= 1:
            break
        if best is None and _is_hopeless(known, sign):
            break
        step = math.exp(_next_step(known, sign))
        if not _SMALLEST <= step <= _LARGEST:
            break
    return None if best is None else best[1]


def _is_hopeless(known: Sequence[tuple[float, float]], sign: float) -> bool:
    """Whether a much smaller step (larger, where `falling`) hardly helped, so that none will do."""
    if len(known) < 2:
        return False
    (before, much), (after, less) = known[-2], known[-1]
    if abs(after - before) < _FAR or less < 0:
        return False
    return sign * (much - less) / (before - after) < _FLAT


def _next_step(known: Sequence[tuple[float, float]], sign: float) -> float:
    """Log of the step where the line through the two most telling points meets an excess a little below 1."""
    aim = math.log((1 + _GOOD_ENOUGH) / 2)
    good = [point for point in known if point[1] <= 0]
    bad = [point for point in known if point[1] > 0]
    if good and bad:
        a = max(good, key=lambda point: sign * point[0])
        b = min(bad, key=lambda point: sign * point[0])
        low, high = sorted((a[0], b[0]))
        met = a[0] + (aim - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
        return min(max(met, low + 0.1 * (high - low)), high - 0.1 * (high - low))
    last = known[-1]
    if len(known) > 1 and last[0] != known[-2][0]:
        slope = sign * (last[1] - known[-2][1]) / (last[0] - known[-2][0])
        # where the step hardly matters, small ones would never get anywhere
        return last[0] + sign * min(max((aim - last[1]) / max(slope, _FLATTEST), -2.5), 2.5)
    return last[0] + sign * min(max(aim - last[1], -2.0), 2.0)


def _candidates(goal: Goal, problem: LatticeProblem) -> tuple[Candidate, ...]:
    """What is worth trying; a bound on every voxel and exact values need residuals."""
    if goal.lossless:
        return tuple(replace(candidate, residual=False) for candidate in _BOUNDED)
    if goal.max_error is not None:
        return _BOUNDED
    if problem.predicted is not None:
        return _PREDICTED_SURFACE if problem.surface else _PREDICTED_OTHER
    return _SURFACE if problem.surface else _OTHER


def _lossless_choices(
    fitter: LatticeFitter, candidates: Sequence[Candidate], on_tried: Callable[[int, int], None]
) -> list[Choice]:
    """Those of a few steps, fewest bytes first."""
    choices = list[Choice]()
    for number, candidate in enumerate(candidates):
        on_tried(number, len(candidates) + 1)
        steps = _LOSSLESS_STEPS if candidate.levels else _LOSSLESS_STEPS[:1]  # without lattice they are all alike
        for step in steps:
            attempt = fitter.exact(fitter.attempt(candidate, step))
            choices.append(Choice(candidate, step, fitter.num_bytes(attempt), 0.0))
    on_tried(len(candidates), len(candidates) + 1)
    return sorted(choices, key=lambda choice: choice.bytes)
