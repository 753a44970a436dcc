"""Fitting the network of `lattice.refinement`: float weights that are rounded in every step, as they will be stored."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int8

from fieldcodec.fit.refinement_steps import optimise
from fieldcodec.lattice.refinement import Refinement, Sight, rounded_weights, shapes_of
from fieldcodec.lattice.refinement_kernels import LEAK, WEIGHT_SHIFT

_RISING = 0.3  # of the steps, while the learning rate rises
_FIRST_RATE, _LAST_RATE = 1 / 25, 1e-5 / 25  # of the highest one
_SLOW, _QUICK = 0.95, 0.85  # decay of the mean gradient at low rates and at the highest one


@dataclass(frozen=True)
class RefinementOptions:
    """How it is fitted.

    Attributes:
        widths: neurons of the two layers.
        steps: of the optimiser, each of `batch` voxels.
        again: steps where the network was fitted to similar numbers before.
        batch: a multiple of 64.
        rate: the highest learning rate, reached after a third of the steps.
    """

    widths: tuple[int, int] = (16, 16)
    steps: int = 1200
    again: int = 400
    batch: int = 4096
    rate: float = 3e-2


def fit_refinement(
    features: Int8[np.ndarray, "voxels 27"],
    errors: Float32[np.ndarray, "voxels"],
    importance: Float32[np.ndarray, "voxels"],
    sight: Sight,
    options: RefinementOptions,
    seed: int,
    start: Refinement | None = None,
) -> Refinement:
    """The network whose output comes nearest to `errors`, in the weighted mean square.

    Args:
        errors: what should be added to each voxel, in steps.
        importance: weights of their squares.
        start: a network fitted to similar numbers.
    """
    tensors = _started(options.widths, seed) if start is None else _stored(start)
    steps = options.steps if start is None else options.again
    parameters = np.concatenate([tensor.ravel() for tensor in tensors]).astype(np.float32)
    rates, decays = _one_cycle(steps, options.rate)
    widths = (len(tensors[1]), len(tensors[3]))
    optimise(
        parameters, widths, features, errors, importance, rates, decays, min(options.batch, 64 * -(-len(errors) // 64)),
        np.float32(1 << WEIGHT_SHIFT), np.float32(0.5**LEAK), seed + 1,
    )  # fmt: skip
    ends = np.cumsum([tensor.size for tensor in tensors])[:-1]
    parts = np.split(parameters, ends)
    return Refinement(sight, rounded_weights([part.reshape(of.shape) for part, of in zip(parts, tensors, strict=True)]))


def _one_cycle(steps: int, highest: float) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates, which rise and fall, and decays of the mean gradient, which go the other way: [steps] float64.

    After "Super-convergence" (Smith and Topin, 2018), with quarter and half waves of a cosine.
    """
    peak, last = _RISING * steps - 1, max(steps - 1, 1)
    at = np.arange(steps)
    rising = np.clip(at / peak, 0, 1) if peak > 0 else np.ones(steps)
    falling = np.clip((at - peak) / max(last - peak, 1), 0, 1)
    up, down = (1 - np.cos(np.pi * rising)) / 2, (1 - np.cos(np.pi * falling)) / 2
    rates = np.where(at <= peak, _FIRST_RATE + (1 - _FIRST_RATE) * up, 1 + (_LAST_RATE - 1) * down)
    decays = np.where(at <= peak, _SLOW + (_QUICK - _SLOW) * up, _QUICK + (_SLOW - _QUICK) * down)
    return highest * rates, decays


def _started(widths: tuple[int, int], seed: int) -> list[np.ndarray]:
    """Small weights; zeros in the last layer, so that at first nothing is changed."""
    rng = np.random.default_rng(seed)
    tensors = []
    for shape in shapes_of(*widths):
        spread = shape[0] ** -0.5 if len(shape) == 2 and shape[1] > 1 else 0.0
        tensors.append(rng.standard_normal(shape) * spread)
    return tensors


def _stored(network: Refinement) -> list[np.ndarray]:
    one = float(1 << WEIGHT_SHIFT)
    return [tensor / one for tensor in network.tensors]
