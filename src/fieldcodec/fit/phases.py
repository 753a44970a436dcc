"""The schedule of a fit as data, and the events it reports."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Phase:
    """A stretch of training steps with one rule."""

    name: str
    steps: int  # one step is one batch; the paper calls it an epoch
    learning_rate: float
    decay: float = 1.0
    decay_interval: int = 100
    fade: float = 0.0  # the part of the learning rate that is gone at the end of the phase, taken off evenly
    share: float = 0.0  # > 0: no more steps than this times those made before the phase
    batch_size: int = 1 << 16  # samples of one expert in one step
    sample_interval: int = 1  # samples are drawn for this many steps at once and split into batches
    weight_bits: int = 0  # > 0: parameters are rounded in the loop, as they will be stored
    rounding_tolerance: float = 0.0  # > 0: rounded to fewer bits while the loss grows by no more than this part
    rounding_limit: float = 0.0  # > 0: a loss below this may grow up to it instead, however much or little that is
    target_loss: float = 0.0  # stop when the loss, smoothed, is below
    measure_every: int = 0  # > 0: what ends the phase is measured on other samples, of averaged weights, so often
    average_steps: int = 1  # whose weights are averaged for that
    plateau_steps: int = 0  # > 0: stop when the smoothed loss has not fallen by `plateau_gain` over this many steps
    plateau_gain: float = 0.02

    def rate(self, step: int) -> float:
        """The learning rate of a step, the first being 0: NeuralVDB's (Appendix E), faded."""
        faded = 1 - self.fade * step / self.steps
        return self.learning_rate * self.decay ** (step / self.decay_interval) * faded

    def after(self, made: int) -> "Phase":
        """The phase as it is run after `made` steps."""
        return replace(self, steps=min(self.steps, math.ceil(self.share * made))) if self.share else self


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
    free_loss: float
    """On samples that were not trained on, summed over experts, before parameters were rounded; with parameters
    that were rounded from the start, as rounded."""
    rounding_loss: float = 0.0
    """By what part the root of the loss grows when the weights are rounded to what is stored."""
    goal: float = 0.0
    """The loss that the fit of a later frame is to reach, as a mean over experts on samples that were not trained on:
    that of the first frame as stored."""
    from_earlier: bool = False
    """Whether the fit started from the weights of the frame before."""


OnEvent = Callable[[FitEvent], None]


def ignore_event(event: FitEvent) -> None:
    """The listener of those who want none."""
