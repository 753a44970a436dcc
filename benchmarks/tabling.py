"""What the tables of the documentation have in common: cells, rows, machines."""

from collections.abc import Sequence
from typing import Any

from fieldcodec.metrics.tables import count, size

__all__ = ["Result", "count", "machines", "markdown", "millions", "number", "percent", "size", "volume_name", "whole"]

Result = dict[str, Any]


def machines(results: Sequence[Result]) -> list[str]:
    """A line for each machine."""
    lines: dict[str, list[str]] = {}
    for result in results:
        found = result["machine"]
        parts = [found["gpu"]] if found["gpu"] else []
        parts += [f"{found['cpu']}, {found['threads']} threads, {found['memory_bytes'] / 2**30:.0f} GiB"]
        text = f"{'; '.join(parts)}; Python {found['python']}, torch {found['torch']}"
        lines.setdefault(text, []).append(volume_name(result))
    return [f"Measured on {text}: {', '.join(names)}." for text, names in lines.items()]


def volume_name(result: Result) -> str:
    return result["name"] + (" (GPU)" if result["machine"]["device"] == "cuda" else "")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.2g} %"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def millions(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.3g}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
