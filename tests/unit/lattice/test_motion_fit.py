"""Motion is found again: what moved a field that is known everywhere."""

import numpy as np
import pytest

from fieldcodec.grid import masks
from fieldcodec.lattice.motion_fit import MotionOptions, fit_motion
from fieldcodec.lattice.operator import Lattice
from fieldcodec.lattice.warp import PLACE_ONE, Earlier, motion_at

UNIT = 1 / 4096
ORIGINS = (np.array(list(np.ndindex(4, 4, 4))) * 8).astype(np.int32)
POINTS = (ORIGINS[:, None] + masks.slot_offsets(masks.LEAF_LOG2)).astype(np.float64)
MIDDLE = np.array([15.5, 15.5, 15.5])


def field(points: np.ndarray) -> np.ndarray:
    """[C, ...]: two blobs of different channels, without symmetry."""
    return np.stack(
        [
            np.exp(-np.square((points - centre) / widths).sum(axis=-1))
            for centre, widths in (((13, 16, 18), (5, 8, 11)), ((19, 12, 14), (9, 5, 7)))
        ]
    )


def earlier() -> Earlier:
    return Earlier(ORIGINS, np.rint(field(POINTS) / UNIT).astype(np.int32), np.zeros(2, np.int32), distances=False)


def found(source: np.ndarray, start: float = 0.0) -> np.ndarray:
    """[3, N, 512] voxels: the motion found for a frame whose voxels came from `source`."""
    lattice = Lattice.over(ORIGINS, 16, 3)
    importance = np.full((len(ORIGINS), 512), 100, np.float32)
    begin = np.full((3, len(lattice)), start, np.float32)
    target = field(source).astype(np.float32)
    coefficients = fit_motion(earlier(), UNIT, lattice, ORIGINS, target, importance, MotionOptions(), begin)
    return motion_at(lattice, np.rint(coefficients * PLACE_ONE).astype(np.int32), 1) / PLACE_ONE


def dense(points: np.ndarray) -> np.ndarray:
    """[N, 512]: where there is something to see."""
    return field(points).sum(axis=0) > 0.2


@pytest.mark.parametrize("shift", [(1.3, -0.6, 0.4), (-2.2, 1.7, 0.0)])
def test_translation(shift: tuple[float, float, float]) -> None:
    motion = found(POINTS + shift)
    seen = dense(POINTS + shift)
    for axis in range(3):
        assert np.abs(motion[axis][seen] - shift[axis]).mean() < 0.1


def test_rotation() -> None:
    angle = 0.12
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    source = (POINTS - MIDDLE) @ turn.T + MIDDLE
    motion, seen = found(source), dense(source)
    error = np.abs(np.moveaxis(motion, 0, -1) - (source - POINTS))[seen].mean()
    assert error < 0.15 * np.abs(source - POINTS)[seen].mean()


def test_bending_is_measured_against_the_start() -> None:
    """Where nothing is seen, motion stays what it was."""
    lattice = Lattice.over(ORIGINS, 16, 3)
    nothing = np.zeros((len(ORIGINS), 512), np.float32)
    start = np.random.default_rng(0).normal(size=(3, len(lattice))).astype(np.float32)
    target = field(POINTS).astype(np.float32)
    coefficients = fit_motion(earlier(), UNIT, lattice, ORIGINS, target, nothing, MotionOptions(), start)
    assert np.abs(coefficients - start).max() < 1e-5
    assert np.abs(found(POINTS, start=0.0)).max() < 0.02
