"""What searches found on grids before, for the next one that is much like them: the same grid of the frame before, or
another grid of the file with as many voxels in as many leaves.

Few candidates come near the best, and they are mostly the same ones. So a search tries those that did so before, each
from the step that was good, and all the others where that went unlike before; and all of them now and then.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from fieldcodec.volume.lattice_choice import Candidate, Choice
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.quality import Goal

_NEAR = 1.25  # times the bytes of the best that a candidate may have taken to be tried again
_MISSED = 1.6  # times the error allowed that a candidate may have had at least to be tried again
_FORGOTTEN = 1.05  # how much the costs of candidates grow with every search in which they did worse, or were left out
_ALIKE = 1.4  # times the bytes a voxel by which grids may differ that are alike
_LASTS = 8  # searches in a row that may try only some candidates


@dataclass(frozen=True)
class Experience:
    """What a search found of its candidates.

    Attributes:
        costs: bytes in parts of the best, signs and refinement counted in; of candidates that met the goal. Grids
            differ, so what once did well is forgotten little by little.
        missed: of those that did not meet it, the least ratio of what was found to what was allowed.
        steps: the good ones, in parts of the step that a search begins with.
        per_voxel: the best one's bytes an active voxel.
        age: searches since one tried all candidates.
    """

    costs: Mapping[Candidate, float]
    missed: Mapping[Candidate, float]
    steps: Mapping[Candidate, float]
    per_voxel: float
    age: int = 0

    @staticmethod
    def of(
        choices: Sequence[Choice], missed: Mapping[Candidate, float], first: float, voxels: int,
        before: "Experience | None" = None, *, all_tried: bool = True,
    ) -> "Experience":  # fmt: skip
        """Of a search's choices.

        Args:
            first: the step that it would have begun with.
            voxels: active ones of its sample.
            before: what it knew.
            all_tried: it left no candidate out.
        """
        best = max(1, min(choice.bytes for choice in choices))
        known = before or Experience({}, {}, {}, 0.0)
        costs = {candidate: _FORGOTTEN * cost for candidate, cost in known.costs.items()}
        for choice in choices:
            candidate = _plain(choice.candidate)
            costs[candidate] = min(choice.bytes / best, costs.get(candidate, math.inf))
        steps = {**known.steps, **{choice.candidate: choice.step / first for choice in choices}}
        age = 0 if all_tried else known.age + 1
        return Experience(costs, {**known.missed, **missed}, steps, best / max(1, voxels), age)

    def likely(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Those worth trying, in their order; all of them now and then."""

        def is_near(candidate: Candidate) -> bool:
            return self.costs.get(candidate, math.inf) <= _NEAR or self.missed.get(candidate, math.inf) <= _MISSED

        near = tuple(candidate for candidate in candidates if is_near(candidate))
        return tuple(candidates) if self.age >= _LASTS or not near else near

    def agrees(self, choices: Sequence[Choice], voxels: int) -> bool:
        """Whether a search that tried only some candidates found about as many bytes a voxel as there were before."""
        if not choices:
            return False
        found = min(choice.bytes for choice in choices) / max(1, voxels)
        return self.per_voxel / _ALIKE <= found <= self.per_voxel * _ALIKE

    def step(self, candidate: Candidate, first: float) -> float | None:
        """Where to begin; None where nothing is known of the candidate."""
        known = self.steps.get(candidate)
        return None if known is None else known * first


@dataclass(eq=False)
class Notebook:
    """The experience of all searches for the grids of a file, or of the frames of a group; in the order of encoding."""

    _of_grids: dict[Hashable, Experience] = field(default_factory=dict)
    _of_trees: dict[Hashable, Experience] = field(default_factory=dict)

    def page(self, name: str, value_type: str, problem: LatticeProblem, goal: Goal) -> "Page":
        """Where to look up and note down what is found of a grid's problem."""
        demands = tuple(each.name for each in fields(goal) if getattr(goal, each.name) not in (None, False))
        kind = (value_type, problem.surface, problem.predicted is not None, demands)
        return Page(self, (name, *kind), (len(problem.origins), problem.num_active, *kind))

    def known(self, page: "Page") -> Experience | None:
        """Of the same grid of a frame before, else of a grid with as many voxels."""
        return self._of_grids.get(page.grid) or self._of_trees.get(page.tree)

    def note(self, page: "Page", experience: Experience) -> None:
        self._of_grids[page.grid] = self._of_trees[page.tree] = experience


@dataclass(frozen=True, eq=False)
class Page:
    """The place of a problem in a notebook: by its grid, and by its tree."""

    notebook: Notebook
    grid: Hashable
    tree: Hashable

    @property
    def known(self) -> Experience | None:
        return self.notebook.known(self)

    def note(self, experience: Experience) -> None:
        self.notebook.note(self, experience)


def _plain(candidate: Candidate) -> Candidate:
    """Without what is added to a candidate once it does well."""
    return replace(candidate, refined=False, signs=False)
