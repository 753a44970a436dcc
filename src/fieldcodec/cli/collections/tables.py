"""Reports on collections for people."""

from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fieldcodec.cli.collections.info import sections_line
from fieldcodec.cli.collections.measure import CollectionReport
from fieldcodec.collection.measure import AnyQuality, ItemQuality, PictureQuality
from fieldcodec.metrics.images import missing_flip
from fieldcodec.metrics.tables import number, size

_WIDTH = 100
_LONGEST_NAME = 32
_OPTIONAL = {"psnr", "view_flip", "view_ssim"}  # shown where there are some


def print_report(console: Console, report: CollectionReport) -> None:
    """Totals, then a row for each object."""
    count = len(report.names)
    head = f"{report.path.name}: {count} object{'' if count == 1 else 's'}, {report.bytes:,} bytes"
    each = f", {report.bytes / count:,.0f} for each" if count > 1 else ""
    console.print(f"[bold]{escape(head)}{each}[/bold]", highlight=False)
    console.print(sections_line(report.sections, report.bytes), highlight=False, soft_wrap=True)
    if report.ratio is not None:
        line = f"made from files of {size(report.source_bytes)}: {report.ratio:,.3g} to 1"
        console.print(line, highlight=False)
    if report.qualities:
        console.print()
        console.print(_table(report), width=min(console.width, _WIDTH))
    shapes = [quality for quality in report.qualities if isinstance(quality, ItemQuality)]
    if shapes:
        quality = shapes[0]
        console.print(
            f"CD: squared distances x 1000 of {quality.surface_points:,} points each way; floor: the CD of the true "
            "surface with itself.",
            highlight=False, style="dim", width=min(console.width, _WIDTH),
        )  # fmt: skip
    views = [quality for quality in report.qualities if isinstance(quality, PictureQuality)]
    if views:
        console.print(_views_line(views[0]), highlight=False, style="dim", width=min(console.width, _WIDTH))


def _views_line(quality: PictureQuality) -> str:
    line = (
        f"view: means over {quality.views} views of {quality.width} x {quality.height} pixels that were not trained on"
    )
    return line if quality.view_flip is not None else f"{line}; {missing_flip()}"


def _table(report: CollectionReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("object", overflow="ellipsis", no_wrap=True, max_width=_LONGEST_NAME)
    columns = [column for column in _COLUMNS if any(_has(quality, column[1]) for quality in report.qualities)]
    for heading, _, _ in columns:
        table.add_column(heading, justify="right")
    table.add_column("bytes", justify="right")
    sizes = dict(zip(report.names, report.item_bytes, strict=True))
    for quality in report.qualities:
        cells = [show(getattr(quality, measure, None)) for _, measure, show in columns]
        table.add_row(escape(quality.name), *cells, f"{sizes[quality.name]:,}")
    if len(report.qualities) > 1:
        table.add_section()
        means = [show(report.mean(measure)) for _, measure, show in columns]
        table.add_row("mean", *means, f"{sum(report.item_bytes) / len(report.item_bytes):,.0f}")
    return table


def _has(quality: AnyQuality, measure: str) -> bool:
    """Colours are shown where there are some, all else where it belongs to the kind of the object."""
    return hasattr(quality, measure) and (measure not in _OPTIONAL or getattr(quality, measure) is not None)


def _fixed(digits: int) -> Callable[[Any], str]:
    return lambda value: "-" if value is None else f"{value:.{digits}f}"


_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("gIoU %", "iou", _fixed(2)),
    ("CD", "chamfer", lambda value: number(value, 3)),
    ("floor", "chamfer_floor", lambda value: number(value, 3)),
    ("NC", "normal_consistency", _fixed(4)),
    ("colour dB", "psnr", _fixed(1)),
    ("opacity error", "opacity_error", _fixed(4)),
    ("view dB", "view_psnr", _fixed(2)),
    ("SSIM", "view_ssim", _fixed(4)),
    ("FLIP", "view_flip", _fixed(4)),
)
