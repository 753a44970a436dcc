"""The benchmark of random access, on a small volume and without C++."""

import json
from pathlib import Path

import pytest
import random_access
import run

from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.vdb import write_vdb


def test_a_row_is_measured(tmp_path: Path, small_fog: SparseGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vdb(tmp_path / "fog.vdb", VolumeFile((small_fog,)))
    monkeypatch.setitem(run.ROWS, "fog", run.Row("fog.vdb", "a ball of fog"))
    monkeypatch.setattr(random_access, "_samplers_in_c", lambda *_: lambda threads: {"nanovdb-nearest": 1.0})
    command = ["x", "--data", str(tmp_path), "--only", "fog", "--out", str(tmp_path), "--points", "2000"]
    monkeypatch.setattr("sys.argv", command)
    assert random_access.main() == 0
    result = json.loads((tmp_path / "random-access" / "fog.json").read_text(encoding="utf-8"))
    kinds = ("decoded", "cold", "warm")
    names = {f"{kind}-{interpolation}" for kind in kinds for interpolation in random_access.INTERPOLATIONS}
    names |= {"field", "open", "nanovdb-nearest", "warm-trilinear-world"}
    assert result["milliseconds"]["1"].keys() == names
    assert all(taken > 0 for of_threads in result["milliseconds"].values() for taken in of_threads.values())
    assert result["points"] == 2000
