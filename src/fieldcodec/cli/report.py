"""`fieldcodec report`: one page about a compressed file and how near it is to its original."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from fieldcodec.bench.report import curves
from fieldcodec.cli.console import ProgressBars, say, to_json_text
from fieldcodec.cli.inputs import ConversionOptions, open_frame, read_input, require_file
from fieldcodec.cli.measure import method_of
from fieldcodec.cli.options import parse_options
from fieldcodec.cli.outputs import check_output, default_output
from fieldcodec.container.files import write_atomically
from fieldcodec.errors import ExitCode, InputError
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.vdb.size import vdb16_blosc_bytes
from fieldcodec.metrics.files import GridComparison, compare_file_metadata, compare_files
from fieldcodec.metrics.histograms import value_histograms
from fieldcodec.metrics.rate import bits_per_active_voxel, compression_ratio, raw_vdb_bytes
from fieldcodec.metrics.tables import count, number, size
from fieldcodec.render import page
from fieldcodec.render.compare_image import comparison_image
from fieldcodec.render.view import AXIS_NAMES
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid

_UNNAMED = "(unnamed)"
_DESCRIPTION = "description and table"  # of the file: the meta section, names and checksums


@dataclass(frozen=True)
class Report:
    """Write a page of HTML with sizes, quality, pictures, slices, error maps and histograms; it needs nothing else."""

    original: Positional[Path]
    """What was compressed: .vdb, .nvdb, or anything else that `encode` takes."""
    file: Positional[Path]
    """The .fcodec file."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """The .html file; the compressed file's name with .html unless given."""
    frame: Annotated[int | None, arg(metavar="NUMBER")] = None
    """The frame to take of a compressed sequence; the original is that frame's file."""
    size: int = 360
    """Width of each picture in pixels."""
    most_pictures: int = 6
    """Grids with pictures, those with the most active voxels first."""
    bench: Annotated[Path | None, arg(metavar="PATH")] = None
    """A result of `fieldcodec bench` for the same volume: its rate-distortion curves are shown too."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, ..."""
    conversion: Annotated[ConversionOptions, arg(name="")] = field(default_factory=ConversionOptions)
    """How an original that is no volume becomes one."""
    overwrite: bool = False
    """Replace the output if it exists."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """A grid of the original, what came back of it, and its part of the file; None where there is none."""

    comparison: GridComparison
    original: SparseGrid | OpaqueGrid | None
    decoded: SparseGrid | OpaqueGrid | None
    compressed: CompressedGrid | None

    @property
    def name(self) -> str:
        return self.comparison.name or _UNNAMED

    @property
    def both(self) -> tuple[SparseGrid, SparseGrid] | None:
        """Both grids where their values can be compared."""
        first, second = self.original, self.decoded
        if isinstance(first, SparseGrid) and isinstance(second, SparseGrid) and first.channels == second.channels:
            return first, second
        return None


def parse(arguments: Sequence[str]) -> Report:
    return parse_options(Report, arguments)


def run(options: Report) -> ExitCode:
    for path in (options.original, options.file, *([options.bench] if options.bench else [])):
        require_file(path)
    output = options.output or default_output(options.file, ".html")
    check_output(output, overwrite=options.overwrite, source=options.file)
    result = _read_bench(options.bench) if options.bench else None
    with ProgressBars() as bars:
        original = read_input(options.original, options.conversion, bars.share)
        compressed = open_frame(options.file, options.frame)
        start = time.perf_counter()
        decoded = compressed.to_grids(device=options.device, on_event=bars)
        seconds = time.perf_counter() - start
        bars.share("comparing", 0.0)
        pairs = _pairs(original, decoded, compressed)
        body = _summary(options, pairs, seconds)
        body += _sizes(pairs, options.file.stat().st_size)
        body += _quality(pairs, [str(item) for item in compare_file_metadata(original, decoded)])
        body += _curves(result, pairs, options.file.stat().st_size) if result else []
        for position, pair in enumerate(_with_pictures(pairs, options.most_pictures)):
            bars.share("pictures", position / options.most_pictures)
            body += _pictures(pair, options.size)
    body += [page.heading("Settings"), page.details("of the encoder", to_json_text(compressed.settings))]
    text = page.page(f"{options.file.name}: report", body)
    write_atomically(output, [text.encode("utf-8")], overwrite=options.overwrite)
    say(f"wrote {output}: {output.stat().st_size:,} bytes, {len(pairs)} grids")
    return ExitCode.OK


def _pairs(original: VolumeFile, decoded: VolumeFile, compressed: CompressedVolume) -> list[_Pair]:
    pairs = []
    for item in compare_files(original, decoded):
        first = None if item.index is None else original[item.index]
        second = None if item.other_index is None else decoded[item.other_index]
        stored = None if item.other_index is None else compressed[item.other_index]
        pairs.append(_Pair(item, first, second, stored if isinstance(stored, CompressedGrid) else None))
    return pairs


def _with_pictures(pairs: list[_Pair], most: int) -> list[_Pair]:
    def active(pair: _Pair) -> int:
        return pair.both[0].topology.num_active_voxels if pair.both else 0

    return sorted((pair for pair in pairs if active(pair)), key=active, reverse=True)[:most]


def _summary(options: Report, pairs: list[_Pair], seconds: float) -> list[str]:
    before, after = options.original.stat().st_size, options.file.stat().st_size
    voxels = sum(pair.both[0].topology.num_active_voxels for pair in pairs if pair.both)
    facts = [
        (size(after), f"compressed, from {size(before)}"),
        (_times(before, after), "smaller than the original file"),
    ]
    if voxels:
        facts.append((f"{bits_per_active_voxel(after, voxels):.3g}", "bits per active voxel"))
        facts.append((f"{voxels:,}", "active voxels"))
    facts.append((f"{seconds:.2f} s", "to decode all of it here"))
    differ = [pair for pair in pairs if pair.comparison.quality and not pair.comparison.quality.topology_identical]
    facts.append(("exact" if not differ else f"{len(differ)} differ", "topology"))
    return [
        page.heading(options.file.name, 1),
        page.paragraph(f"Compared with {options.original.name}, voxel by voxel.", is_faint=True),
        page.cards(facts),
    ]


def _sizes(pairs: list[_Pair], total: int) -> list[str]:
    rows = []
    for pair in pairs:
        grid, stored = pair.original, pair.compressed
        is_sparse = isinstance(grid, SparseGrid)
        raw = raw_vdb_bytes(grid) if isinstance(grid, SparseGrid) else None
        blosc = vdb16_blosc_bytes(grid) if grid is not None else None
        voxels = grid.topology.num_active_voxels if isinstance(grid, SparseGrid) else None
        ours = stored.num_bytes if stored else None
        bits = bits_per_active_voxel(ours, voxels) if ours is not None and voxels else None
        kind = f"{pair.comparison.value_type}, {pair.comparison.grid_class}" if is_sparse else "carried"
        rows.append([
            pair.name, kind, method_of(stored) if stored else "-", count(voxels), size(raw), size(blosc), size(ours),
            number(compression_ratio(blosc, ours), 3), number(bits, 3),
        ])  # fmt: skip
    head = ["grid", "kind", "stored as", "active", "raw tree", "16 bit + Blosc", "ours", "ratio", "bits/voxel"]
    note = "The ratio is that of a .vdb of 16-bit floats with Blosc to ours."
    return [
        page.heading("Sizes"),
        page.table(head, rows),
        page.paragraph(note, is_faint=True),
        *_sections(pairs, total),
    ]


def _sections(pairs: list[_Pair], total: int) -> list[str]:
    parts = [
        (f"{pair.name}: {name}" if len(pairs) > 1 else name, len(data))
        for pair in pairs
        if pair.compressed
        for name, data in pair.compressed.sections.items()
    ]
    parts.append((_DESCRIPTION, total - sum(length for _, length in parts)))
    parts.sort(key=lambda part: -part[1])
    colours = [page.PALETTE[number % len(page.PALETTE)] for number in range(len(parts))]
    rows = [[name, f"{length:,}", f"{100 * length / total:.1f} %"] for name, length in parts]
    return [
        page.heading("Sections of the file", 3),
        page.share_bar(parts, colours),
        page.table(["section", "bytes", "share"], rows, colours),
    ]


def _quality(pairs: list[_Pair], file_differences: list[str]) -> list[str]:
    rows = []
    for pair in pairs:
        quality = pair.comparison.quality
        if quality is None:
            continue
        topology = "identical" if quality.topology_identical else f"{quality.topology_differs:,} differ"
        rows.append([
            pair.name, topology, number(quality.iou, 6), number(quality.mcd, 3), number(quality.rmse, 3),
            _percent(quality.rmse_relative), number(quality.max_error, 3), _percent(quality.max_error_relative),
            number(quality.psnr, 4), count(quality.inactive_differs),
        ])  # fmt: skip
    head = ["grid", "topology", "IoU", "mCD", "RMSE", "of range", "max error", "of range", "PSNR dB", "inactive differ"]
    lines = [f"file, {item}" for item in file_differences]
    lines += [f"{pair.name}, {item}" for pair in pairs for item in pair.comparison.differences]
    found = page.details(f"differences in words ({len(lines)})", "\n".join(lines)) if lines else ""
    return [page.heading("Quality"), page.table(head, rows), found]


def _curves(result: dict[str, Any], pairs: list[_Pair], total: int) -> list[str]:
    """Rate and distortion of all codecs measured, and this file among them where it holds the grid and nothing else."""
    try:
        found = {label: [(float(x), float(y)) for x, y in curve] for label, curve in curves(result).items()}
        measure, name = str(result["measure"]), str(result["grid"]["name"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the result of the benchmark is not understood: {type(error).__name__}: {error}") from error
    quality = pairs[0].comparison.quality if len(pairs) == 1 and pairs[0].comparison.name == name else None
    here = (float(total), quality.psnr) if measure == "psnr" and quality and quality.psnr is not None else None
    chart = page.line_chart(found, "bytes of the file", f"{measure} in dB", here)
    return [page.heading("Rate and distortion"), chart]


def _pictures(pair: _Pair, width: int) -> list[str]:
    assert pair.both is not None  # _with_pictures takes no others
    original, decoded = pair.both
    overview = comparison_image(original, decoded, size=width)
    body = [page.heading(f"Grid {pair.name}"), page.picture(overview, f"{pair.name}: original, decoded and error")]
    bounds = original.topology.active_bounds
    assert bounds is not None  # it has active voxels
    body.append(page.heading("Slices through the middle", 3))
    for axis, middle in enumerate((bounds[0] + bounds[1]) // 2):
        image = comparison_image(original, decoded, size=width, axis=axis, slice_index=int(middle))
        text = f"{pair.name}: layer {AXIS_NAMES[axis]} = {middle} of original, decoded and error"
        body.append(page.picture(image, text))
    found = value_histograms(original, decoded)
    if found is None:
        return body
    first, error = found.original, found.error
    both = [("original", first.counts), ("decoded", found.decoded.counts)]
    values = page.histogram(first.low, first.high, both, is_log=True)
    errors = page.histogram(error.low, error.high, [("decoded minus original", error.counts)], is_log=True)
    charts = page.pair(page.heading("Values of active voxels", 3) + values, page.heading("Errors", 3) + errors)
    return [*body, charts]


def _read_bench(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a result of `fieldcodec bench`: {error}") from error
    if not isinstance(result, dict):
        raise InputError(f"{path} is no result of `fieldcodec bench`: it holds a {type(result).__name__}")
    return result


def _times(before: int, after: int) -> str:
    ratio = compression_ratio(before, after)
    return "-" if ratio is None else f"{ratio:.3g} x"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"
