"""How frames are put together and worked on."""

from dataclasses import dataclass

from fieldcodec.errors import UsageError
from fieldcodec.volume.sequence.layout import MAX_GROUP_FRAMES

_MOST_JOBS = 1024


@dataclass(frozen=True)
class SequenceSettings:
    """Settings of the encode of a sequence, beside those of its frames (`VolumeSettings`).

    The string under each field is also the help text of the command's option.
    """

    group_size: int = 16
    """Sequences: frames in a group; the first is a key frame, and the others may be stored as differences to the one
    before. To show a frame, its group is read, and up to that many frames decoded."""
    jobs: int = 1
    """Sequences: groups worked on side by side, each in a process of its own; 0: one for each processor."""
    restart: bool = False
    """Sequences: throw away the finished groups that an interrupted run left beside the output."""

    def __post_init__(self) -> None:
        if not 1 <= self.group_size <= MAX_GROUP_FRAMES:
            raise UsageError(f"group_size is {self.group_size}; allowed is 1 to {MAX_GROUP_FRAMES}")
        if not 0 <= self.jobs <= _MOST_JOBS:
            raise UsageError(f"jobs is {self.jobs}; allowed is 0 to {_MOST_JOBS}")
