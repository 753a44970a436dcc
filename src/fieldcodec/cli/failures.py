"""What makes a comparison of two grids fail, of volumes and of sequences alike. No torch."""

from collections.abc import Sequence

from fieldcodec.metrics.files import Difference, DifferenceKind
from fieldcodec.metrics.quality import GridQuality

TOLERATED = frozenset((DifferenceKind.VALUES, DifferenceKind.INACTIVE, DifferenceKind.STORAGE))


def grid_failures(
    label: str, differences: Sequence[Difference], quality: GridQuality | None, max_rmse: float | None,
    max_error: float | None,
) -> list[str]:  # fmt: skip
    """Every difference that is more than one of values, and every limit that is passed, in words."""
    found = [f"{label}: {item}" for item in differences if item.kind not in TOLERATED]
    if quality is None:
        return found
    for name, value, limit in (("RMSE", quality.rmse, max_rmse), ("error", quality.max_error, max_error)):
        if limit is not None and value is not None and value > limit:
            found.append(f"{label}: {name} {value:.6g} is above {limit:g}")
    if quality.nonfinite_differs and (max_rmse is not None or max_error is not None):
        found.append(f"{label}: {quality.nonfinite_differs} values are NaN or infinite on one side only")
    return found
