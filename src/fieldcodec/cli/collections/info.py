"""`fieldcodec info` of a collection: from the file's description alone. No torch, nothing is decoded."""

from collections import Counter
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fieldcodec.nets.recursive_spec import RecursiveSpec

_PARTS = {
    "networks": "networks",
    "latents": "latents",
    "latent details": "their details",
    "tree corrections": "corrections of octrees",
}
_ROLES = {"phi": "splits a latent in eight", "omega": "occupancy", "psi": "distance", "xi": "colour"}
_OF_RADIANCE = {"rho": "opacity", "chi": "colour by direction"}
_KINDS = {  # one of them, several
    "distance": ("shape", "shapes"),
    "coloured": ("shape with colours", "shapes with colours"),
    "radiance": ("radiance field", "radiance fields"),
}


def print_collection(data: dict[str, Any], console: Console) -> None:
    """What `describe_collection` found, for people."""
    items, spec, sections = data["items"], RecursiveSpec.from_json(data["network"]), data["sections"]
    kinds = Counter(item["kind"] for item in items)
    each = {kind: f"{count} " if len(kinds) > 1 else "" for kind, count in kinds.items()}
    what = ", ".join(f"{each[kind]}{_KINDS[kind][count > 1]}" for kind, count in kinds.items())
    head = f"{data['file']}: {data['format']}, {data['bytes']:,} bytes, a collection of {len(items)} objects"
    head += f" ({what})" if what else ""
    console.print(head, highlight=False, markup=False, soft_wrap=True)
    share = f"; {data['bytes'] / len(items):,.0f} bytes for each object" if items else ""
    if items and all(item["source_bytes"] for item in items):
        share += f", made from {sum(item['source_bytes'] for item in items):,} bytes"
    console.print(f"{sections_line(sections, data['bytes'])}{share}", highlight=False, soft_wrap=True)
    fusion = "side by side" if spec.fusion == "cat" else "added up"
    line = f"latents of {spec.latent} numbers, {spec.lods} levels of detail, {fusion}; "
    console.print(f"{line}{data['parameters']:,} weights in the networks", highlight=False, soft_wrap=True)
    console.print(_networks(spec))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("object")
    table.add_column("kind")
    for heading in ("size", "centre", "cells", "from bytes"):
        table.add_column(heading, justify="right")
    for item in items:
        centre = ", ".join(f"{x:.4g}" for x in item["centre"])
        source = f"{item['source_bytes']:,}" if item["source_bytes"] else "-"
        table.add_row(
            escape(item["name"]),
            _KINDS[item["kind"]][0],
            f"{2 * item['scale']:.4g}",
            centre,
            f"{item['cells'][-1]:,}",
            source,
        )
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
    roles = {**_ROLES, **_OF_RADIANCE}
    if spec.colour == "radiance":
        roles |= dict(zip(("psi", "xi"), _OF_RADIANCE.values(), strict=True))
    for name, layers in spec.networks.items():
        widths = " > ".join(str(width) for width in (layers[0][0], *(outputs for _, outputs in layers)))
        weights = sum(inputs * outputs + outputs for inputs, outputs in layers)
        table.add_row(f"{name} ({roles[name]})", widths, f"{weights:,}")
    return table
