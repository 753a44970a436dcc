"""Volumes through the lattice method and back: what is exact comes back exactly, every demand is met as measured."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.coding.bytestream import ByteReader
from fieldcodec.errors import FormatError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.procedural import level_set_of_function, sphere_level_set
from fieldcodec.grid.sparse_grid import STAGGERED, SparseGrid
from fieldcodec.metrics.quality import GridQuality
from fieldcodec.testing import samples
from fieldcodec.volume import lattice_codec, lattice_search
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.quality import Quality, parse_size


@cache
def dense(kind: str) -> SparseGrid:
    """Noisy fog or vectors, just large enough not to be stored as it is."""
    return samples.dense(kind)


def encoded(grid: SparseGrid, **quality: Any) -> CompressedVolume:
    return fc.encode_volume(grid, fc.VolumeSettings(quality=Quality(**quality)), device="cpu")


def round_trip(grid: SparseGrid, **quality: Any) -> tuple[CompressedGrid, SparseGrid, GridQuality]:
    """Through the bytes of a file; checks all that no demand may touch."""
    volume = encoded(grid, **quality)
    opened = CompressedVolume.from_bytes(volume.to_bytes())
    decoded = opened.to_grids(device="cpu")[0]
    assert isinstance(decoded, SparseGrid)
    assert_exact_but_for_values(grid, decoded)
    compressed = volume.grids[0]
    assert compressed.num_bytes == opened.grids[0].num_bytes
    assert compressed.goal_met
    return compressed, decoded, fc.compare_grids(grid, decoded)


def assert_exact_but_for_values(original: SparseGrid, decoded: SparseGrid) -> None:
    assert original.topology.equals(decoded.topology)
    inactive = ~original.topology.leaf_active_bits
    names = ("lower_tile_values", "upper_tile_values", "root_tile_values", "background")
    pairs = [(original.leaf_values[inactive], decoded.leaf_values[inactive])]
    pairs += [(getattr(original, name), getattr(decoded, name)) for name in names]
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()
    for name in ("name", "value_type", "transform", "metadata", "save_as_half"):
        assert getattr(original, name) == getattr(decoded, name)


def assert_bit_exact(original: SparseGrid, decoded: SparseGrid) -> None:
    assert decoded.leaf_values.dtype == original.leaf_values.dtype
    assert decoded.leaf_values.tobytes() == original.leaf_values.tobytes()


@pytest.fixture(scope="module")
def ball() -> SparseGrid:
    return sphere_level_set(12.0, centre=(0.3, -0.2, 0.15))


@pytest.fixture(scope="module")
def shell() -> SparseGrid:
    """A hollow ball whose wall is hardly thicker than a voxel."""
    centre, reach = np.array([0.3, -0.2, 0.15]), np.full(3, 20.0)
    return level_set_of_function(
        "shell", lambda p: np.abs(np.linalg.norm(p - centre, axis=1) - 14) - 0.7, -reach, reach, voxel_size=0.25
    )


def smooth(kind: str, scale: float = 1.0, offset: float = 0.0, **other: Any) -> SparseGrid:
    """A field without noise."""
    axes = np.meshgrid(*[np.linspace(0, 3, 20)] * 3, indexing="ij")
    wave = np.sin(axes[0] + 0.5) * np.cos(axes[1]) + 0.3 * np.sin(2 * axes[2])
    values = wave * scale + offset
    values = np.rint(values) if kind.startswith(("int", "uint")) else values
    return grid_of_dense(kind, values, wave > -0.4, origin=(-9, 5, 120), value_type=kind, **other)


@pytest.mark.parametrize(
    ("asked", "measured", "bound"), [({"mcd": 0.02}, "mcd", 0.02), ({"max_error": "0.01vx"}, "max_error", 0.01)]
)
def test_level_set_keeps_within_a_bound(ball: SparseGrid, asked: dict, measured: str, bound: float) -> None:
    compressed, _, quality = round_trip(ball, **asked)
    assert compressed.method == "lattice"
    assert 0.3 * bound < getattr(quality, measured) <= bound
    assert compressed.num_bytes < 4000


def test_level_set_reaches_an_overlap(ball: SparseGrid) -> None:
    compressed, _, quality = round_trip(ball, iou=0.995)
    assert compressed.method == "lattice"
    assert quality.iou >= 0.995
    assert compressed.num_bytes < 2000


def test_thin_walls_keep_their_interior_by_stored_signs(shell: SparseGrid) -> None:
    compressed, decoded, quality = round_trip(shell, iou=0.999, mcd=0.2)
    assert compressed.lattice.signs
    assert "signs" in compressed.sections
    assert str(compressed.lattice).endswith("signs")
    assert quality.iou == 1
    assert 0.02 < quality.mcd <= 0.2
    active = shell.topology.leaf_active_bits
    assert np.array_equal(shell.leaf_values[active] < 0, decoded.leaf_values[active] < 0)
    fine, _, _ = round_trip(shell, mcd=0.01)  # about what the overlap would take without stored signs
    assert compressed.num_bytes < 0.6 * fine.num_bytes


def test_an_overlap_alone_bounds_the_distance_too(shell: SparseGrid) -> None:
    _, _, quality = round_trip(shell, iou=0.999)
    assert quality.iou >= 0.999
    assert quality.mcd <= 0.25


def test_signs_are_not_stored_where_they_help_nothing(ball: SparseGrid) -> None:
    for asked in ({"iou": 0.99, "mcd": 0.01}, {"mcd": 0.05}, {"rmse": "2%"}):
        compressed, _, _ = round_trip(ball, **asked)
        assert "signs" not in compressed.sections


@pytest.mark.parametrize(("kind", "quality"), [("float", {"psnr": 40}), ("vec2s", {"psnr": 40})])
def test_a_network_refines_where_it_pays(kind: str, quality: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that is rounded away is what a network can guess; here it may be fitted to grids of any size."""
    grid = dense(kind)
    without, _, _ = round_trip(grid, **quality)
    assert not without.lattice.refined
    monkeypatch.setattr(lattice_search, "_WORTH_A_NETWORK", 0)
    compressed, _, _ = round_trip(grid, **quality)
    assert compressed.lattice.refined
    assert 100 < len(compressed.sections["refinement"]) < 700
    assert "refinement" in str(compressed.lattice)


def test_level_set_of_another_voxel_size_and_demands_together() -> None:
    grid = sphere_level_set(11.0, voxel_size=0.05)
    _, _, quality = round_trip(grid, mcd=0.05, max_error="0.2vx", iou=0.99, rmse="2%")
    assert quality.mcd <= 0.05
    assert quality.max_error <= 0.2 * 0.05
    assert quality.iou >= 0.99
    assert quality.rmse_relative <= 0.02


def test_default_quality_is_met(ball: SparseGrid) -> None:
    compressed, _, quality = round_trip(ball)
    assert 0 < quality.mcd <= 2 * fc.VolumeSettings().target_rmse
    assert str(compressed.lattice) == str(compressed.choices[0].candidate)
    assert compressed.lattice.banded
    assert compressed.lattice.guided
    assert set(compressed.sections) >= {"lattice coefficients", "leaf masks"}


@pytest.mark.parametrize("kind", ["half", "int64", "vec2s"])
def test_default_quality_is_met_for_other_values(kind: str) -> None:
    compressed, _, quality = round_trip(dense(kind))
    assert compressed.method == "lattice"
    assert 0 < quality.rmse_relative <= fc.VolumeSettings().target_rmse
    if dense(kind).channels > 1:
        assert_channels_follow_each_other(compressed, dense(kind))


def assert_channels_follow_each_other(compressed: CompressedGrid, grid: SparseGrid) -> None:
    spec, data = compressed.lattice, compressed.section("lattice coefficients")
    assert spec is not None
    reader = ByteReader(data, "test")
    assert all(reader.blob() for _ in range(grid.channels * len(spec.levels)))
    reader.end()
    numbers = lattice_codec.LatticeNumbers.decode(data, spec, grid.topology.leaf_origins, grid.background)
    fixed = numbers.fixed(slice(None))
    assert fixed.shape == (grid.channels, grid.topology.num_leaves, 512)
    assert fixed.dtype == np.int32


@pytest.mark.parametrize("kind", ["double", "int32"])
def test_hard_bounds_hold_for_every_voxel(kind: str) -> None:
    compressed, _, quality = round_trip(dense(kind), max_error="1%")
    assert compressed.method == "lattice"
    assert compressed.lattice.residual > 0
    assert 0.003 < quality.max_error_relative <= 0.01


def test_fog_reaches_every_psnr_with_more_and_more_bytes() -> None:
    sizes = []
    for psnr in (22, 45, 70):
        compressed, _, quality = round_trip(dense("float"), psnr=psnr)
        assert compressed.method == "lattice"
        assert psnr <= quality.psnr < psnr + 4
        sizes.append(compressed.num_bytes)
    assert sizes == sorted(sizes)


def test_staggered_vectors() -> None:
    grid = replace(dense("vec3s"), metadata=Metadata((MetaEntry.of("class", STAGGERED),)))
    compressed, decoded, quality = round_trip(grid, rmse="1%")
    assert compressed.method == "lattice"
    assert decoded.grid_class == STAGGERED
    assert quality.rmse_relative <= 0.01


def test_halves_in_the_file_stay_halves() -> None:
    values = dense("float").leaf_values.astype(np.float16).astype(np.float32)
    grid = replace(dense("float"), leaf_values=values, save_as_half=True)
    _, decoded, quality = round_trip(grid, max_error="1%")
    assert quality.max_error_relative <= 0.01
    assert np.array_equal(decoded.leaf_values.astype(np.float16).astype(np.float32), decoded.leaf_values)
    compressed, decoded, _ = round_trip(grid, lossless=True)
    assert_bit_exact(grid, decoded)
    assert compressed.lattice.exact == "f2"
    assert compressed.num_bytes < 2 * grid.topology.num_active_voxels


def test_sizes_are_kept_and_used(ball: SparseGrid) -> None:
    for grid, sizes in ((dense("float"), (2200, 6000)), (ball, ("2KB",))):
        errors = []
        for size in sizes:
            compressed, _, quality = round_trip(grid, size=size)
            assert 0.6 * parse_size(size) < compressed.num_bytes
            assert len(CompressedVolume((compressed,)).to_bytes()) <= parse_size(size)
            errors.append(quality.rmse)
        assert errors == sorted(errors, reverse=True)


def test_a_size_out_of_reach_is_missed_as_little_as_possible(ball: SparseGrid) -> None:
    for grid in (ball, samples.dense("float", side=10)):
        compressed = encoded(grid, size=100).grids[0]
        assert not compressed.goal_met
        assert compressed.num_bytes < 4000


@pytest.mark.parametrize("kind", ["double", "int32", "vec2s"])
def test_lossless_is_bit_exact(kind: str) -> None:
    compressed, decoded, quality = round_trip(dense(kind), lossless=True)
    assert_bit_exact(dense(kind), decoded)
    assert quality.is_exact
    assert compressed.num_bytes < 1.2 * dense(kind).active_values().nbytes


def test_lossless_keeps_the_sign_of_zero() -> None:
    grid = smooth("float")
    values = np.where(np.abs(grid.leaf_values) < 0.3, np.float32(-0.0), grid.leaf_values)
    grid = replace(grid, leaf_values=values)
    compressed, decoded, _ = round_trip(grid, lossless=True)
    assert compressed.method == "lattice"
    assert compressed.lattice.exact == "f4"
    assert_bit_exact(grid, decoded)


def test_lossless_takes_the_smallest_type_that_holds_the_values() -> None:
    half = smooth("double").leaf_values.astype(np.float16).astype(np.float64)
    grid = replace(smooth("double"), leaf_values=half)
    compressed, decoded, _ = round_trip(grid, lossless=True)
    assert compressed.lattice.exact == "f2"
    assert_bit_exact(grid, decoded)


@pytest.mark.parametrize(
    ("kind", "scale", "offset"), [("int64", 6e18, 0.0), ("int64", 1e15, -9e17), ("uint32", 1e9, 2e9)]
)
def test_lossless_holds_for_large_integers(kind: str, scale: float, offset: float) -> None:
    grid = smooth(kind, scale, offset)
    _, decoded, _ = round_trip(grid, lossless=True)
    assert_bit_exact(grid, decoded)


@pytest.mark.parametrize(
    ("grid", "bound"),
    [
        (smooth("double"), 1e-12),  # finer than the integers that a lattice is evaluated in
        (replace(smooth("float"), save_as_half=True), 1e-6),  # values that halves cannot hold
    ],
    ids=["double", "half"],
)
def test_bounds_beyond_what_a_lattice_can_promise_are_met_by_exact_values(grid: SparseGrid, bound: float) -> None:
    _, _, quality = round_trip(grid, max_error=bound)
    assert quality.max_error <= bound


def test_level_sets_without_a_crossing_keep_their_values() -> None:
    metadata = Metadata((MetaEntry.of("class", "level set"),))
    outside = replace(smooth("float", offset=2.0, background=3.0), metadata=metadata)
    unusual = replace(smooth("float", background=-3.0), metadata=metadata)
    for grid in (outside, unusual):
        assert round_trip(grid)[2].rmse_relative <= 0.03


def test_units_do_not_matter() -> None:
    plain, scaled = (round_trip(smooth("double", each), psnr=40)[0] for each in (1.0, 1e-30))
    assert scaled.num_bytes == pytest.approx(plain.num_bytes, rel=0.1)


def test_inactive_voxels_may_hold_anything(ball: SparseGrid) -> None:
    rng = np.random.default_rng(0)
    for grid in (dense("float"), ball):
        odd = rng.choice(np.array([np.nan, np.inf, -np.inf, 1e30, -0.0, 5.0], np.float32), grid.leaf_values.shape)
        active = grid.topology.leaf_active_bits[..., None]
        strange = replace(grid, leaf_values=np.where(active, grid.leaf_values, odd))
        _, _, quality = round_trip(strange, max_error="2%")
        assert quality.max_error_relative <= 0.02
        assert quality.inactive_differs == 0


def test_active_tiles_come_along() -> None:
    grid = dense("float")
    free = np.flatnonzero(~np.unpackbits(grid.topology.lower_child[0], bitorder="little").astype(bool))
    active = np.unpackbits(grid.topology.lower_active, axis=1, bitorder="little")
    active[0, free[:40]] = 1
    topology = replace(grid.topology, lower_active=np.packbits(active, axis=1, bitorder="little"))
    tiles = np.random.default_rng(1).normal(size=grid.lower_tile_values.shape).astype(np.float32)
    grid = replace(grid, topology=topology, lower_tile_values=tiles)
    compressed, _, quality = round_trip(grid, psnr=35)
    assert compressed.method == "lattice"
    assert quality.tile_max_error == 0


def test_leaves_far_apart() -> None:
    near, count = dense("float"), 2
    shift = np.array([[0, 0, 0], [2**30, -(2**30), 2**29]], np.int64)
    origins = np.concatenate([near.topology.leaf_origins + shift[i] for i in range(count)])
    grid = fc.grid.build.grid_of_leaves(
        "far", origins, np.tile(near.topology.leaf_active, (count, 1)), np.tile(near.leaf_values, (count, 1, 1))
    )
    compressed, _, quality = round_trip(grid, psnr=35)
    assert compressed.method == "lattice"
    assert quality.psnr >= 35


def test_encoding_repeats_bit_for_bit(ball: SparseGrid) -> None:
    first, again = (encoded(ball, max_error="1%").to_bytes() for _ in range(2))
    assert first == again


def test_damaged_sections_are_format_errors(ball: SparseGrid, shell: SparseGrid) -> None:
    """Behind the checksums: sections are taken as a hostile writer would give them."""
    rng = np.random.default_rng(2)
    coded = ((ball, {"max_error": "2%"}), (dense("int32"), {"lossless": True}), (shell, {"iou": 0.999, "mcd": 0.2}))
    for grid, quality in coded:
        whole = encoded(grid, **quality)
        compressed = whole.grids[0]
        for name in sorted(
            {"lattice coefficients", "leaf masks", "signs", "voxel residuals"} & set(compressed.sections)
        ):
            data = compressed.sections[name]
            wrong = [b"", data[:-1], data[: len(data) // 2]]
            for _ in range(2):
                flipped = bytearray(data)
                flipped[rng.integers(len(data))] ^= rng.integers(1, 256)
                wrong.append(bytes(flipped))
            for each in wrong:
                damaged = replace(compressed, sections={**compressed.sections, name: each})
                assert_refused_or_decoded(replace(whole, grids=(damaged,)))


def assert_refused_or_decoded(volume: CompressedVolume) -> None:
    """A section without redundancy may decode to other values, never to another topology or another error."""
    try:
        decoded = volume.to_grids(device="cpu")[0]
    except FormatError:
        return
    assert isinstance(decoded, SparseGrid)
    assert decoded.topology.num_active_voxels == volume.grids[0].active_voxels


@pytest.fixture(scope="module")
def plain(ball: SparseGrid) -> CompressedVolume:
    return encoded(ball, mcd=0.05)


@pytest.mark.parametrize("change", [
    {"exact": "f4"}, {"exact": "i4", "residual": 1}, {"residual": 7}, {"guided": False}, {"banded": False},
    {"signs": True}, {"signs": 1}, {"signs": True, "residual": 7}, {"signs": True, "banded": False},
    {"levels": [[2, 3, 64]] * 8}, {"levels": [[8, 3, 2**30]]}, {"unit": [5e-324]}, {"unit": [1e308]},
    {"low": [1e300], "high": [-1e300]}, {"low": [-1e308], "high": [1e308], "unit": [1e300]}, {"offset": [1e308]},
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_hostile_descriptions_never_crash(plain: CompressedVolume, change: dict) -> None:
    compressed = plain.grids[0]
    changed = replace(compressed, meta=compressed.meta | {"values": compressed.meta["values"] | change})
    assert_refused_or_decoded(replace(plain, grids=(changed,)))
