"""`fieldcodec sample`: values of a volume or an object at points."""

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from fieldcodec.cli.collections.items import open_item, warn_of_coarse_levels
from fieldcodec.cli.console import ProgressBars, say
from fieldcodec.cli.inputs import (
    ConversionOptions,
    find_grids,
    is_compressed_collection,
    kind_of,
    open_frame,
    read_input,
    refuse_frame,
    refuse_options,
    require_file,
)
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output
from fieldcodec.collection.compressed import open_collection
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.container.files import write_atomically
from fieldcodec.errors import ExitCode, InputError, UnsupportedGridError, UsageError
from fieldcodec.grid.sparse_grid import SparseGrid

_WRITTEN = (".npy", ".csv")


@dataclass(frozen=True)
class Sample:
    """Print the values of a volume, or of an object of a collection, at points.

    Of a compressed volume only the tree is decoded, and leaves at the points.
    """

    input: Positional[Path]
    """A .fcodec file, or anything else that `encode` takes."""
    points: Annotated[Positional[str], arg(metavar="POINTS")]
    """Three numbers for each point: .npy [n, 3], .csv or .txt (three columns, with a comma or space between them, and a
    heading or none), or - for the same as text on standard input."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """A .npy file [n, components] or a .csv file; without, the same as .csv on standard output."""
    grid: Annotated[str | None, arg(metavar="NAME")] = None
    """Volumes: the grid, by name or position (#0 is the first); the first one unless given."""
    frame: Annotated[int | None, arg(metavar="NUMBER")] = None
    """The frame to take of a compressed sequence."""
    item: Annotated[str | None, arg(metavar="NAME")] = None
    """Collections: the object, by name or position."""
    lod: Annotated[int | None, arg(metavar="N")] = None
    """Collections: the finest level of detail whose latents count."""
    space: Literal["world", "index", "model"] = "world"
    """Of the points: world, index (volumes: voxel i, j, k is the point i, j, k) or model (collections: the cube from -1
    to 1 around the object, in whose units distances then are)."""
    interpolation: Literal["nearest", "trilinear", "tricubic", "field"] = "trilinear"
    """Between voxels; field is the continuous function that a .fcodec file holds. Objects are always that."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Replace the output if it exists."""


def parse(arguments: Sequence[str]) -> Sample:
    return parse_options(Sample, arguments)


def run(options: Sample) -> ExitCode:
    require_file(options.input)
    if options.output is not None:
        if options.output.suffix.lower() not in _WRITTEN:
            raise UsageError(f"the output {options.output.name} does not end in one of {', '.join(_WRITTEN)}")
        check_output(options.output, overwrite=options.overwrite, source=options.input)
    points = read_points(options.points)
    if is_compressed_collection(options.input):
        names, values = _of_object(options, points)
    else:
        names, values = _of_volume(options, points)
    if options.output is None:
        sys.stdout.write(_csv(names, values))
        return ExitCode.OK
    write_atomically(options.output, [_bytes(options.output, names, values)], overwrite=options.overwrite)
    say(f"wrote {options.output}: {len(values):,} values of {len(names)} components")
    return ExitCode.OK


def read_points(source: str) -> np.ndarray:
    """[n, 3] float64 from a `.npy` file, a file of text, or standard input for "-".

    Raises:
        InputError: it cannot be read, or does not hold three numbers for each point.
    """
    if source == "-":
        return _points_of_text(sys.stdin.read(), "standard input")
    path = Path(source)
    require_file(path)
    if path.suffix.lower() != ".npy":
        try:
            return _points_of_text(path.read_text(encoding="utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is no text; points come as .npy, .csv or .txt") from error
    try:
        points = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from error
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise InputError(f"{path} holds an array of shape {points.shape} and type {points.dtype}; needed is [n, 3]")
    return np.asarray(points, np.float64)


def _points_of_text(text: str, name: str) -> np.ndarray:
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            if not rows:  # a heading
                continue
            raise InputError(f"{name}, line {number}: {line.strip()!r} is not three numbers") from error
        if len(row) != 3:
            raise InputError(f"{name}, line {number}: {len(row)} numbers, where a point has three")
        rows.append(row)
    if not rows:
        raise InputError(f"{name} holds no points; needed are three numbers on each line")
    return np.array(rows)


def _of_object(options: Sample, points: np.ndarray) -> tuple[list[str], np.ndarray]:
    if options.item is None:
        raise UsageError(f"{options.input} holds a collection of objects; choose one with --item NAME")
    refuse_options({"--grid": options.grid, "--frame": options.frame}, f"{options.input} holds objects")
    if options.space == "index":
        raise UsageError("--space index is for volumes; objects have world and model")
    if options.interpolation not in ("trilinear", "field"):
        raise UsageError(f"--interpolation {options.interpolation} is for volumes; objects are continuous fields")
    collection = open_collection(options.input)
    warn_of_coarse_levels(collection, options.lod)
    item = open_item(collection, options.item, options.input, lod=options.lod, device=options.device)
    first = "density" if isinstance(item, RadianceItem) else "distance"
    names = [first, "red", "green", "blue"][: item.channels]
    return names, np.asarray(item.sample(points, space=options.space))


def _of_volume(options: Sample, points: np.ndarray) -> tuple[list[str], np.ndarray]:
    refuse_options({"--item": options.item, "--lod": options.lod}, f"{options.input} holds no objects")
    refuse_frame(options.input, options.frame)
    if options.space == "model":
        raise UsageError("--space model is for objects of collections; volumes have world and index")
    if kind_of(options.input) == "compressed":
        opened = open_frame(options.input, options.frame)
        row = _row(options, [grid.name for grid in opened.grids])
        field = opened.access(row, device=None if options.device == "auto" else options.device)
        values = np.asarray(field.sample(points, space=options.space, interpolation=options.interpolation))
        return _components(values), values
    with ProgressBars() as bars:
        volumes = read_input(options.input, ConversionOptions(), bars.share)
    grid = volumes[_row(options, [grid.name for grid in volumes])]
    if not isinstance(grid, SparseGrid):
        raise UnsupportedGridError(f"grid {grid.name!r} is of type {grid.type_name}, which is carried, not sampled")
    if options.interpolation == "field":
        raise UsageError(f"--interpolation field is for .fcodec files; {options.input.name} holds voxels alone")
    values = np.asarray(grid.sample(points, space=options.space, interpolation=options.interpolation))
    return _components(values), values


def _row(options: Sample, names: list[str]) -> int:
    if not names:
        raise InputError(f"{options.input} holds no grid")
    return 0 if options.grid is None else find_grids(names, [options.grid])[0]


def _components(values: np.ndarray) -> list[str]:
    return ["value"] if values.shape[1] == 1 else list("xyzw"[: values.shape[1]])


def _csv(names: list[str], values: np.ndarray) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_shown(value) for value in row] for row in values])
    return text.getvalue()


def _shown(value: np.generic) -> str:
    """With as many digits as the type has."""
    return np.format_float_positional(value, trim="-") if isinstance(value, np.floating) else str(value)


def _bytes(output: Path, names: list[str], values: np.ndarray) -> bytes:
    if output.suffix.lower() == ".csv":
        return _csv(names, values).encode()
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
