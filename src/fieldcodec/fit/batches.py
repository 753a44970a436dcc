"""Batches of a phase, drawn in threads while the batches before them are used."""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fieldcodec.fit.phases import Phase
from fieldcodec.fit.samplers import Sampler

_CUDA_DRAWS = 4  # made at once for a GPU, which uses samples faster than one thread draws them
_SAMPLES_AHEAD = 1 << 22  # of one expert; what may wait in memory beyond the draw that must be there


def batches(
    sampler: Sampler, phase: Phase, rng: np.random.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """`phase.steps` pairs of local coordinates [K, batch, 3] and targets [K, batch, C] in host memory.

    For a CPU all draws come from `rng` in turn. For a GPU each has a generator spawned from it, so that draws
    made at the same time repeat themselves too, and batches lie in page-locked memory, which is copied to the
    device without waiting.
    """
    on_cuda = device.type == "cuda"
    draws = math.ceil(phase.steps / phase.sample_interval)
    ahead = 1
    if on_cuda:
        ahead = min(max(_SAMPLES_AHEAD // (phase.batch_size * phase.sample_interval), 1), _CUDA_DRAWS)
    with ThreadPoolExecutor(max_workers=ahead) as pool:
        pending = deque(
            pool.submit(_draw, sampler, phase, rng.spawn(1)[0] if on_cuda else rng, on_cuda)
            for _ in range(min(ahead, draws))
        )
        for draw in range(draws):
            local, target = pending.popleft().result()
            if draw + ahead < draws:
                pending.append(pool.submit(_draw, sampler, phase, rng.spawn(1)[0] if on_cuda else rng, on_cuda))
            wanted = min(phase.sample_interval, phase.steps - draw * phase.sample_interval)
            yield from zip(local[:wanted], target[:wanted], strict=True)


def _draw(sampler: Sampler, phase: Phase, rng: np.random.Generator, pinned: bool) -> tuple[Tensor, Tensor]:
    """One draw cut into batches: [sample_interval, K, batch, 3] and [sample_interval, K, batch, C]."""
    arrays = sampler.draw(rng, phase.batch_size * phase.sample_interval)
    parts = [
        torch.from_numpy(array).unflatten(1, (phase.sample_interval, phase.batch_size)).transpose(0, 1)
        for array in arrays
    ]
    if pinned:
        parts = [_page_locked(part) for part in parts]
    return parts[0], parts[1]


def _page_locked(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
