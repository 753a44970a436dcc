"""The fit: Adam over phases (NeuralVDB, equation 1 and section 3.3.1)."""

import math
import time
from collections.abc import Iterator

import numpy as np

from fieldcodec.fit.averaging import AveragedWeights, copied_weights, set_weights
from fieldcodec.fit.batches import batches
from fieldcodec.fit.held_out import HeldOut
from fieldcodec.fit.losses import Loss
from fieldcodec.fit.phases import FitEvent, FitResult, OnEvent, Phase
from fieldcodec.fit.rounding import choose_steps
from fieldcodec.fit.samplers import Sampler
from fieldcodec.fit.steps import EagerStep, GraphedStep, Step
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.modes import fitting_precision

_REPORT_EVERY = 10


def fit_network(
    network: ExpertNetwork, sampler: Sampler, phases: list[Phase], loss: Loss, *,
    seed: int, stage: str, on_event: OnEvent,
) -> FitResult:  # fmt: skip
    """Fits all experts of a network at once and leaves the result in it, with the steps to round it to if any.

    A network that has steps from the start keeps them, and is rounded in all phases.

    Returns:
        Steps, samples, smoothed loss per expert, seconds, and the loss before rounding.
    """
    start = time.monotonic()
    rng = np.random.default_rng(seed)
    device = network.weights[0].device
    held_out = HeldOut.of(sampler, network.spec.experts, seed, device)
    made = samples = 0
    smooth = free_loss = math.inf
    with fitting_precision(device):
        for number, planned in enumerate(phases):
            phase = planned.after(made)
            if phase.weight_bits and network.steps is None:
                free_loss = float(held_out.losses(network, loss).sum())
                network.steps = choose_steps(network, held_out, loss, phase)
            total = _planned_steps(phases[number:], made)
            for smooth in _run_phase(network, sampler, phase, loss, rng, held_out):
                made, samples = made + 1, samples + phase.batch_size * network.spec.experts
                if made % _REPORT_EVERY == 0 or made == total:
                    on_event(FitEvent(stage, made, total, smooth))
        if math.isinf(free_loss):
            free_loss = float(held_out.losses(network, loss).sum())
    if made:
        on_event(FitEvent(stage, made, made, smooth))
    else:  # nothing was to be done
        smooth = free_loss / network.spec.experts
    return FitResult(made, samples, smooth, time.monotonic() - start, free_loss)


def _planned_steps(phases: list[Phase], made: int) -> int:
    """Steps of a fit that has made some and has these phases left, if none of them ends early."""
    for phase in phases:
        made += phase.after(made).steps
    return made


def _run_phase(
    network: ExpertNetwork, sampler: Sampler, phase: Phase, loss: Loss, rng: np.random.Generator, held_out: HeldOut
) -> Iterator[float]:
    """Makes the steps of one phase and yields after each the smoothed loss, as of when it was last read.

    A phase that measures leaves averaged weights, or those it began with where they were no worse.
    """
    stopper = _Stopper(phase)
    steps = _steps(network, sampler, phase, loss, rng)
    if not phase.measure_every:
        for made, smooth, is_read in steps:
            yield smooth
            if is_read and stopper.should_stop(made, smooth):
                return
        return
    measured = found = _measured(network, loss, held_out)
    if found <= phase.target_loss:
        return
    first, average = copied_weights(network), AveragedWeights(network, phase.average_steps)
    for made, smooth, _ in steps:
        average.add()
        yield smooth
        if made % phase.measure_every == 0 or made == phase.steps:
            with average.in_place():
                measured = _measured(network, loss, held_out)
            if stopper.should_stop(made, measured):
                break
    set_weights(network, average.weights if measured < found else first)


def _steps(
    network: ExpertNetwork, sampler: Sampler, phase: Phase, loss: Loss, rng: np.random.Generator
) -> Iterator[tuple[int, float, bool]]:
    """Makes steps; yields how many are made, the smoothed loss, and whether that was read just now."""
    device = network.weights[0].device
    step: Step = GraphedStep(network, loss) if device.type == "cuda" else EagerStep(network, loss)
    read_every = 1 if device.type == "cpu" else _REPORT_EVERY  # reading waits for the device
    smooth = math.inf
    for index, (local, target) in enumerate(batches(sampler, phase, rng, device)):
        step.make(local, target, phase.rate(index))
        is_read = index % read_every == 0 or index + 1 == phase.steps
        if is_read:
            smooth = step.loss()
        yield index + 1, smooth, is_read


def _measured(network: ExpertNetwork, loss: Loss, held_out: HeldOut) -> float:
    """The loss on samples that are not trained on, averaged over experts."""
    return float(held_out.losses(network, loss).mean())


class _Stopper:
    """Ends a phase early: target reached, or no more progress."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self._best, self._best_step = math.inf, 0

    def should_stop(self, step: int, loss: float) -> bool:
        phase = self._phase
        if step < 30 and not phase.measure_every:  # the smoothed loss is not yet worth its name
            return False
        if loss <= phase.target_loss:
            return True
        if loss < self._best * (1 - phase.plateau_gain):
            self._best, self._best_step = loss, step
        return bool(phase.plateau_steps) and step - self._best_step > phase.plateau_steps
