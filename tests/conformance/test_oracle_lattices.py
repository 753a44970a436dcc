"""The codec against the oracle: lattices, guided masks, residuals, coded meshes.

All of them are integers, or doubles whose every operation is specified: both decoders must agree bit for bit.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.coding import coefficients
from fieldcodec.coding.residuals import encode_residuals, ordered_integers
from fieldcodec.coding.value_masks import encode_masks_given_values
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh.coded import decode_mesh, encode_mesh, leaf_distances_to
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.lattice.nodes import NodeSet
from fieldcodec.lattice.refinement import Neighbourhoods, Refinement, Sight, shapes_of
from fieldcodec.testing.modules import load_module
from fieldcodec.testing.oracle import coefficients as oracle_coefficients
from fieldcodec.testing.oracle.margin_masks import decode_margin_masks
from fieldcodec.testing.oracle.mesh import distances_to_mesh
from fieldcodec.testing.oracle.refinement import read_refinement, refine
from fieldcodec.testing.oracle.residuals import decode_residuals
from fieldcodec.testing.oracle.splines import node_blocks
from fieldcodec.testing.oracle.volume import decode_volume

Places = list[tuple[int, int, int]]


lattices = load_module(Path(__file__).with_name("oracle_lattices.py"))


@pytest.mark.parametrize("name", lattices.CASES)
def test_whole_files(name: str) -> None:
    case = lattices.CASES[name]
    if case.mesh is not None:
        pytest.importorskip("DracoPy")
    data = case.encoded()
    compressed = fc.CompressedVolume.from_bytes(data)
    stored, ours, theirs = compressed.grids[0], compressed.to_grids(device="cpu")[0], decode_volume(data)[0]
    assert stored.method == "lattice"
    assert case.expected.items() <= stored.meta["values"].items()
    assert set(case.sections) <= set(stored.sections)
    assert bool(stored.meta["values"]["levels"]) == bool(case.candidate.levels and case.mesh is None)
    assert isinstance(ours, SparseGrid)
    assert isinstance(theirs, SparseGrid)
    assert ours.topology.equals(theirs.topology)
    for values in ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background"):
        assert getattr(ours, values).dtype == getattr(theirs, values).dtype
        assert getattr(ours, values).tobytes() == getattr(theirs, values).tobytes()
    if case.quality.lossless:
        assert theirs.leaf_values.tobytes() == case.make().leaf_values.tobytes()


def test_damage_is_refused() -> None:
    data = lattices.CASES["lattice_residual"].encoded()
    for position in range(0, len(data), 131):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(FormatError):
            decode_volume(bytes(damaged))


# --- parts, with more variety than whole volumes of a few leaves can have -----------------------


def _leaves(seed: int = 0) -> tuple[np.ndarray, Places]:
    """Origins of leaves in two lower nodes, some missing in between."""
    cells = np.array([(x, y, z) for x in range(14, 17) for y in range(-1, 1) for z in range(2)])
    origins = (cells[np.random.default_rng(seed).permutation(12)[:9]] * 8).astype(np.int32)
    origins = origins[np.lexsort((*origins.T[::-1], *(origins & ~127).T[::-1]))]
    return origins, [(x, y, z) for x, y, z in origins.tolist()]


def _wavy(origins: np.ndarray) -> np.ndarray:
    points = origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2)
    return np.sin(points[..., 0] / 5) + np.cos(points[..., 1] / 4) * np.sin(points[..., 2] / 6)


@pytest.mark.parametrize(
    ("stride", "degree", "size", "noise"),
    [(4, 3, 20, 0.3), (8, 3, 400, 3), (4, 1, 15000, 3000), (3, 3, 3, 0.5), (16, 3, 40000, 100), (6, 1, 2, 0)],
)
def test_coefficients(stride: int, degree: int, size: float, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smooth and rough ones, zeros, large ones; groups of at least 200 nodes."""
    for module in (coefficients, oracle_coefficients):
        monkeypatch.setattr(module, "GROUP_NODES", 200)
    cells = np.array([(x, y, z) for x in range(-1, 3) for y in range(-1, 2) for z in range(14, 18)])
    origins = cells * 8
    origins = origins[np.lexsort((*origins.T[::-1], *(origins & ~127).T[::-1]))]
    nodes = NodeSet.of_leaves(origins, stride, degree)
    x, y, z = nodes.cells.T * stride
    field = np.sin(x / 9) + np.cos(y / 7) * np.sin(z / 11)
    values = np.rint(size * field + noise * np.random.default_rng(stride).normal(size=len(field)))
    values = np.clip(np.where(np.abs(values) < 1.5, 0, values), -32767, 32767).astype(np.int32)
    data = coefficients.encode_coefficients(values, nodes.cells, nodes.block_starts, threads=1)
    blocks = node_blocks([(x, y, z) for x, y, z in origins.tolist()], stride, degree)
    assert [cell for block in blocks for cell in block] == [tuple(cell) for cell in nodes.cells.tolist()]
    found = oracle_coefficients.decode_coefficients(data, blocks)
    assert [found[cell] for block in blocks for cell in block] == values.tolist()


@pytest.mark.parametrize(
    ("noise", "bias", "scale", "least"),
    [(0.02, 0.0, 300, 2048), (0.2, 0.1, 300, 1), (0.5, 0.0, 40, 1), (0.1, 0.0, 3000, 1), (5.0, 0.0, 300, 2048)],
)
def test_masks_with_margins(noise: float, bias: float, scale: float, least: int) -> None:
    """Logits that are hardly ever wrong, wrong in whole places, coarse, or of no use."""
    origins, places = _leaves()
    rng = np.random.default_rng(1)
    field = _wavy(origins)
    active = field > 0.2
    active[2] = True
    smooth = np.cumsum(rng.normal(size=field.shape), axis=1) / 20 + rng.normal(size=field.shape)
    margins = np.clip(np.rint((field - 0.2 + bias + noise * smooth) * scale), -32768, 32767).astype(np.int16)
    margins[2] = 20000
    packed = masks.pack(active)
    data = encode_masks_given_values(packed, origins, margins, group_leaves=least, threads=1)
    assert data[0] == (noise < 1)
    assert np.array_equal(np.array(decode_margin_masks(data, places, margins), bool), active)


def _check_residuals(targets: np.ndarray, predictions: np.ndarray, step: int, **options: Any) -> None:
    origins, places = _leaves()
    active = _wavy(origins) > -0.3
    active[4] = False
    data, expected = encode_residuals(targets, predictions, masks.pack(active), origins, step, threads=1, **options)
    found = decode_residuals(data, predictions.tolist(), active.astype(int).tolist(), places, step)
    assert found == expected.tolist()


@pytest.mark.parametrize(
    ("step", "noise", "options"),
    [
        (1, 30, {}),
        (16, 30, {"economy": 65, "coarse": 50}),
        (9, 300, {"economy": 100, "coarse": 10, "group_leaves": 1}),
        (40, 5, {"economy": 250}),
        (3, 1e6, {"coarse": 33}),
    ],
)
def test_residuals_within_a_step(step: int, noise: float, options: dict[str, Any]) -> None:
    field = _wavy(_leaves()[0])
    predictions = np.rint(field * 1000).astype(np.int32)
    targets = predictions + np.rint(np.random.default_rng(0).normal(size=field.shape) * noise).astype(np.int32)
    _check_residuals(targets, predictions, step, **options)


@pytest.mark.parametrize(("step", "count"), [(1, 7), (4, 7), (4, 2)])
def test_residuals_with_special_values(step: int, count: int) -> None:
    field = _wavy(_leaves()[0])
    rng = np.random.default_rng(2)
    targets = np.rint(field * 1000).astype(np.int32)
    for value in (-1000, 77, 5, 990, 400, 1001, 1002)[:count]:
        targets[rng.random(field.shape) < 0.3] = value
    _check_residuals(targets, np.rint(field * 400).astype(np.int32), step, coarse=50, economy=30)


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_residuals_of_the_bits_of_floats(kind: str) -> None:
    field = _wavy(_leaves()[0])
    rng = np.random.default_rng(5)
    values = (np.abs(field) + 1e-3) * np.exp(rng.normal(size=field.shape) * 9)
    near = ordered_integers((values * (1 + 1e-6 * rng.normal(size=field.shape))).astype(kind))
    far = ordered_integers((np.abs(field) + 1e-3).astype(kind))
    _check_residuals(ordered_integers(values.astype(kind)), near, 1)
    _check_residuals(ordered_integers(values.astype(kind)), far, 1)


def test_residuals_wrap_around() -> None:
    field = _wavy(_leaves()[0])
    rng = np.random.default_rng(0)
    size = (1 << 63) - 1 - rng.integers(0, 1 << 60, field.shape)
    predictions = np.where(rng.random(field.shape) < 0.5, -size, size)
    _check_residuals(-predictions, predictions, 1)


@pytest.mark.parametrize(
    ("widths", "largest", "scale", "sight", "step"),
    [
        ((8, 8), 90, 600, Sight(130, 500), 64),
        ((3, 5), 2047, 600, Sight(7, 100_000), 1),
        ((1, 1), 300, 2.0**29, Sight(1 << 30, 1 << 30), 1 << 28),
        ((64, 2), 20, 2.0**30, Sight(3, 1), 1 << 30),
    ],
)
def test_refinement(widths: tuple[int, int], largest: int, scale: float, sight: Sight, step: int) -> None:
    """Networks of any shape; numbers and steps so large that they are limited, features out of their range."""
    origins, places = _leaves()
    field = _wavy(origins)
    rng = np.random.default_rng(0)
    active = rng.random(field.shape) < np.linspace(0, 1, len(field))[:, None]
    numbers = np.clip(np.rint(scale * (field + rng.normal(size=field.shape) / 9)), -(2**31), 2**31 - 1).astype(np.int32)
    tensors = tuple(rng.integers(-largest, largest + 1, shape).astype(np.int32) for shape in shapes_of(*widths))
    network = Refinement(sight, tensors)
    expected = network.refined(Neighbourhoods(numbers, masks.pack(active), origins), step, threads=1)
    found = refine(read_refinement(network.to_bytes()), numbers.tolist(), active.astype(int).tolist(), places, step)
    assert found == expected.tolist()
    assert (expected != numbers)[active].mean() > 0.2
    assert np.array_equal(expected[~active], numbers[~active])


def test_refinement_out_of_its_limits() -> None:
    sound = Refinement(Sight(3, 4), tuple(np.zeros(shape, np.int32) for shape in shapes_of(2, 1))).to_bytes()
    assert read_refinement(b"\x00" + sound[1:]).differences == 1
    for damaged in (sound[:-1], sound + b"\x00", sound[:2] + b"\x41" + sound[3:], b"\x81\x80\x80\x80\x04" + sound[1:]):
        with pytest.raises(FormatError):
            read_refinement(damaged)
        with pytest.raises(FormatError):
            Refinement.from_bytes(damaged)


def _bumpy_ball(rings: int) -> Mesh:
    """Closed, around (128, -3, 4), with slivers at the poles and vertices that fall together."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, rings), indexing="ij")
    radius = 6 + np.where((theta > 0) & (theta < np.pi), np.sin(3 * theta) * np.cos(2 * phi), 0)
    shape = (np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta))
    points = np.stack(shape, axis=-1) * radius[..., None] + [128.2, -3.1, 4.0]
    points[:, -1], points[0], points[-1] = points[:, 0], points[0, 0], points[-1, 0]
    rows = np.arange(rings * rings).reshape(rings, rings)
    a, b, c, d = rows[:-1, :-1].ravel(), rows[1:, :-1].ravel(), rows[1:, 1:].ravel(), rows[:-1, 1:].ravel()
    return Mesh.of(points.reshape(-1, 3), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))


@pytest.mark.parametrize(("rings", "bits"), [(5, 9), (14, 9), (14, 16)])
def test_distances_to_a_mesh(rings: int, bits: int) -> None:
    pytest.importorskip("DracoPy")
    data = encode_mesh(_bumpy_ball(rings), bits)
    cells = np.array([(x, y, z) for x in range(14, 18) for y in range(-2, 1) for z in range(-1, 3)])
    origins = (cells * 8)[np.random.default_rng(0).permutation(len(cells))[:40]]
    expected = leaf_distances_to(decode_mesh(data), origins, threads=1)
    found = distances_to_mesh(data, [(x, y, z) for x, y, z in origins.tolist()])
    assert (expected < 0).sum() > 200
    assert found.tobytes() == expected.tobytes()
