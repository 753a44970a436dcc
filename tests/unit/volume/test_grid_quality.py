"""Demands on single grids."""

from dataclasses import replace

import pytest

import fieldcodec as fc
from fieldcodec.errors import UnknownGridError, UsageError
from fieldcodec.testing.samples import dense
from fieldcodec.volume.grid_quality import parse_grid_quality


def test_demands_are_read_with_commas_and_one_by_one() -> None:
    expected = {"density": fc.Quality(psnr=40.0, max_error="1%"), "a:b": fc.Quality(lossless=True)}
    assert parse_grid_quality(["density:psnr=40,max_error=1%,a:b:lossless"]) == expected
    assert parse_grid_quality(["density:psnr=40", "a:b:lossless", "density:max_error=1%"]) == expected
    assert parse_grid_quality([":rmse=0.1"]) == {"": fc.Quality(rmse="0.1")}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("psnr=40", "names no grid"),
        ("density", "names no grid"),
        ("density:", "not understood"),
        ("density:snr=40", "one of rmse"),
        ("density:psnr", "not understood"),
        ("density:lossless=1", "not understood"),
        ("density:psnr=forty", "needed is a number"),
        ("density:psnr=900", "'density': psnr is 900"),
        ("density:psnr=40,size=9KB", "cannot both"),
    ],
)
def test_what_is_not_understood_is_refused(item: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fc.VolumeSettings(grid_quality=(item,))


def test_settings_keep_them_in_json() -> None:
    settings = fc.VolumeSettings(grid_quality=("density:psnr=40", "heat:rmse=0.1"))
    assert settings.to_json() == {"grid_quality": ("density:psnr=40", "heat:rmse=0.1")}
    assert fc.VolumeSettings.from_json({"grid_quality": ["density:psnr=40", "heat:rmse=0.1"]}) == settings
    with pytest.raises(UsageError, match="list of texts"):
        fc.VolumeSettings.from_json({"grid_quality": [1]})


def test_each_grid_gets_its_own_quality() -> None:
    settings = fc.VolumeSettings(quality=fc.Quality(psnr=20), grid_quality=("a:psnr=40",))
    assert settings.of_grid("a").quality == fc.Quality(psnr=40)
    assert settings.of_grid("b").quality == fc.Quality(psnr=20)
    both = replace(settings, grid_quality=("a:psnr=40,max_error=1,b:lossless",))
    assert both.of_grids(["b"]).grid_quality == ("b:lossless",)
    assert both.of_grids(["a"]).of_grid("a") == both.of_grid("a")


def test_one_grid_is_exact_and_the_other_is_not() -> None:
    grids = tuple(replace(dense("float", seed=seed), name=name) for seed, name in enumerate(("a", "b")))
    small = fc.encode_volume(fc.VolumeFile(grids), fc.VolumeSettings(grid_quality=("b:lossless",)), device="cpu")
    errors = [fc.compare_grids(grid, back).rmse for grid, back in zip(grids, small.to_grids(), strict=True)]  # type: ignore[arg-type]
    assert errors[0] > 0  # type: ignore[operator]
    assert errors[1] == 0


def test_a_grid_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownGridError, match="'heat', which is not there; there are 'int32'"):
        fc.encode_volume(dense("int32", side=4), fc.VolumeSettings(grid_quality=("heat:psnr=40",)), device="cpu")
