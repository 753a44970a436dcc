"""Command lines run in this process, as tests want them."""

import json
from typing import Any

import pytest

from fieldcodec import cli


def run(*arguments: object) -> int:
    """The exit code of `fieldcodec ARGUMENTS`."""
    return cli.main([str(argument) for argument in arguments])


def json_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    """What a command prints with --json; fails unless it is one object of strict JSON and the exit code is `code`."""
    capsys.readouterr()
    assert run(*arguments, "--json") == code
    printed = json.loads(capsys.readouterr().out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert isinstance(printed, dict)
    return printed


def error_of(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """The error message of a command that must fail with `code`, print nothing on stdout and no traceback."""
    capsys.readouterr()
    assert run(*arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert any(line.startswith("fieldcodec: error: ") for line in captured.err.splitlines())
    assert "Traceback" not in captured.err
    return captured.err
