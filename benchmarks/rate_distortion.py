"""Rate-distortion curves of fieldcodec and its peers on real volumes; one JSON file per input.

    python benchmarks/rate_distortion.py --data FOLDER [--only smoke,cloud] [--codecs sz3,zfp] [--out FOLDER]

Leaves OUT/rate-distortion/NAME.json. `plot.py` draws them, `bars.py` tells the bytes of all codecs at equal PSNR.
Needs the extra `bench`: pip install "fieldcodec[bench]".
"""

import argparse
import dataclasses
import datetime
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curves import Point, Reference, sample
from peers import TARGETS, Peer, dense, draco, nanovdb, openvdb, ours
from run import ROOT, commit, machine

from fieldcodec.cli.console import to_json_text
from fieldcodec.cli.inputs import ConversionOptions, kind_of, read_input
from fieldcodec.cli.measure import vdb16_blosc_bytes
from fieldcodec.errors import MissingPackageError, UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh import read_mesh
from fieldcodec.metrics.quality import effective_resolution
from fieldcodec.metrics.rate import raw_vdb_bytes


@dataclass(frozen=True)
class Row:
    """One input; `source` is relative to the data folder."""

    source: str
    what: str
    conversion: ConversionOptions = field(default_factory=ConversionOptions)


ROWS = {
    "smoke": Row("vdb/smoke.vdb", "OpenVDB's sample smoke, fog volume"),
    "cloud": Row("vdb/wdas_cloud_sixteenth.vdb", "Disney cloud at 1/16 resolution, fog volume"),
    "cloud-v224": Row("vdb/wdas_cloud_sixteenth_v224.vdb", "the same cloud, saved by OpenVDB 5.2"),
    "iguana": Row("volumes/iguana.nii.gz", "X-ray CT of an iguana's head, voxels above 0"),
    "heptane": Row("volumes/heptane.nii.gz", "simulated heptane plume, voxels above 0"),
    "bonsai": Row("volumes/bonsai.nii.gz", "CT of a bonsai, voxels above 0"),
    "sphere": Row("vdb/sphere.vdb", "OpenVDB's sample sphere, level set"),
    "bunny-256": Row("meshes_scans/bunny_closed.obj.xz", "Stanford Bunny, level set of 256 voxels"),
    "bunny": Row(
        "meshes_scans/bunny_closed.obj.xz", "Stanford Bunny, level set of 628 voxels", ConversionOptions(resolution=628)
    ),
}
CODECS = {peer.name: peer for peer in (*ours.PEERS, *openvdb.PEERS, *nanovdb.PEERS, *dense.PEERS)}
DRACO = "draco"  # for inputs that are meshes only
DEFINITIONS = {
    "bytes": "of a real file or bitstream; see mask_bytes_included",
    "mask_bytes_included": "whether the bytes hold the exact tree; codecs of dense arrays and meshes store none",
    "mask_bytes": "bytes of the tree by fieldcodec's mask coder, added for a codec that stores none",
    "rmse": "over active voxels of leaves, in the units of the values",
    "rmse_relative": "rmse / (largest - smallest active value)",
    "psnr": "-20 log10(rmse_relative), in dB",
    "encode_s, decode_s": "seconds; reading of inputs, filling of dense boxes and coding of masks for others left out",
}


def codecs_for(row: Row, data: Path, wanted: list[str] | None) -> list[Peer]:
    """The codecs that one input is given to: those wanted, or all but fieldcodec's slow network method."""
    peers = dict(CODECS)
    if kind_of(data / row.source) == "mesh" and (wanted is None or DRACO in wanted):
        peers[DRACO] = draco.peer_of(read_mesh(data / row.source), close_holes=row.conversion.close_holes)
    names = [name for name in peers if name != "fieldcodec-network"] if wanted is None else wanted
    return [peers[name] for name in names if name in peers]


def measure(name: str, row: Row, data: Path, wanted: list[str] | None, sweep: int) -> dict[str, Any]:
    """All points of one input, with what they were measured on."""
    grid = read_input(data / row.source, row.conversion)[0]
    assert isinstance(grid, SparseGrid), f"{row.source} holds no grid with values"
    reference = Reference(grid)
    points: list[Point] = []
    refused: dict[str, str] = {}
    for peer in codecs_for(row, data, wanted):
        try:
            points += sample(peer, reference, TARGETS, sweep=sweep, on_point=say)
        except (UnsupportedGridError, MissingPackageError) as problem:
            refused[peer.name] = str(problem)
            print(f"  {peer.name}: left out: {problem}", flush=True)
    return {
        "name": name,
        "what": row.what,
        "source": row.source,
        "conversion": dataclasses.asdict(row.conversion),
        "grid": describe(reference),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine("cpu"),
        "definitions": DEFINITIONS,
        "targets_psnr": list(TARGETS),
        "points": [rounded(dataclasses.asdict(point)) for point in points],
        "refused": refused,
    }


def describe(reference: Reference) -> dict[str, Any]:
    """What was compressed."""
    grid = reference.grid
    return {
        "name": grid.name,
        "grid_class": grid.grid_class,
        "value_type": grid.value_type.name,
        "value_range": reference.value_range,
        "active_voxels": grid.topology.num_active_voxels,
        "active_leaf_voxels": grid.topology.num_active_leaf_voxels,
        "leaves": grid.topology.num_leaves,
        "effective_resolution": list(effective_resolution(grid)),
        "bytes_raw": raw_vdb_bytes(grid),
        "bytes_vdb16_blosc": vdb16_blosc_bytes(grid),
        "bytes_tree": reference.tree_bytes(),
    }


def rounded(point: dict[str, Any]) -> dict[str, Any]:
    """The same with six digits of every float: hundreds of points make large files."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in point.items()}


def say(point: Point) -> None:
    """One line for each point."""
    psnr = "exact" if point.psnr is None else f"{point.psnr:.2f} dB"
    tree = " with the tree" if point.mask_bytes else ""
    print(f"  {point.codec} {point.setting}: {point.bytes:,} bytes{tree}, {psnr}, {point.encode_s:.2f} s", flush=True)


def names(text: str) -> list[str]:
    """`a,b` -> ["a", "b"]."""
    return [name.strip() for name in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = os.environ.get("FIELDCODEC_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None, help="folder of real volumes")
    parser.add_argument("--only", type=names, default=list(ROWS), help=f"inputs, of {', '.join(ROWS)}")
    parser.add_argument("--codecs", type=names, help=f"all but the network method, or of {', '.join([*CODECS, DRACO])}")
    parser.add_argument("--sweep", type=int, default=40, help="tolerances tried besides those that a search tries")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where to put the JSON files")
    options = parser.parse_args()
    for what, given, known in (("--only", options.only, ROWS), ("--codecs", options.codecs or [], [*CODECS, DRACO])):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"{what}: {', '.join(unknown)} is not known; known are {', '.join(known)}")
    folder = options.out / "rate-distortion"
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        print(f"{name} ...", flush=True)
        path = folder / f"{name}.json"
        result = measure(name, ROWS[name], options.data, options.codecs, options.sweep)
        path.write_text(to_json_text(result) + "\n", encoding="utf-8")
        print(f"{name}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
