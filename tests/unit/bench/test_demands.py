"""What is asked of all codecs, on one scale."""

import math

import pytest

from fieldcodec.bench.demands import DEFAULT_MCD, DEFAULT_PSNR, Measure, demands_of, score_of
from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing import samples


@pytest.mark.parametrize(
    ("measure", "text", "scores"),
    [
        ("psnr", "30, 22", [22.0, 30.0]),
        ("rmse", "1%,10%", [20.0, 40.0]),
        ("iou", "0.99,0.9", [20.0, 40.0]),
        ("mcd", "0.1", [20.0]),
    ],
)
def test_scores_rise(measure: Measure, text: str, scores: list[float]) -> None:
    found = demands_of(samples.sphere(), 5.0, {measure: text})
    assert [demand.score for demand in found] == pytest.approx(scores)
    assert all(demand.measure == measure for demand in found)


def test_a_length_may_be_in_voxels_or_in_units_of_the_file() -> None:
    plain, voxels = (demands_of(samples.sphere(), 5.0, {"rmse": text})[0] for text in ("0.5", "0.5vx"))
    assert plain.score == voxels.score == pytest.approx(20.0)
    assert str(voxels) == "rmse 0.5vx"


def test_without_any_the_kind_of_grid_decides(small_fog: SparseGrid) -> None:
    assert ",".join(demand.text for demand in demands_of(samples.sphere(), 5.0, {})) == DEFAULT_MCD
    assert ",".join(demand.text for demand in demands_of(small_fog, 1.0, {})) == DEFAULT_PSNR
    assert str(demands_of(small_fog, 1.0, {"psnr": "22", "mcd": None})[0]) == "22 dB"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"psnr": "22", "rmse": "1%"}, "--psnr and --rmse cannot be asked for in one run"),
        ({"psnr": ","}, "--psnr names no quality"),
        ({"psnr": "22,loud"}, "--psnr has 'loud'"),
        ({"psnr": "1000"}, "allowed is 0 to 200 dB"),
        ({"rmse": "1 mile"}, "needed is a number above 0"),
        ({"mcd": "0.1"}, "has no surface|so it has no"),
    ],
)
def test_bad_demands_are_refused(small_fog: SparseGrid, asked: dict[Measure, str | None], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        demands_of(small_fog, 1.0, asked)


def test_scores_of_what_was_measured() -> None:
    assert score_of("rmse", 0.01, None, None) == pytest.approx(40.0)
    assert score_of("iou", 0.5, 0.99, 0.5) == pytest.approx(40.0)
    assert score_of("mcd", 0.5, 0.5, 0.1) == pytest.approx(20.0)
    assert score_of("psnr", 0.0, None, None) == math.inf
    assert score_of("iou", 0.01, None, None) == -math.inf
