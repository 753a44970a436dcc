"""What a result says: curves, comparisons, tables, pictures."""

import copy
import io
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from fieldcodec.bench import plot, report
from fieldcodec.errors import MissingPackageError, UsageError


def _point(
    codec: str, setting: str, size: int, psnr: float | None, tree: int = 0, whole: bool = True
) -> dict[str, Any]:
    relative = 0.0 if psnr is None else 10 ** (-psnr / 20)
    times = {f"{what}_{name}": 0.5 for what in ("encode", "decode") for name in ("s", "voxels_per_s")}
    return {
        "codec": codec, "setting": setting, "bytes": size, "rmse_relative": relative, "psnr": psnr, "iou": None,
        "mcd": None, "mask_bytes": tree, "mask_bytes_included": whole, "note": "made up", "encode_peak_bytes": 5e8,
        "encode_stages": {"fit": 0.4, "other": 0.1}, "decode_stages": {}, **times,
    }  # fmt: skip


_RESULT: dict[str, Any] = {
    "what": "a ball",
    "measure": "psnr",
    "demands": [{"asked": f"{score} dB", "score": float(score)} for score in (20, 35, 50)],
    "grid": {"active_voxels": 1000, "grid_class": "fog volume", "effective_resolution": [9, 9, 9]},
    "points": [
        _point("a", "1", 100, 30.0),
        _point("a", "2", 400, 40.0),
        _point("a", "3", 500, 39.0),
        _point("b", "1", 900, None, whole=False),
        _point("b", "1", 940, None, tree=40),
    ],
    "left_out": {"c": "c is not installed; run: pip install 'fieldcodec[bench]'"},
}


def _with_ours() -> dict[str, Any]:
    result = copy.deepcopy(_RESULT)
    result["points"] += [
        _point("fieldcodec-lattice", f"{score} dB", size, psnr)
        for score, size, psnr in ((20, 50, 21.0), (35, 220, 35.2), (50, 700, None))
    ]
    return result


def test_sizes_lie_between_the_best_points() -> None:
    found = report.curves(_RESULT)
    assert found["a"] == [(100, pytest.approx(30.0)), (400, pytest.approx(40.0))]
    assert found["b (values only)"] == [(900, math.inf)]
    assert found["b + tree"] == [(940, math.inf)]
    assert report.bytes_at(found["a"], 20) == 100
    assert report.bytes_at(found["a"], 35) == pytest.approx(200)
    assert report.bytes_at(found["a"], 41) is None
    assert report.bytes_at([(100, 30.0), (900, math.inf)], 31) == 900


def test_without_our_methods_the_demands_are_the_columns() -> None:
    assert report.to_markdown(_RESULT).splitlines()[2:] == [
        "| codec | 20 dB | 35 dB | 50 dB |",
        "| --- | --- | --- | --- |",
        "| a | 100 | 200 | - |",
        "| b + tree | 940 | 940 | 940 |",
    ]


def test_others_are_compared_at_the_error_that_ours_has() -> None:
    comparison = report.compare(_with_ours())
    assert list(comparison.rows) == ["fieldcodec-lattice", "a", "b + tree"]
    assert [column.score for column in comparison.columns] == pytest.approx([21.0, 35.2, 50.0])  # ours is exact there
    at_ours = 100 * 4**0.52
    assert comparison.rows["a"] == (100.0, pytest.approx(at_ours), None)
    assert comparison.ratios() == (2.0, pytest.approx(at_ours / 220), pytest.approx(940 / 700))
    assert comparison.losses() == [f"35 dB: a takes {at_ours:,.0f} bytes, {1 - at_ours / 220:.1%} fewer than ours"]


def test_the_table_says_everything() -> None:
    out = io.StringIO()
    report.to_table(_with_ours(), Console(file=out, width=100))
    text = out.getvalue()
    for part in (
        "a ball: fog volume, 1,000 active voxels, 9 x 9 x 9",
        "fieldcodec-lattice",
        "best other / ours",
        "Smaller than ours at 35 dB",
        "Left out: c: c is not installed; run: pip install 'fieldcodec[bench]'",
        "fit 80%, other 20%",
        "made up",
        "exact",
    ):
        assert part in text, part
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("measure", ["psnr", "iou"])
def test_pictures_are_drawn(tmp_path: Path, measure: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    result = _with_ours() | {"measure": measure}
    for point in result["points"]:
        point["iou"] = 1 - point["rmse_relative"]
    plot.require_plot(tmp_path / "curve.PNG")
    image = Image.open(io.BytesIO(plot.picture_bytes(result, ".PNG")))
    assert image.format == "PNG"
    assert image.width > 1000
    assert len(set(image.convert("L").tobytes())) > 50
    assert b"<svg" in plot.picture_bytes(result, ".svg")[:1000]


def test_pictures_of_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in none of \.png, \.svg"):
        plot.require_plot(tmp_path / "curve.bmp")


def test_pictures_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(
        MissingPackageError, match=r"matplotlib is not installed; run: pip install 'fieldcodec\[bench\]'"
    ):
        plot.require_plot(tmp_path / "curve.png")
