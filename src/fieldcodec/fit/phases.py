"""The schedule of a fit as data, and the events it reports."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A stretch of training steps with one rule.

    The learning rate of step i is `learning_rate * decay ** (i / decay_interval)` (NeuralVDB, Appendix E).
    """

    name: str
    steps: int  # one step is one batch; the paper calls it an epoch
    learning_rate: float
    decay: float = 1.0
    decay_interval: int = 100
    batch_size: int = 1 << 16  # samples of one expert in one step
    sample_interval: int = 1  # samples are drawn for this many steps at once and split into batches
    weight_bits: int = 0  # > 0: weights are rounded in the loop, as they will be stored
    target_loss: float = 0.0  # stop when the smoothed loss is below
    plateau_steps: int = 0  # > 0: stop when the smoothed loss has not fallen by `plateau_gain` over this many steps
    plateau_gain: float = 0.02


@dataclass(frozen=True)
class FitEvent:
    """Progress of an encode or decode; printing is the listener's job."""

    stage: str  # what is being done, e.g. "density: voxel values"
    step: int
    total: int
    loss: float | None = None


@dataclass(frozen=True)
class FitResult:
    """What a fit ended with: `loss` is the smoothed loss, `steps` those really made."""

    steps: int
    samples: int
    loss: float
    seconds: float
    rounding_loss: float = 0.0
    """By what part the root of the loss grows when the weights are rounded to what is stored."""


OnEvent = Callable[[FitEvent], None]


def ignore_event(event: FitEvent) -> None:
    """The listener of those who want none."""
