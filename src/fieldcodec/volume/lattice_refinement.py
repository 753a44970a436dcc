"""When and to what a network that mends decoded numbers is fitted."""

import numpy as np

from fieldcodec.fit.refinement import RefinementOptions, fit_refinement
from fieldcodec.lattice.refinement import Neighbourhoods, Refinement, Sight
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.lattice_spec import LatticeSpec

_VOXELS = 400_000  # that a network is fitted to, of all channels
_MANY = 2_000_000  # active voxels from which on the wider network is worth its bytes
_NARROW, _WIDE = (8, 8), (16, 16)
_FEW_LEAVES = 256  # by which numbers are measured
_NEAR_SURFACE, _NEAR_IMPORTANCE = 1.0, 4.0  # voxels so near matter so much more
_SEED = 0


def fit_network(
    problem: LatticeProblem, spec: LatticeSpec, numbers: np.ndarray, share: float, start: Refinement | None
) -> Refinement:
    """The network that brings numbers [C, N, 512] int32 nearest to the problem's targets.

    Args:
        share: of the whole that the problem is.
        start: a network fitted to similar numbers, to begin with.
    """
    rng = np.random.default_rng(_SEED)
    order = rng.permutation(len(problem.origins))
    packed = problem.packed
    enough = np.cumsum(np.bitwise_count(packed[order]).sum(axis=1, dtype=np.int64)) * problem.channels
    leaves = np.sort(order[: 1 + int(np.searchsorted(enough, _VOXELS))])
    sight = _sight(numbers[:, leaves[:: 1 + len(leaves) // _FEW_LEAVES]]) if start is None else start.sight
    active = problem.active[leaves]
    features, errors, importance = [], [], []
    for channel, of_channel in enumerate(numbers):
        features.append(Neighbourhoods(of_channel, packed, problem.origins).features(leaves, sight))
        targets = problem.targets[channel, leaves][active]
        unit = spec.unit[channel] / problem.scale[channel]
        errors.append((targets / unit - of_channel[leaves][active]) / spec.finest_step)
        near = problem.surface & (np.abs(targets) < _NEAR_SURFACE)
        importance.append(np.where(near, _NEAR_IMPORTANCE, 1.0))
    options = RefinementOptions(widths=_WIDE if problem.num_active > _MANY * share else _NARROW)
    return fit_refinement(
        np.concatenate(features), np.concatenate(errors, dtype=np.float32, casting="same_kind"),
        np.concatenate(importance, dtype=np.float32, casting="same_kind"), sight, options, _SEED, start,
    )  # fmt: skip


def _sight(numbers: np.ndarray) -> Sight:
    """What covers nearly all differences and numbers of a few leaves [C, n, 512]."""
    cubes = numbers.reshape(-1, 8, 8, 8).astype(np.int64)
    differences = np.abs(np.diff(cubes, axis=3))
    nonzero = differences[differences > 0]
    typical = float(np.percentile(nonzero, 95)) if nonzero.size else 1.0
    return Sight(max(1, round(typical)), max(1, round(float(np.percentile(np.abs(cubes), 99)))))
