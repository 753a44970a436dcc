"""A compressed collection: what a `.fcodec` file of objects holds, in memory."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np
import torch

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.decode import SharedNetworks, StoredItem, UnfoldedItem, store_item, unfold_item
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.listing import MAX_ITEMS, ItemEntry, Listing, first_repeated
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.sections import (
    SECTIONS,
    Details,
    StoredDetails,
    StoredFlips,
    decode_corrections,
    decode_details,
    decode_latents,
    decode_networks,
    encode_corrections,
    encode_details,
    encode_latents,
    encode_networks,
)
from fieldcodec.container.container import Container, Section, open_container, save_container
from fieldcodec.container.files import is_file_name
from fieldcodec.container.stored import StoredSections
from fieldcodec.errors import UnknownItemError, UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.frozen_recursive import LATENT_LIMIT, LATENT_UNIT, MAX_LATENT_STEP, FrozenRecursive, tensor_shapes
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.nets.recursive_spec import Kind, RecursiveSpec
from fieldcodec.radiance.marks import DEFAULT_UP, Direction

KEPT_BYTES = 1 << 28  # of unfolded objects


@final
@dataclass(frozen=True, eq=False)
class CompressedCollection:
    """Objects by position or name: shared networks, and of each object a latent that unfolds to its field.

    `sections`: name (`sections.SECTIONS`) -> bytes; those of an opened file are read when they are needed.
    """

    listing: Listing
    sections: Mapping[str, bytes]
    shared: SharedNetworks
    _kept: OrderedDict[tuple[int, str], UnfoldedItem] = field(default_factory=OrderedDict, repr=False)

    @staticmethod
    def of(
        networks: FrozenRecursive, latents: np.ndarray, step: int, names: Sequence[str],
        placements: Sequence[Placement], *, octrees: Sequence[Octree | None] | None = None,
        source_bytes: Sequence[int] | None = None, kinds: Sequence[Kind | None] | None = None,
        ups: Sequence[Direction] | None = None, details: Sequence[Details | None] | None = None,
        settings: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> "CompressedCollection":  # fmt: skip
        """A collection of trained networks and latents; unfolds every object once, as a decoder will.

        Args:
            latents: [objects, D] int32 in steps (`nets.frozen_recursive.frozen_latents`).
            step: of latents, in 1 / LATENT_UNIT.
            octrees: the true ones: where the networks say otherwise, the file corrects them; None for those that the
                networks say.
            kinds: what the objects are; None for what objects of such networks are by default.
            ups: of radiance fields, what is up for those who look at them.
            details: what is added to latents of cells, see `sections.Details`.

        Raises:
            UsageError: names are repeated or not allowed, an octree has other levels or too many cells, or the networks
                are for other kinds of objects.
        """
        sections = {
            "networks": encode_networks(networks.tensors, networks.steps),
            "latents": encode_latents(np.zeros((0, networks.spec.latent), np.int32), step),
        }
        empty = Listing(networks.spec, (), dict(settings or {}), dict(metadata or {}))
        collection = CompressedCollection(empty, sections, SharedNetworks(lambda: networks))
        return collection.with_items(
            latents, names, placements, octrees=octrees, source_bytes=source_bytes, kinds=kinds, ups=ups,
            details=details, device=device,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.listing.items)

    def __getitem__(self, key: int | str) -> ItemField | RadianceItem:
        """The field of an object, by position or name, on the host; see `field`."""
        return self.field(key)

    def __iter__(self) -> Iterator[ItemField | RadianceItem]:
        return (self.field(position) for position in range(len(self)))

    @property
    def spec(self) -> RecursiveSpec:
        return self.listing.spec

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.listing.items)

    @property
    def has_colours(self) -> bool:
        """Whether some objects have."""
        return any(kind != "distance" for kind in self.kinds)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of the objects, one after another."""
        return tuple(item.kind for item in self.listing.items)

    def entry(self, key: int | str) -> ItemEntry:
        """What the file says of an object, by position or name.

        Raises:
            UnknownItemError: there is none.
        """
        return self.listing.items[self.position(key)]

    def position(self, key: int | str) -> int:
        """Of an object by its name, or by its position, from the end where it is negative."""
        if isinstance(key, str):
            if key not in self._positions:
                known = ", ".join(map(repr, self.names[:20])) or "none"
                more = f" and {len(self) - 20} more" if len(self) > 20 else ""
                raise UnknownItemError(f"no object named {key!r}; the collection has {known}{more}")
            return self._positions[key]
        if not -len(self) <= key < len(self):
            raise UnknownItemError(f"no object number {key}; the collection has {len(self)} objects")
        return key % len(self)

    @property
    def networks(self) -> FrozenRecursive:
        """The networks that all objects share, as the integers of the file."""
        return self.shared.frozen

    def network(self, device: torch.device | str = "cpu") -> RecursiveField:
        """The same for float evaluation; made once for each device."""
        return self.shared.module(device)

    @property
    def latents(self) -> np.ndarray:
        """[objects, D] float32: the latents that unfold to the objects."""
        integers, step = self._latents
        return (integers.astype(np.int64) * step).astype(np.float32) / np.float32(LATENT_UNIT)

    @property
    def latent_step(self) -> int:
        """In 1 / LATENT_UNIT."""
        return self._latents[1]

    def unfold(self, key: int | str, device: torch.device | str = "cpu") -> UnfoldedItem:
        """Octree and latents of an object, exact on every machine; the last ones are kept.

        Raises:
            UnknownItemError: there is no such object.
            FormatError: sections are damaged.
        """
        position = self.position(key)
        kept = self._kept.pop((position, str(device)), None)
        if kept is None:
            kept = unfold_item(self.shared.unfolding(device), self.stored(position), self.latent_step)
        self._kept[position, str(device)] = kept
        while len(self._kept) > 1 and sum(item.num_bytes for item in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return kept

    def field(
        self, key: int | str, device: torch.device | str = "cpu", *, lod: int | None = None
    ) -> ItemField | RadianceItem:
        """An object as a field that can be sampled and drawn; a `RadianceItem` where it is a radiance field.

        Args:
            lod: use no more than the first levels of detail.

        Raises:
            UnknownItemError: there is no such object.
            FormatError: sections are damaged.
        """
        entry, unfolded, network = self.entry(key), self.unfold(key, device), self.network(device)
        octree, latents = unfolded.octree.cut(lod or self.spec.lods), unfolded.latents[:lod]
        if entry.kind == "radiance":
            return RadianceItem(network, octree, latents, entry.placement, name=entry.name, up=entry.up)
        coloured = entry.kind == "coloured"
        return ItemField(network, octree, latents, entry.placement, name=entry.name, coloured=coloured)

    def surface(self, key: int | str, device: torch.device | str = "cpu", *, lod: int | None = None) -> ItemField:
        """As `field`, of an object that has a surface.

        Raises:
            UsageError: it is a radiance field.
        """
        found = self.field(key, device, lod=lod)
        if isinstance(found, RadianceItem):
            raise UsageError(f"the object {found.name!r} is a radiance field, which has no surface; render it")
        return found

    def stored(self, key: int | str) -> StoredItem:
        """What the file holds of one object."""
        position = self.position(key)
        flips, stored = self._corrections[position].decode(), self._details[position]
        details = None if stored is None else stored.decode(MAX_LATENT_STEP, LATENT_LIMIT)
        return StoredItem(self.listing.items[position], self._latents[0][position], flips, details)

    def with_items(
        self, latents: np.ndarray, names: Sequence[str], placements: Sequence[Placement], *,
        octrees: Sequence[Octree | None] | None = None, source_bytes: Sequence[int] | None = None,
        kinds: Sequence[Kind | None] | None = None, ups: Sequence[Direction] | None = None,
        details: Sequence[Details | None] | None = None, device: torch.device | str = "cpu",
    ) -> "CompressedCollection":  # fmt: skip
        """With more objects behind the others, by the same networks; arguments as of `of`."""
        objects = len(names)
        _check_names([*self.names, *names])
        if latents.shape != (objects, self.spec.latent) or len(placements) != objects:
            raise UsageError(
                f"{objects} names, {len(placements)} placements and latents of shape {latents.shape} do not go "
                f"together; {self.spec.latent} numbers are needed for each object"
            )
        unfolding = self.shared.unfolding(device)
        none = [None] * objects
        given = zip(
            names, latents, placements, octrees or none, source_bytes or [0] * objects, kinds or none,
            ups or [DEFAULT_UP] * objects, details or none, strict=True,
        )  # fmt: skip
        added = [
            store_item(
                unfolding,
                name,
                latent,
                self.latent_step,
                placement,
                octree=octree,
                source_bytes=size,
                kind=kind,
                up=up,
                details=more,
            )
            for name, latent, placement, octree, size, kind, up, more in given
        ]
        return self._of_items([*(self.stored(position) for position in range(len(self))), *added])

    def removed(self, keys: Sequence[int | str]) -> "CompressedCollection":
        """Without the objects of these names or positions.

        Raises:
            UnknownItemError: there is no such object.
        """
        gone = {self.position(key) for key in keys}
        return self._of_items([self.stored(position) for position in range(len(self)) if position not in gone])

    def with_shared_files(self, hashes: Iterable[str]) -> "CompressedCollection":
        """That knows files again which several objects come from, see `Listing.shared_files`."""
        return CompressedCollection(self.listing.with_shared_files(hashes), self.sections, self.shared)

    @property
    def num_bytes(self) -> dict[str, int]:
        """Of the file: "meta" (with the table of sections), then section by section."""
        sizes = {name: len(self._section(name)) for name in SECTIONS}
        return {"meta": self._container().num_bytes - sum(sizes.values()), **sizes}

    @property
    def own_bytes(self) -> dict[str, int]:
        """Of each object: details of its latents and corrections of its octree."""
        return {
            name: flips.num_bytes + (0 if details is None else len(details.data))
            for name, flips, details in zip(self.names, self._corrections, self._details, strict=True)
        }

    def to_bytes(self) -> bytes:
        """The file's bytes; equal content gives equal bytes."""
        return self._container().to_bytes()

    @staticmethod
    def from_bytes(data: bytes) -> "CompressedCollection":
        """Raises FormatError where the bytes are foreign, damaged, cut or too new."""
        return _from_container(Container.from_bytes(data))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a `.fcodec` file; under a temporary name first, so that nothing half-written is left behind."""
        save_container(path, self._container(), overwrite=overwrite)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def _latents(self) -> tuple[np.ndarray, int]:
        data = self._section("latents")
        return decode_latents(data, len(self), self.spec.latent, MAX_LATENT_STEP, LATENT_LIMIT)

    @cached_property
    def _corrections(self) -> list[StoredFlips]:
        return decode_corrections(self._section("tree corrections"), [item.cells for item in self.listing.items])

    @cached_property
    def _details(self) -> list[StoredDetails | None]:
        sizes = [
            (item.detail_level, item.cells[item.detail_level - 1]) if item.detail_level else None
            for item in self.listing.items
        ]
        return decode_details(self._section("latent details"), sizes, self.spec.latent)

    def _section(self, name: str) -> bytes:
        """None of a section is as good as an empty one."""
        return self.sections.get(name, b"")

    def _of_items(self, items: Sequence[StoredItem]) -> "CompressedCollection":
        """The same networks with these objects."""
        latents = np.array([item.latent for item in items], np.int32).reshape(len(items), self.spec.latent)
        sections = {
            "networks": self._section("networks"),
            "latents": encode_latents(latents, self.latent_step),
            "latent details": encode_details([item.details for item in items]),
            "tree corrections": encode_corrections([item.flips for item in items]),
        }
        listing = replace(self.listing, items=tuple(item.entry for item in items))
        return CompressedCollection(listing, sections, self.shared)

    def _container(self) -> Container:
        stored = [Section(SECTIONS[name], data) for name in SECTIONS if (data := self._section(name))]
        return Container([Section.meta(self.listing.to_json()), *stored])


def open_collection(path: str | os.PathLike[str]) -> CompressedCollection:
    """Opens a `.fcodec` file of objects; reads its description, decodes nothing yet.

    Raises:
        InputError: the file cannot be read.
        FormatError: it is foreign, damaged, cut or too new.
    """
    return _from_container(open_container(path))


def _from_container(opened: Container) -> CompressedCollection:
    listing, sections = Listing.from_json(opened.meta()), StoredSections(opened, SECTIONS)

    def load() -> FrozenRecursive:
        return FrozenRecursive(
            listing.spec, *decode_networks(sections.get("networks", b""), tensor_shapes(listing.spec))
        )

    return CompressedCollection(listing, sections, SharedNetworks(load))


def _check_names(names: Sequence[str]) -> None:
    wrong = [name for name in names if not is_file_name(name)]
    if wrong:
        raise UsageError(
            f'an object cannot be named {wrong[0]!r}: names have 1 to 255 bytes, none of / \\ : * ? " < > | and no '
            "control characters"
        )
    repeated = first_repeated(names)
    if repeated is not None:
        raise UsageError(f"two objects are named {repeated!r}; give each its own name")
    if len(names) > MAX_ITEMS:
        raise UsageError(f"{len(names)} objects are more than {MAX_ITEMS}; make several files")
