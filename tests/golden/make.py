"""Writes golden files: `python tests/golden/make.py NAME ...`. To be run by hand, once for every part of the format.

Each `NAME.fcodec` was written by the encoder of this release; `NAME.npz` holds what the oracle, the decoder made from
docs/format.md, reads from it. A later release must read the same: never write over files of a released format.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import fieldcodec as fc
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.grid.octree import Octree
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.testing.collections import TINY, detailed_collection, random_collection
from fieldcodec.testing.modules import load_module
from fieldcodec.testing.oracle.collection import decode_collection
from fieldcodec.testing.oracle.levels import decode_levels
from fieldcodec.testing.oracle.sequence import decode_sequence
from fieldcodec.testing.oracle.tree import fingerprint
from fieldcodec.testing.oracle.volume import decode_volume
from fieldcodec.volume import network_encode, values_codec

FOLDER = Path(__file__).parent
LIMIT = 6000  # bytes of one file
VALUES = ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background")


_ORACLES = ("volumes", "lattices", "sequences", "levels")
volumes, lattices, sequences, levels = (
    load_module(FOLDER.parent / "conformance" / f"oracle_{name}.py") for name in _ORACLES
)
SEQUENCES = {
    "sequence": sequences.several,
    "sequence_networks": sequences.networks,
    "sequence_renamed": sequences.renamed,
}
LEVELS = {"stored_level": levels.encoded}


def _collection(spec: RecursiveSpec) -> CompressedCollection:
    """Objects of all its kinds, with octrees of their own or what the networks say."""
    rng = np.random.default_rng(0)
    true = [Octree.of_cells(rng.integers(0, 1 << spec.lods, (n, 3)), spec.lods) for n in (4, 12)]
    kinds = (*spec.kinds, *spec.kinds[:1] * 2)[:3]
    return random_collection(spec, octrees=[None, *true], kinds=kinds, seed=1)


COLLECTIONS: dict[str, Callable[[], CompressedCollection]] = {
    "collection": lambda: _collection(TINY),
    "collection_sum": lambda: _collection(replace(TINY, fusion="sum", colour="none", base_layers=2, lods=4)),
    "collection_radiance": lambda: _collection(replace(TINY, colour="radiance", layers=1, lods=2)),
    "collection_mixed": lambda: _collection(replace(TINY, colour="rgb+radiance")),
    "collection_details": detailed_collection,
}


def _network_sources() -> Iterator[tuple[str, SparseGrid | VolumeFile, fc.VolumeSettings]]:
    tiny, hashed = volumes.TINY, volumes.HASH
    yield "level_set_explicit", volumes.level_set(), replace(tiny, tree="explicit")
    yield "level_set_guided", volumes.rod(), replace(volumes.GUIDING, subdomain_size=64)
    yield "level_set_neural", volumes.level_set(), tiny
    yield "level_set_half_weights", volumes.level_set(), replace(tiny, weights="half", activation="tanh")
    yield "fog_hash_relu", volumes.long_fog(), replace(hashed, activation="relu")
    yield "fog_two_experts", volumes.long_fog(), replace(tiny, subdomain_size=64)
    yield "fog_tiles", volumes.with_tiles(), tiny
    for kind in ("vec3s", "int32", "bool", "mask"):
        yield kind, volumes.box(kind, side=10), tiny
    yield "several_grids", volumes.several_grids(), tiny


def _files(names: set[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file that was asked for."""
    for name, case in lattices.CASES.items():
        if name in names:
            yield name, case.encoded()
    for name, encoded in (SEQUENCES | LEVELS).items():
        if name in names:
            yield name, encoded()
    for name, collection in COLLECTIONS.items():
        if name in names:
            yield name, collection().to_bytes()
    values_codec.SMALL_GRID = 16  # lets grids of a few leaves have networks
    network_encode._FEW_TILES = 16
    for name, source, settings in _network_sources():
        if name in names:
            network_encode._GAIN = 0.98 if name == "level_set_guided" else 0.0  # the others have masks by themselves
            yield name, fc.encode_volume(source, settings, device="cpu").to_bytes()


def _expected(file: VolumeFile) -> dict[str, np.ndarray]:
    arrays = {}
    for number, grid in enumerate(file):
        if isinstance(grid, SparseGrid):
            arrays[f"{number}.fingerprint"] = np.array(fingerprint(grid.topology))
            arrays |= {f"{number}.{name}": getattr(grid, name) for name in VALUES}
        else:
            arrays[f"{number}.payload"] = np.frombuffer(grid.payload, np.uint8)
    return arrays


def _expected_of_levels(data: bytes) -> dict[str, np.ndarray]:
    """As of a volume, and of its stored levels with `level` before the number of the grid."""
    arrays = _expected(decode_volume(data))
    for number, grid in decode_levels(data).items():
        one = _expected(VolumeFile((grid,)))
        arrays |= {f"level{number}.{key.partition('.')[2]}": array for key, array in one.items()}
        arrays[f"level{number}.matrix"] = grid.transform.matrix
    return arrays


def _expected_of_frames(data: bytes) -> dict[str, np.ndarray]:
    """As of a volume, with the number of the frame before each key."""
    frames = decode_sequence(data)
    return {f"{frame}:{key}": array for frame in frames for key, array in _expected(frames[frame]).items()}


def _expected_of_objects(data: bytes) -> dict[str, np.ndarray]:
    """Octrees, latents in integers, and values at some points."""
    collection = decode_collection(data)
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (40, 3)).astype(np.float32)
    directions = rng.normal(size=(40, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    arrays = {"points": points, "directions": directions}
    for number, item in enumerate(collection.objects):
        arrays[f"{number}.name"] = np.array(item.name)
        arrays[f"{number}.placement"] = np.array([*item.centre, item.scale])
        arrays[f"{number}.masks"] = np.array([mask for level in item.masks for mask in level], bool)
        arrays[f"{number}.latents"] = np.array([latent for level in item.latents for latent in level], np.int32)
        arrays[f"{number}.values"] = collection.values(number, points)
        if item.kind == "radiance":
            arrays[f"{number}.seen"] = collection.values(number, points, directions)
            arrays[f"{number}.densities"] = collection.densities(number, points)
    return arrays


def _expected_of(name: str, data: bytes) -> dict[str, np.ndarray]:
    if name in COLLECTIONS:
        return _expected_of_objects(data)
    if name in LEVELS:
        return _expected_of_levels(data)
    return _expected_of_frames(data) if name in SEQUENCES else _expected(decode_volume(data))


def main() -> None:
    known = [*lattices.CASES, *SEQUENCES, *LEVELS, *COLLECTIONS, *(name for name, _, _ in _network_sources())]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=known, metavar="NAME", help=", ".join(known))
    for name, data in _files(set(parser.parse_args().names)):
        assert len(data) <= LIMIT, f"{name} has {len(data)} bytes"
        (FOLDER / f"{name}.fcodec").write_bytes(data)
        np.savez_compressed(FOLDER / f"{name}.npz", **_expected_of(name, data))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
