"""Latents unfolded along the occupancy that the network itself predicts."""

import numpy as np
import torch
from torch import Tensor

from fieldcodec.errors import UsageError
from fieldcodec.grid.octree import CHILDREN, Octree
from fieldcodec.nets.recursive import RecursiveField

_CELLS_AT_ONCE = 4096  # bounds the memory for hidden layers


@torch.no_grad()
def unfold_predicted(
    network: RecursiveField, latents: Tensor, max_cells: int | None = None
) -> tuple[Octree, list[Tensor]]:
    """The octree that the network sees in latents, and the latents of its cells.

    A child is kept where its logit of "occupied" is the larger one. The arithmetic is that of the device, so that two
    machines may disagree about a cell that is nearly undecided: files hold octrees of exact integers instead.

    Args:
        latents: [objects, D], one root each.
        max_cells: how many cells a level may have, of all objects together; by default as many as there are.

    Returns:
        The octree of all objects (object i is root i), and of each level from 1 on the latents [cells, D] in the order
        of its cells, without gradients, on the device of `latents`. A level may be empty.

    Raises:
        UsageError: the latents do not fit the network, or a level has more than `max_cells` cells.
    """
    spec = network.spec
    if latents.ndim != 2 or latents.shape[1] != spec.latent:
        raise UsageError(f"latents of shape {tuple(latents.shape)} do not fit a network of {spec.latent} numbers each")
    cells = latents.detach()
    masks, levels = [], []
    for level in range(1, spec.lods + 1):
        kept, occupied, count = [], [], 0
        for part in cells.split(_CELLS_AT_ONCE):
            children = network.split(part)
            logits = network.omega(children)
            inside = logits[:, 1] > logits[:, 0]
            kept.append(children[inside])
            occupied.append(inside)
            count += len(kept[-1])
            if max_cells is not None and count > max_cells:
                raise UsageError(
                    f"level {level} of {len(latents)} objects unfolds into more than {max_cells} cells; the network "
                    "is not trained for these latents (or allow more cells)"
                )
        flags = torch.cat(occupied) if occupied else torch.zeros(0, dtype=torch.bool)
        masks.append(np.asarray(flags.cpu().numpy()).reshape(-1, CHILDREN))
        cells = torch.cat(kept) if kept else cells.new_zeros(0, spec.latent)
        levels.append(cells)
    return Octree(len(latents), tuple(masks)), levels


def latents_of_root(octree: Octree, latents: list[Tensor], root: int) -> tuple[Octree, list[Tensor]]:
    """The octree of one object of several, and its latents."""
    parts = []
    for level, values in enumerate(latents, start=1):
        bounds = np.searchsorted(octree.numbers[level], [root << (3 * level), (root + 1) << (3 * level)])
        parts.append(values[int(bounds[0]) : int(bounds[1])])
    return octree.of_root(root), parts
