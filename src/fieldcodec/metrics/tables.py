"""Tables for people, not wider than 100 columns."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDTH = 100
_LONGEST_NAME = 16


class _Row(Protocol):
    """What a row of the tables needs: the attributes of `report.GridReport`, which is built on top of this."""

    @property
    def name(self) -> str: ...


Column = tuple[str, Callable[[Any], str]]


def print_tables(console: Console, head: str, grids: Sequence[_Row], file_differences: Sequence[object]) -> None:
    """Print what is known of some `GridReport`s; columns and tables without any entry are left out."""
    console.print(f"[bold]{escape(head)}[/bold]", highlight=False)
    for title, columns in (("Size", _SIZE), ("Quality", _QUALITY), ("Model", _MODEL)):
        _print_table(console, title, columns, grids)
    _print_sections(console, grids)
    _print_trials(console, grids)
    _print_choices(console, grids)
    lines = [f"file, {escape(str(item))}" for item in file_differences]
    for grid in grids:
        lines += [f"{escape(label(grid))}, {escape(str(item))}" for item in getattr(grid, "differences", ())]
    if lines:
        console.print("\n[bold]Differences[/bold]", highlight=False)
    for line in lines:
        console.print(f"  {line}", highlight=False, width=min(console.width, _WIDTH))


def label(grid: _Row) -> str:
    """The grid's name, or a word for a grid that has none."""
    return grid.name or "(unnamed)"


def size(value: float | None) -> str:
    """Bytes in the unit that keeps three or four digits."""
    if value is None:
        return "-"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:  # three digits would make 1e+03 of 999.5
            return f"{value / factor:.3g} {unit}" if value < 999.5 * factor else f"{value / factor:,.0f} {unit}"
    return f"{value:.0f} B"


def number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _with_relative(value: float | None, relative: float | None) -> str:
    if value is None or relative is None or not value:
        return number(value, 3)
    return f"{number(value, 3)} ({relative * 100:.2g}%)"


def _resolution(grid: Any) -> str:
    return "-" if grid.effective_resolution is None else "x".join(map(str, grid.effective_resolution))


def _of_quality(read: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda grid: "-" if grid.quality is None else read(grid.quality)


def _topology(quality: Any) -> str:
    return "identical" if quality.topology_identical else f"{quality.topology_differs:,} differ"


_SIZE: tuple[Column, ...] = (
    ("active", lambda grid: count(grid.active_voxels)),
    ("resolution", _resolution),
    ("raw", lambda grid: size(grid.bytes_raw)),
    ("16b+Blosc", lambda grid: size(grid.bytes_vdb16_blosc)),
    ("ours", lambda grid: size(grid.bytes)),
    ("ratio", lambda grid: number(grid.ratio, 3)),
    ("bits/vox", lambda grid: number(grid.bits_per_active_voxel, 3)),
)
_QUALITY: tuple[Column, ...] = (
    ("type", lambda grid: grid.value_type),
    ("topology", _of_quality(_topology)),
    ("IoU", _of_quality(lambda quality: "-" if quality.iou is None else f"{quality.iou:.4f}")),
    ("mCD", _of_quality(lambda quality: "-" if quality.mcd is None else f"{quality.mcd:.3f}")),
    ("RMSE", _of_quality(lambda quality: _with_relative(quality.rmse, quality.rmse_relative))),
    ("max error", _of_quality(lambda quality: _with_relative(quality.max_error, quality.max_error_relative))),
    ("PSNR dB", _of_quality(lambda quality: "-" if quality.psnr is None else f"{quality.psnr:.1f}")),
    (
        "inactive",
        _of_quality(lambda quality: f"{quality.inactive_differs:,} differ" if quality.inactive_differs else "-"),
    ),
)
_MODEL: tuple[Column, ...] = (
    ("stored as", lambda grid: escape(grid.method or "-")),
    ("parameters", lambda grid: count(grid.parameters)),
    ("MACs/vox", lambda grid: count(grid.multiply_adds)),
    ("corrections", lambda grid: count(grid.corrections)),
    ("rounding", lambda grid: "-" if grid.rounding_loss is None else f"{grid.rounding_loss:+.1%}"),
    ("encode s", lambda grid: "-" if grid.seconds_encode is None else f"{grid.seconds_encode:.1f}"),
    ("decode s", lambda grid: "-" if grid.seconds_decode is None else f"{grid.seconds_decode:.2f}"),
)


def _print_table(console: Console, title: str, columns: Sequence[Column], grids: Sequence[_Row]) -> None:
    cells = [[read(grid) for grid in grids] for _, read in columns]
    if all(cell == "-" for column in cells for cell in column):
        return
    table = _new_table(title)
    rows = [[escape(label(grid)) for grid in grids]]
    for (heading, _), column in zip(columns, cells, strict=True):
        if any(cell != "-" for cell in column):
            left = heading in ("type", "stored as", "topology")
            table.add_column(heading, justify="left" if left else "right")
            rows.append(column)
    for row in zip(*rows, strict=True):
        table.add_row(*row)
    console.print()
    console.print(table, width=min(console.width, _WIDTH))


def _print_choices(console: Console, grids: Sequence[Any]) -> None:
    """Lattices tried on a sample of leaves; the first was taken."""
    table = _new_table("Tried on a sample")
    table.add_column("lattices")
    for heading in ("step", "bytes", "RMSE"):
        table.add_column(heading, justify="right")
    for grid in grids:
        for position, choice in enumerate(grid.choices):
            cells = [f"{choice['step']:.4g}", f"{choice['sample_bytes']:,}", f"{choice['rmse']:.4g}"]
            table.add_row(escape(label(grid)) if not position else "", escape(str(choice["lattices"])), *cells)
    _print_filled(console, table)


def _print_trials(console: Console, grids: Sequence[Any]) -> None:
    """Methods tried on the whole grid; the first was taken."""
    table = _new_table("Methods tried")
    table.add_column("method")
    for heading in ("bytes", "RMSE", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for grid in grids:
        for position, trial in enumerate(grid.trials):
            name = " ".join(part for part in (trial["method"], trial["detail"]) if part)
            tried = trial["bytes"] is not None
            cells = [f"{trial['bytes']:,}", f"{trial['rmse']:.4g}", f"{trial['seconds']:.1f}"] if tried else ["-"] * 3
            table.add_row(escape(label(grid)) if not position else "", escape(name), *cells, escape(trial["verdict"]))
    _print_filled(console, table)


def _new_table(title: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    table.add_column("grid", overflow="ellipsis", no_wrap=True, max_width=_LONGEST_NAME)
    return table


def _print_filled(console: Console, table: Table) -> None:
    """Nothing where it has no rows."""
    if table.rows:
        console.print()
        console.print(table, width=min(console.width, _WIDTH))


def _print_sections(console: Console, grids: Sequence[Any]) -> None:
    table = _new_table("Sections")
    table.add_column("section")
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    for grid in grids:
        total = sum(grid.sections.values())
        for position, (name, length) in enumerate(grid.sections.items()):
            share = f"{length / total * 100:.1f}%" if total else "-"
            table.add_row(escape(label(grid)) if not position else "", escape(name), f"{length:,}", share)
    _print_filled(console, table)
