"""Rate-distortion curves of fieldcodec and its peers on real volumes; one JSON file and one picture per input.

    python benchmarks/rate_distortion.py --data FOLDER [--only smoke,cloud] [--methods lattice,network] [--out FOLDER]
    python benchmarks/rate_distortion.py --data FOLDER --add --methods network --network-sizes 64x1600 --peers none
    python benchmarks/rate_distortion.py --draw

This is `fieldcodec bench` for a list of inputs. Leaves OUT/rate-distortion/NAME.json and NAME.png; `table.py` makes
the tables of docs/results.md of them. `--add` measures the codecs that are named and leaves the points of all others
as they are in the file; which run a codec's points come from is told there. `--draw` draws the pictures again from the
JSON files.
Needs the extra `bench`: pip install "fieldcodec[bench]".
"""

import argparse
import dataclasses
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rows import chosen_rows
from run import ROOT

from fieldcodec.bench import registry
from fieldcodec.bench.demands import demands_of
from fieldcodec.bench.ours import NetworkSize, Surroundings, methods
from fieldcodec.bench.peer import PREFIX, Result
from fieldcodec.bench.plot import picture_bytes
from fieldcodec.bench.reference import Reference
from fieldcodec.bench.report import to_markdown
from fieldcodec.bench.run import measurable, measure
from fieldcodec.cli.console import to_json_text
from fieldcodec.cli.inputs import ConversionOptions, kind_of, read_input, split_names
from fieldcodec.io.mesh import read_mesh

FOLDER = "rate-distortion"


@dataclass(frozen=True)
class Row:
    """One input; `source` is relative to the data folder."""

    source: str
    what: str
    conversion: ConversionOptions = field(default_factory=ConversionOptions)


_BUNNY = "meshes_scans/bunny_closed.obj.xz"
ROWS = {
    "smoke": Row("vdb/smoke.vdb", "OpenVDB's sample smoke"),
    "cloud": Row("vdb/wdas_cloud_sixteenth.vdb", "Disney cloud at 1/16 resolution"),
    "cloud-v224": Row("vdb/wdas_cloud_sixteenth_v224.vdb", "the same cloud, saved by OpenVDB 5.2"),
    "iguana": Row("volumes/iguana.nii.gz", "X-ray CT of an iguana's head, voxels above 0"),
    "heptane": Row("volumes/heptane.nii.gz", "simulated heptane plume, voxels above 0"),
    "bonsai": Row("volumes/bonsai.nii.gz", "CT of a bonsai, voxels above 0"),
    "sphere": Row("vdb/sphere.vdb", "OpenVDB's sample sphere"),
    "bunny-256": Row(_BUNNY, "Stanford Bunny, 256 voxels"),
    "bunny": Row(_BUNNY, "Stanford Bunny, 628 voxels", ConversionOptions(resolution=628)),
}


def measure_row(name: str, row: Row, options: argparse.Namespace) -> Result:
    """All points of one input."""
    source = options.data / row.source
    reference = Reference(measurable(read_input(source, row.conversion)))
    mesh = read_mesh(source) if kind_of(source) == "mesh" else None
    demands = demands_of(reference.grid, reference.value_range, {"psnr": options.psnr})
    sizes = [NetworkSize.parse(item) for item in split_names(options.network_sizes)]
    ours = methods(split_names(options.methods), demands, Surroundings(mesh, "cpu"), sizes)
    others = registry.peers(split_names(options.peers), mesh, close_holes=row.conversion.close_holes)
    found = measure(reference, [*ours, *others], demands, sweep=options.sweep, on_codec=_say)
    about = {"name": name, "what": row.what, "source": row.source, "conversion": dataclasses.asdict(row.conversion)}
    return {**found, **about}


def joined(before: Result, now: Result) -> Result:
    """A result with the points of the codecs measured `now` in place of the ones they had before.

    Raises:
        SystemExit: the grids differ, so that their points do not stand side by side.
    """
    old, new = (
        (result["measure"], result["grid"]["active_voxels"], result["grid"]["value_range"]) for result in (before, now)
    )
    if old != new:
        raise SystemExit(
            f"{now['name']}: measure, active voxels and range of values are {new} now and {old} in the file, so that "
            "the points do not stand side by side; measure all codecs, without --add"
        )
    codecs = {point["codec"] for point in now["points"]} | set(now["left_out"])
    run = {name: now[name] for name in ("date", "commit", "machine")}
    order = [point["codec"] for point in before["points"] + now["points"]]  # the first of ours is the one compared with
    points = [point for point in before["points"] if point["codec"] not in codecs] + now["points"]
    left_out = {codec: why for codec, why in before["left_out"].items() if codec not in codecs}
    return {
        **before,
        "points": sorted(
            points, key=lambda point: (not point["codec"].startswith(PREFIX), order.index(point["codec"]))
        ),
        "left_out": left_out | now["left_out"],
        "runs": before.get("runs", {}) | dict.fromkeys(sorted(codecs), run),
    }


def _say(codec: str, what: str) -> None:
    print(f"  {codec}: {what}", flush=True)


def draw(folder: Path, name: str) -> None:
    """One picture from its JSON file."""
    result = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    (folder / f"{name}.png").write_bytes(picture_bytes(result, ".png"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FIELDCODEC_DATA"), help="folder of real volumes")
    parser.add_argument("--only", help=f"inputs, of {', '.join(ROWS)}")
    parser.add_argument("--methods", default="lattice", help="ours, as in fieldcodec bench")
    parser.add_argument("--peers", default="all", help="others, as in fieldcodec bench")
    parser.add_argument("--psnr", default="22,25,30,35,40,45", help="in dB")
    parser.add_argument("--network-sizes", help="as in fieldcodec bench")
    parser.add_argument("--sweep", type=int, default=40, help="tolerances tried besides those that a search tries")
    parser.add_argument("--add", action="store_true", help="keep the points of codecs that are not measured now")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where to put the files")
    parser.add_argument("--draw", action="store_true", help="only draw the JSON files that are there")
    options = parser.parse_args()
    options.only = chosen_rows(parser, options.only, ROWS)
    if options.data is None and not options.draw:
        parser.error("--data names no folder of real volumes")
    return options


def main() -> int:
    options = parse()
    folder = options.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        path = folder / f"{name}.json"
        if options.draw and not path.is_file():
            continue
        if not options.draw:
            print(f"{name} ...", flush=True)
            result = measure_row(name, ROWS[name], options)
            if options.add and path.is_file():
                result = joined(json.loads(path.read_text(encoding="utf-8")), result)
            path.write_text(to_json_text(result) + "\n", encoding="utf-8")
            print(to_markdown(result), flush=True)
        draw(folder, name)
        print(f"{name}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
