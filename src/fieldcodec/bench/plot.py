"""The curves of a result as a picture.

Across: bits per active voxel and bytes, logarithmic. Up: the quality, better above. Left and high is better. Solid
lines hold the exact tree, dashed ones the values alone. A large mark at the upper edge is a file whose quality lies far
above the picture.
"""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldcodec.bench.peer import PREFIX, Result, bench_package
from fieldcodec.bench.report import WITHOUT_TREE, curves
from fieldcodec.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
_BELOW_DB, _ABOVE_DB = 2.0, 5.0  # shown below and above what was asked for
_MARKERS = 10  # shown on a line at most, about
_DPI = 120
_STYLES = {  # beginning of the codec's name -> colour, marker; the first that fits
    "fieldcodec-network": ("tab:pink", "o"),
    "fieldcodec-mesh": ("firebrick", "h"),
    "fieldcodec": ("tab:red", "o"),
    "openvdb-16": ("black", "D"),
    "openvdb": ("dimgray", "D"),
    "nanovdb-fp4": ("navy", "P"),
    "nanovdb-fp8": ("royalblue", "X"),
    "nanovdb-fpn-none": ("lightskyblue", "v"),
    "nanovdb-fpn-zip": ("steelblue", "v"),
    "nanovdb-fpn-blosc": ("cadetblue", "v"),
    "zfp": ("tab:green", "s"),
    "sz3-active": ("goldenrod", "^"),
    "sz3": ("tab:orange", "^"),
    "draco": ("tab:purple", "*"),
}
_AXES = {"iou": "1 - IoU", "mcd": "mCD, voxels"}


def require_plot(path: Path) -> None:
    """Say before the work that a picture cannot be drawn.

    Raises:
        UsageError: the suffix is of no format that is drawn.
        MissingPackageError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"the picture {path.name} ends in none of {', '.join(FORMATS)}, the formats that are drawn")
    bench_package("matplotlib.figure")


def picture_bytes(result: Result, suffix: str) -> bytes:
    """The picture as the bytes of a file; suffix: one of `FORMATS`."""
    buffer = io.BytesIO()
    figure(result).savefig(buffer, format=suffix.lower().removeprefix("."), dpi=_DPI)
    return buffer.getvalue()


def figure(result: Result) -> "Figure":
    """The picture of one result.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    picture: Figure = bench_package("matplotlib.figure").Figure(figsize=(11, 6.5), layout="constrained")
    axes = picture.subplots()
    voxels = result["grid"]["active_voxels"]
    scores = [demand["score"] for demand in result["demands"]]
    low, high = min(scores) - _BELOW_DB, max(scores) + _ABOVE_DB
    found = curves(result)
    for label in sorted(found, key=lambda label: label.endswith(WITHOUT_TREE)):
        _draw(axes, label, [(size * 8 / voxels, score) for size, score in found[label]], low, high)
    _quality_axis(axes, result["measure"], low, high)
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlabel("bits per active voxel")
    axes.grid(True, which="both", alpha=0.25)
    kb = voxels / 8e3  # of one bit for each active voxel
    above = axes.secondary_xaxis("top", functions=(lambda x: np.asarray(x) * kb, lambda x: np.asarray(x) / kb))
    _plain_ticks(above.xaxis)
    above.set_xlabel("kB")
    axes.set_title(f"{result['what']}: {voxels:,} active voxels", pad=12)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small", frameon=False)
    return picture


def _quality_axis(axes: "Axes", measure: str, low: float, high: float) -> None:
    """Scores are drawn; where they are no PSNR the ticks tell the error they stand for."""
    axes.set_ylim(low, high + 0.02 * (high - low))
    if measure not in _AXES:
        axes.set_ylabel("PSNR of active values, dB")
        return
    ticker = bench_package("matplotlib.ticker")
    errors = [digit * 10.0**power for power in range(-7, 2) for digit in (1, 2, 5)]
    shown = [-20 * math.log10(error) for error in errors]
    axes.set_yticks([score for score in shown if low <= score <= high])
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda score, _: f"{10 ** (-score / 20):.3g}"))
    axes.set_ylabel(_AXES[measure])


def _plain_ticks(axis: "Axis") -> None:
    """1, 2, 5, 10, 20 and so on."""
    ticker = bench_package("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _draw(axes: "Axes", label: str, curve: list[tuple[float, float]], low: float, high: float) -> None:
    """One curve from its last point below the picture to its first above, which stands at the edge if it is exact."""
    colour, marker = next((style for name, style in _STYLES.items() if label.startswith(name)), ("gray", "."))
    dashed, ours = label.endswith(WITHOUT_TREE), label.startswith(PREFIX)
    first = max(sum(score < low for _, score in curve) - 1, 0)
    last = sum(score <= high for _, score in curve) + 1
    line = [(rate, min(score, high) if math.isinf(score) else score) for rate, score in curve[first:last]]
    axes.plot(
        [rate for rate, _ in line],
        [score for _, score in line],
        "--" if dashed else "-",
        color=colour,
        marker=marker,
        markersize=6 if ours else 5,
        markevery=max(len(line) // _MARKERS, 1),
        linewidth=2.5 if ours else 1.2,
        alpha=0.4 if dashed else 1.0,
        label=label + _beyond(curve, high),
    )
    above = [rate for rate, score in curve[first:last] if math.isinf(score) or curve[0][1] > high]
    axes.plot(above[:1], [high] * len(above[:1]), marker, color=colour, markersize=9)


def _beyond(curve: list[tuple[float, float]], high: float) -> str:
    """What the legend adds for a codec whose files are all better than what is shown."""
    if any(score <= high for _, score in curve):
        return ""
    return ", exact" if math.isinf(curve[0][1]) else ", better than shown"
