"""One object of a collection: from its latent to its octree and the latents of its cells, exactly."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
import xxhash
from torch import Tensor

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.listing import ItemEntry, is_direction, is_placement, most_cells
from fieldcodec.collection.sections import Details, Flips
from fieldcodec.errors import FormatError, UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.exact_unfolding import ExactUnfolding
from fieldcodec.nets.frozen_recursive import LATENT_LIMIT, FrozenRecursive
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.nets.recursive_spec import Kind
from fieldcodec.nets.rounding import LARGEST
from fieldcodec.radiance.marks import DEFAULT_UP, Direction

_UP_DIGITS = 5


@final
class SharedNetworks:
    """The networks of a collection, ready to be used; read when they are first needed."""

    def __init__(self, load: Callable[[], FrozenRecursive]) -> None:
        self._load = load
        self._modules: dict[str, RecursiveField] = {}
        self._unfoldings: dict[str, ExactUnfolding] = {}

    @cached_property
    def frozen(self) -> FrozenRecursive:
        """As the integers of the file; raises FormatError where they are damaged."""
        return self._load()

    def module(self, device: torch.device | str) -> RecursiveField:
        """For float evaluation; made once for each device."""
        name = str(device)
        if name not in self._modules:
            self._modules[name] = self.frozen.module(device)
        return self._modules[name]

    def unfolding(self, device: torch.device | str) -> ExactUnfolding:
        """For octrees and latents; made once for each device."""
        name = str(device)
        if name not in self._unfoldings:
            self._unfoldings[name] = ExactUnfolding(self.frozen, device)
        return self._unfoldings[name]


@final
@dataclass(frozen=True, eq=False)
class StoredItem:
    """What a file holds of one object; `latent` [D] int32 in steps of the collection."""

    entry: ItemEntry
    latent: np.ndarray
    flips: Flips
    details: Details | None = None

    @property
    def name(self) -> str:
        return self.entry.name


@final
@dataclass(frozen=True, eq=False)
class UnfoldedItem:
    """An octree and the latents of its cells: of each level from 1 on [cells, D] float32."""

    octree: Octree
    latents: list[Tensor]

    @property
    def num_bytes(self) -> int:
        """Of memory, about."""
        return sum(4 * latents.numel() for latents in self.latents) + sum(mask.size for mask in self.octree.child_masks)


def tree_hash(octree: Octree) -> str:
    """Of the octree of one object: XXH3-64 of a byte for each cell above the finest level, bit i of it for child i."""
    digest = xxhash.xxh3_64()
    for mask in octree.child_masks:
        digest.update(np.packbits(mask, axis=1, bitorder="little").tobytes())
    return digest.hexdigest()


def unfold_item(unfolding: ExactUnfolding, item: StoredItem, step: int) -> UnfoldedItem:
    """Octree and latents of an object, as they were when the file was made.

    Raises:
        FormatError: they are others than the file says.
    """
    select, added = _Corrections(item.flips), _added(item.details)
    octree, latents = unfolding.unfold(_root(item.latent, step), item.entry.cells, select, added)
    if octree.num_cells[1:] != item.entry.cells or tree_hash(octree) != item.entry.tree:
        raise FormatError(
            f"object {item.name!r} does not unfold to the octree whose hash the file has: its sections are damaged, "
            "or do not belong together; get the file again from its source"
        )
    return UnfoldedItem(octree, latents)


def store_item(
    unfolding: ExactUnfolding, name: str, latent: np.ndarray, step: int, placement: Placement, *,
    octree: Octree | None = None, source_bytes: int = 0, kind: Kind | None = None, up: Direction = DEFAULT_UP,
    details: Details | None = None,
) -> StoredItem:  # fmt: skip
    """What a file holds of an object: unfolded once, as a decoder will.

    Args:
        latent: [D] integers in steps.
        octree: the true one, which the object then has; without it, the one that the networks say.
        kind: what it is; None for what objects of such networks are by default.
        up: of a radiance field; of others it is not kept.
        details: what is added to the latents of one level.

    Raises:
        UsageError: the octree has another number of levels, or more cells than a file may hold; latent, placement or
            direction are beyond what it may hold; the networks have no heads for its kind.
    """
    spec = unfolding.spec
    kind = kind or spec.kinds[0]
    if kind not in spec.kinds:
        raise UsageError(f"object {name!r} is of kind {kind!r}; the networks are for {', '.join(spec.kinds)}")
    for numbers, size in ((latent, step), *(() if details is None else ((details.numbers, details.step),))):
        if int(np.abs(numbers).max(initial=0)) > min(LARGEST, LATENT_LIMIT // size):
            raise UsageError(
                f"object {name!r}: a number of its latents has {np.abs(numbers).max()} steps; at most "
                f"{min(LARGEST, LATENT_LIMIT // size)} are allowed, see frozen_latents"
            )
    if not is_placement(placement):
        raise UsageError(
            f"object {name!r}: {placement} cannot be stored; needed are numbers up to 1e30 and a scale above 0"
        )
    if not is_direction(up):
        raise UsageError(f"object {name!r}: its direction upwards is {up}; needed are numbers other than 0, 0, 0")
    if octree is not None and (octree.lods != spec.lods or octree.roots != 1):
        raise UsageError(
            f"object {name!r}: an octree of {octree.roots} objects and {octree.lods} levels was given; needed is one "
            f"object and {spec.lods} levels"
        )
    recorder = _Recorder(octree, spec.lods)
    try:
        most = [most_cells(spec)] * spec.lods
        found, _ = unfolding.unfold(_root(latent, step), most, recorder, _added(details))
    except FormatError as error:
        raise UsageError(f"object {name!r}: {error}; train it longer, or with fewer levels") from error
    up = _short(up) if kind == "radiance" else DEFAULT_UP
    level = 0 if details is None else details.level
    entry = ItemEntry(name, placement, found.num_cells[1:], tree_hash(found), source_bytes, kind, up, level)
    return StoredItem(entry, latent.astype(np.int32), recorder.flips, details)


def _short(direction: Direction) -> Direction:
    """Of length 1, without digits that nobody sees but that take bytes."""
    length = math.hypot(*direction)
    x, y, z = (round(part / length, _UP_DIGITS) + 0.0 for part in direction)  # no -0
    return x, y, z


def _root(latent: np.ndarray, step: int) -> np.ndarray:
    """[D] int64 in 1 / LATENT_UNIT."""
    return latent.astype(np.int64) * step


def _added(details: Details | None) -> tuple[int, np.ndarray] | None:
    """As `ExactUnfolding.unfold` takes them."""
    return None if details is None else (details.level, details.numbers.astype(np.int64) * details.step)


class _Corrections:
    """Turns what the networks say into what is so."""

    def __init__(self, flips: Flips) -> None:
        self._flips = flips

    def __call__(self, level: int, first: int, predicted: np.ndarray) -> np.ndarray:
        places = self._flips[level - 1]
        low, high = np.searchsorted(places, [first, first + len(predicted)])
        if low == high:
            return predicted
        corrected = predicted.copy()
        corrected[places[low:high] - first] ^= True
        return corrected


class _Recorder:
    """Says what is so by a given octree, and notes where the networks say otherwise."""

    def __init__(self, octree: Octree | None, lods: int) -> None:
        self._masks: Sequence[np.ndarray] | None = None
        if octree is not None:
            self._masks = [mask.ravel() for mask in octree.child_masks]
        self._places: list[list[np.ndarray]] = [[] for _ in range(lods)]

    def __call__(self, level: int, first: int, predicted: np.ndarray) -> np.ndarray:
        if self._masks is None:
            return predicted
        true = self._masks[level - 1][first : first + len(predicted)]
        self._places[level - 1].append(first + np.flatnonzero(true != predicted))
        return true

    @property
    def flips(self) -> Flips:
        return tuple(np.concatenate([np.zeros(0, np.int64), *places]) for places in self._places)
