"""The benchmark of errors at equal memory, on a small field."""

import json
from dataclasses import replace
from pathlib import Path

import equal_memory
import numpy as np
import pytest


def test_errors_are_those_between_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(equal_memory._NETWORK, value_width=8, fourier_size=8, epochs=2, batch_size=256)
    monkeypatch.setattr(equal_memory, "_NETWORK", tiny)
    monkeypatch.setattr(equal_memory, "_STRIDES", (2,))
    monkeypatch.setattr(equal_memory, "_NOISE", lambda points: np.sin(points).sum(axis=-1).astype(np.float32))
    monkeypatch.setattr("sys.argv", ["x", "--voxels", "16", "--points", "2000", "--out", str(tmp_path)])
    assert equal_memory.main() == 0
    result = json.loads((tmp_path / "random-access" / "equal-memory.json").read_text(encoding="utf-8"))
    lattice, network = result["entries"]
    assert (lattice["stored"], network["stored"]) == ("cubic/2", "network")
    assert lattice["numbers"] == 11**3
    assert lattice["voxels_per_side"] == 11
    errors = lattice["rmse"]
    assert errors["ours"] < errors["trilinear"] < errors["nearest"]
    assert errors["tricubic"] < errors["trilinear"]
    assert np.isfinite(network["rmse"]["ours"])
