"""Writes the golden files: `python tests/golden/make.py`. To be run by hand, once per format.

Each `NAME.fcodec` was written by the encoder of this release; `NAME.npz` holds what the oracle, the decoder made from
docs/format.md, reads from it. A later release must read the same: never write over files of a released format.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import fieldcodec as fc
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.testing.oracle.tree import fingerprint
from fieldcodec.testing.oracle.volume import decode_volume
from fieldcodec.volume import encode, values_codec

FOLDER = Path(__file__).parent
LIMIT = 6000  # bytes of one file
VALUES = ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background")


def _sources() -> Iterator[tuple[str, SparseGrid | VolumeFile, fc.VolumeSettings]]:
    path = FOLDER.parent / "conformance" / "oracle_volumes.py"
    spec = importlib.util.spec_from_file_location("oracle_volumes", path)
    assert spec is not None
    assert spec.loader is not None
    volumes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(volumes)
    tiny, hashed = volumes.TINY, volumes.HASH
    yield "level_set_explicit", volumes.level_set(), replace(tiny, tree="explicit")
    yield "level_set_neural", volumes.level_set(), tiny
    yield "level_set_half_weights", volumes.level_set(), replace(tiny, weights="half", activation="tanh")
    yield "fog_hash_relu", volumes.long_fog(), replace(hashed, activation="relu")
    yield "fog_two_experts", volumes.long_fog(), replace(tiny, subdomain_size=64)
    yield "fog_tiles", volumes.with_tiles(), tiny
    for kind in ("vec3s", "int32", "bool", "mask"):
        yield kind, volumes.box(kind, side=10), tiny
    yield "several_grids", volumes.several_grids(), tiny


def _expected(file: VolumeFile) -> dict[str, np.ndarray]:
    arrays = {}
    for number, grid in enumerate(file):
        if isinstance(grid, SparseGrid):
            arrays[f"{number}.fingerprint"] = np.array(fingerprint(grid.topology))
            arrays |= {f"{number}.{name}": getattr(grid, name) for name in VALUES}
        else:
            arrays[f"{number}.payload"] = np.frombuffer(grid.payload, np.uint8)
    return arrays


def main() -> None:
    values_codec.SMALL_GRID = 16  # lets grids of a few leaves have networks
    encode._FEW_TILES = 16
    for name, source, settings in _sources():
        data = fc.encode_volume(source, settings, device="cpu").to_bytes()
        assert len(data) <= LIMIT, f"{name} has {len(data)} bytes"
        (FOLDER / f"{name}.fcodec").write_bytes(data)
        np.savez_compressed(FOLDER / f"{name}.npz", **_expected(decode_volume(data)))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
