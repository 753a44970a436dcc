"""What the makers of sequences have in common: options, and which frames at which times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import VolumeFile

SMALLEST_RESOLUTION = 16
LARGEST_RESOLUTION = 1 << 14


@dataclass(frozen=True)
class SequenceOptions:
    """Options of a sequence. A frame is the same whichever range of frames it is made in.

    Frames are numbered from 0 to `frames` - 1 and evenly spaced in time, from `start` to `end`, both included.
    """

    resolution: int = 96
    """Voxels across the domain, which is 1 long in world space."""
    frames: int = 60
    """Frames in the whole sequence."""
    first_frame: int | None = None
    """Make no frame before this one; None means from the first."""
    last_frame: int | None = None
    """Make no frame after this one; None means to the last."""
    start: float | None = None
    """Seconds at the first frame; None leaves it to the kind."""
    end: float | None = None
    """Seconds at the last frame; None leaves it to the kind."""
    seed: int = 0
    """Another number, another sequence, where the kind has something random."""
    closed_box: bool = False
    """Plumes: a wall above, too, that keeps all smoke in the box."""

    def __post_init__(self) -> None:
        if not SMALLEST_RESOLUTION <= self.resolution <= LARGEST_RESOLUTION:
            raise UsageError(
                f"resolution is {self.resolution}; it counts voxels across, "
                f"from {SMALLEST_RESOLUTION} to {LARGEST_RESOLUTION}"
            )
        if self.frames < 1:
            raise UsageError(f"the number of frames is {self.frames}; it must be 1 at least")
        wanted = self.numbers
        if not (0 <= wanted.start < wanted.stop <= self.frames):
            raise UsageError(
                f"frames {wanted.start} to {wanted.stop - 1} were asked for, but the sequence has "
                f"frames 0 to {self.frames - 1}; ask for some of these, in order"
            )
        for name, seconds in (("start", self.start), ("end", self.end)):
            if seconds is not None and not (np.isfinite(seconds) and seconds >= 0):
                raise UsageError(f"{name} is {seconds}; it counts seconds and must not be negative")

    @property
    def numbers(self) -> range:
        """The numbers of the frames to make."""
        first = 0 if self.first_frame is None else self.first_frame
        last = self.frames - 1 if self.last_frame is None else self.last_frame
        return range(first, last + 1)

    def times(self, start: float, end: float) -> np.ndarray:
        """[frames] seconds of all frames; `start` and `end` are the kind's own.

        Raises:
            UsageError: the times do not go forward.
        """
        first, last = start if self.start is None else self.start, end if self.end is None else self.end
        if not (first < last or (first == last and self.frames == 1)):
            raise UsageError(f"the frames are to go from {first:g} to {last:g} seconds; the end must be the later one")
        return np.linspace(first, last, self.frames)


SequenceMaker = Callable[[SequenceOptions], Iterator[tuple[int, VolumeFile]]]
"""Frames one after another as (number, grids); no more than one is held."""
