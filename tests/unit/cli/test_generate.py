"""`fieldcodec generate` for sequences: names of frames, ranges, refusals, interruptions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fieldcodec as fc
from fieldcodec import cli
from fieldcodec.cli import generate
from fieldcodec.errors import ExitCode
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.simulate import SEQUENCES, SequenceOptions


def _run(*arguments: object) -> int:
    return cli.main(["generate", *map(str, arguments)])


def _frames(options: SequenceOptions) -> Iterator[tuple[int, VolumeFile]]:
    """Stands in for the kinds that take longer: spheres that grow."""
    for number in options.numbers:
        yield number, VolumeFile((sphere_level_set(5.0 + number + options.seed),))


@pytest.fixture
def balls(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(SEQUENCES, "balls", _frames)
    return "balls"


def test_a_sequence_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = tmp_path / "leveque_%04d.vdb"
    arguments = ("--resolution", 24, "--frames", 5, "--first-frame", 1, "--last-frame", 2, "--json")
    assert _run("leveque", pattern, *arguments) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    names = ["leveque_0001.vdb", "leveque_0002.vdb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (told["kind"], told["output"], told["resolution"]) == ("leveque", str(pattern), 24)
    assert [Path(row["output"]).name for row in told["frames"]] == names
    assert [row["frame"] for row in told["frames"]] == [1, 2]
    for row in told["frames"]:
        grid = fc.read_volumes(row["output"])[0]
        assert row["bytes"] == Path(row["output"]).stat().st_size
        assert row["grids"][0]["active_voxels"] == grid.topology.num_active_voxels > 1000
        assert grid.transform.voxel_size.tolist() == [1 / 24] * 3
    assert told["bytes"] == sum(row["bytes"] for row in told["frames"])


@pytest.mark.parametrize("kind", ["plume", "splash"])
def test_the_other_kinds(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "a_$F3.vdb"
    assert _run(kind, out, "--resolution", 16, "--frames", 4, "--last-frame", 1, "--end", 0.4, "--closed-box") == 0
    volumes = fc.read_volumes(tmp_path / "a_001.vdb")
    names = [grid.name for grid in volumes]
    assert names == (["density", "temperature", "velocity"] if kind == "plume" else ["surface"])
    assert all(grid.topology.num_active_voxels for grid in volumes)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("b%d.vdb", ["b0.vdb", "b1.vdb"]),
        ("b_%03d.vdb", ["b_000.vdb", "b_001.vdb"]),
        ("b.####.vdb", ["b.0000.vdb", "b.0001.vdb"]),
        ("b.$F4.vdb", ["b.0000.vdb", "b.0001.vdb"]),
    ],
)
def test_patterns(pattern: str, names: list[str], balls: str, tmp_path: Path) -> None:
    assert _run(balls, tmp_path / pattern, "--frames", 2) == ExitCode.OK
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_sixty_frames_unless_told(balls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(balls, tmp_path / "ball.vdb") == ExitCode.USAGE
    assert "60 frames are to be written" in capsys.readouterr().err


def test_a_plain_name_holds_one_frame(balls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ball.vdb"
    assert _run(balls, out, "--frames", 3) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "3 frames" in error
    assert "ball_%04d.vdb" in error
    assert _run(balls, out, "--first-frame", 7, "--last-frame", 7) == ExitCode.OK
    assert fc.read_volumes(out)[0].topology.active_bounds[1][0] == 14  # radius 12, band 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--frames", 0), "number of frames is 0"),
        (("--frames", 4, "--last-frame", 4), "frames 0 to 3"),
        (("--first-frame", 3, "--last-frame", 2), "frames 3 to 2"),
        (("--first-frame", -1), "frames -1 to 59"),
        (("--resolution", 4), "resolution is 4"),
        (("--start", -1.0), "start is -1.0"),
        (("--start", "nan"), "start is nan"),
    ],
)
def test_options_out_of_range(
    arguments: tuple[object, ...], said: str, balls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(balls, tmp_path / "%d.vdb", *arguments) == ExitCode.USAGE
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_times_that_go_backwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("splash", tmp_path / "%d.vdb", "--start", 2, "--end", 1) == ExitCode.USAGE
    assert "from 2 to 1 seconds" in capsys.readouterr().err


def test_wrong_suffix_and_unknown_kind(balls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(balls, tmp_path / "%d.obj") == ExitCode.USAGE
    assert "does not end in .vdb" in capsys.readouterr().err
    assert _run("fire", tmp_path / "%d.vdb") == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "sphere" in error
    assert "leveque" in error


def test_nothing_is_overwritten_unless_told(balls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "2.vdb"
    taken.write_bytes(b"mine")
    assert _run(balls, tmp_path / "%d.vdb", "--frames", 3) == ExitCode.USAGE
    assert "2.vdb exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["2.vdb"]  # it was seen before any frame was made
    assert _run(balls, tmp_path / "%d.vdb", "--frames", 3, "--overwrite") == ExitCode.OK
    assert taken.read_bytes() != b"mine"


def test_a_missing_folder(balls: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(balls, tmp_path / "none" / "%d.vdb") == ExitCode.INPUT
    assert "does not exist" in capsys.readouterr().err


def test_finished_frames_stay_when_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def two_only(options: SequenceOptions) -> Iterator[tuple[int, VolumeFile]]:
        frames = _frames(options)
        yield next(frames)
        yield next(frames)
        raise KeyboardInterrupt

    monkeypatch.setitem(SEQUENCES, "balls", two_only)
    assert _run("balls", tmp_path / "%d.vdb", "--frames", 9) == ExitCode.INTERRUPTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.vdb", "1.vdb"]
    assert len(fc.read_volumes(tmp_path / "1.vdb")) == 1


def test_frames_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each frame is on disk before the next one is asked for."""
    seen: list[int] = []

    def watched(options: SequenceOptions) -> Iterator[tuple[int, VolumeFile]]:
        for frame in _frames(options):
            seen.append(len(list(tmp_path.iterdir())))
            yield frame

    monkeypatch.setitem(SEQUENCES, "balls", watched)
    assert _run("balls", tmp_path / "%d.vdb", "--frames", 3) == ExitCode.OK
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("option", [("--frames", 2), ("--first-frame", 0), ("--end", 1.0)])
def test_a_single_volume_has_no_frames(
    option: tuple[Any, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("sphere", tmp_path / "a.vdb", "--resolution", 24, *option) == ExitCode.USAGE
    assert "sphere is a single volume; sequences are leveque, plume, splash" in capsys.readouterr().err
    assert _run("sphere", tmp_path / "a.vdb", "--resolution", 24, "--frames", 1) == ExitCode.OK


def test_every_option_of_a_sequence_is_one_of_the_command() -> None:
    missing = set(SequenceOptions.__dataclass_fields__) - set(generate.Generate.__dataclass_fields__)
    assert not missing
