"""The parts of the command that need no codec."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from fieldcodec import cli
from fieldcodec.cli import console, options, outputs
from fieldcodec.errors import ExitCode, InputError, OutputExistsError, UsageError


def test_json_has_no_nan() -> None:
    text = console.to_json_text({"a": math.nan, "b": [1.5, math.inf], "c": {"d": -math.inf}})
    assert json.loads(text) == {"a": None, "b": [1.5, None], "c": {"d": None}}


def test_value_of_finds_both_spellings_and_the_last_counts() -> None:
    assert options.value_of(["x", "--preset", "small"], "--preset") == "small"
    assert options.value_of(["--preset=fine", "x"], "--preset") == "fine"
    assert options.value_of(["--preset", "a", "--preset=b"], "--preset") == "b"
    assert options.value_of(["--preset"], "--preset") is None
    assert options.value_of([], "--preset") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smoke.vdb", "smoke.fcodec"),
        ("a/scan.nii.gz", "a/scan.fcodec"),
        ("x.obj.xz", "x.fcodec"),
        ("bare", "bare.fcodec"),
    ],
)
def test_default_output(name: str, expected: str) -> None:
    assert outputs.default_output(Path(name), ".fcodec") == Path(expected)


def test_check_output(tmp_path: Path) -> None:
    free, taken = tmp_path / "free.vdb", tmp_path / "taken.vdb"
    taken.write_bytes(b"x")
    outputs.check_output(free, overwrite=False)
    outputs.check_output(taken, overwrite=True)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        outputs.check_output(taken, overwrite=False)
    with pytest.raises(UsageError, match="the input itself"):
        outputs.check_output(taken, overwrite=True, source=taken)
    with pytest.raises(InputError, match="does not exist"):
        outputs.check_output(tmp_path / "no" / "x.vdb", overwrite=False)
    with pytest.raises(InputError, match="is a folder"):
        outputs.check_output(tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "code", "stream", "text"),
    [
        ([], ExitCode.USAGE, "out", "usage:"),
        (["--help"], ExitCode.OK, "out", "encode"),
        (["--version"], ExitCode.OK, "out", "fieldcodec "),
        (["bogus"], ExitCode.USAGE, "err", "unknown command 'bogus'; known are encode"),
        (["encode"], ExitCode.USAGE, "err", "required"),
        (["encode", "x.vdb", "--bogus"], ExitCode.USAGE, "err", "--bogus"),
        (["encode", "x.vdb", "--tree", "round"], ExitCode.USAGE, "err", "explicit"),
        (["encode", "x.vdb", "--weight-bits", "99"], ExitCode.USAGE, "err", "allowed is 3 to 12"),
        (["encode", "x.vdb", "--preset", "huge"], ExitCode.USAGE, "err", "known are balanced"),
        (["encode", "--help"], ExitCode.OK, "out", "--target-rmse"),
    ],
)
def test_usage(
    arguments: list[str], code: ExitCode, stream: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    assert text.lower() in getattr(capsys.readouterr(), stream).lower()


def test_preset_gives_defaults_and_flags_override(tmp_path: Path) -> None:
    from fieldcodec.cli import encode

    parsed = encode.parse(["x.vdb", "--preset", "paper-bunny", "--epochs", "7"])
    assert (parsed.settings.value_width, parsed.settings.frequency, parsed.settings.epochs) == (96, 3.0, 7)
    assert parsed.inputs == (Path("x.vdb"),)
    assert parsed.preset == "paper-bunny"


class _Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def parse(self, arguments: list[str]) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("odd"), 1, "internal error: RuntimeError: odd"),
        (MemoryError(), 1, "out of memory"),
        (OSError(28, "No space left on device", "out.vdb"), 3, "out.vdb: No space left on device"),
        (InputError("no such thing"), 3, "fieldcodec: error: no such thing"),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: _Broken(error))
    monkeypatch.delenv("FIELDCODEC_DEBUG", raising=False)
    assert cli.main(["info"]) == code
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err
    if isinstance(error, Exception):
        cli.main(["info", "--debug"])
        assert "Traceback" in capsys.readouterr().err


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    script = f"{sys.executable} -m fieldcodec --help | true"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.ProgressBars() as bars:
        bars.share("reading", 0.5)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ""
