"""Choices of lattices, and what a search found of them."""

from dataclasses import dataclass, replace
from typing import Any

from fieldcodec.lattice import basis


@dataclass(frozen=True)
class Candidate:
    """A choice of lattices.

    Attributes:
        levels: (stride, degree, ratio) from coarse to fine; a level's step is `ratio` times the search's step.
        residual: voxels' residuals are coded as well, with the search's step.
        refined: a network mends what the decoder has by then.
        signs: which active voxels lie inside the surface is stored as well.
        mesh_bits: bits of a coordinate of a coded mesh, which stands in the place of lattices; 0 where there is none.
    """

    levels: tuple[tuple[int, int, float], ...]
    residual: bool = False
    mesh_bits: int = 0
    refined: bool = False
    signs: bool = False

    def __str__(self) -> str:
        if self.mesh_bits:
            return f"mesh of {self.mesh_bits} bits"
        names = [basis.name(stride, degree) for stride, degree, _ in self.levels]
        names += ["residual"] * self.residual + ["refinement"] * self.refined + ["signs"] * self.signs
        return " + ".join(names) or "no lattice"


@dataclass(frozen=True)
class Choice:
    """What the search found of one candidate on the sample."""

    candidate: Candidate
    step: float
    bytes: int
    rmse: float

    def again(self, found: float, caution: float) -> "Choice":
        """For the next frame, where `caution` times the step was tried first and `found` is the one that was good."""
        return self if found == caution * self.step else replace(self, step=found / caution)

    def to_json(self) -> dict[str, Any]:
        return {"lattices": str(self.candidate), "step": self.step, "sample_bytes": self.bytes, "rmse": self.rmse}
