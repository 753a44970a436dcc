"""How near a picture is to the true one: PSNR, SSIM, and NVIDIA's perceptual distance FLIP."""

from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import final

import numpy as np

from fieldcodec.errors import MissingPackageError, UsageError
from fieldcodec.metrics.ssim import ssim

LEAST_SIDE = 11  # pixels that SSIM needs
_NO_FLIP = "the perceptual distance FLIP needs the package flip-evaluator; install it: pip install 'fieldcodec[images]'"


@final
@dataclass(frozen=True)
class ImageQuality:
    """Of a picture beside the true one."""

    psnr: float  # dB; infinite for equal pictures
    ssim: float | None  # 1 for equal pictures; None where a side has less than 11 pixels
    flip: float | None  # 0 for equal pictures, at most 1; None where flip-evaluator is not installed


def compare_images(true: np.ndarray, other: np.ndarray) -> ImageQuality:
    """All three of pictures [h, w, 3] of 0 to 1 (sRGB).

    What cannot be measured is None, and `missing_flip` says why: that is not hidden.

    Raises:
        UsageError: the pictures are of different sizes, or empty.
    """
    large = min(true.shape[:2]) >= LEAST_SIDE
    return ImageQuality(
        psnr=psnr(true, other),
        ssim=ssim(true * 255.0, other * 255.0) if large else None,
        flip=flip(true, other) if missing_flip() is None else None,
    )


def mean_of(qualities: list[ImageQuality]) -> ImageQuality:
    """Means over pictures, each alone, as papers on new views have them; at least one picture is needed."""
    known = {
        name: [value for value in (getattr(quality, name) for quality in qualities) if value is not None]
        for name in ("psnr", "ssim", "flip")
    }
    means = {name: float(np.mean(values)) if values else None for name, values in known.items()}
    assert means["psnr"] is not None
    return ImageQuality(means["psnr"], means["ssim"], means["flip"])


def psnr(true: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise ratio, dB, of pictures [h, w, 3] of 0 to 1; infinite where they are equal.

    Raises:
        UsageError: the pictures are of different sizes, or empty.
    """
    _check(true, other)
    error = float(np.mean((np.asarray(true, np.float64) - other) ** 2))
    return float(-10 * np.log10(error)) if error else float("inf")


def flip(true: np.ndarray, other: np.ndarray) -> float:
    """The mean of the error map of LDR-FLIP (Andersson et al., "FLIP: A Difference Evaluator for Alternating Images",
    2020) at its default of 67 pixels per degree: how much is seen when the two pictures alternate; 0 for equal ones.

    Args:
        true, other: [h, w, 3] of 0 to 1 (sRGB).

    Raises:
        UsageError: the pictures are of different sizes, or empty.
        MissingPackageError: flip-evaluator is not installed.
    """
    _check(true, other)
    package = _evaluator()
    if package is None:
        raise MissingPackageError(_NO_FLIP)
    pictures = [np.ascontiguousarray(np.clip(picture, 0, 1), np.float32) for picture in (true, other)]
    return float(package.evaluate(*pictures, "LDR", applyMagma=False)[1])


def missing_flip() -> str | None:
    """Why `flip` cannot be measured here, and what to do; None where it can."""
    return _NO_FLIP if _evaluator() is None else None


@cache
def _evaluator() -> ModuleType | None:
    try:
        import flip_evaluator
    except ImportError:
        return None
    return flip_evaluator


def _check(true: np.ndarray, other: np.ndarray) -> None:
    if true.shape != other.shape or true.ndim != 3 or true.shape[2] != 3 or not true.size:
        raise UsageError(f"pictures of shapes {true.shape} and {other.shape} cannot be compared; give [h, w, 3] twice")
