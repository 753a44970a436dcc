"""Coarse levels straight from a compressed file."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.errors import FormatError, UnsupportedGridError, UsageError
from fieldcodec.grid import coarsen
from fieldcodec.grid.coarsen import coarsened, distance_at_level
from fieldcodec.grid.procedural import smoke_fog, sphere_level_set, torus_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.lattice.means import leaf_means
from fieldcodec.lattice.operator import Lattice
from fieldcodec.metrics.ssim import ssim
from fieldcodec.volume import partial
from fieldcodec.volume.compressed import CompressedVolume, open_volume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.level_of_detail import has_own_distance
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.sections import STORED_LEVEL

GOLDEN = [
    path
    for path in sorted((Path(__file__).parents[2] / "golden").glob("*.fcodec"))
    if not path.stem.startswith(("sequence", "collection", "stored_level"))  # a stored level is the file's own word
]


@cache
def torus() -> CompressedVolume:
    """A level set held by lattices alone."""
    grid = torus_level_set(30.0, 12.0, name="ring")
    settings = fc.VolumeSettings(quality=Quality(iou=0.99, mcd=0.2))
    return fc.encode_volume(grid, settings, device="cpu")


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize(("stride", "degree"), [(2, 1), (3, 3), (8, 3), (16, 3)])
def test_means_are_those_of_the_voxels(stride: int, degree: int, level: int) -> None:
    origins = np.array([[0, 0, 0], [0, 0, 8], [0, 8, 16], [-8, 16, 8]], np.int32)
    lattice = Lattice.over(origins, stride, degree)
    coefficients = np.random.default_rng(3).integers(-1000, 1000, len(lattice))
    cells, side = 8 >> level, 1 << level
    cubes = lattice.evaluate(coefficients).reshape(-1, cells, side, cells, side, cells, side)
    expected = cubes.mean(axis=(2, 4, 6)).reshape(len(origins), -1)
    np.testing.assert_allclose(leaf_means(lattice, coefficients, level), expected, atol=1e-3)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_levels_of_all_kinds_of_values(path: Path) -> None:
    compressed = open_volume(path)
    for number, whole in enumerate(compressed.to_grids(device="cpu")):
        if not isinstance(whole, SparseGrid) or has_own_distance(compressed.grids[number]):
            continue
        expected, found = coarsened(whole, 1), compressed.to_grids([number], level=1, device="cpu")[0]
        assert isinstance(found, SparseGrid)
        assert found.topology.equals(expected.topology)
        assert found.transform == expected.transform
        if compressed.grids[number].method != "network":
            assert found.leaf_values.tobytes() == expected.leaf_values.tobytes()
        else:  # up to the last digits of floating point
            tolerance = 1e-5 * float(np.ptp(expected.leaf_values))
            np.testing.assert_allclose(found.leaf_values, expected.leaf_values, rtol=0, atol=tolerance)


@pytest.mark.parametrize("budget", [0, 64 << 20])
def test_levels_of_fog_do_not_look_at_inactive_values(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    fog = smoke_fog(32)
    values = np.where(fog.topology.leaf_active_bits[..., None], fog.leaf_values, np.float32(0.125))
    compressed = fc.encode_volume(replace(fog, leaf_values=values), fc.VolumeSettings(quality=Quality(psnr=40)))
    expected = coarsened(compressed.to_grids()[0], 2)
    sections = {name: data for name, data in compressed.grids[0].sections.items() if name != "inactive voxels"}
    without = CompressedVolume((CompressedGrid(compressed.grids[0].meta, sections),))
    with pytest.raises(FormatError):
        without.to_grids()
    monkeypatch.setattr(partial, "_GROUP_BYTES", budget)
    found = without.to_grids(level=2)[0]
    assert isinstance(found, SparseGrid)
    assert found.topology.equals(expected.topology)
    assert found.leaf_values.tobytes() == expected.leaf_values.tobytes()


@pytest.mark.parametrize("level", [1, 2, 3])
def test_distance_of_a_level_set_needs_no_states(level: int) -> None:
    compressed = torus()
    assert has_own_distance(compressed.grids[0])
    sections = {name: data for name, data in compressed.grids[0].sections.items() if name != "leaf masks"}
    without = CompressedVolume((CompressedGrid(compressed.grids[0].meta, sections),))
    found, expected = without.to_grids(level=level)[0], coarsened(compressed.to_grids()[0], level)
    assert isinstance(found, SparseGrid)
    assert found.transform == expected.transform
    assert found.is_level_set
    voxels = expected.topology.active_voxels().astype(float)
    asked = {"space": "index", "interpolation": "nearest"}
    error = np.abs(found.sample(voxels, **asked) - expected.sample(voxels, **asked)) / found.transform.voxel_size[0]
    near = np.abs(expected.sample(voxels, **asked)) < found.transform.voxel_size[0]
    assert np.sqrt(np.mean(np.square(error))) < 0.08
    assert error[near].max() < 0.15
    assert found.topology.num_active_voxels == pytest.approx(
        expected.topology.num_active_voxels, rel=0.02 if level < 3 else 0.1
    )


def test_distance_of_a_coded_mesh() -> None:
    compressed = open_volume(next(path for path in GOLDEN if path.stem == "lattice_mesh"))
    assert has_own_distance(compressed.grids[0])
    found, expected = compressed.to_grids(level=1)[0], coarsened(compressed.to_grids()[0], 1)
    voxels = expected.topology.active_voxels().astype(float)
    error = np.abs(found.sample(voxels, space="index") - expected.sample(voxels, space="index"))
    assert error.max() < 0.2 * found.transform.voxel_size[0]


def test_means_of_exact_distances_give_the_level_itself() -> None:
    ball = sphere_level_set(40.0, voxel_size=0.5)
    for level in (1, 2):
        cells, side = 8 >> level, 1 << level
        local = np.stack(list(np.ndindex(cells, cells, cells))) * side + (side - 1) / 2
        places = ball.topology.leaf_origins[:, None] + local
        means = np.linalg.norm(ball.transform.to_world(places.reshape(-1, 3)), axis=1) - 20.0
        nothing = np.zeros_like(ball.leaf_values)
        found = distance_at_level(replace(ball, leaf_values=nothing), means.reshape(-1, cells**3), level)
        voxels = found.topology.active_voxels()
        truth = np.linalg.norm(found.transform.to_world(voxels), axis=1) - 20.0
        error = np.abs(found.active_values()[:, 0] - truth) / found.transform.voxel_size[0]
        assert error.max() < 0.25
        assert found.background[0] == ball.background[0] * side
        assert len(voxels) == pytest.approx(coarsened(ball, level).topology.num_active_voxels, rel=0.02)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = torus().to_grids()[0]
    assert isinstance(grid, SparseGrid)
    expected = coarsened(grid, 1)
    monkeypatch.setattr(coarsen, "_LEAVES_AT_ONCE", 4)
    asked = []

    def leaves(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        assert np.all(np.diff(rows) > 0)
        return grid.leaf_values[rows]

    nothing = np.broadcast_to(np.zeros((), np.float32), grid.leaf_values.shape)
    found = coarsened(replace(grid, leaf_values=nothing), 1, leaves)
    assert found.leaf_values.tobytes() == expected.leaf_values.tobytes()
    assert max(asked) <= 32
    assert sum(asked) == grid.topology.num_leaves


def _level_in_box(box: list[int], level: int) -> tuple[np.ndarray, np.ndarray]:
    """Coarse voxels [n, 3] in and around a box, and which of them have a part in it: told by counting fine voxels."""
    side = 1 << level
    low, high = np.array(box[:3]), np.array(box[3:])
    covered = {tuple(voxel // side) for voxel in np.stack(list(np.ndindex(*(high - low + 1)))) + low}
    first, last = np.array(min(covered)), np.array(max(covered))
    voxels = np.stack(list(np.ndindex(*(last - first + 5)))) + first - 2
    return voxels, np.array([tuple(voxel) in covered for voxel in voxels])


def _assert_cut(found: SparseGrid, whole: SparseGrid, box: list[int], level: int, tolerance: float = 0.0) -> None:
    """In the box the voxels are those of the whole level; around it nothing is."""
    voxels, inside = _level_in_box(box, level)
    points, asked = voxels.astype(float), {"space": "index", "interpolation": "nearest"}
    states = whole.active_at(points, space="index") & inside
    assert states.any()
    assert np.array_equal(found.active_at(points, space="index"), states)
    expected = np.where(inside[:, None], whole.sample(points, **asked), whole.background)
    np.testing.assert_allclose(found.sample(points, **asked), expected, rtol=0, atol=tolerance)
    assert found.topology.num_active_voxels == states.sum()
    assert found.transform == whole.transform
    assert np.array_equal(found.background, whole.background)


@cache
def fog(stored_level: int = 0) -> CompressedVolume:
    settings = fc.VolumeSettings(quality=Quality(psnr=40), stored_level=stored_level)
    return fc.encode_volume(smoke_fog(32), settings, device="cpu")


@cache
def ball() -> CompressedVolume:
    """A level set with states and residuals."""
    return fc.encode_volume(sphere_level_set(9.0), fc.VolumeSettings(quality=Quality(lossless=True)), device="cpu")


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_box_of_a_level_is_cut_out_of_the_level(level: int) -> None:
    for compressed, box in (
        (fog(), [9, 13, 7, 22, 39, 25]),
        (fog(stored_level=1), [9, 13, 7, 22, 39, 25]),
        (torus(), [5, -11, -7, 41, 13, 10]),
        (ball(), [1, -6, -5, 12, 4, 9]),
    ):
        whole, found = compressed.to_grids(level=level)[0], compressed.to_grids(level=level, bbox=box)[0]
        assert isinstance(whole, SparseGrid)
        assert isinstance(found, SparseGrid)
        _assert_cut(found, whole, box, level)


def test_a_box_of_whole_coarse_voxels_is_the_decoded_box_made_coarser() -> None:
    box = [8, 12, 4, 23, 39, 27]
    expected, found = coarsened(fog().to_grids(bbox=box)[0], 2), fog().to_grids(bbox=box, level=2)[0]
    assert isinstance(found, SparseGrid)
    assert found.topology.equals(expected.topology)
    assert found.topology.num_active_voxels > 20
    active = expected.topology.leaf_active_bits
    assert np.array_equal(found.leaf_values[active], expected.leaf_values[active])
    assert expected.active_values().max() > 0


def test_a_box_of_a_level_decodes_what_it_needs(decoded_leaves: list[int]) -> None:
    fog().to_grids(bbox=[16, 32, 16, 23, 39, 23], level=2)
    assert sum(decoded_leaves) == 1
    sections = {name: data for name, data in torus().grids[0].sections.items() if name != "leaf masks"}
    without = CompressedVolume((CompressedGrid(torus().grids[0].meta, sections),))
    assert without.to_grids(bbox=[5, -11, -7, 41, 13, 10], level=1)[0].topology.num_leaves
    kept = fog(stored_level=1).grids[0]
    alone = {name: data for name, data in kept.sections.items() if name == STORED_LEVEL}
    decoded_leaves.clear()
    for level in (1, 2):
        CompressedVolume((CompressedGrid(kept.meta, alone),)).to_grids(bbox=[16, 32, 16, 23, 39, 23], level=level)
    assert sum(decoded_leaves) == 2


def test_refused_levels() -> None:
    with pytest.raises(UsageError, match="level 5"):
        torus().to_grids(level=5)
    ball = sphere_level_set(10.0)
    with pytest.raises(UsageError, match="level"):
        distance_at_level(ball, np.zeros((ball.topology.num_leaves, 64)), 0)
    opaque = CompressedVolume((CompressedGrid({"name": "points", "opaque": {}}, {}),))
    with pytest.raises(UnsupportedGridError, match="no coarser form"):
        opaque.to_grids(level=1)
    with pytest.raises(UnsupportedGridError, match="no coarser form"):
        opaque.to_grids(level=1, bbox=[0, 0, 0, 1, 1, 1])


def test_a_picture_of_a_surface_needs_no_states() -> None:
    compressed = torus()
    sections = {name: data for name, data in compressed.grids[0].sections.items() if name != "leaf masks"}
    without = CompressedVolume((CompressedGrid(compressed.grids[0].meta, sections),))
    surface, whole = without.drawn(surface=True), compressed.to_grids()[0]
    assert isinstance(whole, SparseGrid)
    np.testing.assert_array_equal(surface.topology.active_bounds, whole.topology.active_bounds)
    assert np.mean((surface.leaf_values < 0) != (whole.leaf_values < 0)) < 1e-4
    both = surface.topology.leaf_active_bits & whole.topology.leaf_active_bits
    assert both.sum() > 0.98 * whole.topology.num_active_voxels
    assert np.array_equal(surface.leaf_values[both], whole.leaf_values[both])
    camera = fc.Camera(position=(90.0, 70.0, 110.0), look_at=(0.0, 0.0, 0.0), width=64, height=64)
    assert ssim(fc.render(without, camera), fc.render(whole, camera)) > 0.999
    assert compressed.drawn().topology.equals(whole.topology)


def test_the_drawn_grid_is_chosen_without_decoding_others() -> None:
    small, large = sphere_level_set(5.0, name="small"), sphere_level_set(9.0, name="large")
    compressed = fc.encode_volume(fc.VolumeFile((small, large)), fc.VolumeSettings(), device="cpu")
    nothing = CompressedGrid(compressed.grids[0].meta, {})
    assert CompressedVolume((nothing, compressed.grids[1])).drawn().name == "large"
    assert compressed.drawn([0]).name == "small"
    points = CompressedGrid({"name": "points", "opaque": {}}, {})
    with pytest.raises(UnsupportedGridError, match="can be drawn"):
        CompressedVolume((points,)).drawn()
