"""Structural similarity of two pictures."""

import numpy as np

from fieldcodec.errors import UsageError

_SIGMA, _RADIUS = 1.5, 5  # the 11 x 11 window of the source
_K1, _K2 = 0.01, 0.03
_RANGE = 255.0


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean structural similarity, 1 for equal pictures (Wang, Bovik, Sheikh and Simoncelli, "Image Quality
    Assessment: From Error Visibility to Structural Similarity", 2004, section III.C).

    A Gaussian window of 11 x 11 pixels (sigma 1.5), K1 = 0.01, K2 = 0.03; the mean over all windows that lie
    within the picture and over the channels.

    Args:
        a, b: [H, W] or [H, W, C], values 0 to 255, H and W at least 11.

    Raises:
        UsageError: shapes differ, or pictures are too small.
    """
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise UsageError(f"pictures of shapes {a.shape} and {b.shape} cannot be compared; give two of the same size")
    if min(a.shape[:2]) < 2 * _RADIUS + 1:
        raise UsageError(f"a picture of {a.shape[1]} x {a.shape[0]} pixels is too small for SSIM; 11 x 11 is the least")
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    mean_a, mean_b = _windowed(first), _windowed(second)
    var_a = _windowed(first * first) - mean_a**2
    var_b = _windowed(second * second) - mean_b**2
    covariance = _windowed(first * second) - mean_a * mean_b
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def _windowed(picture: np.ndarray) -> np.ndarray:
    """[H, W, ...] -> [H - 10, W - 10, ...]: Gaussian means around each pixel whose window fits."""
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        length = picture.shape[axis] - 2 * _RADIUS
        moved = np.moveaxis(picture, axis, 0)
        total = sum(weight * moved[start : start + length] for start, weight in enumerate(weights))
        picture = np.moveaxis(np.asarray(total), 0, axis)
    return picture
