"""Demands on quality: read from words, checked, and turned into plain numbers for a grid."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.samples import dense, sphere
from fieldcodec.volume.quality import Goal, Quality, goal_of, is_surface, parse_size
from fieldcodec.volume.settings import VolumeSettings


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (100_000, 100_000), ("100000", 100_000), ("100KB", 100_000), ("100 kb", 100_000), (" 1.5MB ", 1_500_000),
        ("2MiB", 2 << 20), ("3kib", 3072), ("0.25GB", 250_000_000), ("1e3", 1000), ("12b", 12), (1, 1),
        ("1GiB", 1 << 30),
    ],
)  # fmt: skip
def test_sizes(text: int | str, number: int) -> None:
    assert parse_size(text) == number
    assert type(parse_size(text)) is int


WRONG_SIZES: list[Any] = [
    0, -5, "0KB", "-1KB", "many", "", "KB", "100 000", "10TB", "100%", "0.5", "1.2.3KB", ".", "1e999", "1e400GB",
    "nan", "inf", "0x10", "1,5MB", None,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_SIZES)
def test_wrong_sizes_are_named(wrong: Any) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(wrong)
    assert repr(wrong) in str(caught.value)
    assert "100KB" in str(caught.value)


@pytest.mark.parametrize("name", ["rmse", "max_error", "mcd"])
@pytest.mark.parametrize(
    "wrong",
    [0, 0.0, -1, "-1%", "0%", "five", "", "%", "1 km", "1.2.3", "..", math.nan, math.inf, "1e999", "1vx%", "-0"],
)
def test_wrong_lengths_are_named(name: str, wrong: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Quality(**{name: wrong})
    message = str(caught.value)
    assert message.startswith(f"{name} is {wrong!r}")
    assert "1%" in message
    assert "0.1vx" in message


@pytest.mark.parametrize("length", [0.01, "0.01", "1e-2", " 1 % ", "1%", "0.1vx", "0.1 VX", 3, "1E-3%"])
def test_lengths_with_and_without_units_are_taken(length: float | str) -> None:
    quality = Quality(rmse=length, max_error=length)
    assert quality.is_asked
    assert Quality(mcd="0.05vx").is_asked


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"psnr": 0}, "psnr is 0"), ({"psnr": -3.0}, "psnr is -3.0"), ({"psnr": 500}, "psnr is 500"),
        ({"psnr": math.nan}, "psnr is nan"), ({"iou": 0}, "iou is 0"), ({"iou": 1.0}, "lossless"),
        ({"iou": 1.5}, "iou is 1.5"), ({"iou": math.nan}, "iou is nan"), ({"size": "big"}, "size is 'big'"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Quality(**given)


OTHERS: list[dict[str, Any]] = [{"rmse": 0.1}, {"psnr": 40}, {"max_error": "1%"}, {"iou": 0.99}, {"mcd": 0.1}]


@pytest.mark.parametrize("other", OTHERS)
def test_lossless_and_size_stand_alone(other: dict[str, Any]) -> None:
    name = next(iter(other))
    with pytest.raises(UsageError, match=f"leave out {name}"):
        Quality(lossless=True, **other)
    with pytest.raises(UsageError, match=f"size and {name} cannot both"):
        Quality(size="10KB", **other)


def test_lossless_and_size_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="leave out size"):
        Quality(lossless=True, size="1KB")


def test_all_other_demands_can_be_combined() -> None:
    quality = Quality(rmse="1%", psnr=40, max_error=0.1, iou=0.99, mcd=0.1)
    assert str(quality) == "rmse=1%, psnr=40, max_error=0.1, iou=0.99, mcd=0.1"
    assert str(Quality(lossless=True)) == "lossless=True"
    assert str(Quality()) == "the preset's quality"
    assert not Quality().is_asked
    assert Quality(lossless=True).is_asked


def test_json_comes_back_and_unknown_keys_are_named() -> None:
    settings = VolumeSettings(quality=Quality(rmse="1%", iou=0.99))
    assert VolumeSettings.from_json(settings.to_json()) == settings
    assert "quality" not in VolumeSettings().to_json()
    for wrong in ({"blur": 3}, [1], "high", None):
        with pytest.raises(UsageError, match="known are iou, lossless, max_error, mcd, psnr, rmse, size"):
            Quality.from_json(wrong)


def fog() -> SparseGrid:
    return dense("float", side=8)


def stretched(grid: SparseGrid, voxel_size: float) -> SparseGrid:
    return replace(grid, transform=GridTransform.uniform(voxel_size))


def test_without_demands_the_default_counts() -> None:
    assert goal_of(Quality(), fog(), 2.0, 0.03) == Goal(rmse=0.06)
    assert goal_of(Quality(), sphere(), 6.0, 0.03) == Goal(mcd=0.06)
    assert goal_of(Quality(), dense("vec3s", side=8), 2.0, 0.03) == Goal(rmse=0.06)
    assert goal_of(Quality(), dense("int32", side=8), 2000.0, 0.03) == Goal(rmse=60.0)
    # a solver's distances, whose background is 0: no surface to measure, but still no error of many voxels
    shrunken = np.float32(0.25) * sphere().leaf_values
    solver = replace(stretched(sphere(), 0.25), leaf_values=shrunken, background=np.zeros(1, np.float32))
    assert not is_surface(solver)
    assert goal_of(Quality(), solver, 6.0, 0.03) == Goal(rmse=pytest.approx(0.06 * 0.25))
    assert goal_of(Quality(), solver, 0.1, 0.03) == Goal(rmse=pytest.approx(0.003))


def test_large_numbers_far_from_the_surface_do_not_loosen_the_default() -> None:
    solver = replace(sphere(), background=np.zeros(1, np.float32))
    values = solver.active_values()
    far = np.arange(len(values)) % 4 != 0
    marked = replace(solver, leaf_values=with_active(solver, np.where(far[:, None], np.float32(1e4), values)))
    assert goal_of(Quality(), marked, 1e4, 0.03) == Goal(rmse=pytest.approx(0.06 * 0.5, rel=0.01))
    nowhere = replace(solver, leaf_values=with_active(solver, np.copysign(np.float32(1e4), values)))
    assert goal_of(Quality(), nowhere, 2e4, 0.03) == Goal(rmse=600.0)


def with_active(grid: SparseGrid, values: np.ndarray) -> np.ndarray:
    """[L, 512, C] of leaves whose active voxels have `values`."""
    leaves = grid.leaf_values.copy()
    leaves[grid.topology.leaf_active_bits] = values
    return leaves


def test_lengths_become_units_of_the_file() -> None:
    grid = stretched(fog(), 0.25)
    assert goal_of(Quality(rmse=0.5), grid, 2.0, 0.03) == Goal(rmse=0.5)
    assert goal_of(Quality(rmse="0.5"), grid, 2.0, 0.03) == Goal(rmse=0.5)
    assert goal_of(Quality(rmse="5%", max_error="10%"), grid, 2.0, 0.03) == Goal(rmse=0.1, max_error=0.2)
    assert goal_of(Quality(max_error="2vx"), grid, 2.0, 0.03) == Goal(max_error=0.5)


def test_the_stricter_of_rmse_and_psnr_counts() -> None:
    assert goal_of(Quality(psnr=40), fog(), 2.0, 0.03) == Goal(rmse=pytest.approx(0.02))
    assert goal_of(Quality(psnr=40, rmse=0.01), fog(), 2.0, 0.03) == Goal(rmse=0.01)
    assert goal_of(Quality(psnr=40, rmse=0.5), fog(), 2.0, 0.03) == Goal(rmse=pytest.approx(0.02))


def test_demands_on_surfaces() -> None:
    grid = stretched(sphere(), 0.25)
    assert goal_of(Quality(iou=0.99), grid, 6.0, 0.03) == Goal(iou=0.99, mcd=0.25)
    assert goal_of(Quality(mcd=0.05), grid, 6.0, 0.03) == Goal(mcd=0.05)  # in voxels, whatever their size
    assert goal_of(Quality(mcd="0.05vx"), grid, 6.0, 0.03) == Goal(mcd=0.05)
    with pytest.raises(UsageError, match="mcd is a distance in voxels"):
        goal_of(Quality(mcd="1%"), grid, 6.0, 0.03)


@pytest.mark.parametrize("kind", ["float", "vec3s", "int32"])
@pytest.mark.parametrize("demand", [{"iou": 0.99}, {"mcd": 0.1}])
def test_grids_without_a_surface_refuse_demands_on_it(kind: str, demand: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"grid '{kind}' is no level set of floats.*ask for rmse, psnr or max_error"):
        goal_of(Quality(**demand), dense(kind, side=8), 1.0, 0.03)


def test_sizes_and_lossless_reach_the_goal() -> None:
    assert goal_of(Quality(size="10KB"), fog(), 2.0, 0.03) == Goal(size=10_000)
    assert goal_of(Quality(lossless=True), fog(), 2.0, 0.03) == Goal(lossless=True)
    assert goal_of(Quality(lossless=True), sphere(), 6.0, 0.03) == Goal(lossless=True)


def test_demands_that_come_to_nothing_are_named() -> None:
    with pytest.raises(UsageError, match=r"rmse '1%' comes to 0\.0 in the file's units"):
        goal_of(Quality(rmse="1%"), fog(), 0.0, 0.03)
    frustum = replace(fog(), transform=GridTransform("NonlinearFrustumMap", b""))
    with pytest.raises(UsageError, match="max_error '1vx' comes to nan"):
        goal_of(Quality(max_error="1vx"), frustum, 1.0, 0.03)


def test_surfaces_are_level_sets_of_one_float_around_zero() -> None:
    metadata = sphere().metadata  # of class level set
    around_zero = replace(fog(), metadata=metadata, background=np.array([3.0], np.float32))
    assert is_surface(sphere())
    assert is_surface(around_zero)
    for other in (
        fog(),
        replace(around_zero, metadata=fog().metadata),
        replace(around_zero, leaf_values=around_zero.leaf_values + np.float32(2)),  # all outside
        replace(around_zero, background=np.array([-3.0], np.float32)),
        replace(around_zero, background=np.zeros(1, np.float32)),
        replace(dense("int32", side=8), metadata=metadata),
        replace(dense("vec3s", side=8), metadata=metadata),
    ):
        assert is_surface(other) is False


def test_level_sets_without_a_crossing_are_measured_by_their_values() -> None:
    outside = replace(sphere(), leaf_values=np.abs(sphere().leaf_values))
    assert goal_of(Quality(), outside, 3.0, 0.03) == Goal(rmse=pytest.approx(0.09))
    with pytest.raises(UsageError, match="change their sign"):
        goal_of(Quality(mcd=0.1), outside, 3.0, 0.03)


def test_a_preset_of_no_error_is_lossless() -> None:
    assert goal_of(Quality(), fog(), 2.0, 0.0) == Goal(lossless=True)
    assert goal_of(Quality(rmse=0.1), fog(), 2.0, 0.0) == Goal(rmse=0.1)


def test_excess_is_the_largest_ratio() -> None:
    found = {"rmse": 0.2, "max_error": 3.0, "iou": 0.98, "mcd": 0.3}
    assert Goal().excess(**found) == 0.0
    assert Goal(rmse=0.1).excess(**found) == pytest.approx(2.0)
    assert Goal(max_error=6.0).excess(**found) == pytest.approx(0.5)
    assert Goal(iou=0.99).excess(**found) == pytest.approx(2.0)
    assert Goal(mcd=0.1).excess(**found) == pytest.approx(3.0)
    assert Goal(rmse=0.1, max_error=6.0, iou=0.99, mcd=0.05).excess(**found) == pytest.approx(6.0)


def test_excess_leaves_out_what_could_not_be_measured() -> None:
    assert Goal(iou=0.99, mcd=0.1).excess(rmse=0.0, max_error=0.0, iou=None, mcd=None) == 0.0
