"""Fourier feature mapping with integer frequencies (NeuralVDB, section 3.2.2; Tancik et al. 2020).

A feature pair is sin and cos of 2 pi b . u, where u is the position in the domain in [0, 1] and b is
drawn from a normal distribution of standard deviation `scale`. Here b is stored nowhere: it follows from
a seed by integer arithmetic, and it is rounded to an integer number of 2^-32 turns per voxel, so that the
phase of an integer voxel coordinate is exact modulo one turn on every machine.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

TURN_BITS = 32  # a phase of 2^32 is one full turn
_GOLDEN = 0x9E3779B97F4A7C15


def _random_words(count: int, seed: int) -> np.ndarray:
    """[count] uint64 from SplitMix64: the same on every machine, whatever NumPy's version."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed & (2**64 - 1)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def integer_frequencies(num: int, scale: float, extent: int, seed: int) -> np.ndarray:
    """[num, 3] int64: frequencies in 2^-32 turns per voxel, for a domain of `extent` voxels.

    A standard normal variate is the sum of twelve 16-bit uniforms (Irwin-Hall), all in integers;
    the one division that follows is IEEE double arithmetic, the same everywhere.
    """
    uniforms = _random_words(num * 3 * 3, seed).view("<u2").reshape(num, 3, 12).astype(np.int64)
    normal = (uniforms.sum(axis=-1) - 6 * 65535) / 65536.0
    return np.rint(normal * (scale * 2.0**TURN_BITS / extent)).astype(np.int64)


class FourierFeatures(nn.Module):
    """Maps local voxel coordinates [..., 3] to [..., 2 * num]: sines, then cosines."""

    def __init__(self, num: int, scale: float, extent: int, seed: int) -> None:
        super().__init__()
        self.turns: Tensor
        self.num_features = 2 * num
        self.integers = integer_frequencies(num, scale, extent, seed)
        turns = torch.from_numpy(self.integers / 2.0**TURN_BITS).float()
        self.register_buffer("turns", turns.T.contiguous(), persistent=False)

    def forward(self, local: Float[Tensor, "experts points 3"]) -> Float[Tensor, "experts points features"]:
        """local: [experts, points, 3] float, in voxels from the corner of the expert's domain."""
        phase = torch.matmul(local, self.turns)
        phase = (phase - phase.round()) * (2 * math.pi)
        return torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1)
