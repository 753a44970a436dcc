"""A whole file."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES, ValueType
from fieldcodec.testing.oracle.container import WHOLE_FILE, meta_json, read_sections
from fieldcodec.testing.oracle.fields import Field, read_subdomains
from fieldcodec.testing.oracle.guides import Guide, guides_masks
from fieldcodec.testing.oracle.lattices import Lattice
from fieldcodec.testing.oracle.networks import check_spec, decode_differences, decode_network
from fieldcodec.testing.oracle.reader import Reader
from fieldcodec.testing.oracle.references import Refer
from fieldcodec.testing.oracle.scale import LeafNumbers, Scale, finite_numbers
from fieldcodec.testing.oracle.tree import decode_tree, fingerprint
from fieldcodec.testing.oracle.values import decode_leaf_values, decode_tile_values

META, OPAQUE = 1, 16
NETWORKS = {"level1": 4, "level0": 6, "tiles": 13, "values": 15}  # role -> section

EarlierNetwork = Callable[[str], Field]
"""Gives the network of a role of the grid that a description refers to; raises FormatError where it has none."""


@final
@dataclass(frozen=True)
class Decoded:
    """A grid with a tree of its own, its networks, and what was known of its leaves before their masks."""

    grid: SparseGrid
    numbers: LeafNumbers | None
    fields: dict[str, Field]


def decode_volume(data: bytes) -> VolumeFile:
    """The grids of a `.fcodec` file.

    Raises:
        FormatError: the file is not what docs/format.md says.
    """
    sections = read_sections(data)
    meta = read_json(meta_json(sections.get((WHOLE_FILE, META), b"")))
    if not isinstance(meta, dict) or meta.get("kind") != "volume" or not isinstance(meta.get("grids"), list):
        raise FormatError("the file holds no volume")
    grids: list[SparseGrid | OpaqueGrid] = []
    for number, description in enumerate(meta["grids"]):
        own = {id: content for (grid, id), content in sections.items() if grid == number}
        try:
            grids.append(decode_grid(description, own, grids))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FormatError(f"grid number {number}: {error!r}") from error
    return VolumeFile(tuple(grids), read_metadata(meta.get("metadata", [])))


def read_json(data: bytes) -> Any:
    """The JSON of META."""

    def refuse(name: str) -> NoReturn:
        raise FormatError(f"META holds {name}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise FormatError("META holds a key twice")
        return dict(pairs)

    try:
        return json.loads(data, parse_constant=refuse, object_pairs_hook=unique)
    except ValueError as error:
        raise FormatError(f"META is damaged: {error}") from error


def decode_grid(
    meta: Any, sections: Mapping[int, bytes], earlier: Sequence[SparseGrid | OpaqueGrid]
) -> SparseGrid | OpaqueGrid:
    """A grid of a description and its sections; `earlier` are those of the same volume or frame, in order."""
    description = meta.get("opaque", meta)
    parent = description.get("instance_of")
    if parent is not None and (type(parent) is not int or not 0 <= parent < len(earlier)):
        raise FormatError("an instance comes before its tree")
    tree = None if parent is None else earlier[parent]
    if "opaque" in meta:
        if tree is not None and not isinstance(tree, OpaqueGrid):
            raise FormatError("an instance is of another kind than its tree")
        payload = Reader(sections.get(OPAQUE, b"")).packed_array("<u1", description["size"]).tobytes()
        return OpaqueGrid(
            meta["name"], description["type_name"], payload, description["file_version"],
            description["save_as_half"], description["block_offset"], tree,
        )  # fmt: skip
    if tree is None:
        return decode_values(meta, sections).grid
    if not isinstance(tree, SparseGrid):
        raise FormatError("an instance is of another kind than its tree")
    return replace(tree, **grid_head(meta))


def grid_head(meta: Any) -> dict[str, Any]:
    """What instances have of their own: name, transform, metadata, save_as_half."""
    transform = GridTransform(meta["transform"]["map"], _bytes(meta["transform"]["payload"]))
    half = bool(meta.get("save_as_half", False))
    return {
        "name": meta["name"], "transform": transform, "metadata": read_metadata(meta["metadata"]), "save_as_half": half
    }  # fmt: skip


def decode_values(
    meta: Any, sections: Mapping[int, bytes], refer: Refer | None = None, earlier: EarlierNetwork | None = None
) -> Decoded:
    """A grid with a tree of its own; `refer` and `earlier` are of the grid it refers to, None where there is none."""
    kind = VALUE_TYPES[meta["value_type"]]
    fields = _fields(meta, sections, kind.channels, earlier)
    background = np.frombuffer(_bytes(meta["background"]), kind.dtype).copy()
    numbers = _numbers(meta, sections, kind, background, fields, refer)
    topology = decode_tree(sections, meta["nodes"], fields, numbers)
    if fingerprint(topology) != meta["topology_hash"]:
        raise FormatError("the fingerprint of the tree is wrong")
    if kind.name == "mask":
        child = [np.unpackbits(a, axis=1, bitorder="little") for a in (topology.lower_child, topology.upper_child)]
        state = [np.unpackbits(a, axis=1, bitorder="little") for a in (topology.lower_active, topology.upper_active)]
        leaves = np.unpackbits(topology.leaf_active, axis=1, bitorder="little").view(bool)[..., None]
        lower, upper = (s[c == 0].view(bool)[:, None] for s, c in zip(state, child, strict=True))
        root = topology.root_tile_active[:, None]
    else:
        leaves = decode_leaf_values(sections, meta, topology, kind, fields.get("values"), numbers)
        lower, upper, root = decode_tile_values(sections, meta, topology, kind, fields.get("tiles"))
    grid = SparseGrid(
        value_type=kind, topology=topology, leaf_values=leaves, lower_tile_values=lower, upper_tile_values=upper,
        root_tile_values=root, background=background, **grid_head(meta),
    )  # fmt: skip
    return Decoded(grid, numbers, fields)


def _numbers(
    meta: Any, sections: Mapping[int, bytes], kind: ValueType, background: np.ndarray, fields: Mapping[str, Field],
    refer: Refer | None,
) -> LeafNumbers | None:  # fmt: skip
    """What is known of all leaf voxels before the masks of leaves are read; None where that is nothing."""
    description = meta["values"]
    lattice = description.get("method") == "lattice"
    if not lattice and not guides_masks(description):
        return None
    offset, low, high = (finite_numbers(description[name]) for name in ("offset", "low", "high"))
    unit = finite_numbers(description["unit" if lattice else "scale"])
    scale = Scale(
        unit if lattice else [x / 16384 for x in unit], offset, low, high, description.get("banded"),
        [float(x) for x in background.astype(np.float64)], kind, bool(meta.get("save_as_half")),
    )  # fmt: skip
    return Lattice(description, sections, scale, refer) if lattice else Guide(fields.get("values"), scale, sections)


def _fields(
    meta: Any, sections: Mapping[int, bytes], channels: int, earlier: EarlierNetwork | None
) -> dict[str, Field]:
    """The networks of a grid, by role."""
    fields = {}
    differences = meta.get("differences", [])
    if not isinstance(differences, list) or not all(role in list(NETWORKS) for role in differences):
        raise FormatError("which networks are differences is not understood")
    for role, section in NETWORKS.items():
        if role in meta["networks"]:
            spec, data = check_spec(meta["networks"][role]), sections.get(section, b"")
            if spec["outputs"] not in {"level1": (1, 3), "level0": (1,)}.get(role, (channels,)):
                raise FormatError(f"the network {role} has a wrong number of outputs")
            subdomains = read_subdomains(meta.get("subdomains"))
            if role not in differences:
                network = decode_network(data, spec, meta["weights"])
            elif earlier is None or meta["weights"] != "quantised":
                raise FormatError(f"the network {role} is a difference to nothing, or not of integers")
            else:
                before = earlier(role)
                network = decode_differences(data, spec, before.network, subdomains.rows_in(before.subdomains))
            fields[role] = Field(network, subdomains, role in ("level1", "tiles"))
    return fields


def read_metadata(data: Any) -> Metadata:
    """Of a file or a grid."""
    return Metadata(tuple(MetaEntry(name, kind, _bytes(payload)) for name, kind, payload in data))


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise FormatError("a base64 text is damaged") from error
