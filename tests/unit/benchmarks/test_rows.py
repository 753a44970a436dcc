"""What benchmarks say to rows that they do not have."""

from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["asset_collections", "radiance", "radiance_collections", "rate_distortion"])
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
