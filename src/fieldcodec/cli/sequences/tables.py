"""Reports on sequences for people."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fieldcodec.io.frame_paths import ranges_text
from fieldcodec.metrics.tables import number, size
from fieldcodec.volume.sequence.summary import GridSummary

_WIDTH = 100


def print_summary(console: Console, head: str, grids: Sequence[GridSummary]) -> None:
    """What each grid took, and its mean and worst errors over the frames."""
    console.print(f"[bold]{escape(head)}[/bold]", highlight=False)
    _print_sizes(console, grids)
    _print_errors(console, grids)


def _print_sizes(console: Console, grids: Sequence[GridSummary]) -> None:
    columns = {
        "16b+Blosc": [size(grid.bytes_vdb16_blosc) for grid in grids],
        "ours": [size(grid.bytes) for grid in grids],
        "ratio": [number(grid.ratio, 3) for grid in grids],
    }
    known = {heading: cells for heading, cells in columns.items() if any(cell != "-" for cell in cells)}
    table = _table("Size" if known else "Frames", ("frames",), tuple(known))
    for grid, *sizes in zip(grids, *known.values(), strict=True):
        table.add_row(_label(grid), ranges_text(grid.frames), *sizes)
    _print(console, table)


def _print_errors(console: Console, grids: Sequence[GridSummary]) -> None:
    table = _table("Quality over the frames", ("topology", "measure"), ("mean", "worst", "in frame"))
    for grid in grids:
        rows = [
            ("RMSE", grid.rmse), ("max error", grid.max_error), ("IoU", grid.iou), ("mCD", grid.mcd),
            ("flicker", grid.flicker), ("flicker / change", grid.flicker_relative),
        ]  # fmt: skip
        first = [_label(grid), _topology(grid)]
        if grid.max_error is not None and grid.max_error.worst == 0:
            table.add_row(*first, "exact", "-", "-", "-")
            continue
        for measure, value in rows:
            if value is not None:
                numbers = (number(value.mean, 5), number(value.worst, 5), str(value.frame))
                table.add_row(*first, measure, *numbers)
                first = ["", ""]
    _print(console, table)


def _topology(grid: GridSummary) -> str:
    return f"{len(grid.topology_differs)} frames differ" if grid.topology_differs else "identical"


def _label(grid: GridSummary) -> str:
    return escape(grid.name or "(unnamed)")


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    table.add_column("grid", overflow="ellipsis", no_wrap=True, max_width=16)
    for heading in left:
        table.add_column(heading)
    for heading in right:
        table.add_column(heading, justify="right")
    return table


def _print(console: Console, table: Table) -> None:
    if table.rows:
        console.print()
        console.print(table, width=min(console.width, _WIDTH))
