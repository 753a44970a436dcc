"""A compressed volume: what a `.fcodec` file of grids holds, in memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fieldcodec.container.container import Container, Section, open_container, save_container
from fieldcodec.container.stored import StoredSections
from fieldcodec.errors import FormatError, UnknownGridError, UnsupportedGridError, UsageError
from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.grid.clip import Box, box_of
from fieldcodec.grid.coarsen import check_level
from fieldcodec.grid.metadata import Metadata
from fieldcodec.grid.sparse_grid import LEVEL_SET, OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.nets.device import choose_device
from fieldcodec.volume.compressed_grid import CompressedGrid, check_description, metadata_from_json, metadata_to_json
from fieldcodec.volume.decode import decode_grid, decode_topology
from fieldcodec.volume.level_of_detail import decode_level, decode_surface, has_own_distance
from fieldcodec.volume.opaque import decode_opaque
from fieldcodec.volume.partial import LeafChoice, decode_leaves
from fieldcodec.volume.random_access import DEFAULT_CACHE_BYTES, GridAccess
from fieldcodec.volume.sections import GRID_SECTIONS, STORED_LEVEL, VOLUME_KIND
from fieldcodec.volume.topology_codec import encode_leaves, encode_lower_masks

SEQUENCE_KIND = "sequence"  # see volume.sequence
COLLECTION_KIND = "collection"  # see the package `collection`


@dataclass(frozen=True, eq=False)
class CompressedVolume:
    """The grids of one `.vdb` file, compressed; a sequence of `CompressedGrid` in file order."""

    grids: tuple[CompressedGrid, ...]
    metadata: Metadata = field(default_factory=Metadata)
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, key: int | str) -> CompressedGrid:
        """A grid by position or by name (the first one of that name)."""
        if isinstance(key, str):
            return self.grids[self._positions(key)[0]]
        return self.grids[key]

    def _positions(self, key: int | str) -> list[int]:
        """Of the grid at a position (from the end where it is negative), or of all grids of a name."""
        if isinstance(key, int):
            if not -len(self.grids) <= key < len(self.grids):
                raise UnknownGridError(f"no grid number {key}; the file has {len(self.grids)} grids")
            return [key % len(self.grids)]
        found = [position for position, grid in enumerate(self.grids) if grid.name == key]
        if not found:
            known = ", ".join(repr(grid.name) for grid in self.grids) or "none"
            raise UnknownGridError(f"no grid named {key!r}; the file has {known}")
        return found

    def to_grids(
        self, names: Sequence[int | str] | None = None, *, bbox: Sequence[Any] | None = None, level: int = 0,
        device: str | None = None, on_event: OnEvent = ignore_event,
    ) -> VolumeFile:  # fmt: skip
        """Decompresses all grids, or those at the given positions and all of the given names, in file order.

        Args:
            bbox: x0, y0, z0, x1, y1, z1 (or two corners), the first and the last voxels along each axis of a box in
                index space: only leaves that meet it are decoded, and what lies outside is cut off.
            level: 1 for half the resolution, 2 for a quarter, up to 4; see `grid.coarsen`, and `level_of_detail` for
                what is decoded for it. The box is one of full resolution: of the level it leaves the coarse voxels that
                have a part in it, with the values that they have in the whole grid.

        Raises:
            UnknownGridError: there is no grid of a name, or at a position.
            UsageError: the box is none, or the level does not exist.
            UnsupportedGridError: a grid is carried byte for byte, so it cannot be cut or made coarser, or its
                transform is not linear.
            FormatError: sections are damaged.
        """
        keys = range(len(self.grids)) if names is None else names
        wanted = sorted({position for key in keys for position in self._positions(key)})
        check_level(level)
        chosen, box = choose_device(device), None if bbox is None else box_of(bbox)
        decoded: dict[int, SparseGrid | OpaqueGrid] = {}
        grids: list[SparseGrid | OpaqueGrid] = []
        for position in wanted:
            try:
                if level:
                    grids.append(self._decode_level(position, chosen, on_event, level, box))
                else:
                    decoded[position] = self._decode(position, decoded, chosen, on_event, box)
                    grids.append(decoded[position])
            except MemoryError as error:
                raise _too_large(self.grids[position]) from error
        return VolumeFile(tuple(grids), self.metadata)

    def drawn(
        self, names: Sequence[int | str] | None = None, *, surface: bool = False, inactive: bool = True,
        leaves: LeafChoice | None = None, device: str | None = None, on_event: OnEvent = ignore_event,
    ) -> SparseGrid:  # fmt: skip
        """The grid that a picture is of: of all, or of those named, the one with the most active voxels.

        Args:
            surface: of a level set only the surface will be looked at, so what is not needed for that may stay
                undecoded, see `level_of_detail.decode_surface`.
            inactive: where False, inactive voxels of leaves may hold anything, unless it is a level set and `surface`.
            leaves: chooses leaves by the tree; others hold zeros. All are decoded without.

        Raises:
            UnknownGridError: there is no grid of a name, or at a position.
            UnsupportedGridError: all of them are carried byte for byte.
            FormatError: sections are damaged.
        """
        keys = range(len(self.grids)) if names is None else names
        wanted = sorted({position for key in keys for position in self._positions(key)})
        known = [self._with_own_tree(position) for position in wanted if not self.grids[position].is_opaque]
        if not known:
            raise UnsupportedGridError(f"none of the {len(wanted)} grids can be drawn; points are carried only")
        chosen = max(known, key=lambda grid: (not grid.value_type.is_bool, grid.active_voxels))
        try:
            if surface and has_own_distance(chosen):
                return decode_surface(chosen, on_event)
            inactive = inactive or (surface and chosen.grid_class == LEVEL_SET)
            if leaves is not None:
                return decode_leaves(chosen, choose_device(device), on_event, leaves, inactive=inactive)
            return decode_grid(chosen, choose_device(device), on_event, inactive=inactive)
        except MemoryError as error:
            raise _too_large(chosen) from error

    def _decode_level(
        self, position: int, device: torch.device, on_event: OnEvent, level: int, box: Box | None
    ) -> SparseGrid:
        grid = self.grids[position]
        if grid.is_opaque:
            raise UnsupportedGridError(
                f"grid {grid.name!r} is carried byte for byte, so it has no coarser form; name the other grids"
            )
        return decode_level(self._with_own_tree(position), device, on_event, level, box=box)

    def _decode(
        self, position: int, decoded: dict[int, SparseGrid | OpaqueGrid], device: torch.device, on_event: OnEvent,
        box: Box | None,
    ) -> SparseGrid | OpaqueGrid:  # fmt: skip
        grid = self.grids[position]
        if box is not None and grid.is_opaque:
            raise UnsupportedGridError(
                f"grid {grid.name!r} is carried byte for byte, so no box can be cut out of it; name the other grids"
            )
        if grid.instance_of is None:
            return decode_opaque(grid, None) if grid.is_opaque else decode_grid(grid, device, on_event, box=box)
        parent = self._tree_position(position)
        tree = decoded.get(parent) or self._decode(parent, decoded, device, on_event, box)
        if grid.is_opaque != isinstance(tree, OpaqueGrid):
            raise FormatError(f"grid {grid.name!r}: it is said to share the tree of a grid of another kind")
        if isinstance(tree, OpaqueGrid):
            return decode_opaque(grid, tree)
        return replace(
            tree, name=grid.name, transform=grid.transform, metadata=grid.metadata, save_as_half=grid.save_as_half
        )

    def access(
        self, grid: int | str = 0, *, device: str | None = None, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> GridAccess:
        """Random access to a grid, by position or name: a field of its own, with a cache of its own.

        Args:
            grid: position, or name (the first one of that name).
            device: where networks are evaluated, as in `to_grids`.
            cache_bytes: of memory for decoded leaves.

        Raises:
            UnknownGridError: there is no such grid.
            UnsupportedGridError: it is carried byte for byte, so it has no voxels.
            FormatError: sections are damaged.
        """
        position = self._positions(grid)[0]
        own = self._with_own_tree(position)
        try:
            return GridAccess(own, choose_device(device), cache_bytes)
        except MemoryError as error:
            raise _too_large(own) from error

    def sample(
        self, points: Any, *, grid: int | str = 0, space: str = "world", interpolation: str = "trilinear"
    ) -> Any:
        """Values of a grid at points, see `SparseGrid.sample`; nothing is decoded but the tree and leaves at points.

        What was decoded is kept for the next call; `access` says how much, and is for everything else.
        """
        return self._kept_access(grid).sample(points, space=space, interpolation=interpolation)

    @property
    def channels(self) -> int:
        """Of the first grid."""
        return self.grids[0].channels

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """World-space box around what is active in the first grid; None where nothing is."""
        return self._kept_access(0).bounds

    def _kept_access(self, grid: int | str) -> GridAccess:
        key = self._positions(grid)[0]
        if key not in self._accesses:
            self._accesses[key] = self.access(key)
        return self._accesses[key]

    @cached_property
    def _accesses(self) -> dict[int, GridAccess]:
        return {}

    def _with_own_tree(self, position: int) -> CompressedGrid:
        """A grid that is no instance: with the tree and the values of the one it shares them with."""
        grid = self.grids[position]
        if grid.is_opaque:
            raise UnsupportedGridError(f"grid {grid.name!r} is carried byte for byte; it has no voxels to sample")
        if grid.instance_of is None:
            return grid
        own = {name: grid.meta[name] for name in ("name", "transform", "metadata", "save_as_half") if name in grid.meta}
        tree = self.grids[self._tree_position(position)]
        if tree.is_opaque:
            raise FormatError(f"grid {grid.name!r}: it is said to share the tree of a grid of another kind")
        return CompressedGrid(tree.meta | own, tree.sections, reference=tree.reference)

    def _tree_position(self, position: int) -> int:
        """Of the grid whose tree an instance shares."""
        grid = self.grids[position]
        parent = grid.instance_of
        if type(parent) is not int or not 0 <= parent < position or self.grids[parent].instance_of is not None:
            raise FormatError(f"grid {grid.name!r}: it is said to share the tree of grid number {parent!r}")
        return parent

    def with_explicit_tree(self) -> "CompressedVolume":
        """The form [Hash,5,4,NN(3)] of every grid: classifiers replaced by masks, regressors unchanged (3.5)."""
        return replace(self, grids=tuple(_explicit(grid) for grid in self.grids))

    def to_bytes(self) -> bytes:
        """The file's bytes; equal content gives equal bytes."""
        return self._container().to_bytes()

    @staticmethod
    def from_bytes(data: bytes) -> "CompressedVolume":
        return _from_container(Container.from_bytes(data))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a `.fcodec` file; under a temporary name first, so that nothing half-written is left behind."""
        save_container(path, self._container(), overwrite=overwrite)

    def _container(self) -> Container:
        predicted = [grid.name for grid in self.grids if grid.reference is not None]
        if predicted:
            raise UsageError(
                f"grid {predicted[0]!r} is stored as a difference to another frame of its sequence, so this frame is "
                "no file of its own; decode it and encode it again"
            )
        meta = {
            "kind": VOLUME_KIND,
            "grids": [grid.meta for grid in self.grids],
            "metadata": metadata_to_json(self.metadata),
            "settings": self.settings,
        }
        sections = [Section.meta(meta)]
        for number, grid in enumerate(self.grids):
            sections += [
                Section(GRID_SECTIONS[name], data, number, must_understand=name != STORED_LEVEL)
                for name, data in grid.sections.items()
            ]
        return Container(sections)


def open_volume(path: str | os.PathLike[str]) -> CompressedVolume:
    """Opens a `.fcodec` file; reads its description, decodes nothing yet.

    Raises:
        InputError: the file cannot be read.
        FormatError: it is foreign, damaged, cut or too new.
    """
    return _from_container(open_container(path))


def _from_container(opened: Container) -> CompressedVolume:
    meta = opened.meta()
    kind = meta.get("kind") if isinstance(meta, dict) else None
    if kind == SEQUENCE_KIND:
        raise FormatError(
            "the file holds a sequence of frames, where a volume is needed; fieldcodec.open_sequence opens it, and "
            "commands take a frame of it with --frame"
        )
    if kind == COLLECTION_KIND:
        raise FormatError(
            "the file holds a collection of objects, where a volume is needed; fieldcodec.open_collection opens it, "
            "and commands take an object of it with --item"
        )
    if kind != VOLUME_KIND or not isinstance(meta.get("grids"), list):
        raise FormatError(f"the file says that it holds {kind!r}; a volume is needed")
    grids = []
    for number, description in enumerate(meta["grids"]):
        if isinstance(description, dict) and "reference" in description:
            raise FormatError(f"grid number {number} refers to another frame, but the file holds no sequence")
        stored = StoredSections(opened, GRID_SECTIONS, number)
        grids.append(CompressedGrid(check_description(description, number), stored))
    return CompressedVolume(tuple(grids), metadata_from_json(meta.get("metadata", [])), meta.get("settings", {}))


def _too_large(grid: CompressedGrid) -> FormatError:
    return FormatError(
        f"grid {grid.name!r} with {grid.meta.get('nodes')} does not fit into memory; the file is damaged, or this "
        "machine is too small for it"
    )


def _explicit(grid: CompressedGrid) -> CompressedGrid:
    if grid.is_opaque or grid.tree != "neural":
        return grid
    topology = decode_topology(grid)
    classifiers = ("level1", "level0")
    networks = {role: spec for role, spec in grid.meta["networks"].items() if role not in classifiers}
    sections = {
        name: data for name, data in grid.sections.items() if name not in ("level-1 classifier", "level-0 classifier")
    } | {"lower masks": encode_lower_masks(topology, None), "leaf masks": encode_leaves(topology, None)}
    meta = grid.meta | {"tree": "explicit", "networks": networks, "corrections": 0}
    return CompressedGrid(meta, sections, grid.fits, reference=grid.reference)
