"""`fieldcodec info` of a sequence: from the file's description alone. No torch, no group is read."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fieldcodec.container.container import Container
from fieldcodec.container.format import SectionId
from fieldcodec.io.frame_paths import missing_numbers, number_ranges, ranges_text
from fieldcodec.volume.sequence.layout import SequenceLayout


def describe_sequence(opened: Container) -> dict[str, Any]:
    """What `info --json` says of a sequence."""
    layout = SequenceLayout.from_json(opened.meta())
    return {
        "format": ".fcodec",
        "kind": "sequence",
        "settings": layout.settings,
        "pattern": layout.pattern,
        "missing": [list(gap) for gap in missing_numbers(layout.frames)],
        "groups": [
            {"frames": list(group.frames), "bytes": opened.length(SectionId.GROUP, row)}
            for row, group in enumerate(layout.groups)
        ],
        "frames": [_describe_frame(layout, number) for number in layout.frames],
        "grids": [
            {
                "name": grid.name,
                "value_type": grid.value_type,
                "grid_class": grid.grid_class,
                "frames": [list(run) for run in number_ranges(grid.frames)],
            }
            for grid in layout.grids
        ],
    }  # fmt: skip


def _describe_frame(layout: SequenceLayout, number: int) -> dict[str, Any]:
    group, _ = layout.place(number)
    return {"frame": number, "name": layout.name(number), "group": group, "bytes": layout.size(number)}


def open_group(opened: Container, frame: int) -> tuple[Container, dict[str, Any], list[int]]:
    """The group of a frame, its description, and the positions of the frame's grids in it."""
    row, place = SequenceLayout.from_json(opened.meta()).place(frame)
    group = Container.from_bytes(opened.read(SectionId.GROUP, row))
    meta = group.meta()
    return group, meta, meta["frames"][place]["grids"]


def print_sequence(data: dict[str, Any], console: Console) -> None:
    """The same for people."""
    frames, groups = data["frames"], data["groups"]
    numbers = ranges_text(number_ranges([frame["frame"] for frame in frames])) or "none"
    head = f"{data['file']}: {data['format']}, {data['bytes']:,} bytes, {len(frames)} frames ({numbers})"
    console.print(f"{head} in {len(groups)} groups", highlight=False, markup=False, soft_wrap=True)
    if data["missing"]:
        console.print(f"missing: {ranges_text([tuple(gap) for gap in data['missing']])}", highlight=False)
    console.print(_bytes_line([frame["bytes"] for frame in frames]), highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("grid", "type", "class", "frames"):
        table.add_column(name)
    for grid in data["grids"]:
        runs = ranges_text([(first, last) for first, last in grid["frames"]])
        table.add_row(escape(grid["name"] or "(unnamed)"), escape(grid["value_type"]), escape(grid["grid_class"]), runs)
    console.print(table)


def _bytes_line(sizes: Sequence[int]) -> str:
    if not sizes:
        return "no frames"
    return f"bytes of a frame: {min(sizes):,} to {max(sizes):,}, mean {sum(sizes) / len(sizes):,.0f}"
