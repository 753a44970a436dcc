"""Write the tables of README.md and docs/results.md from the JSON files in benchmarks/results.

python benchmarks/table.py            writes them
python benchmarks/table.py --check    ends with 1 where they are out of date
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tables_of_access import access
from tables_of_added import added
from tables_of_first_run import first_run
from tables_of_levels import levels
from tables_of_networks import networks
from tables_of_radiance import radiance
from tables_of_sequences import sequences, warm_starts
from tabling import Result, count, machines, markdown, millions, number, percent, size, volume_name

from fieldcodec.bench.report import to_markdown

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CURVES = RESULTS / "rate-distortion"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
CURVES_BEGIN, CURVES_END = "<!-- curves:begin -->", "<!-- curves:end -->"
NETWORKS_BEGIN, NETWORKS_END = "<!-- networks:begin -->", "<!-- networks:end -->"
SEQUENCES = RESULTS / "sequences"
SEQUENCES_BEGIN, SEQUENCES_END = "<!-- sequences:begin -->", "<!-- sequences:end -->"
WARM_STARTS = RESULTS / "warm-start"
WARM_STARTS_BEGIN, WARM_STARTS_END = "<!-- warm-start:begin -->", "<!-- warm-start:end -->"
FIRST_RUN = RESULTS / "first-run"
FIRST_RUN_BEGIN, FIRST_RUN_END = "<!-- first-run:begin -->", "<!-- first-run:end -->"
ACCESS = RESULTS / "random-access"
ACCESS_BEGIN, ACCESS_END = "<!-- access:begin -->", "<!-- access:end -->"
LEVELS = RESULTS / "levels"
LEVELS_BEGIN, LEVELS_END = "<!-- levels:begin -->", "<!-- levels:end -->"
RADIANCE, RADIANCE_COLLECTIONS = RESULTS / "radiance", RESULTS / "radiance-collections"
RADIANCE_BEGIN, RADIANCE_END = "<!-- radiance:begin -->", "<!-- radiance:end -->"
COLLECTIONS = RESULTS / "collections"
COLLECTIONS_BEGIN, COLLECTIONS_END = "<!-- collections:begin -->", "<!-- collections:end -->"
ADDED = Path("added") / "everyday.json"  # in the folder of results
ADDED_BEGIN, ADDED_END = "<!-- added:begin -->", "<!-- added:end -->"
COLLECTIONS_ORDER = (
    "solid",
    "solid-unrounded",
    "solid-small",
    "solid-fine",
    "everyday",
    "varied",
    "thingi10k",
    "kitchen",
)
CURVES_ORDER = ("smoke", "cloud", "cloud-v224", "iguana", "heptane", "bonsai", "sphere", "bunny-256", "bunny")
ORDER = (
    "smoke", "sphere", "cloud", "iguana", "bunny", "bunny-0.072", "bunny-0.072-mesh", "dragon-980", "armadillo-1519",
    "lucy-1600", "gears-800", "engine-800", "dragon-2029", "smoke-network", "sphere-network", "cloud-network",
    "iguana-network", "bunny-network", "bunny-paper",
)  # fmt: skip
NOTHING = "No results are recorded yet; `python benchmarks/run.py --data FOLDER` makes them."

Column = tuple[str, Callable[[Result], str]]

PAPER_BUNNY = {
    "volume": "NeuralVDB, Table 2: Bunny", "active": "5,513,993", "resolution": "628 x 621 x 489", "raw": "33.3 MB",
    "blosc": "15.2 MB", "ours": "248 kB", "ratio": "61.2", "quality": "IoU 0.999, mCD 0.072", "topology": "not exact",
}  # fmt: skip


def load(folder: Path = RESULTS) -> list[Result]:
    """All results, in the order of the table; CPU before GPU."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(results, key=lambda result: (_place(result["name"]), result["machine"]["device"]))


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def overview(results: Sequence[Result]) -> str:
    """The README's table: size and quality, one row per file."""
    if not results:
        return NOTHING
    columns: tuple[tuple[str, str, Callable[[Result], str]], ...] = (
        ("volume", "volume", volume_name),
        ("active", "active voxels", lambda r: f"{_grid(r)['active_voxels']:,}"),
        ("resolution", "resolution", lambda r: " x ".join(map(str, _grid(r)["effective_resolution"]))),
        ("raw", "raw `.vdb`", lambda r: size(_sum(r, "bytes_raw"))),
        ("blosc", "16-bit + Blosc", lambda r: size(_sum(r, "bytes_vdb16_blosc"))),
        ("ours", "`.fcodec`", lambda r: f"**{size(r['report']['bytes'])}**"),
        ("ratio", "ratio", lambda r: f"{_sum(r, 'bytes_vdb16_blosc') / r['report']['bytes']:.1f}"),
        ("quality", "quality", _quality),
        ("topology", "topology", _topology),
        ("seconds", "encode / decode", _seconds),
    )
    rows = []
    for position, result in enumerate(results):
        rows.append([read(result) for _, _, read in columns])
        is_last_bunny = position + 1 == len(results) or results[position + 1]["name"] != "bunny-paper"
        if result["name"] == "bunny-paper" and is_last_bunny:
            rows.append([PAPER_BUNNY.get(key, "-") for key, _, _ in columns])
    note = "The ratio is that of the 16-bit + Blosc `.vdb` to ours. RMSE is relative to the range of the values."
    return "\n".join([markdown([title for _, title, _ in columns], rows), "", note, "", *machines(results)])


def details(results: Sequence[Result]) -> str:
    """The table of docs/results.md: how it was stored, and how fast."""
    if not results:
        return NOTHING
    columns: tuple[Column, ...] = (
        ("volume", volume_name),
        ("preset", lambda r: f"`{r['preset']}`"),
        ("stored as", lambda r: f"`{_grid(r)['method']}`"),
        ("parameters", lambda r: count(_sum(r, "parameters"))),
        ("corrections", lambda r: count(_sum(r, "corrections"))),
        ("bits / active voxel", lambda r: number(_grid(r)["bits_per_active_voxel"])),
        ("max error", lambda r: percent(_grid(r)["max_error_relative"])),
        ("PSNR", lambda r: "-" if _grid(r)["psnr"] is None else f"{_grid(r)['psnr']:.1f} dB"),
        ("M samples/s", lambda r: millions(r["encode_samples_per_second"])),
        ("decode M voxels/s", lambda r: millions(r["decode_active_voxels_per_second"])),
        ("peak memory", lambda r: size(r["peak_memory_bytes"])),
        ("measured", lambda r: f"{r['date']}, {(r['commit'] or 'unknown')[:10]}"),
    )
    rows = [[read(result) for _, read in columns] for result in results]
    tables = [overview(results), "", "## How, and how fast", "", markdown([title for title, _ in columns], rows)]
    return "\n".join([*tables, "", "## Where the bytes are", "", _sections(results)])


def curves(folder: Path = CURVES) -> str:
    """The tables of bytes at equal error, one for each input that `rate_distortion.py` has measured."""
    if not any(folder.glob("*.json")):
        return "No curves are recorded yet; `python benchmarks/rate_distortion.py --data FOLDER` makes them."
    results = load_curves(folder)
    parts = []
    for result in results:
        name = result["name"]
        table = to_markdown(result)
        if (folder / f"{name}.png").is_file():
            table += f"\n\n[The curves](../benchmarks/results/rate-distortion/{name}.png)"
        parts.append(f"### {name}\n\n{table}")
    return "\n\n".join([*parts, "\n".join(machines(results))])


def load_curves(folder: Path = CURVES) -> list[Result]:
    """The results of `rate_distortion.py`, in the order of the tables."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted(results, key=lambda result: CURVES_ORDER.index(result["name"]))


def collections(folder: Path = COLLECTIONS) -> str:
    """The tables of collections: one of whole files, one of single choices, one of objects."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    if not results:
        return "No collections are recorded yet; `python benchmarks/asset_collections.py` makes them."
    place = {name: number for number, name in enumerate(COLLECTIONS_ORDER)}
    results.sort(key=lambda result: (place.get(result["name"], len(place)), result["name"]))
    studies = [result for result in results if result["study"]]
    files = [result for result in results if result not in studies]
    heads = (
        ["collection", "objects", "meshes", "Draco at equal CD", "networks as fp32", "`.fcodec`", "an object",
         "gIoU", "gIoU of solid / thin objects", "CD / floor", "NC", "3D PSNR", "training"],
        ["what is other", "parameters", "bytes", "gIoU", "CD / floor", "NC", "seconds for a million distances", "steps",
         "training"],
        ["collection", "object", "gIoU", "CD / floor", "NC", "3D PSNR", "mesh", "Draco at equal CD (bits)"],
    )  # fmt: skip
    parts = [
        markdown(heads[0], [_collection(result) for result in files]),
        "What choices give, 8 solid objects, the same number of steps:",
        markdown(heads[1], [_study(result) for result in studies]),
        "Every object:",
        markdown(heads[2], [row for result in files if result["name"] in place for row in _objects(result)]),
    ]
    return "\n\n".join([*parts, "\n".join(machines(results))])


def _collection(result: Result) -> list[str]:
    drawn = [item["draco"]["bytes"] for item in result["items"] if "draco" in item]
    thin_is = 2 * 2 / 2 ** result["spec"]["lods"]  # thinner than two of the finest cells
    thin, solid = [], []
    for item in result["items"]:
        if item["iou"] is not None:
            (thin if item["thickness"] < thin_is else solid).append(item["iou"])
    return [
        result["name"], str(result["objects"]), size(result["source_bytes"]),
        size(sum(drawn)) if drawn else "-", size(result["bytes_as_floats"]), f"**{size(result['bytes'])}**",
        size(result["bytes"] / result["objects"]),
        f"{result['mean']['iou']:.2f}", f"{_average(solid)} / {_average(thin)}", *_surface(result["mean"]),
        f"{result['steps']:,} steps, {result['seconds_to_encode'] / 60:.0f} min",
    ]  # fmt: skip


def _average(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ({len(values)})" if values else "-"


def _study(result: Result) -> list[str]:
    means = result["mean"]
    return [
        result["study"], f"{result['parameters']:,}", size(result["bytes"]), f"{means['iou']:.2f}",
        *_surface(means)[:2], f"{result['seconds_per_million_distances']:.1f}", f"{result['steps']:,}",
        f"{result['seconds_to_encode']:.0f} s",
    ]  # fmt: skip


def _objects(result: Result) -> list[list[str]]:
    rows = []
    for item in result["items"]:
        drawn = item.get("draco")
        rows.append([
            result["name"], item["name"], "-" if item["iou"] is None else f"{item['iou']:.2f}", *_surface(item),
            size(item["source_bytes"]), f"{size(drawn['bytes'])} ({drawn['bits']})" if drawn else "-",
        ])  # fmt: skip
    return rows


def _surface(item: dict[str, Any]) -> tuple[str, str, str]:
    """CD beside its floor, normal consistency, PSNR."""
    if item["chamfer"] is None:
        return "-", "-", "-"
    psnr = "-" if item["psnr"] is None else f"{item['psnr']:.1f}"
    return f"{item['chamfer']:.4f} / {item['chamfer_floor']:.4f}", f"{item['normal_consistency']:.3f}", psnr


def _sections(results: Sequence[Result]) -> str:
    names: dict[str, None] = {}
    for result in results:
        names |= dict.fromkeys(_grid(result)["sections"])
    rows = []
    for result in results:
        sections = _grid(result)["sections"]
        rows.append([volume_name(result), *(count(sections.get(name)) for name in names)])
    return markdown(["volume", *names], rows)


def _grid(result: Result) -> dict[str, Any]:
    """The grid with the most active voxels."""
    return max(result["report"]["grids"], key=lambda grid: grid["active_voxels"] or 0)


def _sum(result: Result, key: str) -> int:
    return sum(grid[key] or 0 for grid in result["report"]["grids"])


def _quality(result: Result) -> str:
    grid = _grid(result)
    if grid["iou"] is not None:
        return f"IoU {grid['iou']:.4f}, mCD {grid['mcd']:.3f}"
    return f"RMSE {percent(grid['rmse_relative'])}"


def _topology(result: Result) -> str:
    differs = _sum(result, "topology_differs")
    return f"{differs:,} differ" if differs else "identical"


def _seconds(result: Result) -> str:
    seconds = result["seconds"]
    return f"{seconds['encode']:.0f} s / {seconds['decode']:.1f} s"


def with_table(text: str, table: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """A page with what stands between the markers replaced."""
    before, begin, rest = text.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise ValueError(f"the page has no {markers[0]} and {markers[1]}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def pages(folder: Path = RESULTS) -> dict[Path, str]:
    """Page -> its text with up-to-date tables."""
    results = load(folder)
    tables = {ROOT / "README.md": overview(results), ROOT / "docs" / "results.md": details(results)}
    found = {path: with_table(path.read_text(encoding="utf-8"), table) for path, table in tables.items()}
    page = ROOT / "docs" / "results.md"
    found[page] = with_table(found[page], curves(folder / CURVES.name), (CURVES_BEGIN, CURVES_END))
    found[page] = with_table(found[page], networks(load_curves(folder / CURVES.name)), (NETWORKS_BEGIN, NETWORKS_END))
    found[page] = with_table(found[page], sequences(folder / SEQUENCES.name), (SEQUENCES_BEGIN, SEQUENCES_END))
    found[page] = with_table(found[page], warm_starts(folder / WARM_STARTS.name), (WARM_STARTS_BEGIN, WARM_STARTS_END))
    found[page] = with_table(found[page], first_run(folder / FIRST_RUN.name), (FIRST_RUN_BEGIN, FIRST_RUN_END))
    found[page] = with_table(found[page], access(folder / ACCESS.name), (ACCESS_BEGIN, ACCESS_END))
    found[page] = with_table(found[page], levels(folder / LEVELS.name), (LEVELS_BEGIN, LEVELS_END))
    found[page] = with_table(found[page], collections(folder / COLLECTIONS.name), (COLLECTIONS_BEGIN, COLLECTIONS_END))
    found[page] = with_table(found[page], added(folder / ADDED), (ADDED_BEGIN, ADDED_END))
    scenes = radiance(folder / RADIANCE.name, folder / RADIANCE_COLLECTIONS.name)
    found[page] = with_table(found[page], scenes, (RADIANCE_BEGIN, RADIANCE_END))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a table is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
    for path, text in pages().items() if not check else ():
        path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
