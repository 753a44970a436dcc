"""Motion compensation: whole voxels bit by bit, everything else against a slow implementation with exact fractions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fieldcodec.coding.neighbours import cells_and_table
from fieldcodec.grid import masks
from fieldcodec.lattice.operator import MAX_FIXED, Lattice
from fieldcodec.lattice.slope_kernels import slopes_at_rest
from fieldcodec.lattice.warp import MAX_MOTION, PLACE_ONE, Earlier, motion_at
from fieldcodec.testing.oracle import warp as oracle

ORIGINS = np.array([(0, 0, 0), (0, 0, 8), (0, 8, 8), (8, 0, 8), (-8, -8, -8), (40, 0, 0)], np.int32)
FILL = np.array([77], np.int32)
HALF_WIDTH = np.array([60_000], np.int32)  # what distances have in the place of a fill


def voxels(origins: np.ndarray) -> np.ndarray:
    """[n, 512, 3]"""
    return origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2)


def block(side: int) -> np.ndarray:
    """Origins of side^3 leaves from (0, 0, 0) on."""
    return (np.array(list(np.ndindex(side, side, side))) * 8).astype(np.int32)


def random_earlier(channels: int = 1, *, distances: bool = False) -> Earlier:
    numbers = np.random.default_rng(1).integers(-100_000, 100_000, (channels, len(ORIGINS), 512)).astype(np.int32)
    return Earlier(ORIGINS, numbers, np.repeat(HALF_WIDTH if distances else FILL, channels), distances)


def random_motion(spread: float, seed: int = 2) -> np.ndarray:
    """[3, 6, 512] in 1/1024 voxel, whose leaves go different ways."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-9, 9, (3, len(ORIGINS), 1)) * PLACE_ONE
    return (whole + rng.uniform(-spread, spread, (3, len(ORIGINS), 512)) * PLACE_ONE).astype(np.int32)


def slowly(earlier: Earlier, channel: int) -> oracle.Earlier:
    leaves = dict(zip(map(tuple, earlier.origins.tolist()), earlier.numbers[channel].astype(np.int64), strict=True))
    return oracle.Earlier(leaves, int(earlier.fill[channel]), earlier.distances)


@pytest.mark.parametrize("distances", [False, True])
def test_no_motion_gives_the_numbers(distances: bool) -> None:
    earlier = random_earlier(3, distances=distances)
    nothing = np.zeros((3, len(ORIGINS), 512), np.int32)
    assert np.array_equal(earlier.at(ORIGINS, nothing), earlier.numbers)


@pytest.mark.parametrize("shift", [(1, 0, 0), (-3, 5, -8), (16, -9, 7)])
def test_whole_voxels_shift_the_numbers(shift: tuple[int, int, int]) -> None:
    origins = block(3)
    volume = np.random.default_rng(0).integers(-MAX_FIXED, MAX_FIXED, (24, 24, 24)).astype(np.int32)
    earlier = Earlier(origins, volume[tuple(np.moveaxis(voxels(origins), -1, 0))][None], FILL, distances=False)
    motion = np.broadcast_to(np.array(shift, np.int32)[:, None, None] * PLACE_ONE, (3, len(origins), 512))
    found = earlier.at(origins, motion)[0]
    places = voxels(origins) + shift
    inside = ((places >= 0) & (places < 24)).all(axis=2)
    assert 0 < inside.sum() < inside.size
    assert np.array_equal(found[inside], volume[tuple(places[inside].T)])
    beyond = ((places < -2) | (places > 26)).any(axis=2)
    assert (found[beyond] == FILL).all()


@pytest.mark.parametrize("distances", [False, True])
@pytest.mark.parametrize("spread", [0.5, 4.0, 30.0])
def test_agrees_with_a_slow_implementation(spread: float, distances: bool) -> None:
    """Leaves beside and without others, motions of one leaf that are farther apart than its window is wide."""
    earlier, motion = random_earlier(2, distances=distances), random_motion(spread)
    found = earlier.at(ORIGINS, motion)
    for channel in range(2):
        expected = slowly(earlier, channel).at([tuple(origin) for origin in ORIGINS.tolist()], motion)
        assert np.array_equal(found[channel], expected)


def test_the_largest_numbers_and_motions_stay_within_limits() -> None:
    numbers = np.random.default_rng(1).integers(-MAX_FIXED, MAX_FIXED, (1, len(ORIGINS), 512)).astype(np.int32)
    earlier = Earlier(ORIGINS, numbers, np.array([-MAX_FIXED], np.int32), distances=True)
    motion = random_motion(1.0)
    motion[:, 0], motion[:, 1] = 2**31 - 1, -(2**31)
    found = earlier.at(ORIGINS, motion)[0]
    expected = slowly(earlier, 0).at([tuple(origin) for origin in ORIGINS.tolist()], motion)
    assert np.array_equal(found, expected)
    assert np.abs(found).max() <= MAX_FIXED
    clipped = motion.clip(-MAX_MOTION, MAX_MOTION)
    assert np.array_equal(found, earlier.at(ORIGINS, clipped)[0])


def test_nothing_before_leaves_the_fill() -> None:
    empty = Earlier(np.zeros((0, 3), np.int32), np.zeros((1, 0, 512), np.int32), HALF_WIDTH, distances=True)
    assert (empty.at(ORIGINS, random_motion(2.0)) == HALF_WIDTH).all()
    earlier = random_earlier()
    assert earlier.at(ORIGINS[:0], np.zeros((3, 0, 512), np.int32)).shape == (1, 0, 512)


@pytest.mark.parametrize("growth", [-0.25, 0.5])
def test_distances_of_a_plane_stretch_with_space(growth: float) -> None:
    """Space that is drawn out along x: 1000 numbers a voxel stay 1000 numbers a voxel."""
    origins = block(3)
    plane = (voxels(origins)[..., 0] * 1000 - 9000).astype(np.int32)
    earlier = Earlier(origins, plane[None], HALF_WIDTH, distances=True)
    centre = origins[13:14]  # in the middle of the block
    x = voxels(centre)[..., 0]
    motion = np.zeros((3, 1, 512), np.int32)
    motion[0] = np.rint((x - 9) * growth * PLACE_ONE)
    assert np.array_equal(earlier.at(centre, motion)[0], plane[13:14])
    rigid = Earlier(origins, plane[None], FILL, distances=False)
    assert np.array_equal(rigid.at(centre, motion)[0], np.rint((x - 9) * (1 + growth) * 1000))


def test_distances_go_on_where_there_are_no_leaves() -> None:
    plane = voxels(ORIGINS[:1])[..., 2] * 100 + 7
    earlier = Earlier(ORIGINS[:1], plane[None].astype(np.int32), HALF_WIDTH, distances=True)
    motion = np.zeros((3, 1, 512), np.int32)
    motion[2] = 6 * PLACE_ONE
    assert np.array_equal(earlier.at(ORIGINS[:1], motion)[0], plane + 600)
    motion[2] = 40 * PLACE_ONE  # farther than numbers are looked for
    assert (earlier.at(ORIGINS[:1], motion) == HALF_WIDTH).all()


def test_distances_stay_within_some_half_widths() -> None:
    plane = voxels(ORIGINS[:1])[..., 2] * 100 - 350
    narrow = Earlier(ORIGINS[:1], plane[None].astype(np.int32), np.array([-50], np.int32), distances=True)
    most = narrow.limit(0)
    assert 100 <= most < 350
    found = narrow.at(ORIGINS[:1], np.zeros((3, 1, 512), np.int32))[0]
    assert np.array_equal(found, plane.clip(-most, most))
    assert random_earlier().limit(0) == MAX_FIXED


def test_slopes_are_those_of_the_numbers() -> None:
    origins = block(3)
    points = voxels(origins)
    numbers = (points @ [300, -200, 100]).astype(np.int32)
    earlier = Earlier(origins, numbers[None], FILL, distances=False)
    motion = np.full((3, 1, 512), 300, np.int32)
    values, slopes = earlier.linearised(0, origins[13:14], motion)
    assert np.abs(values - (numbers[13] + 200 * 300 / PLACE_ONE)).max() <= 2
    assert np.abs(slopes[:, 0] - np.array([300, -200, 100])[:, None]).max() <= 2


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_slopes_at_rest_are_those_of_no_motion(share: float) -> None:
    """Bit for bit, beside missing leaves too."""
    rng = np.random.default_rng(7)
    origins = block(4)[rng.random(64) < share]
    numbers = rng.integers(-9000, 9000, (1, len(origins), 512)).astype(np.int32)
    earlier = Earlier(origins, numbers, np.array([2000], np.int32), distances=True)
    values, expected = earlier.linearised(0, origins, np.zeros((3, len(origins), 512), np.int32))
    found = np.empty_like(expected)
    slopes_at_rest(len(numbers[0]), numbers[0], *cells_and_table(origins, 3), earlier.limit(0), found)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(values, numbers[0].clip(-8000, 8000))


# --- mended distances -----------------------------------------------------------------------------


def _distances(centre: tuple[float, float, float], radius: float, slope: float) -> tuple[Earlier, np.ndarray]:
    """A ball's distances in 4^3 leaves, and a copy that is wrong away from the surface."""
    origins = block(4)
    exact = (np.linalg.norm(voxels(origins) - np.array(centre), axis=2) - radius) * slope
    wrong = exact + 0.06 * slope * np.sign(exact) * np.minimum(np.abs(exact / slope), 2.5)
    return Earlier(origins, np.rint(wrong).astype(np.int32)[None], HALF_WIDTH, distances=True), exact


def test_mending_repairs_a_wrong_far_field() -> None:
    slope = 2048.0
    earlier, exact = _distances((15.6, 15.7, 15.4), 9.0, slope)
    mended = earlier.mended(slope)[0]
    band = (np.abs(exact) > 0.7 * slope) & (np.abs(exact) < 3 * slope)
    before = np.abs(earlier.numbers[0] - exact)[band].mean()
    assert np.abs(mended - exact)[band].mean() < 0.4 * before
    near = np.abs(earlier.numbers[0]) < 0.5 * slope
    assert np.array_equal(mended[near], earlier.numbers[0][near])  # the surface stays where it is


def test_mending_leaves_what_is_no_distance() -> None:
    steep = Earlier(
        block(2), np.rint(voxels(block(2))[..., 0] * 2048.0)[None].astype(np.int32), HALF_WIDTH, distances=True
    )
    for slope in (1024.0, 4096.0, 1e-300, 1e300):  # the numbers change by 2048 a voxel
        assert np.array_equal(steep.mended(slope), steep.numbers)
    flat = Earlier(ORIGINS, np.full((1, len(ORIGINS), 512), 900, np.int32), HALF_WIDTH, distances=True)
    assert np.array_equal(flat.mended(1000.0), flat.numbers)


@pytest.mark.parametrize("slope", [2048.0, 700.3])
def test_mending_agrees_with_a_slow_implementation(slope: float) -> None:
    earlier, _ = _distances((3.1, 11.9, 15.4), 6.0, slope)
    few = Earlier(earlier.origins[:20], earlier.numbers[:, :20], HALF_WIDTH, distances=True)
    expected = slowly(few, 0).mended([tuple(origin) for origin in few.origins.tolist()], slope)
    found = few.mended(slope)[0]
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, few.numbers[0])


# --- threads, lattices of motion ------------------------------------------------------------------


def test_numbers_do_not_depend_on_threads(on_threads: Callable[[int, Callable[[], Any]], Any]) -> None:
    rng = np.random.default_rng(5)
    origins = block(4)
    numbers = rng.integers(-5000, 5000, (2, 64, 512)).astype(np.int32)
    motion = rng.integers(-4000, 4000, (3, 64, 512)).astype(np.int32)

    def found() -> bytes:
        earlier = Earlier(origins, numbers, np.zeros(2, np.int32), distances=True)
        return earlier.at(origins, motion).tobytes() + earlier.mended(900.0).tobytes()

    assert on_threads(1, found) == on_threads(3, found)


def test_motion_of_leaves_is_that_of_the_lattice() -> None:
    lattice = Lattice.over(ORIGINS, 16, 3)
    constant = np.repeat(np.array([[3], [-2], [5]], np.int32), len(lattice), axis=1)
    motion = motion_at(lattice, constant, 64)
    assert motion.shape == (3, len(ORIGINS), 512)
    assert np.array_equal(motion, np.broadcast_to(np.array([192, -128, 320])[:, None, None], motion.shape))
    rows = np.array([1, 4])
    random = np.random.default_rng(3).integers(-100, 100, (3, len(lattice))).astype(np.int32)
    assert np.array_equal(motion_at(lattice, random, 100, rows), motion_at(lattice, random, 100)[:, rows])
