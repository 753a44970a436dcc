"""What a piece of work took: seconds, memory, and the share of each stage."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event

Result = TypeVar("Result")
_OTHER = "other"


@dataclass(frozen=True)
class Effort:
    """One encode or decode."""

    seconds: float
    peak_bytes: int | None = None
    """Largest resident memory of the process meanwhile, the input included; None where the system cannot tell."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage, as the events of the work told; empty where there were none."""


def measured(work: Callable[[OnEvent], Result], on_event: OnEvent = ignore_event) -> tuple[Result, Effort]:
    """What a function returns, and what it took; the function is given the listener for its events."""
    has_peak = _forget_peak()
    clock = StageClock(on_event)
    result = work(clock)
    seconds, stages = clock.stop()
    return result, Effort(seconds, _peak_since_forgotten() if has_peak else None, stages)


class StageClock:
    """Passes events on, and adds up the seconds between them for each stage.

    The time up to an event belongs to the event's stage; that up to the first event of a stage (step 0) and that after
    the last event to `other`. Stages go by the part of their names after the grid's.
    """

    def __init__(self, on_event: OnEvent = ignore_event) -> None:
        self._on_event = on_event
        self._seconds: dict[str, float] = {}
        self._started = self._last = time.perf_counter()

    def __call__(self, event: FitEvent) -> None:
        self._add(event.stage.rpartition(": ")[2] if event.step else _OTHER)
        self._on_event(event)

    def stop(self) -> tuple[float, dict[str, float]]:
        """Seconds from the beginning, and those of each stage; none where there was no event."""
        if self._seconds:
            self._add(_OTHER)
        else:
            self._last = time.perf_counter()
        return self._last - self._started, self._seconds

    def _add(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _forget_peak() -> bool:
    """Lets the system measure the peak anew; False where it cannot (anything but Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak_since_forgotten() -> int | None:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
