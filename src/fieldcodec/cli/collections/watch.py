"""An eye on a training: how good the objects are by now, and an end between two steps where Ctrl-C is pressed."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

from fieldcodec.cli.console import ProgressBars
from fieldcodec.collection.asset import Asset
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.training import CollectionTraining
from fieldcodec.metrics.shapes import overlap

_EVERY = 10.0  # seconds
_SHARE = 0.05  # of the time, at most, for looking
_OBJECTS = 3
_POINTS = 4096


class TrainingWatch:
    """Called after each step. As a context manager it holds Ctrl-C back until a step is done, so that what is kept
    is exact; a second Ctrl-C ends at once."""

    def __init__(self, bars: ProgressBars) -> None:
        self._bars = bars
        self._next = time.monotonic() + _EVERY
        self._is_asked_to_stop = False
        self._before: Any = None

    def __enter__(self) -> "TrainingWatch":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if self._is_asked_to_stop and error is None:  # asked behind the last step
            raise KeyboardInterrupt

    def __call__(self, training: CollectionTraining) -> None:
        if self._is_asked_to_stop:
            raise KeyboardInterrupt
        if not self._bars.is_shown or time.monotonic() < self._next:
            return
        start = time.monotonic()
        value = quick_overlap(training)
        self._bars.note("training", "" if value is None else f"gIoU {value:.1f} %")
        now = time.monotonic()
        self._next = now + max(_EVERY, (now - start) / _SHARE)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_asked_to_stop:
            raise KeyboardInterrupt
        self._is_asked_to_stop = True


@torch.no_grad()
def quick_overlap(training: CollectionTraining, objects: int = _OBJECTS, points: int = _POINTS) -> float | None:
    """Mean gIoU in percent of some objects on some points of each, as they are now; None where nothing is inside.

    Along the true octrees, since the file corrects those that come out wrong.
    """
    shapes = [(row, asset) for row, asset in enumerate(training.assets) if isinstance(asset, Asset)]
    found = []
    for place in np.unique(np.linspace(0, len(shapes) - 1, min(objects, len(shapes))).astype(int)).tolist():
        row, asset = shapes[place]
        tree = training.trees[row]
        kept = [torch.from_numpy(rows).to(training.device) for rows in tree.kept]
        none = [rows[:0] for rows in kept]
        latents = training.network(training.latents[row : row + 1], kept, none).latents
        inside = ItemField(training.network, tree, latents).distance(asset.volume.points[:points], space="model") < 0
        value = overlap(asset.volume.distances[:points] < 0, inside)
        if value is not None:
            found.append(value)
    return float(np.mean(found)) if found else None
