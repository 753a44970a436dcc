"""A compressed volume: what a `.fcodec` file of grids holds, in memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fieldcodec.container.container import Container, Section, open_container, save_container
from fieldcodec.errors import FormatError, UnknownGridError
from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.grid.metadata import Metadata
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.volume.compressed_grid import CompressedGrid, check_description, metadata_from_json, metadata_to_json
from fieldcodec.volume.decode import decode_grid, decode_topology
from fieldcodec.volume.device import choose_device
from fieldcodec.volume.opaque import decode_opaque
from fieldcodec.volume.sections import GRID_SECTIONS
from fieldcodec.volume.topology_codec import encode_leaves, encode_lower_masks

KIND = "volume"


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
            return self.grids[self._position(key)]
        return self.grids[key]

    def _position(self, name: str) -> int:
        for position, grid in enumerate(self.grids):
            if grid.name == name:
                return position
        known = ", ".join(repr(grid.name) for grid in self.grids) or "none"
        raise UnknownGridError(f"no grid named {name!r}; the file has {known}")

    def to_grids(
        self, names: Sequence[str] | None = None, *, device: str | None = None, on_event: OnEvent = ignore_event
    ) -> VolumeFile:
        """Decompresses all grids, or all of the given names, in file order."""
        for name in names or ():
            self._position(name)
        chosen = choose_device(device)
        decoded: dict[int, SparseGrid | OpaqueGrid] = {}
        for position, grid in enumerate(self.grids):
            if names is None or grid.name in names:
                try:
                    decoded[position] = self._decode(position, decoded, chosen, on_event)
                except MemoryError as error:
                    raise FormatError(
                        f"grid {grid.name!r} with {grid.meta.get('nodes')} does not fit into memory; the file is "
                        "damaged, or this machine is too small for it"
                    ) from error
        return VolumeFile(tuple(decoded.values()), self.metadata)

    def _decode(
        self, position: int, decoded: dict[int, SparseGrid | OpaqueGrid], device: torch.device, on_event: OnEvent
    ) -> SparseGrid | OpaqueGrid:
        grid = self.grids[position]
        parent = grid.instance_of
        if parent is None:
            return decode_opaque(grid, None) if grid.is_opaque else decode_grid(grid, device, on_event)
        if type(parent) is not int or not 0 <= parent < position or self.grids[parent].instance_of is not None:
            raise FormatError(f"grid {grid.name!r}: it is said to share the tree of grid number {parent!r}")
        tree = decoded.get(parent) or self._decode(parent, decoded, device, on_event)
        if grid.is_opaque != isinstance(tree, OpaqueGrid):
            raise FormatError(f"grid {grid.name!r}: it is said to share the tree of a grid of another kind")
        if isinstance(tree, OpaqueGrid):
            return decode_opaque(grid, tree)
        return replace(
            tree, name=grid.name, transform=grid.transform, metadata=grid.metadata, save_as_half=grid.save_as_half
        )

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
        meta = {
            "kind": KIND,
            "grids": [grid.meta for grid in self.grids],
            "metadata": metadata_to_json(self.metadata),
            "settings": self.settings,
        }
        sections = [Section.meta(meta)]
        for number, grid in enumerate(self.grids):
            sections += [Section(GRID_SECTIONS[name], data, number) for name, data in grid.sections.items()]
        return Container(sections)


def open_volume(path: str | os.PathLike[str]) -> CompressedVolume:
    """Opens a `.fcodec` file; reads its description, decodes nothing yet.

    Raises:
        InputError: the file cannot be read.
        FormatError: it is foreign, damaged, cut or too new.
    """
    return _from_container(open_container(path))


class _Sections(Mapping[str, bytes]):
    """The sections of one grid, read (and their checksums verified) when asked for."""

    def __init__(self, opened: Container, number: int) -> None:
        self._opened = opened
        self._keys = {name: (section, number) for name, section in GRID_SECTIONS.items() if (section, number) in opened}

    def __getitem__(self, name: str) -> bytes:
        return self._opened.read(*self._keys[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _from_container(opened: Container) -> CompressedVolume:
    meta = opened.meta()
    kind = meta.get("kind") if isinstance(meta, dict) else None
    if kind != KIND or not isinstance(meta.get("grids"), list):
        raise FormatError(f"the file says that it holds {kind!r}; a volume is needed")
    grids = []
    for number, description in enumerate(meta["grids"]):
        grids.append(CompressedGrid(check_description(description, number), _Sections(opened, number)))
    return CompressedVolume(tuple(grids), metadata_from_json(meta.get("metadata", [])), meta.get("settings", {}))


def _explicit(grid: CompressedGrid) -> CompressedGrid:
    if grid.is_opaque or grid.tree != "neural":
        return grid
    topology = decode_topology(grid)
    classifiers = ("level1", "level0")
    networks = {role: spec for role, spec in grid.meta["networks"].items() if role not in classifiers}
    sections = {
        name: data for name, data in grid.sections.items() if name not in ("level-1 classifier", "level-0 classifier")
    } | {"lower masks": encode_lower_masks(topology, None), "leaf masks": encode_leaves(topology, None)}
    return CompressedGrid(grid.meta | {"tree": "explicit", "networks": networks, "corrections": 0}, sections, grid.fits)
