"""PSNR, SSIM and FLIP of pictures."""

import numpy as np
import pytest

from fieldcodec.errors import MissingPackageError, UsageError
from fieldcodec.metrics import images
from fieldcodec.metrics.images import ImageQuality, compare_images, flip, mean_of, missing_flip, psnr


@pytest.fixture
def picture() -> np.ndarray:
    rows, columns = np.mgrid[:40, :50]
    return np.stack([rows / 40, columns / 50, (rows + columns) % 7 / 7], axis=2).astype(np.float32)


def test_psnr_by_its_definition(picture: np.ndarray) -> None:
    assert psnr(picture, picture) == float("inf")
    assert psnr(np.zeros((2, 2, 3)), np.full((2, 2, 3), 0.1)) == pytest.approx(20.0)


def test_equal_pictures_are_perfect(picture: np.ndarray) -> None:
    quality = compare_images(picture, picture)
    assert quality.psnr == float("inf")
    assert quality.ssim == pytest.approx(1.0)
    assert quality.flip in (None, 0.0)


def test_worse_pictures_measure_worse(picture: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(size=picture.shape).astype(np.float32)
    near, far = (compare_images(picture, np.clip(picture + size * noise, 0, 1)) for size in (0.02, 0.2))
    assert near.psnr > far.psnr + 10
    assert near.ssim is not None
    assert far.ssim is not None
    assert near.ssim > far.ssim + 0.2


def test_flip(picture: np.ndarray) -> None:
    """0 for equal pictures, 1 for black and white, and symmetric but for rounding."""
    pytest.importorskip("flip_evaluator")
    assert missing_flip() is None
    assert flip(picture, picture) == 0
    black = np.zeros_like(picture)
    assert flip(black, black + 1) == pytest.approx(0.967, abs=0.02)
    other = picture[::-1]
    assert 0.05 < flip(picture, other) < 1
    assert flip(picture, other) == pytest.approx(flip(other, picture), rel=1e-3)


def test_a_missing_package_is_named(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_evaluator", lambda: None)
    assert "flip-evaluator" in str(missing_flip())
    assert compare_images(picture, picture).flip is None
    with pytest.raises(MissingPackageError, match=r"pip install 'fieldcodec\[images\]'"):
        flip(picture, picture)


def test_means_leave_out_what_was_not_measured() -> None:
    mean = mean_of([ImageQuality(20, 0.5, None), ImageQuality(30, None, None)])
    assert mean == ImageQuality(25, 0.5, None)
    assert compare_images(np.zeros((5, 5, 3)), np.zeros((5, 5, 3))).ssim is None


@pytest.mark.parametrize(
    ("first", "second"), [((4, 4, 3), (4, 5, 3)), ((4, 5), (4, 5)), ((4, 5, 4), (4, 5, 4)), ((0, 5, 3), (0, 5, 3))]
)
def test_other_shapes_are_refused(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="cannot be compared"):
        psnr(np.zeros(first), np.zeros(second))
