"""Fields made of expert networks, evaluated on the integer lattice (NeuralVDB, equation 3).

A regressor is evaluated in floating point, a classifier in integers (see `nets.integer`); both blend the
experts with the gates of `Subdomains`. What a classifier says enters the mask coders of `coding` as a hint.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8

from fieldcodec.coding.masks import HINT_ACTIVE, hints_of_logits
from fieldcodec.grid import masks
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.frozen import FrozenNetwork
from fieldcodec.nets.integer import LOGIT_UNIT, VALUE_UNIT, ExactNetwork
from fieldcodec.shapes import (
    LeafBits,
    LeafHints,
    LeafMasks,
    LeafOrigins,
    Logits,
    LowerOrigins,
    Points,
    PointValues,
    SlotHints,
)
from fieldcodec.volume.subdomains import Subdomains

CHUNK = 4096  # points of one evaluation: activations of 100 neurons then fit the L2 cache
GPU_CHUNK = 1 << 18
BLOCK_LEAVES = 2048  # leaves handled at once; bounds the memory whatever the volume

OnBlock = Callable[[int, int], None]  # told how many leaves of how many are done
INACTIVE_TILE, ACTIVE_TILE, CHILD = 0, 1, 2
_NAT_256 = 256 // LOGIT_UNIT  # logits in 1/16 nat -> the mask coder's 1/256 nat
_CLASS_HINTS = 8  # confidences of each class of a slot's hint


@dataclass(frozen=True)
class ExpertField:
    """One network per subdomain."""

    subdomains: Subdomains
    frozen: FrozenNetwork

    @cached_property
    def exact(self) -> ExactNetwork:
        return ExactNetwork(self.frozen)

    @cached_property
    def exact_regressor(self) -> ExactNetwork:
        return ExactNetwork(self.frozen, VALUE_UNIT)

    def experts_near(self, points: Points) -> list[int]:
        """Experts whose domain touches the bounding box of the points [n, 3]."""
        low, high = points.min(axis=0), points.max(axis=0)
        corners = self.subdomains.corners
        touching = np.all((corners <= high) & (corners + self.subdomains.extent > low), axis=1)
        return np.nonzero(touching)[0].tolist()

    def exact_logits(self, points: Points) -> Logits:
        """[n, outputs] int64 logits in 1/16 at integer points [n, 3]; very sure of "off" outside all domains."""
        blended, outside = self._blended(self.exact, points)
        blended[outside] = -(1 << 20)
        if blended.shape[1] > 1:
            blended[outside, INACTIVE_TILE] = 1 << 20
        return blended

    def exact_values(self, points: Points) -> tuple[Int64[np.ndarray, "points outputs"], Bool[np.ndarray, " points"]]:
        """A regressor's outputs at integer points [n, 3].

        Returns:
            [n, outputs] in 1/16384, 0 outside all domains, and which points lie outside.
        """
        return self._blended(self.exact_regressor, points)

    def _blended(
        self, network: ExactNetwork, points: Points
    ) -> tuple[Int64[np.ndarray, "points outputs"], Bool[np.ndarray, " points"]]:
        """Outputs of the experts under their gates, rounded down, and which points have no expert."""
        total = np.zeros((len(points), self.frozen.spec.outputs), np.int64)
        weight = np.zeros(len(points), np.int64)
        for expert in self.experts_near(points) if len(points) else []:
            corner = self.subdomains.corners[expert]
            rows = np.nonzero(np.all((points >= corner) & (points < corner + self.subdomains.extent), axis=1))[0]
            gate = self.subdomains.gate(expert, points[rows])
            total[rows] += gate[:, None] * network.logits(expert, points[rows] - corner)
            weight[rows] += gate
        return total // np.maximum(weight, 1)[:, None], weight == 0


class FieldEvaluator:
    """A regressor ready for float evaluation on one device."""

    def __init__(self, field: ExpertField, device: torch.device) -> None:
        self._field, self._device = field, device
        network = field.frozen.module(device)
        self._experts: list[ExpertNetwork] = [network.expert(k) for k in range(field.frozen.spec.experts)]
        self._chunk = CHUNK if device.type == "cpu" else GPU_CHUNK

    @torch.inference_mode()
    def values(self, points: Points) -> PointValues:
        """[n, outputs] float32 at integer points [n, 3]; 0 outside all domains."""
        subdomains, outputs = self._field.subdomains, self._field.frozen.spec.outputs
        if len(points) == 0:
            return np.zeros((0, outputs), np.float32)
        if len(subdomains) == 1 and subdomains.halo == 0:
            return self._expert_values(0, points)
        total = np.zeros((len(points), outputs), np.float64)
        weight = np.zeros(len(points), np.float64)
        for expert in self._field.experts_near(points):
            corner = subdomains.corners[expert]
            rows = np.nonzero(np.all((points >= corner) & (points < corner + subdomains.extent), axis=1))[0]
            if len(rows):
                gate = subdomains.gate(expert, points[rows])
                total[rows] += gate[:, None] * self._expert_values(expert, points[rows])
                weight[rows] += gate
        return (total / np.maximum(weight, 1)[:, None]).astype(np.float32)

    def _expert_values(self, expert: int, points: Points) -> PointValues:
        local = torch.from_numpy((points - self._field.subdomains.corners[expert]).astype(np.float32))
        result = np.empty((len(points), self._field.frozen.spec.outputs), np.float32)
        for start in range(0, len(points), self._chunk):
            part = local[start : start + self._chunk].to(self._device)
            result[start : start + self._chunk] = self._experts[expert](part[None])[0].cpu().numpy()
        return result


def leaf_blocks(num_leaves: int) -> Iterator[slice]:
    """Consecutive leaves, a block at a time."""
    for start in range(0, num_leaves, BLOCK_LEAVES):
        yield slice(start, min(start + BLOCK_LEAVES, num_leaves))


def leaf_points(leaf_origins: LeafOrigins) -> Points:
    """[n, 3] origins -> [n * 512, 3] int32: every voxel of the leaves."""
    return (leaf_origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2)).reshape(-1, 3)


def active_points(leaf_origins: LeafOrigins, leaf_active: LeafMasks) -> Points:
    """[A, 3] int32: active voxels of some leaves, in order."""
    rows, slots = masks.set_slots(leaf_active)
    return leaf_origins[rows] + masks.slot_offsets(masks.LEAF_LOG2)[slots]


def slot_hints(logits: Logits) -> UInt8[np.ndarray, " points"]:
    """[n, 1 or 3] int64 logits -> [n] uint8 hints for slots: 8 * class + confidence in nats, up to 7.

    One logit tells child from inactive tile; three are those of the classes in their order.
    """
    if logits.shape[1] == 1:
        classes = np.where(logits[:, 0] >= 0, CHILD, INACTIVE_TILE)
        margin = np.abs(logits[:, 0])
    else:
        ordered = np.sort(logits, axis=1)
        classes, margin = np.argmax(logits, axis=1), ordered[:, 2] - ordered[:, 1]
    return (classes * _CLASS_HINTS + np.minimum(margin // LOGIT_UNIT, _CLASS_HINTS - 1)).astype(np.uint8)


def level0_hints(field: ExpertField, leaf_origins: LeafOrigins, on_block: OnBlock | None = None) -> LeafHints:
    """[n, 512] uint8: what the level-0 classifier says of every voxel of the leaves."""
    hints = np.empty((len(leaf_origins), masks.LEAF_SLOTS), np.uint8)
    for block in leaf_blocks(len(leaf_origins)):
        logits = field.exact_logits(leaf_points(leaf_origins[block]))
        hints[block] = hints_of_logits(logits[:, 0] * _NAT_256).reshape(-1, masks.LEAF_SLOTS)
        if on_block is not None:
            on_block(block.stop, len(leaf_origins))
    return hints


def slot_points(lower_origins: LowerOrigins) -> Points:
    """[n, 3] -> [n * 4096, 3] int32: every slot of lower nodes, in leaf units."""
    return ((lower_origins >> 3)[:, None] + masks.slot_offsets(masks.LOWER_LOG2)).reshape(-1, 3)


def level1_hints(field: ExpertField, lower_origins: LowerOrigins) -> SlotHints:
    """[n, 4096] uint8: what the level-1 classifier says of every slot of lower nodes."""
    hints = np.empty((len(lower_origins), masks.LOWER_SLOTS), np.uint8)
    for start in range(0, len(lower_origins), 64):
        block = slice(start, start + 64)
        logits = field.exact_logits(slot_points(lower_origins[block]))
        hints[block] = slot_hints(logits).reshape(-1, masks.LOWER_SLOTS)
    return hints


def said_active(hints: LeafHints) -> LeafBits:
    """Which voxels the level-0 classifier takes for active."""
    return hints >= HINT_ACTIVE


def said_class(hints: SlotHints) -> SlotHints:
    """The class the level-1 classifier takes each slot for."""
    return hints // _CLASS_HINTS
