"""Points asked of a compressed volume: what the decoded volume says, with no more decoded than the points need."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

import fieldcodec as fc
from fieldcodec.cli import main
from fieldcodec.container.container import Container
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError, UnknownGridError, UnsupportedGridError, UsageError
from fieldcodec.field import Field
from fieldcodec.fit.refinement import RefinementOptions
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.procedural import level_set_of_function, smoke_fog
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.volume import lattice_encode, lattice_refinement, lattice_search, random_access
from fieldcodec.volume.compressed import CompressedVolume, open_volume
from fieldcodec.volume.lattice_choice import Candidate
from fieldcodec.volume.quality import Quality

GOLDEN = [
    path
    for path in sorted((Path(__file__).parents[2] / "golden").glob("*.fcodec"))
    if not path.stem.startswith(("sequence", "collection"))
]


def voxels_around(grid: SparseGrid) -> np.ndarray:
    """[n, 3]: every voxel of all leaves, shuffled, and some beside them."""
    origins = grid.topology.leaf_origins
    inside = (origins[:, None] + np.stack(np.unravel_index(np.arange(512), (8, 8, 8)), axis=1)).reshape(-1, 3)
    rng = np.random.default_rng(0)
    return rng.permutation(np.concatenate([inside, inside[:50] + 4096, rng.integers(-300, 300, (50, 3))]))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_voxel_is_that_of_the_decoded_grid(path: Path) -> None:
    compressed = open_volume(path)
    for number, decoded in enumerate(compressed.to_grids(device="cpu")):
        if not isinstance(decoded, SparseGrid):
            continue
        access = compressed.access(number, device="cpu")
        voxels = voxels_around(decoded)
        asked = {"space": "index", "interpolation": "nearest"}
        found, wanted = access.sample(voxels, **asked), decoded.sample(voxels, **asked)
        exact = compressed.grids[number].method != "network" or compressed.grids[number].guiding_network is not None
        if exact:
            assert found.tobytes() == wanted.tobytes()
        else:
            np.testing.assert_allclose(found, wanted, rtol=0, atol=max(1e-5 * np.ptp(wanted), wanted.dtype.kind == "i"))
        assert access.topology.equals(decoded.topology)
        assert np.array_equal(access.active_at(voxels, **asked), decoded.active_at(voxels, **asked))


def bumps(side: int) -> SparseGrid:
    """Fog in some hundred leaves of several lower nodes."""
    axes = np.meshgrid(*[np.arange(side)] * 3, indexing="ij")
    values = np.sin(axes[0] / 7) * np.cos(axes[1] / 9) + 0.4 * np.sin(axes[2] / 5)
    noisy = values + 0.02 * np.random.default_rng(1).normal(size=values.shape)
    return grid_of_dense("fog", noisy, values > -0.1, origin=(100, -30, 4080), grid_class="fog volume")


def walls() -> SparseGrid:
    """A thin shell, whose signs are hard to tell."""
    reach = np.full(3, 24.0)
    return level_set_of_function("walls", lambda p: np.abs(np.linalg.norm(p, axis=1) - 18) - 0.6, -reach, reach)


@cache
def compressed_in_groups(name: str) -> CompressedVolume:
    """Residuals in groups of few leaves, with refinement or signs."""
    surface = name == "signs"
    candidate = Candidate(
        ((8, 3, 3.0),), residual=True, refined=name == "refined", signs=surface
    )  # fmt: skip
    quality = Quality(iou=0.97) if surface else Quality(lossless=True) if name == "exact" else Quality(rmse="3%")
    with pytest.MonkeyPatch.context() as patch:
        for each in ("_SURFACE", "_OTHER", "_BOUNDED"):
            patch.setattr(lattice_search, each, (candidate,))
        options = partial(RefinementOptions, steps=200, again=50)
        patch.setattr(lattice_refinement, "RefinementOptions", options)
        few = partial(lattice_encode.encode_residuals, group_leaves=8)
        patch.setattr(lattice_encode, "encode_residuals", few)
        grid = walls() if surface else bumps(60 if name == "exact" else 40)
        volume = fc.encode_volume(grid, fc.VolumeSettings(quality=quality), device="cpu")
    return CompressedVolume.from_bytes(volume.to_bytes())


@pytest.mark.parametrize("name", ["plain", "refined", "signs", "exact"])
def test_groups_decode_alone(name: str) -> None:
    compressed = compressed_in_groups(name)
    spec = compressed[0].lattice
    assert spec is not None
    assert spec.residual > 0
    assert (spec.refined, spec.signs, spec.exact != "") == (name == "refined", name == "signs", name == "exact")
    decoded = compressed.to_grids(device="cpu")[0]
    access = compressed.access(device="cpu", cache_bytes=1 << 20)
    rng = np.random.default_rng(0)
    low, high = decoded.topology.active_bounds
    for count in (1, 3, 4000):
        points = rng.uniform(low - 2, high + 2, (count, 3))
        for interpolation in ("nearest", "trilinear", "tricubic"):
            asked = {"space": "index", "interpolation": interpolation}
            assert access.sample(points, **asked).tobytes() == decoded.sample(points, **asked).tobytes()


def test_only_what_points_need_is_decoded() -> None:
    compressed = compressed_in_groups("plain")
    access = compressed.access(device="cpu")
    origin = access.topology.leaf_origins[5]
    assert access.pool.decoded == 0
    access.sample(origin[None] + 3, space="index")
    assert access.pool.decoded == 1
    access.sample(np.repeat(origin[None] + 3.25, 100, axis=0), space="index")
    assert access.pool.decoded == 1
    access.sample(origin[None] + 5000, space="index")
    assert access.pool.decoded == 1
    access.sample(access.topology.leaf_origins + 3, space="index", interpolation="nearest")
    assert access.pool.decoded == access.topology.num_leaves


def test_memory_is_bounded_and_the_oldest_leaves_go() -> None:
    compressed = compressed_in_groups("plain")
    access = compressed.access(device="cpu", cache_bytes=0)
    leaves, capacity = access.topology.num_leaves, access.pool.capacity
    assert capacity == random_access._FEWEST_LEAVES < leaves
    middles = access.topology.leaf_origins + 3.5
    access.sample(middles[:1], space="index")
    for start in range(1, capacity):
        access.sample(middles[start : start + 1], space="index")
    access.sample(middles[:1], space="index")  # used again: now leaf 1 is the oldest
    assert access.pool.decoded == capacity
    access.sample(middles[capacity : capacity + 1], space="index")
    access.sample(middles[:1], space="index")
    assert access.pool.decoded == capacity + 1
    access.sample(middles[1:2], space="index")
    assert access.pool.decoded == capacity + 2
    decoded = compressed.to_grids(device="cpu")[0]
    points = np.random.default_rng(4).permutation(np.repeat(middles, 3, axis=0))
    assert np.array_equal(access.sample(points, space="index"), decoded.sample(points, space="index"))


def test_volumes_are_fields() -> None:
    compressed = compressed_in_groups("plain")
    decoded = compressed.to_grids(device="cpu")[0]
    assert isinstance(compressed, Field)
    assert isinstance(compressed.access(device="cpu"), Field)
    assert np.array_equal(compressed.bounds, decoded.bounds)
    points = torch.from_numpy(np.random.default_rng(5).uniform(*decoded.bounds, (4, 25, 3))).float()
    for found in (
        compressed.sample(points),
        compressed.sample(points, grid="fog"),
        compressed.access(0).sample(points),
    ):
        assert isinstance(found, torch.Tensor)
        assert torch.equal(found, decoded.sample(points))


def test_instances_have_transforms_of_their_own() -> None:
    path = next(path for path in GOLDEN if path.stem == "several_grids")
    compressed = open_volume(path)
    decoded = compressed.to_grids(device="cpu")
    first, second = (compressed.access(name, device="cpu") for name in (decoded[1].name, decoded[2].name))
    voxel = decoded[1].topology.active_voxels()[:1]
    for access, grid in ((first, decoded[1]), (second, decoded[2])):
        world = grid.transform.to_world(voxel)
        assert access.sample(world, interpolation="nearest") == grid.sample(world, interpolation="nearest")
    with pytest.raises(UnsupportedGridError, match="byte for byte"):
        compressed.access(0)


def test_what_is_not_there_is_named() -> None:
    compressed = compressed_in_groups("plain")
    with pytest.raises(UnknownGridError, match="1 grids"):
        compressed.access(1)
    with pytest.raises(UnknownGridError, match="'fog'"):
        compressed.sample(np.zeros((1, 3)), grid="smoke")
    with pytest.raises(UsageError, match="nearest, trilinear, tricubic"):
        compressed.sample(np.zeros((1, 3)), interpolation="best")


def test_damage_shows_when_it_is_met() -> None:
    grid = compressed_in_groups("plain").grids[0]
    data = bytearray(grid.sections["voxel residuals"])
    del data[-20:]
    access = CompressedVolume((replace(grid, sections={**grid.sections, "voxel residuals": bytes(data)}),)).access()
    with pytest.raises(FormatError, match="residuals"):
        access.sample(access.topology.leaf_origins + 1, space="index")


def test_a_region_decodes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = compressed_in_groups("refined")
    whole = compressed.to_grids(device="cpu")[0]
    low, high = [110, -12, 4083], [121, 6, 4100]
    points = np.random.default_rng(0).integers(np.array(low) - 9, np.array(high) + 10, (3000, 3))
    inside = np.all((points >= low) & (points <= high), axis=1)
    asked = {"space": "index", "interpolation": "nearest"}
    wanted = np.where(inside[:, None], whole.sample(points, **asked), whole.background)
    access = compressed.access(device="cpu")
    for part in (compressed.to_grids(bbox=[*low, *high], device="cpu")[0], access.to_grid(bbox=(low, high))):
        assert part.topology.num_leaves < whole.topology.num_leaves / 2
        assert part.sample(points, **asked).tobytes() == wanted.tobytes()
        assert np.array_equal(part.active_at(points, **asked), whole.active_at(points, **asked) & inside)
    assert np.array_equal(access.to_grid().leaf_values, whole.leaf_values)


def test_no_region_of_carried_grids() -> None:
    compressed = open_volume(next(path for path in GOLDEN if path.stem == "several_grids"))
    with pytest.raises(UnsupportedGridError, match="name the other grids"):
        compressed.to_grids(bbox=[0, 0, 0, 1, 1, 1])


def test_the_command_decodes_a_region(tmp_path: Path) -> None:
    compressed_in_groups("plain").save(tmp_path / "fog.fcodec")
    source, target = str(tmp_path / "fog.fcodec"), tmp_path / "part.vdb"
    assert main(["decode", source, "-o", str(target), "--bbox=104,-8,4090,119,7,4105"]) == 0
    part = fc.read_volumes(target)[0]
    voxels = compressed_in_groups("plain").access(device="cpu").topology.active_voxels()
    inside = np.all((voxels >= [104, -8, 4090]) & (voxels <= [119, 7, 4105]), axis=1)
    assert part.topology.num_active_voxels == inside.sum() > 0
    assert main(["decode", source, "-o", str(tmp_path / "b.vdb"), "--bbox=1,2,three"]) == 2
    assert main(["decode", source, "-o", str(tmp_path / "b.vdb"), "--bbox=1,2,3"]) == 2


def test_a_file_is_read_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compressed_in_groups("plain").save(tmp_path / "fog.fcodec")
    read: list[int] = []
    original = Container.read

    def counted(self: Container, id: int, *others: int) -> bytes:
        read.append(id)
        return original(self, id, *others)

    monkeypatch.setattr(Container, "read", counted)
    opened = open_volume(tmp_path / "fog.fcodec")
    assert set(read) == {SectionId.META}
    access = opened.access(device="cpu")
    assert SectionId.LATTICE in read
    access.sample(access.topology.leaf_origins[:1] + 5000, space="index")
    assert SectionId.VOXEL_RESIDUALS not in read
    access.sample(access.topology.leaf_origins[:1] + 2, space="index")
    assert SectionId.VOXEL_RESIDUALS in read


def test_levels_are_those_of_the_decoded_grid() -> None:
    volume = fc.encode_volume(smoke_fog(24), fc.VolumeSettings(), device="cpu")
    whole, half = volume.to_grids()[0], volume.to_grids(level=1)[0]
    expected = coarsened(whole, 1)
    assert half.topology.equals(expected.topology)
    assert np.array_equal(half.leaf_values, expected.leaf_values)
    for level in (-1, 5):
        with pytest.raises(UsageError, match="does not exist"):
            volume.to_grids(level=level)


def test_the_command_decodes_a_level(tmp_path: Path) -> None:
    path = tmp_path / "smoke.fcodec"
    fc.encode_volume(smoke_fog(24), fc.VolumeSettings(), device="cpu").save(path)
    assert main(["decode", str(path), "-o", str(tmp_path / "half.vdb"), "--level", "1"]) == 0
    half = fc.read_volumes(tmp_path / "half.vdb")[0]
    assert half.transform.voxel_size.tolist() == [2.0, 2.0, 2.0]


def test_a_complete_pool_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = compressed_in_groups("plain")
    whole, access = compressed.to_grids(device="cpu")[0], compressed.access(device="cpu")
    voxels = voxels_around(whole).astype(float) + 0.3
    first = access.sample(voxels[:3], space="index")
    assert not access.pool.is_complete
    found = access.sample(voxels, space="index")
    assert access.pool.is_complete
    monkeypatch.setattr(random_access.LeafPool, "load", None)
    assert (
        access.sample(voxels, space="index").tobytes()
        == found.tobytes()
        == whole.sample(voxels, space="index").tobytes()
    )
    assert found[: len(first)].tobytes() == first.tobytes()
    tight = compressed.access(device="cpu", cache_bytes=1)
    monkeypatch.undo()
    tight.sample(voxels, space="index")
    assert tight.pool.is_complete == (tight.pool.capacity == whole.topology.num_leaves)


@pytest.mark.parametrize("count", [2, 9])
def test_inactive_values_of_a_palette(count: int) -> None:
    fog = bumps(24)
    values = fog.leaf_values.copy()
    inactive = ~fog.topology.leaf_active_bits
    values[inactive, 0] = np.random.default_rng(0).integers(0, count, inactive.sum()) * -0.5
    compressed = fc.encode_volume(replace(fog, leaf_values=values), fc.VolumeSettings(), device="cpu")
    access = compressed.access(device="cpu")
    voxels = voxels_around(fog)
    asked = {"space": "index", "interpolation": "nearest"}
    wanted = compressed.to_grids(device="cpu")[0].sample(voxels, **asked)
    assert access.sample(voxels, **asked).tobytes() == wanted.tobytes()
    local = access.topology.leaf_table.find(voxels & ~7)
    states = access.active_at(voxels, **asked)
    assert set(np.unique(wanted[~states & (local >= 0)])) == {-0.5 * entry for entry in range(count)}
