"""Files of format 1.0 decode to what they held when they were written (see make.py), on every machine and release.

Trees and everything stored exactly bit for bit, and what networks give that guide masks; octrees and latents of
objects bit for bit; values from other networks within 1e-4 of their range.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import fieldcodec as fc
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.sequence.compressed import CompressedSequence
from fieldcodec.volume.topology_codec import topology_hash

FOLDER = Path(__file__).parent
TOLERANCE = 1e-4  # of the value range
SEQUENCES = {  # name -> grids of every frame
    "sequence": ["surface", "float", "vec3s"],
    "sequence_networks": ["smoke", "drop"],
    "sequence_renamed": ["float", "before"],  # which is what `float` was in the frame before
}
LEVELS = {"stored_level": {0: "fog", 1: "moved"}}  # name -> the grids that have one
COLLECTIONS = ("collection", "collection_sum", "collection_radiance", "collection_mixed", "collection_details")
EXPECTED = {  # name -> how the values of each grid are stored
    "level_set_explicit": ["network"],
    "level_set_guided": ["network"],
    "level_set_neural": ["network"],
    "level_set_half_weights": ["network"],
    "fog_hash_relu": ["network"],
    "fog_two_experts": ["network"],
    "fog_tiles": ["network"],
    "vec3s": ["network"],
    "int32": ["network"],
    "bool": ["palette"],
    "mask": ["none"],
    "several_grids": ["opaque", "palette", "palette", "opaque"],
    "lattice_surface": ["lattice"],
    "lattice_two_levels": ["lattice"],
    "lattice_stride_six": ["lattice"],
    "lattice_linear": ["lattice"],
    "lattice_residual": ["lattice"],
    "lattice_guided_fog": ["lattice"],
    "lattice_fog": ["lattice"],
    "lattice_fog_half": ["lattice"],
    "lattice_bounded": ["lattice"],
    "lattice_vectors": ["lattice"],
    "lattice_int32": ["lattice"],
    "lattice_exact_f4": ["lattice"],
    "lattice_exact_f2": ["lattice"],
    "lattice_exact_f8": ["lattice"],
    "lattice_exact_i4": ["lattice"],
    "lattice_exact_u4": ["lattice"],
    "lattice_exact_i8": ["lattice"],
    "lattice_signs": ["lattice"],
    "lattice_refined_surface": ["lattice"],
    "lattice_refined_fog": ["lattice"],
    "lattice_refined_vectors": ["lattice"],
    "lattice_refined_signs": ["lattice"],
    "lattice_mesh": ["lattice"],
}


def test_no_golden_file_is_missing_or_forgotten() -> None:
    names = {*EXPECTED, *SEQUENCES, *LEVELS, *COLLECTIONS}
    assert {path.stem for path in FOLDER.glob("*.fcodec")} == names
    assert {path.stem for path in FOLDER.glob("*.npz")} == names


@pytest.mark.parametrize("name", EXPECTED)
def test_golden_file(name: str) -> None:
    if name == "lattice_mesh":
        pytest.importorskip("DracoPy")
    compressed = fc.CompressedVolume.from_bytes((FOLDER / f"{name}.fcodec").read_bytes())
    assert [grid.method for grid in compressed.grids] == EXPECTED[name]
    with np.load(FOLDER / f"{name}.npz") as expected:
        _check_volume(compressed, {key: expected[key] for key in expected.files})


@pytest.mark.parametrize("name", SEQUENCES)
def test_golden_sequence(name: str) -> None:
    """Frames in any order: each is predicted from the one before."""
    opened = CompressedSequence.from_bytes((FOLDER / f"{name}.fcodec").read_bytes())
    assert opened.frames == (3, 4, 7)
    with np.load(FOLDER / f"{name}.npz") as expected:
        for frame in (7, 3, 4):
            volume, start = opened.frame(frame), f"{frame}:"
            assert [grid.name for grid in volume.grids] == SEQUENCES[name]
            predicted = ["motion" in str(grid.lattice) or "differences" in grid.meta for grid in volume.grids]
            assert predicted == [frame > (4 if grid.name == "before" else 3) for grid in volume.grids]
            _check_volume(volume, {key[len(start) :]: expected[key] for key in expected.files if key.startswith(start)})


@pytest.mark.parametrize("name", LEVELS)
def test_golden_levels(name: str) -> None:
    compressed = fc.CompressedVolume.from_bytes((FOLDER / f"{name}.fcodec").read_bytes())
    with np.load(FOLDER / f"{name}.npz") as stored:
        expected = {key: stored[key] for key in stored.files}
    _check_volume(compressed, {key: array for key, array in expected.items() if not key.startswith("level")})
    for number, grid_name in LEVELS[name].items():
        grid = compressed.to_grids([number], level=1, device="cpu")[0]
        assert isinstance(grid, SparseGrid)
        assert grid.name == grid_name
        arrays = {key.partition(".")[2]: expected[key] for key in expected if key.startswith(f"level{number}.")}
        assert np.array_equal(grid.transform.matrix, arrays.pop("matrix"))
        _check(grid, arrays, regressed=False, regressed_tiles=False)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_golden_collection(name: str) -> None:
    opened = CompressedCollection.from_bytes((FOLDER / f"{name}.fcodec").read_bytes())
    with np.load(FOLDER / f"{name}.npz") as stored:
        expected = {key: stored[key] for key in stored.files}
    points = expected["points"]
    assert len(opened) == len([key for key in expected if key.endswith(".name")]) == 3
    for number, entry in enumerate(opened.listing.items):
        assert entry.name == str(expected[f"{number}.name"])
        assert [*entry.placement.centre, entry.placement.scale] == expected[f"{number}.placement"].tolist()
        unfolded = opened.unfold(number)
        assert np.array_equal(np.concatenate(unfolded.octree.child_masks), expected[f"{number}.masks"])
        latents = expected[f"{number}.latents"].astype(np.float32) / np.float32(1 << 20)
        assert np.array_equal(torch.cat(unfolded.latents).numpy(), latents)
        _compare(_values(opened, number, points, np.zeros_like(points)), expected[f"{number}.values"])
        if f"{number}.seen" in expected:
            _compare(_values(opened, number, points, expected["directions"]), expected[f"{number}.seen"])
            cells, item = expected[f"{number}.densities"], opened[number]
            assert isinstance(item, RadianceItem)
            found, inside = item.sample(points, space="model")[:, 0], item.in_cells(points)
            assert 0 < inside.sum() < len(points)
            assert (found[~inside] == 0).all()
            assert np.abs(found[inside] - cells[inside]).max() <= TOLERANCE * cells.max()


def _compare(values: np.ndarray, expected: np.ndarray) -> None:
    assert values.shape == expected.shape
    assert (np.abs(values - expected) <= TOLERANCE * (np.ptp(expected, axis=0) + 1e-3)).all()


def _values(collection: CompressedCollection, number: int, points: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance or opacity, and colour, at points of the cube."""
    network, unfolded, kind = collection.network(), collection.unfold(number), collection.kinds[number]
    with torch.inference_mode():
        fused = network.fused(unfolded.latents, Stencil.of(unfolded.octree, np.zeros(len(points), int), points))
        if kind == "radiance":
            said = [network.opacity(fused).clamp(min=0)[:, None], network.radiance(fused, torch.from_numpy(directions))]
        else:
            said = [network.distance(fused)[:, None], *([network.colour(fused)] if kind == "coloured" else [])]
        return torch.cat(said, dim=1).numpy()


def _check_volume(compressed: CompressedVolume, expected: dict[str, np.ndarray]) -> None:
    decoded = compressed.to_grids(device="cpu")
    assert {key.split(".")[0] for key in expected} == {str(number) for number in range(len(decoded))}
    for number, grid in enumerate(decoded):
        arrays = {key.split(".", 1)[1]: expected[key] for key in expected if key.startswith(f"{number}.")}
        if isinstance(grid, OpaqueGrid):
            assert grid.payload == arrays["payload"].tobytes()
        else:
            stored = compressed.grids[number]
            roles = stored.network_specs if stored.instance_of is None else {}
            regressed = stored.method == "network" and stored.guiding_network is None
            _check(grid, arrays, regressed, "tiles" in roles)


def _check(grid: SparseGrid, expected: dict[str, np.ndarray], regressed: bool, regressed_tiles: bool) -> None:
    assert topology_hash(grid.topology) == str(expected.pop("fingerprint"))
    lossy = {
        "leaf_values": grid.topology.leaf_active_bits & regressed,
        "lower_tile_values": grid.lower_tile_mask() & regressed_tiles,
    }
    assert set(expected) == {"leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background"}
    for name, values in expected.items():
        found = getattr(grid, name)
        assert (found.dtype, found.shape) == (values.dtype, values.shape)
        where = lossy.get(name, np.zeros(len(values), bool))
        assert found[~where].tobytes() == values[~where].tobytes()
        if where.any():
            a, b = found[where].astype(np.float64), values[where].astype(np.float64)
            # an integer may be rounded the other way
            least = 1.0 if values.dtype.kind in "iu" else 0.0
            assert np.abs(a - b).max() <= max(TOLERANCE * np.ptp(b), least)
