"""What a choice between methods tried, and why it took what it took."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Trial:
    """One encoding of a grid.

    Attributes:
        method: "lattice" or "network".
        detail: its settings in a few words.
        bytes, rmse: of the whole grid as encoded; None where it was not tried.
        excess: what was lost by what is allowed; 1 and below meets the goal.
        seconds: it took.
        verdict: why it was taken or not.
    """

    method: str
    detail: str = ""
    bytes: int | None = None
    rmse: float | None = None
    excess: float | None = None
    seconds: float = 0.0
    verdict: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
