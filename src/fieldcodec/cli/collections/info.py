"""`fieldcodec info` of a collection: from the file's description alone. No torch, nothing is decoded."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fieldcodec.nets.recursive_spec import RecursiveSpec

_PARTS = {"networks": "networks", "latents": "latents", "tree corrections": "corrections of octrees"}
_ROLES = {"phi": "splits a latent in eight", "omega": "occupancy", "psi": "distance", "xi": "colour"}


def print_collection(data: dict[str, Any], console: Console) -> None:
    """What `describe_collection` found, for people."""
    items, spec, sections = data["items"], RecursiveSpec.from_json(data["network"]), data["sections"]
    what = "shapes with colours" if spec.colour != "none" else "shapes"
    head = f"{data['file']}: {data['format']}, {data['bytes']:,} bytes, a collection of {len(items)} objects ({what})"
    console.print(head, highlight=False, markup=False, soft_wrap=True)
    each = f"; {data['bytes'] / len(items):,.0f} bytes for each object" if items else ""
    console.print(f"{sections_line(sections, data['bytes'])}{each}", highlight=False, soft_wrap=True)
    fusion = "side by side" if spec.fusion == "cat" else "added up"
    line = f"latents of {spec.latent} numbers, {spec.lods} levels of detail, {fusion}; "
    console.print(f"{line}{data['parameters']:,} weights in the networks", highlight=False, soft_wrap=True)
    console.print(_networks(spec))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("object")
    for heading in ("size", "centre", "cells", "from bytes"):
        table.add_column(heading, justify="right")
    for item in items:
        centre = ", ".join(f"{x:.4g}" for x in item["centre"])
        source = f"{item['source_bytes']:,}" if item["source_bytes"] else "-"
        table.add_row(escape(item["name"]), f"{2 * item['scale']:.4g}", centre, f"{item['cells'][-1]:,}", source)
    console.print(table)


def sections_line(sections: dict[str, int], total: int) -> str:
    """`networks 11,791, latents 59, ...` of `total` bytes; parts that there are none of are left out."""
    parts = {text: sections.get(name, 0) for name, text in _PARTS.items()}
    parts["description"] = total - sum(parts.values())
    return ", ".join(f"{text} {length:,}" for text, length in parts.items() if length)


def _networks(spec: RecursiveSpec) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("network")
    table.add_column("layers")
    table.add_column("weights", justify="right")
    for name, layers in spec.networks.items():
        widths = " > ".join(str(width) for width in (layers[0][0], *(outputs for _, outputs in layers)))
        weights = sum(inputs * outputs + outputs for inputs, outputs in layers)
        table.add_row(f"{name} ({_ROLES[name]})", widths, f"{weights:,}")
    return table
