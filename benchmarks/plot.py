"""Draws the curves that `rate_distortion.py` has measured: one picture for each input.

    python benchmarks/plot.py [--results FOLDER] [--only smoke,cloud] [--format png] [--out FOLDER]

Across: bits per active voxel and bytes, logarithmic. Up: PSNR. Left and high is better. Solid lines hold the exact
tree, dashed ones the values alone. A large mark at the upper edge is a file whose PSNR lies above the picture.
"""

import argparse
import math
from pathlib import Path

import matplotlib
import numpy as np
from bars import RESULTS, WITHOUT_TREE, Result, curves, load
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

matplotlib.use("agg")  # no display is needed
import matplotlib.pyplot as plt  # after the choice of the backend

_LOW_DB, _HIGH_DB = 20.0, 50.0
_MARKERS = 10  # shown on a line at most, about
_STYLES = {  # beginning of the codec's name -> colour, marker; the first that fits
    "fieldcodec-network": ("tab:pink", "o"),
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


def figure(result: Result) -> Figure:
    """The picture of one input."""
    picture, axes = plt.subplots(figsize=(11, 6.5), layout="constrained")
    voxels = result["grid"]["active_voxels"]
    for label, curve in curves(result).items():
        _draw(axes, label, [(size * 8 / voxels, psnr) for size, psnr in curve])
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_ylim(_LOW_DB, _HIGH_DB + 1)
    axes.set_xlabel("bits per active voxel")
    axes.set_ylabel("PSNR of active values, dB")
    axes.grid(True, which="both", alpha=0.25)
    kb = voxels / 8e3  # of one bit for each active voxel
    above = axes.secondary_xaxis("top", functions=(lambda x: np.asarray(x) * kb, lambda x: np.asarray(x) / kb))
    _plain_ticks(above.xaxis)
    above.set_xlabel("kB")
    axes.set_title(f"{result['what']}: {voxels:,} active voxels", pad=12)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small", frameon=False)
    return picture


def _plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10, 20 and so on."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw(axes: Axes, label: str, curve: list[tuple[float, float]]) -> None:
    colour, marker = next((style for name, style in _STYLES.items() if label.startswith(name)), ("gray", "."))
    line = "--" if label.endswith(WITHOUT_TREE) else "-"
    inside = [point for point in curve if _LOW_DB <= point[1] <= _HIGH_DB]
    axes.plot(
        [rate for rate, _ in inside],
        [psnr for _, psnr in inside],
        line,
        color=colour,
        marker=marker,
        markersize=5,
        markevery=max(len(inside) // _MARKERS, 1),
        linewidth=1.5,
        alpha=0.55 if line == "--" else 1.0,
        label=label + _beyond(curve),
    )
    if not inside:  # all of a codec's files are better than what is shown
        axes.plot([curve[0][0]], [_HIGH_DB], marker, color=colour, markersize=9)


def _beyond(curve: list[tuple[float, float]]) -> str:
    """What the legend adds for a codec whose files are all better than what is shown."""
    if any(psnr <= _HIGH_DB for _, psnr in curve):
        return ""
    return ", exact" if math.isinf(curve[0][1]) else f", {curve[0][1]:.0f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--only", default="", help="inputs, e.g. smoke,cloud")
    parser.add_argument("--format", choices=("png", "svg"), default="png")
    parser.add_argument("--out", type=Path, help="folder of the pictures; that of the JSON files if not given")
    options = parser.parse_args()
    folder = options.out or options.results
    folder.mkdir(parents=True, exist_ok=True)
    only = [name.strip() for name in options.only.split(",") if name.strip()]
    for result in load(options.results, only):
        path = folder / f"{result['name']}.{options.format}"
        picture = figure(result)
        picture.savefig(path, dpi=120)
        plt.close(picture)
        print(path)


if __name__ == "__main__":
    main()
