"""Structural similarity: closed forms, and the definition written out slowly."""

import numpy as np
import pytest

from fieldcodec.errors import UsageError
from fieldcodec.metrics.ssim import ssim

C1, C2 = 6.5025, 58.5225


def slow(a: np.ndarray, b: np.ndarray) -> float:
    """Section III.C of Wang et al., window by window, with weights of the whole window."""
    place = np.arange(11) - 5
    weights = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            x, y = a[row : row + 11, column : column + 11], b[row : row + 11, column : column + 11]
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            cov = (weights * (x - mx) * (y - my)).sum()
            found.append((2 * mx * my + C1) * (2 * cov + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2)))
    return float(np.mean(found))


def test_equal_pictures_have_1_and_flat_ones_the_closed_form():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    a, b = np.full((11, 11), 100.0), np.full((11, 11), 50.0)
    assert ssim(a, b) == pytest.approx((2 * 5000 + C1) / (10000 + 2500 + C1), abs=1e-9)
    assert ssim(np.zeros((11, 11)), np.full((11, 11), 255.0)) == pytest.approx(C1 / (255**2 + C1), abs=1e-9)
    checker = np.indices((16, 16)).sum(axis=0) % 2 * 255.0
    assert ssim(checker, 255 - checker) < -0.9


def test_it_is_the_definition():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (17, 15), dtype=np.uint8)
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    assert ssim(a, b) == pytest.approx(slow(a.astype(float), b.astype(float)), abs=1e-10)
    colours = np.stack([a, b, a], -1)
    assert ssim(colours, np.stack([a, a, a], -1)) == pytest.approx((2 + ssim(a, b)) / 3, abs=1e-10)


def test_other_shapes_are_refused():
    with pytest.raises(UsageError, match="same size"):
        ssim(np.zeros((11, 11)), np.zeros((11, 12)))
    with pytest.raises(UsageError, match="too small"):
        ssim(np.zeros((10, 50)), np.zeros((10, 50)))
