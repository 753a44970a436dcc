"""The META section of a collection: what it holds, object by object, readable without torch."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.sections import SECTIONS
from fieldcodec.container.container import Container
from fieldcodec.container.files import is_file_name
from fieldcodec.errors import FormatError
from fieldcodec.nets.recursive_spec import Kind, RecursiveSpec
from fieldcodec.radiance.marks import DEFAULT_UP, Direction

KIND = "collection"
MAX_ITEMS = 1 << 16
MAX_CELLS = 1 << 24  # of one level of one object
MAX_NUMBERS = 1 << 29  # in the latents of one level of one object
_HASH = re.compile("[0-9a-f]{16}")
_LARGEST_COORDINATE = 1e30
_SHORTEST_UP = 1e-6
_SHARED_FILES = "shared_files"  # among the metadata
_KEYS = {"name", "centre", "scale", "cells", "tree", "source_bytes"}


@final
@dataclass(frozen=True)
class ItemEntry:
    """What META says of one object."""

    name: str
    placement: Placement
    cells: tuple[int, ...]
    """Occupied cells of each level from 1 on."""
    tree: str
    """XXH3-64 of the octree in hexadecimal digits, see `decode.tree_hash`."""
    source_bytes: int = 0
    """Of the file (or files) that the object comes from; 0: not known."""
    kind: Kind = "distance"
    """One of the network's kinds."""
    up: Direction = DEFAULT_UP
    """Of radiance fields: the direction in world space that is up for those who look at them."""
    detail_level: int = 0
    """Of cells whose latents have something added, see `sections.Details`; 0: none."""

    def to_json(self, spec: RecursiveSpec) -> dict[str, Any]:
        """Left out are the kind where it is the one that objects of such networks are unless it is said, and the
        usual up."""
        kind = {} if self.kind == spec.kinds[0] else {"kind": self.kind}
        up = {} if self.up == DEFAULT_UP else {"up": list(self.up)}
        detail = {"detail_level": self.detail_level} if self.detail_level else {}
        return {**kind, **up, **detail} | {
            "name": self.name,
            "centre": [float(x) for x in self.placement.centre],
            "scale": float(self.placement.scale),
            "cells": list(self.cells),
            "tree": self.tree,
            "source_bytes": self.source_bytes,
        }

    @staticmethod
    def from_json(data: Any, spec: RecursiveSpec) -> "ItemEntry":
        """Raises FormatError where something is missing or out of its limits."""
        if not isinstance(data, dict) or not set(data) >= _KEYS:
            raise FormatError(f"an object of the collection is described by {data!r}; needed are {sorted(_KEYS)}")
        name, centre, scale = data["name"], data["centre"], data["scale"]
        if not is_file_name(name):
            raise FormatError(f"an object of the collection is named {name!r}, which no file can be named after")
        what = f"object {name!r} of the collection"
        if not isinstance(centre, list) or len(centre) != 3 or not all(_is_coordinate(x) for x in (*centre, scale)):
            raise FormatError(f"{what}: its centre {centre!r} and scale {scale!r} are not three numbers and one")
        if scale <= 0:
            raise FormatError(f"{what}: its scale is {scale}, which is not above 0")
        if not isinstance(data["tree"], str) or _HASH.fullmatch(data["tree"]) is None:
            raise FormatError(f"{what}: the hash of its tree is {data['tree']!r}; 16 hexadecimal digits are needed")
        if not _is_whole(data["source_bytes"], 1 << 62):
            raise FormatError(f"{what}: it is said to come from {data['source_bytes']!r} bytes")
        kind = data.get("kind", spec.kinds[0])
        if not isinstance(kind, str) or kind not in spec.kinds:
            raise FormatError(f"{what}: it is of kind {kind!r}; the networks are for {', '.join(spec.kinds)}")
        x, y, z = (float(value) for value in centre)
        placement, cells = Placement((x, y, z), float(scale)), _cells(data["cells"], spec, what)
        up = _up(data.get("up", DEFAULT_UP), what) if kind == "radiance" else DEFAULT_UP
        detail = data.get("detail_level", 0)
        if not _is_whole(detail, spec.lods):
            raise FormatError(f"{what}: details of level {detail!r}, where 0 to {spec.lods} are allowed")
        return ItemEntry(name, placement, cells, data["tree"], data["source_bytes"], kind, up, detail)


@final
@dataclass(frozen=True)
class Listing:
    """The META section."""

    spec: RecursiveSpec
    items: tuple[ItemEntry, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def shared_files(self) -> frozenset[str]:
        """Hashes of files that several objects come from, whose bytes are among `source_bytes` of the objects."""
        found = self.metadata.get(_SHARED_FILES)
        return frozenset(each for each in found if isinstance(each, str)) if isinstance(found, list) else frozenset()

    def with_shared_files(self, hashes: Iterable[str]) -> "Listing":
        """That knows more such files."""
        known = self.shared_files | frozenset(hashes)
        return replace(self, metadata=self.metadata | {_SHARED_FILES: sorted(known)}) if known else self

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "network": self.spec.to_json(),
            "items": [item.to_json(self.spec) for item in self.items],
            "settings": self.settings,
            "metadata": self.metadata,
        }

    @staticmethod
    def from_json(meta: Any) -> "Listing":
        """Checked before anything is allocated.

        Raises:
            FormatError: the file is no collection, or what it says of itself is not allowed.
        """
        kind = meta.get("kind") if isinstance(meta, dict) else None
        if kind != KIND:
            raise FormatError(f"the file says that it holds {kind!r}; a collection is needed")
        items, settings, metadata = meta.get("items"), meta.get("settings", {}), meta.get("metadata", {})
        if not isinstance(items, list) or len(items) > MAX_ITEMS:
            raise FormatError(f"the collection has no list of objects, or one of more than {MAX_ITEMS}")
        if not isinstance(settings, dict) or not isinstance(metadata, dict):
            raise FormatError("settings or metadata of the collection are no objects")
        spec = RecursiveSpec.from_json(meta.get("network"))
        entries = tuple(ItemEntry.from_json(item, spec) for item in items)
        repeated = first_repeated([entry.name for entry in entries])
        if repeated is not None:
            raise FormatError(f"two objects of the collection are named {repeated!r}")
        return Listing(spec, entries, settings, metadata)


def describe_collection(opened: Container) -> dict[str, Any]:
    """What `info --json` says of a collection: META and the sizes of sections alone.

    Raises:
        FormatError: the file is no collection, or its description is damaged.
    """
    listing = Listing.from_json(opened.meta())
    sizes = {name: opened.length(section) for name, section in SECTIONS.items()}
    return {
        "format": ".fcodec",
        "kind": KIND,
        "settings": listing.settings,
        "metadata": listing.metadata,
        "network": listing.spec.to_json(),
        "parameters": listing.spec.num_parameters,
        "sections": sizes,
        "items": [
            {
                "name": item.name,
                "kind": item.kind,
                "centre": list(item.placement.centre),
                "scale": item.placement.scale,
                "cells": list(item.cells),
                "tree_hash": item.tree,
                "source_bytes": item.source_bytes,
                **({"up": list(item.up)} if item.kind == "radiance" else {}),
                **({"detail_level": item.detail_level} if item.detail_level else {}),
            }
            for item in listing.items
        ],
    }


def is_placement(placement: Placement) -> bool:
    """Whether a file can hold it."""
    return all(_is_coordinate(float(x)) for x in (*placement.centre, placement.scale)) and placement.scale > 0


def first_repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def is_direction(numbers: Sequence[float]) -> bool:
    """Whether a file can hold three numbers as a direction."""
    return all(_is_coordinate(x) for x in numbers) and math.hypot(*numbers) >= _SHORTEST_UP


def _up(numbers: Any, what: str) -> Direction:
    if not isinstance(numbers, list | tuple) or len(numbers) != 3 or not is_direction(numbers):
        raise FormatError(f"{what}: its direction upwards is {numbers!r}; needed are three numbers other than 0, 0, 0")
    x, y, z = (float(value) for value in numbers)
    return x, y, z


def _cells(cells: Any, spec: RecursiveSpec, what: str) -> tuple[int, ...]:
    if not isinstance(cells, list) or len(cells) != spec.lods:
        raise FormatError(f"{what}: its cells are {cells!r}; needed is a number for each of {spec.lods} levels")
    above = 1
    for level, count in enumerate(cells, 1):
        most = min(8 * above, most_cells(spec))
        if not _is_whole(count, most):
            raise FormatError(f"{what}: it has {count!r} cells of level {level}, at most {most} are allowed")
        above = count
    return tuple(cells)


def most_cells(spec: RecursiveSpec) -> int:
    """How many cells one level of one object may have."""
    return min(MAX_CELLS, MAX_NUMBERS // spec.latent)


def _is_whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_coordinate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_COORDINATE
