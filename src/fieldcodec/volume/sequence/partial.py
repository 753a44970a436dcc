"""What an interrupted encode leaves behind, so that the next run goes on: a folder beside the output.

smoke.fcodec.partial/job.json               settings and inputs of the run
                     group_000000.fcodec    a finished group, there completely or not at all
                     group_000000.json      what was measured of it
"""

import json
import mmap
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldcodec.container.container import Container
from fieldcodec.container.files import write_atomically
from fieldcodec.errors import FormatError, InputError, UsageError
from fieldcodec.volume.sequence.measure import FrameMeasure

_JOB = "job.json"


class PartialFolder:
    """Finished groups of one job."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.partial")

    def prepare(self, job: dict[str, Any], *, restart: bool) -> None:
        """Makes the folder, or takes it over from an interrupted run of the very same job.

        Args:
            job: all that the groups depend on; plain values. Without the key "resumable" nothing is taken over.

        Raises:
            UsageError: the folder is that of another job.
            InputError: it cannot be made.
        """
        text = json.dumps(job, sort_keys=True)
        found = self._found_job()
        if found is not None and not restart and _is_resumable(found):
            if found == text:
                return
            raise UsageError(
                f"{self.path} holds finished groups of an interrupted run that differs in {_differences(found, job)}; "
                "give the same again to go on, or --restart (restart=True) to throw them away"
            )
        self.remove()
        try:
            self.path.mkdir()
        except OSError as error:
            raise InputError(f"cannot make the folder {self.path}: {error.strerror or error}") from error
        write_atomically(self.path / _JOB, [text.encode("utf-8")])

    def save_group(self, row: int, data: bytes, measures: Sequence[FrameMeasure]) -> None:
        """Keeps a finished group; what was measured comes first, so that the group is the sign that both are there."""
        text = json.dumps([measure.to_json() for measure in measures])
        write_atomically(self._measures(row), [text.encode("utf-8")], overwrite=True)
        write_atomically(self._group(row), [data], overwrite=True)

    def has_group(self, row: int) -> bool:
        """Whether a group is finished and sound; one that is not is thrown away."""
        if not self._group(row).is_file():
            return False
        try:
            Container.from_bytes(self.group_view(row)).verify()
            self.measures(row)
        except (FormatError, InputError):
            self._group(row).unlink()
            return False
        return True

    def group_view(self, row: int) -> memoryview:
        """The bytes of a finished group, mapped: they stay on disk until they are read."""
        try:
            with open(self._group(row), "rb") as file:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {self._group(row)}: {error}; give --restart") from error

    def measures(self, row: int) -> list[FrameMeasure]:
        """What was measured of the frames of a finished group."""
        try:
            return [FrameMeasure.from_json(data) for data in json.loads(self._measures(row).read_text("utf-8"))]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self._measures(row)} cannot be read: {error}; give --restart") from error

    def remove(self) -> None:
        """Deletes the folder, where it is one of ours or empty.

        Raises:
            InputError: something else is in it.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir() or (any(self.path.iterdir()) and self._found_job() is None):
            raise InputError(f"{self.path} is no folder of unfinished groups; move it away")
        shutil.rmtree(self.path)

    def _group(self, row: int) -> Path:
        return self.path / f"group_{row:06d}.fcodec"

    def _measures(self, row: int) -> Path:
        return self.path / f"group_{row:06d}.json"

    def _found_job(self) -> str | None:
        try:
            return (self.path / _JOB).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None


def _is_resumable(text: str) -> bool:
    job = _parsed(text)
    return job is None or bool(job.get("resumable"))  # one that cannot be read is not ours to throw away


def _differences(text: str, job: dict[str, Any]) -> str:
    """The names of what differs between two jobs."""
    found = _parsed(text) or {}
    return ", ".join(key for key in sorted({*found, *job}) if found.get(key) != job.get(key)) or "contents"


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        job = json.loads(text)
    except ValueError:
        return None
    return job if isinstance(job, dict) else None
