"""Curves of bytes against error: how they are measured, and how they are read."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bars
import curves
import numpy as np
import pytest
import rate_distortion
from peers import Outcome, Peer, Quality

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.vdb import write_vdb
from fieldcodec.metrics.quality import compare_grids
from fieldcodec.testing import samples


def _rounding(grid: SparseGrid, quality: Quality) -> Outcome:
    """A codec that rounds values to multiples of twice the tolerance."""
    step = 2 * float(quality)
    values = np.rint(grid.active_values() / step) * step
    return Outcome(round(1000 / step), values, 0.5, 0.25)


@pytest.mark.parametrize("make", [samples.sphere, lambda: samples.dense("vec3s")])
def test_errors_are_those_of_compare_grids(make: Callable[[], SparseGrid]) -> None:
    grid = make()
    reference = curves.Reference(grid)
    values = grid.active_values() + np.float32(0.01) * np.sin(np.arange(grid.channels) + 1).astype(np.float32)
    leaf_values = grid.leaf_values.copy()
    leaf_values[grid.topology.leaf_active_bits] = values
    quality = compare_grids(grid, replace(grid, leaf_values=leaf_values))
    rmse = reference.rmse(values)
    assert rmse == pytest.approx(quality.rmse)
    assert reference.value_range == quality.value_range
    assert reference.psnr(rmse) == pytest.approx(quality.psnr)
    assert reference.surface(values) == (quality.iou, quality.mcd)
    assert reference.psnr(0.0) is None


def test_search_meets_each_psnr() -> None:
    asked: list[float] = []

    def measure(tolerance: float) -> float:
        asked.append(tolerance)
        return -17 * math.log10(tolerance / 3) + 8

    known = curves.search(measure, 3.0, (22.0, 30.0, 45.0))
    assert len(asked) == len(set(asked)) < 15
    for target in (22.0, 30.0, 45.0):
        assert min(abs(psnr - target) for psnr in known.values()) < 0.1


def test_search_ends_where_the_psnr_jumps_or_cannot_fall() -> None:
    tries: list[float] = []

    def measure(tolerance: float) -> float:
        tries.append(tolerance)
        return 28.0 if tolerance > 0.1 else 60.0

    curves.search(measure, 1.0, (22.0, 30.0))
    assert max(tries) == 1.0
    assert len(tries) < 25


def test_codecs_without_a_tree_are_shown_with_and_without_it(small_fog: SparseGrid) -> None:
    reference = curves.Reference(small_fog)
    points = curves.sample(Peer("rounding", _rounding, "search", stores_topology=False), reference, (25.0, 35.0))
    without = [point for point in points if not point.mask_bytes_included]
    included = [point for point in points if point.mask_bytes_included]
    assert len(without) == len(included) > 5
    for bare, whole in zip(without, included, strict=True):
        assert whole.bytes == bare.bytes + reference.tree_bytes()
        assert whole.psnr == bare.psnr
    for target in (25.0, 35.0):
        assert min(abs((point.psnr or 0) - target) for point in points) < 0.3


@pytest.mark.parametrize("how", ["search", "halve"])
def test_points_rise_and_reach_the_largest_psnr(small_fog: SparseGrid, how: str) -> None:
    peer = Peer("rounding", _rounding, how)  # type: ignore[arg-type]
    points = curves.sample(peer, curves.Reference(small_fog), (25.0, 35.0))
    sizes = [point.bytes for point in points]
    assert sizes == sorted(sizes)
    assert [point.rmse for point in points] == sorted((point.rmse for point in points), reverse=True)
    assert (points[-1].psnr or 0) > 34.9


def test_a_decoded_distance_makes_the_tree_cheaper() -> None:
    grid = samples.sphere()
    reference = curves.Reference(grid)
    radius = np.linalg.norm(grid.topology.leaf_origins[:, None] + _offsets() - np.array([0.3, -0.2, 0.15]), axis=-1)
    exact = radius - 22.0
    assert reference.tree_bytes(exact, 0.01) < reference.tree_bytes(exact + 0.2, 0.2) < reference.tree_bytes()


def _offsets() -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), axis=-1).reshape(1, 512, 3)


_RESULT = {
    "name": "ball",
    "what": "a ball",
    "targets_psnr": [20, 35, 50],
    "grid": {"active_voxels": 1000, "bytes_tree": 40},
    "points": [
        {"codec": "a", "bytes": 100, "psnr": 30.0, "mask_bytes": 0, "mask_bytes_included": True},
        {"codec": "a", "bytes": 400, "psnr": 40.0, "mask_bytes": 0, "mask_bytes_included": True},
        {"codec": "a", "bytes": 500, "psnr": 39.0, "mask_bytes": 0, "mask_bytes_included": True},
        {"codec": "b", "bytes": 900, "psnr": None, "mask_bytes": 0, "mask_bytes_included": False},
        {"codec": "b", "bytes": 940, "psnr": None, "mask_bytes": 40, "mask_bytes_included": True},
    ],
}


def test_bars_lie_between_the_best_points() -> None:
    found = bars.curves(_RESULT)
    assert found == {
        "a": [(100, 30.0), (400, 40.0)],
        "b (values only)": [(900, math.inf)],
        "b + tree": [(940, math.inf)],
    }
    assert bars.bytes_at(found["a"], 20) == 100
    assert bars.bytes_at(found["a"], 35) == pytest.approx(200)
    assert bars.bytes_at(found["a"], 41) is None
    assert bars.bytes_at([(100, 30.0), (900, math.inf)], 31) == 900
    assert bars.table(_RESULT).splitlines()[-3:] == [
        "| a | 100 | 200 | - |",
        "| b (values only) | 900 | 900 | 900 |",
        "| b + tree | 940 | 940 | 940 |",
    ]


def test_a_row_is_measured_and_drawn(tmp_path: Path, small_fog: SparseGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vdb(tmp_path / "fog.vdb", VolumeFile((small_fog,)))
    row = rate_distortion.Row("fog.vdb", "a ball of fog")
    result = rate_distortion.measure("fog", row, tmp_path, ["openvdb-16-blosc", "nanovdb-fpn-zip"], 4)
    assert {point["codec"] for point in result["points"]} == {"openvdb-16-blosc", "nanovdb-fpn-zip"}
    assert result["grid"]["bytes_tree"] > 0
    assert result["refused"] == {}
    (tmp_path / "fog.json").write_text(json.dumps(result), encoding="utf-8")
    loaded = bars.load(tmp_path)
    assert len(loaded) == 1
    assert "nanovdb-fpn-zip" in bars.table(loaded[0])
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    import plot  # needs matplotlib

    monkeypatch.setattr("sys.argv", ["plot.py", "--results", str(tmp_path)])
    plot.main()
    assert (tmp_path / "fog.png").stat().st_size > 10_000


def test_a_codec_that_cannot_hold_the_grid_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(grid: SparseGrid, quality: Quality) -> Outcome:
        raise UnsupportedGridError("not this one")

    write_vdb(tmp_path / "fog.vdb", VolumeFile((samples.dense("float"),)))
    monkeypatch.setitem(rate_distortion.CODECS, "picky", Peer("picky", refuse, "each", (1,)))
    result = rate_distortion.measure("fog", rate_distortion.Row("fog.vdb", "waves"), tmp_path, ["picky"], 0)
    assert result["points"] == []
    assert result["refused"] == {"picky": "not this one"}
