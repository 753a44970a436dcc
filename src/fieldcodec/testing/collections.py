"""Small collections that need no training: random networks whose octrees are neither full nor empty."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.sections import Details
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.frozen_recursive import FrozenRecursive, frozen_latents, latent_step_for
from fieldcodec.nets.recursive import RecursiveField, new_latents
from fieldcodec.nets.recursive_spec import RecursiveSpec

TINY = RecursiveSpec(latent=6, lods=3, base_width=8, base_layers=1, width=5, layers=2, fusion="cat", colour="rgb")
_GAIN = 8.0  # of last layers, so that what they give is as large as after training


def random_network(spec: RecursiveSpec = TINY, seed: int = 0) -> RecursiveField:
    """A network whose latents stay about as large over the levels, and whose children are occupied or not by chance."""
    module = RecursiveField(spec, seed)
    weights = dict(module.named_parameters())
    with torch.no_grad():
        for name, layers in spec.networks.items():
            last = f"{name}.layers.{len(layers) - 1}"
            weights[f"{last}.weight"].mul_(_GAIN)
            weights[f"{last}.bias"].zero_()
    return module


def random_collection(
    spec: RecursiveSpec = TINY, names: Sequence[str] = ("cup", "Stuhl äß", "椅子"), *, seed: int = 0,
    weight_bits: int = 8, octrees: Sequence[Octree | None] | None = None, **others: Any,
) -> CompressedCollection:  # fmt: skip
    """A file's content without training.

    Args:
        others: as of `CompressedCollection.of`.
    """
    latents = new_latents(len(names), spec.latent, seed + 1)
    step = latent_step_for(latents, 8)
    placements = [Placement((0.5 * i, -1.25, 1e-3), 1 / (1 + i)) for i in range(len(names))]
    return CompressedCollection.of(
        FrozenRecursive.of(random_network(spec, seed), weight_bits), frozen_latents(latents, step), step, list(names),
        placements, octrees=octrees, **others,
    )  # fmt: skip


def detailed_collection(spec: RecursiveSpec = TINY, *, level: int = 2, step: int = 5000) -> CompressedCollection:
    """Three objects, of which the first and the last have details of a level, of up to 40 steps.

    Args:
        step: large ones take sums of latents beyond what they may be.
    """
    rng = np.random.default_rng(level)
    octrees = [Octree.of_cells(rng.integers(0, 1 << spec.lods, (n, 3)), spec.lods) for n in (3, 4, 12)]
    numbers = [rng.integers(-40, 41, (each.num_cells[level], spec.latent)).astype(np.int32) for each in octrees]
    for each in numbers:
        each[:, 0], each[:, 1] = 40, -40
    given = [Details(level, step, each) for each in numbers]
    return random_collection(spec, octrees=octrees, details=[given[0], None, given[2]])
