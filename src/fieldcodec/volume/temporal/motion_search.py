"""The search for the motion between two frames that saves most bytes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fieldcodec.lattice.motion_fit import MotionOptions, fit_motion
from fieldcodec.lattice.operator import Lattice
from fieldcodec.lattice.warp import PLACE_ONE
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.temporal.motion import DEGREE, MAX_MOTION, Motion, carried
from fieldcodec.volume.temporal.prediction import Prediction, Reference

_STRIDES = (32, 16)
_STEPS = (512, 256, 128, 64)  # of coefficients, in 1/1024 voxel
_START_STEP = 16  # of the earlier motion, when it is where the search begins
_NEAR_SURFACE = 1.5  # scaled distance: the surface tells the motion, the band follows it
_AT_SURFACE = 0.7  # scaled distance, up to which errors are looked at: those farther away are mended
_MAX_LEAVES = 2048  # that motion is fitted to
_MEASURED_LEAVES = 512  # by which steps are compared
_MASK_BITS = 4.0  # of an active voxel's state, for an error of one voxel in its distance, in this frame and later ones


@dataclass(frozen=True)
class _Found:
    """A prediction with what it is thought to cost in bytes, that of its motion included."""

    prediction: Prediction
    cost: float


def find_motion(problem: LatticeProblem, reference: Reference, allowed: float, seed: int) -> Prediction:
    """The prediction by the motion with the least estimated bytes.

    Args:
        problem: the later frame.
        allowed: root mean square error that is aimed at, in scaled units.
        seed: of the leaves that are looked at, where there are many.
    """
    order = np.random.default_rng(seed).permutation(len(problem.origins))
    rows, few = np.sort(order[:_MAX_LEAVES]), np.sort(order[:_MEASURED_LEAVES])
    found = [each for stride in _STRIDES for each in _candidates(problem, reference, stride, rows, few, allowed)]
    return min(found, key=lambda each: each.cost).prediction


def _candidates(
    problem: LatticeProblem, reference: Reference, stride: int, rows: np.ndarray, few: np.ndarray, allowed: float
) -> Iterator[_Found]:
    """Motions of one stride, with coarser and finer steps; fitted to the leaves `rows`, compared on a `few`."""
    lattice = Lattice.over(problem.origins, stride, DEGREE)
    start = carried(lattice, _START_STEP, reference.motion) * np.float32(_START_STEP / PLACE_ONE)
    coefficients = _fitted(problem, reference, lattice, rows, start.astype(np.float32))
    for step in _STEPS:
        integers = np.clip(np.rint(coefficients * (PLACE_ONE / step)), -MAX_MOTION, MAX_MOTION).astype(np.int32)
        prediction = Prediction(reference, Motion(lattice, step, integers), problem.origins)
        error = _error(problem, prediction, few)
        yield _Found(prediction, len(prediction.motion_bytes) + _bytes_for(problem, error, allowed))


def _fitted(
    problem: LatticeProblem, reference: Reference, lattice: Lattice, rows: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """[3, nodes] float32 in voxels."""
    importance = problem.active[rows].astype(np.float32)
    targets = problem.targets[:, rows]
    if problem.surface:
        importance *= np.abs(targets[0]) < _NEAR_SURFACE
    else:  # smoothness is measured against distances, which change by one a voxel
        importance /= np.float32(max(_mean_square_slope(targets, problem.active[rows]), 1e-12))
    unit = reference.unit[0] / float(problem.scale[0])
    part = Lattice(lattice.nodes.of_rows(rows)) if len(rows) < len(problem.origins) else lattice
    shifted = targets - _shift(problem, reference).astype(np.float32)[:, None, None]
    return fit_motion(
        reference.values, unit, part, problem.origins[rows], shifted, importance, MotionOptions(), start
    )  # fmt: skip


def _shift(problem: LatticeProblem, reference: Reference) -> np.ndarray:
    """[C]: scaled value of a reference's number 0."""
    return (np.array(reference.offset) - problem.offset) / problem.scale


def _mean_square_slope(targets: np.ndarray, active: np.ndarray) -> float:
    """Of active voxels along the axes, in the unit of the targets a voxel."""
    cubes, states = targets.reshape(len(targets), -1, 8, 8, 8), active.reshape(-1, 8, 8, 8)
    squares, count = 0.0, 0
    for axis in range(3):
        both = np.take(states, range(7), axis + 1) & np.take(states, range(1, 8), axis + 1)
        squares += float(np.square(np.diff(cubes, axis=axis + 2)[:, both]).sum())
        count += int(both.sum())
    return squares / max(1, count)


def _error(problem: LatticeProblem, prediction: Prediction, rows: np.ndarray) -> float:
    """Root mean square over active voxels of some leaves, near the surface where there is one, in scaled units."""
    targets, looked_at = problem.targets[:, rows], problem.active[rows]
    if problem.surface:
        looked_at &= np.abs(targets[0]) < _AT_SURFACE
    difference = (prediction.displaced(rows).scaled(problem.offset, problem.scale) - targets)[:, looked_at]
    return math.sqrt(float(np.mean(np.square(difference)))) if difference.size else 0.0


def _bytes_for(problem: LatticeProblem, error: float, allowed: float) -> float:
    """What masks of a level set, or else residuals, cost after a prediction with this error; a rule of thumb."""
    if problem.surface:
        return problem.num_active * _MASK_BITS * error / 8
    return problem.num_active * problem.channels * 0.5 * math.log2(1 + (error / max(allowed, 1e-9)) ** 2) / 8
