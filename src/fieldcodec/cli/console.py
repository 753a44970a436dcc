"""What the command prints: results on stdout, talk and progress bars on stderr."""

import json
import math
import sys
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class StageEvent(Protocol):
    """What a progress bar needs of an event; `fieldcodec.fit.phases.FitEvent` is one."""

    @property
    def stage(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def loss(self) -> float | None: ...


def say(text: str) -> None:
    """A line of talk, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def result(text: str) -> None:
    """A line of the result, on stdout."""
    sys.stdout.write(text + "\n")


def result_json(data: dict[str, Any]) -> None:
    """The result for programs, on stdout: strict JSON, NaN and infinity as null."""
    result(to_json_text(data))


def to_json_text(data: dict[str, Any]) -> str:
    """Strict JSON: NaN and infinity, which JSON has not, become null."""
    return json.dumps(_finite(data), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class ProgressBars:
    """A bar per stage on stderr; silent where stderr is no terminal.

    Used as a context manager, and called with each event of an encode or decode.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[loss]} {task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "ProgressBars":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: StageEvent) -> None:
        self._update(event.stage, event.step, event.total, event.loss)

    def share(self, stage: str, share: float) -> None:
        """Progress as a share from 0 to 1."""
        self._update(stage, round(share * 1000), 1000, None)

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees the bars."""
        return not self._progress.disable

    def note(self, stage: str, text: str) -> None:
        """A few words behind the bar of a stage that has begun."""
        if stage in self._tasks:
            self._progress.update(self._tasks[stage], note=text)

    def _update(self, stage: str, step: int, total: int, loss: float | None) -> None:
        if self._progress.disable:
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, loss="", note="")
        shown = "" if loss is None else f"loss {loss:.3g}"
        self._progress.update(self._tasks[stage], completed=step, total=total, loss=shown)
