"""What a result says: bytes of all codecs at equal error, as a table in the terminal or in Markdown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fieldcodec.bench.demands import score_of
from fieldcodec.bench.peer import PREFIX, Result

WITHOUT_TREE = " (values only)"
WITH_TREE = " + tree"

_STORED = "stored as"
_WORDS = ("codec", "method", "asked", _STORED)

Curve = list[tuple[int, float]]
"""Bytes and score in dB, both rising."""


@dataclass(frozen=True)
class Column:
    """One demand: what was asked for, and the score at which all codecs are compared."""

    asked: str
    score: float


@dataclass(frozen=True)
class Comparison:
    """Bytes of every codec that gives the exact tree, at equal error.

    Attributes:
        columns: one for each demand. The score is that which the first of our methods reached, its file being as it is,
            and the one asked for where there is none; the others' bytes are read off their curves there.
        rows: label -> bytes in each column; None where no point is good enough.
        best: bytes and label of the smallest of the others in each column.
    """

    columns: tuple[Column, ...]
    rows: dict[str, tuple[float | None, ...]]
    best: tuple[tuple[float, str] | None, ...]

    @property
    def ours(self) -> str | None:
        """The first of our methods."""
        return next((label for label in self.rows if label.startswith(PREFIX)), None)

    def ratios(self) -> tuple[float | None, ...]:
        """The smallest of the others over ours, in each column."""
        sizes = self.rows[self.ours] if self.ours else (None,) * len(self.columns)
        return tuple(
            other[0] / size if other is not None and size else None
            for other, size in zip(self.best, sizes, strict=True)
        )

    def losses(self) -> list[str]:
        """A line for each demand that another codec meets in fewer bytes."""
        lines = []
        for column, other, ratio in zip(self.columns, self.best, self.ratios(), strict=True):
            if other is not None and ratio is not None and ratio < 1:
                lines.append(f"{column.asked}: {other[1]} takes {other[0]:,.0f} bytes, {1 - ratio:.1%} fewer than ours")
        return lines


def curves(result: Result) -> dict[str, Curve]:
    """Label -> the best points of a codec; codecs without a tree of their own are there with and without it.

    A point is kept where no other of the same codec is at most as large and at least as good. Lossless points have an
    infinite score.
    """
    found: dict[str, Curve] = {}
    for point in result["points"]:
        score = score_of(result["measure"], point["rmse_relative"], point["iou"], point["mcd"])
        found.setdefault(label_of(point), []).append((point["bytes"], score))
    return {label: _front(points) for label, points in found.items()}


def label_of(point: Result) -> str:
    """The codec's name, and whether the tree was added or left out."""
    tree = WITH_TREE if point["mask_bytes"] else "" if point["mask_bytes_included"] else WITHOUT_TREE
    return str(point["codec"]) + tree


def _front(points: Curve) -> Curve:
    front: Curve = []
    for size, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((size, score))
    return front


def bytes_at(curve: Curve, score: float) -> float | None:
    """Bytes for a score, interpolated in log(bytes) between the neighbouring points of a curve.

    The smallest point where all are better; None where none is good enough.
    """
    if score <= curve[0][1]:
        return float(curve[0][0])
    for (size, low), (next_size, high) in pairwise(curve):
        if score <= high:
            share = 1.0 if math.isinf(high) else (score - low) / (high - low)
            return size * (next_size / size) ** share
    return None


def compare(result: Result) -> Comparison:
    """All codecs with the exact tree at equal error, ours first."""
    whole = {label: curve for label, curve in curves(result).items() if not label.endswith(WITHOUT_TREE)}
    whole = dict(sorted(whole.items(), key=lambda item: not item[0].startswith(PREFIX)))
    reached = _reached(result, next((label for label in whole if label.startswith(PREFIX)), None))
    columns = tuple(
        Column(demand["asked"], reached.get(demand["asked"], demand["score"])) for demand in result["demands"]
    )
    rows = {label: tuple(bytes_at(curve, column.score) for column in columns) for label, curve in whole.items()}
    others = {label: sizes for label, sizes in rows.items() if not label.startswith(PREFIX)}
    best = []
    for position in range(len(columns)):
        sizes = [(row[position], label) for label, row in others.items()]
        best.append(min(((size, label) for size, label in sizes if size is not None), default=None))
    return Comparison(columns, rows, tuple(best))


def _reached(result: Result, ours: str | None) -> dict[str, float]:
    """Demand -> the score of our file for it, where that is not exact."""
    scores = {
        str(point["setting"]): score_of(result["measure"], point["rmse_relative"], point["iou"], point["mcd"])
        for point in result["points"]
        if point["codec"] == ours
    }
    return {asked: score for asked, score in scores.items() if math.isfinite(score)}


def to_markdown(result: Result) -> str:
    """The comparison as a table in Markdown, under one line on the grid."""
    comparison = compare(result)
    head, rows = _cells(comparison, "{:,.0f}".format, bold="**")
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join([_headline(result), "", *lines])


def to_table(result: Result, console: Console) -> None:
    """The comparison, what our files are in detail, and what was left out."""
    comparison = compare(result)
    head, rows = _cells(comparison, _kilobytes)
    console.print(f"[bold]{escape(_headline(result))}[/bold]", highlight=False)
    console.print("\n[bold]kB at equal error, exact tree included[/bold]", highlight=False)
    table = _new_table(head)
    for cells in rows:
        table.add_row(*cells, style="bold" if cells[0].startswith(PREFIX) else "")
    console.print(table)
    if any(label.endswith(WITH_TREE) for label in comparison.rows):
        note = "the codec stores no tree, and the bytes of fieldcodec's are added"
        console.print(f"\n{WITH_TREE.strip()}: {note}", highlight=False)
    _print_ours(result, console)
    for line in comparison.losses():
        console.print(f"Smaller than ours at {escape(line)}", highlight=False)
    for name, why in result["left_out"].items():
        console.print(f"Left out: {escape(name)}: {escape(why)}", highlight=False)


def _kilobytes(size: float) -> str:
    """Four digits, or all before the point."""
    return f"{size / 1000:,.0f}" if size >= 1e6 else f"{size / 1000:.4g}"


def _headline(result: Result) -> str:
    grid = result["grid"]
    size = " x ".join(map(str, grid["effective_resolution"]))
    return f"{result['what']}: {grid['grid_class']}, {grid['active_voxels']:,} active voxels, {size}"


def _cells(comparison: Comparison, text: Callable[[float], str], bold: str = "") -> tuple[list[str], list[list[str]]]:
    """Headings and rows; the last row says how many times larger than ours the best of the others is."""
    rows = []
    for label, sizes in comparison.rows.items():
        mark = bold if label.startswith(PREFIX) else ""
        rows.append([label, *("-" if size is None else f"{mark}{text(size)}{mark}" for size in sizes)])
    if comparison.ours is not None and any(ratio is not None for ratio in comparison.ratios()):
        ratios = ["-" if ratio is None else f"{ratio:.2f}" for ratio in comparison.ratios()]
        rows.append(["best other / ours", *ratios])
    return ["codec", *(column.asked for column in comparison.columns)], rows


def _new_table(head: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in head:
        table.add_column(heading, justify="left" if heading in _WORDS else "right", no_wrap=heading != _STORED)
    return table


def _print_ours(result: Result, console: Console) -> None:
    """A row for each of our files: quality, speed and memory; then the share of each stage."""
    ours = [point for point in result["points"] if point["codec"].startswith(PREFIX)]
    if not ours:
        return
    surface = any(point["mcd"] is not None for point in ours)
    methods = dict.fromkeys(point["codec"].removeprefix(PREFIX) for point in ours)
    several = len(methods) > 1
    head = [*["method"] * several, "asked", _STORED, "bytes", "bits/vox", "PSNR", *["IoU", "mCD"] * surface]
    console.print(f"\n[bold]Our files, {' and '.join(methods)}[/bold]", highlight=False)
    table = _new_table([*head, "encode", "decode", "peak"])
    for point in ours:
        psnr = "exact" if point["psnr"] is None else f"{point['psnr']:.2f}"
        bits = 8 * point["bytes"] / result["grid"]["active_voxels"]
        cells = [point["codec"].removeprefix(PREFIX)] * several + [str(point["setting"]), escape(point["note"])]
        cells += [f"{point['bytes']:,}", f"{bits:.3g}", psnr]
        cells += [_plain(point["iou"], ".4f"), _plain(point["mcd"], ".3f")] * surface
        cells += [f"{point['encode_s']:.1f} s", f"{point['decode_s']:.1f} s"]
        cells.append(_plain(point["encode_peak_bytes"], ".0f", 1e6) + " MB")
        table.add_row(*cells)
    console.print(table)
    active = result["grid"]["active_voxels"]
    console.print(highlight=False)
    for what in ("encode", "decode"):
        seconds = sum(point[f"{what}_s"] for point in ours)
        speed = active * len(ours) / seconds / 1e6 if seconds else 0.0
        console.print(f"{what}: {speed:.3g} M active voxels/s{_shares(ours, what, seconds)}", highlight=False)


def _shares(points: Sequence[Result], what: str, seconds: float) -> str:
    """`; stage 60%, another 40%`, the largest first; nothing where no stages were told."""
    total: dict[str, float] = {}
    for point in points:
        for stage, spent in point[f"{what}_stages"].items():
            total[stage] = total.get(stage, 0.0) + spent
    shares = sorted(total.items(), key=lambda item: -item[1])
    text = ", ".join(f"{escape(stage)} {spent / seconds:.0%}" for stage, spent in shares if seconds)
    return f"; {text}" if text else ""


def _plain(value: float | None, form: str, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:{form}}"
