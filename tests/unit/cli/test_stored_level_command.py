"""Levels that a file keeps, by command."""

from dataclasses import replace
from pathlib import Path

import pytest

import fieldcodec as fc
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.testing.commands import json_of, run
from fieldcodec.testing.samples import dense


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "labels.vdb"
    few = replace(dense("int32", side=3), name="few")
    fc.write_volumes(path, VolumeFile((replace(dense("int32", side=15), name="labels"), few)))
    return path


def test_encode_info_and_decode(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, coarse = tmp_path / "labels.fcodec", tmp_path / "coarse.vdb"
    assert run("encode", source, "-o", small, "--stored-level", 1) == 0
    said = capsys.readouterr()
    assert "grid 'few': no coarse level was stored" in said.err
    assert "stored level" in said.out
    info = json_of(capsys, "info", small)
    assert [grid["stored_level"] for grid in info["grids"]] == [1, None]
    size = info["grids"][0]["sections"]["stored level"]
    assert run("info", small) == 0
    assert f"labels: level 1 is stored, too: {size:,} bytes" in capsys.readouterr().out
    assert run("decode", small, "-o", coarse, "--level", 2, "--grids", "labels") == 0
    expected = coarsened(fc.read_volume(source, "labels"), 2)
    found = fc.read_volume(coarse, "labels")
    assert found.topology.equals(expected.topology)
    assert found.active_values().tobytes() == expected.active_values().tobytes()


def test_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        grid = replace(dense("int32", side=15, seed=number), name="labels")
        fc.write_volumes(tmp_path / f"f_{number}.vdb", VolumeFile((grid,)))
    small = tmp_path / "s.fcodec"
    assert run("encode", tmp_path / "f_*.vdb", "-o", small, "--stored-level", 1, "--no-check") == 0
    capsys.readouterr()
    grid = json_of(capsys, "info", small, "--frame", 2)["grids"][0]
    assert grid["stored_level"] == 1
    assert grid["bytes"] > grid["sections"]["stored level"] > 0
    assert run("decode", small, "-o", tmp_path / "c_%d.vdb", "--frames", "2", "--level", 1) == 0
    expected = coarsened(fc.read_volume(tmp_path / "f_2.vdb"), 1)
    found = fc.read_volume(tmp_path / "c_2.vdb")
    assert isinstance(found, SparseGrid)
    assert found.active_values().tobytes() == expected.active_values().tobytes()
