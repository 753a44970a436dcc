"""Grid -> lattice sections: the search, the final attempt, and its masks, checked against the goal as decoded.

SparseGrid --> LatticeProblem --> search on a sample --> attempts on the whole grid --> coefficients
                    |  \\                                                        \\-> leaf masks, guided by F
                    |   (with what an earlier frame says, and without)           \\-> residuals
                    \\-> motion
"""

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch

from fieldcodec.errors import FormatError, InputError
from fieldcodec.fit.phases import FitEvent, OnEvent
from fieldcodec.grid.lookup import negative_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh.coded import prepared
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.metrics.surface import interior_overlap, surface_distance
from fieldcodec.metrics.values import value_errors
from fieldcodec.nets.device import CPU
from fieldcodec.volume.lattice_choice import Choice
from fieldcodec.volume.lattice_codec import write_values
from fieldcodec.volume.lattice_encode import Attempt, LatticeFitter
from fieldcodec.volume.lattice_experience import Notebook, Page
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.lattice_search import Loss, choose, estimate_loss, excess, find_step
from fieldcodec.volume.quality import Goal
from fieldcodec.volume.temporal.motion_search import find_motion
from fieldcodec.volume.temporal.prediction import Prediction, Reference

_SAMPLE_LEAVES = 2048
_TRIES = 4
_CAUTIOUS = 0.98  # of a step that was good on a part of the leaves, or for another frame, to begin with
_MESH_BITS = (10, 11, 12, 13, 14)
_LEADING = 0.5  # of the error allowed, for a level set that others are predicted from
_TYPICAL_ERROR = 0.03  # scaled, where the goal is none for the values


@dataclass(frozen=True)
class LatticeEncoding:
    """A grid's values and leaf masks as sections, and how they were chosen.

    Attributes:
        meta: the description of the values.
        sections: by their names in reports.
        choices: what the search found of each candidate, in the order of preference.
        met: the goal was met.
        step: of the attempt, in scaled units.
    """

    meta: dict[str, Any]
    sections: dict[str, bytes]
    choices: list[Choice] = field(default_factory=list)
    met: bool = True
    step: float = 0.0

    @property
    def num_bytes(self) -> int:
        return sum(len(data) for data in self.sections.values())

    @property
    def is_predicted(self) -> bool:
        """Whether decoding needs the earlier frame."""
        return "motion" in self.meta


@dataclass(frozen=True)
class Habit:
    """What was chosen for an earlier frame that was predicted itself, and how many bytes another one may take by it."""

    choice: Choice
    bytes: int


def encode_lattice(
    grid: SparseGrid, goal: Goal, seed: int, on_event: OnEvent, mesh: Mesh | None = None, device: torch.device = CPU,
    reference: Reference | None = None, habit: Habit | None = None, leads: bool = False,
    notebook: Notebook | None = None,
) -> LatticeEncoding:  # fmt: skip
    """Values and leaf masks of a grid with active leaf voxels, all finite.

    Args:
        goal: in the file's units.
        seed: of the sample.
        mesh: in world space; what the level set was made from, which may be smaller than any lattice.
        device: where lattices are fitted.
        reference: the same grid of an earlier frame; values are predicted from it where that saves bytes.
        habit: what was chosen for that frame, which is tried first and taken where it still does well.
        leads: later frames are predicted from this one: a level set that is not predicted itself is then to be better
            than the goal, for its errors are handed on.
        notebook: what searches for other grids found; this one's are added.
    """
    stages = _Stages(grid.name or "unnamed", on_event)
    stages.begin("prepare")
    problem = LatticeProblem.of(grid)
    interior = float(negative_set(grid).count) if problem.surface else 0.0
    searches = []

    def search(problem: LatticeProblem, prediction: Prediction | None, goal: Goal) -> _Search:
        page = None if notebook is None else notebook.page(grid.name, grid.value_type.name, problem, goal)
        return _Search.of(problem, prediction, goal, interior, seed, device, page)

    if reference is not None and reference.distances == problem.surface:
        stages.begin("find motion")
        scaled = _on_sample(goal, problem, 1.0)
        prediction = find_motion(problem, reference, scaled.rmse or scaled.max_error or _TYPICAL_ERROR, seed)
        known = replace(problem, predicted=prediction.of(slice(None)), hints=prediction.hints())
        searches.append(search(known, prediction, goal))
        if habit is not None:
            usual = replace(searches[0].last(grid, stages), caution=_CAUTIOUS).encoding([habit.choice])
            if usual.met and usual.num_bytes <= habit.bytes:
                stages.end()
                caution = 1.0 if goal.lossless else _CAUTIOUS  # exact values take the choice's own step
                return replace(usual, choices=[habit.choice.again(usual.step, caution)])
        stages.begin("search on a sample of differences")
        searches[0].run(stages)
    better = leads and problem.surface and goal.size is None and not goal.lossless
    searches.append(search(problem, None, goal.finer(_LEADING) if better else goal))
    stages.begin("search on a sample")
    searches[-1].run(stages)
    encoding: LatticeEncoding | None = None
    if mesh is not None:
        with suppress(InputError, FormatError):  # raised for meshes that cannot be coded
            encoding = _by_mesh(searches[-1].last(grid, stages), searches[-1], mesh, interior)
    if encoding is None:
        encoding = _best(grid, searches, stages)
    stages.end()
    return encoding


def _best(grid: SparseGrid, searches: "list[_Search]", stages: "_Stages") -> LatticeEncoding:
    """By the first choice of all searches that meets the goal on the whole grid, else the nearest miss of the last."""
    ranked = [(search, choice) for search in searches for choice in search.choices]
    if len(searches) > 1:
        ranked.sort(key=lambda pair: pair[0].cost(pair[1]))
    for search, pairs in groupby(ranked, key=lambda pair: pair[0]):
        choices = [choice for _, choice in pairs]
        encoding = search.last(grid, stages).encoding(choices)
        if encoding.met:
            break
    return replace(encoding, choices=[*choices, *(choice for choice in search.choices if choice not in choices)])


@dataclass(eq=False)
class _Search:
    """The search for a lattice on a sample of a problem's leaves.

    Attributes:
        prediction: that the problem has; None where it has none.
        goal: in the file's units.
        share: of the whole that the sample is.
        page: where what was found before is looked up, and what is found now is noted; None where nobody asks.
        choices: what was found, in the order of preference.
    """

    prediction: Prediction | None
    goal: Goal
    fitter: LatticeFitter
    whole: LatticeFitter
    interior: float
    share: float
    page: Page | None
    choices: list[Choice] = field(default_factory=list)

    @staticmethod
    def of(
        problem: LatticeProblem, prediction: Prediction | None, goal: Goal, interior: float, seed: int,
        device: torch.device, page: Page | None,
    ) -> "_Search":  # fmt: skip
        sample = problem.sample(_SAMPLE_LEAVES, seed)
        share = sample.num_active / problem.num_active
        motion = None if prediction is None else prediction.motion.numbers
        fitter = LatticeFitter(sample, device, share, motion)
        whole = fitter if sample is problem else LatticeFitter(problem, device, 1.0, motion)
        return _Search(prediction, goal, fitter, whole, interior, share, page)

    def run(self, stages: "_Stages") -> None:
        goal = _on_sample(self.goal, self.whole.problem, self.share)
        before = None if self.page is None else self.page.known
        found = choose(self.fitter, goal, self.interior * self.share, stages.advance, before)
        if self.page is not None and found.experience is not None:
            self.page.note(found.experience)
        self.choices = found.choices
        self.whole.networks = self.fitter.networks

    @property
    def motion(self) -> bytes:
        return b"" if self.prediction is None else self.prediction.motion_bytes

    def cost(self, choice: Choice) -> float:
        """By which choices of searches are compared: bytes, or for a size the error; those not tried come last."""
        if choice.bytes == 0:
            return math.inf
        return choice.rmse if self.goal.size is not None else choice.bytes + len(self.motion) * self.share

    def last(self, grid: SparseGrid, stages: "_Stages") -> "_Last":
        size = self.goal.size
        goal = self.goal if size is None else replace(self.goal, size=max(1, size - len(self.motion)))
        # the search has measured surfaces otherwise, and a step beyond what they need makes their masks larger
        caution = 1.0 if self.whole is self.fitter and not self.whole.problem.surface else _CAUTIOUS
        return _Last(grid, goal, self.whole, stages, self.motion, caution)


def _by_mesh(last: "_Last", search: _Search, mesh: Mesh, interior: float) -> LatticeEncoding | None:
    """A coded mesh, where it meets the goal in fewer bytes than the best lattice took on the sample."""
    grid, goal = last.grid, last.goal
    sample, share = search.fitter.problem, search.share
    only_surface = goal.size is None and goal.max_error is None and not goal.lossless
    if not (sample.surface and only_surface and grid.transform.is_linear):
        return None
    closed = prepared(mesh)
    if closed is None:
        return None
    indexed = Mesh.of(grid.transform.to_index(closed.vertices), closed.triangles)
    voxel = float(grid.transform.voxel_size.mean())
    scaled, fitter = _on_sample(goal, last.fitter.problem, share), LatticeFitter(sample)
    found: list[Choice] = []
    for bits in _MESH_BITS:
        attempt = fitter.mesh_attempt(indexed, voxel, bits)
        loss = estimate_loss(sample, attempt, interior * share)
        if excess(scaled, loss, 0) > 1:
            continue
        masks_alone = fitter.num_bytes(attempt) - len(attempt.mesh)
        found.append(Choice(attempt.candidate, 0.0, masks_alone + int(len(attempt.mesh) * share), loss.rmse))
        if len(found) > 1 and found[-1].bytes > found[-2].bytes:
            break
    tried = sorted([*found, *search.choices], key=lambda choice: choice.bytes)
    for choice in tried:
        if not choice.candidate.mesh_bits:
            break
        full = last.fitter.mesh_attempt(indexed, voxel, choice.candidate.mesh_bits)
        if last.excess(full) <= 1:
            rest = [other for other in tried if other is not choice]
            return replace(last.finished(full), choices=[choice, *rest])
    return None


def _on_sample(goal: Goal, problem: LatticeProblem, share: float) -> Goal:
    """The goal in the problem's units, in which voxels of a level set are about 1; a size in proportion."""
    scale = float(problem.scale[0])
    return replace(
        goal,
        rmse=None if goal.rmse is None else goal.rmse / scale,
        max_error=None if goal.max_error is None else goal.max_error / scale,
        size=None if goal.size is None else max(1, int(goal.size * share)),
    )


@dataclass(frozen=True)
class _Last:
    """The last part of an encode, on the whole grid.

    Attributes:
        caution: by which the steps of choices are multiplied, to begin with.
    """

    grid: SparseGrid
    goal: Goal
    fitter: LatticeFitter
    stages: "_Stages"
    motion: bytes = b""
    caution: float = 1.0

    def encoding(self, choices: list[Choice]) -> LatticeEncoding:
        """By the first choice that meets the goal on the whole grid, else the nearest miss."""
        if self.goal.lossless:
            self.stages.begin("fit")
            attempt = self.fitter.attempt(choices[0].candidate, choices[0].step)
            return self.finished(self.fitter.exact(attempt))
        nearest: tuple[float, Attempt] | None = None
        for choice in choices:
            missed: list[tuple[float, Attempt]] = []

            def evaluate(
                step: float, choice: Choice = choice, missed: list[tuple[float, Attempt]] = missed
            ) -> tuple[float, Attempt]:
                self.stages.begin("fit")
                attempt = self.fitter.attempt(choice.candidate, step, bounded=self.goal.max_error is not None)
                self.stages.begin("compare")
                found = self.excess(attempt)
                if not missed or found < missed[0][0]:
                    missed[:] = [(found, attempt)]
                return found, attempt

            found = find_step(evaluate, self.caution * choice.step, _TRIES, falling=self.goal.size is not None)
            if found is not None:
                return self.finished(found)
            if nearest is None or missed[0][0] < nearest[0]:
                nearest = missed[0]
        assert nearest is not None
        return replace(self.finished(nearest[1]), met=False)

    def excess(self, attempt: Attempt) -> float:
        size = self.fitter.num_bytes(attempt) if self.goal.size is not None else 0
        return excess(self.goal, self._loss(attempt), size)

    def _loss(self, attempt: Attempt) -> Loss:
        """As measured on what a decoder would give."""
        grid = self.grid
        values = grid.leaf_values.copy()
        write_values(
            attempt.spec, attempt.decoded, values, grid.topology.leaf_active, grid.value_type, grid.save_as_half
        )
        decoded = replace(grid, leaf_values=values)
        errors = value_errors(grid, decoded)
        return Loss(
            errors.rmse or 0.0,
            errors.max_leaf or 0.0,
            interior_overlap(grid, decoded) if self.goal.iou is not None else None,
            surface_distance(grid, decoded) if self.goal.mcd is not None else None,
        )

    def finished(self, attempt: Attempt) -> LatticeEncoding:
        self.stages.begin("code masks and coefficients")
        spec, sections = self.fitter.coded(attempt)
        return LatticeEncoding(spec.to_json(), sections | {"motion": self.motion}, step=attempt.step)


class _Stages:
    """Tells a listener which stage has begun, and that the one before has ended."""

    def __init__(self, name: str, on_event: OnEvent) -> None:
        self._name, self._on_event = name, on_event
        self._stage: str | None = None

    def begin(self, stage: str) -> None:
        self.end()
        self._stage = f"{self._name}: {stage}"
        self._on_event(FitEvent(self._stage, 0, 1))

    def advance(self, done: int, total: int) -> None:
        if self._stage is not None and done > 0:
            self._on_event(FitEvent(self._stage, done, total))

    def end(self) -> None:
        if self._stage is not None:
            self._on_event(FitEvent(self._stage, 1, 1))
        self._stage = None
