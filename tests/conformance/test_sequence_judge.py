"""Sequences by command: a real OpenVDB finds the topology of every frame that was predicted unchanged."""

import subprocess
from pathlib import Path

import pytest

import fieldcodec as fc
from fieldcodec import cli

_FRAMES = range(3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """LeVeque's test for half a second as `.vdb` frames, and what comes back of them in `back`."""
    frames = tmp_path / "frame_%04d.vdb"
    for arguments in (
        ("generate", "leveque", frames, "--resolution", 56, "--frames", len(_FRAMES), "--start", 0.5, "--end", 0.7),
        ("encode", frames, "-o", tmp_path / "s.fcodec", "--method", "lattice", "--device", "cpu", "--no-check"),
        ("decode", tmp_path / "s.fcodec", "-o", tmp_path / "back"),
    ):
        assert cli.main([str(argument) for argument in arguments]) == 0
    return tmp_path


def test_decoded_frames_are_judged_equal_in_topology(vdb_judge: Path, folder: Path) -> None:
    sequence = fc.open_sequence(folder / "s.fcodec")
    assert sequence.frames == tuple(_FRAMES)
    for number in sequence:
        (grid,) = sequence.frame(number).grids
        assert grid.method == "lattice"
        assert (grid.reference is not None) == (number > 0)
        name = sequence.name(number)
        verdict = subprocess.run(
            [vdb_judge, "topology", folder / name, folder / "back" / name], capture_output=True, text=True, check=False
        )
        assert verdict.returncode == 0, f"{name}: {verdict.stdout[-300:]}{verdict.stderr[-300:]}"
        assert "EQUAL" in verdict.stdout.split()
