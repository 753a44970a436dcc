"""What benchmarks say to rows that they do not have."""

from argparse import ArgumentParser
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["asset_collections", "levels", "radiance", "radiance_collections", "random_access", "rate_distortion"]
)
def test_unknown_rows_are_refused_plainly(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = import_module(name)
    row, *_ = benchmark.ROWS
    places = ["--data", "."] + (["--grids", "."] if name == "radiance_collections" else [])
    monkeypatch.setattr("sys.argv", ["x", *places, "--only", f"{row},nonsense"])
    with pytest.raises(SystemExit) as caught:
        benchmark.main()
    assert caught.value.code == 2
    assert f"nonsense is not known; known are {row}" in capsys.readouterr().err


def test_names_of_rows() -> None:
    chosen = import_module("rows").chosen_rows
    parser, known = ArgumentParser(), {"smoke": 1, "bunny": 2, "cloud": 3}
    assert chosen(parser, None, known) == ["smoke", "bunny", "cloud"]
    assert chosen(parser, None, known, ("bunny",)) == ["bunny"]
    assert chosen(parser, "cloud,smoke", known, ("bunny",)) == ["cloud", "smoke"]
