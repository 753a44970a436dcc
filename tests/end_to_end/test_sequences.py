"""Sequences by command: patterns in, frames out, interrupted and resumed, appended, compared."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.testing.commands import error_of, json_of, run
from fieldcodec.testing.samples import dense

FRAMES = (7, 8, 9, 10, 11)


def _labels(number: int) -> SparseGrid:
    return replace(dense("int32", side=4, seed=number), name="labels")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five frames; a second grid is there from frame 8 to 10."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in FRAMES:
        grids: list[SparseGrid] = [_labels(number)]
        if 8 <= number <= 10:
            grids.append(replace(dense("float", side=4, seed=number), name="heat"))
        fc.write_volumes(folder / f"smoke_{number:04d}.vdb", VolumeFile(tuple(grids)))
    return folder


@pytest.fixture
def small(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "smoke.fcodec"
    assert run("encode", folder / "smoke_*.vdb", "-o", path, "--group-size", 2, "--no-check") == 0
    capsys.readouterr()
    return path


def test_encode_info_decode_compare(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "smoke.fcodec"
    report = json_of(capsys, "encode", folder / "smoke_$F4.vdb", "-o", small, "--group-size", 2)
    assert [frame["number"] for frame in report["frames"]] == list(FRAMES)
    assert report["bytes"] == small.stat().st_size
    assert all(grid["topology_identical"] and grid["rmse"] == 0 for f in report["frames"] for grid in f["grids"])
    assert [frame["grids"][0]["flicker"] for frame in report["frames"]] == [None, 0, 0, 0, 0]
    assert [(grid["name"], grid["frames"]) for grid in report["grids"]] == [("labels", [[7, 11]]), ("heat", [[8, 10]])]
    assert report["grids"][0]["flicker"]["worst"] == 0
    assert report["seconds_per_frame"] > 0
    info = json_of(capsys, "info", small)
    assert (info["kind"], [group["frames"] for group in info["groups"]]) == ("sequence", [[7, 8], [9, 10], [11]])
    assert info["frames"][0]["name"] == "smoke_0007.vdb"
    assert sum(frame["bytes"] for frame in info["frames"]) == sum(group["bytes"] for group in info["groups"])
    assert info["grids"][1]["frames"] == [[8, 10]]
    assert [grid["name"] for grid in json_of(capsys, "info", small, "--frame", 9)["grids"]] == [
        "labels",
        "heat",
    ]
    back = json_of(capsys, "decode", small, "-o", tmp_path / "back" / "s.%d.vdb", "--frames", "8-9,11")
    assert [Path(frame["output"]).name for frame in back["frames"]] == ["s.8.vdb", "s.9.vdb", "s.11.vdb"]
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["s.11.vdb", "s.8.vdb", "s.9.vdb"]
    assert run("decode", small, "-o", tmp_path / "all") == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [f"smoke_{n:04d}.vdb" for n in FRAMES]
    for number in FRAMES:
        name = f"smoke_{number:04d}.vdb"
        first, second = fc.read_volumes(folder / name), fc.read_volumes(tmp_path / "all" / name)
        assert [grid.name for grid in first] == [grid.name for grid in second]
        assert np.array_equal(first[0].leaf_values, second[0].leaf_values)  # type: ignore[union-attr]
    for other in (small, tmp_path / "all", tmp_path / "all" / "smoke_*.vdb"):
        compared = json_of(capsys, "compare", folder / "smoke_*.vdb", other)
        assert [frame["number"] for frame in compared["frames"]] == list(FRAMES)
        assert compared["grids"][0]["flicker"]["mean"] == 0


def test_info_does_without_torch_and_without_the_groups(small: Path) -> None:
    data = bytearray(small.read_bytes())
    data[-1] ^= 1
    small.write_bytes(data)
    code = (
        "import sys; from fieldcodec import cli; code = cli.main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, "info", str(small)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 frames (7-11) in 3 groups" in done.stdout
    assert "8-10" in done.stdout


def test_tables_for_people(tmp_path: Path, folder: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("encode", folder, "-o", tmp_path / "x.fcodec") == 0
    out = capsys.readouterr().out
    assert "5 frames (7-11)" in out
    assert "exact" in out
    assert run("compare", folder, small) == 0
    assert "identical" in capsys.readouterr().out


def test_files_of_a_shell_pattern_and_a_choice_of_frames(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(folder.iterdir())
    report = json_of(capsys, "encode", *files, "-o", tmp_path / "a.fcodec", "--frames", "8-9", "--no-check")
    assert [frame["number"] for frame in report["frames"]] == [8, 9]
    assert report["frames"][0]["grids"][0]["rmse"] is None
    assert "there are 7-11" in error_of(capsys, 2, "encode", *files, "-o", tmp_path / "b.fcodec", "--frames", "20-30")


def test_gaps_are_told_and_duplicates_refused(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (folder / "smoke_0009.vdb").unlink()
    assert run("encode", folder, "-o", tmp_path / "a.fcodec", "--no-check") == 0
    assert "warning: 1 frames are missing: 9" in capsys.readouterr().err
    assert "missing: 9" in _text(capsys, "info", tmp_path / "a.fcodec")
    (folder / "smoke_8.vdb").write_bytes((folder / "smoke_0008.vdb").read_bytes())
    assert "are both frame 8" in error_of(capsys, 3, "encode", folder, "-o", tmp_path / "b.fcodec")


def _text(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert run(*arguments) == 0
    return capsys.readouterr().out


def test_appended_frames(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "a.fcodec"
    assert run("encode", folder, "--frames", "7-9", "-o", small, "--no-check") == 0
    assert run("encode", "--append", folder / "smoke_%04d.vdb", "--frames", "10-11", "-o", small, "--no-check") == 0
    assert json_of(capsys, "compare", folder, small)["failures"] == []
    assert "has the frames 7-11 already" in error_of(capsys, 3, "encode", "--append", folder, "-o", small)
    missing = tmp_path / "no.fcodec"
    assert "does not exist" in error_of(capsys, 3, "encode", "--append", folder, "-o", missing)


def test_frames_without_the_grids_asked_for_are_empty(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "a.fcodec"
    report = json_of(capsys, "encode", folder, "-o", small, "--grids", "heat", "--group-size", "1")
    assert [len(frame["grids"]) for frame in report["frames"]] == [0, 1, 1, 1, 0]
    back = json_of(capsys, "decode", small, "-o", tmp_path / "back")
    assert [len(frame["grids"]) for frame in back["frames"]] == [0, 1, 1, 1, 0]
    assert "called 'cold'; there are 'labels', 'heat'" in error_of(
        capsys, 2, "encode", folder, "-o", tmp_path / "b.fcodec", "--grids", "cold"
    )


def test_nothing_in_common(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    fc.write_volumes(other / "smoke_0001.vdb", VolumeFile((_labels(1),)))
    failures = json_of(capsys, "compare", folder, other, code=5)["failures"]
    assert failures == ["only the first has the frames 7-11", "only the second has the frames 1"]
    assert run("compare", folder, other) == 5


def test_quality_of_single_grids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "floats"
    folder.mkdir()
    for number in (1, 2):
        grids = tuple(replace(dense("float", seed=number + row), name=name) for row, name in enumerate(("a", "b")))
        fc.write_volumes(folder / f"{number}.vdb", VolumeFile(grids))
    quality = ("--grid-quality", "a:lossless", "--grid-quality=b:psnr=30")
    report = json_of(capsys, "encode", *quality, folder, "-o", tmp_path / "a.fcodec")
    errors = [[grid["rmse"] for grid in frame["grids"]] for frame in report["frames"]]
    assert all(a == 0 < b for a, b in errors)
    assert "flicker / change" in _text(capsys, "compare", folder, tmp_path / "a.fcodec")
    report = json_of(capsys, "encode", *quality, folder / "1.vdb", "-o", tmp_path / "b.fcodec")
    assert [grid["rmse"] > 0 for grid in report["grids"]] == [False, True]
    for source in (folder, folder / "1.vdb"):
        message = error_of(capsys, 2, "encode", source, "--grid-quality", "heat:psnr=30", "-o", tmp_path / "c.fcodec")
        assert "'heat'" in message
        assert "there are 'a', 'b'" in message


def test_single_frames_are_drawn_meshed_and_compared(
    tmp_path: Path, folder: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("render", small, "--frame", 9, "--size", "32x32", "-o", tmp_path / "a.png") == 0
    assert run("mesh", small, "--frame", 9, "--grid", "heat", "-o", tmp_path / "a.ply") == 0
    assert run("report", folder / "smoke_0009.vdb", small, "--frame", 9, "-o", tmp_path / "a.html") == 0
    assert run("compare", folder / "smoke_0009.vdb", small, "--frame", 9) == 0
    for command in (("render", small), ("mesh", small), ("report", folder / "smoke_0009.vdb", small)):
        assert "holds the frames 7-11; choose one with --frame" in error_of(capsys, 2, *command)
    assert "no frame 12" in error_of(capsys, 2, "render", small, "--frame", 12, "-o", tmp_path / "b.png")
    source = folder / "smoke_0009.vdb"
    assert "leave out --frame" in error_of(capsys, 2, "render", source, "--frame", 9, "-o", tmp_path / "b.png")
    assert "leave out --frame" in error_of(capsys, 2, "info", source, "--frame", 9)


def test_compare_tells_what_differs(folder: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fc.write_volumes(folder / "smoke_0010.vdb", VolumeFile((_labels(3),)))
    (folder / "smoke_0007.vdb").rename(folder / "smoke_0006.vdb")
    failures = "\n".join(json_of(capsys, "compare", folder, small, code=5)["failures"])
    assert "only the first has the frames 6" in failures
    assert "only the second has the frames 7" in failures
    assert "frame 10, grid 'heat': extra" in failures
    assert "frame 10, grid 'labels': topology" in failures
    assert json_of(capsys, "compare", folder, small, "--frames", "8-9")["failures"] == []
    report = json_of(capsys, "compare", folder, small, "--frames", "8-9", "--max-rmse", "0")
    assert report["failures"] == []


def test_bad_calls_say_what_to_do(
    tmp_path: Path, folder: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    one = folder / "smoke_0007.vdb"
    assert "--output smoke.fcodec" in error_of(capsys, 2, "encode", folder)
    assert "goes with a sequence" in error_of(capsys, 2, "encode", one, "--frames", "1-2")
    assert "--image goes with one volume" in error_of(
        capsys, 2, "encode", folder, "-o", tmp_path / "x.fcodec", "--image", tmp_path / "x.png"
    )
    assert "exists already" in error_of(capsys, 2, "encode", folder, "-o", small)
    assert "no file matches" in error_of(capsys, 3, "encode", tmp_path / "no_*.vdb", "-o", tmp_path / "x.fcodec")
    assert "no place for the numbers of 5 frames" in error_of(capsys, 2, "decode", small, "-o", tmp_path / "x.vdb")
    assert "none of the frames 1-3" in error_of(capsys, 2, "decode", small, "--frames", "1-3")
    assert "there are 'labels', 'heat'" in error_of(capsys, 2, "decode", small, "--grids", "cold")
    assert "exists already" in error_of(capsys, 2, "decode", small, "-o", folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "smoke.fcodec"]


MANY = 60  # frames, each a group: a kill after the first group finds most of them unfinished
SINGLY = ("--group-size", "1", "--no-check")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(MANY):
        fc.write_volumes(folder / f"{number}.vdb", VolumeFile((_labels(number),)))
    return folder


def _start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fieldcodec", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a test run may ignore it
    )  # fmt: skip


def _wait_for_a_group(process: subprocess.Popen[str], partial: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(partial.glob("group_*.fcodec")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_encode_goes_on_where_it_was(tmp_path: Path, many: Path) -> None:
    output = tmp_path / "many.fcodec"
    partial = tmp_path / "many.fcodec.partial"
    process = _start("encode", many, "-o", output, *SINGLY)
    try:
        _wait_for_a_group(process, partial)
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert not output.exists()
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("group_*.fcodec")}
    assert 1 <= len(finished) < MANY
    assert run("encode", many, "-o", output, *SINGLY, "--seed", 1) == 2
    seen = []

    def on_event(event: Any) -> None:
        if event.stage == "frames":
            seen.append(event.step)
            kept = {path: path.stat().st_mtime_ns for path in partial.glob("group_*.fcodec")}
            assert finished.items() <= kept.items()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fieldcodec.cli.console.ProgressBars.__call__", lambda self, event: on_event(event))
        assert run("encode", many, "-o", output, *SINGLY) == 0
    assert seen[0] == len(finished)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many", "many.fcodec"]
    assert fc.open_sequence(output).frames == tuple(range(MANY))


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_an_interrupt_ends_all_workers_and_keeps_what_is_finished(tmp_path: Path, many: Path) -> None:
    output = tmp_path / "many.fcodec"
    process = _start("encode", many, "-o", output, *SINGLY, "--jobs", 2)
    try:
        _wait_for_a_group(process, tmp_path / "many.fcodec.partial")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "finished groups of frames are kept in" in err
    assert not output.exists()
    deadline = time.monotonic() + 20
    while _is_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_alive(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_give_the_same_file(tmp_path: Path, folder: Path, small: Path) -> None:
    other = tmp_path / "jobs.fcodec"
    process = _start("encode", folder, "-o", other, "--group-size", 2, "--jobs", 2)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "5 frames" in out
    assert other.read_bytes() == small.read_bytes()


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path, many: Path) -> None:
    process = _start("encode", many, "-o", tmp_path / "many.fcodec", *SINGLY, "--jobs", 2)
    try:
        time.sleep(1)
        deadline = time.monotonic() + 60
        while len(_children(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        process.kill()
        process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while _is_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _children(parent: int) -> list[str]:
    """Ids of the processes that a process started; none where the system does not say."""
    try:
        return Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return []
