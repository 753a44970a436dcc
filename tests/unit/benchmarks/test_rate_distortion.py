"""The benchmark of curves: a list of rows for the package's own `bench`."""

import json
from pathlib import Path

import pytest
import rate_distortion

from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.vdb import write_vdb


def test_a_row_is_measured_and_drawn(tmp_path: Path, small_fog: SparseGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    write_vdb(tmp_path / "fog.vdb", VolumeFile((small_fog,)))
    monkeypatch.setitem(rate_distortion.ROWS, "fog", rate_distortion.Row("fog.vdb", "a ball of fog"))
    command = ["x", "--data", str(tmp_path), "--only", "fog", "--out", str(tmp_path), "--psnr", "25"]
    monkeypatch.setattr("sys.argv", [*command, "--peers", "openvdb-16-blosc", "--sweep", "2"])
    assert rate_distortion.main() == 0
    result = json.loads((tmp_path / "rate-distortion" / "fog.json").read_text(encoding="utf-8"))
    assert {point["codec"] for point in result["points"]} == {"fieldcodec-lattice", "openvdb-16-blosc"}
    assert result["what"] == "a ball of fog"
    picture = tmp_path / "rate-distortion" / "fog.png"
    added = ["--add", "--methods", "network", "--network-sizes", "8x20,16x20", "--peers", "none"]
    monkeypatch.setattr("sys.argv", [*command, *added])
    assert rate_distortion.main() == 0
    more = json.loads((tmp_path / "rate-distortion" / "fog.json").read_text(encoding="utf-8"))
    assert [point for point in more["points"] if point["codec"] != "fieldcodec-network"] == result["points"]
    assert [point["setting"] for point in more["points"] if point not in result["points"]] == ["8x20", "16x20"]
    assert list(more["runs"]) == ["fieldcodec-network"]
    monkeypatch.setattr("sys.argv", [*command, "--add", "--peers", "none", "--psnr", "25,28"])
    assert rate_distortion.main() == 0
    last = json.loads((tmp_path / "rate-distortion" / "fog.json").read_text(encoding="utf-8"))
    ours = ["fieldcodec-lattice"] * 2 + ["fieldcodec-network"] * 2
    assert [point["codec"] for point in last["points"]][:4] == ours
    assert picture.stat().st_size > 10_000
    picture.unlink()
    monkeypatch.setattr("sys.argv", ["x", "--draw", "--out", str(tmp_path)])
    assert rate_distortion.main() == 0
    assert picture.is_file()


def test_points_of_another_grid_are_not_joined() -> None:
    of_one = {"name": "fog", "measure": "psnr", "grid": {"active_voxels": 7, "value_range": 1.0}}
    with pytest.raises(SystemExit, match=r"fog: .*without --add"):
        rate_distortion.joined(of_one, of_one | {"grid": {"active_voxels": 8, "value_range": 1.0}})
