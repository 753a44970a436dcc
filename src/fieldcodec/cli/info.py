"""`fieldcodec info`: what a file holds, from its heads alone. No torch, nothing is decoded."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, arg

from fieldcodec.cli.collections.info import print_collection
from fieldcodec.cli.console import result_json
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.sequences.info import describe_sequence, open_group, print_sequence
from fieldcodec.cli.summaries import grid_summary
from fieldcodec.collection.listing import KIND, describe_collection
from fieldcodec.container.container import Container, open_container
from fieldcodec.errors import ExitCode, FieldcodecError, FormatError, InputError, UsageError
from fieldcodec.grid.metadata import Metadata
from fieldcodec.io.vdb import GridSummary, read_vdb_summary
from fieldcodec.io.volumes import read_volumes
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.volume.sections import GRID_SECTIONS, SECTIONS_OF, STORED_LEVEL, PackedSections


@dataclass(frozen=True)
class Info:
    """List the grids of a .fcodec, .vdb or .nvdb file, or the objects of a collection."""

    file: Positional[Path]
    """The file."""
    frame: Annotated[int | None, arg(metavar="NUMBER")] = None
    """Of a sequence: the grids of this frame, for which its group is read."""
    json: bool = False
    """Print the same for programs."""


def parse(arguments: Sequence[str]) -> Info:
    return parse_options(Info, arguments)


def run(options: Info) -> ExitCode:
    path = options.file
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")
    suffix = path.suffix.lower()
    if options.frame is not None and suffix in (".vdb", ".nvdb"):
        raise UsageError(f"{path.name} is one volume; leave out --frame")
    if suffix == ".vdb":
        data = _describe_vdb(path)
    elif suffix == ".nvdb":
        data = {"format": ".nvdb", "grids": [grid_summary(grid) for grid in read_volumes(path)]}
    else:  # whatever its name is; the container says plainly when it is none of ours
        data = _describe_compressed(path, options.frame)
    data = {"file": str(path), "bytes": path.stat().st_size, **data}
    if options.json:
        result_json(data)
    elif data.get("kind") == "sequence":
        print_sequence(data, Console())
    elif data.get("kind") == KIND:
        print_collection(data, Console())
    else:
        _print(data, Console())
    return ExitCode.OK


def _describe_vdb(path: Path) -> dict[str, Any]:
    summary = read_vdb_summary(path)
    return {
        "format": ".vdb",
        "file_version": summary.file_version,
        "metadata": {entry.name: _plain(entry.value) for entry in summary.metadata},
        "grids": [_describe_vdb_grid(grid) for grid in summary.grids],
    }


def _describe_vdb_grid(grid: GridSummary) -> dict[str, Any]:
    """Counts and bounds are OpenVDB's statistics, null where the file has none."""
    bounds = _statistics_box(grid.metadata)
    transform = grid.transform
    return {
        "name": grid.name,
        "value_type": grid.value_type.name if grid.value_type else grid.type_name,
        "grid_class": str(grid.metadata.get("class", "unknown")),
        "active_voxels": grid.metadata.get("file_voxel_count"),
        "bounds": bounds,
        "effective_resolution": _sides(bounds),
        "save_as_half": grid.save_as_half,
        "transform": transform.map_type if transform else None,
        "voxel_size": transform.voxel_size.tolist() if transform and transform.is_linear else None,
        "bytes": grid.num_bytes,
        "instance_of": grid.instance_of,
        "metadata": {entry.name: _plain(entry.value) for entry in grid.metadata},
    }


def _statistics_box(metadata: Metadata) -> list[list[int]] | None:
    """The box that OpenVDB noted when it wrote the file: smallest and largest index; None for none or an empty one."""
    corners = [metadata.get(name) for name in ("file_bbox_min", "file_bbox_max")]
    box = [[int(x) for x in corner] for corner in corners if isinstance(corner, tuple)]
    return box if len(box) == 2 and all(side > 0 for side in _sides(box) or ()) else None


def _sides(bounds: list[list[int]] | None) -> list[int] | None:
    return [high - low + 1 for low, high in zip(*bounds, strict=True)] if bounds else None


def _describe_compressed(path: Path, frame: int | None) -> dict[str, Any]:
    with open_container(path) as opened:
        meta = opened.meta()
        kind = meta.get("kind") if isinstance(meta, dict) else None
        is_sequence = kind == "sequence"
        if frame is not None and not is_sequence:
            raise UsageError(f"{path.name} holds no frames; leave out --frame")
        try:
            if kind == KIND:
                return describe_collection(opened)
            if is_sequence and frame is None:
                return describe_sequence(opened)
            if is_sequence:
                group, meta, rows = open_group(opened, frame or 0)
                grids = []
                for row in rows:
                    grid = meta["grids"][row]
                    lengths = _packed_lengths(group, grid.get(SECTIONS_OF, row))
                    grids.append(_describe_compressed_grid(grid, lengths))
                return {"format": ".fcodec", "kind": "frame", "frame": frame, "grids": grids}
            grids = [_describe_compressed_grid(grid, _lengths(opened, row)) for row, grid in enumerate(meta["grids"])]
            return {"format": ".fcodec", "kind": meta["kind"], "settings": meta.get("settings", {}), "grids": grids}
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            if isinstance(error, FieldcodecError):
                raise
            raise FormatError(f"{path}: the meta section is not understood: {type(error).__name__}: {error}") from error


def _lengths(opened: Container, number: int) -> dict[str, int]:
    """Bytes of the sections of a grid that are there; reads nothing."""
    lengths = {name: opened.length(section, number) for name, section in GRID_SECTIONS.items()}
    return {name: length for name, length in lengths.items() if length}


def _packed_lengths(group: Container, row: int) -> dict[str, int]:
    """The same of a grid of a group of frames."""
    return {name: len(data) for name, data in PackedSections(group, row).items()}


def _describe_compressed_grid(meta: dict[str, Any], sections: dict[str, int]) -> dict[str, Any]:
    opaque = meta.get("opaque")
    if opaque is not None:
        head = {"name": meta["name"], "value_type": opaque["type_name"], "grid_class": "unknown", "active_voxels": None}
        return {**head, "method": "carried unchanged", "bytes": sum(sections.values()), "sections": sections}
    bounds = meta["bounds"]
    networks = {role: NetworkSpec.from_json(spec) for role, spec in meta.get("networks", {}).items()}
    return {
        "name": meta["name"],
        "value_type": meta["value_type"],
        "grid_class": _grid_class(meta["metadata"]),
        "active_voxels": meta["active_voxels"],
        "bounds": bounds,
        "effective_resolution": _sides(bounds),
        "save_as_half": meta["save_as_half"],
        "transform": meta["transform"]["map"],
        "tree": meta["tree"],
        "method": meta["values"]["method"],
        "instance_of": meta.get("instance_of"),
        "parameters": sum(spec.num_parameters for spec in networks.values()),
        "networks": {role: spec.to_json() for role, spec in networks.items()},
        "corrections": meta.get("corrections", 0),
        "gave_up_voxels": meta.get("gave_up", 0),
        "bytes": sum(sections.values()),
        "sections": sections,
        "stored_level": int(meta.get("stored_level", 0)) if STORED_LEVEL in sections else None,
        "topology_hash": meta["topology_hash"],
    }


def _grid_class(entries: list[list[str]]) -> str:
    """From metadata as the meta section has it: [name, type, value's bytes in base64]."""
    return next(
        (base64.b64decode(data).decode(errors="replace") for name, _, data in entries if name == "class"), "unknown"
    )


def _plain(value: object) -> object:
    """A metadata value for JSON; bytes of unknown types as a hexadecimal string."""
    return value.hex() if isinstance(value, bytes) else value


def _print(data: dict[str, Any], console: Console) -> None:
    number = len(data["grids"])
    head = f"{data['file']}: {data['format']}, {data['bytes']:,} bytes, {number} grid{'' if number == 1 else 's'}"
    console.print(head, highlight=False, markup=False, soft_wrap=True)
    is_compressed = data["format"] == ".fcodec"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("grid", "type", "class"):
        table.add_column(name)
    for name in ("active voxels", "resolution", "bytes"):
        table.add_column(name, justify="right")
    if is_compressed:
        table.add_column("stored as")
        table.add_column("parameters", justify="right")
    for number, grid in enumerate(data["grids"]):
        cells = [escape(grid["name"] or f"#{number}"), grid["value_type"], grid["grid_class"]]
        cells += [_count(grid["active_voxels"]), _resolution(grid), _count(grid.get("bytes"))]
        if is_compressed:
            tree = grid.get("tree")
            cells += [f"{tree} tree, {grid['method']}" if tree else grid["method"], _count(grid.get("parameters"))]
        table.add_row(*cells)
    console.print(table)
    for number, grid in enumerate(data["grids"]):
        if grid.get("stored_level") is not None:
            name, size = escape(grid["name"] or f"#{number}"), grid["sections"][STORED_LEVEL]
            console.print(f"{name}: level {grid['stored_level']} is stored, too: {size:,} bytes", highlight=False)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _resolution(grid: dict[str, Any]) -> str:
    return "x".join(str(side) for side in grid.get("effective_resolution") or ()) or "-"
