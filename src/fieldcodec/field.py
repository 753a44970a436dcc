"""What everything that can be asked for values at points has in common."""

from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Field(Protocol):
    """A function of space that is known by its values at points: grids, compressed volumes, items of collections."""

    @property
    def channels(self) -> int:
        """Components of one value."""
        ...

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest corner [3] of the world-space box around what is active; None where nothing is."""
        ...

    def sample(self, points: Any, *, space: str = "world", interpolation: str = "trilinear") -> Any:
        """Values [..., C] at points [..., 3]: a NumPy array of an array, a tensor on the same device of a tensor."""
        ...
