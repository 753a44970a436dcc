"""Other processes compile a part of the kernels where nothing is compiled yet, and only there."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fieldcodec.cli import first_run, main
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.io.volumes import read_volumes, write_volumes
from fieldcodec.threads import VARIABLE


class _Helper:
    """Stands for a process."""

    def __init__(self, command: list[str], **_: object) -> None:
        self.command, self.ended = command, []
        STARTED.append(self)

    def terminate(self) -> None:
        self.ended.append("terminated")

    def wait(self) -> None:
        self.ended.append("waited for")


STARTED: list[_Helper] = []


@pytest.fixture(autouse=True)
def _processes(monkeypatch: pytest.MonkeyPatch) -> None:
    STARTED.clear()
    monkeypatch.setattr(first_run.subprocess, "Popen", _Helper)


@pytest.mark.parametrize(("threads", "processes"), [("1", 0), ("2", 1), ("3", 2), ("9", 3)])
def test_helpers_share_the_processors_and_end_with_the_command(
    threads: str, processes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first_run, "is_first_run", lambda: True)
    monkeypatch.setenv(VARIABLE, threads)
    before = gc.get_threshold()
    with pytest.raises(KeyError), first_run.helped_by_others(first_run.OF_ENCODING):
        first_run._COMPILE["none"]()
    assert {name for helper in STARTED for name in helper.command[3:]} == set(
        first_run.OF_ENCODING if processes else ()
    )
    assert len(STARTED) == processes
    assert all(helper.ended == ["terminated", "waited for"] for helper in STARTED)
    assert gc.get_threshold() == before
    assert "first run" in capsys.readouterr().err


def test_later_runs_have_no_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "4")
    for name in {*first_run.OF_ENCODING, *first_run.OF_DECODING}:
        first_run._COMPILE[name]()
    assert not first_run.is_first_run()
    with first_run.helped_by_others(first_run.OF_DECODING):
        assert not STARTED


def test_a_first_run_is_known_by_its_empty_folder_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one test that compiles: a command in a process of its own, whose kernels are kept in a new folder."""
    monkeypatch.undo()
    source, kernels = tmp_path / "ball.vdb", tmp_path / "kernels"
    write_volumes(source, VolumeFile((sphere_level_set(9.0),)))
    said = []
    for name in ("first", "second"):
        environment = os.environ | {VARIABLE: "2", "NUMBA_CACHE_DIR": str(kernels)}
        output = tmp_path / f"{name}.fcodec"
        command = [sys.executable, "-m", "fieldcodec", "encode", str(source), "--output", str(output)]
        said.append(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr)
    assert ["first run" in text for text in said] == [True, False]
    assert list(kernels.rglob("coefficient_kernels.code_group-*.nbi"))
    assert (tmp_path / "first.fcodec").read_bytes() == (tmp_path / "second.fcodec").read_bytes()
    assert main(["decode", str(tmp_path / "first.fcodec"), "--output", str(tmp_path / "back.vdb")]) == 0
    assert read_volumes(tmp_path / "back.vdb")[0].topology.num_active_voxels
