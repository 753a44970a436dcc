"""Motion as bytes: carried on or plain, with nodes that come and go; damage is noticed."""

from itertools import product

import numpy as np
import pytest

from fieldcodec.coding.bytestream import ByteWriter
from fieldcodec.coding.coefficients import encode_coefficients
from fieldcodec.errors import FormatError
from fieldcodec.lattice.operator import Lattice
from fieldcodec.volume.temporal.motion import DEGREE, MAX_MOTION, Motion, carried

EARLY = np.array([(0, 0, 0), (0, 0, 8), (64, 0, 0), (-128, 40, 8)], np.int32)
LATE = np.array([(0, 0, 8), (0, 0, 40), (72, 0, 0), (512, 512, -512)], np.int32)  # the last one far from all


def motion_over(origins: np.ndarray, stride: int = 16, step: int = 64, size: int = 40, seed: int = 0) -> Motion:
    """Smooth, so that what is carried pays."""
    lattice = Lattice.over(origins, stride, DEGREE)
    waves = np.sin(lattice.nodes.cells.T * [[0.3], [0.2], [0.4]] + seed)
    return Motion(lattice, step, np.rint(waves * size * (16 / stride)).astype(np.int32))


@pytest.mark.parametrize("stride", [16, 32, 64])
@pytest.mark.parametrize("before", [None, "same", "other leaves", "other step", "other stride"])
def test_round_trip(stride: int, before: str | None) -> None:
    motion = motion_over(LATE, stride)
    earlier = {
        None: None,
        "same": motion_over(LATE, stride),
        "other leaves": motion_over(EARLY, stride),
        "other step": motion_over(EARLY, stride, step=96),
        "other stride": motion_over(EARLY, 48 - stride if stride < 64 else 16),
    }[before]
    data = motion.to_bytes(earlier)
    back = Motion.from_bytes(data, motion.lattice, motion.step, earlier)
    assert np.array_equal(back.integers, motion.integers)
    assert (back.numbers, back.integers.dtype) == ((stride, 64), np.int32)
    if before == "same":
        assert data[0] == 1
        assert len(data) < len(motion.to_bytes(None))
    if before is None:
        assert data[0] == 0


def test_motion_of_no_leaves() -> None:
    nothing = motion_over(LATE[:0])
    assert Motion.from_bytes(nothing.to_bytes(None), nothing.lattice, 64, None).integers.shape == (3, 0)


def test_the_largest_motions_come_back() -> None:
    lattice = Lattice.over(LATE, 16, DEGREE)
    far = np.where(np.arange(len(lattice)) % 2, MAX_MOTION, -MAX_MOTION) * np.ones((3, 1), np.int32)
    before, motion = Motion(lattice, 1, -far.astype(np.int32)), Motion(lattice, 1, far.astype(np.int32))
    assert np.array_equal(Motion.from_bytes(motion.to_bytes(before), lattice, 1, before).integers, far)


def test_forged_motion_is_kept_within_limits() -> None:
    lattice = Lattice.over(LATE, 16, DEGREE)
    most = np.full((3, len(lattice)), MAX_MOTION, np.int32)
    writer = ByteWriter()
    writer.byte(1)
    for _ in range(3):
        difference = np.full(len(lattice), 32767, np.int32)
        writer.blob(encode_coefficients(difference, lattice.nodes.cells, lattice.nodes.block_starts))
    found = Motion.from_bytes(writer.getvalue(), lattice, 1, Motion(lattice, 4096, most))
    assert np.array_equal(found.integers, most)


def test_damaged_bytes_are_refused() -> None:
    motion = motion_over(LATE)
    data = motion.to_bytes(None)
    for damaged in (b"", bytes([2]) + data[1:], data[:-1], data + b"\0", data[:5]):
        with pytest.raises(FormatError):
            Motion.from_bytes(damaged, motion.lattice, 64, None)
    with pytest.raises(FormatError):
        Motion.from_bytes(data, Lattice.over(EARLY, 16, DEGREE), 64, None)


# --- what is expected -----------------------------------------------------------------------------


def slowly_carried(lattice: Lattice, step: int, before: Motion) -> np.ndarray:
    """Ring by ring with dictionaries."""
    cells = [tuple(cell) for cell in lattice.nodes.cells.tolist()]
    old = [tuple(cell) for cell in before.lattice.nodes.cells.tolist()]
    result = []
    for of_axis in before.integers.tolist():
        stored = dict(zip(old, of_axis, strict=True))
        known = {cell: halves_up(stored[cell] * before.step, step) for cell in cells if cell in stored}
        while True:
            ring = {}
            for x, y, z in set(cells) - set(known):
                steps = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
                near = [known[at] for i, j, k in steps if (at := (x + i, y + j, z + k)) in known]
                if near:
                    ring[x, y, z] = halves_up(sum(near), len(near))
            if not ring:
                break
            known |= ring
        result.append([known.get(cell, 0) for cell in cells])
    return np.array(result)


def halves_up(number: int, by: int) -> int:
    return min(max((2 * number + by) // (2 * by), -MAX_MOTION), MAX_MOTION)


@pytest.mark.parametrize(("stride", "step"), list(product((16, 32), (1, 50, 64, 4096))))
def test_motion_goes_on(stride: int, step: int) -> None:
    """Kept nodes, rings of new ones, and some that nothing leads to, which have none."""
    before, lattice = motion_over(EARLY, stride, size=300), Lattice.over(LATE, stride, DEGREE)
    found = carried(lattice, step, before)
    assert np.array_equal(found, slowly_carried(lattice, step, before))
    alone = lattice.nodes.cells[:, 0] * stride > 300
    assert alone.any()
    assert not found[:, alone].any()
    if step < 4096:
        assert found[:, ~alone].any()


def test_nothing_is_expected_of_nothing() -> None:
    lattice = Lattice.over(LATE, 16, DEGREE)
    assert not carried(lattice, 64, None).any()
    assert not carried(lattice, 64, motion_over(LATE, 32)).any()
    assert not carried(lattice, 64, motion_over(LATE[:0])).any()
